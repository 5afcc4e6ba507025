//! People and workers do anything in any order. Whatever that is: nobody gets a mail twice, no day gets more than its limit, and in the end everybody is
//! through.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use shared::Clock;
use stack::mailbox::unsubscribe_url;
use stack::sources::{Duplicates, Faults};

use super::audiences::Dice;
use super::{CAMPAIGNS, Death, Home, LEADS, email, number, state, text, wait};
use crate::world::PUBLIC_URL;

const LIMIT: usize = 5;

struct Model {
    home: Home,
    dice: Dice,
    leads: Vec<String>,
    campaigns: Vec<String>,
    signed_in: Timestamp,
    did: Vec<&'static str>,
}

impl Model {
    async fn new(seed: u64) -> Self {
        let home = Home::new().await;
        let leads = home.leads(8).await;
        let sequence = json!([email("One"), wait(2, "hours"), email("Two")]);
        let mut campaigns = vec![];
        for _ in 0..2 {
            let settings = json!({"daily_limit": LIMIT, "timezone": "Europe/Berlin"});
            campaigns.push(home.campaign(sequence.clone(), json!({"lead_ids": leads}), settings).await);
        }
        let signed_in = home.world.clock.now();
        Model { home, dice: Dice(seed), leads, campaigns, signed_in, did: vec![] }
    }

    async fn step(&mut self) {
        self.sign_in().await;
        let campaign = self.campaigns[self.dice.below(self.campaigns.len())].clone();
        let did = match self.dice.below(12) {
            // Where it does not fit the state of the campaign, it is refused.
            0 | 1 => self.send(&campaign, "start").await,
            2 => self.send(&campaign, "pause").await,
            3 => self.send(&campaign, "resume").await,
            4 => self.edit(&campaign).await,
            5 => self.kill(),
            6 => self.unsubscribe().await,
            7 if self.leads.len() > 3 => self.delete_lead().await,
            8 => {
                let steps = 1 + self.dice.below(12);
                self.pass(steps).await
            }
            _ => self.pass(1).await,
        };
        self.did.push(did);
        self.check();
    }

    async fn sign_in(&mut self) {
        let now = self.home.world.clock.now();
        if now.duration_since(self.signed_in) > SignedDuration::from_hours(4) {
            let owner = self.home.tenant.owner.clone();
            self.home.tenant.owner = self.home.world.login(&owner.email, &owner.password).await;
            self.signed_in = now;
        }
    }

    async fn send(&self, campaign: &str, action: &'static str) -> &'static str {
        let answer = self.home.send(campaign, action).await;
        assert!(matches!(answer.status, 200 | 409), "{action}: {}", answer.text);
        action
    }

    async fn edit(&mut self, campaign: &str) -> &'static str {
        let change = match self.dice.below(3) {
            0 => json!({"sequence": [email("One"), wait(3, "hours"), email("Two, again")]}),
            1 => json!({"settings": {"daily_limit": 1 + self.dice.below(LIMIT)}}),
            _ => json!({"settings": {"window": {"days": ["mon", "tue", "wed", "thu", "fri", "sat"], "from": "00:00", "to": "20:00"}}}),
        };
        let answer = self.home.patch(&format!("{CAMPAIGNS}/{campaign}"), change).await;
        assert!(matches!(answer.status, 200 | 409), "{}", answer.text);
        "edit"
    }

