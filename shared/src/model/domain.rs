//! Custom domains (F1): hostnames that tenants add. A tenant lists a hostname, and DNS must then show our CNAME. One directory record says
//! who lists the hostname and who has proven it. If several tenants list it, each must prove it by a TXT record that only that tenant was
//! given.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::crypto::Random;
use crate::error::Error;
use crate::ids::{TenantId, stored, stored_option};
use crate::model::plan::Quota;
use crate::store::entity::{Collection, Counter, Entity, InDirectory, InTenant, Key};
use crate::store::page::List;

/// A DNS name that a tenant can add: in lower case, at least three labels of letters, digits and inner hyphens, at most 253 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(String);

/// Top-level names that are never in public DNS.
const NOT_PUBLIC: [&str; 6] = ["arpa", "internal", "invalid", "local", "localhost", "onion"];

impl Hostname {
    /// The error continues "The hostname field …".
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains(['/', '@', '?', '#']) || text.contains("://") {
            return Err("must be a bare hostname like cdn.acme.com, without scheme, user or path");
        }
        if text.parse::<std::net::IpAddr>().is_ok() || text.starts_with('[') {
            return Err("must be a hostname, not an IP address");
        }
        if text.contains(':') {
            return Err("must not have a port");
        }
        if text.ends_with('.') {
            return Err("must not end with a dot");
        }
        if !text.is_ascii() {
            return Err("must be ASCII: write an international name in its xn-- form");
        }
        if text.len() > 253 {
            return Err("must not be longer than 253 characters");
        }
        let name = text.to_ascii_lowercase();
        let labels: Vec<&str> = name.split('.').collect();
        if !labels.iter().all(|label| is_label(label)) {
            return Err("must be made of labels of 1 to 63 letters, digits and inner hyphens");
        }
        if labels.len() < 3 {
            return Err("must be a subdomain like cdn.acme.com: a domain itself cannot have a CNAME");
        }
        let top = labels[labels.len() - 1];
        if !top.starts_with("xn--") && !top.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return Err("must end in a top-level domain, and an IP address is no hostname");
        }
        if NOT_PUBLIC.contains(&top) {
            return Err("must be a name in public DNS");
        }
        Ok(Hostname(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name itself, or one below it.
    pub fn is_under(&self, domain: &str) -> bool {
        let above = self.0.strip_suffix(&domain.to_ascii_lowercase());
        !domain.is_empty() && above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    }

    /// The name of the TXT record for the challenge.
    pub fn challenge_name(&self) -> String {
        format!("_tenant-verify.{}", self.0)
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

impl std::fmt::Display for Hostname {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl crate::ids::Segment for Hostname {}

impl TryFrom<String> for Hostname {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Hostname::parse(&text).map_err(|problem| format!("{text:?} {problem}"))
    }
}

impl From<Hostname> for String {
    fn from(hostname: Hostname) -> String {
        hostname.0
    }
}

// What was found in DNS, and what it means.

/// What one resolver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    pub resolver: String,
    pub cname: DnsAnswer,
    pub txt: DnsAnswer,
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsAnswer {
    /// The names of a CNAME chain in order, or the texts of TXT records.
    Found(Vec<String>),
    /// No such name, or no such record.
    Nothing,
    /// A CNAME chain that is a loop or does not end.
    Loop(Vec<String>),
    /// A time-out or a failure of the resolver. It says nothing about the name.
    Silent(String),
}

/// The result of all resolvers together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub route: Route,
    /// Every resolver that answered saw the domain's own TXT record.
    pub proven: bool,
}

/// Where the name points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    Here,
    Nowhere,
    Elsewhere(String),
    Loop,
    /// The resolvers gave different answers.
    Unclear(String),
    /// No resolver answered.
    Silent(String),
}

impl Verdict {
    /// A resolver without an answer is ignored, unless all are without an answer.
    pub fn of(sightings: &[Sighting], target: &str, challenge: &str) -> Self {
        let routes: Vec<(&str, Route)> =
            sightings.iter().map(|sighting| (sighting.resolver.as_str(), Route::of(&sighting.cname, target))).collect();
        let mut heard = routes.iter().filter(|(_, route)| !matches!(route, Route::Silent(_)));
        let route = match heard.next() {
            None => Route::Silent(together(&routes)),
            Some((_, first)) if heard.all(|(_, other)| std::mem::discriminant(other) == std::mem::discriminant(first)) => first.clone(),
            Some(_) => Route::Unclear(together(&routes)),
        };
        let mut proofs = sightings.iter().filter(|sighting| !matches!(sighting.txt, DnsAnswer::Silent(_))).peekable();
        let proven = proofs.peek().is_some()
            && proofs.all(|sighting| matches!(&sighting.txt, DnsAnswer::Found(texts) if texts.iter().any(|text| text == challenge)));
        Verdict { route, proven }
    }
}

impl Route {
    fn of(seen: &DnsAnswer, target: &str) -> Self {
        match seen {
            DnsAnswer::Found(chain) if chain.iter().any(|name| name.eq_ignore_ascii_case(target)) => Route::Here,
            DnsAnswer::Found(chain) => chain.first().map_or(Route::Nowhere, |first| Route::Elsewhere(first.clone())),
            DnsAnswer::Nothing => Route::Nowhere,
            DnsAnswer::Loop(_) => Route::Loop,
            DnsAnswer::Silent(why) => Route::Silent(why.clone()),
        }
    }

    fn saying(&self) -> String {
        match self {
            Route::Here => "the right CNAME".into(),
            Route::Nowhere => "no CNAME".into(),
            Route::Elsewhere(name) => format!("a CNAME to {name}"),
            Route::Loop => "CNAMEs in a circle".into(),
            Route::Unclear(saying) | Route::Silent(saying) => saying.clone(),
        }
    }
}

/// Which resolver saw what.
fn together(routes: &[(&str, Route)]) -> String {
    let sayings: Vec<String> = routes
        .iter()
        .map(|(resolver, route)| match route {
            Route::Silent(why) => format!("{resolver} gave no answer ({why})"),
            route => format!("{resolver} saw {}", route.saying()),
        })
        .collect();
    sayings.join("; ")
}

// The tenant's record.

/// `domains` / `<hostname>`: read by its name. A tenant's domains are one query, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    pub hostname: Hostname,
    /// Bound to this tenant and this listing: 128 random bits, new each time a hostname is listed.
    token: String,
    pub status: DomainStatus,
    /// The problem that the last check found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Checks in a row that found an active domain pointing elsewhere.
    #[serde(default)]
    pub misses: u8,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_checked_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// For an active domain: the time of the janitor's next check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check_at: Option<Timestamp>,
    pub version: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DomainStatus {
    PendingDns,
    Active,
    Failed,
}

impl DomainStatus {
    pub fn name(self) -> &'static str {
        match self {
            DomainStatus::PendingDns => "pending_dns",
            DomainStatus::Active => "active",
            DomainStatus::Failed => "failed",
        }
    }
}

