//! The environment of a function, read once at start. If a variable is wrong or missing, the start fails with one sentence that names it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

#[derive(Debug, Clone)]
pub struct Config {
    pub table: String,
    pub stage: Stage,
    /// Base URL of the API: token issuer, and the start of links in mails. No trailing slash.
    pub public_url: String,
    /// The role for sessions of a tenant. A session with a tenant's tag reaches only that tenant. Without this role, the function's own
    /// role reaches all tenants.
    pub tenant_role: Option<String>,
    /// For values that tenants entrust to us. Used by `tenants`, `webhooks`, `fanout` and `operator`.
    pub vault_secret: Option<String>,
    /// For links in mails. Used by `auth` and `courier`.
    pub links_secret: Option<String>,
    /// For links, tags and addresses of campaigns' mails. Used by `links`, `sender` and `receiver`.
    pub mail_refs_secret: Option<String>,
    /// For references to messages to phones, and gateways' secrets. Used by `messages`, `switchboard` and `operator`.
    pub lines_secret: Option<String>,
    /// For cursors and stored answers. Used by the functions of the API.
    pub cursors_secret: Option<String>,
    /// For receipts of purges. Used by `janitor` and `operator`.
    pub receipts_secret: Option<String>,
    pub signing_secret: Option<String>,
    pub jwks_secret: Option<String>,
    /// The queue for what became of campaigns' mails. `links` writes to it.
    pub mail_events_queue: Option<String>,
    /// Where events may be delivered to beside the public internet. `webhooks` judges URLs by it.
    pub webhook_allowed_hosts: Option<String>,
    /// How long the test of a webhook waits for its attempt.
    pub webhook_test_wait: Duration,
    /// The key of the edge proxies. Only `insights` reads it.
    pub ingest_secret: Option<String>,
    pub session_days: i64,
    pub limits: RateLimits,
    pub issuers: Vec<Issuer>,
    pub demo: DemoSettings,
    pub edge: EdgeHosts,
    pub prices: Prices,
    /// The memory of this function, for the price of its computing time.
    pub memory_mb: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Local,
    Development,
    Production,
}

/// Requests per minute by class, and whether they are enforced or only reported.
#[derive(Debug, Clone)]
pub struct RateLimits {
    pub enforce: bool,
    pub write: u64,
    pub read: u64,
    /// Logins per e-mail and IP.
    pub auth: u64,
    /// Requests to any open route per IP.
    pub auth_ip: u64,
    /// Failed logins per e-mail and IP in 15 minutes. After the same number of failures from all addresses, unknown addresses get only a
    /// few attempts each.
    pub auth_failures: u64,
    /// Failed logins per IP in 15 minutes.
    pub auth_failures_ip: u64,
    /// Requests with invalid credentials per IP and minute.
    pub credentials: u64,
    /// Links of mails per IP. Many people may be behind one.
    pub links: u64,
    /// Demos per IP and hour.
    pub demo: u64,
}

/// An identity provider whose JWTs count as sessions. It says who the user is, never which tenant or role they have.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    pub issuer: String,
    pub audience: String,
    pub jwks_url: String,
}

#[derive(Debug, Clone)]
pub struct DemoSettings {
    pub enabled: bool,
    pub max_active: u64,
    pub hours: i64,
    pub secret: Option<String>,
    /// Contains `{slug}`.
    pub tenant_url: String,
}

/// The hosts under which tenants are served: their own, and custom ones.
#[derive(Debug, Clone)]
pub struct EdgeHosts {
    /// `EDGE_DOMAIN`: the host of a tenant is `<slug>.<this>`. A tenant cannot add a custom domain below it.
    pub domain: String,
    /// `DOMAIN_TARGET`: what the CNAME of a custom domain must point to. The default is `proxy` below the edge domain.
    pub target: String,
    /// `DNS_RESOLVERS`: the DNS servers to ask. All that answer must agree.
    pub resolvers: Vec<SocketAddr>,
}

/// The prices of AWS in US dollars. `PRICES` replaces the list prices of us-east-1 on arm64 (November 2026).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prices {
    /// DynamoDB on demand, a read request unit.
    pub read_unit: f64,
    pub write_unit: f64,
    /// Lambda, a second of one GB.
    pub gb_second: f64,
    /// A request, at Lambda and at the HTTP API together.
    pub request: f64,
}

