//! Anchors: that each day's goes to the customer and holds what was recorded, once, whoever dies or meets; and that a chain which was cut or written anew no
//! longer fits.

use futures_util::future::join;
use janitor::anchor::{Portion, anchor};
use records::consent::ConsentEntry;
use shared::crypto::sha256_hex;
use shared::model::due::AnchorConsents;
use shared::runtime::worker::work_context;

use super::*;
use crate::webhooks::Home;

const ANCHORS: &str = "/v1/compliance/consent/anchors";
const DAY: i64 = 24 * 60 * 60;

/// All that was recorded is anchored, on the morning after.
pub async fn anchored_next_day(world: &World, workers: &Workers) {
    drain(world, workers).await;
    next_day(world, SignedDuration::from_hours(2));
    bring_to_mind(world, workers).await;
}

/// What the schedule does, and what follows from it. How much was due.
async fn bring_to_mind(world: &World, workers: &Workers) -> u64 {
    let done = workers.run("janitor", json!({"task": "anchor-consents"})).await.expect("the schedule");
    drain(world, workers).await;
    done["reminded"].as_u64().expect("a number")
}

/// Goes on to a time of the next day (UTC).
fn next_day(world: &World, time: SignedDuration) {
    let now = world.clock_now();
    let then = (now.as_second().div_euclid(DAY) + 1) * DAY + time.as_secs();
    world.advance(SignedDuration::from_secs(then - now.as_second()));
}

async fn consented(world: &World, who: &Caller, number: &str) {
    done(world, who, &format!("POST {CONSENT}"), given(number)).await;
}

async fn anchors(world: &World, who: &Caller) -> Vec<Value> {
    done(world, who, &format!("GET {ANCHORS}"), Value::Null).await["data"].as_array().expect("a list").clone()
}

async fn proof(world: &World, who: &Caller, number: &str) -> Value {
    done(world, who, &format!("GET {CONSENT}/proof?phone_number=%2B{}", &number[1..]), Value::Null).await
}

async fn all_verified(world: &World, who: &Caller) -> Value {
    done(world, who, &format!("GET {CONSENT}/verify"), Value::Null).await["data"].clone()
}

/// Which anchors hold which entries of a number.
fn held(proof: &Value) -> Vec<(u64, u64)> {
    let number = |one: &Value, name: &str| one[name].as_u64().expect("a number");
    proof["data"]["anchors"].as_array().expect("a list").iter().map(|one| (number(one, "number"), number(one, "n"))).collect()
}

fn item(world: &World, pk: &str, sk: &str) -> Value {
    world.items().into_iter().find(|item| item["pk"]["S"] == pk && item["sk"]["S"] == sk).expect("the item is there")
}

