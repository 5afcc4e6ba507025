//! Clients for AWS, built without `aws-config`: in Lambda region and credentials are in the environment, and so are endpoints.
//! One HTTP client for all, with the five Amazon roots instead of the system's 140: parsing those costs more than everything else at start.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, IdentityCache, Region, SharedCredentialsProvider, StalledStreamProtectionConfig};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;

use crate::config::{ConfigError, Variables};

/// Amazon Root CA 1–4 and Starfield Services Root CA G2: every AWS endpoint chains to one of these.
const AMAZON_ROOTS: &str = include_str!("amazon_roots.pem");

/// Where AWS is and who we are there.
#[derive(Clone)]
pub struct Aws {
    region: Region,
    credentials: SharedCredentialsProvider,
    http: SharedHttpClient,
    endpoint: Option<String>,
    variables: std::sync::Arc<Variables>,
}

/// What every service's configuration has in common.
pub struct Common {
    pub region: Region,
    pub credentials: SharedCredentialsProvider,
    pub http: SharedHttpClient,
    pub endpoint: Option<String>,
    pub retries: RetryConfig,
    pub timeouts: TimeoutConfig,
    pub behavior: BehaviorVersion,
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
        Ok(Aws {
            region: Region::new(variables.required("AWS_REGION")?),
            credentials: SharedCredentialsProvider::new(credentials),
            http: https(&variables)?,
            endpoint: variables.optional("AWS_ENDPOINT_URL"),
            variables: std::sync::Arc::new(variables),
        })
    }

    /// `service` as in `AWS_ENDPOINT_URL_<SERVICE>`.
    pub fn common(&self, service: &str) -> Common {
        Common {
            region: self.region.clone(),
            credentials: self.credentials.clone(),
            http: self.http.clone(),
            endpoint: self.variables.optional(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| self.endpoint.clone()),
            retries: RetryConfig::standard().with_max_attempts(3),
            timeouts: TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(1))
                .operation_attempt_timeout(Duration::from_secs(3))
                .operation_timeout(Duration::from_secs(8))
                .build(),
            behavior: BehaviorVersion::v2026_01_12(),
        }
    }

    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let common = self.common("DYNAMODB");
        let mut config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(common.behavior)
            .region(common.region)
            .credentials_provider(common.credentials)
            .http_client(common.http)
            .retry_config(common.retries)
            .timeout_config(common.timeouts)
            // The credentials stay what they are as long as the process, and no answer is longer than an attempt may take.
            .identity_cache(IdentityCache::no_cache())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        config.set_endpoint_url(common.endpoint);
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    pub fn sts(&self) -> aws_sdk_sts::Client {
        let common = self.common("STS");
        let mut config = aws_sdk_sts::Config::builder()
            .behavior_version(common.behavior)
            .region(common.region)
            .credentials_provider(common.credentials)
            .http_client(common.http)
            .retry_config(common.retries)
            .timeout_config(common.timeouts);
        config.set_endpoint_url(common.endpoint);
        aws_sdk_sts::Client::from_conf(config.build())
    }

    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        let common = self.common("SECRETS_MANAGER");
        let mut config = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(common.behavior)
            .region(common.region)
            .credentials_provider(common.credentials)
            .http_client(common.http)
            .retry_config(common.retries)
            .timeout_config(common.timeouts);
        config.set_endpoint_url(common.endpoint);
        aws_sdk_secretsmanager::Client::from_conf(config.build())
    }
}

/// `TRUST_ROOTS`: `amazon`, `native` (proxies that inspect TLS, other partitions), or a PEM file besides the Amazon roots.
fn https(variables: &Variables) -> Result<SharedHttpClient, ConfigError> {
    let amazon = TrustStore::empty().with_pem_certificate(AMAZON_ROOTS);
    let store = match variables.optional("TRUST_ROOTS").as_deref() {
        None | Some("amazon") => amazon,
        Some("native") => return Ok(native_https()),
        Some(path) => {
            let pem =
                std::fs::read(path).map_err(|error| ConfigError(format!("TRUST_ROOTS names {path:?}, which cannot be read: {error}")))?;
            amazon.with_pem_certificate(pem)
        }
    };
    let context = TlsContext::builder()
        .with_trust_store(store)
        .build()
        .map_err(|error| ConfigError(format!("the trust roots cannot be used: {error}")))?;
    Ok(Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context).build_https())
}

/// A client that trusts what the machine trusts: for identity providers out on the internet.
pub(crate) fn native_https() -> SharedHttpClient {
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https()
}
