//! Custom domains of a tenant: list, add, remove, and check one in DNS.

use domains::Dns;
use serde::Serialize;
use shared::error::PlanLimit;
use shared::http::answer::{Answer, Created};
use shared::http::arguments::{Total, WholeList};
use shared::http::form::{Fields, Form, HostnameText, Raw, Rule, described, from_query};
use shared::http::idempotency::Once;
use shared::http::{Argument, Operation, request};
use shared::model::domain::{CheckTrigger, ClaimStanding, DnsAnswer, Domain, DomainStatus, Hostname, Sighting, Verdict};
use shared::model::time::{Printed, zulu};
use shared::tenancy::doors::{Admin, Viewer};
use shared::tenancy::{Entered, Incoming, Wants};
use shared::{Error, Result};

/// A custom domain of a tenant.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Domain)]
pub struct DomainView {
    hostname: String,
    status: DomainStatus,
    /// The record that leads the hostname here.
    dns: DnsRecord,
    /// The record that proves the hostname is this tenant's; needed where another tenant has listed it too.
    txt: DnsRecord,
    /// What the last check complained of.
    error: Option<String>,
    created_at: Printed,
    last_checked_at: Option<Printed>,
    verified_at: Option<Printed>,
    ssl: Ssl,
}

/// A record to set in DNS.
#[derive(Clone, Serialize, utoipa::ToSchema)]
pub struct DnsRecord {
    #[serde(rename = "type")]
    kind: RecordKind,
    name: String,
    value: String,
}

#[derive(Clone, Copy, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = DnsRecordType)]
pub enum RecordKind {
    Cname,
    Txt,
}

/// The certificate: issued by the edge once the hostname leads there.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Certificate)]
pub struct Ssl {
    status: Certificate,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CertificateStatus)]
pub enum Certificate {
    Pending,
    Issued,
    Failed,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DomainList)]
pub struct DomainList {
    total: u64,
    domains: Vec<DomainView>,
}

/// A check's outcome: the domain as it stands now, and what led to it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DomainCheck)]
pub struct CheckView {
    #[serde(flatten)]
    domain: DomainView,
    diagnosis: Diagnosis,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DomainDiagnosis)]
pub struct Diagnosis {
    /// The questions, put to each resolver.
    asked: Vec<Question>,
    seen: Vec<SightingView>,
    /// Whether the TXT record is needed beside the CNAME.
    txt_required: bool,
    /// The exact records to set.
    set: Vec<DnsRecord>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DnsQuestion)]
pub struct Question {
    #[serde(rename = "type")]
    kind: RecordKind,
    name: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DnsSighting)]
pub struct SightingView {
    resolver: String,
    cname: SeenView,
    txt: SeenView,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DnsSeen)]
pub struct SeenView {
    outcome: Outcome,
    /// The CNAMEs in their order, or the texts.
    values: Vec<String>,
    error: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DnsOutcome)]
pub enum Outcome {
    Found,
    Nothing,
    Loop,
    NoAnswer,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RemovedDomain)]
pub struct Removed {
    ok: bool,
}

pub struct NewDomain {
    hostname: Hostname,
}

pub async fn list(door: Viewer, asked: WholeList, total: Total<Domain>) -> Result<Answer<DomainList>> {
    let target = &door.app.config().edge.target;
    let found = door.store.page(&Domain::all(), &asked.page.span(), |_| true).await?;
    let next = asked.page.cursor(&door.app, found.next.as_ref())?;
    let domains = found.items.iter().map(|domain| DomainView::of(domain, target)).collect();
    Ok(Answer::bare(DomainList { total: total.count, domains }).with_next(next))
}

