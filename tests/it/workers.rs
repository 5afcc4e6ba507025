//! What happens after the answer: mails, sweeps, purges, conversions, key rotation. Delivered twice, out of order, with bad records, and
//! interrupted at every point.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use courier::Courier;
use fanout::Fanout;
use futures_util::future::{join_all, poll_immediate};
use herald::Herald;
use janitor::Janitor;
use jiff::SignedDuration;
use operator::Operator;
use operator::import::import_tenant;
use receiver::Receiver;
use records::project::SweepTasks;
use relay::Relay;
use rotator::Rotator;
use sender::Sender;
use serde_json::{Value, json};
use shared::aws::Aws as Clients;
use shared::carriers::{Letter, MailCarrier, Outcome, PendingSend};
use shared::config::{Config, Variables};
use shared::crypto::Random;
use shared::lock::Lock;
use shared::runtime::App;
use shared::runtime::worker::{self, Worker};
use shared::store::Restored;
use stack::sources::{Duplicates, Faults, Invoke, InvokeError, SourceError, Sources, filter};
use switchboard::Switchboard;

use crate::webhooks::Mortal;
use crate::world::{Caller, Tenant, World, id};

const MAILS: &str = "tenantry-local-MailQueue";
const MAIL_LETTERS: &str = "tenantry-local-MailDeadLetters";
const CLEANUPS: &str = "tenantry-local-CleanupQueue";
const CLEANUP_LETTERS: &str = "tenantry-local-CleanupDeadLetters";
const RELAY_LETTERS: &str = "tenantry-local-RelayDeadLetters";

// ---------------------------------------------------------------- mails

#[tokio::test]
async fn every_mail_of_the_platform_arrives_and_its_token_works() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    let demo = demo(&world, "ada@example.com").await;
    world.post("/api/v1/auth/forgot-password").json(json!({"email": acme.owner.email})).send().await.expect(202);
    let invited = json!({"email": "new@example.com", "role": "member"});
    world.post("/api/v1/tenant/invitations").token(&acme.owner.token).json(invited).send().await.expect(201);
    drain(&world, &workers).await;

    let token = token_in(&world, &acme.owner.email, "reset_password");
    let body = json!({"token": token, "password": "a new password"});
    world.post("/api/v1/auth/reset-password").json(body).send().await.expect(200);
    world.login(&acme.owner.email, "a new password").await;
    let token = token_in(&world, "new@example.com", "invitation");
    let body = json!({"token": token, "name": "New", "password": "correct horse"});
    world.post("/api/v1/auth/accept-invitation").json(body).send().await.expect(200);
    let ready = mails(&world, &demo.email);
    assert_eq!(ready.len(), 1);
    assert!(ready[0].contains("Your demo is ready") && !ready[0].contains(&demo.password), "{}", ready[0]);
    assert_eq!(states(&world), BTreeSet::from(["sent".to_owned()]));
}

#[tokio::test]
async fn deliveries_twice_and_out_of_order_change_nothing() {
    for (seed, duplicates) in [(1, Duplicates::Again), (2, Duplicates::AtOnce), (3, Duplicates::AtOnce)] {
        let (world, workers) = workers().await;
        for number in 0..12 {
            forgotten(&world, &format!("tenant{number}")).await;
        }
        let faults = Faults { seed, duplicates, reorder: true, ..Faults::default() };
        // A parallel run that finds a claim waits for it. The lease is over when it tries again.
        settle(&world, &workers, faults).await;
        assert_eq!(states(&world), BTreeSet::from(["sent".to_owned()]));
        let kept = world.aws.mailbox().mails().unwrap();
        assert_eq!(kept.len(), 24, "a verification and a reset for each");
        assert!(kept.iter().all(|mail| mail.deliveries == 1));
    }
}

#[tokio::test]
async fn a_death_after_any_invocation_neither_doubles_nor_loses_a_mail() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    drain(&world, &workers).await;
    for deaths in 1.. {
        ask_for_reset(&world, &acme.owner.email).await;
        let faults = Faults { kill_after: Some(deaths), ..Faults::default() };
        let sources = Sources::with_faults(&world.template, &world.aws, workers.clone(), faults).unwrap();
        let cut = sources.drain().await;
        settle(&world, &workers, Faults::default()).await;
        let kept = world.aws.mailbox().mails_to(&acme.owner.email).unwrap();
        assert_eq!(kept.len(), 1 + deaths, "one verification, and one reset for each round");
        assert!(kept.iter().all(|mail| mail.deliveries == 1));
        match cut {
            Err(SourceError::Killed(_)) => assert!(deaths < 20, "a mail takes a handful of invocations"),
            done => {
                done.unwrap();
                assert!(deaths > 2, "relay and courier were both cut");
                break;
            }
        }
    }
    assert_eq!(states(&world), BTreeSet::from(["sent".to_owned()]));
}

#[tokio::test]
async fn a_death_at_any_point_of_sending_is_repaired_where_the_carrier_deduplicates() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    drain(&world, &workers).await;
    let mut cut = 0;
    for point in 1.. {
        let mail = ask_for_reset(&world, &acme.owner.email).await;
        let finished = workers.cut_off("courier", job(&mail), point).await;
        settle(&world, &workers, Faults::default()).await;
        let kept = world.aws.mailbox().mail(&mail).unwrap().expect("the mail arrived");
        // Posted twice at most, and stored once, because the mailbox knows the id.
        assert!(kept.deliveries <= 2, "cut at {point}: {}", kept.deliveries);
        if finished {
            break;
        }
        cut += 1;
        assert!(point < 500);
    }
    assert!(cut >= 4, "read, claim, send and mark were cut, not only {cut} points");
    assert_eq!(world.aws.mailbox().mails_to(&acme.owner.email).unwrap().len(), cut + 2);
    assert_eq!(states(&world), BTreeSet::from(["sent".to_owned()]));
}

#[tokio::test]
async fn a_death_at_any_point_of_sending_leaves_an_unknown_mail_where_the_carrier_does_not() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    drain(&world, &workers).await;
    let carrier = Arc::new(Forgetful::default());
    let workers = workers.sending_with(&carrier);
    let (mut resent, mut unknown) = (0, 0);
    for point in 1.. {
        let mail = ask_for_reset(&world, &acme.owner.email).await;
        let finished = workers.cut_off("courier", job(&mail), point).await;
        settle(&world, &workers, Faults::default()).await;
        let taken = carrier.taken(&mail);
        match state(&world, &mail).as_str() {
            "sent" => assert_eq!(taken, 1, "cut at {point}"),
            "unknown" => {
                assert!(taken <= 1, "cut at {point}: sent {taken} times");
                unknown += 1;
                let listed = workers.run("operator", json!({"command": "list-unknown-mails"})).await.unwrap();
                assert_eq!(listed["mails"][0]["mail"], mail.as_str(), "{listed}");
                let again = workers.run("operator", json!({"command": "resend-mail", "mail": mail})).await.unwrap();
                settle(&world, &workers, Faults::default()).await;
                let again = again["sent_again_as"].as_str().unwrap().to_owned();
                assert_eq!((state(&world, &again).as_str(), carrier.taken(&again)), ("sent", 1));
                assert_eq!((state(&world, &mail).as_str(), carrier.taken(&mail)), ("replaced", taken));
                let repeated = workers.run("operator", json!({"command": "resend-mail", "mail": mail})).await.unwrap_err();
                assert!(repeated.contains(&again), "{repeated}");
                resent += 1;
            }
            other => panic!("cut at {point}: {other}"),
        }
        let listed = workers.run("operator", json!({"command": "list-unknown-mails"})).await.unwrap();
        assert_eq!(listed["mails"], json!([]));
        if finished {
            break;
        }
        assert!(point < 500);
    }
    assert!(unknown >= 2 && resent == unknown, "cut between claim and mark {unknown} times");
}

