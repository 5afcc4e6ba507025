//! Whatever dies at whatever point, and whatever is delivered twice or out of order: no mail goes twice, none is lost, and the numbers are those of the mails.

use jiff::SignedDuration;
use serde_json::{Value, json};
use stack::sources::{Duplicates, Faults};

use super::{Death, Home, Numbers, bare, email, state, wait};

/// Two mails.
fn sequence() -> Value {
    json!([email("One"), wait(1, "hours"), email("Two")])
}

/// What must be true of a campaign of these steps, whose leads got all that they were to get. Gives how many mails nobody knows of.
fn check(home: &Home, campaign: &str, leads: &[String], context: &str) -> u64 {
    let (given, numbers) = (home.given(campaign), home.numbers(campaign));
    assert!(given.values().all(|times| *times == 1), "{context}: twice: {given:?}");
    let (mut sent, mut unknown) = (0, 0);
    let enrolments = home.enrolments(campaign);
    assert_eq!(enrolments.len(), leads.len(), "{context}");
    for enrolment in &enrolments {
        let got: Vec<u32> =
            [1, 3].into_iter().filter(|step| given.contains_key(&(super::text(enrolment, "lead").to_owned(), *step))).collect();
        let at: usize = super::number(enrolment, "step") as usize;
        match state(enrolment) {
            "completed" => assert_eq!(got, [1, 3], "{context}: lost"),
            // It may have been given to the carrier, or not. What came before was.
            "unknown" if at == 1 => assert!(got.is_empty() || got == [1], "{context}: {got:?}"),
            "unknown" => assert!(got == [1] || got == [1, 3], "{context}: {got:?}"),
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
    assert!(numbers.in_months >= home.sent().len() as u64, "{context}: {numbers:?}");
    assert_eq!(super::text(&home.record("campaign", campaign), "status"), "completed", "{context}");
    let (own, waves) = (bare(campaign), home.world.items_of_type("wave"));
    assert!(waves.iter().all(|wave| super::text(wave, "campaign") != own), "{context}: {waves:?}");
    unknown
}

/// Launches until a worker comes to the end of all without its death.
async fn die_everywhere(of: &'static str, first: usize, step: usize, delay: SignedDuration) -> (usize, u64) {
    let home = Home::new().await;
    let leads = home.leads(6, None).await;
    let (mut deaths, mut unknown) = (0, 0);
    for waits in (first..).step_by(step) {
        let t = std::time::Instant::now();
        let campaign = home.campaign(sequence(), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
        home.send(&campaign, "start").await.expect(200);
        home.crew.dies(Death { of, waits, delay });
        home.settle().await;
        // Again to a worker after a quarter of an hour, and the second mail an hour after the first.
        home.pass(6, SignedDuration::from_mins(16)).await;
        let lives = home.crew.lives();
        if std::env::var("COUNT").is_err() {}
        let lost = check(&home, &campaign, &leads, &format!("{of} died after {waits} waits"));
        assert!(lost <= 1, "a worker has one mail in its hands");
        eprintln!("{waits} {:?} {lost}", t.elapsed());
        if lives {
            break;
        }
        (deaths, unknown) = (deaths + 1, unknown + lost);
        assert!(waits < 2_000);
    }
    (deaths, unknown)
}

#[tokio::test]
async fn explore() {
    let get = |n: &str| std::env::var(n).unwrap_or("1".into());
    let of: &'static str = if get("OF") == "relay" { "relay" } else { "sender" };
    let d = die_everywhere(
        of,
        get("FIRST").parse().unwrap(),
        get("STEP").parse().unwrap(),
        SignedDuration::from_mins(get("DELAY").parse().unwrap()),
    )
    .await;
    eprintln!("{d:?}");
}
