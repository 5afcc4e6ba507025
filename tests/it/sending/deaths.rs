//! Whatever dies at whatever point, and whatever is delivered twice or out of order: no mail goes twice, none is lost, and the numbers are those of the mails.

use jiff::SignedDuration;
use serde_json::{Value, json};
use stack::sources::{Duplicates, Faults};

use super::{Death, Dice, Home, LEADS, email, state, wait};
use crate::world::{Settings, id};

/// Two mails.
fn sequence() -> Value {
    json!([email("One"), wait(1, "hours"), email("Two")])
}

/// Where the mails of `sequence` stand in it.
const TWO_MAILS: &[u32] = &[1, 3];

/// What must be true of a campaign whose leads got all that they were to get. `steps`: where its mails stand. Gives how many mails nobody knows of.
fn check(home: &Home, campaign: &str, leads: &[String], steps: &[u32], context: &str) -> u64 {
    let (given, numbers) = (home.given(campaign), home.numbers(campaign));
    assert!(given.values().all(|times| *times == 1), "{context}: twice: {given:?}");
    let (mut sent, mut unknown) = (0, 0);
    let enrolments = home.enrolments(campaign);
    assert_eq!(enrolments.len(), leads.len(), "{context}");
    for enrolment in &enrolments {
        let got: Vec<u32> =
            steps.iter().copied().filter(|step| given.contains_key(&(super::text(enrolment, "lead").to_owned(), *step))).collect();
        let at = super::number(enrolment, "step") as u32;
        match state(enrolment) {
            "completed" => assert_eq!(got, steps, "{context}: lost"),
            // It may have been given to the carrier, or not. What came before was.
            "unknown" => {
                let before: Vec<u32> = steps.iter().copied().filter(|step| *step < at).collect();
                let with_it: Vec<u32> = steps.iter().copied().filter(|step| *step <= at).collect();
                assert!(got == before || got == with_it, "{context}: {got:?}");
            }
            other => panic!("{context}: {other}"),
        }
        unknown += u64::from(state(enrolment) == "unknown");
        let mails = enrolment["mails"]["L"].as_array().expect("mails");
        sent += mails.iter().filter(|mail| mail["M"]["sent_at"]["S"].is_string()).count() as u64;
    }
    assert_eq!((numbers.sent, numbers.unknown), (sent, unknown), "{context}");
    let mails = given.len() as u64;
    assert!(mails >= sent && mails <= sent + unknown, "{context}: {mails} mails, {numbers:?}");
    assert_eq!((numbers.in_days, numbers.failed, numbers.dropped), (sent + unknown, 0, 0), "{context}: {numbers:?}");
    assert!(numbers.in_months >= home.sent_by_tenant() as u64, "{context}: {numbers:?}");
    assert_eq!(super::text(&home.record("campaigns", campaign), "status"), "completed", "{context}");
    assert_eq!(home.waves(campaign), Vec::<Value>::new(), "{context}");
    unknown
}

/// A tenant without limits.
async fn home() -> Home {
    let plans = json!({"free": {"emails_per_month": null, "people": null, "api_requests_per_day": null}});
    Home::with(Settings { plans, ..Settings::default() }).await
}