#[tokio::test]
async fn a_carrier_that_refuses_or_forgets_to_answer_gets_the_mail_later_and_once() {
    let (world, workers) = workers().await;
    world.aws.mailbox().lose_next_answers(2);
    let acme = world.tenant("acme").await;
    drain(&world, &workers).await;
    let kept = world.aws.mailbox().mails_to(&acme.owner.email).unwrap();
    assert_eq!(kept.iter().map(|mail| mail.deliveries).collect::<Vec<_>>(), [3]);

    world.aws.mailbox().refuse_next(4);
    let mail = ask_for_reset(&world, &acme.owner.email).await;
    drain(&world, &workers).await;
    assert_eq!(world.aws.mailbox().mail(&mail).unwrap().map(|kept| kept.deliveries), Some(1));
}

#[tokio::test]
async fn a_mail_that_was_given_up_waits_with_the_dead_letters_and_can_be_sent_by_hand() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    drain(&world, &workers).await;
    world.aws.mailbox().refuse_next(5);
    let mail = ask_for_reset(&world, &acme.owner.email).await;
    drain(&world, &workers).await;
    assert_eq!((depth(&world, MAIL_LETTERS), state(&world, &mail).as_str()), (1, "queued"));
    let again = workers.run("operator", json!({"command": "resend-mail", "mail": mail})).await.unwrap();
    drain(&world, &workers).await;
    assert_eq!(state(&world, again["sent_again_as"].as_str().unwrap()), "sent");
    // The late redrive finds the mail replaced.
    let letter = world.aws.queues().peek(MAIL_LETTERS).unwrap().remove(0);
    world.aws.queues().send(MAILS, &letter.body, None).unwrap();
    drain(&world, &workers).await;
    assert!(world.aws.mailbox().mail(&mail).unwrap().is_none());
}

#[tokio::test]
async fn poison_ends_among_the_dead_letters_and_the_rest_goes_on() {
    let (world, workers) = workers().await;
    let before = world.tenant("before").await;
    let poisoned = newest_mail(&world, &before.owner.email);
    copy_of_mail(&world, &poisoned, "018f3f72-44cd-7b21-b3a7-90e4d2f6a811", |item| item["to"] = json!({"N": "7"}));
    let after = world.tenant("after").await;
    world.aws.queues().send(MAILS, "not JSON", Some("poison")).unwrap();
    world.aws.queues().send(MAILS, r#"{"mail":"not an id"}"#, Some("poison")).unwrap();
    world.aws.queues().send(CLEANUPS, r#"{"tenant":"nobody","project":"018f3f72-44cd-7b21-b3a7-90e4d2f6a811"}"#, Some("poison")).unwrap();
    drain(&world, &workers).await;
    assert_eq!((depth(&world, RELAY_LETTERS), depth(&world, MAIL_LETTERS), depth(&world, CLEANUP_LETTERS)), (1, 2, 1));
    for tenant in [&before, &after] {
        assert_eq!(mails(&world, &tenant.owner.email).len(), 1);
    }
}

// ---------------------------------------------------------------- deleted projects

#[tokio::test]
async fn the_tasks_of_a_deleted_project_are_swept_in_rounds_and_a_namesakes_stay() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    let (project, other) = (world.project(&acme.owner, "Gone").await, world.project(&acme.owner, "Stays").await);
    for number in 0..7 {
        world.task(&acme.owner, &project, json!({"title": format!("Task {number}")})).await;
    }
    world.task(&acme.owner, &other, json!({"title": "Stays"})).await;
    // Two projects can share the 48 bits that name the partition of their tasks.
    let namesake = tasks_of(&world, &project).remove(0);
    world.change_item(text(&namesake, "pk"), text(&namesake, "sk"), |item| item["project"] = json!({"S": id(&other)}));
    world.delete(format!("/api/v1/projects/{}", id(&project))).token(&acme.owner.token).send().await.expect(200);

    let workers = workers.sweeping_at_most(2);
    drain(&world, &workers).await;
    assert_eq!(tasks_of(&world, &project), Vec::<Value>::new());
    let tasks: Vec<Value> = world.items_of(&acme).into_iter().filter(|item| item["type"]["S"] == "task").collect();
    assert_eq!(tasks.len(), 2, "the namesake's and the other project's");
    assert_eq!(workers.invocations("janitor"), 3, "six tasks, two a round");

    // The tombstone vanishes a day after nothing is left to hide.
    let tombstone = world.items_of(&acme).into_iter().find(|item| item["type"]["S"] == "deleted_project").expect("it is there");
    let ends_at: i64 = tombstone["ttl"]["N"].as_str().unwrap().parse().unwrap();
    assert_eq!(ends_at, shared_now(&world) + 24 * 3600);
    world.get(format!("/api/v1/tasks/{}", text(&namesake, "sk"))).token(&acme.owner.token).send().await.expect(200);
}

#[tokio::test]
async fn a_job_belongs_to_the_tenant_whose_item_changed_whatever_the_item_says() {
    let (world, workers) = workers().await;
    let (acme, globex) = (world.tenant("acme").await, world.tenant("globex").await);
    let project = world.project(&acme.owner, "Gone").await;
    world.delete(format!("/api/v1/projects/{}", id(&project))).token(&acme.owner.token).send().await.expect(200);
    let tombstone = world.items_of(&acme).into_iter().find(|item| item["type"]["S"] == "deleted_project").expect("it is there");
    for says in [&acme.id, &globex.id] {
        let mut image = tombstone.clone();
        image["tenant"] = json!({"S": says});
        let keys = json!({"pk": tombstone["pk"], "sk": tombstone["sk"]});
        let record = json!({"eventName": "INSERT", "dynamodb": {"Keys": keys, "NewImage": image, "SequenceNumber": "1"}});
        assert_eq!(workers.run("relay", json!({"Records": [record]})).await.unwrap(), json!({"batchItemFailures": []}));
    }
    let jobs = world.aws.queues().peek(CLEANUPS).unwrap();
    let tenants: Vec<Value> = jobs.iter().map(|job| serde_json::from_str::<Value>(&job.body).unwrap()["tenant"].clone()).collect();
    assert_eq!(tenants, [json!(acme.id), json!(acme.id)]);
    let logged = |tenant| world.items_of(tenant).iter().filter(|item| item["type"]["S"] == "audit_entry").count();
    assert_eq!(logged(&globex), 0, "of what happened at acme");
}

#[tokio::test]
async fn a_sweep_that_dies_anywhere_leaves_no_task() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    drain(&world, &workers).await;
    for point in 1.. {
        let project = world.project(&acme.owner, "Gone").await;
        for number in 0..3 {
            world.task(&acme.owner, &project, json!({"title": format!("Task {number}")})).await;
        }
        world.delete(format!("/api/v1/projects/{}", id(&project))).token(&acme.owner.token).send().await.expect(200);
        let tenant = acme.id.as_str();
        let finished = workers.cut_off("janitor", message(&json!({"tenant": tenant, "project": id(&project)}).to_string()), point).await;
        drain(&world, &workers).await;
        assert_eq!(tasks_of(&world, &project), Vec::<Value>::new(), "cut at {point}");
        if finished {
            break;
        }
        assert!(point < 500);
    }
    let unswept = world.items_of(&acme).into_iter().filter(|item| item["type"]["S"] == "deleted_project" && item["swept_at"].is_null());
    assert_eq!(unswept.count(), 0);
}

