//! The lines that a tenant may send from, and how many of its own messages each of them sent today.

use futures_util::future::poll_immediate;
use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::Clock;
use stack::phone_lines::LINES;
use stack::sources::Faults;

use crate::messages::{Home, key_of, report};
use crate::workers::settle;
use crate::world::{Answer, Request, id, uuid_of};

const ALL: &str = "/v1/phone-lines";
const ADA: &str = "+15551234567";
const BOB: &str = "+15551234568";
const EVE: &str = "+15551234569";

fn get(home: &Home, key: &str, path: &str) -> Request {
    home.world.get(path).header("x-api-key", key)
}

async fn lines(home: &Home, key: &str) -> Vec<Value> {
    get(home, key, ALL).send().await.expect(200).json()["data"].as_array().expect("lines").clone()
}

/// In the order of `LINES`, by the list, and line by line.
async fn sent_today(home: &Home, key: &str) -> Vec<Value> {
    let listed = lines(home, key).await;
    for line in &listed {
        let shown = get(home, key, &format!("{ALL}/{}", id(line))).send().await.expect(200);
        assert_eq!(&shown.json()["data"], line);
    }
    listed.into_iter().map(|line| line["sent_today"].clone()).collect()
}

async fn send(home: &Home, key: &str, line: &str, to: &str) -> String {
    home.world.advance(SignedDuration::from_millis(5));
    let body = json!({"to": to, "body": "Hello", "from_number": line});
    let sent = home.world.post("/v1/messages").header("x-api-key", key).json(body).send().await.expect(202).json();
    sent["data"]["message_id"].as_str().expect("an id").to_owned()
}

/// With the time that those need who were in each other's way.
async fn settled(home: &Home) {
    for _ in 0..2 {
        settle(&home.world, &home.workers, Faults::default()).await;
        home.settle().await;
    }
}

#[tokio::test]
async fn a_tenant_sees_the_shared_lines_and_what_it_sent_itself_from_each_of_them_today() {
    let home = Home::new().await;
    let other = home.world.tenant("globex").await;
    let theirs = key_of(&home.world, &other, "live").await;
    let first = lines(&home, &home.key).await[0].clone();
    assert_eq!(
        first,
        json!({
            "id": first["id"], "phone_number": LINES[0], "capabilities": ["imessage", "rcs", "sms"], "mode": "pooled", "status": "active",
            "daily_limit": 20_000, "sent_today": 0, "per_minute_limit": 6_000, "warming_day": null, "created_at": "2026-11-21T18:00:00.000Z",
        })
    );
    assert!(id(&first).starts_with("line_"), "{first}");
    for (key, line, to) in [
        (&home.key, LINES[0], ADA),
        (&home.key, LINES[0], BOB),
        (&home.key, LINES[0], BOB),
        (&home.key, LINES[1], EVE),
        (&theirs, LINES[0], EVE),
        (&theirs, LINES[2], ADA),
    ] {
        send(&home, key, line, to).await;
    }
    // What was accepted is not sent yet.
    assert_eq!(sent_today(&home, &home.key).await, [0, 0, 0]);
    settled(&home).await;
    assert_eq!((sent_today(&home, &home.key).await, sent_today(&home, &theirs).await), (json_of([3, 1, 0]), json_of([1, 0, 1])));
    // What came in was not sent.
    home.world.aws.phones().say(ADA, Some(LINES[0]), "Hello").expect("said");
    home.settle().await;
    assert_eq!(sent_today(&home, &home.key).await, [3, 1, 0]);
    // The next day (UTC) begins at 0.
    home.world.advance(SignedDuration::from_hours(6));
    assert_eq!((sent_today(&home, &home.key).await, sent_today(&home, &theirs).await), (json_of([0, 0, 0]), json_of([0, 0, 0])));
    send(&home, &home.key, LINES[1], EVE).await;
    home.settle().await;
    assert_eq!(sent_today(&home, &home.key).await, [0, 1, 0]);
}

fn json_of(numbers: [u64; 3]) -> Vec<Value> {
    numbers.map(Value::from).to_vec()
}

