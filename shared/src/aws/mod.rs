//! Clients for AWS, built without `aws-config`: in Lambda, the region, the credentials and the endpoints are in the environment. All
//! clients trust only the five Amazon roots, because parsing the system's 140 roots costs more than everything else at start. The table has
//! its own connections.

pub mod https;
pub mod objects;
pub mod secrets;
mod tls;

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_runtime::invocation_id::InvocationIdInterceptor;
use aws_runtime::request_info::RequestInfoInterceptor;
use aws_runtime::user_agent::UserAgentInterceptor;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, IdentityCache, Region, SharedCredentialsProvider, StalledStreamProtectionConfig};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::interceptors::context::BeforeSerializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, disable_interceptor, dyn_dispatch_hint};
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::retry::RetryConfig;

use crate::aws::https::Https;
use crate::config::{ConfigError, Variables};

/// Every AWS endpoint uses a certificate of one of these roots, as published at https://www.amazontrust.com/repository/. They are in DER,
/// because reading PEM at every start costs more than the rest of the trust store.
const AMAZON_ROOTS: [&[u8]; 5] = [
    include_bytes!("amazon_roots/amazon_root_ca_1.der"),
    include_bytes!("amazon_roots/amazon_root_ca_2.der"),
    include_bytes!("amazon_roots/amazon_root_ca_3.der"),
    include_bytes!("amazon_roots/amazon_root_ca_4.der"),
    include_bytes!("amazon_roots/starfield_services_root_g2.der"),
];

/// Time limits: for a connection, for one attempt of a call, and for a call with its retries.
#[derive(Clone, Copy)]
struct Timeouts {
    connect: Duration,
    attempt: Duration,
    call: Duration,
}

/// The region, the credentials and the connections.
#[derive(Clone)]
pub struct Aws {
    region: Region,
    credentials: SharedCredentialsProvider,
    http: Https,
    table_http: Https,
    endpoint: Option<String>,
    variables: std::sync::Arc<Variables>,
    timeouts: Timeouts,
}

/// What the configurations of all services have in common.
pub struct Common {
    pub region: Region,
    pub credentials: SharedCredentialsProvider,
    pub http: SharedHttpClient,
    pub endpoint: Option<String>,
    pub retries: RetryConfig,
    pub timeouts: TimeoutConfig,
    pub behavior: BehaviorVersion,
}

/// Leaves out the headers that tell AWS about the SDK and its retries. They change nothing, but writing and signing them is a twentieth of
/// a warm request.
#[derive(Debug)]
struct FewerHeaders;

#[dyn_dispatch_hint]
impl Intercept for FewerHeaders {
    fn name(&self) -> &'static str {
        "FewerHeaders"
    }

    fn read_before_execution(&self, _: &BeforeSerializationInterceptorContextRef<'_>, config: &mut ConfigBag) -> Result<(), BoxError> {
        let state = config.interceptor_state();
        state.store_put(disable_interceptor::<UserAgentInterceptor>("nobody here reads it"));
        state.store_put(disable_interceptor::<RequestInfoInterceptor>("nobody here reads it"));
        state.store_put(disable_interceptor::<InvocationIdInterceptor>("nobody here reads it"));
        Ok(())
    }
}

