//! What a tenant used on a day: the counter that enforces its daily quota, with what its requests consumed beside it.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::store::entity::{Collection, Entity, InTenant, Key};
use crate::store::page::List;

/// `usage` / `<date>`: one item a day and tenant; a month is one query. Numbers are added to it, by leases of the daily quota and by
/// whoever counts something else; it is never written as a whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UsageDay {
    pub date: Date,
    /// Requests of the API leased to running instances: what the daily quota is compared with.
    #[serde(rename = "used", default)]
    pub api_requests: u64,
    /// Requests that came in, whose consumption follows.
    #[serde(default)]
    pub requests: u64,
    /// Capacity of the table in thousandths of a unit, and computing time in microseconds, as the requests really consumed them.
    #[serde(default)]
    pub read_milliunits: u64,
    #[serde(default)]
    pub write_milliunits: u64,
    #[serde(default)]
    pub compute_micros: u64,
    /// Computing time weighed with the memory it had, in GB-microseconds.
    #[serde(default)]
    pub gb_micros: u64,
    #[serde(default)]
    pub messages_sent: u64,
    #[serde(default)]
    pub messages_delivered: u64,
    #[serde(default)]
    pub messages_failed: u64,
    #[serde(default)]
    pub messages_blocked: u64,
    /// Of those sent, over which channel.
    #[serde(default)]
    pub sent_imessage: u64,
    #[serde(default)]
    pub sent_rcs: u64,
    #[serde(default)]
    pub sent_sms: u64,
    /// Numbers that were messaged for the first time.
    #[serde(default)]
    pub new_contacts: u64,
}

impl UsageDay {
    /// Two years, and a month to look back from their end.
    pub const KEPT_SECONDS: i64 = 760 * 86_400;

    pub fn none(date: Date) -> Self {
        UsageDay {
            date,
            api_requests: 0,
            requests: 0,
            read_milliunits: 0,
            write_milliunits: 0,
            compute_micros: 0,
            gb_micros: 0,
            messages_sent: 0,
            messages_delivered: 0,
            messages_failed: 0,
            messages_blocked: 0,
            sent_imessage: 0,
            sent_rcs: 0,
            sent_sms: 0,
            new_contacts: 0,
        }
    }

    /// Both together, on the day of the first.
    pub fn plus(&self, other: &UsageDay) -> UsageDay {
        UsageDay {
            date: self.date,
            api_requests: self.api_requests + other.api_requests,
            requests: self.requests + other.requests,
            read_milliunits: self.read_milliunits + other.read_milliunits,
            write_milliunits: self.write_milliunits + other.write_milliunits,
            compute_micros: self.compute_micros + other.compute_micros,
            gb_micros: self.gb_micros + other.gb_micros,
            messages_sent: self.messages_sent + other.messages_sent,
            messages_delivered: self.messages_delivered + other.messages_delivered,
            messages_failed: self.messages_failed + other.messages_failed,
            messages_blocked: self.messages_blocked + other.messages_blocked,
            sent_imessage: self.sent_imessage + other.sent_imessage,
            sent_rcs: self.sent_rcs + other.sent_rcs,
            sent_sms: self.sent_sms + other.sent_sms,
            new_contacts: self.new_contacts + other.new_contacts,
        }
    }

    /// The days of a month on which anything was used, in order.
    pub fn of_month(month: Date) -> List<Self> {
        List::beginning(UsageDay::collection(), &format!("{:04}-{:02}-", month.year(), month.month()))
    }

    /// All days that are kept, in order.
    pub fn all() -> List<Self> {
        List::new(UsageDay::collection(), "")
    }

    pub fn key_of(date: Date) -> Key<Self> {
        Key::at(&UsageDay::collection(), date.to_string())
    }

    pub(crate) fn collection() -> Collection {
        Collection::of::<UsageDay>()
    }
}

impl Entity for UsageDay {
    type Scope = InTenant;
    const TYPE: &'static str = "usage_day";
    const COLLECTION: &'static str = "usage";
    const AUDITED: bool = false;
    const EXPORTED: bool = false;

    fn key(&self) -> Key<Self> {
        UsageDay::key_of(self.date)
    }
}
