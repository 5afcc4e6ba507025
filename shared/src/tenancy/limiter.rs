//! Rate limits and the daily quota, exact across any number of running instances. A window is one counter item: every request adds one
//! and looks at the sum, so no two requests ever take the same place. What is known to be used up is refused from memory, unwritten.
//! The daily quota is leased in chunks that grow with what the tenant used of the day, so that what was leased says what was used; they are
//! taken in the same breath as the door's reads.

use std::collections::VecDeque;
use std::ops::Range;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::bounded::Bounded;
use crate::config::RateLimits;
use crate::error::{Error, Result, Throttled};
use crate::lock::Lock;
use crate::model::edge_config::EdgeConfig;
use crate::model::time::day;
use crate::model::usage::UsageDay;
use crate::store::Metered;
use crate::store::entity::{Entity, Hashed};
use crate::store::table::{Condition, Consumed, FullKey, Item, Table, number};
use crate::tenancy::incoming::LimitReport;
use crate::tenancy::{TenantId, TenantStore};

/// A class of requests with a limit per window of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    pub name: &'static str,
    pub window: i64,
}

impl Class {
    pub const WRITE: Class = Class { name: "api", window: 60 };
    pub const READ: Class = Class { name: "api-read", window: 60 };
    /// Per e-mail and address.
    pub const AUTH: Class = Class { name: "api-auth", window: 60 };
    /// Per address.
    pub const AUTH_IP: Class = Class { name: "api-auth-ip", window: 60 };
    /// Failed logins per e-mail and address.
    pub const AUTH_FAILURES: Class = Class { name: "api-auth-failures", window: 900 };
    /// Failed logins per e-mail, from anywhere: they never lock it, they leave unknown places fewer attempts.
    pub const AUTH_FAILURES_ANYWHERE: Class = Class { name: "api-auth-failures-anywhere", window: 900 };
    /// Failed logins per address, of any e-mail.
    pub const AUTH_FAILURES_IP: Class = Class { name: "api-auth-failures-ip", window: 900 };
    /// Forgotten passwords, per e-mail and address.
    pub const FORGOT: Class = Class { name: "api-auth-forgot", window: 60 };
    /// Credentials that are none, per address.
    pub const CREDENTIALS: Class = Class { name: "api-credentials", window: 60 };
    /// Mails to an address that strangers can cause, by what causes them; a window is a day of UTC.
    pub const REGISTRATION_MAILS: Class = Class { name: "registration-mails", window: 86_400 };
    pub const RESET_MAILS: Class = Class { name: "reset-mails", window: 86_400 };
    pub const DEMO_MAILS: Class = Class { name: "demo-mails", window: 86_400 };
    pub const INVITATION_MAILS: Class = Class { name: "invitation-mails", window: 86_400 };
    /// Requests for test mails, per workspace.
    pub const TEST_MAILS: Class = Class { name: "test-mails", window: 3600 };
    /// Those about webhooks to the owners of a tenant.
    pub const WEBHOOK_MAILS: Class = Class { name: "webhook-mails", window: 86_400 };
    /// Those to a number from a tenant.
    pub const ONE_TIME_PASSWORDS: Class = Class { name: "one-time-passwords", window: 3600 };
    pub const DEMO: Class = Class { name: "demo", window: 3600 };

    /// Links of mails that are followed, per address.
    pub const LINKS: Class = Class { name: "links", window: 60 };
    /// Those to unsubscribe, of which there are few: images and clicks of many people behind one address stand in nobody's way out.
    pub const UNSUBSCRIBING: Class = Class { name: "unsubscribing", window: 60 };

    const ALL: [Class; 19] = [
        Class::WRITE,
        Class::READ,
        Class::AUTH,
        Class::AUTH_IP,
        Class::AUTH_FAILURES,
        Class::AUTH_FAILURES_ANYWHERE,
        Class::AUTH_FAILURES_IP,
        Class::FORGOT,
        Class::CREDENTIALS,
        Class::REGISTRATION_MAILS,
        Class::RESET_MAILS,
        Class::DEMO_MAILS,
        Class::INVITATION_MAILS,
        Class::TEST_MAILS,
        Class::WEBHOOK_MAILS,
        Class::ONE_TIME_PASSWORDS,
        Class::DEMO,
        Class::LINKS,
        Class::UNSUBSCRIBING,
    ];
}