pub async fn create(door: Admin, once: Once<NewDomain>, total: Total<Domain>) -> Result<Created<DomainView>> {
    let (config, max, plan) = (&door.app.config().edge, door.plan.custom_domains, &door.tenant.plan);
    let hostname = once.body.hostname;
    if hostname.is_under(&config.domain) || hostname.is_under(&config.target) {
        return Err(Error::field("hostname", format!("The hostname field must not lie within {}.", config.domain)));
    }
    // The plan's limit is reported before any other problem of the hostname, unless this tenant lists it already. The transaction below counts
    // again, exactly.
    if let Some(max) = max.filter(|max| total.count >= *max) {
        if door.store.find(&Domain::key_of(&hostname)).await?.is_some() {
            return Err(domains::listed_already());
        }
        return Err(Error::PlanLimitReached(PlanLimit { limit: Domain::QUOTA.name, used: total.count, max, plan: plan.clone() }));
    }
    let domain = Domain::new(hostname, door.now(), door.store.random());
    let answer = Created::bare(DomainView::of(&domain, &config.target));
    let extend = |transaction| {
        let transaction = once.ticket.record(transaction, &door.store, &answer)?;
        transaction.count_within(&door.store, Domain::QUOTA, &door.plan, plan)
    };
    domains::add(&door.directory, &door.store, &domain, extend).await?;
    Ok(answer)
}

pub async fn remove(door: Admin, named: FoundDomain) -> Result<Answer<Removed>> {
    domains::remove(&door.directory, &door.store, named.0).await?;
    Ok(Answer::bare(Removed { ok: true }))
}

/// Whatever DNS says, the answer is 200.
pub async fn verify(door: Admin, named: FoundDomain) -> Result<Answer<CheckView>> {
    let config = &door.app.config().edge;
    let domain = named.0;
    let seen = Dns::new(config).look(&domain).await;
    let verdict = Verdict::of(&seen, &config.target, &domain.challenge());
    let settled = domains::settle(&door.directory, &door.store, domain, &verdict, &config.target, CheckTrigger::ByHand).await?;
    let diagnosis = Diagnosis::of(&settled.domain, settled.standing, &seen, &config.target);
    Ok(Answer::bare(CheckView { domain: DomainView::of(&settled.domain, &config.target), diagnosis }))
}

/// How many values of one DNS answer are shown.
const SHOWN: usize = 10;

impl DomainView {
    fn of(domain: &Domain, target: &str) -> Self {
        DomainView {
            hostname: domain.hostname.to_string(),
            status: domain.status,
            dns: DnsRecord::cname(domain, target),
            txt: DnsRecord::txt(domain),
            error: domain.error.clone(),
            created_at: zulu(domain.created_at),
            last_checked_at: domain.last_checked_at.map(zulu),
            verified_at: domain.verified_at.map(zulu),
            ssl: Ssl {
                status: match domain.status {
                    DomainStatus::PendingDns => Certificate::Pending,
                    DomainStatus::Active => Certificate::Issued,
                    DomainStatus::Failed => Certificate::Failed,
                },
            },
        }
    }
}

impl DnsRecord {
    fn cname(domain: &Domain, target: &str) -> Self {
        DnsRecord { kind: RecordKind::Cname, name: domain.hostname.to_string(), value: target.to_owned() }
    }

    fn txt(domain: &Domain) -> Self {
        DnsRecord { kind: RecordKind::Txt, name: domain.hostname.challenge_name(), value: domain.challenge() }
    }
}

impl Diagnosis {
    fn of(domain: &Domain, standing: ClaimStanding, seen: &[Sighting], target: &str) -> Self {
        let (cname, txt) = (DnsRecord::cname(domain, target), DnsRecord::txt(domain));
        let txt_required = standing != ClaimStanding::Uncontested && domain.status != DomainStatus::Active;
        Diagnosis {
            asked: [&cname, &txt].map(|record| Question { kind: record.kind, name: record.name.clone() }).into(),
            seen: seen
                .iter()
                .map(|sighting| SightingView {
                    resolver: sighting.resolver.clone(),
                    cname: SeenView::of(&sighting.cname),
                    txt: SeenView::of(&sighting.txt),
                })
                .collect(),
            txt_required,
            set: if txt_required { vec![cname, txt] } else { vec![cname] },
        }
    }
}