// ---------------------------------------------------------------- jobs of many records

#[tokio::test]
async fn the_relay_would_do_nothing_with_what_the_filter_of_the_stream_keeps_from_it() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    drain(&world, &workers).await;
    let sources = world.template.stream_sources().unwrap();
    let filters = &sources[0].filters[..];
    let [pattern] = filters else { panic!("one pattern") };
    let hidden = pattern["dynamodb"]["NewImage"]["type"]["S"][0]["anything-but"].as_array().expect("a list of types");
    assert!(hidden.len() > 10, "{pattern}");
    let before = world.items().len();
    // Whoever wants more of a record than its type finds that it cannot be read.
    let write = json!({"request": {"S": "r-1"}, "actor": {"S": "user:1"}, "at": {"S": "2026-11-21T09:30:00Z"}});
    let images = hidden.iter().map(|kind| json!({"type": {"S": kind}})).chain([json!({"n": {"N": "1"}})]);
    for image in images.map(|image| merged(image, &write)) {
        for (pk, event, old) in [
            (format!("T#{}#x", acme.id), "INSERT", None),
            (format!("T#{}#x", acme.id), "MODIFY", Some(image.clone())),
            ("G#x".to_owned(), "INSERT", None),
        ] {
            let keys = json!({"pk": {"S": pk}, "sk": {"S": "x"}});
            let record = json!({"eventName": event, "dynamodb": {"Keys": keys, "NewImage": image, "OldImage": old, "SequenceNumber": "1"}});
            assert!(!filter::passes(filters, &record), "{image}");
            let answer = workers.run("relay", json!({"Records": [record]})).await.unwrap();
            assert_eq!(answer, json!({"batchItemFailures": []}), "{image}");
        }
    }
    assert_eq!(world.items().len(), before, "an audit entry, or a note");
    let queues = world.aws.queues();
    assert!(queues.names().iter().all(|queue| queues.peek(queue).unwrap().is_empty()), "a job");
}

fn merged(mut image: Value, more: &Value) -> Value {
    image.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    image
}

#[tokio::test]
async fn a_job_that_is_not_taken_is_reported_at_its_record_and_comes_again() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    drain(&world, &workers).await;
    let gone = deleted_projects(&world, &acme, 25).await;
    let records: Vec<Value> = gone.iter().enumerate().map(|(number, item)| record_of(number, item)).collect();
    let projects: Vec<&str> = gone.iter().map(|item| text(item, "id")).collect();
    let queued = || -> BTreeSet<String> {
        let jobs = world.aws.queues().peek(CLEANUPS).unwrap();
        jobs.iter().map(|job| serde_json::from_str::<Value>(&job.body).unwrap()["project"].as_str().unwrap().to_owned()).collect()
    };
    let but = |left_out: &[usize]| -> BTreeSet<String> {
        let others = projects.iter().enumerate().filter(|(number, _)| !left_out.contains(number));
        others.map(|(_, project)| (*project).to_owned()).collect()
    };
    let relay = |records: &[Value]| workers.run("relay", json!({"Records": records}));
    let from = |number: usize| json!({"batchItemFailures": [{"itemIdentifier": number.to_string()}]});

    // One in the second request, and one in the third.
    world.aws.queues().refuse(projects[22], 1);
    world.aws.queues().refuse(projects[13], 2);
    assert_eq!(relay(&records).await.unwrap(), from(13));
    assert_eq!(queued(), but(&[13, 22]));
    assert_eq!(relay(&records[13..]).await.unwrap(), from(13));
    assert_eq!(queued(), but(&[13]));
    assert_eq!(relay(&records[13..]).await.unwrap(), json!({"batchItemFailures": []}));
    assert_eq!(queued(), but(&[]));

    // A record that cannot be read ends the batch, but what is before it is sent; and what of that is not taken comes first.
    let mut poisoned = records.clone();
    poisoned[7]["dynamodb"]["NewImage"]["id"] = json!({"S": "no id"});
    let before = world.aws.queues().peek(CLEANUPS).unwrap().len();
    assert_eq!(relay(&poisoned).await.unwrap(), from(7));
    assert_eq!(world.aws.queues().peek(CLEANUPS).unwrap().len(), before + 7);
    world.aws.queues().refuse(projects[4], 1);
    assert_eq!(relay(&poisoned).await.unwrap(), from(4));

    // The same by the stream itself.
    world.aws.queues().refuse(projects[3], 2);
    world.aws.queues().refuse(projects[20], 1);
    drain(&world, &workers).await;
    assert_eq!((swept(&world, &acme), depth(&world, RELAY_LETTERS)), (26, 0));
}

#[tokio::test]
async fn a_relay_that_dies_at_any_wait_loses_no_job_of_its_batch() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    drain(&world, &workers).await;
    let (mut deaths, mut all) = (0, 0);
    for waits in 1.. {
        // More than one request, and mails beside them for another queue.
        all += deleted_projects(&world, &acme, 12).await.len() + 1;
        ask_for_reset(&world, &acme.owner.email).await;
        let mortal = Mortal::new(&workers, "relay", waits);
        Sources::new(&world.template, &world.aws, mortal.clone()).unwrap().drain().await.unwrap();
        settle(&world, &workers, Faults::default()).await;
        assert_eq!(swept(&world, &acme), all, "died after {waits}");
        let kept = world.aws.mailbox().mails_to(&acme.owner.email).unwrap();
        assert_eq!(kept.len(), 1 + waits, "died after {waits}: one verification, and one reset for each round");
        if mortal.lived() {
            break;
        }
        deaths += 1;
        assert!(waits < 1_000);
    }
    assert!(deaths > 1, "it died {deaths} times");
}