/// How many more of something may be caused in a window by somebody who does not bear it: mails to an address, one-time passwords to a number. Counted in
/// the transaction that does it.
pub struct Allowance {
    pub(crate) key: FullKey,
    /// Limits that are only reported bound nothing.
    pub(crate) most: Option<u64>,
    pub(crate) ends_at: i64,
    throttled: Throttled,
}

impl Allowance {
    pub(crate) fn refused(&self) -> Error {
        Error::TooManyRequests(self.throttled.clone())
    }
}

/// What a counter said.
#[derive(Debug, Clone)]
pub(super) struct Hit {
    class: Class,
    principal: String,
    used: u64,
    ends_at: i64,
}

pub struct Limiter {
    pub(super) limits: RateLimits,
    /// Class and principal → when its used-up window ends.
    used_up: Lock<Bounded<String, i64>>,
    /// The counter of a window → what was struck there lately.
    struck: Lock<Bounded<FullKey, Struck>>,
    quotas: Lock<Bounded<TenantId, Quota>>,
    /// What tenants consumed since their last lease, with which it is written down.
    spent: Lock<Bounded<TenantId, Consumed>>,
    /// One lease at a time: who comes second finds what the first one brought.
    leasing: tokio::sync::Mutex<()>,
}

/// What an instance knows of a counter that it writes to in portions.
#[derive(Debug, Clone, Copy)]
struct Struck {
    ends_at: i64,
    /// The sum of all instances, as last written.
    written: u64,
    /// Counted here and not written yet.
    pending: u64,
}

/// What this instance holds of a tenant's day. A lease belongs to the tenant, not to the request that fetched it: a caller whom the
/// door refuses uses up nothing.
#[derive(Debug, Clone)]
struct Quota {
    day: Date,
    /// Places leased and not spent.
    leased: VecDeque<Range<u64>>,
    /// The counter as last seen.
    used: u64,
    /// The plan's limit, once a request that got in has said it.
    limit: Option<Option<u64>>,
}

/// A place of a tenant's day that a request took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DayPlace {
    tenant: TenantId,
    day: Date,
    place: u64,
}

/// What is written down of a tenant's day.
struct Addition {
    tenant: TenantId,
    /// The tenant's own partition of days.
    usage_pk: String,
    spent: Consumed,
    /// So many places of the day are leased.
    chunk: u64,
    seen: TenantSeen,
}

impl Quota {
    fn of(day: Date) -> Self {
        Quota { day, leased: VecDeque::new(), used: 0, limit: None }
    }

    /// The next place below the limit. The counter may run past the limit; places there are nobody's.
    fn take(&mut self, limit: Option<u64>) -> Option<u64> {
        while let Some(first) = self.leased.front_mut() {
            match first.next() {
                Some(place) if limit.is_none_or(|limit| place < limit) => return Some(place),
                Some(_) => {}
                None => {
                    self.leased.pop_front();
                }
            }
        }
        None
    }

    fn left(&self) -> u64 {
        let limit = self.limit.flatten().unwrap_or(u64::MAX);
        self.leased.iter().map(|places| places.end.min(limit).saturating_sub(places.start)).sum()
    }

    /// A sixteenth of the day so far, so that what an instance has leased and not used is never more of what is shown; and smaller and
    /// smaller towards the limit, so that what it takes with it when it ends stays small. `None`: all is used up.
    fn chunk(&self) -> Option<u64> {
        let of_the_day = (self.used / 16).clamp(1, LARGEST_LEASE);
        match self.limit {
            None => Some(1),
            Some(None) => Some(of_the_day),
            Some(Some(limit)) if self.used >= limit => None,
            Some(Some(limit)) => Some(((limit - self.used) / 5).clamp(1, of_the_day)),
        }
    }
}

/// How many principals and tenants are remembered.
const REMEMBERED: usize = 10_000;
/// The daily quota: its name as a policy, and as the plan calls it.
const DAY: &str = "day";
const DAILY: &str = "api_requests_per_day";
const LARGEST_LEASE: u64 = 32;
/// Strikes are written so many at a time: one by mistake costs no write, and a flood a tenth of one each.
const STRIKES: u64 = 10;

