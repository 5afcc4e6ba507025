//! The judgement of a URL, and of the addresses that its host turns out to have. Pure: nothing is asked of a network.

use std::net::IpAddr;

use url::{Host, Url};

use crate::address::is_public;
use crate::allowed::{Allowed, NotAllowable};

/// Without an entry in the list of the operator.
const PORTS: [u16; 2] = [443, 8443];
const LONGEST: usize = 2048;

/// What this deployment may be asked to call.
#[derive(Debug, Clone)]
pub struct Guard {
    allowed: Allowed,
    /// Hosts of this deployment itself, in lower case. For an address, its port.
    own: Vec<(String, u16)>,
}

/// A URL that may be called, if the addresses of its host may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As it was parsed, and so as it is called.
    pub(crate) url: Url,
    pub(crate) port: u16,
}

/// Why a URL is not called. The sentence continues "The url …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("must be a URL like https://example.com/hook")]
    Shape,
    #[error("must be an https URL")]
    Scheme,
    #[error("must not carry credentials")]
    Credentials,
    #[error("must have port 443 or 8443")]
    Port,
    #[error("must name a host of the public internet")]
    Host,
    #[error("must not lead back to this service")]
    Own,
    #[error("leads to an address that is not of the public internet")]
    Address,
}

impl Guard {
    /// `own`: base URLs of this deployment.
    pub fn new(allowed: Allowed, own: &[&str]) -> Self {
        let host = |url: &&str| Url::parse(url).ok().and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)));
        Guard { allowed, own: own.iter().filter_map(host).collect() }
    }

    /// The same, with what is allowed as an operator writes it.
    pub fn read(allowed: Option<&str>, own: &[&str]) -> Result<Self, NotAllowable> {
        Ok(Guard::new(Allowed::parse(allowed.unwrap_or_default())?, own))
    }

    /// The text as it was entered, which the parser of URLs is kinder to than we are.
    pub fn judge(&self, text: &str) -> Result<Target, Refused> {
        let plain = text.len() <= LONGEST && !text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\');
        let url = plain.then(|| Url::parse(text).ok()).flatten().ok_or(Refused::Shape)?;
        let written = |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        if !written("https://") && !written("http://") {
            return Err(if text.contains("://") { Refused::Scheme } else { Refused::Shape });
        }
        let authority = text.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
        // The parser drops an empty user, so the text itself is looked at.
        if authority.contains('@') {
            return Err(Refused::Credentials);
        }
        if authority.is_empty() || authority.ends_with(':') || url.fragment().is_some() || url.as_str().len() > LONGEST {
            return Err(Refused::Shape);
        }
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or(Refused::Port)?;
        let host = url.host().ok_or(Refused::Host)?;
        let address = match host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
        };
        if self.is_own(&url, port, address.is_some()) {
            return Err(Refused::Own);
        }
        if url.scheme() == "http" {
            let may = address.is_some_and(|address| self.allowed.has_plain(address, port));
            return if may { Ok(Target { url, port }) } else { Err(Refused::Scheme) };
        }
        if let Host::Domain(name) = host
            && self.allowed.has_host(name, port)
        {
            return Ok(Target { url, port });
        }
        if let Some(address) = address {
            // An address of the public internet is nobody's name, and has no certificate that says whose it is.
            return if self.allowed.has_address(address, port) { Ok(Target { url, port }) } else { Err(Refused::Host) };
        }
        if !PORTS.contains(&port) && !self.allowed.has_port(port) {
            return Err(Refused::Port);
        }
        if !is_public_name(&host.to_string()) {
            return Err(Refused::Host);
        }
        Ok(Target { url, port })
    }

    /// One of the addresses that the host of a target has now.
    pub fn may_dial(&self, target: &Target, address: IpAddr) -> bool {
        let listed = target.url.host_str().is_some_and(|host| self.allowed.has_host(host, target.port));
        listed || self.allowed.has_address(address, target.port) || (PORTS.contains(&target.port) && is_public(address))
    }

    /// Whether only an entry of the operator's list lets it be called.
    pub fn is_listed(&self, target: &Target) -> bool {
        let address = match target.url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        let host = target.url.host_str().unwrap_or_default();
        self.allowed.has_host(host, target.port) || address.is_some_and(|address| self.allowed.has_address(address, target.port))
    }

    fn is_own(&self, url: &Url, port: u16, is_address: bool) -> bool {
        let host = url.host_str().unwrap_or_default();
        self.own.iter().any(|(own, own_port)| {
            let below = host.strip_suffix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            if is_address { host == own && port == *own_port } else { below }
        })
    }
}