    fn kill(&mut self) -> &'static str {
        let of = if self.dice.chance(4) { "relay" } else { "sender" };
        let delay = SignedDuration::from_mins(if self.dice.chance(2) { 0 } else { 6 });
        self.home.crew.dies(Death { of, waits: 1 + self.dice.below(80), mails: usize::MAX, delay });
        "kill"
    }

    async fn unsubscribe(&mut self) -> &'static str {
        let mails = self.home.sent();
        if !mails.is_empty() {
            let mail = &mails[self.dice.below(mails.len())].mail;
            let link = unsubscribe_url(mail).expect("a link").replace(PUBLIC_URL, "");
            let form = self.home.world.post(link).header("content-type", "application/x-www-form-urlencoded");
            form.raw(b"List-Unsubscribe=One-Click").send().await.expect(200);
        }
        "unsubscribe"
    }

    async fn delete_lead(&mut self) -> &'static str {
        let lead = self.leads.remove(self.dice.below(self.leads.len()));
        self.home.delete(&format!("{LEADS}/{lead}")).await;
        "delete"
    }

    async fn pass(&mut self, steps: usize) -> &'static str {
        let duplicates = [Duplicates::None, Duplicates::Again, Duplicates::AtOnce][self.dice.below(3)];
        let faults = Faults { seed: self.dice.below(1_000) as u64, duplicates, reorder: self.dice.chance(2), ..Faults::default() };
        let minutes = [1, 7, 20, 90][self.dice.below(4)];
        self.home.pass_with(steps, SignedDuration::from_mins(minutes), &faults).await;
        "pass"
    }

    fn check(&self) {
        let is_active = |campaign: &&String| text(&self.home.record("campaigns", campaign), "status") == "active";
        let active = self.campaigns.iter().filter(is_active).count() as u64;
        assert_eq!(self.home.active_campaigns(), active, "after {:?}", self.did);
        let zone = TimeZone::get("Europe/Berlin").expect("a zone");
        for campaign in &self.campaigns {
            let given = self.home.given(campaign);
            assert!(given.values().all(|times| *times == 1), "twice: {given:?} after {:?}", self.did);
            let mut days = BTreeMap::new();
            for at in self.home.arrivals(campaign) {
                *days.entry(at.to_zoned(zone.clone()).date()).or_insert(0) += 1;
            }
            assert!(days.values().all(|mails| *mails <= LIMIT), "{days:?} after {:?}", self.did);
        }
    }

    /// Nothing hinders them any more.
    async fn end(&mut self) {
        self.home.crew.lives();
        for campaign in self.campaigns.clone() {
            self.sign_in().await;
            let settings = json!({"settings": {"daily_limit": LIMIT, "window": null}});
            self.home.patch(&format!("{CAMPAIGNS}/{campaign}"), settings).await;
            for action in ["start", "resume"] {
                self.send(&campaign, action).await;
            }
        }
        self.home.settle().await;
        let in_days = self.home.world.clock.now() + SignedDuration::from_hours(24 * 8);
        self.home.pass_until_due(in_days).await;
        self.check();
        for campaign in &self.campaigns {
            let (record, numbers) = (self.home.record("campaigns", campaign), self.home.numbers(campaign));
            assert_eq!(text(&record, "status"), "completed", "after {:?}", self.did);
            assert!(self.home.waves(campaign).is_empty(), "after {:?}", self.did);
            let (mut unknown, mut dropped) = (0, 0);
            for enrolment in self.home.enrolments(campaign) {
                match state(&enrolment) {
                    "completed" | "skipped" => {}
                    "unknown" => unknown += 1,
                    "exited" => dropped += 1,
                    other => panic!("{other} at {} after {:?}", number(&enrolment, "step"), self.did),
                }
            }
            let mails = self.home.given(campaign).len() as u64;
            let left = numbers.dropped + number(&record, "unsubscribed");
            assert_eq!((numbers.unknown, left), (unknown, dropped), "{numbers:?} after {:?}", self.did);
            assert!(numbers.sent <= mails && mails <= numbers.sent + unknown, "{mails} mails, {numbers:?} after {:?}", self.did);
            assert_eq!(numbers.in_days, numbers.sent + unknown, "{numbers:?} after {:?}", self.did);
        }
    }
}

#[tokio::test]
async fn whatever_happens_in_whatever_order_no_mail_goes_twice_and_everybody_is_through() {
    for seed in 1..=4 {
        let mut model = Model::new(seed).await;
        for _ in 0..30 {
            Box::pin(model.step()).await;
        }
        Box::pin(model.end()).await;
    }
}