impl Limiter {
    pub fn new(limits: RateLimits) -> Self {
        Limiter {
            limits,
            used_up: Lock::new(Bounded::new(REMEMBERED)),
            struck: Lock::new(Bounded::new(REMEMBERED)),
            quotas: Lock::new(Bounded::new(REMEMBERED)),
            spent: Lock::new(Bounded::new(REMEMBERED)),
            leasing: tokio::sync::Mutex::new(()),
        }
    }

    /// Counts one request. Not yet an answer: `judge` compares with the limit, which may only be known after the door's reads.
    pub(super) async fn hit(&self, table: &Table, class: Class, principal: &str, now: Timestamp) -> Result<Hit> {
        let (starts_at, ends_at) = window(class, now);
        let known = self.used_up.lock().get(format!("{} {principal}", class.name).as_str()).copied();
        let hit = |used| Hit { class, principal: principal.to_owned(), used, ends_at };
        if known == Some(ends_at) {
            return Ok(hit(u64::MAX));
        }
        let used = table.add(key(class, principal, starts_at), "n", 1, Some(ends_at + 60)).await?;
        Ok(hit(used))
    }

    /// Counts what should not happen at all, by portions: an instance may be up to a portion behind the others.
    pub(super) async fn strike(&self, table: &Table, class: Class, principal: &str, now: Timestamp) -> Result<Hit> {
        let (starts_at, ends_at) = window(class, now);
        let hit = |used| Hit { class, principal: principal.to_owned(), used, ends_at };
        if self.used_up.lock().get(format!("{} {principal}", class.name).as_str()).copied() == Some(ends_at) {
            return Ok(hit(u64::MAX));
        }
        let counter = key(class, principal, starts_at);
        let (struck, surplus) = self.struck(&counter, ends_at);
        let mut used = struck.written + struck.pending;
        if struck.pending >= STRIKES {
            used = table.add(counter.clone(), "n", struck.pending, Some(ends_at + 60)).await?;
            if let Some(struck) = self.struck.lock().get(&counter) {
                struck.written = struck.written.max(used);
            }
        }
        // Last: should it fail, the strikes of this request are counted.
        if let Some((other, struck)) = surplus.filter(|(_, struck)| struck.pending > 0 && struck.ends_at > now.as_second()) {
            table.add(other, "n", struck.pending, Some(struck.ends_at + 60)).await?;
        }
        Ok(hit(used))
    }

    /// Counts a strike, and takes what is pending out once it is a portion. Struck from more places than are remembered, one comes out whose
    /// strikes are to be written now.
    fn struck(&self, counter: &FullKey, ends_at: i64) -> (Struck, Option<(FullKey, Struck)>) {
        let mut places = self.struck.lock();
        let place = places.hold(counter.clone(), || Struck { ends_at, written: 0, pending: 0 });
        place.pending += 1;
        let struck = *place;
        if struck.pending >= STRIKES {
            place.pending = 0;
        }
        (struck, places.surplus())
    }

    /// Where a counter stands, for reading several together without counting.
    pub(super) fn counter_key(&self, class: Class, principal: &str, now: Timestamp) -> FullKey {
        key(class, principal, window(class, now).0)
    }

    /// What the counter that was read from there will say if this request is counted too.
    pub(super) fn seen(&self, class: Class, principal: &str, item: Option<&Item>, now: Timestamp) -> Hit {
        let used = item.and_then(|item| number(item, "n")).unwrap_or(0) + 1;
        Hit { class, principal: principal.to_owned(), used, ends_at: window(class, now).1 }
    }

    pub(super) fn allowance(&self, class: Class, principal: &str, most: u64, now: Timestamp) -> Allowance {
        let (starts_at, ends_at) = window(class, now);
        let retry_after = u64::try_from(ends_at - now.as_second()).unwrap_or(1).max(1);
        let throttled = Throttled { quota: class.name, limit: most, retry_after };
        Allowance { key: key(class, principal, starts_at), most: self.limits.enforce.then_some(most), ends_at: ends_at + 60, throttled }
    }