/// Tombstones of projects, in the table: that of one, and copies of it.
async fn deleted_projects(world: &World, tenant: &Tenant, count: u32) -> Vec<Value> {
    let project = world.project(&tenant.owner, "Gone").await;
    world.delete(format!("/api/v1/projects/{}", id(&project))).token(&tenant.owner.token).send().await.expect(200);
    let items = world.items_of(tenant);
    let first = items.into_iter().find(|item| item["type"]["S"] == "deleted_project" && text(item, "id") == id(&project));
    let first = first.expect("a tombstone");
    // No two calls have the same.
    let base = world.items().len() as u32 * 100;
    let copy = |number: u32| {
        let own = format!("{}{:012x}", &id(&project)[..24], base + number);
        let mut item = first.clone();
        (item["sk"], item["id"]) = (json!({"S": own[24..]}), json!({"S": own}));
        world.put_item(&item);
        item
    };
    (0..count).map(copy).collect()
}

/// How many tombstones nothing hides behind any more.
fn swept(world: &World, tenant: &Tenant) -> usize {
    let items = world.items_of(tenant).into_iter();
    items.filter(|item| item["type"]["S"] == "deleted_project" && item.get("swept_at").is_some()).count()
}

fn record_of(number: usize, item: &Value) -> Value {
    let keys = json!({"pk": item["pk"], "sk": item["sk"]});
    json!({"eventName": "INSERT", "dynamodb": {"Keys": keys, "NewImage": item, "SequenceNumber": number.to_string()}})
}

// ---------------------------------------------------------------- demos

#[tokio::test]
async fn a_demo_is_warned_once_a_day_before_its_end() {
    let (world, workers) = workers().await;
    let demo = demo(&world, "ada@example.com").await;
    drain(&world, &workers).await;
    purge(&workers).await;
    world.advance(SignedDuration::from_hours(24));
    assert_eq!(
        join_all([purge(&workers), purge(&workers), purge(&workers)])
            .await
            .iter()
            .map(|done| done["warned"].as_u64().unwrap())
            .sum::<u64>(),
        1
    );
    assert_eq!(purge(&workers).await["warned"], 0);
    drain(&world, &workers).await;
    let mails = mails(&world, &demo.email);
    assert_eq!(mails.iter().filter(|mail| mail.contains("is about to end")).count(), 1);
}

#[tokio::test]
async fn nothing_is_left_of_a_demo_and_no_neighbour_is_touched() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    let ada = demo(&world, "ada@example.com").await;
    fill(&world, &ada).await;
    // A person of another tenant joins the demo, and leaves with it.
    let guest = world.tenant("guest").await;
    let invited = json!({"email": guest.owner.email, "role": "member"});
    // Ids of one millisecond have no order, and the test needs the newest mail.
    world.advance(SignedDuration::from_millis(10));
    invite(&world, &ada, invited).await;
    let token = world.link_token(&guest.owner.email);
    world.post("/api/v1/auth/accept-invitation").json(json!({"token": token})).send().await.expect(200);
    let eve = demo(&world, "eve@example.com").await;
    drain(&world, &workers).await;
    let (all, keep) = (world.items(), |item: &Value| !is_of(item, &ada));
    let neighbours: Vec<Value> = all.iter().filter(|item| keep(item)).cloned().collect();

    // Only the first demo has ended.
    world.change_item("G#demos", &listed(&world, &eve), |item| item["ends_at"] = json!({"S": "2999-01-01T00:00:00Z"}));
    world.advance(SignedDuration::from_hours(49));
    let done = purge(&workers).await;
    assert_eq!((&done["purged"], &done["more"]), (&json!(1), &json!(false)), "{done}");
    let left: Vec<Value> = world.items().into_iter().filter(|item| is_of(item, &ada)).collect();
    assert_eq!(left, Vec::<Value>::new());
    assert_eq!(active_demos(&world), 1);
    let after: Vec<Value> = world.items().into_iter().filter(keep).collect();
    assert_eq!(without_demos(&after), without_demos(&neighbours));
    // The guest's account and tenant are as before; the same address can have a new demo.
    world.login(&guest.owner.email, &guest.owner.password).await;
    world.login(&acme.owner.email, &acme.owner.password).await;
    demo(&world, "ada@example.com").await;
    assert_eq!(purge(&workers).await["purged"], 0);
}

/// With the real stream, relay and janitor: what arrives after the receipt writes nothing, and neither do requests with old credentials.
#[tokio::test]
async fn nothing_of_a_purged_tenant_is_written_after_its_receipt() {
    let (world, workers) = workers().await;
    let key = crate::insights::ingest_key(&world).await;
    let mut tenants = vec![];
    for number in 0..6 {
        let filled = Box::pin(filled(&world, &key, number)).await;
        // Some of it has passed the stream before the end, some has not.
        if number % 2 == 0 {
            drain(&world, &workers).await;
        }
        tenants.push(filled);
    }
    let warm = world.another_instance().await;
    for (tenant, text, _) in &tenants {
        for token in [&tenant.owner.token, text] {
            warm.get("/api/v1/projects").token(token).send().await.expect(200);
        }
        world.delete("/api/tenant").token(&tenant.owner.token).send().await.expect(200);
    }
    drain(&world, &workers).await;
    for (tenant, ..) in &tenants {
        workers.run("operator", json!({"command": "purge-tenant", "tenant": tenant.slug, "now": true})).await.unwrap();
    }
    world.advance(SignedDuration::from_secs(60));
    assert_eq!(purge(&workers).await["purged"], 6);
    let nothing_left = || {
        for (tenant, ..) in &tenants {
            assert_eq!(world.items_of(tenant), Vec::<Value>::new());
        }
    };
    nothing_left();
    drain(&world, &workers).await;
    nothing_left();
    for world in [&world, &warm, &world.another_instance().await] {
        for late in &tenants {
            Box::pin(knock(world, &key, late)).await;
        }
    }
    drain(&world, &workers).await;
    nothing_left();
    let receipts = workers.run("operator", json!({"command": "list-receipts"})).await.unwrap();
    let receipts = receipts["receipts"].as_array().unwrap();
    assert!(receipts.len() == 6 && receipts.iter().all(|receipt| receipt["intact"] == true));
    assert_eq!(depth(&world, RELAY_LETTERS), 0);
}

/// A tenant with some data of every kind, a key, and reports of the edge.
async fn filled(world: &World, key: &str, number: usize) -> (crate::world::Tenant, String, Value) {
    let tenant = world.tenant(&format!("acme{number}")).await;
    world.member(&tenant, "owner").await;
    let project = world.project(&tenant.owner, "Launch").await;
    world.task(&tenant.owner, &project, json!({"title": "A task"})).await;
    let gone = world.project(&tenant.owner, "Deleted").await;
    world.task(&tenant.owner, &gone, json!({"title": "A task"})).await;
    world.delete(format!("/api/v1/projects/{}", id(&gone))).token(&tenant.owner.token).send().await.expect(200);
    let body = json!({"posthogHost": "https://eu.posthog.com", "smtp_password": "swordfish"});
    world.post("/api/tenant-setting").token(&tenant.owner.token).json(body).send().await.expect(201);
    let made = world.post("/api/tenant-api-key").token(&tenant.owner.token).json(json!({"name": "x"})).send().await.expect(201).json();
    let text = made["apiKey"].as_str().expect("a key").to_owned();
    world.get("/api/v1/projects").token(&text).send().await.expect(200);
    let report = json!({"batch_id": "b", "tenant": tenant.slug, "bytes": 10});
    world.post("/api/usage/ingest").header("x-ingest-key", key).json(report.clone()).send().await.expect(200);
    (tenant, text, report)
}