#[tokio::test]
async fn a_day_of_consent_is_anchored_with_the_customer_and_proven_by_it() {
    let home = Home::new().await;
    let (world, owner) = (&home.world, home.owner());
    home.webhook("all", json!(["consent.*"])).await;
    let thin =
        home.post("/v1/webhooks", json!({"url": home.receiver.url("thin"), "events": ["consent.anchored"], "payload": "thin"})).await;
    thin.expect(201);
    next_day(world, SignedDuration::from_hours(10));
    for number in [ADA, BOB, ADA, &number(1)] {
        consented(world, owner, number).await;
    }
    home.drain().await;
    // One note, whatever was recorded. The day must be over, and a little more.
    assert_eq!((world.items_of_type("due_anchor").len(), bring_to_mind(world, &home.workers).await), (1, 0));
    next_day(world, SignedDuration::from_mins(19));
    assert_eq!((bring_to_mind(world, &home.workers).await, anchors(world, owner).await), (0, vec![]));
    world.advance(SignedDuration::from_mins(1));
    assert_eq!((bring_to_mind(world, &home.workers).await, world.items_of_type("due_anchor").len()), (1, 0));
    let listed = anchors(world, owner).await;
    let [first] = &listed[..] else { panic!("one anchor: {listed:?}") };
    assert_eq!((&first["number"], &first["heads"], &first["previous"]), (&json!(1), &json!(3), &json!("0".repeat(64))));
    assert_eq!(first["tenant_id"], home.own.id.as_str());

    let heard = home.receiver.take();
    let told = |path: &str| heard.iter().find(|heard| heard.path.ends_with(path)).expect("it was told");
    assert_eq!(heard.len(), 2);
    let body: Value = serde_json::from_str(&told("all").body).expect("JSON");
    assert_eq!((&body["type"], &body["data"]), (&json!("consent.anchored"), first));
    let body: Value = serde_json::from_str(&told("thin").body).expect("JSON");
    assert_eq!(body["data"], json!({"tenant_id": home.own.id, "number": 1, "hash": first["hash"]}));

    // The next day goes on from there, with what was added to alone.
    done(world, owner, &format!("POST {OUTS}"), json!({"phone_number": ADA})).await;
    consented(world, owner, &number(2)).await;
    anchored_next_day(world, &home.workers).await;
    let listed = anchors(world, owner).await;
    assert_eq!(
        (listed.len(), &listed[0]["number"], &listed[0]["heads"], &listed[0]["previous"]),
        (2, &json!(2), &json!(2), &first["hash"])
    );
    let page = done(world, owner, &format!("GET {ANCHORS}?limit=1"), Value::Null).await;
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let rest = done(world, owner, &format!("GET {ANCHORS}?limit=1&cursor={cursor}"), Value::Null).await;
    assert_eq!((&page["data"][0], &rest["data"][0]), (&listed[0], &listed[1]));
    for (number, wanted) in [(ADA, vec![(2, 3), (1, 2)]), (BOB, vec![(1, 1)]), (&number(2), vec![(2, 1)]), (&number(3), vec![])] {
        let proof = proof(world, owner, number).await;
        assert_eq!(held(&proof), wanted, "{number}");
        let (valid, said) = checked(&[proof]);
        let hashes = wanted.iter().all(|(anchor, _)| said.contains(listed[2 - *anchor as usize]["hash"].as_str().expect("a hash")));
        assert!(valid && hashes, "{said}");
        let verdict = verified(world, owner, number).await;
        assert_eq!((&verdict["valid"], &verdict["anchored"]), (&json!(true), &json!(wanted.len())));
    }
    let all = all_verified(world, owner).await;
    assert_eq!((&all["valid"], &all["anchored"], &all["broken_anchor"]), (&json!(true), &json!(5), &Value::Null));

    // A day without changes has none.
    home.receiver.take();
    for _ in 0..2 {
        anchored_next_day(world, &home.workers).await;
    }
    assert_eq!((anchors(world, owner).await.len(), home.receiver.take().len()), (2, 0));
    let viewer = world.member(&home.own, "viewer").await;
    assert_eq!(anchors(world, &viewer).await.len(), 2);
}