impl Aws {
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::read(Variables::from_env())
    }

    pub fn read(variables: Variables) -> Result<Self, ConfigError> {
        let credentials = Credentials::new(
            variables.required("AWS_ACCESS_KEY_ID")?,
            variables.required("AWS_SECRET_ACCESS_KEY")?,
            variables.optional("AWS_SESSION_TOKEN"),
            None,
            "environment",
        );
        let http = https(&variables)?;
        Ok(Aws {
            region: Region::new(variables.required("AWS_REGION")?),
            credentials: SharedCredentialsProvider::new(credentials),
            table_http: http.with_own_connections(),
            http,
            endpoint: variables.optional("AWS_ENDPOINT_URL"),
            variables: std::sync::Arc::new(variables),
            timeouts: Timeouts { connect: Duration::from_secs(1), attempt: Duration::from_secs(3), call: Duration::from_secs(8) },
        })
    }

    /// The same time limit for every call, for cases where only the outcome matters, such as a test on a busy machine.
    pub fn waiting(self, limit: Duration) -> Self {
        Aws { timeouts: Timeouts { connect: limit, attempt: limit, call: limit }, ..self }
    }

    /// `service` as in `AWS_ENDPOINT_URL_<SERVICE>`.
    pub fn common(&self, service: &str) -> Common {
        Common {
            region: self.region.clone(),
            credentials: self.credentials.clone(),
            http: self.http.client(),
            endpoint: self.variables.optional(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| self.endpoint.clone()),
            retries: RetryConfig::standard().with_max_attempts(3),
            timeouts: TimeoutConfig::builder()
                .connect_timeout(self.timeouts.connect)
                .operation_attempt_timeout(self.timeouts.attempt)
                .operation_timeout(self.timeouts.call)
                .build(),
            behavior: BehaviorVersion::v2026_01_12(),
        }
    }

    /// The client of every service except the table.
    pub fn https(&self) -> &Https {
        &self.http
    }

    /// The connections of `dynamodb`.
    pub(crate) fn table_connections(&self) -> &Https {
        &self.table_http
    }

    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        crate::client!(
            self,
            "DYNAMODB",
            aws_sdk_dynamodb,
            http_client(self.table_http.client()),
            // The credentials stay what they are as long as the process, and no answer is longer than an attempt may take.
            identity_cache(IdentityCache::no_cache()),
            stalled_stream_protection(StalledStreamProtectionConfig::disabled()),
            interceptor(FewerHeaders)
        )
    }

    pub fn sts(&self) -> aws_sdk_sts::Client {
        crate::client!(self, "STS", aws_sdk_sts)
    }

    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        crate::client!(self, "SECRETS_MANAGER", aws_sdk_secretsmanager)
    }
}

/// The client of a service's SDK: with what all have in common, and after it with what is this one's own.
#[macro_export]
macro_rules! client {
    ($aws:expr, $service:literal, $sdk:ident $(, $setter:ident($value:expr))*) => {{
        let common = $aws.common($service);
        let mut config = $sdk::Config::builder()
            .behavior_version(common.behavior)
            .region(common.region)
            .credentials_provider(common.credentials)
            .http_client(common.http)
            .retry_config(common.retries)
            .timeout_config(common.timeouts)
            $(.$setter($value))*;
        config.set_endpoint_url(common.endpoint);
        $sdk::Client::from_conf(config.build())
    }};
}

/// `TRUST_ROOTS`: `amazon`, `native` (for proxies that inspect TLS and for other partitions), or a PEM file in addition to the Amazon
/// roots.
fn https(variables: &Variables) -> Result<Https, ConfigError> {
    let client = match variables.optional("TRUST_ROOTS").as_deref() {
        None | Some("amazon") => Https::trusting(&AMAZON_ROOTS, b""),
        Some("native") => Https::native(),
        Some(path) => {
            let pem =
                std::fs::read(path).map_err(|error| ConfigError(format!("TRUST_ROOTS names {path:?}, which cannot be read: {error}")))?;
            Https::trusting(&AMAZON_ROOTS, &pem)
        }
    };
    client.map_err(|error| ConfigError(format!("the trust roots cannot be used: {error}")))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn aws(region: &str, more: &[(&str, &str)]) -> Aws {
        let variables = [("AWS_REGION", region), ("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
        let variables = variables.iter().chain(more).map(|(name, value)| (name.to_string(), value.to_string()));
        Aws::read(Variables(variables.collect())).unwrap()
    }

    #[tokio::test]
    async fn the_table_is_not_told_of_the_sdk() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = aws("eu-central-1", &[("AWS_ENDPOINT_URL", &url)]).dynamodb();
        let heard = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = vec![];
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                assert!(socket.read_buf(&mut head).await.unwrap() > 0, "the connection was closed");
            }
            String::from_utf8(head).unwrap()
        };
        let head = tokio::select! {
            head = heard => head,
            _ = client.list_tables().send() => panic!("there was no answer"),
        };
        let told = |name: &str| head.lines().any(|line| line.starts_with(&format!("{name}: ")));
        assert!(told("authorization") && told("x-amz-date") && told("x-amz-target"), "{head}");
        assert!(!told("user-agent") && !told("x-amz-user-agent"), "{head}");
        assert!(!told("amz-sdk-request") && !told("amz-sdk-invocation-id"), "{head}");
    }

    #[test]
    fn the_embedded_roots_are_the_published_ones() {
        let published = [
            "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
            "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
            "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
            "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
            "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
        ];
        let fingerprints = AMAZON_ROOTS.map(|root| {
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, root);
            hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        });
        assert_eq!(fingerprints, published);
        assert!(Https::trusting(&AMAZON_ROOTS, b"").is_ok());
    }
}