/// Requests with credentials of a tenant that is gone.
async fn knock(world: &World, key: &str, (tenant, text, report): &(crate::world::Tenant, String, Value)) {
    for token in [&tenant.owner.token, text] {
        for request in [world.get("/api/v1/projects"), world.post("/api/v1/projects").json(json!({"name": "late"}))] {
            assert!(matches!(request.token(token).send().await.status, 401 | 404));
        }
        let named = world.get("/api/tenant").token(token).header("x-tenant-id", &tenant.id);
        assert!(matches!(named.send().await.status, 401 | 404));
    }
    let late = world.post("/api/usage/ingest").header("x-ingest-key", key).json(report.clone());
    late.send().await.expect(404);
}

/// Records that the stream delivers only after the tenant is gone, of every kind that causes a write.
#[tokio::test]
async fn a_stream_that_lags_behind_a_purge_leaves_nothing() {
    let (world, workers) = workers().await;
    let key = crate::insights::ingest_key(&world).await;
    let tenant = world.tenant("acme").await;
    let project = world.project(&tenant.owner, "Launch").await;
    world.task(&tenant.owner, &project, json!({"title": "A task"})).await;
    world.delete(format!("/api/v1/projects/{}", id(&project))).token(&tenant.owner.token).send().await.expect(200);
    let report = json!({"batch_id": "b", "tenant": tenant.slug, "bytes": 10});
    world.post("/api/usage/ingest").header("x-ingest-key", &key).json(report).send().await.expect(200);
    world.delete("/api/tenant").token(&tenant.owner.token).send().await.expect(200);
    world.advance(SignedDuration::from_hours(7 * 24));
    assert_eq!(purge(&workers).await["purged"], 1);
    assert_eq!(world.items_of(&tenant), Vec::<Value>::new());
    settle(&world, &workers, Faults { seed: 3, reorder: true, ..Faults::default() }).await;
    assert_eq!(world.items_of(&tenant), Vec::<Value>::new());
}

#[tokio::test]
async fn a_purge_that_dies_anywhere_is_finished_by_the_next_and_frees_one_place() {
    let (world, workers) = workers().await;
    let mut point = 1;
    loop {
        let email = format!("ada{point}@example.com");
        let ada = demo(&world, &email).await;
        fill(&world, &ada).await;
        world.advance(SignedDuration::from_hours(49));
        let finished = workers.cut_off("janitor", json!({"task": "purge"}), point).await;
        purge(&workers).await;
        let left: Vec<Value> = world.items().into_iter().filter(|item| is_of(item, &ada)).collect();
        assert_eq!(left, Vec::<Value>::new(), "cut at {point}");
        assert_eq!(active_demos(&world), 0, "cut at {point}");
        if finished {
            break;
        }
        // Every few points, because a purge waits for the table some hundred times.
        point += 4;
        assert!(point < 2000);
    }
    assert!(point > 40, "a purge has many points to die at, not {point}");
}

#[tokio::test]
async fn a_purge_does_what_it_may_and_goes_on_next_time() {
    let (world, workers) = workers().await;
    let ada = demo(&world, "ada@example.com").await;
    fill(&world, &ada).await;
    world.advance(SignedDuration::from_hours(49));
    let context = || worker::work_context(workers.app("janitor"), "janitor", "bounded");
    let mut runs = 0;
    loop {
        let before = world.items().len();
        let done = janitor::purge::purge(&context(), 7).await.unwrap();
        assert!(done.items <= 8 && before - world.items().len() <= 12, "{done:?}");
        runs += 1;
        if !done.more {
            break;
        }
        // Closed for good from the first run on.
        let converting = workers.run("operator", json!({"command": "convert-demo", "tenant": ada.slug, "plan": "pro"})).await;
        assert!(converting.unwrap_err().contains("being purged"));
        assert!(runs < 50);
    }
    assert!(runs > 3);
    assert_eq!((world.items().iter().filter(|item| is_of(item, &ada)).count(), active_demos(&world)), (0, 0));
}

#[tokio::test]
async fn a_converted_demo_stays_with_its_owner_and_frees_its_place() {
    let (world, workers) = workers().await;
    let ada = demo(&world, "ada@example.com").await;
    let project = world.project(&ada.caller, "Kept").await;
    for (plan, says) in [("gold", "gold"), ("demo", "demo")] {
        let refused = workers.run("operator", json!({"command": "convert-demo", "tenant": ada.slug, "plan": plan})).await.unwrap_err();
        assert!(refused.contains(says) && refused.contains("basic, enterprise, free, pro"), "{refused}");
    }
    let command = json!({"command": "convert-demo", "tenant": ada.slug, "plan": "pro"});
    let done = workers.run("operator", command.clone()).await.unwrap();
    assert_eq!((&done["ok"], &done["plan"], &done["tenant"]), (&json!(true), &json!("pro"), &json!(ada.tenant)));
    assert_eq!(workers.run("operator", command).await.unwrap(), done, "repeated, it changes nothing");
    assert_eq!(active_demos(&world), 0);

    world.advance(SignedDuration::from_hours(24 * 30));
    assert_eq!(purge(&workers).await["purged"], 0);
    world.aws.sweep_ttl().unwrap();
    let owner = world.login(&ada.email, &ada.password).await;
    world.get(format!("/api/v1/projects/{}", id(&project))).token(&owner.token).send().await.expect(200);
    let acme = world.tenant("acme").await;
    let refused = workers.run("operator", json!({"command": "convert-demo", "tenant": acme.id, "plan": "pro"})).await.unwrap_err();
    assert!(refused.contains("Only a demo"), "{refused}");
}

#[tokio::test]
async fn conversion_and_purge_that_meet_leave_one_whole_outcome() {
    let (world, workers) = workers().await;
    for round in 0..12 {
        let ada = demo(&world, &format!("ada{round}@example.com")).await;
        fill(&world, &ada).await;
        world.advance(SignedDuration::from_hours(49));
        let converting = workers.run("operator", json!({"command": "convert-demo", "tenant": ada.slug, "plan": "pro"}));
        let (converted, purged) = if round % 2 == 0 {
            tokio::join!(converting, workers.run("janitor", json!({"task": "purge"})))
        } else {
            let (purged, converted) = tokio::join!(workers.run("janitor", json!({"task": "purge"})), converting);
            (converted, purged)
        };
        purged.unwrap();
        purge(&workers).await;
        assert_eq!(active_demos(&world), 0);
        let left = world.items().into_iter().filter(|item| is_of(item, &ada)).count();
        if converted.is_ok() {
            let owner = world.login(&ada.email, &ada.password).await;
            let listed = world.get("/api/v1/projects").token(&owner.token).send().await.expect(200).json();
            assert_eq!(listed["data"].as_array().unwrap().len(), 4, "{listed}");
        } else {
            assert_eq!(left, 0);
        }
    }
}

// ---------------------------------------------------------------- operators