/// What caused a check: a request, or the schedule. Only the schedule sets the time of the next check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckTrigger {
    ByHand,
    BySchedule,
}

impl Domain {
    /// After this many misses in a row an active domain is lost.
    pub const MISSES: u8 = 3;
    /// Verified or not.
    pub const COUNT: Counter = Counter::named("domains");
    pub const QUOTA: Quota = Quota { counter: Domain::COUNT, name: "custom_domains", most: |plan| plan.custom_domains };
    const CHECK_EVERY: SignedDuration = SignedDuration::from_hours(6);
    /// After a check with a problem.
    const CHECK_AGAIN: SignedDuration = SignedDuration::from_hours(1);

    pub fn new(hostname: Hostname, now: Timestamp, random: &Random) -> Self {
        let token = random.bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
        Domain {
            hostname,
            token,
            status: DomainStatus::PendingDns,
            error: None,
            misses: 0,
            created_at: now,
            last_checked_at: None,
            verified_at: None,
            next_check_at: None,
            version: 1,
        }
    }

    /// The text of the TXT record that proves this tenant's control of the hostname.
    pub fn challenge(&self) -> String {
        format!("tenant-verify={}", self.token)
    }

    /// Whether `later` is this listing and not a later one of the same hostname. A proof for one listing is no proof for another.
    pub fn is_same_listing(&self, later: &Domain) -> bool {
        self.token == later.token
    }

    /// The domain after a check, given the standing of its tenant's claim.
    pub fn checked(&self, verdict: &Verdict, standing: ClaimStanding, target: &str, trigger: CheckTrigger, now: Timestamp) -> Self {
        let active = self.status == DomainStatus::Active;
        let complaint = self.complaint(&verdict.route, target);
        let (status, misses, error) = match &verdict.route {
            Route::Silent(_) => (self.status, self.misses, complaint),
            Route::Unclear(_) if active => (DomainStatus::Active, self.misses, complaint),
            Route::Unclear(_) => (DomainStatus::PendingDns, 0, complaint),
            Route::Here if active => (DomainStatus::Active, 0, None),
            Route::Here => match standing.objection(verdict.proven, self) {
                None => (DomainStatus::Active, 0, None),
                Some((status, objection)) => (status, 0, Some(objection)),
            },
            Route::Nowhere | Route::Elsewhere(_) | Route::Loop if active => {
                let misses = self.misses.saturating_add(1);
                (if misses < Domain::MISSES { DomainStatus::Active } else { DomainStatus::Failed }, misses, complaint)
            }
            Route::Nowhere => (DomainStatus::PendingDns, 0, None),
            Route::Elsewhere(_) | Route::Loop => (DomainStatus::Failed, 0, complaint),
        };
        let next_check_at = match status {
            DomainStatus::Active if active && trigger == CheckTrigger::ByHand => self.next_check_at,
            DomainStatus::Active => Some(now + if error.is_none() { Domain::CHECK_EVERY } else { Domain::CHECK_AGAIN }),
            _ => None,
        };
        let verified_at = if status == DomainStatus::Active && !active { Some(now) } else { self.verified_at };
        Domain { status, misses, error, next_check_at, verified_at, last_checked_at: Some(now), version: self.version + 1, ..self.clone() }
    }

