//! What may be written, write by write.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Town, number, text};

/// A tenant and a phone number.
type Known = (String, String);

/// What the writes so far came to.
#[derive(Default)]
pub struct Ledger {
    /// The last write that it has seen.
    seen: String,
    opted_out: BTreeSet<Known>,
    suspected: BTreeSet<Known>,
    /// The tenant of a line and a number.
    bound: BTreeMap<(String, String), String>,
    /// Places of new contacts that are taken, by tenant and day.
    contacts: BTreeMap<(String, String), i64>,
    /// Those among them for which nobody asked whether there is one: of answers to keywords, and of what went out after all.
    beyond: BTreeMap<(String, String), i64>,
    /// Messages that were queued, by tenant and day.
    queued: BTreeMap<(String, String), i64>,
    /// Claims that were made: of whom, on which line, to which number.
    claims: Vec<(String, String, String)>,
    /// Messages that were given away, so that an answer may be lost.
    pub given: BTreeSet<String>,
    pub gone: BTreeSet<String>,
    limits: Limits,
    pub faults: Vec<String>,
}

/// Of each tenant and day.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    pub new_contacts: i64,
    pub messages: i64,
}

impl Ledger {
    pub fn new(limits: Limits) -> Self {
        Ledger { limits, ..Ledger::default() }
    }

    /// Reads on.
    pub fn follow(&mut self, town: &Town) {
        let records = town.world.aws.records_after(town.world.table_name(), &self.seen).expect("the stream");
        for record in &records {
            let written = &record["dynamodb"];
            self.seen = written["SequenceNumber"].as_str().unwrap_or_default().to_owned();
            let image = |name: &str| Some(&written[name]).filter(|image| image.is_object());
            let (before, after) = (image("OldImage"), image("NewImage"));
            let Some(kind) = after.or(before).map(|image| text(image, "type").to_owned()) else { continue };
            match kind.as_str() {
                "phone_message" => self.message(before, after),
                "peer" => self.peer(before, after),
                "line_peer" => self.line_peer(before, after),
                "messaging_quota" => self.quota(after),
                _ => {}
            }
        }
        for (tenant, line, to) in std::mem::take(&mut self.claims) {
            let holder = self.bound.get(&(line.clone(), to.clone()));
            if holder != Some(&tenant) && !self.gone.contains(&tenant) {
                self.faults.push(format!("{tenant} writes to {to} on {line}, which is {holder:?}'s"));
            }
        }
        for (of, n) in &self.contacts {
            let beyond = self.beyond.get(of).copied().unwrap_or(0);
            if n - beyond > self.limits.new_contacts {
                self.faults.push(format!("{n} new contacts on {of:?}, {beyond} of them beyond the limit"));
            }
        }
        for (of, n) in &self.queued {
            if *n > self.limits.messages {
                self.faults.push(format!("{n} messages on {of:?}"));
            }
        }
    }

    /// What the quotas say is what was taken.
    pub fn compare(&self, town: &Town) {
        for item in town.world.items_of_type("messaging_quota") {
            let sort = text(&item, "sk");
            let (tenant, n) = (text(&item, "tenant").to_owned(), number(&item, "n"));
            let taken = match sort.split_once('-') {
                Some(("contacts", day)) if day.len() == 10 => self.contacts.get(&(tenant, day.to_owned())),
                Some(("messages", day)) if day.len() == 10 => self.queued.get(&(tenant, day.to_owned())),
                _ => continue,
            };
            assert_eq!(n, taken.copied().unwrap_or(0), "{item}");
        }
    }

    fn message(&mut self, before: Option<&Value>, after: Option<&Value>) {
        let Some(after) = after else { return };
        let (id, tenant, status) = (text(after, "sk").to_owned(), text(after, "tenant").to_owned(), text(after, "status"));
        if text(after, "direction") == "inbound" {
            let key = (text(after, "line").to_owned(), text(after, "from").to_owned());
            let holder = self.bound.get(&key);
            if before.is_none() && holder != Some(&tenant) {
                self.faults.push(format!("{id} of {tenant} came in on {key:?}, which is {holder:?}'s"));
            }
            return;
        }
        let Some(before) = before else {
            if !matches!(status, "scheduled" | "held" | "queued" | "blocked") {
                self.faults.push(format!("{id} begins as {status}"));
            }
            return self.count_queued(&tenant, None, after);
        };
        let was = text(before, "status");
        let is_replaced = was == status && after["replaced_by"]["S"].is_string() && !before["replaced_by"]["S"].is_string();
        // It went out, and that it failed was told first.
        let is_noted = (was, status) == ("failed", "failed") && after["sent_at"]["S"].is_string() && !before["sent_at"]["S"].is_string();
        if !is_replaced && !is_noted && !leads(before, status) {
            self.faults.push(format!("{id} goes from {was} to {status}: {before} {after}"));
        }
        if number(after, "version") != number(before, "version") + 1 {
            self.faults.push(format!("{id} has version {} after {}", number(after, "version"), number(before, "version")));
        }
        for fact in ["queued_at", "sent_at", "delivered_at", "read_at", "failed_at"] {
            if before[fact]["S"].is_string() && before[fact] != after[fact] {
                self.faults.push(format!("{id} had {fact} {} and now {}", before[fact], after[fact]));
            }
        }
        self.count_queued(&tenant, Some(before), after);
        if status == "sending" {
            let known = (tenant.clone(), text(after, "to").to_owned());
            let is_confirmation = after["is_confirmation"]["BOOL"] == true;
            if self.opted_out.contains(&known) && !is_confirmation {
                self.faults.push(format!("{id} is claimed for {known:?}, who has opted out"));
            }
            if self.suspected.contains(&known) && text(after, "message_type") == "marketing" {
                self.faults.push(format!("{id} is claimed for {known:?}, who seems to have opted out"));
            }
            self.given.insert(id);
            self.claims.push((tenant, text(after, "line").to_owned(), text(after, "to").to_owned()));
        }
    }

