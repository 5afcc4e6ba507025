//! What sending a campaign and taking in an answer consume of the table. It is counted and not timed, so it is the same on every machine.

use serde_json::{Value, json};
use stack::mailbox::Answer;
use tracing_subscriber::util::SubscriberInitExt;

use crate::secrets::Log;
use crate::sending::Home;
use crate::world::id;

/// Read and write units of the jobs of a worker.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Units {
    read: f64,
    write: f64,
}

/// What the lines of a worker say that its jobs consumed, since it was asked last.
fn taken(log: &Log, worker: &str) -> Units {
    let mut units = Units::default();
    for line in log.taken().lines() {
        let line: Value = serde_json::from_str(line).expect("a line");
        let fields = if line["fields"].is_object() { &line["fields"] } else { &line };
        if fields["message"] == "job" && fields["worker"] == worker {
            units.read += fields["read_units"].as_f64().expect("units");
            units.write += fields["write_units"].as_f64().expect("units");
        }
    }
    units
}

/// Until what it gives is dropped. The workers run on the thread of the test.
fn listen() -> (Log, impl Sized) {
    let log = Log::default();
    let listening = tracing_subscriber::fmt().json().with_max_level(tracing_subscriber::filter::LevelFilter::INFO).with_writer(log.clone());
    let guard = listening.finish().set_default();
    (log, guard)
}

/// Launched to so many leads, with all that is due done.
async fn sent(home: &Home, name: &str, leads: usize) -> String {
    let leads = home.leads_of(name, leads).await;
    let mails = json!([{"type": "email", "subject": "Spring", "body": "<p>Hello</p>"}]);
    let campaign = home.campaign(mails, json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    home.send(&campaign, "start").await.expect(200);
    home.settle().await;
    campaign
}

#[tokio::test]
async fn a_mail_of_a_campaign_takes_its_units_and_a_large_campaign_no_more_than_a_small_one() {
    let (log, _listening) = listen();
    let home = Home::new().await;
    let mut each = vec![];
    for leads in [40, 160] {
        taken(&log, "sender");
        let campaign = sent(&home, &format!("of{leads}-"), leads).await;
        let units = taken(&log, "sender");
        assert_eq!(home.status(&campaign).await["counts"]["sent"], leads);
        each.push(Units { read: units.read / leads as f64, write: units.write / leads as f64 });
    }
    let [small, large] = each[..] else { panic!("{each:?}") };
    println!("a mail: {small:?} of 40, {large:?} of 160");
    // Enrolment 2, claim 1, mark 1; lead 3, activity 2; and a share of waves, plan, day, month and notes.
    assert!(large.write <= 9.0, "{large:?}");
    assert!(large.write <= small.write && large.read <= small.read, "{each:?}");
}

#[tokio::test]
async fn an_answer_takes_its_units_whatever_the_number_of_threads() {
    let (log, _listening) = listen();
    let home = Home::new().await;
    sent(&home, "answering", 30).await;
    let mut each = vec![];
    for mail in home.sent() {
        taken(&log, "receiver");
        assert!(home.world.aws.mailbox().reply(&mail.mail.id, &Answer::written("Yes"), home.world.auth.clock().now()).expect("a reply"));
        home.settle().await;
        each.push(taken(&log, "receiver"));
    }
    println!("an answer: {:?}", each[0]);
    // Message 2, thread 2, card 2, whose it is 2, count 2, three keys 6, lead 3, activity 2, place in the campaign 3, campaign 2; the rest is what must be there.
    assert!(each[0].write <= 33.0 && each.iter().all(|units| *units == each[0]), "{each:?}");
    let get = |path: String| {
        let request = home.world.get(path).token(&home.tenant.owner.token).header("x-workspace-id", id(&home.workspace));
        async { request.send().await.expect(200) }
    };
    // The door into the workspace 5, a page of cards 4, the counter 1.
    let threads = get("/api/v1/tenant/inbox/threads".into()).await;
    let metered = threads.metered.expect("metered");
    assert!(metered.read_units <= 10.0 && metered.round_trips <= 2, "{metered:?}");
    let shown = get(format!("/api/v1/tenant/inbox/threads/{}", id(&threads.json()["data"][0]))).await;
    assert!(shown.metered.expect("metered").round_trips <= 2, "{:?}", shown.metered);
}