#[tokio::test]
async fn an_operator_verifies_suspends_and_activates() {
    let (world, workers) = workers().await;
    let body = json!({"name": "Ada", "email": "ada@example.com", "password": "correct horse", "company_name": "Engines"});
    world.post("/api/v1/auth/register").json(body).send().await.expect(202);
    let login = json!({"email": "ada@example.com", "password": "correct horse"});
    world.post("/api/v1/auth/login").json(login.clone()).send().await.expect(403);
    // Ids of one millisecond have no order, and the test needs the newest mail.
    world.advance(SignedDuration::from_millis(10));
    workers.run("operator", json!({"command": "verify-user", "email": "Ada@Example.com"})).await.unwrap();
    // The mailbox is theirs. The earlier password opens nothing, and they set a new one.
    world.post("/api/v1/auth/login").json(login).send().await.expect(422);
    let body = json!({"token": world.link_token("ada@example.com"), "password": "battery staple"});
    world.post("/api/v1/auth/reset-password").json(body).send().await.expect(200);
    let verified = workers.run("operator", json!({"command": "verify-user", "email": "ada@example.com"})).await.unwrap();
    assert!(verified["verified_at"].is_string());
    let ada = world.login("ada@example.com", "battery staple").await;
    let tenant = crate::world::claims_of(&ada.token)["tid"].as_str().unwrap().to_owned();

    let done = workers.run("operator", json!({"command": "suspend-tenant", "tenant": tenant})).await.unwrap();
    assert_eq!(done["status"], "suspended");
    world.get("/api/v1/projects").token(&ada.token).send().await.expect(403);
    workers.run("operator", json!({"command": "activate-tenant", "tenant": done["slug"]})).await.unwrap();
    world.get("/api/v1/projects").token(&ada.token).send().await.expect(200);

    for (command, says) in [
        (json!({"command": "verify-user", "email": "nobody@example.com"}), "No account has this e-mail address."),
        (json!({"command": "suspend-tenant", "tenant": "no-such-tenant"}), "no-such-tenant"),
        (json!({"command": "suspend-tenant", "tenant": "550e8400-e29b-41d4-a716-446655440000"}), "550e8400"),
        (json!({"command": "resend-mail", "mail": "550e8400-e29b-41d4-a716-446655440000"}), "no mail"),
        (json!({"command": "explode"}), "explode"),
    ] {
        let refused = workers.run("operator", command).await.unwrap_err();
        assert!(refused.contains(says) && !refused.contains("nobody@"), "{refused}");
    }
}

// ---------------------------------------------------------------- session keys

#[tokio::test]
async fn keys_are_rotated_under_load_without_a_failed_request() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    // Two instances of each function, each with its own cache of the keys.
    let instances = [world.clone(), world.another_instance().await];
    let mut tokens = vec![acme.owner.token.clone()];
    let mut kids = BTreeSet::new();
    for rotation in 0..3 {
        for minute in 0..16 {
            world.advance(SignedDuration::from_mins(1));
            let load = join_all(instances.iter().flat_map(|instance| {
                let login = json!({"email": acme.owner.email, "password": acme.owner.password});
                let reads = tokens.iter().map(|token| instance.get("/api/v1/projects").token(token).send());
                let reads = reads.collect::<Vec<_>>();
                [async move {
                    for read in join_all(reads).await {
                        read.expect(200);
                    }
                    instance.post("/api/v1/auth/login").json(login).send().await.expect(200).json()["data"]["token"]
                        .as_str()
                        .unwrap()
                        .to_owned()
                }]
            }));
            let rotating = workers.run("rotator", json!({"task": "rotate-keys", "now": minute == 0}));
            let (fresh, rotated) = tokio::join!(load, rotating);
            rotated.unwrap();
            for token in fresh {
                kids.insert(kid_of(&token));
                if minute % 5 == 4 {
                    tokens.push(token);
                }
            }
        }
        assert!(kids.len() > rotation, "new sessions are signed with the new key");
    }
    // The world's own key, which the rotator did not make and replaced at once, and two that were published first.
    assert_eq!(kids.len(), 4);

    // A week and a day later only the current key is left, and it still works.
    world.advance(SignedDuration::from_hours(24 * 8));
    workers.run("rotator", json!({"task": "rotate-keys"})).await.unwrap();
    let keys = world.get("/.well-known/jwks.json").send().await.expect(200).json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    assert!(keys.get("history").is_none());
    let owner = world.login(&acme.owner.email, &acme.owner.password).await;
    instances[1].get("/api/v1/projects").token(&owner.token).send().await.expect(200);
}

#[tokio::test]
async fn a_rotation_that_dies_anywhere_never_signs_with_an_unpublished_key() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    workers.run("rotator", json!({"task": "rotate-keys"})).await.unwrap();
    for point in 1.. {
        let mut finished = true;
        for pause in [0, 11, 24 * 60 * 8] {
            world.advance(SignedDuration::from_mins(pause));
            finished &= workers.cut_off("rotator", json!({"task": "rotate-keys", "now": pause == 0}), point).await;
            // An instance that starts now reads what is stored now.
            let instance = world.another_instance().await;
            let owner = instance.login(&acme.owner.email, &acme.owner.password).await;
            instance.get("/api/v1/projects").token(&owner.token).send().await.expect(200);
            workers.run("rotator", json!({"task": "rotate-keys"})).await.unwrap();
        }
        if finished {
            break;
        }
        assert!(point < 500);
    }
}

