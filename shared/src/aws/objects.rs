//! Objects of an S3 bucket, which are read whole. The SDK's client for S3 would be a quarter of a function; one signed GET is all that is needed of it.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http::header::RANGE;
use http::{Request, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::timeout;

use crate::aws::Aws;
use crate::error::Cause;
use crate::{Error, Result};

/// A bucket.
pub struct Objects {
    aws: Aws,
    /// With the bucket, without the last slash.
    url: String,
}

/// What there is under a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Object {
    Found(Vec<u8>),
    /// Larger than what was asked for.
    TooLarge,
    Gone,
}

/// Why a try failed.
struct Failure {
    cause: Cause,
    /// The next one may succeed.
    passes: bool,
}

/// Before it is tried again.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];
/// What a key is written with in a path: the unreserved characters of RFC 3986, and slashes.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

impl Objects {
    /// Its own endpoint, `AWS_ENDPOINT_URL_S3`, has buckets in the path. Those of AWS have one host each.
    pub fn of(aws: Aws, bucket: &str) -> Self {
        let common = aws.common("S3");
        let url = match common.endpoint {
            Some(endpoint) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
            None => format!("https://{bucket}.s3.{}.{}", common.region, domain(common.region.as_ref())),
        };
        Objects { aws, url }
    }

    /// `at_most` bytes.
    pub async fn get(&self, key: &str, at_most: usize) -> Result<Object> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let Failure { cause, passes } = match self.once(key, at_most).await {
                Ok(object) => return Ok(object),
                Err(failure) => failure,
            };
            match pauses.next() {
                Some(pause) if passes => tokio::time::sleep(pause).await,
                _ => return Err(Error::Unavailable { doing: "reading an object", cause }),
            }
        }
    }

    async fn once(&self, key: &str, at_most: usize) -> std::result::Result<Object, Failure> {
        let url = format!("{}/{}", self.url, utf8_percent_encode(key, KEPT));
        // One byte more, which says that there is more.
        let mut request = Request::get(url).header(RANGE, format!("bytes=0-{at_most}")).body(SdkBody::empty()).map_err(end)?;
        self.sign(&mut request, SystemTime::now()).await.map_err(end)?;
        let request = HttpRequest::try_from(request).map_err(end)?;
        let sending = self.aws.https().send(request, Some(self.aws.timeouts.connect));
        let answer = timeout(self.aws.timeouts.call, sending).await.map_err(|elapsed| Failure { cause: elapsed.into(), passes: true })?;
        let answer = answer.map_err(failure)?.try_into_http1x().map_err(end)?;
        let status = answer.status();
        let body = answer.body().bytes().unwrap_or_default();
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT if body.len() > at_most => Ok(Object::TooLarge),
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(Object::Found(body.to_vec())),
            // There is no first byte of nothing.
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Object::Found(vec![])),
            // A bucket that is not there is one too, and nobody's mail.
            StatusCode::NOT_FOUND if code(body) == Some("NoSuchKey") => Ok(Object::Gone),
            _ => {
                let cause = format!("S3 answered {status}, {}", code(body).unwrap_or("without a code")).into();
                let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                Err(Failure { cause, passes })
            }
        }
    }

    /// As S3 wants it: the path as it is, and the hash of the body in a header.
    async fn sign(&self, request: &mut Request<SdkBody>, time: SystemTime) -> std::result::Result<(), Cause> {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = self.aws.credentials.provide_credentials().await?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.aws.region.as_ref())
            .name("s3")
            .time(time)
            .settings(settings)
            .build()?
            .into();
        let headers = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable = SignableRequest::new(request.method().as_str(), request.uri().to_string(), headers, SignableBody::Bytes(&[]))?;
        sign(signable, &params)?.into_parts().0.apply_to_request_http1x(request);
        Ok(())
    }
}

/// Of the partition that a region is in.
fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// Of an error of S3, which is a small XML document.
fn code(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    Some(text.split_once("<Code>")?.1.split_once("</Code>")?.0)
}

fn failure(error: ConnectorError) -> Failure {
    Failure { passes: !error.is_user(), cause: error.into() }
}

fn end(cause: impl Into<Cause>) -> Failure {
    Failure { cause: cause.into(), passes: false }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::header::AUTHORIZATION;

    use super::*;
    use crate::config::Variables;

    fn objects(variables: &[(&str, &str)], bucket: &str) -> Objects {
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Objects::of(Aws::read(Variables(variables.collect())).unwrap(), bucket)
    }

    const KEYS: [(&str, &str); 3] = [
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ];

    /// The first example of <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>.
    #[tokio::test]
    async fn a_request_is_signed_as_the_documentation_signs_it() {
        let objects = objects(&KEYS, "examplebucket");
        assert_eq!(objects.url, "https://examplebucket.s3.us-east-1.amazonaws.com");
        let mut request =
            Request::get("https://examplebucket.s3.amazonaws.com/test.txt").header(RANGE, "bytes=0-9").body(SdkBody::empty()).unwrap();
        // 2013-05-24T00:00:00Z.
        objects.sign(&mut request, UNIX_EPOCH + Duration::from_secs(1_369_353_600)).await.unwrap();
        let authorization = request.headers()[AUTHORIZATION].to_str().unwrap();
        assert!(authorization.contains("SignedHeaders=host;range;x-amz-content-sha256;x-amz-date"), "{authorization}");
        assert!(authorization.ends_with("f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"), "{authorization}");
    }

    #[test]
    fn a_bucket_has_its_place() {
        let of = |variable: (&str, &str)| objects(&[&KEYS[..], &[variable]].concat(), "mails").url;
        assert_eq!(of(("AWS_REGION", "eu-central-1")), "https://mails.s3.eu-central-1.amazonaws.com");
        assert_eq!(of(("AWS_REGION", "cn-north-1")), "https://mails.s3.cn-north-1.amazonaws.com.cn");
        assert_eq!(of(("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:4566/")), "http://127.0.0.1:4566/mails");
    }
}