impl Target {
    /// In the normal form of the parser: what is stored.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }
}

/// With a dot, and a last label that is no number. No label is empty, so none ends with a dot either.
fn is_public_name(host: &str) -> bool {
    let labels: Vec<&str> = host.split('.').collect();
    let last = labels.last().copied().unwrap_or_default();
    labels.len() >= 2
        && host.len() <= 253
        && labels.iter().all(|label| (1..=63).contains(&label.len()))
        && !last.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allowed: &str) -> Guard {
        Guard::new(Allowed::parse(allowed).unwrap(), &["https://api.tenantry.example", "http://127.0.0.1:9000"])
    }

    #[test]
    fn forms_of_urls_are_judged_one_by_one() {
        use Refused::{Address, Credentials, Host, Own, Port, Scheme, Shape};
        let long = format!("https://example.com/{}", "a".repeat(2048));
        // The parser writes each letter as six characters.
        let longer = format!("https://example.com/{}", "ü".repeat(500));
        let label = format!("https://{}.example.com/", "a".repeat(64));
        let name = format!("https://{}example.com/", "abcdefgh.".repeat(28));
        let refused: &[(&str, Refused)] = &[
            ("", Shape),
            ("example.com", Shape),
            ("//example.com/", Shape),
            ("/hook", Shape),
            ("https:example.com", Shape),
            ("https:/example.com", Shape),
            ("https:///example.com", Shape),
            ("https://", Shape),
            ("https:// example.com/", Shape),
            (" https://example.com/", Shape),
            ("https://example.com/a b", Shape),
            ("https://example.com/\n", Shape),
            ("https://example.com\\@10.0.0.1/", Shape),
            ("https://example.com:/", Shape),
            ("https://example.com:99999/", Shape),
            ("https://example.com/#top", Shape),
            ("https://exa%mple.com/", Shape),
            ("https://[::1/", Shape),
            ("https://[fe80::1%25eth0]/", Shape),
            ("https://[fe80::1%eth0]/", Shape),
            ("https://256.256.256.256/", Shape),
            (&long, Shape),
            (&longer, Shape),
            ("http://example.com/", Scheme),
            ("http://127.0.0.1/", Scheme),
            ("http://127.0.0.1:8000/", Scheme),
            ("ftp://example.com/", Scheme),
            ("file:///etc/passwd", Scheme),
            ("gopher://example.com/", Scheme),
            ("ws://example.com/", Scheme),
            ("https://user@example.com/", Credentials),
            ("https://user:word@example.com/", Credentials),
            ("https://@example.com/", Credentials),
            ("https://:@example.com/", Credentials),
            ("https://example.com@10.0.0.1/", Credentials),
            ("https://example.com:80/", Port),
            ("https://example.com:22/", Port),
            ("https://example.com:0/", Port),
            ("https://example.com:4430/", Port),
            ("https://localhost/", Host),
            ("https://LOCALHOST/", Host),
            ("https://hooks/", Host),
            ("https://com./", Host),
            ("https://example.com./", Host),
            ("https://example..com/", Host),
            ("https://.example.com/", Host),
            ("https://127.0.0.1/", Host),
            ("https://127.1/", Host),
            ("https://127.0.1/", Host),
            ("https://2130706433/", Host),
            ("https://0x7f000001/", Host),
            ("https://0x7f.0.0.1/", Host),
            ("https://0177.0.0.1/", Host),
            ("https://017700000001/", Host),
            ("https://127.0.0.1./", Host),
            ("https://１２７.0.0.1/", Host),
            ("https://127。0。0。1/", Host),
            ("https://①27.0.0.1/", Host),
            ("https://10.0.0.1/", Host),
            ("https://169.254.169.254/latest/meta-data", Host),
            ("https://192.168.0.1/", Host),
            ("https://0/", Host),
            ("https://0.0.0.0/", Host),
            ("https://255.255.255.255/", Host),
            ("https://8.8.8.8/", Host),
            ("https://[::1]/", Host),
            ("https://[::]/", Host),
            ("https://[::ffff:127.0.0.1]/", Host),
            ("https://[::ffff:7f00:1]/", Host),
            ("https://[64:ff9b::7f00:1]/", Host),
            ("https://[fd00::1]/", Host),
            ("https://[2606:4700::1111]/", Host),
            (&label, Host),
            (&name, Host),
            ("https://api.tenantry.example/", Own),
            ("https://API.Tenantry.Example/", Own),
            ("https://api.tenantry.example:8443/v1/messages", Own),
            ("https://a.api.tenantry.example/", Own),
            ("https://127.0.0.1:9000/", Own),
            ("http://127.0.0.1:9000/", Own),
        ];
        let guard = guard("");
        for (url, why) in refused {
            assert_eq!(guard.judge(url), Err(*why), "{url}");
            assert_ne!(*why, Address, "no network was asked");
        }
        let taken = [
            ("https://example.com", "https://example.com/"),
            ("HTTPS://Example.COM/Hook?a=1&b=%20", "https://example.com/Hook?a=1&b=%20"),
            ("https://example.com:443/", "https://example.com/"),
            ("https://example.com:8443/", "https://example.com:8443/"),
            ("https://bücher.example/", "https://xn--bcher-kva.example/"),
            ("https://a.b.c.example.co.uk/x/../y", "https://a.b.c.example.co.uk/y"),
            ("https://not-api.tenantry.example/", "https://not-api.tenantry.example/"),
            ("https://1.example.com/", "https://1.example.com/"),
        ];
        for (url, normal) in taken {
            assert_eq!(guard.judge(url).as_ref().map(Target::as_str), Ok(normal), "{url}");
        }
        assert!(refused.len() + taken.len() >= 80, "{}", refused.len() + taken.len());
    }

    #[test]
    fn what_the_operator_lists_is_allowed_at_its_port_and_nowhere_else() {
        let guard = guard("127.0.0.1:9100,hooks.internal:9443,10.1.0.0/16:8443,10.2.0.0/16:9500,127.0.0.1:9000");
        let judged = |url: &str| guard.judge(url).is_ok();
        assert!(judged("http://127.0.0.1:9100/") && judged("https://127.0.0.1:9100/") && judged("https://hooks.internal:9443/"));
        assert!(judged("https://10.1.2.3:8443/") && judged("https://example.com:9500/"));
        for refused in [
            "http://127.0.0.1:9101/",
            "http://127.0.0.2:9100/",
            "http://localhost:9100/",
            "http://hooks.internal:9443/",
            "http://10.1.2.3:8443/",
            "https://10.1.2.3/",
            "https://10.2.2.3:8443/",
            "https://hooks:9500/",
            "http://127.0.0.1:9000/",
        ] {
            assert!(!judged(refused), "{refused}");
        }
        let dials = |url: &str, address: &str| guard.may_dial(&guard.judge(url).unwrap(), address.parse().unwrap());
        assert!(dials("https://hooks.internal:9443/", "10.9.9.9") && dials("https://example.com:9500/", "10.2.0.1"));
        assert!(dials("https://example.com:8443/", "10.1.0.1") && dials("https://example.com:8443/", "8.8.8.8"));
        assert!(!dials("https://example.com:9500/", "8.8.8.8"), "a port of a block is for the block");
        assert!(!dials("https://example.com/", "10.1.0.1") && !dials("https://example.com:8443/", "10.2.0.1"));
        assert!(guard.is_listed(&guard.judge("http://127.0.0.1:9100/").unwrap()));
        assert!(!guard.is_listed(&guard.judge("https://example.com:9500/").unwrap()));
    }
}