    fn complaint(&self, route: &Route, target: &str) -> Option<String> {
        let host = &self.hostname;
        match route {
            Route::Here => None,
            Route::Nowhere => Some(format!("{host} has no CNAME; it must be {target}.")),
            Route::Elsewhere(name) => Some(format!("{host} has a CNAME to {name}; it must be {target}.")),
            Route::Loop => Some(format!("The CNAMEs of {host} go in a circle or do not end.")),
            Route::Unclear(saying) => Some(format!("The resolvers disagree: {saying}. A change in DNS may be on its way.")),
            Route::Silent(saying) => Some(format!("DNS gave no answer: {saying}. Nothing was changed.")),
        }
    }

    /// The entry in the directory for the janitor's next check.
    pub fn check(&self, tenant: TenantId) -> Option<DomainCheck> {
        let due_at = self.next_check_at?;
        Some(DomainCheck { hostname: self.hostname.clone(), tenant, due_at })
    }

    pub fn all() -> List<Self> {
        List::new(Domain::collection(), "")
    }

    pub fn key_of(hostname: &Hostname) -> Key<Self> {
        Key::at(&Domain::collection(), hostname.to_string())
    }

    fn collection() -> Collection {
        Collection::of::<Domain>()
    }
}

impl Entity for Domain {
    type Scope = InTenant;
    const TYPE: &'static str = "domain";
    const COLLECTION: &'static str = "domains";
    const COUNTER: Option<Counter> = Some(Domain::COUNT);

    fn key(&self) -> Key<Self> {
        Domain::key_of(&self.hostname)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

/// `domain-checks` / `<due>#<hostname>`: active domains in the order in which the janitor checks them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DomainCheck {
    pub hostname: Hostname,
    #[serde(with = "stored")]
    pub(crate) tenant: TenantId,
    pub due_at: Timestamp,
}

impl DomainCheck {
    pub fn all() -> List<Self> {
        List::new(DomainCheck::collection(), "")
    }

    fn collection() -> Collection {
        Collection::of::<DomainCheck>()
    }
}

impl Entity for DomainCheck {
    type Scope = InDirectory;
    const TYPE: &'static str = "domain_check";
    const COLLECTION: &'static str = "domain-checks";

    fn key(&self) -> Key<Self> {
        Key::at(&DomainCheck::collection(), format!("{:012}#{}", self.due_at.as_second(), self.hostname))
    }
}

// The owner of a hostname.

/// `hostname#<hostname>` / `owner`: who lists a hostname and who has proven it. It is one item, so in a race only one tenant wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostClaim {
    pub hostname: Hostname,
    /// All tenants that list it, the first one first.
    listed: Vec<Listed>,
    /// The tenant that has proven it and is served under it.
    #[serde(with = "stored_option", default, skip_serializing_if = "Option::is_none")]
    owner: Option<TenantId>,
    /// Until then nobody else can list it.
    #[serde(rename = "alone_until")]
    exclusive_until: Timestamp,
    /// The tenant that was served last, and until when this matters. A CNAME that was left behind must not serve the next tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    served: Option<Served>,
    /// Until then nobody can take the hostname of a deleted tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rests_until: Option<Timestamp>,
    /// Who had the hostname exclusively, and since when. Listing it again does not start a new exclusive day.
    #[serde(rename = "alone_before", default, skip_serializing_if = "Vec::is_empty")]
    had_exclusively: Vec<ExclusiveTime>,
    version: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ExclusiveTime {
    #[serde(with = "stored")]
    tenant: TenantId,
    since: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    #[serde(with = "stored")]
    tenant: TenantId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Served {
    #[serde(with = "stored")]
    tenant: TenantId,
    until: Timestamp,
}

/// The standing of a tenant that lists a hostname.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimStanding {
    /// Nobody else lists it: the CNAME is enough.
    Uncontested,
    /// Others list it too, or it recently served another tenant: the TXT record is needed as well.
    Contested,
    /// Another tenant has proven it.
    Taken,
    /// The tenant that owned it was deleted recently.
    Resting,
}

impl ClaimStanding {
    fn objection(self, proven: bool, domain: &Domain) -> Option<(DomainStatus, String)> {
        let host = &domain.hostname;
        match self {
            ClaimStanding::Uncontested => None,
            ClaimStanding::Contested if proven => None,
            ClaimStanding::Contested => Some((
                DomainStatus::PendingDns,
                format!(
                    "{host} is or was listed by another tenant too: set the TXT record {} to {}.",
                    host.challenge_name(),
                    domain.challenge()
                ),
            )),
            ClaimStanding::Taken => Some((DomainStatus::Failed, format!("{host} is verified by another tenant."))),
            ClaimStanding::Resting => {
                Some((DomainStatus::Failed, format!("{host} belonged to a tenant that was deleted; it rests for 30 days.")))
            }
        }
    }
}

impl HostClaim {
    /// For this long the first tenant that lists a hostname has it exclusively.
    pub const EXCLUSIVE: SignedDuration = SignedDuration::from_hours(24);
    /// For this long nobody can take the hostname of a deleted tenant, and a removed hostname needs a TXT record from other tenants.
    pub const REST: SignedDuration = crate::model::deletion::Deletion::REST;
    /// The item must stay small. Beyond this number the tenant that has waited longest is dropped. It can still prove the hostname by TXT.
    const AT_MOST: usize = 50;

