//! The flags of `cargo local`.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::Parser;

/// Run all of Tenantry on this machine: the functions, an embedded DynamoDB, Secrets Manager and SQS, and a console.
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo local", bin_name = "cargo local")]
pub struct Options {
    /// Port of the API
    #[arg(long, default_value_t = 9000, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// Port of the console: API reference, mailbox, phones, catcher of webhooks, table browser
    #[arg(long, default_value_t = 9001, value_parser = clap::value_parser!(u16).range(1..))]
    pub console_port: u16,

    /// Where the data is kept [default: .local/data of the workspace]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Keep the data in memory; it is gone at the end
    #[arg(long, conflicts_with = "data")]
    pub memory: bool,

    /// Build and run the functions with the release profile
    #[arg(long)]
    pub release: bool,

    /// A page that may call the API from another origin, as the parameter CorsOrigins says it on AWS; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    pub cors_origin: Vec<String>,

    /// A DNS server that is asked about custom domains, 53 if it has no port; may be repeated [default: as in template.yaml]
    #[arg(long, value_name = "IP[:PORT]", value_parser = resolver)]
    pub resolver: Vec<SocketAddr>,

    /// Where webhooks may lead beside the public internet and the catcher, such as 127.0.0.1:8080, for which http will do; may be repeated
    #[arg(long, value_name = "HOST:PORT")]
    pub webhook_allow: Vec<String>,

    /// Print the functions' own JSON lines instead of a short line for each request
    #[arg(long)]
    pub json: bool,

    /// Count and report rate limits and quotas, but never refuse
    #[arg(long)]
    pub no_limits: bool,
}

fn resolver(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<SocketAddr>().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
    address.map_err(|_| "an IP address, with a port or without".to_owned())
}

impl Options {
    /// Reads the command line. A mistake or `--help` ends the process.
    pub fn read() -> Options {
        Options::parse()
    }

    /// Where webhooks may lead beside the public internet: to the catcher, and where the command line says.
    pub fn webhooks_allowed(&self) -> String {
        let catcher = format!("127.0.0.1:{}", self.console_port);
        [&[catcher], self.webhook_allow.as_slice()].concat().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_is_an_address_with_or_without_a_port() {
        assert_eq!(resolver("9.9.9.9").unwrap().to_string(), "9.9.9.9:53");
        assert_eq!(resolver("127.0.0.1:5353").unwrap().to_string(), "127.0.0.1:5353");
        assert_eq!(resolver("2620:fe::fe").unwrap().to_string(), "[2620:fe::fe]:53");
        assert!(resolver("dns.example").is_err());
    }

    #[test]
    fn webhooks_may_lead_to_the_catcher_and_where_it_is_said() {
        let allowed = |flags: &[&str]| Options::try_parse_from([&["local"], flags].concat()).unwrap().webhooks_allowed();
        assert_eq!(allowed(&[]), "127.0.0.1:9001");
        let flags = ["--console-port", "9100", "--webhook-allow", "127.0.0.1:4000", "--webhook-allow", "hooks.internal:8443"];
        assert_eq!(allowed(&flags), "127.0.0.1:9100,127.0.0.1:4000,hooks.internal:8443");
    }
}