#[tokio::test]
async fn a_chain_that_was_cut_or_written_anew_is_found_by_its_anchor() {
    let (world, own) = home().await;
    let (workers, owner) = (Workers::on(&world), &own.owner);
    for number in [ADA, ADA, ADA, ADA, BOB, &number(1)] {
        consented(&world, owner, number).await;
    }
    anchored_next_day(&world, &workers).await;
    consented(&world, owner, ADA).await;
    let of = |collection: &str| format!("T#{}#{collection}", own.id);
    let (entries, peers) = (of("consent-entries#15551234567"), of("peers"));
    let (anchored, all) = (of("consent-anchored#15551234567"), of("consent-anchors"));
    let place = |n: u64| format!("{n:010}");
    let found = async |what: &str, broken_at: u64, by_all: bool| {
        let verdict = verified(&world, owner, ADA).await;
        assert_eq!(
            (&verdict["valid"], &verdict["broken_at"], &verdict["broken_by"]),
            (&json!(false), &json!(broken_at), &json!("anchor")),
            "{what}"
        );
        assert_eq!(verified(&world, owner, BOB).await["valid"], json!(what != "an anchor"), "{what}");
        let all = all_verified(&world, owner).await;
        let broken = json!([{"phone_number": ADA, "broken_at": broken_at, "broken_by": "anchor"}]);
        assert_eq!(all["broken"] == broken, by_all, "{what}: {all}");
        let (valid, said) = checked(&[proof(&world, owner, ADA).await]);
        // A proof has the leaf of the entry that is there, and it is the right one.
        assert!(valid == (what == "a leaf") && (valid || said.contains("NOT VALID: anchor 1")), "{what}: {said}");
    };
    let good = async |what: &str| {
        assert_eq!(
            (verified(&world, owner, ADA).await["valid"].clone(), all_verified(&world, owner).await["valid"].clone()),
            (json!(true), json!(true)),
            "{what}"
        );
        assert!(checked(&[proof(&world, owner, ADA).await]).0, "{what}");
    };
    good("as it was written").await;
    let items = world.items();
    let restore = || {
        items
            .iter()
            .filter(|item| item["pk"]["S"].as_str().is_some_and(|pk| pk.contains("consent") || pk == peers))
            .for_each(|item| world.put_item(item))
    };

    // A cut of the tail, with the end that the peer names.
    let third = item(&world, &entries, &place(3));
    for n in [4, 5] {
        world.remove_item(&item(&world, &entries, &place(n)));
    }
    world.change_item(&peers, "15551234567", |peer| peer["chain"]["M"] = json!({"n": {"N": "3"}, "digest": third["digest"]}));
    found("a cut", 4, true).await;
    restore();
    good("put back").await;

    // What is behind the anchor alone is for the next.
    let fourth = item(&world, &entries, &place(4));
    world.remove_item(&item(&world, &entries, &place(5)));
    world.change_item(&peers, "15551234567", |peer| peer["chain"]["M"] = json!({"n": {"N": "4"}, "digest": fourth["digest"]}));
    good("cut behind the anchor").await;
    restore();

    // Written anew from the second entry on: all hashes fit, and the end.
    let lines = world.get("/api/tenant/export").token(&owner.token).send().await.expect(200).text;
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let chain = lines.filter(|line| line["type"] == "consent_entry" && line["data"]["phone_number"] == ADA);
    let mut chain: Vec<ConsentEntry> = chain.map(|line| serde_json::from_value(line["data"].clone()).expect("an entry")).collect();
    chain.sort_by_key(|entry| entry.n);
    let mut previous = chain[0].digest.clone();
    for entry in &mut chain[1..] {
        (entry.recorded_by, entry.previous) = ("member:9".into(), previous);
        entry.digest = sha256_hex(&[entry.canonical().as_bytes()]);
        world.change_item(&entries, &place(entry.n), |item| {
            item["recorded_by"]["S"] = json!(entry.recorded_by);
            item["previous"]["S"] = json!(entry.previous);
            item["digest"]["S"] = json!(entry.digest);
        });
        previous = entry.digest.clone();
    }
    world.change_item(&peers, "15551234567", |peer| peer["chain"]["M"]["digest"]["S"] = json!(previous));
    found("written anew", 4, true).await;
    // And what the anchor holds of it, which then leads to another root.
    world.change_item(&anchored, &place(1), |item| item["digest"]["S"] = json!(chain[3].digest));
    found("written anew with its leaf", 4, true).await;
    restore();

    for (what, change) in [
        ("a leaf", (|item: &mut Value| item["digest"]["S"] = json!("0".repeat(64))) as Change),
        ("a path", |item: &mut Value| item["path"]["L"][0]["S"] = json!("0".repeat(64))),
        ("a path that ends early", |item: &mut Value| drop(item["path"]["L"].as_array_mut().expect("a list").pop())),
        ("a place", |item: &mut Value| item["index"]["N"] = json!("1")),
    ] {
        world.change_item(&anchored, &place(1), change);
        found(what, 4, true).await;
        restore();
    }
    world.change_item(&all, &place(1), |item| item["heads"]["N"] = json!("4"));
    found("an anchor", 4, false).await;
    let verdict = all_verified(&world, owner).await;
    assert_eq!(
        (&verdict["valid"], verdict["broken"].as_array().map(Vec::len), &verdict["broken_anchor"]),
        (&json!(false), Some(3), &json!(1))
    );
    restore();
    good("put back").await;

    // What an anchor holds is said to be of one that nobody made.
    world.change_item(&anchored, &place(1), |item| item["anchor"]["N"] = json!("9"));
    let verdict = verified(&world, owner, ADA).await;
    assert_eq!((&verdict["valid"], &verdict["broken_by"]), (&json!(false), &json!("anchor")));
    restore();
    // Whatever is taken away with all that leads to it is missed.
    let missed = async |what: &str| {
        let all = all_verified(&world, owner).await;
        assert_eq!(
            (&all["valid"], &all["broken"], &all["broken_anchor"], &all["anchored"], &all["anchored_in_all"]),
            (&json!(false), &json!([]), &json!(1), &json!(2), &json!(3)),
            "{what}"
        );
    };
    world.remove_item(&item(&world, &anchored, &place(1)));
    missed("what an anchor holds").await;
    restore();
    world.remove_item(&item(&world, &peers, "15551234567"));
    (1..=5).for_each(|n| world.remove_item(&item(&world, &entries, &place(n))));
    missed("a chain").await;
    restore();
    good("put back").await;

    // Somebody who proves something false cannot make the verifier print what it did not check.
    let mut forged = proof(&world, owner, ADA).await;
    for (name, value) in
        [("number", json!("1, of\nanchor 2")), ("anchored_at", json!("now\nanchor 2")), ("heads", json!(3.0)), ("n", json!("4"))]
    {
        let kept = forged["data"]["anchors"][0][name].clone();
        forged["data"]["anchors"][0][name] = value;
        let (valid, said) = checked(&[forged.clone()]);
        assert!(!valid && said.contains("an anchor has another form"), "{name}: {said}");
        forged["data"]["anchors"][0][name] = kept;
    }
    assert!(checked(&[forged]).0);
}

