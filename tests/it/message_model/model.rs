//! Firms, people, operators and deaths in any order.

use std::collections::BTreeMap;

use futures_util::future::{join, join_all};
use jiff::SignedDuration;
use serde_json::{Value, json};
use stack::phone_lines::LINES;
use stack::sources::{Duplicates, Faults};

use super::ledger::{Ledger, Limits};
use super::{ALL, Death, Town, cut, outcome, text};
use crate::messages::{report, tell};
use crate::sending::Dice;
use crate::world::Settings;

/// Of each firm and day.
const LIMITS: Limits = Limits { new_contacts: 2, messages: 14 };
/// What there is to do takes no more than the month, so that what the API shows of it is all.
const BEGIN: &str = "2026-11-02T15:00:00Z";
const LAST: &str = "2026-11-16T00:00:00Z";
const SLOW: &str = "+12025550104";
/// Of AWS End User Messaging, which takes a message as often as it is given it.
const AWS: &str = "+12025550105";
const WORDS: [&str; 12] =
    ["STOP", "stop.", "Unsubscribe", "STOP", "START", "unstop", "YES", "HELP", "info", "please stop texting me", "Thank you", "Hello"];

struct Model {
    town: Town,
    dice: Dice,
    ledger: Ledger,
    numbers: Vec<&'static str>,
    purged: Option<usize>,
    suspended: Vec<bool>,
    said: usize,
    did: Vec<String>,
    seed: u64,
}

impl Model {
    async fn new(seed: u64) -> Self {
        let plan = json!({"contacts_messaged_per_day": LIMITS.new_contacts, "contacts_messaged_per_month": null,
            "messages_per_day": LIMITS.messages, "messages_per_month": null});
        let settings =
            Settings { moment: Some(BEGIN.parse().expect("a moment")), plans: json!({"free": plan}), seed, ..Settings::default() };
        let mut dice = Dice(seed);
        // Of each ending there is somebody, sometimes.
        let others = [
            "+12025550196",
            "+12025550194",
            "+12025550193",
            "+12025550195",
            "+12025550192",
            "+12025550197",
            "+12025550199",
            "+12025550198",
        ];
        let mut numbers = vec!["+12025550120", "+12125550121"];
        for _ in 0..3 {
            let number = others[dice.below(others.len())];
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        let town = Town::new(3, settings).await;
        // A line that is soon at the end of its minute, and of its day.
        let slow = json!({"command": "line-add", "phone_number": SLOW, "capabilities": ["rcs", "sms"], "gateway": "phones", "active": true,
            "daily_limit": 6, "per_minute_limit": 2});
        if dice.chance(2) {
            town.crew.workers.run("operator", slow).await.expect("a line");
        }
        let aws = json!({"command": "line-add", "phone_number": AWS, "capabilities": ["sms"], "carrier": "aws", "active": true,
            "daily_limit": 20_000, "per_minute_limit": 6_000});
        if dice.chance(2) {
            town.crew.workers.run("operator", aws).await.expect("a line");
        }
        let suspended = vec![false; town.firms.len()];
        Model { town, dice, ledger: Ledger::new(LIMITS), numbers, purged: None, suspended, said: 0, did: vec![], seed }
    }

    async fn step(&mut self) {
        let firm = self.dice.below(self.town.firms.len());
        let did = match self.dice.below(32) {
            0..=5 => self.send(firm).await,
            6 => self.send_twice(firm).await,
            7 => self.schedule(firm).await,
            8..=11 => self.say().await,
            12 => self.report().await,
            13 => self.report().await,
            14 => self.opt_out(firm).await,
            15 => self.opt_in(firm).await,
            16 => self.cancel(firm).await,
            17 => self.resend(firm).await,
            18 => self.turn(firm).await,
            19 | 20 => self.kill(),
            21 => self.tell_and_die().await,
            22 => self.look(),
            23 => self.at_once(firm).await,
            24 => self.gateway_fails(),
            25 if self.purged.is_none() && self.dice.chance(3) => self.delete(firm).await,
            26 | 27 => self.drain().await,
            _ => self.pass().await,
        };
        self.did.push(did);
        self.check();
    }

    fn context(&self) -> String {
        format!("SEED={} after {} steps:\n{}", self.seed, self.did.len(), self.did.join("\n"))
    }

    fn check(&mut self) {
        self.ledger.follow(&self.town);
        assert!(self.ledger.faults.is_empty(), "{}\n{:#?}", self.context(), self.ledger.faults);
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for (_, message) in self.town.arrived() {
            *times.entry(message.id).or_default() += 1;
        }
        assert!(times.values().all(|times| *times == 1), "{}\n{times:?}", self.context());
    }

    fn number(&mut self) -> &'static str {
        self.numbers[self.dice.below(self.numbers.len())]
    }