    fn count_queued(&mut self, tenant: &str, before: Option<&Value>, after: &Value) {
        let was = before.is_some_and(|before| before["queued_at"]["S"].is_string());
        let is_counted = after["is_confirmation"]["BOOL"] != true && after["queued_at"]["S"].is_string() && !was;
        if is_counted {
            *self.queued.entry((tenant.to_owned(), text(after, "queued_at")[..10].to_owned())).or_default() += 1;
        }
    }

    fn peer(&mut self, before: Option<&Value>, after: Option<&Value>) {
        let Some(image) = after.or(before) else { return };
        let (tenant, to) = (text(image, "tenant").to_owned(), text(image, "phone_number").to_owned());
        let known = (tenant.clone(), to);
        let says = |image: Option<&Value>, name: &str| image.is_some_and(|image| image[name].is_object());
        let mut note = |set: fn(&mut Self) -> &mut BTreeSet<Known>, is: bool| {
            if is {
                set(self).insert(known.clone())
            } else {
                set(self).remove(&known)
            };
        };
        note(|ledger| &mut ledger.opted_out, says(after, "opted_out"));
        note(|ledger| &mut ledger.suspected, says(after, "suspected"));
        let Some(after) = after else { return };
        let place = |image: Option<&Value>| Some(image?["place"]["M"]["day"]["S"].as_str()?.to_owned());
        let first = |image: Option<&Value>| image.is_some_and(|image| image["first_messaged_at"]["S"].is_string());
        match (place(before), place(Some(after))) {
            (None, Some(day)) => *self.contacts.entry((tenant, day)).or_default() += 1,
            (Some(day), None) if first(before) || !first(Some(after)) => *self.contacts.entry((tenant, day)).or_default() -= 1,
            (None, None) if !first(before) && first(Some(after)) => {
                let key = (tenant, text(after, "at")[..10].to_owned());
                *self.contacts.entry(key.clone()).or_default() += 1;
                *self.beyond.entry(key).or_default() += 1;
            }
            (Some(was), Some(is)) if was != is => self.faults.push(format!("the place of {known:?} moves from {was} to {is}")),
            _ => {}
        }
    }

    fn line_peer(&mut self, before: Option<&Value>, after: Option<&Value>) {
        let Some(image) = after.or(before) else { return };
        let key = (text(image, "line").to_owned(), text(image, "phone_number").to_owned());
        match after.map(|after| text(after, "tenant").to_owned()) {
            None => drop(self.bound.remove(&key)),
            Some(tenant) => {
                let was = before.map(|before| text(before, "tenant").to_owned());
                if was.as_ref().is_some_and(|was| *was != tenant) {
                    self.faults.push(format!("{key:?} goes from {was:?} to {tenant}"));
                }
                self.bound.insert(key, tenant);
            }
        }
    }

    fn quota(&mut self, after: Option<&Value>) {
        if let Some(after) = after.filter(|after| number(after, "n") < 0) {
            self.faults.push(format!("less than nothing: {after}"));
        }
    }
}

/// Whether a message may come into this state.
fn leads(before: &Value, to: &str) -> bool {
    let is_given = before["sending_since"]["S"].is_string();
    match text(before, "status") {
        "scheduled" => matches!(to, "queued" | "held" | "blocked" | "cancelled" | "failed"),
        "held" | "queued" => {
            matches!(to, "queued" | "held" | "blocked" | "cancelled" | "failed")
                || (to == "sending" && text(before, "status") == "queued")
                // A carrier was asked, and whatever it said then, it has it.
                || (is_given && matches!(to, "sent" | "delivered" | "read" | "unknown"))
        }
        "sending" => matches!(to, "sending" | "sent" | "delivered" | "read" | "failed" | "unknown" | "queued"),
        "unknown" => matches!(to, "sent" | "delivered" | "read" | "failed"),
        "sent" => matches!(to, "delivered" | "read" | "failed"),
        "delivered" => to == "read",
        _ => false,
    }
}
