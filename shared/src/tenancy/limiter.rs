//! Rate limits and the daily quota, exact across any number of running instances. A window is one counter item: every request adds one
//! and looks at the sum, so no two requests ever take the same place. What is known to be used up is refused from memory, unwritten.
//! The daily quota is leased in small chunks, taken in the same breath as the door's reads.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use jiff::Timestamp;
use jiff::civil::Date;

use crate::config::Limits;
use crate::error::{Error, Result, Throttled};
use crate::http::request::LimitReport;
use crate::model::time::day;
use crate::store::entity::Hashed;
use crate::store::table::{FullKey, Table, number};
use crate::tenancy::TenantId;

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
    /// Failed logins per e-mail, from anywhere.
    pub const AUTH_FAILURES: Class = Class { name: "api-auth-failures", window: 900 };
    pub const DEMO: Class = Class { name: "demo", window: 3600 };
}

/// What a counter said.
#[derive(Debug, Clone)]
pub(super) struct Hit {
    class: Class,
    principal: String,
    used: u64,
    ends_at: i64,
}

/// Places of the daily quota, from `from` up to but not including `to`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    from: u64,
    to: u64,
}

pub struct Limiter {
    pub(super) limits: Limits,
    /// Class and principal → when its used-up window ends.
    used_up: Mutex<HashMap<String, i64>>,
    quotas: Mutex<HashMap<TenantId, Quota>>,
    /// Leases that were taken for requests that were then refused.
    returned: Mutex<HashMap<TenantId, (Date, Vec<Lease>)>>,
}

/// A lease until it is spent. Dropped unspent it goes back, so that a caller whom the door refuses (his session has ended, his
/// membership is gone) uses up nothing of the tenant's day.
pub(super) struct Held<'a> {
    limiter: &'a Limiter,
    tenant: TenantId,
    day: Date,
    lease: Option<Lease>,
}

impl Held<'_> {
    pub(super) fn take(&mut self) -> Option<Lease> {
        self.lease.take()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        let mut returned = lock(&self.limiter.returned);
        if returned.len() >= REMEMBERED {
            returned.retain(|_, (day, _)| *day == self.day);
        }
        let (day, leases) = returned.entry(self.tenant).or_insert((self.day, vec![]));
        if *day != self.day {
            (*day, *leases) = (self.day, vec![]);
        }
        leases.push(lease);
    }
}

#[derive(Debug, Clone, Copy)]
struct Quota {
    day: Date,
    /// Leased and not spent.
    left: u64,
    /// The counter as last seen.
    used: u64,
    limit: Option<u64>,
}

/// How many entries are remembered before the old ones are cleared out.
const REMEMBERED: usize = 10_000;
const LARGEST_LEASE: u64 = 32;

impl Limiter {
    pub fn new(limits: Limits) -> Self {
        Limiter { limits, used_up: Mutex::default(), quotas: Mutex::default(), returned: Mutex::default() }
    }

    /// Counts one request. Not yet an answer: `judge` compares with the limit, which may only be known after the door's reads.
    pub(super) async fn hit(&self, table: &Table, class: Class, principal: &str, now: Timestamp) -> Result<Hit> {
        let (starts_at, ends_at) = window(class, now);
        let known = lock(&self.used_up).get(&format!("{} {principal}", class.name)).copied();
        let hit = |used| Hit { class, principal: principal.to_owned(), used, ends_at };
        if known == Some(ends_at) {
            return Ok(hit(u64::MAX));
        }
        let used = table.add(key(class, principal, starts_at), "n", 1, Some(ends_at + 60)).await?;
        Ok(hit(used))
    }

    /// What a counter stands at, without counting.
    pub(super) async fn look(&self, table: &Table, class: Class, principal: &str, now: Timestamp) -> Result<Hit> {
        let (starts_at, ends_at) = window(class, now);
        let item = table.get(key(class, principal, starts_at), true).await?;
        let used = item.as_ref().and_then(|item| number(item, "n")).unwrap_or(0);
        Ok(Hit { class, principal: principal.to_owned(), used, ends_at })
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
        let mut used_up = lock(&self.used_up);
        if used_up.len() >= REMEMBERED {
            used_up.retain(|_, ends_at| *ends_at > now.as_second());
        }
        used_up.insert(format!("{} {}", hit.class.name, hit.principal), hit.ends_at);
        (report, Err(Error::TooManyRequests(Throttled { quota: hit.class.name, limit, retry_after: seconds_left })))
    }

