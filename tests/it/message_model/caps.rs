//! The plan's new contacts of a day, with many at once.

use std::collections::BTreeSet;

use futures_util::future::{join, join_all};
use jiff::SignedDuration;
use serde_json::{Value, json};
use stack::sources::Faults;

use super::ledger::{Ledger, Limits};
use super::{Town, number, text};
use crate::world::Settings;

const RACERS: usize = 64;
/// Six hours before the next day.
const EVENING: &str = "2026-11-03T18:00:00Z";

async fn town(limit: usize) -> (Town, Ledger) {
    let plan = json!({"contacts_messaged_per_day": limit, "contacts_messaged_per_month": null, "messages_per_day": null});
    let settings = Settings { plans: json!({"free": plan}), moment: EVENING.parse().ok(), ..Settings::default() };
    let limits = Limits { new_contacts: i64::try_from(limit).expect("a number"), messages: i64::MAX };
    (Town::new(1, settings).await, Ledger::new(limits))
}

/// All at once, each to a number of its own. Gives their ids as the table has them, by what became of them.
async fn race(town: &Town, numbers: impl Iterator<Item = String>) -> (Vec<String>, Vec<String>) {
    let sends = numbers.map(|to| town.post(0, json!({"to": to, "body": "Hello", "valid_for_seconds": 259_200})).send());
    let answers = join_all(sends.collect::<Vec<_>>()).await;
    let mut all: Vec<(String, Value)> = answers
        .into_iter()
        .map(|answer| {
            let data = answer.expect(202).json()["data"].clone();
            (data["message_id"].as_str().expect("an id").to_owned(), data)
        })
        .collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    let (queued, held): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, data)| data["status"] == "queued");
    assert!(held.iter().all(|(_, data)| data["reason"] == "new_contact_limit"), "{held:?}");
    let ids = |all: Vec<(String, Value)>| all.into_iter().map(|(id, _)| id).collect();
    (ids(queued), ids(held))
}

fn usual(index: usize) -> String {
    format!("+1415{}", 2_000_000 + index)
}

fn arrived(town: &Town) -> BTreeSet<String> {
    town.arrived().into_iter().map(|(_, message)| message.id).collect()
}

/// Places that are taken of the day.
fn taken(town: &Town) -> i64 {
    let day = format!("contacts-{}", town.now().strftime("%Y-%m-%d"));
    town.world.items_of_type("messaging_quota").iter().filter(|item| text(item, "sk") == day).map(|item| number(item, "n")).sum()
}

#[tokio::test]
async fn of_many_at_once_as_many_go_as_the_day_has_places_and_the_oldest_of_the_rest_each_next_day() {
    for limit in [1, 10, 100] {
        let (town, mut ledger) = town(limit).await;
        let (queued, mut held) = race(&town, (0..RACERS).map(usual)).await;
        assert_eq!((queued.len(), held.len()), (limit.min(RACERS), RACERS.saturating_sub(limit)), "{limit}");
        town.settle().await;
        let mut known: BTreeSet<String> = queued.into_iter().collect();
        assert_eq!((arrived(&town), taken(&town)), (known.clone(), known.len() as i64), "{limit}");
        // Nothing more goes on this day.
        town.pass(SignedDuration::from_hours(5), &Faults::default()).await;
        town.settle().await;
        assert_eq!(arrived(&town), known, "{limit}");
        // Each day has its places, as long as the messages are worth something.
        for day in 1..=3 {
            let before = known.len();
            known.extend(held.drain(..limit.min(held.len())));
            town.pass(SignedDuration::from_hours(if day == 1 { 2 } else { 24 }), &Faults::default()).await;
            town.settle().await;
            assert_eq!(arrived(&town), known, "{limit}, day {day}");
            assert_eq!(taken(&town), (known.len() - before) as i64, "{limit}, day {day}");
            ledger.follow(&town);
            assert!(ledger.faults.is_empty(), "{limit}: {:#?}", ledger.faults);
        }
        for _ in 0..2 {
            town.pass(SignedDuration::from_hours(24), &Faults::default()).await;
            town.settle().await;
        }
        let ended = |status: &str| town.messages(0).iter().filter(|message| text(message, "status") == status).count();
        assert_eq!((ended("delivered"), ended("failed")), (known.len(), held.len()), "{limit}");
        assert_eq!(arrived(&town), known, "{limit}");
        town.check_usage(0, &format!("limit {limit}")).await;
        ledger.follow(&town);
        assert!(ledger.faults.is_empty(), "{limit}: {:#?}", ledger.faults);
        ledger.compare(&town);
    }
}

/// Where a message fails, its number was not messaged, and somebody else has the place.
#[tokio::test]
async fn no_place_is_lost_with_a_message_that_fails_whoever_races() {
    let (limit, rounds) = (10, 6);
    let (town, mut ledger) = town(limit).await;
    for round in 0..rounds {
        // Every other number is no phone.
        let numbers = (0..RACERS).map(|index| match index % 2 {
            0 => usual(round * RACERS + index),
            _ => format!("+1{:03}5550198", 200 + round * RACERS + index),
        });
        let free = limit as i64 - taken(&town);
        let (queued, _) = race(&town, numbers).await;
        assert_eq!(queued.len() as i64, free, "round {round}");
        town.settle().await;
        let reached = arrived(&town);
        assert_eq!(taken(&town), reached.len() as i64, "round {round}");
        for message in town.messages(0) {
            let is_reached = reached.contains(&format!("msg_{}", text(&message, "sk").replace('-', "")));
            assert_eq!(text(&message, "status") == "delivered", is_reached, "{message}");
        }
    }
    // Those who waited and those who come now meet at midnight.
    town.world.advance(SignedDuration::from_mins(6 * 60 + 1));
    let numbers = (0..RACERS).map(|index| usual(100_000 + index));
    join(town.pass(SignedDuration::from_mins(1), &Faults::default()), race(&town, numbers)).await;
    town.settle().await;
    ledger.follow(&town);
    assert!(ledger.faults.is_empty(), "{:#?}", ledger.faults);
    ledger.compare(&town);
    assert!(taken(&town) <= limit as i64, "{}", taken(&town));
    town.check_usage(0, "races").await;
}