    pub(super) fn judge(&self, hit: &Hit, limit: u64, now: Timestamp) -> (LimitReport, Result<()>) {
        let seconds_left = u64::try_from(hit.ends_at - now.as_second()).unwrap_or(0).max(1);
        let report = LimitReport {
            name: hit.class.name,
            limit,
            remaining: limit.saturating_sub(hit.used),
            window: hit.class.window.unsigned_abs(),
            resets_at: hit.ends_at,
            seconds_left,
        };
        if hit.used <= limit || !self.limits.enforce {
            return (report, Ok(()));
        }
        self.used_up.lock().insert(format!("{} {}", hit.class.name, hit.principal), hit.ends_at);
        (report, Err(Error::TooManyRequests(Throttled { quota: hit.class.name, limit, retry_after: seconds_left })))
    }

    /// Notes what a request consumed, for its tenant's usage of the day. Where more tenants are noted than are remembered, what another one
    /// consumed is written down now and not with its next lease.
    pub(crate) async fn consumed(&self, table: &Table, tenant: TenantId, metered: Metered, micros: u64, memory_mb: u64, now: Timestamp) {
        let Some((other, spent)) = self.noted(tenant, metered, micros, memory_mb) else { return };
        let usage_pk = TenantStore::partition_of(other, UsageDay::COLLECTION);
        let addition = Addition { tenant: other, usage_pk, spent, chunk: 0, seen: TenantSeen::NotYet };
        let table = table.metered().acting_for((other, None));
        if let Err(error) = self.write_down(&table, addition, now).await {
            tracing::warn!(%error, "what a tenant consumed could not be written down yet");
        }
    }

    /// Counts; gives another tenant's sum out where there is one too many.
    fn noted(&self, tenant: TenantId, metered: Metered, micros: u64, memory_mb: u64) -> Option<(TenantId, Consumed)> {
        let mut spent = self.spent.lock();
        spent.hold(tenant, Consumed::default).add(metered, micros, memory_mb);
        spent.surplus()
    }

    /// Adds to a tenant's day. Gives the counter of places; `None` where the tenant was not seen and its day has not begun.
    async fn write_down(&self, table: &Table, addition: Addition, now: Timestamp) -> Result<Option<u64>> {
        const DOING: &str = "leasing requests";
        let Addition { tenant, usage_pk, spent, chunk, seen } = addition;
        let key = FullKey { pk: usage_pk, sk: day(now).to_string() };
        let sets = [("type", UsageDay::TYPE.to_owned()), ("tenant", tenant.to_string()), ("date", key.sk.clone())];
        let adds = [
            ("used", chunk),
            ("requests", spent.requests),
            ("read_milliunits", spent.read_milliunits),
            ("write_milliunits", spent.write_milliunits),
            ("compute_micros", spent.compute_micros),
            ("gb_micros", spent.gb_micros),
        ];
        let ends_at = now.as_second() + UsageDay::KEPT_SECONDS;
        let begun = Condition::present();
        let condition = (seen == TenantSeen::NotYet).then_some(&begun);
        let updated = table.update_if(DOING, key, &sets, &adds, Some(ends_at), condition).await.inspect_err(|_| {
            // Not written down: the next time tells it.
            self.spent.lock().hold(tenant, Consumed::default).plus(spent);
        })?;
        let Ok(updated) = updated else { return Ok(None) };
        number(&updated, "used").map(Some).ok_or_else(|| Error::internal(DOING, "the counter came back without its number"))
    }

    /// Takes a lease on the tenant's daily quota if none is left in memory, and writes down along with it what was consumed since the last
    /// one. `usage_pk` is the tenant's own partition of days. Whoever leases before the door has seen that the tenant is there only adds to a
    /// day that has begun: a credential that outlived its tenant must write nothing of it.
    pub(super) async fn lease(&self, table: &Table, tenant: TenantId, usage_pk: String, now: Timestamp, seen: TenantSeen) -> Result<()> {
        let today = day(now);
        if self.with_quota(tenant, today, |quota| quota.left() > 0) {
            return Ok(());
        }
        let _one_at_a_time = self.leasing.lock().await;
        let Some(chunk) = self.with_quota(tenant, today, |quota| if quota.left() > 0 { None } else { quota.chunk() }) else {
            return Ok(());
        };
        let spent = self.spent.lock().remove(&tenant).unwrap_or_default();
        let Some(to) = self.write_down(table, Addition { tenant, usage_pk, spent, chunk, seen }, now).await? else {
            // Told by the next lease.
            self.spent.lock().hold(tenant, Consumed::default).plus(spent);
            return Ok(());
        };
        self.with_quota(tenant, today, |quota| {
            quota.leased.push_back(to - chunk..to);
            quota.used = quota.used.max(to);
        });
        Ok(())
    }

