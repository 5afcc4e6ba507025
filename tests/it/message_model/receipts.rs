//! Reports of a gateway, repeated and in any order, while workers have the messages and after that.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;

use futures_util::future::{join_all, poll_immediate};
use jiff::SignedDuration;
use serde_json::{Value, json};
use stack::sources::Faults;

use super::{Town, text};
use crate::messages::report;
use crate::sending::Dice;
use crate::world::Settings;

/// What a gateway reports of a message, in order.
const TOLD: [&[&str]; 7] = [
    &["sent", "delivered", "read"],
    &["sent", "delivered"],
    &["sent"],
    &["sent", "failed"],
    &["delivered"],
    &["sent", "delivered", "failed"],
    &["sent", "delivered", "read", "failed"],
];
/// Events of a request.
const MOST: usize = 100;
/// The firm whose reports come once and in order, and the other.
const IN_ORDER: usize = 0;
const SHUFFLED: usize = 1;

/// What is told of one message, the next one first.
fn told(of: &[&'static str], firm: usize, dice: &mut Dice) -> VecDeque<&'static str> {
    if firm == IN_ORDER {
        return of.iter().copied().collect();
    }
    let mut told: Vec<&str> = of.iter().flat_map(|status| vec![*status; 1 + dice.below(4)]).collect();
    for last in (1..told.len()).rev() {
        told.swap(last, dice.below(last + 1));
    }
    // That it failed counts only where it is not known to have arrived.
    if of.contains(&"delivered") {
        told.sort_by_key(|status| *status == "failed");
    }
    told.into()
}

/// Of the messages of both firms, those that are to be told of now: a table's id, and what is told.
async fn tell(town: &Town, told: &mut BTreeMap<String, VecDeque<&'static str>>, dice: &mut Dice) {
    let references: BTreeMap<String, Value> = town.arrived().into_iter().map(|(_, one)| (one.id, json!(one.reference))).collect();
    let mut order: Vec<String> = told.iter().flat_map(|(id, told)| vec![id.clone(); told.len()]).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, dice.below(last + 1));
    }
    let mut events = vec![];
    for (n, id) in order.iter().enumerate() {
        let status = told.get_mut(id).and_then(VecDeque::pop_front).expect("something to tell");
        events.push(
            json!({"type": "receipt", "id": n.to_string(), "reference": references[id], "status": status, "at": town.now().to_string()}),
        );
    }
    for (n, events) in events.chunks(MOST).enumerate() {
        town.world.advance(SignedDuration::from_millis(1));
        let answer = report(&town.world, &format!("r{n}"), &json!(events)).send().await.expect(202);
        assert_eq!(answer.json()["data"]["accepted"], events.len());
    }
}

/// A worker gives a message away, and dies before it hears of that.
async fn give(town: &Town, firm: usize, message: &str, to: &str) {
    let body = json!({"tenant": town.firms[firm].tenant, "message": message}).to_string();
    let event = json!({"Records": [{"messageId": "1", "body": body, "eventSource": "aws:sqs"}]});
    // The line's next turn.
    town.world.advance(SignedDuration::from_millis(15));
    let mut work = pin!(town.crew.workers.run("switchboard", event));
    let has_it = || {
        let phone = town.world.aws.phones().conversation(to);
        phone.is_some_and(|phone| phone.messages.iter().any(|one| one.id == prefixed(message)))
    };
    while !has_it() {
        assert!(poll_immediate(&mut work).await.is_none(), "it was marked");
        tokio::task::yield_now().await;
    }
}

fn prefixed(message: &str) -> String {
    format!("msg_{}", message.replace('-', ""))
}