async fn launch(home: &Home, leads: &[String]) -> String {
    let campaign = home.campaign(sequence(), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    home.send(&campaign, "start").await.expect(200);
    campaign
}

/// Again to a worker after a quarter of an hour, and the second mail an hour after the first.
async fn go_on(home: &Home, faults: &Faults) {
    home.pass_with(6, SignedDuration::from_mins(16), faults).await;
    // Reports of mails of which nobody knows get an hour.
    home.pass_with(2, SignedDuration::from_mins(31), faults).await;
}

/// Launches until a worker comes to the end of all without its death. Gives how often it died, and how many mails nobody knows of.
async fn die_everywhere(of: &'static str, first: usize, step: usize, delay: SignedDuration) -> (usize, u64) {
    let home = home().await;
    let leads = home.leads(6).await;
    let (mut deaths, mut unknown) = (0, 0);
    for waits in (first..).step_by(step) {
        let campaign = launch(&home, &leads).await;
        home.crew.dies(Death { of, waits, mails: usize::MAX, delay });
        home.settle().await;
        go_on(&home, &Faults::default()).await;
        let lives = home.crew.lives();
        let lost = check(&home, &campaign, &leads, TWO_MAILS, &format!("{of} died after {waits} waits"));
        assert!(lost <= 1, "a worker has one mail in its hands");
        if lives {
            break;
        }
        (deaths, unknown) = (deaths + 1, unknown + lost);
        assert!(waits < 2_000);
    }
    (deaths, unknown)
}

#[tokio::test]
async fn a_sender_that_dies_anywhere_sends_nothing_twice_and_loses_nothing() {
    // Its message comes again when the claim is too old to be another worker's.
    let (deaths, _) = die_everywhere("sender", 3, 17, SignedDuration::from_mins(6)).await;
    assert!(deaths > 5, "{deaths} deaths");
}

#[tokio::test]
async fn a_wave_whose_message_comes_again_too_early_is_found_by_the_clock() {
    let (deaths, _) = die_everywhere("sender", 8, 17, SignedDuration::ZERO).await;
    assert!(deaths > 5, "{deaths} deaths");
}

#[tokio::test]
async fn a_mail_whose_worker_died_before_the_answer_is_unknown_and_does_not_go_again() {
    let home = home().await;
    let leads = home.leads(3).await;
    for (mails, minutes) in [(1, 0), (2, 6), (3, 0), (4, 6), (6, 0)] {
        let before = home.sent().len();
        let campaign = launch(&home, &leads).await;
        home.crew.dies(Death { of: "sender", waits: usize::MAX, mails: before + mails, delay: SignedDuration::from_mins(minutes) });
        home.settle().await;
        go_on(&home, &Faults::default()).await;
        assert!(!home.crew.lives());
        assert_eq!(check(&home, &campaign, &leads, TWO_MAILS, &format!("died with mail {mails}")), 1);
        // The lead of an unknown mail waits for a report: its second mail does not go before.
        assert_eq!(home.sent().len() - before, if mails <= 3 { 5 } else { 6 });
    }
}

#[tokio::test]
async fn a_relay_that_dies_anywhere_loses_nothing() {
    let (deaths, unknown) = die_everywhere("relay", 1, 3, SignedDuration::ZERO).await;
    assert!(deaths > 3 && unknown == 0, "{deaths} deaths, {unknown}");
}

#[tokio::test]
async fn a_death_after_any_invocation_neither_doubles_nor_loses_a_mail() {
    let home = home().await;
    let leads = home.leads(3).await;
    for deaths in 1.. {
        let campaign = launch(&home, &leads).await;
        let cut = home.sources(Faults { kill_after: Some(deaths), ..Faults::default() }).drain().await;
        home.settle().await;
        go_on(&home, &Faults::default()).await;
        assert_eq!(check(&home, &campaign, &leads, TWO_MAILS, &format!("{deaths} invocations")), 0);
        if cut.is_ok() {
            assert!(deaths > 4, "relay and sender were both cut");
            break;
        }
        assert!(deaths < 40);
    }
}

#[tokio::test]
async fn what_is_delivered_twice_or_out_of_order_changes_nothing() {
    let home = home().await;
    let leads = home.leads(6).await;
    for (seed, duplicates) in [(1, Duplicates::Again), (2, Duplicates::AtOnce), (3, Duplicates::None), (4, Duplicates::AtOnce)] {
        let faults = Faults { seed, duplicates, reorder: true, ..Faults::default() };
        let campaign = launch(&home, &leads).await;
        home.settle_with(faults.clone()).await;
        go_on(&home, &faults).await;
        assert_eq!(check(&home, &campaign, &leads, TWO_MAILS, &format!("{faults:?}")), 0);
    }
}

/// Tenants share the workers, which die 14 times in each of five runs, anywhere. `LEADS=1000`: so many a tenant; without it there are few.
#[tokio::test]
async fn three_tenants_survive_many_deaths_at_any_point() {
    const STEPS: &[u32] = &[1, 3, 5];
    let each: usize = std::env::var("LEADS").map_or(8, |leads| leads.parse().expect("a number"));
    let (mut deaths, mut unknown) = (0, 0);
    for seed in 1..=5 {
        let mut dice = Dice(seed);
        let first = home().await;
        let homes = [first.beside("second").await, first.beside("third").await, first];
        let mut campaigns = vec![];
        for (number, home) in homes.iter().enumerate() {
            let mut leads = vec![];
            for lead in 0..each {
                let body = json!({"email": format!("lead{lead}@{number}.example"), "tags": ["all"]});
                leads.push(id(&home.post(LEADS, body).await.expect(201).json()["data"]).to_owned());
            }
            let sequence = json!([email("One"), wait(1, "hours"), email("Two"), wait(1, "hours"), email("Three")]);
            let campaign = home.campaign(sequence, json!({"tag": "all"}), json!({"daily_limit": null})).await;
            home.send(&campaign, "start").await.expect(200);
            campaigns.push((home, campaign, leads));
        }
        let home = &homes[0];
        // About as many waits as all that there is to do has.
        let next = |_| Death {
            of: "sender",
            waits: 1 + dice.below(10 * each),
            mails: usize::MAX,
            delay: SignedDuration::from_mins([0, 6][dice.below(2)]),
        };
        home.crew.die_often((0..14).map(next).collect());
        home.settle().await;
        home.pass(8, SignedDuration::from_mins(16)).await;
        deaths += 14 - home.crew.outlived();
        for _ in 0..3 {
            go_on(home, &Faults::default()).await;
        }
        for (home, campaign, leads) in &campaigns {
            unknown += check(home, campaign, leads, STEPS, &format!("seed {seed}, {campaign}"));
        }
    }
    assert!(deaths >= 50 && unknown <= deaths as u64, "{deaths} deaths, {unknown} mails of which nobody knows");
}

/// What becomes of the others is counted once too, by whichever worker comes to the end.
#[tokio::test]
async fn who_leaves_a_wave_whose_worker_dies_is_counted_once() {
    let (home, mut deaths) = (home().await, 0);
    for waits in (22..78).step_by(9) {
        let leads = home.leads_of(&format!("at{waits}"), 5).await;
        let campaign = launch(&home, &leads).await;
        home.settle().await;
        for lead in [0, 2, 4] {
            home.delete(&format!("{LEADS}/{}", leads[lead])).await;
        }
        home.settle().await;
        home.crew.dies(Death { of: "sender", waits, mails: usize::MAX, delay: SignedDuration::from_mins(6) });
        go_on(&home, &Faults::default()).await;
        deaths += usize::from(!home.crew.lives());
        let numbers = home.numbers(&campaign);
        assert_eq!((numbers.sent + numbers.unknown, numbers.dropped), (7, 3), "after {waits} waits: {numbers:?}");
        assert_eq!(numbers.in_days, 7, "after {waits} waits");
    }
    assert!(deaths > 3, "{deaths}");
}