    /// Spends one request of the day from what is leased.
    pub(super) fn spend(&self, tenant: TenantId, limit: Option<u64>, now: Timestamp) -> Spent {
        let midnight = (now.as_second().div_euclid(86_400) + 1) * 86_400;
        let seconds_left = u64::try_from(midnight - now.as_second()).unwrap_or(1).max(1);
        let report =
            |remaining| limit.map(|limit| LimitReport { name: DAY, limit, remaining, window: 86_400, resets_at: midnight, seconds_left });
        self.with_quota(tenant, day(now), |quota| {
            quota.limit = Some(limit);
            if let Some(place) = quota.take(limit) {
                let report = report(limit.map_or(0, |limit| limit.saturating_sub(quota.used) + quota.left()));
                return Spent::Yes(report, Some(DayPlace { tenant, day: quota.day, place }));
            }
            match limit {
                Some(limit) if quota.used >= limit && self.limits.enforce => {
                    let throttled = Throttled { quota: DAILY, limit, retry_after: seconds_left };
                    Spent::UsedUp(report(0), Error::TooManyRequests(throttled))
                }
                Some(limit) if quota.used >= limit => Spent::Yes(report(0), None),
                _ => Spent::LeaseFirst,
            }
        })
    }

    /// A request that validation refused spends nothing: its places are this instance's again.
    pub(crate) fn give_back(&self, places: Vec<DayPlace>, reports: &mut [LimitReport]) {
        let mut quotas = self.quotas.lock();
        for DayPlace { tenant, day, place } in places {
            if let Some(quota) = quotas.get(&tenant).filter(|quota| quota.day == day) {
                quota.leased.push_front(place..place + 1);
                if let Some(report) = reports.iter_mut().rfind(|report| report.name == DAY) {
                    report.remaining += 1;
                }
            }
        }
    }

    /// The limits as an answer reports them: where one refused, that one first, with nothing left.
    pub(crate) fn reported(&self, mut limits: Vec<LimitReport>, refusal: Option<&Error>, now: Timestamp) -> Vec<LimitReport> {
        let Some(Error::TooManyRequests(refused)) = refusal else { return limits };
        let window = |class: &Class| (class.name, class.window.unsigned_abs());
        let (name, window) = match refused.quota {
            DAILY => (DAY, 86_400),
            EdgeConfig::REFRESHES => (EdgeConfig::REFRESHES, 60),
            quota => Class::ALL.iter().find(|class| class.name == quota).map_or((quota, 0), window),
        };
        limits.retain(|report| report.name != name || report.remaining > 0);
        let seconds_left = refused.retry_after;
        let resets_at = now.as_second().saturating_add_unsigned(seconds_left);
        limits.insert(0, LimitReport { name, limit: refused.limit, remaining: 0, window, resets_at, seconds_left });
        limits
    }

    fn with_quota<T>(&self, tenant: TenantId, today: Date, look: impl FnOnce(&mut Quota) -> T) -> T {
        let mut quotas = self.quotas.lock();
        let quota = quotas.or_insert_with(tenant, || Quota::of(today));
        if quota.day != today {
            // The plan of yesterday is a good guess of today's.
            *quota = Quota { limit: quota.limit, ..Quota::of(today) };
        }
        look(quota)
    }
}

/// Whether the door has seen the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TenantSeen {
    NotYet,
    Inside,
}

/// Whether a request of the day could be spent.
pub(super) enum Spent {
    Yes(Option<LimitReport>, Option<DayPlace>),
    UsedUp(Option<LimitReport>, Error),
    /// Another request took what was leased: lease again.
    LeaseFirst,
}