#[tokio::test]
async fn a_message_counts_once_whoever_says_first_that_it_went_out() {
    let home = Home::new().await;
    for (before, is_alive) in [(0, false), (1, true)] {
        let message = send(&home, &home.key, LINES[0], ADA).await;
        let body = json!({"tenant": home.own.id, "message": uuid_of(&message)}).to_string();
        let mut work =
            Box::pin(home.workers.run("switchboard", json!({"Records": [{"messageId": "1", "body": body, "eventSource": "aws:sqs"}]})));
        let reference = loop {
            assert!(poll_immediate(&mut work).await.is_none(), "the worker has noted it");
            let on = home.world.aws.phones().conversation(ADA).map(|phone| phone.messages).unwrap_or_default();
            if let Some(given) = on.into_iter().find(|given| given.id == message) {
                break given.reference;
            }
            tokio::task::yield_now().await;
        };
        // In no order, and twice.
        for (n, status) in ["delivered", "sent", "read", "delivered", "sent"].into_iter().enumerate() {
            let (id, at) = (format!("{before}-{n}"), home.world.clock.now().to_string());
            let event = json!({"type": "receipt", "id": id, "reference": reference, "status": status, "at": at});
            report(&home.world, &id, &event).send().await.expect(202);
            assert_eq!(sent_today(&home, &home.key).await, [before + 1, 0, 0], "{status}");
        }
        if is_alive {
            work.await.expect("it is noted");
        }
        settled(&home).await;
        assert_eq!(sent_today(&home, &home.key).await, [before + 1, 0, 0], "{is_alive}");
    }
}

#[tokio::test]
async fn a_line_that_warms_up_says_how_far_it_is_and_what_it_sends_today() {
    let home = Home::new().await;
    let number = "+12025550109";
    let add = json!({"command": "line-add", "phone_number": number, "capabilities": ["sms"], "gateway": "phones", "daily_limit": 150, "per_minute_limit": 10});
    home.workers.run("operator", add).await.expect("a line");
    for (days, status, warming_day, daily_limit) in
        [(0, "warming", json!(1), 20), (2, "warming", json!(3), 60), (7, "warming", json!(10), 150), (1, "active", Value::Null, 150)]
    {
        home.world.advance(SignedDuration::from_hours(24 * days));
        let line = lines(&home, &home.key).await.pop().expect("a line");
        let said = (&line["phone_number"], &line["status"], &line["warming_day"], &line["daily_limit"], &line["per_minute_limit"]);
        assert_eq!(said, (&json!(number), &json!(status), &warming_day, &json!(daily_limit), &json!(10)), "{days}");
    }
}

#[tokio::test]
async fn lines_come_in_pages_in_the_order_in_which_they_were_added() {
    let home = Home::new().await;
    let (mut query, mut seen) = ("?limit=2".to_owned(), vec![]);
    loop {
        let page = get(&home, &home.key, &format!("{ALL}{query}")).send().await.expect(200).json();
        seen.extend(page["data"].as_array().expect("lines").iter().map(|line| line["phone_number"].clone()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        query = format!("?limit=2&cursor={next}");
    }
    assert_eq!(seen, LINES);
}

#[tokio::test]
async fn what_is_no_line_and_who_may_not_see_them() {
    let home = Home::new().await;
    let line = format!("{ALL}/{}", id(&lines(&home, &home.key).await[0]));
    let missing = |answer: Answer| (answer.code(), answer.json()["error"]["message"].clone());
    for wrong in ["line_0198c0de000070008000000000000000", "line_1", "msg_0198c0de000070008000000000000000", "1"] {
        let answer = get(&home, &home.key, &format!("{ALL}/{wrong}")).send().await.expect(404);
        assert_eq!(missing(answer), ("NOT_FOUND".into(), json!("Phone line not found")), "{wrong}");
    }
    for path in [ALL, &line] {
        for method in ["POST", "PATCH", "DELETE"] {
            let answer = home.world.request(method, path).header("x-api-key", &home.key).send().await.expect(405);
            assert!(answer.header("allow").contains("GET"), "{method} {path}: {}", answer.header("allow"));
        }
        home.world.get(path).send().await.expect(401);
    }
    for (scope, status) in [("contacts:read", 403), ("messages:read", 403), ("lines:write", 403), ("lines:read", 200)] {
        let body = json!({"name": "app", "scopes": [scope]});
        let made = home.world.post("/v1/api-keys").token(&home.own.owner.token).json(body).send().await.expect(201).json();
        let key = made["data"]["key"].as_str().expect("a key").to_owned();
        for path in [ALL, &line] {
            get(&home, &key, path).send().await.expect(status);
        }
    }
    // It has not changed since it was seen.
    let seen = get(&home, &home.key, &line).send().await.expect(200).header("etag").to_owned();
    get(&home, &home.key, &line).header("if-none-match", &seen).send().await.expect(304);
    send(&home, &home.key, LINES[0], ADA).await;
    home.settle().await;
    get(&home, &home.key, &line).header("if-none-match", &seen).send().await.expect(200);
}