    /// The claim with `tenant` added to those that list the hostname.
    pub fn listed(known: Option<&Self>, hostname: &Hostname, tenant: TenantId, now: Timestamp) -> Result<Self, Error> {
        let taken = |message: &'static str| Err(Error::Conflict(message.into()));
        let Some(known) = known else {
            return Ok(HostClaim {
                hostname: hostname.clone(),
                listed: vec![Listed { tenant }],
                owner: None,
                exclusive_until: now + HostClaim::EXCLUSIVE,
                served: None,
                rests_until: None,
                had_exclusively: vec![ExclusiveTime { tenant, since: now }],
                version: 1,
            });
        };
        if known.lists(tenant) {
            return taken("This hostname is among your domains already.");
        }
        if known.owner.is_some() || known.is_resting(now) || (!known.listed.is_empty() && now < known.exclusive_until) {
            return taken("This hostname is used by another tenant.");
        }
        let mut next = known.next();
        next.had_exclusively.retain(|time| now < time.since + HostClaim::REST);
        if next.listed.is_empty() {
            next.exclusive_until = next.exclusive_since(tenant, now) + HostClaim::EXCLUSIVE;
        }
        if next.listed.len() >= HostClaim::AT_MOST {
            next.listed.remove(0);
        }
        next.listed.push(Listed { tenant });
        Ok(next)
    }

    /// The standing of `tenant`, which lists the hostname.
    pub fn standing(known: Option<&Self>, tenant: TenantId, now: Timestamp) -> ClaimStanding {
        let Some(known) = known else { return ClaimStanding::Uncontested };
        let served_another = known.served.is_some_and(|served| served.tenant != tenant && now < served.until);
        if known.owner.is_some_and(|owner| owner != tenant) {
            ClaimStanding::Taken
        } else if known.is_resting(now) {
            ClaimStanding::Resting
        } else if served_another || known.listed.iter().any(|listed| listed.tenant != tenant) {
            ClaimStanding::Contested
        } else {
            ClaimStanding::Uncontested
        }
    }

    /// The claim after `tenant` has proven it. The caller has checked the standing.
    pub fn won(known: Option<&Self>, hostname: &Hostname, tenant: TenantId, now: Timestamp) -> Result<Self, Error> {
        if matches!(HostClaim::standing(known, tenant, now), ClaimStanding::Taken | ClaimStanding::Resting) {
            return Err(Error::Conflict("This hostname is used by another tenant.".into()));
        }
        let mut next = match known {
            Some(known) => known.next(),
            None => HostClaim::listed(None, hostname, tenant, now)?,
        };
        if !next.lists(tenant) {
            next.listed.push(Listed { tenant });
        }
        next.owner = Some(tenant);
        next.exclusive_until = now;
        Ok(next)
    }

    /// The claim after `tenant` has lost the hostname because of DNS. The tenant still lists it, and others can list it now.
    pub fn lost(&self, tenant: TenantId, now: Timestamp) -> Self {
        let mut next = self.next();
        next.give_up(tenant, now);
        next
    }

    /// The claim after `tenant` removed the hostname. `None` if nothing is left to remember.
    pub fn left(&self, tenant: TenantId, now: Timestamp) -> Option<Self> {
        let mut next = self.next();
        next.give_up(tenant, now);
        next.listed.retain(|listed| listed.tenant != tenant);
        next.had_exclusively.retain(|time| now < time.since + HostClaim::REST);
        let served = next.served.is_some_and(|served| now < served.until);
        let remembered = served || next.is_resting(now) || !next.had_exclusively.is_empty();
        (remembered || !next.listed.is_empty()).then_some(next)
    }

    /// The claim after `tenant` was deleted. A hostname that served the tenant rests.
    pub fn rested(&self, tenant: TenantId, now: Timestamp) -> Option<Self> {
        let served = self.owner == Some(tenant);
        // A deleted tenant cannot list it again.
        let had_exclusively = self.had_exclusively.iter().copied().filter(|time| time.tenant != tenant).collect();
        let next = HostClaim { had_exclusively, ..self.clone() }.left(tenant, now)?;
        Some(if served { HostClaim { rests_until: Some(now + HostClaim::REST), ..next } } else { next })
    }