    fn faults(&mut self) -> Faults {
        let duplicates = [Duplicates::None, Duplicates::None, Duplicates::Again, Duplicates::AtOnce][self.dice.below(4)];
        Faults { seed: self.dice.below(1_000) as u64, duplicates, reorder: self.dice.chance(2), ..Faults::default() }
    }

    fn body(&mut self) -> Value {
        let message_type = ["otp", "alert", "alert", "marketing", "marketing"][self.dice.below(5)];
        let channel = ["auto", "auto", "auto", "imessage", "rcs", "sms"][self.dice.below(6)];
        self.said += 1;
        let mut body =
            json!({"to": self.number(), "body": format!("Message {}", self.said), "message_type": message_type, "channel": channel});
        if message_type == "marketing" && self.dice.chance(2) {
            body["quiet_hours"] = json!("defer");
        }
        if self.dice.chance(6) {
            body["from_number"] = json!([LINES[0], LINES[1], LINES[2], SLOW, AWS][self.dice.below(5)]);
        }
        if self.dice.chance(6) {
            body["valid_for_seconds"] = json!([60, 3_600, 259_200][self.dice.below(3)]);
        }
        body
    }

    async fn send(&mut self, firm: usize) -> String {
        let body = self.body();
        let answer = self.town.post(firm, body.clone()).send().await;
        assert!(matches!(answer.status, 202 | 401 | 403 | 404 | 429 | 503), "{}\n{}", self.context(), answer.text);
        format!("{firm} sends {body}: {}", outcome(&answer))
    }

    /// With one key: the first request may die before its answer, or both come at once.
    async fn send_twice(&mut self, firm: usize) -> String {
        let (body, key) = (self.body(), format!("key-{}", self.said));
        let send = || self.town.post(firm, body.clone()).header("idempotency-key", &key).send();
        let first = if self.dice.chance(2) {
            let (one, two) = join(send(), send()).await;
            format!("{} and {}", outcome(&one), outcome(&two))
        } else {
            let waits = self.dice.below(12);
            cut(send(), waits).await.0.map_or("dead".into(), |answer| outcome(&answer))
        };
        let again = self.town.post(firm, body.clone()).header("idempotency-key", &key).send().await;
        assert!(matches!(again.status, 202 | 401 | 403 | 404 | 429 | 503), "{}\n{}", self.context(), again.text);
        let same = self.town.messages(firm).into_iter().filter(|message| message["body"]["S"] == body["body"]).count();
        assert!(same <= 1, "{}\n{same} messages {body}", self.context());
        format!("{firm} sends twice {body}: {first}, then {}", outcome(&again))
    }

    async fn schedule(&mut self, firm: usize) -> String {
        let mut body = self.body();
        let minutes = [2, 30, 90, 400][self.dice.below(4)];
        body["scheduled_at"] = json!((self.town.now() + SignedDuration::from_mins(minutes)).to_string());
        let answer = self.town.post(firm, body.clone()).send().await;
        assert!(matches!(answer.status, 202 | 401 | 403 | 404 | 429 | 503), "{}\n{}", self.context(), answer.text);
        format!("{firm} schedules {body}: {}", outcome(&answer))
    }

    /// Somebody writes to a line, or to whoever wrote last. It is told now or later.
    async fn say(&mut self) -> String {
        self.town.world.advance(SignedDuration::from_millis(5));
        let (number, text) = (self.number(), WORDS[self.dice.below(WORDS.len())]);
        let line = [LINES[0], LINES[1], LINES[2], SLOW, AWS][self.dice.below(5)];
        let knows_one = self.town.world.aws.phones().conversation(number).is_some_and(|phone| phone.last_line().is_some());
        let line = if !knows_one || self.dice.chance(3) { Some(line) } else { None };
        let said = self.town.world.aws.phones().say(number, line, text);
        let is_told = self.dice.chance(2);
        if is_told {
            tell(&self.town.world).await;
        }
        format!("{number} says {text:?} to {line:?}: {}, told: {is_told}", said.map_or_else(|error| error.to_string(), |_| "said".into()))
    }