impl Default for Prices {
    fn default() -> Self {
        Prices { read_unit: 0.125e-6, write_unit: 0.625e-6, gb_second: 13.3334e-6, request: 1.2e-6 }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl Config {
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::read(&Variables(std::env::vars().collect()))
    }

    pub fn read(variables: &Variables) -> Result<Self, ConfigError> {
        let stage = match variables.or("STAGE", "dev") {
            "local" => Stage::Local,
            "dev" => Stage::Development,
            "prod" => Stage::Production,
            other => return Err(ConfigError(format!("STAGE is {other:?}: it must be local, dev or prod"))),
        };
        let enforce = match variables.or("RATE_LIMITS", "enforce") {
            "enforce" => true,
            "report" if stage == Stage::Production => {
                return Err(ConfigError("RATE_LIMITS=report is for local runs: a production stage enforces its limits".into()));
            }
            "report" => false,
            other => return Err(ConfigError(format!("RATE_LIMITS is {other:?}: it must be enforce or report"))),
        };
        let public_url = variables.or("PUBLIC_URL", "http://127.0.0.1:9000").trim_end_matches('/').to_owned();
        if !public_url.starts_with("https://") && !public_url.starts_with("http://") {
            return Err(ConfigError(format!("PUBLIC_URL is {public_url:?}: it must begin with https:// (or http:// on a laptop)")));
        }
        let issuers = serde_json::from_str(variables.or("OIDC_ISSUERS", "[]"))
            .map_err(|error| ConfigError(format!("OIDC_ISSUERS must be a JSON list of {{issuer, audience, jwks_url}}: {error}")))?;
        let tenant_url = variables.or("TENANT_URL", "https://{slug}.example.com").to_owned();
        if !tenant_url.contains("{slug}") {
            return Err(ConfigError("TENANT_URL must contain {slug}".into()));
        }
        Ok(Config {
            table: variables.required("TABLE_NAME")?,
            stage,
            public_url,
            tenant_role: variables.optional("TENANT_ROLE_ARN"),
            vault_secret: variables.optional("VAULT_SECRET_ID"),
            links_secret: variables.optional("LINKS_SECRET_ID"),
            mail_refs_secret: variables.optional("MAIL_REFS_SECRET_ID"),
            lines_secret: variables.optional("LINES_SECRET_ID"),
            cursors_secret: variables.optional("CURSORS_SECRET_ID"),
            receipts_secret: variables.optional("RECEIPTS_SECRET_ID"),
            signing_secret: variables.optional("SIGNING_SECRET_ID"),
            jwks_secret: variables.optional("JWKS_SECRET_ID"),
            mail_events_queue: variables.optional("MAIL_EVENTS_QUEUE_URL"),
            webhook_allowed_hosts: variables.optional("WEBHOOK_ALLOWED_HOSTS"),
            webhook_test_wait: Duration::from_millis(variables.number("WEBHOOK_TEST_WAIT_MS", 20_000)?),
            ingest_secret: variables.optional("INGEST_SECRET_ID"),
            session_days: variables.number("SESSION_DAYS", 7)?,
            limits: RateLimits {
                enforce,
                write: variables.number("RATE_WRITE", 60)?,
                read: variables.number("RATE_READ", 120)?,
                auth: variables.number("RATE_AUTH", 10)?,
                auth_ip: variables.number("RATE_AUTH_IP", 60)?,
                auth_failures: variables.number("RATE_AUTH_FAILURES", 50)?,
                auth_failures_ip: variables.number("RATE_AUTH_FAILURES_IP", 200)?,
                credentials: variables.number("RATE_CREDENTIALS", 100)?,
                links: variables.number("RATE_LINKS", 600)?,
                demo: variables.number("DEMO_PER_HOUR", 3)?,
            },
            issuers,
            demo: DemoSettings {
                enabled: variables.number("DEMO_ENABLED", true)?,
                max_active: variables.number("DEMO_MAX_ACTIVE", 100)?,
                hours: variables.number("DEMO_HOURS", 48)?,
                secret: variables.optional("DEMO_SECRET_ID"),
                tenant_url,
            },
            edge: EdgeHosts::read(variables)?,
            prices: serde_json::from_str(variables.or("PRICES", "{}"))
                .map_err(|error| ConfigError(format!("PRICES must be a JSON object of prices in US dollars: {error}")))?,
            memory_mb: variables.number("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 256)?,
        })
    }
}

impl EdgeHosts {
    fn read(variables: &Variables) -> Result<Self, ConfigError> {
        let host = |name: &str, value: &str| {
            let host = value.trim_end_matches('.').to_ascii_lowercase();
            let label = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            let fits = host.contains('.') && host.split('.').all(label);
            fits.then_some(host).ok_or_else(|| ConfigError(format!("{name} is {value:?}: it must be a host name like edge.example.com")))
        };
        let domain = host("EDGE_DOMAIN", variables.or("EDGE_DOMAIN", "edge.example.com"))?;
        let target = host("DOMAIN_TARGET", variables.or("DOMAIN_TARGET", &format!("proxy.{domain}")))?;
        let list = variables.or("DNS_RESOLVERS", "1.1.1.1:53,9.9.9.9:53");
        let address = |text: &str| text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
        let resolvers = list.split(',').map(str::trim).map(address).collect::<Result<Vec<_>, _>>();
        let resolvers = resolvers
            .map_err(|_| ConfigError(format!("DNS_RESOLVERS is {list:?}: it must be addresses like 1.1.1.1:53, separated by commas")))?;
        Ok(EdgeHosts { domain, target, resolvers })
    }
}

/// Environment variables by name. An empty variable counts as absent.
pub struct Variables(pub HashMap<String, String>);

impl Variables {
    pub fn from_env() -> Self {
        Variables(std::env::vars().collect())
    }

    pub fn optional(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }

    pub fn required(&self, name: &str) -> Result<String, ConfigError> {
        self.optional(name).ok_or_else(|| ConfigError(format!("{name} is not set")))
    }

    fn or<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.0.get(name).filter(|value| !value.is_empty()).map_or(default, String::as_str)
    }

    fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T, ConfigError> {
        match self.optional(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| ConfigError(format!("{name} is {text:?}: it must be a {}", std::any::type_name::<T>()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let mut variables = HashMap::from([("TABLE_NAME".to_owned(), "tenantry".to_owned())]);
        variables.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Config::read(&Variables(variables)).map_err(|error| error.0)
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let config = read(&[]).expect("defaults are complete");
        assert_eq!((config.limits.write, config.limits.read, config.limits.auth, config.limits.demo), (60, 120, 10, 3));
        assert_eq!((config.session_days, config.demo.hours, config.demo.max_active), (7, 48, 100));
        assert!(config.limits.enforce && config.demo.enabled);
    }

    #[test]
    fn a_wrong_value_is_named() {
        assert!(read(&[("SESSION_DAYS", "week")]).unwrap_err().contains("SESSION_DAYS"));
        assert!(read(&[("STAGE", "prod"), ("RATE_LIMITS", "report")]).unwrap_err().contains("RATE_LIMITS"));
        assert!(read(&[("OIDC_ISSUERS", "{}")]).unwrap_err().contains("OIDC_ISSUERS"));
        assert!(read(&[("EDGE_DOMAIN", "https://edge.example.com")]).unwrap_err().contains("EDGE_DOMAIN"));
        assert!(read(&[("TABLE_NAME", "")]).unwrap_err().contains("TABLE_NAME"));
        assert!(read(&[("PRICES", "{\"read\": 1}")]).unwrap_err().contains("PRICES"));
        assert!(read(&[("DNS_RESOLVERS", "dns.example.com")]).unwrap_err().contains("DNS_RESOLVERS"));
        assert!(read(&[("DOMAIN_TARGET", "proxy")]).unwrap_err().contains("DOMAIN_TARGET"));
    }

    #[test]
    fn the_target_of_custom_domains_lies_in_the_edge_domain() {
        let edge = |pairs: &[(&str, &str)]| read(pairs).expect("complete").edge;
        let own = edge(&[("EDGE_DOMAIN", "Edge.acme.net.")]);
        assert_eq!((own.target.as_str(), own.domain.as_str()), ("proxy.edge.acme.net", "edge.acme.net"));
        let other = edge(&[("DOMAIN_TARGET", "lb.acme.net"), ("DNS_RESOLVERS", "10.0.0.2, [::1]:5353")]);
        assert_eq!((other.target.as_str(), other.domain.as_str()), ("lb.acme.net", "edge.example.com"));
        assert_eq!(other.resolvers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.2:53", "[::1]:5353"]);
    }
}