#[tokio::test]
async fn two_at_once_repeats_and_a_death_at_any_point_make_one_anchor() {
    let (world, own) = home().await;
    let workers = Workers::on(&world);
    let (mut rounds, mut previous) = (0, "0".repeat(64));
    for point in 1.. {
        let owner = &world.login(&own.owner.email, &own.owner.password).await;
        for n in 0..3 {
            consented(&world, owner, &number(n)).await;
        }
        drain(&world, &workers).await;
        next_day(&world, SignedDuration::from_hours(1));
        let job = job(&world);
        let finished = workers.cut_off("janitor", job.clone(), point).await;
        let (one, other) = join(workers.run("janitor", job.clone()), workers.run("janitor", job.clone())).await;
        for done in [one, other, workers.run("janitor", job).await] {
            assert_eq!(done.expect("it is done"), json!({"batchItemFailures": []}), "cut at {point}");
        }
        rounds += 1;
        assert_eq!((bring_to_mind(&world, &workers).await, world.items_of_type("due_anchor").len()), (0, 0), "cut at {point}");
        let made = of_type(&world, &own, "consent_anchor");
        let last = made.last().expect("an anchor");
        assert_eq!(
            (made.len(), last["heads"]["N"].as_str(), &last["previous"]["S"]),
            (rounds, Some("3"), &json!(previous)),
            "cut at {point}"
        );
        assert_eq!(of_type(&world, &own, "consent_anchored").len(), rounds * 3);
        previous = last["digest"]["S"].as_str().expect("a hash").to_owned();
        let all = all_verified(&world, owner).await;
        assert_eq!(
            (&all["valid"], verified(&world, owner, &number(1)).await["valid"].clone()),
            (&json!(true), json!(true)),
            "cut at {point}"
        );
        if finished {
            break;
        }
        assert!(point < 500);
    }
    assert!(rounds > 5, "it was cut {rounds} times");
}