    /// The gateway reports what nobody expects.
    async fn report(&mut self) -> String {
        let arrived = self.town.arrived();
        if arrived.is_empty() {
            return "nothing to report".into();
        }
        let (_, message) = &arrived[self.dice.below(arrived.len())];
        let mut events = vec![];
        for n in 0..=self.dice.below(3) {
            let status = ["sent", "delivered", "read", "failed"][self.dice.below(4)];
            let at = self.town.now() - SignedDuration::from_secs(self.dice.below(600) as i64);
            // It may have fallen back to an SMS.
            let channel = [json!(null), json!(message.channel), json!(message.channel), json!("sms")][self.dice.below(4)].clone();
            events.push(json!({"type": "receipt", "id": format!("r{n}"), "reference": message.reference, "status": status, "reason": null,
                "channel": channel, "at": at.to_string()}));
        }
        let events = json!(events);
        let tell = || report(&self.town.world, "r", &events).send();
        let answers = if self.dice.chance(2) { join_all([tell(), tell()]).await } else { vec![tell().await] };
        assert!(answers.iter().all(|answer| answer.status == 202), "{}\n{}", self.context(), answers[0].text);
        let told: Vec<&Value> = events.as_array().into_iter().flatten().map(|event| &event["status"]).collect();
        format!("the gateway reports {told:?} of {}", message.text)
    }

    async fn opt_out(&mut self, firm: usize) -> String {
        let number = self.number();
        let answer = self.town.ask(firm, "POST", "/v1/opt-outs").json(json!({"phone_number": number})).send().await;
        assert!(matches!(answer.status, 201 | 401 | 403 | 409), "{}\n{}", self.context(), answer.text);
        format!("{firm} opts {number} out: {}", answer.status)
    }

    async fn opt_in(&mut self, firm: usize) -> String {
        let number = self.number();
        let evidence = json!({"consent": {"consent_type": "express_written", "consent_source": "web_form"}});
        let answer = self.town.ask(firm, "POST", &format!("/v1/opt-outs/{number}/opt-in")).json(evidence).send().await;
        assert!(matches!(answer.status, 200 | 401 | 403 | 404 | 409), "{}\n{}", self.context(), answer.text);
        format!("{firm} opts {number} in: {}", answer.status)
    }

    /// One of its messages that are in one of these states.
    fn some(&mut self, firm: usize, states: &[&str]) -> Option<String> {
        let mut messages = self.town.messages(firm);
        messages.retain(|message| states.contains(&text(message, "status")) && text(message, "direction") == "outbound");
        let last = messages.len().checked_sub(1)?;
        let message = &messages[self.dice.below(last + 1)];
        Some(format!("{ALL}/msg_{}", text(message, "sk").replace('-', "")))
    }

    async fn cancel(&mut self, firm: usize) -> String {
        let Some(path) = self.some(firm, &["scheduled", "held", "queued", "sending"]) else { return "nothing to cancel".into() };
        let answer = self.town.ask(firm, "POST", &format!("{path}/cancel")).send().await;
        assert!(matches!(answer.status, 200 | 401 | 403 | 409), "{}\n{}", self.context(), answer.text);
        format!("{firm} cancels {path}: {}", outcome(&answer))
    }

    async fn resend(&mut self, firm: usize) -> String {
        let Some(path) = self.some(firm, &["failed", "unknown"]) else { return "nothing to send again".into() };
        let answer = self.town.ask(firm, "POST", &format!("{path}/resend")).send().await;
        assert!(matches!(answer.status, 202 | 401 | 403 | 404 | 409 | 429 | 503), "{}\n{}", self.context(), answer.text);
        format!("{firm} sends {path} again: {}", outcome(&answer))
    }

    async fn turn(&mut self, firm: usize) -> String {
        if self.purged == Some(firm) {
            return "gone".into();
        }
        let is_active = self.suspended[firm];
        self.suspended[firm] = !is_active;
        self.town.turn(firm, is_active).await;
        format!("{firm} is active: {is_active}")
    }

    fn kill(&mut self) -> String {
        let of = if self.dice.chance(4) { "relay" } else { "switchboard" };
        let death = Death { of, waits: 1 + self.dice.below(60) };
        self.town.crew.dies(death);
        format!("{death:?}")
    }

    async fn tell_and_die(&mut self) -> String {
        let waits = 1 + self.dice.below(40);
        let (told, _) = cut(tell(&self.town.world), waits).await;
        format!("told {told:?} in {waits} waits")
    }

    fn look(&mut self) -> String {
        let number = self.number();
        self.town.world.aws.phones().look(number).expect("a look");
        format!("{number} looks")
    }

    fn gateway_fails(&mut self) -> String {
        let (refused, lost) = (self.dice.below(3), self.dice.below(4));
        self.town.world.aws.phones().refuse_next(refused);
        self.town.world.aws.phones().lose_next_answers(lost);
        format!("the gateway refuses {refused} and loses {lost}")
    }

    /// Workers, people and firms at the same moment.
    async fn at_once(&mut self, firm: usize) -> String {
        let (number, text) = (self.number(), WORDS[self.dice.below(WORDS.len())]);
        self.town.world.advance(SignedDuration::from_millis(5));
        let said = self.town.world.aws.phones().say(number, None, text).is_ok();
        let (body, faults) = (self.body(), self.faults());
        let (_, (_, answer)) = join(self.town.drain(faults), join(tell(&self.town.world), self.town.post(firm, body.clone()).send())).await;
        format!("at once {number} says {text:?}: {said}, {firm} sends {body}: {}", outcome(&answer))
    }

