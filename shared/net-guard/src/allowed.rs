//! What an operator allows beside the public internet: hosts and blocks of addresses, each with its port.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// `hooks.internal:8443,10.1.0.0/16:443,127.0.0.1:9100,[fd00::1]:443`. Whoever may be called without it may be called with it too.
#[derive(Debug, Clone, Default)]
pub struct Allowed(Vec<(Place, u16)>);

#[derive(Debug, Clone)]
enum Place {
    /// In lower case. Whatever addresses it has.
    Host(String),
    /// Whatever the host is called.
    Block(IpNet),
}

/// Names the entry that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no host, address or block of addresses with a port, such as hooks.internal:8443 or 10.1.0.0/16:443")]
pub struct NotAllowable(String);

impl Allowed {
    /// Entries with commas between them; an empty text allows nothing.
    pub fn parse(text: &str) -> Result<Self, NotAllowable> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(|entry| entry_of(entry).ok_or_else(|| NotAllowable(entry.to_owned()))).collect::<Result<_, _>>().map(Allowed)
    }

    pub(crate) fn has_host(&self, host: &str, port: u16) -> bool {
        self.0.iter().any(|(place, listed)| *listed == port && matches!(place, Place::Host(name) if name == host))
    }

    pub(crate) fn has_address(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|(place, listed)| *listed == port && matches!(place, Place::Block(block) if block.contains(&address)))
    }

    /// Whether some block has the port: then the addresses of a host decide.
    pub(crate) fn has_port(&self, port: u16) -> bool {
        self.0.iter().any(|(place, listed)| *listed == port && matches!(place, Place::Block(_)))
    }

    /// Only of this machine, and of this one address: what is said there is not encrypted.
    pub(crate) fn has_plain(&self, address: IpAddr, port: u16) -> bool {
        address == IpAddr::V4(Ipv4Addr::LOCALHOST)
            && self.0.iter().any(|(place, listed)| {
                *listed == port && matches!(place, Place::Block(block) if block.addr() == address && block.prefix_len() == 32)
            })
    }
}

fn entry_of(entry: &str) -> Option<(Place, u16)> {
    let (place, port) = entry.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let bare = place.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(place);
    if let Ok(block) = bare.parse::<IpNet>() {
        return Some((Place::Block(block), port));
    }
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some((Place::Block(address.into()), port));
    }
    let is_name = place
        .split('.')
        .all(|label| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    let last_is_name = place.rsplit('.').next().is_some_and(|last| !last.starts_with(|first: char| first.is_ascii_digit()));
    (is_name && last_is_name).then(|| (Place::Host(place.to_ascii_lowercase()), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_hosts_addresses_and_blocks_with_a_port() {
        let allowed = Allowed::parse("Hooks.internal:8443, 10.1.0.0/16:443,127.0.0.1:9100,[fd00::1]:443,[fd01::/32]:444").unwrap();
        assert!(
            allowed.has_host("hooks.internal", 8443) && !allowed.has_host("hooks.internal", 443) && !allowed.has_host("internal", 8443)
        );
        let has = |address: &str, port| allowed.has_address(address.parse().unwrap(), port);
        assert!(has("10.1.2.3", 443) && has("::ffff:10.1.2.3", 443) && has("fd00::1", 443) && has("fd01:0:9::1", 444));
        assert!(!has("10.2.0.1", 443) && !has("10.1.2.3", 8443) && !has("fd00::2", 443));
        let plain = |address: &str, port| allowed.has_plain(address.parse().unwrap(), port);
        assert!(plain("127.0.0.1", 9100) && !plain("127.0.0.1", 9101) && !plain("10.1.2.3", 443));
        assert!(!Allowed::parse("127.0.0.0/8:9100").unwrap().has_plain(IpAddr::V4(Ipv4Addr::LOCALHOST), 9100));
        assert!(!Allowed::parse(" , ").unwrap().has_port(443));
        for wrong in
            ["hooks.internal", "10.1.0.0/16", "x:0", "x:65536", ":443", "a b:443", "300.1.1.1:443", "10.0.0.0/33:443", "https://x:443"]
        {
            assert!(Allowed::parse(wrong).is_err(), "{wrong}");
        }
    }
}