/// What counts as one place: an IPv4 address, or the 64 leading bits of an IPv6 address, behind which one party has as many as it likes.
pub(super) fn network(ip: &str) -> String {
    match ip.parse() {
        Ok(std::net::IpAddr::V6(six)) => match six.to_ipv4_mapped() {
            Some(four) => four.to_string(),
            None => {
                let [a, b, c, d, ..] = six.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        },
        _ => ip.to_owned(),
    }
}

impl Hit {
    pub(super) fn used(&self) -> u64 {
        self.used
    }
}

fn window(class: Class, now: Timestamp) -> (i64, i64) {
    let starts_at = now.as_second().div_euclid(class.window) * class.window;
    (starts_at, starts_at + class.window)
}

fn key(class: Class, principal: &str, starts_at: i64) -> FullKey {
    FullKey { pk: format!("G#rate#{}#{}", class.name, Hashed::of(&[principal])), sk: starts_at.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Variables};
    use crate::crypto::Random;

    fn limiter() -> Limiter {
        let variables = std::collections::HashMap::from([("TABLE_NAME".to_owned(), "table".to_owned())]);
        Limiter::new(Config::read(&Variables(variables)).unwrap().limits)
    }

    #[test]
    fn what_tenants_consumed_is_never_forgotten() {
        let (limiter, random) = (limiter(), Random::seeded(1));
        let tenants: Vec<TenantId> = (0..REMEMBERED + 500).map(|_| TenantId::new(&random)).collect();
        let mut given_out = Consumed::default();
        for tenant in tenants.iter().chain(&tenants) {
            if let Some((_, spent)) = limiter.noted(*tenant, Metered::default(), 1, 1024) {
                given_out.plus(spent);
            }
        }
        let kept = limiter.spent.lock().values().fold(given_out, |mut sum, spent| {
            sum.plus(*spent);
            sum
        });
        assert_eq!((kept.requests, kept.compute_micros), (2 * tenants.len() as u64, 2 * tenants.len() as u64));
        assert!(limiter.spent.lock().len() <= REMEMBERED && given_out.requests > 0);
    }

    #[test]
    fn a_flood_from_more_places_than_are_remembered_leaves_no_strike_uncounted() {
        let (limiter, rounds) = (limiter(), 12);
        let places: Vec<FullKey> = (0..REMEMBERED + 50).map(|place| key(Class::CREDENTIALS, &place.to_string(), 0)).collect();
        let mut written = 0;
        for place in places.iter().cycle().take(rounds * places.len()) {
            let (struck, surplus) = limiter.struck(place, 60);
            written += if struck.pending >= STRIKES { struck.pending } else { 0 };
            written += surplus.map_or(0, |(_, struck)| struck.pending);
        }
        let pending: u64 = limiter.struck.lock().values().map(|struck| struck.pending).sum();
        assert_eq!(written + pending, (rounds * places.len()) as u64);
        assert!(limiter.struck.lock().len() <= REMEMBERED);
    }

    #[test]
    fn a_place_given_back_is_taken_again_on_the_same_day_only() {
        let (limiter, tenant) = (limiter(), TenantId::new(&Random::seeded(1)));
        let now: Timestamp = "2026-01-15T10:00:00Z".parse().unwrap();
        limiter.with_quota(tenant, day(now), |quota| quota.leased.push_back(0..2));
        let take = || match limiter.spend(tenant, Some(2), now) {
            Spent::Yes(_, Some(place)) => Some(place),
            _ => None,
        };
        let (first, second) = (take().unwrap(), take().unwrap());
        assert!(take().is_none());
        limiter.give_back(vec![first, second], &mut []);
        assert_eq!([take().unwrap().place, take().unwrap().place], [1, 0]);
        limiter.give_back(vec![DayPlace { day: day(now).tomorrow().unwrap(), ..first }], &mut []);
        assert!(take().is_none());
    }

    #[test]
    fn a_place_is_an_address_or_a_network_of_the_newer_kind() {
        assert_eq!(network("203.0.113.1"), "203.0.113.1");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:203.0.113.1"), "203.0.113.1");
    }
}