#[tokio::test]
async fn the_first_run_makes_the_keys_of_a_deployment_at_once() {
    let (world, workers) = workers().await;
    let environment = world.environment("rotator");
    let client = world.auth.secrets().client();
    for (variable, placeholder) in [("SIGNING_SECRET_ID", "{}"), ("JWKS_SECRET_ID", r#"{"keys":[]}"#)] {
        client.put_secret_value().secret_id(&environment[variable]).secret_string(placeholder).send().await.unwrap();
    }
    let first = workers.run("rotator", json!({"task": "rotate-keys"})).await.unwrap();
    assert_eq!(first["steps"].as_array().unwrap().len(), 2, "{first}");
    let again = workers.run("rotator", json!({"task": "rotate-keys"})).await.unwrap();
    assert_eq!((&again["steps"], &again["current"]), (&json!([]), &first["current"]));
    let world = world.another_instance().await;
    let acme = world.tenant("acme").await;
    assert_eq!(kid_of(&acme.owner.token), first["current"].as_str().unwrap());
}

// ---------------------------------------------------------------- the workers in one process

#[derive(Clone)]
pub struct Workers(Arc<Inner>);

struct Inner {
    world: World,
    apps: BTreeMap<&'static str, App>,
    relay: Relay,
    courier: Courier,
    fanout: Fanout,
    herald: Herald,
    sender: Sender,
    receiver: Receiver,
    switchboard: Switchboard,
    janitor: Janitor,
    rotator: Rotator,
    operator: Operator,
    /// Where a sweep stops, for tests that need it to stop early.
    sweep_at_most: Option<usize>,
    requests: AtomicUsize,
    invoked: Lock<HashMap<String, usize>>,
    /// The functions that have their secrets.
    fetched: Lock<BTreeSet<String>>,
}

/// A carrier without memory, like Amazon SES: it sends the same mail as often as it is told.
#[derive(Default)]
struct Forgetful(Lock<Vec<String>>);

struct Demo {
    caller: Caller,
    email: String,
    password: String,
    slug: String,
    tenant: String,
    owner: String,
}

impl Workers {
    pub fn on(world: &World) -> Self {
        Workers::of(world, None, None)
    }

    fn of(world: &World, carrier: Option<Arc<Forgetful>>, sweep_at_most: Option<usize>) -> Self {
        let names = ["relay", "courier", "sender", "receiver", "switchboard", "fanout", "herald", "janitor", "rotator", "operator"];
        let variables = |name: &str| Variables(world.environment(name).clone().into_iter().collect());
        let apps: BTreeMap<&'static str, App> = names.into_iter().map(|name| (name, app(world, name))).collect();
        let courier = match carrier {
            None => Courier::start(apps["courier"].clone(), variables("courier")).expect("the courier starts"),
            Some(carrier) => Courier::with(apps["courier"].clone(), Box::new(Shared(carrier)), None),
        };
        let sender = Sender::start(apps["sender"].clone(), variables("sender")).expect("the sender starts");
        let receiver = Receiver::start(apps["receiver"].clone(), variables("receiver")).expect("the receiver starts");
        let switchboard = Switchboard::start(apps["switchboard"].clone(), variables("switchboard")).expect("the switchboard starts");
        Workers(Arc::new(Inner {
            relay: Relay::start(apps["relay"].clone(), variables("relay")).expect("the relay starts"),
            courier,
            fanout: Fanout::start(apps["fanout"].clone(), variables("fanout")).expect("the fanout starts"),
            herald: Herald::start(apps["herald"].clone(), variables("herald")).expect("the herald starts"),
            janitor: Janitor::start(apps["janitor"].clone(), variables("janitor")).expect("the janitor starts"),
            rotator: Rotator::start(apps["rotator"].clone(), variables("rotator")).expect("the rotator starts"),
            operator: Operator::start(apps["operator"].clone(), variables("operator")).expect("the operator starts"),
            sender,
            receiver,
            switchboard,
            world: world.clone(),
            apps,
            sweep_at_most,
            requests: AtomicUsize::new(0),
            invoked: Lock::default(),
            fetched: Lock::default(),
        }))
    }

    fn sending_with(&self, carrier: &Arc<Forgetful>) -> Self {
        Workers::of(&self.0.world, Some(carrier.clone()), None)
    }

    fn sweeping_at_most(&self, tasks: usize) -> Self {
        Workers::of(&self.0.world, None, Some(tasks))
    }

    fn app(&self, name: &str) -> &App {
        &self.0.apps[name]
    }

    pub fn invocations(&self, function: &str) -> usize {
        self.0.invoked.lock().get(function).copied().unwrap_or(0)
    }

    /// One invocation, as Lambda makes it.
    pub async fn run(&self, function: &str, event: Value) -> Result<Value, String> {
        let inner = &self.0;
        *inner.invoked.lock().entry(function.to_owned()).or_default() += 1;
        let request = format!("request-{}", inner.requests.fetch_add(1, Ordering::Relaxed));
        if !inner.fetched.lock().contains(function) {
            inner.apps[function].fetch_secrets().await.map_err(|error| error.to_string())?;
            inner.fetched.lock().insert(function.to_owned());
        }
        let done = match (function, inner.sweep_at_most) {
            ("relay", _) => inner.relay.handle(event, &request).await,
            ("fanout", _) => inner.fanout.handle(event, &request).await,
            ("herald", _) => inner.herald.handle(event, &request).await,
            ("courier", _) => inner.courier.handle(event, &request).await,
            ("sender", _) => inner.sender.handle(event, &request).await,
            ("switchboard", _) => inner.switchboard.handle(event, &request).await,
            ("receiver", _) => inner.receiver.handle(event, &request).await,
            ("janitor", Some(at_most)) if worker::is_batch(&event) => {
                let sweep = |context, job: SweepTasks| async move { janitor::sweep::sweep(&context, job, at_most).await };
                worker::queue(&inner.apps["janitor"], event, "janitor", &request, sweep).await
            }
            ("janitor", _) => inner.janitor.handle(event, &request).await,
            ("rotator", _) => inner.rotator.handle(event, &request).await,
            ("operator", _) => inner.operator.handle(event, &request).await,
            _ => panic!("there is no worker {function:?}"),
        };
        done.map_err(|error| error.to_string())
    }

    /// What `import-tenant` does, in a deployment with other ordinary records.
    pub async fn import(&self, restored: &[&[Restored]], owner: &str, lines: &str) -> Value {
        let app = &self.0.apps["operator"];
        app.fetch_secrets().await.expect("the secrets are there");
        let context = worker::work_context(app, "operator", "import");
        import_tenant(&context, restored, owner, lines).await.expect("the import")
    }

    /// An invocation whose process dies after it has waited so many times. Whether it came to its end before that.
    pub async fn cut_off(&self, function: &str, event: Value, waits: usize) -> bool {
        let mut work = pin!(self.run(function, event));
        for _ in 0..waits {
            if poll_immediate(&mut work).await.is_some() {
                return true;
            }
            // Pending results arrive, so that the next poll gets further.
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        false
    }
}

impl Invoke for Workers {
    fn invoke(&self, function: &str, payload: Value) -> impl Future<Output = Result<Value, InvokeError>> + Send {
        let (workers, function) = (self.clone(), function.to_owned());
        async move { workers.run(&function, payload).await.map_err(|message| InvokeError::Failed { function, message }) }
    }
}

impl Forgetful {
    fn taken(&self, mail: &str) -> usize {
        self.0.lock().iter().filter(|taken| *taken == mail).count()
    }
}

struct Shared(Arc<Forgetful>);

impl MailCarrier for Shared {
    fn deduplicates(&self) -> bool {
        false
    }

    fn send<'a>(&'a self, letter: &'a Letter) -> PendingSend<'a> {
        Box::pin(async move {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            self.0.0.lock().push(letter.id.clone());
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            Outcome::Taken(None)
        })
    }
}

pub async fn workers() -> (World, Workers) {
    let world = World::new().await;
    let workers = Workers::on(&world);
    (world, workers)
}

fn app(world: &World, function: &str) -> App {
    let variables = || Variables(world.environment(function).clone().into_iter().collect());
    let config = Config::read(&variables()).expect("the template configures the function");
    let clients = Clients::read(variables()).expect("the environment names AWS");
    App::new(config, world.plans.clone(), world.records, world.clock.clone(), Random::system(), &clients)
}

pub async fn drain(world: &World, workers: &Workers) {
    Sources::new(&world.template, &world.aws, workers.clone()).unwrap().drain().await.unwrap();
}

/// Delivers everything, with the time that leases need in between.
pub async fn settle(world: &World, workers: &Workers, faults: Faults) {
    world.advance(SignedDuration::from_secs(61));
    Sources::with_faults(&world.template, &world.aws, workers.clone(), faults).unwrap().drain().await.unwrap();
    assert_eq!((depth(world, MAIL_LETTERS), depth(world, RELAY_LETTERS)), (0, 0));
}

async fn purge(workers: &Workers) -> Value {
    workers.run("janitor", json!({"task": "purge"})).await.unwrap()
}

fn depth(world: &World, queue: &str) -> usize {
    let depth = world.aws.queues().depth(queue).unwrap();
    depth.visible + depth.hidden
}

// ---------------------------------------------------------------- mails, seen from outside

async fn forgotten(world: &World, name: &str) {
    let tenant = world.tenant(name).await;
    ask_for_reset(world, &tenant.owner.email).await;
}

/// Returns the mail's id.
async fn ask_for_reset(world: &World, email: &str) -> String {
    // Ids of one millisecond have no order.
    world.advance(SignedDuration::from_millis(10));
    world.post("/api/v1/auth/forgot-password").json(json!({"email": email})).send().await.expect(202);
    newest_mail(world, email)
}

fn newest_mail(world: &World, email: &str) -> String {
    let mails = world.items().into_iter().filter(|item| item["type"]["S"] == "mail" && item["to"]["S"] == email);
    mails.map(|item| text(&item, "id").to_owned()).max().expect("a mail to the address")
}

fn copy_of_mail(world: &World, mail: &str, id: &str, change: impl FnOnce(&mut Value)) {
    let pk = format!("G#mail#{mail}");
    let mut item = world.items().into_iter().find(|item| item["pk"]["S"] == pk).unwrap();
    item["pk"] = json!({"S": format!("G#mail#{id}")});
    item["id"] = json!({"S": id});
    change(&mut item);
    let request = json!({"TableName": world.table_name(), "Item": item});
    world.aws.database().put_item(serde_json::from_value(request).unwrap()).unwrap();
}

fn state(world: &World, mail: &str) -> String {
    let pk = format!("G#mail#{mail}");
    let item = world.items().into_iter().find(|item| item["pk"]["S"] == pk).expect("the mail is kept");
    item["state"]["M"]["at"]["S"].as_str().unwrap().to_owned()
}

fn states(world: &World) -> BTreeSet<String> {
    let mails = world.items().into_iter().filter(|item| item["type"]["S"] == "mail");
    mails.map(|item| item["state"]["M"]["at"]["S"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Subject and text of the mails to an address.
fn mails(world: &World, email: &str) -> Vec<String> {
    let kept = world.aws.mailbox().mails_to(email).unwrap();
    kept.into_iter().map(|kept| format!("{}\n{}", kept.mail.subject, kept.mail.text)).collect()
}

/// The token as a person copies it from the mail.
fn token_in(world: &World, email: &str, kind: &str) -> String {
    let kept = world.aws.mailbox().mails_to(email).unwrap();
    let mail = kept.into_iter().rev().find(|kept| kept.mail.kind == kind).expect("the mail arrived").mail;
    mail.text.lines().find_map(|line| line.strip_prefix("    ")).expect("a token on a line of its own").to_owned()
}

fn job(mail: &str) -> Value {
    message(&json!({"mail": mail}).to_string())
}

fn message(body: &str) -> Value {
    json!({"Records": [{"messageId": "1", "body": body, "eventSource": "aws:sqs"}]})
}

// ---------------------------------------------------------------- demos, seen from outside

async fn demo(world: &World, email: &str) -> Demo {
    let body = json!({"email": email, "name": "Ada", "company_name": "Engines"});
    let made = world.post("/api/v1/demo").json(body).send().await.expect(201).json()["data"].clone();
    let caller = world.login(email, made["password"].as_str().unwrap()).await;
    let claims = crate::world::claims_of(&caller.token);
    Demo {
        password: caller.password.clone(),
        caller,
        email: email.to_owned(),
        slug: made["tenant_slug"].as_str().unwrap().to_owned(),
        tenant: claims["tid"].as_str().unwrap().to_owned(),
        owner: claims["sub"].as_str().unwrap().to_owned(),
    }
}

/// One of everything that a tenant can have, in addition to the samples.
async fn fill(world: &World, demo: &Demo) {
    let (kept, gone) = (world.project(&demo.caller, "Archived").await, world.project(&demo.caller, "Deleted").await);
    world.project(&demo.caller, "Active").await;
    for project in [&kept, &gone] {
        world.task(&demo.caller, project, json!({"title": "A task"})).await;
    }
    world.post(format!("/api/v1/projects/{}/archive", id(&kept))).token(&demo.caller.token).send().await.expect(200);
    world.delete(format!("/api/v1/projects/{}", id(&gone))).token(&demo.caller.token).send().await.expect(200);
    let invited = json!({"email": format!("guest-{}", demo.email), "role": "viewer"});
    invite(world, demo, invited).await;
    let body = json!({"name": "Once"});
    world.post("/api/v1/projects").token(&demo.caller.token).header("idempotency-key", "one").json(body).send().await.expect(201);
}

/// A demo sends no mails, so it invites nobody. It may still have members and invitations that an operator added.
async fn invite(world: &World, demo: &Demo, invited: Value) {
    let send = || world.post("/api/v1/tenant/invitations").token(&demo.caller.token).json(invited.clone()).send();
    send().await.expect(403);
    let profile = format!("T#{}#tenant", demo.tenant);
    world.change_item(&profile, "profile", |item| item["kind"] = json!({"S": "standard"}));
    send().await.expect(201);
    world.change_item(&profile, "profile", |item| item["kind"] = json!({"S": "demo"}));
}

/// Mails and sealed answers to the visitor's requests expire by themselves. Everything else must be deleted with the demo.
fn is_of(item: &Value, demo: &Demo) -> bool {
    let lasting = !["mail", "open_answer"].contains(&text(item, "type"));
    let written = item.to_string();
    lasting && (written.contains(&demo.tenant) || written.contains(&demo.owner) || written.contains(&demo.slug))
}

/// What the purge of one demo changes about the others: their number.
fn without_demos(items: &[Value]) -> Vec<&Value> {
    items.iter().filter(|item| !["G#counters", "G#demos"].contains(&text(item, "pk")) && !text(item, "pk").starts_with("G#rate#")).collect()
}

fn listed(world: &World, demo: &Demo) -> String {
    let line = world.items().into_iter().find(|item| item["type"]["S"] == "demo" && item["tenant"]["S"] == demo.tenant.as_str());
    text(&line.expect("the demo is listed"), "sk").to_owned()
}

fn active_demos(world: &World) -> u64 {
    let counter = world.items().into_iter().find(|item| item["pk"]["S"] == "G#counters" && item["sk"]["S"] == "active_demos");
    counter.and_then(|counter| counter["n"]["N"].as_str()?.parse().ok()).unwrap_or(0)
}

fn tasks_of(world: &World, project: &Value) -> Vec<Value> {
    let tasks = world.items().into_iter().filter(|item| item["type"]["S"] == "task" && item["project"]["S"] == id(project));
    tasks.collect()
}

fn shared_now(world: &World) -> i64 {
    use shared::Clock;
    world.clock.now().as_second()
}

fn text<'a>(item: &'a Value, attribute: &str) -> &'a str {
    item[attribute]["S"].as_str().unwrap_or_default()
}

fn kid_of(token: &str) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}