    /// Takes a lease on the tenant's daily quota if none is left in memory. `quota_pk` is the tenant's own quota partition.
    pub(super) async fn lease(&self, table: &Table, tenant: TenantId, quota_pk: String, now: Timestamp) -> Result<Option<Lease>> {
        let today = day(now);
        let known = lock(&self.quotas).get(&tenant).filter(|quota| quota.day == today).copied();
        if known.is_none_or(|quota| quota.left == 0)
            && let Some((_, leases)) = lock(&self.returned).get_mut(&tenant).filter(|(day, _)| *day == today)
            && let Some(lease) = leases.pop()
        {
            return Ok(Some(lease));
        }
        let chunk = match known {
            Some(quota) if quota.left > 0 => return Ok(None),
            Some(Quota { limit: Some(limit), used, .. }) if used >= limit => return Ok(None),
            // Smaller and smaller towards the limit, so that what an instance takes with it when it ends stays small.
            Some(Quota { limit: Some(limit), used, .. }) => ((limit - used) / 5).clamp(1, LARGEST_LEASE),
            Some(Quota { limit: None, .. }) => LARGEST_LEASE,
            None => 1,
        };
        let key = FullKey { pk: quota_pk, sk: format!("api_requests#{today}") };
        let to = table.add(key, "used", chunk, Some(now.as_second() + 2 * 86_400)).await?;
        Ok(Some(Lease { from: to - chunk, to }))
    }

    pub(super) fn hold(&self, tenant: TenantId, lease: Option<Lease>, now: Timestamp) -> Held<'_> {
        Held { limiter: self, tenant, day: day(now), lease }
    }

    /// Spends one request of the day. `None` for the lease: there should be one in memory.
    pub(super) fn spend(&self, tenant: TenantId, lease: Option<Lease>, limit: Option<u64>, now: Timestamp) -> Spent {
        let today = day(now);
        let mut quotas = lock(&self.quotas);
        if quotas.len() >= REMEMBERED {
            quotas.retain(|_, quota| quota.day == today);
        }
        let quota = quotas.entry(tenant).or_insert(Quota { day: today, left: 0, used: 0, limit });
        if quota.day != today {
            *quota = Quota { day: today, left: 0, used: 0, limit };
        }
        quota.limit = limit;
        if let Some(lease) = lease {
            // Only the places below the limit count; the counter itself may run past it.
            let top = limit.map_or(lease.to, |limit| lease.to.min(limit));
            quota.left += top.saturating_sub(lease.from);
            quota.used = quota.used.max(lease.to);
        }
        let midnight = i64::from(now.as_second().div_euclid(86_400) as i32 + 1) * 86_400;
        let seconds_left = u64::try_from(midnight - now.as_second()).unwrap_or(1).max(1);
        let report =
            |remaining| limit.map(|limit| LimitReport { name: "day", limit, remaining, window: 86_400, resets_at: midnight, seconds_left });
        if quota.left > 0 {
            quota.left -= 1;
            let remaining = limit.map_or(0, |limit| limit.saturating_sub(quota.used) + quota.left);
            return Spent::Yes(report(remaining));
        }
        match limit {
            Some(limit) if quota.used >= limit && self.limits.enforce => {
                let error = Error::TooManyRequests(Throttled { quota: "api_requests_per_day", limit, retry_after: seconds_left });
                Spent::UsedUp(report(0), error)
            }
            Some(limit) if quota.used >= limit => Spent::Yes(report(0)),
            _ => Spent::LeaseFirst,
        }
    }
}

/// Whether a request of the day could be spent.
pub(super) enum Spent {
    Yes(Option<LimitReport>),
    UsedUp(Option<LimitReport>, Error),
    /// Another request took what was leased: lease again.
    LeaseFirst,
}

fn window(class: Class, now: Timestamp) -> (i64, i64) {
    let starts_at = now.as_second().div_euclid(class.window) * class.window;
    (starts_at, starts_at + class.window)
}

fn key(class: Class, principal: &str, starts_at: i64) -> FullKey {
    FullKey { pk: format!("G#rate#{}#{}", class.name, Hashed::of(&[principal])), sk: starts_at.to_string() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