    pub fn owner(&self) -> Option<TenantId> {
        self.owner
    }

    pub fn lists(&self, tenant: TenantId) -> bool {
        self.listed.iter().any(|listed| listed.tenant == tenant)
    }

    pub fn key_of(hostname: &Hostname) -> Key<Self> {
        Key::at(&Collection::within::<HostClaim>(hostname.clone()), "owner".into())
    }

    fn next(&self) -> Self {
        HostClaim { version: self.version + 1, ..self.clone() }
    }

    /// When the exclusive day of `tenant` began: now, unless it had an exclusive day recently.
    fn exclusive_since(&mut self, tenant: TenantId, now: Timestamp) -> Timestamp {
        if let Some(before) = self.had_exclusively.iter().find(|time| time.tenant == tenant) {
            return before.since;
        }
        if self.had_exclusively.len() >= HostClaim::AT_MOST {
            self.had_exclusively.remove(0);
        }
        self.had_exclusively.push(ExclusiveTime { tenant, since: now });
        now
    }

    fn give_up(&mut self, tenant: TenantId, now: Timestamp) {
        if self.owner == Some(tenant) {
            self.owner = None;
            self.served = Some(Served { tenant, until: now + HostClaim::REST });
            self.exclusive_until = now;
        }
    }

    fn is_resting(&self, now: Timestamp) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }
}

impl Entity for HostClaim {
    type Scope = InDirectory;
    const TYPE: &'static str = "host_claim";
    const COLLECTION: &'static str = "hostname";

    fn key(&self) -> Key<Self> {
        HostClaim::key_of(&self.hostname)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }

    /// A claim that nobody lists is only kept for the rules about recent owners.
    fn expires_at(&self) -> Option<Timestamp> {
        if !self.listed.is_empty() {
            return None;
        }
        let remembered = self.had_exclusively.iter().map(|time| time.since + HostClaim::REST).max();
        self.rests_until.max(self.served.map(|served| served.until)).max(remembered)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const TARGET: &str = "proxy.edge.example.com";

    fn tenant(id: &str) -> TenantId {
        stored::deserialize(serde_json::json!(id)).unwrap()
    }

    fn tenants() -> [TenantId; 3] {
        ["5b0e8f6e-7a10-4c55-9d6e-2b6f0a1c4d01", "5b0e8f6e-7a10-4c55-9d6e-2b6f0a1c4d02", "5b0e8f6e-7a10-4c55-9d6e-2b6f0a1c4d03"].map(tenant)
    }

    fn host() -> Hostname {
        Hostname::parse("cdn.acme.com").unwrap()
    }

    fn hours(hours: i64) -> SignedDuration {
        SignedDuration::from_hours(hours)
    }

    #[test]
    fn hostnames_have_one_spelling() {
        for (given, kept) in [
            ("cdn.acme.com", "cdn.acme.com"),
            ("CDN.Acme.Com", "cdn.acme.com"),
            ("a-1.xn--bcher-kva.xn--p1ai", "a-1.xn--bcher-kva.xn--p1ai"),
        ] {
            assert_eq!(Hostname::parse(given).unwrap().as_str(), kept);
        }
        let (long, longest) = (format!("{}.acme.com", "a".repeat(64)), format!("{}acme.com", "a.".repeat(123)));
        assert_eq!(longest.len(), 254);
        assert!(Hostname::parse(&longest[2..]).is_ok());
        for wrong in [
            "",
            " ",
            ".",
            "com",
            "acme.com",
            "cdn.acme.com.",
            ".acme.com",
            "cdn..com",
            "-cdn.acme.com",
            "cdn-.acme.com",
            "cdn_1.acme.com",
            "*.acme.com",
            "cdn.acme.com:443",
            "https://cdn.acme.com",
            "cdn.acme.com/path",
            "user@cdn.acme.com",
            "cdn.acme.com?x",
            "cdn#x.acme.com",
            " cdn.acme.com",
            "cdn.acme.com ",
            "cdn.ac me.com",
            "cdn.acme.com\n",
            "bücher.acme.com",
            "cdn。acme。com",
            "127.0.0.1",
            "1.2.3",
            "0x7f.0.0.0x1",
            "::1",
            "[::1]",
            "::ffff:127.0.0.1",
            "cdn.acme.c0m",
            "api.printer.local",
            "a.b.localhost",
            "1.0.0.127.in-addr.arpa",
            long.as_str(),
            longest.as_str(),
        ] {
            assert!(Hostname::parse(wrong).is_err(), "{wrong}");
            assert!(serde_json::from_value::<Hostname>(serde_json::json!(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_lies_under_its_domain_and_no_namesake() {
        assert!(host().is_under("acme.com") && host().is_under("ACME.com") && host().is_under("cdn.acme.com"));
        assert!(!host().is_under("me.com") && !host().is_under("") && !host().is_under("x.cdn.acme.com"));
    }

    fn sighting(resolver: &str, cname: DnsAnswer, txt: DnsAnswer) -> Sighting {
        Sighting { resolver: resolver.into(), cname, txt }
    }

    fn found(text: &str) -> DnsAnswer {
        DnsAnswer::Found(vec![text.into()])
    }

    #[test]
    fn resolvers_must_agree_and_a_silent_one_has_no_say() {
        let verdict = |seen: &[DnsAnswer]| {
            let sightings: Vec<_> =
                seen.iter().enumerate().map(|(n, seen)| sighting(&n.to_string(), seen.clone(), DnsAnswer::Nothing)).collect();
            Verdict::of(&sightings, TARGET, "tenant-verify=x").route
        };
        let silent = || DnsAnswer::Silent("late".into());
        assert_eq!(verdict(&[found(TARGET), found("PROXY.edge.example.com")]), Route::Here);
        assert_eq!(verdict(&[DnsAnswer::Found(vec!["a.example".into(), TARGET.into()])]), Route::Here);
        assert_eq!(verdict(&[found(TARGET), silent()]), Route::Here);
        assert_eq!(verdict(&[found("other.example"), found("another.example")]), Route::Elsewhere("other.example".into()));
        assert_eq!(verdict(&[DnsAnswer::Nothing, DnsAnswer::Nothing]), Route::Nowhere);
        assert!(
            matches!(verdict(&[found(TARGET), DnsAnswer::Nothing]), Route::Unclear(saying) if saying == "0 saw the right CNAME; 1 saw no CNAME")
        );
        assert!(matches!(verdict(&[found(TARGET), found("other.example")]), Route::Unclear(_)));
        assert!(matches!(verdict(&[silent(), silent()]), Route::Silent(_)) && matches!(verdict(&[]), Route::Silent(_)));
    }

    #[test]
    fn a_proof_is_seen_by_all_that_answer() {
        let proven = |seen: &[DnsAnswer]| {
            let sightings: Vec<_> = seen.iter().map(|seen| sighting("r", DnsAnswer::Nothing, seen.clone())).collect();
            Verdict::of(&sightings, TARGET, "tenant-verify=x").proven
        };
        let mine = || DnsAnswer::Found(vec!["v=spf1 -all".into(), "tenant-verify=x".into()]);
        assert!(proven(&[mine(), mine()]) && proven(&[mine(), DnsAnswer::Silent("late".into())]));
        assert!(!proven(&[mine(), DnsAnswer::Nothing]) && !proven(&[]) && !proven(&[DnsAnswer::Silent("late".into())]));
        for other in ["tenant-verify=y", "tenant-verify=X", "tenant-verify=x ", "tenant-verify=xx", "x"] {
            assert!(!proven(&[found(other)]), "{other}");
        }
    }

    fn seen(route: Route) -> Verdict {
        Verdict { route, proven: false }
    }

    #[test]
    fn states_follow_the_documented_table() {
        let (now, random) = (Timestamp::UNIX_EPOCH, Random::seeded(1));
        let pending = Domain::new(host(), now, &random);
        let checked =
            |domain: &Domain, route: Route| domain.checked(&seen(route), ClaimStanding::Uncontested, TARGET, CheckTrigger::ByHand, now);
        let active = checked(&pending, Route::Here);
        assert_eq!((active.status, active.verified_at, active.error.as_deref()), (DomainStatus::Active, Some(now), None));
        let elsewhere = || Route::Elsewhere("other.example".into());
        let failed = checked(&pending, elsewhere());
        assert_eq!(failed.status, DomainStatus::Failed);
        assert_eq!(failed.error.as_deref(), Some("cdn.acme.com has a CNAME to other.example; it must be proxy.edge.example.com."));
        assert_eq!(checked(&failed, Route::Here).status, DomainStatus::Active);
        assert_eq!(checked(&pending, Route::Nowhere).status, DomainStatus::PendingDns);
        assert_eq!(checked(&pending, Route::Loop).status, DomainStatus::Failed);
        assert_eq!(checked(&pending, Route::Unclear("x".into())).status, DomainStatus::PendingDns);
        for domain in [&pending, &active, &failed] {
            let unchanged = checked(domain, Route::Silent("late".into()));
            assert_eq!((unchanged.status, unchanged.misses, unchanged.verified_at), (domain.status, domain.misses, domain.verified_at));
            assert!(unchanged.error.is_some());
        }
        // Three misses in a row of any kind. A good check resets the count.
        let twice = checked(&checked(&active, elsewhere()), Route::Nowhere);
        assert_eq!((twice.status, twice.misses), (DomainStatus::Active, 2));
        assert_eq!(checked(&twice, Route::Unclear("x".into())).misses, 2);
        assert_eq!(checked(&twice, Route::Here).misses, 0);
        let lost = checked(&twice, Route::Loop);
        assert_eq!((lost.status, lost.next_check_at), (DomainStatus::Failed, None));
    }

    /// Three tenants, one hostname, and all possible events, compared with a second, simple version of the rules. Old TXT records stay in
    /// DNS until they are removed.
    #[test]
    fn never_two_owners_and_a_stale_proof_verifies_nobody_else() {
        let mut activations = BTreeSet::new();
        for seed in 1..=3_000 {
            let mut game = Game::new(seed);
            for _ in 0..40 {
                game.play();
                game.hold();
            }
            activations.extend(game.seen.iter().copied());
        }
        let all = ["alone", "contested", "refused for want of a proof", "taken", "resting", "lost", "retaken", "purged"];
        assert_eq!(activations, BTreeSet::from(all), "every case was played");
    }

    struct Game {
        random: Random,
        now: Timestamp,
        claim: Option<HostClaim>,
        domains: [Option<Domain>; 3],
        cname: DnsAnswer,
        texts: BTreeSet<String>,
        // The simple version of the rules.
        since: [Option<Timestamp>; 3],
        exclusive_since: [Option<Timestamp>; 3],
        owner: Option<usize>,
        exclusive_until: Timestamp,
        served: Option<(usize, Timestamp)>,
        rests_until: Timestamp,
        seen: BTreeSet<&'static str>,
    }

    impl Game {
        fn new(seed: u64) -> Self {
            let now = Timestamp::UNIX_EPOCH;
            Game {
                random: Random::seeded(seed),
                now,
                claim: None,
                domains: [None, None, None],
                cname: DnsAnswer::Nothing,
                texts: BTreeSet::new(),
                since: [None; 3],
                exclusive_since: [None; 3],
                owner: None,
                exclusive_until: now,
                served: None,
                rests_until: now,
                seen: BTreeSet::new(),
            }
        }

        /// As the table returns it: an expired record is absent.
        fn known(&self) -> Option<&HostClaim> {
            self.claim.as_ref().filter(|claim| claim.expires_at().is_none_or(|at| at > self.now))
        }

        fn play(&mut self) {
            let [action, who, what, _] = self.random.bytes::<4>().map(usize::from);
            let who = who % 3;
            match action % 16 {
                0..=3 => self.list(who),
                4..=8 => self.verify(who),
                9 => self.leave(who, false),
                10 if what % 4 == 0 => self.leave(who, true),
                10 | 11 => self.now += [hours(1), hours(25), hours(31 * 24)][what % 3],
                12 | 13 => self.cname = [found(TARGET), found(TARGET), found("other.example"), DnsAnswer::Nothing][what % 4].clone(),
                14 => self.texts.extend(self.domains[who].as_ref().map(Domain::challenge)),
                _ if what % 3 == 0 => self.texts.clear(),
                _ => self.texts.extend(self.domains[who].as_ref().map(Domain::challenge)),
            }
        }

        fn list(&mut self, who: usize) {
            let next = HostClaim::listed(self.known(), &host(), tenants()[who], self.now);
            let others = self.since.iter().any(Option::is_some);
            let free = self.owner.is_none() && self.now >= self.rests_until && !(others && self.now < self.exclusive_until);
            assert_eq!(next.is_ok(), free && self.since[who].is_none(), "{self:?}");
            let Ok(next) = next else { return };
            if !others {
                let since = self.exclusive_since[who].filter(|since| self.now < *since + hours(30 * 24)).unwrap_or(self.now);
                self.exclusive_since[who] = Some(since);
                self.exclusive_until = since + hours(24);
            }
            self.claim = Some(next);
            self.domains[who] = Some(Domain::new(host(), self.now, &self.random));
            self.since[who] = Some(self.now);
        }

        fn verify(&mut self, who: usize) {
            let Some(domain) = self.domains[who].clone() else { return };
            let texts: Vec<String> = self.texts.iter().cloned().collect();
            let txt = if texts.is_empty() { DnsAnswer::Nothing } else { DnsAnswer::Found(texts) };
            let verdict = Verdict::of(&[sighting("r", self.cname.clone(), txt)], TARGET, &domain.challenge());
            let standing = HostClaim::standing(self.known(), tenants()[who], self.now);
            let next = domain.checked(&verdict, standing, TARGET, CheckTrigger::ByHand, self.now);
            let here = self.cname == found(TARGET);

            let others = (0..3).any(|other| other != who && self.since[other].is_some());
            let served_another = self.served.is_some_and(|(served, until)| served != who && self.now < until);
            let proof = self.texts.contains(&domain.challenge());
            let expected = if self.owner == Some(who) {
                here || next.misses < 3
            } else {
                let may = self.owner.is_none() && self.now >= self.rests_until;
                if here {
                    self.seen.insert(match (may, others || served_another, proof) {
                        (false, ..) if self.owner.is_some() => "taken",
                        (false, ..) => "resting",
                        (true, false, _) => "alone",
                        (true, true, true) => "contested",
                        (true, true, false) => "refused for want of a proof",
                    });
                }
                here && may && (proof || !(others || served_another))
            };
            assert_eq!(next.status == DomainStatus::Active, expected, "{who} {self:?}");

            match (domain.status == DomainStatus::Active, expected) {
                (false, true) => {
                    if served_another {
                        self.seen.insert("retaken");
                    }
                    self.claim = Some(HostClaim::won(self.known(), &host(), tenants()[who], self.now).unwrap());
                    self.owner = Some(who);
                    self.exclusive_until = self.now;
                }
                (true, false) => {
                    self.seen.insert("lost");
                    self.claim = Some(self.known().unwrap().lost(tenants()[who], self.now));
                    self.owner = None;
                    self.served = Some((who, self.now + hours(30 * 24)));
                    self.exclusive_until = self.now;
                }
                _ => {}
            }
            self.domains[who] = Some(next);
        }

        fn leave(&mut self, who: usize, purged: bool) {
            if self.domains[who].take().is_none() {
                return;
            }
            let known = self.known().unwrap();
            self.claim = if purged { known.rested(tenants()[who], self.now) } else { known.left(tenants()[who], self.now) };
            self.since[who] = None;
            if purged {
                self.exclusive_since[who] = None;
            }
            if self.owner == Some(who) {
                self.owner = None;
                self.exclusive_until = self.now;
                self.served = Some((who, self.now + hours(30 * 24)));
                if purged {
                    self.seen.insert("purged");
                    self.rests_until = self.now + hours(30 * 24);
                }
            }
        }

        /// What must hold at every moment.
        fn hold(&self) {
            let active: Vec<usize> =
                (0..3).filter(|who| self.domains[*who].as_ref().is_some_and(|d| d.status == DomainStatus::Active)).collect();
            assert!(active.len() <= 1, "two owners: {self:?}");
            let owner = self.known().and_then(HostClaim::owner);
            assert_eq!(active.first().map(|who| tenants()[*who]), owner, "{self:?}");
            for who in 0..3 {
                assert_eq!(self.domains[who].is_some(), self.known().is_some_and(|claim| claim.lists(tenants()[who])), "{self:?}");
            }
        }
    }

    impl std::fmt::Debug for Game {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{:?} {:?} {:?} {:?} {:?} {:?}", self.now, self.claim, self.domains, self.cname, self.texts, self.since)
        }
    }

    #[test]
    fn a_hostname_listed_again_does_not_begin_its_exclusive_day_again() {
        let [mine, other, _] = tenants();
        let begun = Timestamp::UNIX_EPOCH;
        let mut claim = HostClaim::listed(None, &host(), mine, begun).unwrap();
        for hour in 1..24 {
            let now = begun + hours(hour);
            assert!(HostClaim::listed(Some(&claim), &host(), other, now).is_err(), "hour {hour}");
            claim = HostClaim::listed(Some(&claim.left(mine, now).unwrap()), &host(), mine, now).unwrap();
        }
        let later = begun + hours(24);
        assert!(HostClaim::listed(Some(&claim), &host(), other, later).is_ok());
        claim = HostClaim::listed(Some(&claim.left(mine, later).unwrap()), &host(), mine, later).unwrap();
        assert!(HostClaim::listed(Some(&claim), &host(), other, later).is_ok(), "it had its day");
        let much_later = begun + hours(30 * 24);
        let left = claim.left(mine, much_later);
        let claim = HostClaim::listed(left.as_ref(), &host(), mine, much_later).unwrap();
        assert!(HostClaim::listed(Some(&claim), &host(), other, much_later).is_err(), "a month later it has another");
    }

    #[test]
    fn a_crowded_claim_stays_small_and_its_owner_stays_in_it() {
        let random = Random::seeded(3);
        let mut now = Timestamp::UNIX_EPOCH;
        let mut claim = None;
        let mut last = tenants()[0];
        for _ in 0..120 {
            last = tenant(&uuid::Builder::from_random_bytes(random.bytes()).into_uuid().to_string());
            claim = Some(HostClaim::listed(claim.as_ref(), &host(), last, now).unwrap());
            now += hours(25);
        }
        let claim = claim.unwrap();
        assert_eq!(claim.listed.len(), HostClaim::AT_MOST);
        let forgotten = tenants()[1];
        assert_eq!(HostClaim::standing(Some(&claim), forgotten, now), ClaimStanding::Contested);
        let won = HostClaim::won(Some(&claim), &host(), forgotten, now).unwrap();
        assert!(won.lists(forgotten) && won.owner() == Some(forgotten));
        assert!(HostClaim::won(Some(&won), &host(), last, now).is_err());
        assert!(HostClaim::listed(Some(&won), &host(), tenants()[2], now).is_err());
    }
}