impl SeenView {
    fn of(seen: &DnsAnswer) -> Self {
        let (outcome, values, error) = match seen {
            DnsAnswer::Found(values) => (Outcome::Found, values.iter().take(SHOWN).cloned().collect(), None),
            DnsAnswer::Nothing => (Outcome::Nothing, vec![], None),
            DnsAnswer::Loop(values) => (Outcome::Loop, values.clone(), None),
            DnsAnswer::Silent(why) => (Outcome::NoAnswer, vec![], Some(why.clone())),
        };
        SeenView { outcome, values, error }
    }
}

/// The tenant's domain that the body's `hostname` names, or the query's, read with the door; anything else is `NotFound`.
pub struct FoundDomain(pub Domain);

struct HostnameField(Option<Hostname>);

impl Form for HostnameField {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(HostnameField(fields.optional("hostname", HostnameText)))
    }
}

impl FoundDomain {
    /// The form says what is wrong with an input; here a wrong one names nothing.
    fn hostname(incoming: &Incoming) -> Option<Hostname> {
        #[derive(serde::Deserialize)]
        struct Naming {
            hostname: Option<String>,
        }
        let in_query = incoming.query.get("hostname").cloned();
        let in_body = || serde_json::from_slice::<Naming>(&incoming.body).ok()?.hostname;
        Hostname::parse(&in_query.or_else(in_body)?).ok()
    }
}

impl Argument for FoundDomain {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if let Some(hostname) = FoundDomain::hostname(incoming) {
            wants.record(&Domain::key_of(&hostname));
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let HostnameField(in_query) = from_query(&incoming.query).map_err(Error::Validation)?;
        let HostnameField(in_body) = request::form(incoming)?;
        let hostname = match (in_query, in_body) {
            (None, None) => return Err(Error::field("hostname", "The hostname field is required.")),
            (Some(one), Some(other)) if one != other => {
                return Err(Error::field("hostname", "The hostname field differs between query and body."));
            }
            (Some(hostname), _) | (None, Some(hostname)) => hostname,
        };
        entered.find(&Domain::key_of(&hostname)).await?.map(FoundDomain).ok_or(Error::NotFound)
    }

    fn describe(operation: &mut Operation) {
        operation.body(described::<HostnameField>());
        operation.query(described::<HostnameField>());
        operation.may_miss();
    }
}

impl Form for NewDomain {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let hostname = fields.required("hostname", Subdomain);
        Some(NewDomain { hostname: hostname? })
    }
}

/// A hostname below a registered domain. The registered domain itself cannot have a CNAME.
struct Subdomain;

impl Rule for Subdomain {
    type Value = Hostname;

    fn check(&self, raw: Raw<'_>) -> Result<Hostname, String> {
        let hostname = HostnameText.check(raw)?;
        match psl::domain_str(hostname.as_str()) {
            Some(registered) if registered != hostname.as_str() => Ok(hostname),
            Some(_) => Err("must be a subdomain: a registered domain itself cannot have a CNAME".into()),
            None => Err("must lie below a registered domain, and this is a public suffix".into()),
        }
    }

    fn schema(&self) -> serde_json::Value {
        HostnameText.schema()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_hostnames_below_a_registered_domain_are_taken() {
        let check = |name: &str| Subdomain.check(Raw::Json(&json!(name)));
        for good in
            ["cdn.acme.com", "CDN.Acme.COM", "a.b.c.d.acme.co.uk", "cdn.acme.co.uk", "cdn.acme.github.io", "cdn.xn--bcher-kva.example"]
        {
            assert_eq!(check(good).unwrap().as_str(), good.to_ascii_lowercase());
        }
        for apex in ["acme.co.uk", "acme.github.io", "example.com.cn", "www.ck.ck"] {
            assert!(check(apex).unwrap_err().contains("registered domain"), "{apex}");
        }
        assert!(check("acme.com").unwrap_err().contains("subdomain"));
        assert!(check("foo.bar.kawasaki.jp").is_err(), "a wildcard suffix counts");
        assert!(Subdomain.check(Raw::Json(&json!(7))).is_err());
    }
}