/// `MESSAGES=10000`: so many of each firm; without it there are few.
#[tokio::test]
async fn reports_repeated_and_in_any_order_end_as_those_that_come_once_and_in_order() {
    let count: usize = std::env::var("MESSAGES").map_or(140, |count| count.parse().expect("a number"));
    let no_limits = json!({"contacts_messaged_per_day": null, "contacts_messaged_per_month": null, "messages_per_day": null});
    let settings = Settings { plans: json!({"free": no_limits}), moment: "2026-11-03T12:00:00Z".parse().ok(), ..Settings::default() };
    let (town, mut dice) = (Town::new(2, settings).await, Dice(1));
    let number = |index: usize| format!("+1415{}", 2_000_000 + index);
    for firm in [IN_ORDER, SHUFFLED] {
        for first in (0..count).step_by(50) {
            let sends = (first..count.min(first + 50)).map(|index| {
                let body = json!({"to": number(index), "body": index.to_string()});
                town.post(firm, body).send()
            });
            join_all(sends).await.into_iter().for_each(|answer| drop(answer.expect(202)));
        }
    }
    let all: Vec<(usize, usize, String)> = [IN_ORDER, SHUFFLED]
        .into_iter()
        .flat_map(|firm| {
            town.messages(firm)
                .into_iter()
                .map(move |one| (firm, text(&one, "body").parse().expect("an index"), text(&one, "sk").to_owned()))
        })
        .collect();
    // Of every third, the reports come before the worker knows that it went out.
    let (early, late): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, index, _)| index % 3 == 0);
    for (firm, index, message) in &early {
        give(&town, *firm, message, &number(*index)).await;
    }
    for part in [early, late] {
        let mut each =
            part.iter().map(|(firm, index, message)| (prefixed(message), told(TOLD[index % TOLD.len()], *firm, &mut dice))).collect();
        tell(&town, &mut each, &mut dice).await;
        town.drain(Faults::default()).await;
    }
    let facts = |firm: usize| -> BTreeMap<String, Value> {
        let messages = town.messages(firm).into_iter().map(|one| {
            let has = ["sent_at", "delivered_at", "read_at", "failed_at"].map(|name| one[name]["S"].is_string());
            (text(&one, "body").to_owned(), json!([text(&one, "status"), has]))
        });
        messages.collect()
    };
    let (in_order, shuffled) = (facts(IN_ORDER), facts(SHUFFLED));
    assert_eq!(in_order.len(), count);
    for (index, facts) in &in_order {
        assert_eq!(*facts, shuffled[index], "{:?}", TOLD[index.parse::<usize>().expect("an index") % TOLD.len()]);
    }
    for firm in [IN_ORDER, SHUFFLED] {
        town.check_usage(firm, &format!("firm {firm}")).await;
    }
    let (one, other) = (town.usage(IN_ORDER).await, town.usage(SHUFFLED).await);
    assert_eq!(
        (&one["messages"], &one["channels"], &one["new_contacts"]),
        (&other["messages"], &other["channels"], &other["new_contacts"])
    );
    town.check_letters("reports");
}

/// The gateway brings what a phone said out of order: the last word counts.
#[tokio::test]
async fn start_that_was_said_before_stop_and_comes_after_it_changes_nothing() {
    let (town, phone) =
        (Town::new(1, Settings { moment: "2026-11-03T12:00:00Z".parse().ok(), ..Settings::default() }).await, "+12025550120");
    town.post(0, json!({"to": phone, "body": "One"})).send().await.expect(202);
    town.settle().await;
    let line = town.world.aws.phones().conversation(phone).expect("a phone").messages[0].line.clone();
    let begin = town.now();
    let say = async |text: &str, second: i64| {
        let at = (begin + SignedDuration::from_secs(second)).to_string();
        let event = json!({"type": "inbound", "id": format!("{text}{second}"), "at": at, "line": line, "peer": phone, "text": text});
        let told = report(&town.world, &format!("{text}{second}"), &event).send().await.expect(202);
        assert_eq!(told.json()["data"]["accepted"], 1);
        town.drain(Faults::default()).await;
    };
    let may_send = async |text: &str| town.post(0, json!({"to": phone, "body": text})).send().await.status == 202;
    town.world.advance(SignedDuration::from_secs(60));
    say("STOP", 20).await;
    say("START", 10).await;
    assert!(!may_send("Two").await, "they said STOP last");
    // STOP came in after they said this.
    say("START", 21).await;
    assert!(may_send("Three").await, "they said START last");
}
