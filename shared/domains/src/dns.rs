//! Real DNS: every configured resolver gets the same questions, and each answer is kept.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use shared::config::EdgeHosts;
use shared::model::domain::{DnsAnswer, Domain, Sighting};

/// The time limit for all questions to one resolver together.
const TIMEOUT: Duration = Duration::from_secs(2);
/// UDP can lose packets, so there is a second try within the limit above.
const TRY: Duration = Duration::from_millis(900);
/// A longer CNAME chain counts as endless.
const LONGEST_CHAIN: usize = 8;
/// Texts of others are read up to this length.
const LONGEST_TEXT: usize = 255;

pub struct Dns<'a> {
    config: &'a EdgeHosts,
}

impl<'a> Dns<'a> {
    pub fn new(config: &'a EdgeHosts) -> Self {
        Dns { config }
    }

    /// Asks every resolver for the domain's CNAME and its TXT record.
    pub async fn look(&self, domain: &Domain) -> Vec<Sighting> {
        join_all(self.config.resolvers.iter().map(|address| self.ask(*address, domain))).await
    }

    async fn ask(&self, address: SocketAddr, domain: &Domain) -> Sighting {
        let silent = |why: String| DnsAnswer::Silent(why);
        let (cname, txt) = match resolver(address) {
            // Its tasks end with it, so nothing runs after the answer.
            Ok(resolver) => {
                let cname = tokio::time::timeout(TIMEOUT, chain(&resolver, domain.hostname.as_str(), &self.config.target));
                let challenge = domain.hostname.challenge_name();
                let txt = tokio::time::timeout(TIMEOUT, texts(&resolver, &challenge));
                let (cname, txt) = tokio::join!(cname, txt);
                let too_late = |_| silent("it took longer than 2 seconds".into());
                (cname.unwrap_or_else(too_late), txt.unwrap_or_else(too_late))
            }
            Err(error) => (silent(error.to_string()), silent(error.to_string())),
        };
        Sighting { resolver: address.to_string(), cname, txt }
    }
}

/// Asks only one server and caches nothing, because a check is about the present state.
fn resolver(address: SocketAddr) -> Result<TokioResolver, NetError> {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    let server = NameServerConfig::new(address.ip(), true, connections.into());
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = TRY;
    options.attempts = 1;
    builder.build()
}

/// Follows the CNAMEs of a name until they reach `target` or end.
async fn chain(resolver: &TokioResolver, hostname: &str, target: &str) -> DnsAnswer {
    let mut names = vec![hostname.to_owned()];
    loop {
        let last = &names[names.len() - 1];
        let next = match answers(resolver, last, RecordType::CNAME).await {
            Ok(records) => records.into_iter().find_map(|record| match record {
                RData::CNAME(cname) => Some(plain(&cname.0)),
                _ => None,
            }),
            Err(why) => return DnsAnswer::Silent(why),
        };
        let Some(next) = next else { break };
        let circle = names.contains(&next);
        names.push(next);
        if circle || names.len() > LONGEST_CHAIN + 1 {
            return DnsAnswer::Loop(names.split_off(1));
        }
        if names[names.len() - 1] == target {
            break;
        }
    }
    let chain = names.split_off(1);
    if chain.is_empty() { DnsAnswer::Nothing } else { DnsAnswer::Found(chain) }
}

async fn texts(resolver: &TokioResolver, name: &str) -> DnsAnswer {
    match answers(resolver, name, RecordType::TXT).await {
        Err(why) => DnsAnswer::Silent(why),
        Ok(records) => {
            let texts = records.into_iter().filter_map(|record| match record {
                RData::TXT(txt) => {
                    let text = txt.txt_data.concat();
                    Some(String::from_utf8_lossy(&text).chars().filter(|c| !c.is_control()).take(LONGEST_TEXT).collect::<String>())
                }
                _ => None,
            });
            let mut texts: Vec<String> = texts.collect();
            // A name can have many texts. Those that matter are shown first.
            texts.sort_unstable_by_key(|text| !text.starts_with("tenant-verify="));
            if texts.is_empty() { DnsAnswer::Nothing } else { DnsAnswer::Found(texts) }
        }
    }
}

/// The records for one question. Empty if the name or the record does not exist.
async fn answers(resolver: &TokioResolver, name: &str, kind: RecordType) -> Result<Vec<RData>, String> {
    // A name that is not valid in DNS does not exist.
    let Ok(name) = Name::from_ascii(format!("{name}.")) else { return Ok(vec![]) };
    match resolver.lookup(name.clone(), kind).await {
        Ok(lookup) => Ok(lookup.answers().iter().filter(|record| record.record_type() == kind).map(|record| record.data.clone()).collect()),
        Err(error) if error.is_no_records_found() => Ok(vec![]),
        Err(error) => Err(short(&error)),
    }
}

fn short(error: &NetError) -> String {
    match error {
        NetError::Timeout => "it took too long".into(),
        NetError::NoConnections | NetError::Io(_) => "it cannot be reached".into(),
        NetError::Dns(error) => error.to_string().chars().take(120).collect(),
        _ => "it did not answer properly".into(),
    }
}

fn plain(name: &Name) -> String {
    name.to_lowercase().to_ascii().trim_end_matches('.').to_owned()
}
