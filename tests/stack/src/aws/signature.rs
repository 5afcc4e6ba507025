//! Who may call the embedded services: callers that sign with the credentials that the stack gave out. The signature is computed again from
//! the request with AWS's own signer, and compared.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{PercentEncodingMode, SessionTokenMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode, sign},
    sign::v4,
};
use aws_smithy_runtime_api::client::identity::Identity;
use http::{HeaderMap, Method, Uri, header::AUTHORIZATION};
use jiff::Timestamp;

/// The same as AWS.
const SKEW: Duration = Duration::from_secs(15 * 60);

/// Cheap to clone. Clones are the same keyring.
#[derive(Clone, Default)]
pub struct Keyring {
    /// If unset, any signature is accepted.
    handed_out: Arc<OnceLock<Credentials>>,
}

pub struct Refused {
    pub code: &'static str,
    pub message: &'static str,
}

const MISSING: Refused = Refused { code: "MissingAuthenticationTokenException", message: "Request is missing Authentication Token" };
const UNKNOWN: Refused = Refused { code: "UnrecognizedClientException", message: "The security token included in the request is invalid." };
const WRONG: Refused = Refused {
    code: "InvalidSignatureException",
    message: "The request signature we calculated does not match the signature you provided.",
};

/// The service that a request is signed for.
pub fn service_of(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let scope = given.split(&[',', ' ']).find_map(|part| part.strip_prefix("Credential="))?;
    scope.split('/').nth(3)
}

impl Keyring {
    /// From now on nothing else is accepted. Only processes that were given the credentials know them.
    pub fn require(&self) {
        self.handed_out.get_or_init(|| {
            let random = |length: usize| std::iter::repeat_with(fastrand::alphanumeric).take(length).collect::<String>();
            let key = format!("LOCAL{}", random(15).to_uppercase());
            Credentials::new(key, random(40), Some(random(40)), None, "local")
        });
    }

    /// Access key, secret and session token for allowed callers.
    pub fn credentials(&self) -> [String; 3] {
        match self.handed_out.get() {
            None => ["local", "local", "local"].map(str::to_owned),
            Some(known) => [known.access_key_id(), known.secret_access_key(), known.session_token().unwrap_or_default()].map(str::to_owned),
        }
    }

    pub fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<(), Refused> {
        let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or(MISSING)?;
        let Some(known) = self.handed_out.get() else { return Ok(()) };
        let given = authorization.strip_prefix("AWS4-HMAC-SHA256").ok_or(MISSING)?;
        let part = |name: &str| given.split(',').find_map(|part| part.trim().strip_prefix(name)).ok_or(MISSING);
        let scope: Vec<&str> = part("Credential=")?.split('/').collect();
        let [access_key, _, region, service, "aws4_request"] = scope[..] else { return Err(MISSING) };
        let token = headers.get("x-amz-security-token").and_then(|token| token.to_str().ok());
        if access_key != known.access_key_id() || token != known.session_token() {
            return Err(UNKNOWN);
        }
        let date = headers.get("x-amz-date").and_then(|date| date.to_str().ok()).ok_or(MISSING)?;
        let time = time_of(date).ok_or(WRONG)?;
        let now = SystemTime::now();
        if now.duration_since(time).or_else(|_| time.duration_since(now)).is_ok_and(|skew| skew > SKEW) {
            return Err(WRONG);
        }
        let signed: Vec<&str> = part("SignedHeaders=")?.split(';').collect();
        if !signed.contains(&"host") {
            return Err(WRONG);
        }
        let expected = signature(known, region, service, time, method, uri, headers, &signed, body).ok_or(WRONG)?;
        if part("Signature=")? == expected { Ok(()) } else { Err(WRONG) }
    }
}

#[allow(clippy::too_many_arguments, reason = "what a signature covers")]
fn signature(
    known: &Credentials,
    region: &str,
    service: &str,
    time: SystemTime,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    signed: &[&str],
    body: &[u8],
) -> Option<String> {
    let identity: Identity = known.clone().into();
    let mut settings = SigningSettings::default();
    settings.excluded_headers = None;
    // Some clients add it after signing.
    settings.session_token_mode =
        if signed.contains(&"x-amz-security-token") { SessionTokenMode::Include } else { SessionTokenMode::Exclude };
    // S3 takes paths as they are, and bodies that were not hashed.
    let is_for_objects = service == "s3";
    if is_for_objects {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    let is_unsigned = is_for_objects && headers.get("x-amz-content-sha256").is_some_and(|hash| hash == "UNSIGNED-PAYLOAD");
    let body = if is_unsigned { SignableBody::UnsignedPayload } else { SignableBody::Bytes(body) };
    let params =
        v4::SigningParams::builder().identity(&identity).region(region).name(service).time(time).settings(settings).build().ok()?;
    let host = headers.get(http::header::HOST)?.to_str().ok()?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let url = format!("http://{host}{target}");
    // The signer adds date and token itself.
    let covered = signed.iter().filter(|name| !matches!(**name, "x-amz-date" | "x-amz-security-token"));
    let covered: Vec<(&str, &str)> = covered.map(|name| Some((*name, headers.get(*name)?.to_str().ok()?))).collect::<Option<_>>()?;
    let request = SignableRequest::new(method.as_str(), url, covered.into_iter(), body).ok()?;
    Some(sign(request, &params.into()).ok()?.signature().to_owned())
}

/// `20261128T133455Z`
fn time_of(date: &str) -> Option<SystemTime> {
    let [year, month, day, hour, minute, second] =
        [0..4, 4..6, 6..8, 9..11, 11..13, 13..15].map(|range| date.get(range)).map(Option::unwrap_or_default);
    let time: Timestamp = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z").parse().ok()?;
    Some(time.into())
}
