//! What a tenant used on a day: the counter that enforces its daily quota, and what its requests consumed.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::time::end_of;
use crate::store::entity::{Collection, Entity, InTenant, Key};
use crate::store::page::List;

/// `usage` / `<date>` and `<date>~<0 to 7>`: of each day and tenant, so a month is one query. Numbers are only added to it, by leases of the daily
/// quota and by other counters. It is never written as a whole. What transactions add is spread over parts of the day, because two that meet at
/// an item must come one after the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UsageDay {
    pub date: Date,
    /// Which part of the day it is, where it is one. Readers add the parts up.
    #[serde(skip)]
    part: Option<u8>,
    /// Requests of the API that were leased to instances. The daily quota is compared with this number.
    #[serde(rename = "used", default)]
    pub api_requests: u64,
    /// Requests that arrived. The next fields say what they consumed.
    #[serde(default)]
    pub requests: u64,
    /// The capacity of the table in thousandths of a unit and the computing time in microseconds that the requests really consumed.
    #[serde(default)]
    pub read_milliunits: u64,
    #[serde(default)]
    pub write_milliunits: u64,
    #[serde(default)]
    pub compute_micros: u64,
    /// Computing time multiplied by memory, in GB-microseconds.
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
    /// The messages that were sent, by channel. Less than nothing where more messages turned out to have gone by another one than a part or a day counted.
    #[serde(default)]
    pub sent_imessage: i64,
    #[serde(default)]
    pub sent_rcs: i64,
    #[serde(default)]
    pub sent_sms: i64,
    /// Phone numbers that got their first message.
    #[serde(default)]
    pub new_contacts: u64,
}

impl UsageDay {
    /// Two years, and one more month to compare with.
    pub const KEPT_SECONDS: i64 = 760 * 86_400;
    const PARTS: u8 = 8;

    pub fn none(date: Date) -> Self {
        UsageDay {
            date,
            part: None,
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

    /// A part of a day, one of a few.
    pub fn part(date: Date, spread: u8) -> Self {
        UsageDay { part: Some(spread % UsageDay::PARTS), ..UsageDay::none(date) }
    }

    /// The sum of both, with the date of the first.
    pub fn plus(&self, other: &UsageDay) -> UsageDay {
        UsageDay {
            date: self.date,
            part: None,
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

    /// The days of a month with any usage, in order.
    pub fn of_month(month: Date) -> List<Self> {
        List::beginning(UsageDay::collection(), &format!("{:04}-{:02}-", month.year(), month.month()))
    }

    /// All days that are kept, in order.
    pub fn all() -> List<Self> {
        List::new(UsageDay::collection(), "")
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
        let part = self.part.map_or_else(String::new, |part| format!("~{part}"));
        Key::at(&UsageDay::collection(), format!("{}{part}", self.date))
    }

    fn expires_at(&self) -> Option<Timestamp> {
        end_of(self.date).checked_add(SignedDuration::from_secs(UsageDay::KEPT_SECONDS)).ok()
    }
}