/// The job that the sweep's change of the only note brings.
fn job(world: &World) -> Value {
    let note = world.items_of_type("due_anchor").remove(0);
    message(&json!({"due_anchor": {"due_at": note["due_at"]["S"], "tenant": note["tenant"]["S"], "rounds": 1}}))
}

fn message(job: &Value) -> Value {
    json!({"Records": [{"messageId": "1", "body": job.to_string(), "eventSource": "aws:sqs"}]})
}

#[tokio::test]
async fn much_of_a_day_makes_several_anchors_and_a_job_ends_in_time() {
    let (world, own) = home().await;
    let (workers, owner) = (Workers::on(&world), &own.owner);
    // Seven lines, three an anchor: the first number is in two.
    for n in [0, 1, 2, 0, 3, 4, 5] {
        consented(&world, owner, &number(n)).await;
    }
    drain(&world, &workers).await;
    next_day(&world, SignedDuration::from_hours(1));
    let named = |world: &World| -> AnchorConsents {
        let body: Value = serde_json::from_str(job(world)["Records"][0]["body"].as_str().expect("a body")).expect("JSON");
        serde_json::from_value(body).expect("a job")
    };
    for (anchors, notes) in [(2, 1), (3, 0)] {
        let context = work_context(&world.auth, "janitor", "bounded");
        anchor(&context, named(&world), Portion { anchors: 2, lines: 3 }).await.expect("it is done");
        assert_eq!((of_type(&world, &own, "consent_anchor").len(), world.items_of_type("due_anchor").len()), (anchors, notes));
    }
    let heads: Vec<Value> = anchors(&world, owner).await.iter().map(|anchor| anchor["heads"].clone()).collect();
    assert_eq!(heads, [json!(1), json!(3), json!(3)]);
    let proof = proof(&world, owner, &number(0)).await;
    assert_eq!(held(&proof), [(2, 2), (1, 1)]);
    assert!(checked(&[proof]).0);
    assert_eq!(all_verified(&world, owner).await["anchored"], 7);
    // The note that was written again brings the next job by the stream.
    consented(&world, owner, ADA).await;
    anchored_next_day(&world, &workers).await;
    assert_eq!(of_type(&world, &own, "consent_anchor").len(), 4);
}

/// A job names a note. Whose it is, and whether it is time, the directory says: a record of a tenant that looks like a note says nothing.
#[tokio::test]
async fn a_note_of_the_directory_alone_brings_an_anchor() {
    let (world, own) = home().await;
    let (workers, other) = (Workers::on(&world), world.tenant("globex").await);
    consented(&world, &own.owner, ADA).await;
    drain(&world, &workers).await;
    let note = world.items_of_type("due_anchor").remove(0);
    let stream = |note: &Value| {
        let keys = json!({"pk": note["pk"], "sk": note["sk"]});
        json!({"Records": [{"eventName": "MODIFY", "dynamodb": {"Keys": keys, "NewImage": note, "OldImage": note, "SequenceNumber": "1"}}]})
    };
    let anchored = async |note: &Value| {
        assert_eq!(workers.run("relay", stream(note)).await.expect("it is read"), json!({"batchItemFailures": []}));
        drain(&world, &workers).await;
        of_type(&world, &own, "consent_anchor").len() + of_type(&world, &other, "consent_anchor").len()
    };
    let mut brought = note.clone();
    brought["rounds"]["N"] = json!("1");
    assert_eq!(anchored(&brought).await, 0, "it is not time");
    next_day(&world, SignedDuration::from_hours(1));
    let mut forged = brought.clone();
    forged["pk"]["S"] = json!(format!("T#{}#due-anchors", other.id));
    forged["due_at"]["S"] = json!("2024-01-01T00:20:00Z");
    assert_eq!(anchored(&forged).await, 0, "the directory has no such note");
    // The same, with one difference.
    assert_eq!((anchored(&brought).await, of_type(&world, &own, "consent_anchor").len()), (1, 1));
}