    /// For good, or until somebody takes it back.
    async fn delete(&mut self, firm: usize) -> String {
        let slug = self.town.firms[firm].slug.clone();
        if slug.is_empty() {
            return "an agency's is not purged alone".into();
        }
        self.town.crew.workers.run("operator", json!({"command": "purge-tenant", "tenant": slug})).await.expect("a deletion");
        if self.dice.chance(2) {
            let hours = [0, 2, 30][self.dice.below(3)];
            self.town.pass(SignedDuration::from_hours(hours), &Faults::default()).await;
            self.town.crew.workers.run("operator", json!({"command": "restore-tenant", "tenant": slug})).await.expect("it is back");
            return format!("{firm} is deleted, and restored after {hours} hours");
        }
        self.purged = Some(firm);
        for hours in [1, 30, 24 * 7] {
            self.town.pass(SignedDuration::from_hours(hours), &Faults::default()).await;
        }
        self.ledger.gone.insert(self.town.firms[firm].tenant.clone());
        let done = self.town.crew.workers.run("janitor", json!({"task": "purge"})).await.expect("a purge");
        assert_eq!(done["purged"], 1, "{done}");
        self.town.settle().await;
        let own = &self.town.firms[firm].tenant;
        let left: Vec<Value> = self.town.world.items().into_iter().filter(|item| item.to_string().contains(own.as_str())).collect();
        let kinds: Vec<&str> = left.iter().map(|item| text(item, "type")).filter(|kind| !matches!(*kind, "receipt" | "slug")).collect();
        assert!(kinds.is_empty(), "{}\n{kinds:?} are left", self.context());
        format!("{firm} is purged")
    }

    async fn drain(&mut self) -> String {
        let faults = self.faults();
        self.town.drain(faults.clone()).await;
        if self.dice.chance(2) {
            tell(&self.town.world).await;
        }
        format!("drained with {faults:?}")
    }

    async fn pass(&mut self) -> String {
        let mut minutes = [1, 2, 7, 20, 61, 300, 1_440][self.dice.below(7)];
        if self.town.now() > LAST.parse().expect("a moment") {
            minutes = 1;
        }
        let faults = self.faults();
        self.town.pass(SignedDuration::from_mins(minutes), &faults).await;
        if self.dice.chance(2) {
            tell(&self.town.world).await;
        }
        format!("{minutes} minutes pass with {faults:?}: {}", self.town.now())
    }

    /// Nothing hinders them any more.
    async fn end(&mut self) {
        self.town.crew.lives();
        self.town.world.aws.phones().refuse_next(0);
        self.town.world.aws.phones().lose_next_answers(0);
        for firm in 0..self.town.firms.len() {
            if self.suspended[firm] && self.purged != Some(firm) {
                self.town.turn(firm, true).await;
            }
        }
        self.town.settle().await;
        let is_open = |message: &Value| matches!(text(message, "status"), "scheduled" | "held" | "queued" | "sending");
        for hours in 0.. {
            self.town.pass(SignedDuration::from_mins(61), &Faults::default()).await;
            self.town.settle().await;
            self.check();
            let mut open = vec![];
            for firm in 0..self.town.firms.len() {
                open.extend(self.town.messages(firm).into_iter().filter(is_open));
            }
            if open.is_empty() {
                break;
            }
            assert!(hours < 100, "{}\n{open:#?}", self.context());
        }
        self.town.check_letters(&self.context());
        self.ledger.compare(&self.town);
        for firm in 0..self.town.firms.len() {
            if self.purged == Some(firm) {
                continue;
            }
            for message in self.town.messages(firm) {
                let is_known = text(&message, "status") != "unknown" || self.ledger.given.contains(text(&message, "sk"));
                assert!(is_known, "{}\n{message}", self.context());
            }
            self.town.check_usage(firm, &format!("{}\nfirm {firm}", self.context())).await;
        }
    }
}

/// `SEQUENCES=500`: so many; without it there are few. `SEED=7`: that one alone.
#[tokio::test]
async fn whatever_happens_in_whatever_order_nobody_who_said_stop_is_written_to_and_every_number_is_right() {
    let read = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let seeds = read("SEED").map_or(1..=read("SEQUENCES").unwrap_or(12), |seed| seed..=seed);
    for seed in seeds {
        let mut model = Model::new(seed).await;
        for _ in 0..50 {
            Box::pin(model.step()).await;
        }
        Box::pin(model.end()).await;
    }
}
