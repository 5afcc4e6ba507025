//! One id is one message; what a phone tells is signed, in order, told until it is answered, and survives the process.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use jiff::SignedDuration;
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tower::ServiceExt;

use super::*;

const LINE: &str = "+15550100";
const ADA: &str = "+12025550100";
const GRACE: &str = "+12025550101";

fn phones() -> Phones {
    connected(Journal::memory().unwrap())
}

fn connected(journal: Journal) -> Phones {
    let phones = Phones::open(journal, "http://127.0.0.1:1/phones").unwrap();
    phones.connect("http://127.0.0.1:1", "gw_1");
    phones
}

fn message(id: &str, to: &str, channel: &str) -> Value {
    json!({ "id": id, "reference": format!("acme.{id}.mac"), "from": LINE, "to": to, "channel": channel, "text": "Hello" })
}

/// Signed by the reference.
fn signed(phones: &Phones, id: &str, body: &str) -> Request<Body> {
    let at = phones.now().as_second();
    let signature = Webhook::new(&phones.secret()).unwrap().sign(id, at, body.as_bytes()).unwrap();
    let request = Request::post("/phones").header("webhook-id", id).header("webhook-timestamp", at);
    request.header("webhook-signature", signature).body(body.to_owned().into()).unwrap()
}

async fn answer(phones: &Phones, request: Request<Body>) -> (u16, Value, Option<String>) {
    let response = phones.router().oneshot(request).await.unwrap();
    let after = response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&to_bytes(response.into_body(), 9_999).await.unwrap()).unwrap_or_default(), after)
}

async fn post(phones: &Phones, message: &Value) -> (u16, Value) {
    let (status, body, _) = answer(phones, signed(phones, message["id"].as_str().unwrap(), &message.to_string())).await;
    (status, body)
}

async fn send(phones: &Phones, id: &str, to: &str) {
    assert_eq!(post(phones, &message(id, to, "imessage")).await, (202, json!({ "id": format!("phone-{id}") })));
}

/// What an API saw, and what it answers.
#[derive(Default)]
struct Api {
    asked: Lock<Vec<(String, Value)>>,
    /// The answers to come. 202 when there is none.
    answers: Lock<Vec<u16>>,
}

impl Api {
    fn answering(answers: &[u16]) -> Arc<Api> {
        Arc::new(Api { answers: Lock::new(answers.iter().rev().copied().collect()), ..Api::default() })
    }

    /// Checks the signature with the reference, as of now.
    fn take(&self, secret: &str, path: &str, headers: &HeaderMap, body: &[u8]) -> u16 {
        Webhook::new(secret).unwrap().verify(body, headers).expect("a signature");
        assert_eq!(path, "/v1/gateways/gw_1/events");
        let status = self.answers.lock().pop().unwrap_or(202);
        let id = headers["webhook-id"].to_str().unwrap().to_owned();
        self.asked.lock().push((id, serde_json::from_slice(body).unwrap()));
        status
    }

    async fn play(&self, phones: &Phones) -> usize {
        let played = phones.play(async |request| {
            let (parts, body) = request.into_parts();
            Ok(self.take(&phones.secret(), parts.uri.path(), &parts.headers, &body))
        });
        played.await.unwrap()
    }

    /// The ids of all events, in order, as they were posted.
    fn told(&self) -> Vec<String> {
        let events = |body: &Value| body.as_array().cloned().unwrap_or_else(|| vec![body.clone()]);
        let asked = self.asked.lock();
        asked.iter().flat_map(|(_, body)| events(body)).map(|event| event["id"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_message_is_taken_once_and_only_with_a_signature() {
    let phones = phones();
    send(&phones, "a", ADA).await;
    let again = json!({ "text": "Other", "to": GRACE });
    let mut other = message("a", ADA, "sms");
    other.as_object_mut().unwrap().extend(again.as_object().unwrap().clone());
    assert_eq!(post(&phones, &other).await, (409, json!({ "id": "phone-a" })));
    assert!(phones.conversation(GRACE).is_none());

    let body = message("b", ADA, "imessage").to_string();
    for (name, value) in [("webhook-signature", "v1,AAAA"), ("webhook-id", "c"), ("webhook-timestamp", "1")] {
        let mut request = signed(&phones, "b", &body);
        request.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(answer(&phones, request).await.0, 401, "{name}");
    }
    let late = signed(&phones, "b", &body);
    let now = phones.now();
    phones.follow(move || now + SignedDuration::from_secs(302));
    assert_eq!(answer(&phones, late).await.0, 401, "more than 5 minutes off");
    phones.follow(Timestamp::now);
    assert_eq!(answer(&phones, signed(&phones, "b", &body)).await.0, 202, "the twin");

    let kept = phones.conversation(ADA).unwrap();
    let [first, second] = &kept.messages[..] else { panic!("two messages: {kept:?}") };
    assert_eq!((first.id.as_str(), first.text.as_str(), first.line.as_str(), first.channel), ("a", "Hello", LINE, Channel::Imessage));
    assert_eq!((second.id.as_str(), second.direction, second.reference.as_deref()), ("b", Direction::Outbound, Some("acme.b.mac")));
}

#[tokio::test]
async fn what_is_no_message_never_becomes_one() {
    let phones = phones();
    let with = |name: &str, value: Value| {
        let mut message = message("a", ADA, "imessage");
        message[name] = value;
        message
    };
    for (name, value) in [
        ("to", json!("2025550100")),
        ("from", json!("+1 555 0100")),
        ("text", json!("")),
        ("text", json!("x".repeat(1_601))),
        ("channel", json!("pigeon")),
        ("reference", json!("")),
        ("reference", json!("x".repeat(801))),
        ("colour", json!("red")),
    ] {
        let (status, body) = post(&phones, &with(name, value)).await;
        assert_eq!((status, &body["reason"]), (422, &json!("invalid_message")), "{name}");
    }
    let other_id = signed(&phones, "b", &message("a", ADA, "sms").to_string());
    assert_eq!(answer(&phones, other_id).await.0, 422, "the id that is signed is the message's");
    assert_eq!(answer(&phones, signed(&phones, "a", "{")).await.0, 422);
    assert_eq!(post(&phones, &with("text", json!("👋".repeat(1_600)))).await.0, 202);
    assert_eq!(phones.count(), 1);
}

#[tokio::test]
async fn switches_and_numbers_say_what_a_phone_takes() {
    let phones = phones();
    phones.switch(ADA, Switch::Imessage(false)).unwrap();
    phones.switch(ADA, Switch::Rcs(false)).unwrap();
    for (id, to, channel, reason) in [
        ("a", ADA, "imessage", "no_imessage"),
        ("b", ADA, "rcs", "no_rcs"),
        ("c", "+12025550196", "imessage", "no_imessage"),
        ("d", "+12025550197", "rcs", "no_rcs"),
        ("e", "+12025550198", "sms", "unreachable_number"),
    ] {
        assert_eq!(post(&phones, &message(id, to, channel)).await, (422, json!({ "reason": reason })), "{to} {channel}");
    }
    // The same id, on another channel or once the phone has it.
    assert_eq!(post(&phones, &message("a", ADA, "sms")).await.0, 202);
    phones.switch(ADA, Switch::Rcs(true)).unwrap();
    assert_eq!(post(&phones, &message("b", ADA, "rcs")).await.0, 202);
}

#[tokio::test]
async fn some_have_no_time_and_some_answers_get_lost() {
    let phones = phones();
    let ask = async |id: &str, to: &str| {
        let body = message(id, to, "imessage").to_string();
        let (status, _, after) = answer(&phones, signed(&phones, id, &body)).await;
        (status, after)
    };
    let after = |seconds: &str| Some(seconds.to_owned());
    for expected in [(503, after("1")), (503, after("1")), (202, None), (409, None)] {
        assert_eq!(ask("busy", "+12025550192").await, expected);
    }
    for _ in 0..4 {
        assert_eq!(ask("closed", "+12025550189").await, (429, after("30")));
    }
    assert_eq!((ask("lost", "+12025550193").await.0, ask("lost", "+12025550193").await.0), (500, 409));
    phones.refuse_next(1);
    assert_eq!((ask("a", ADA).await.0, ask("a", ADA).await.0), (503, 202));
    phones.lose_next_answers(1);
    assert_eq!((ask("b", ADA).await.0, ask("b", ADA).await.0, ask("c", ADA).await.0), (500, 409, 202));
    let api = Api::default();
    assert_eq!(api.play(&phones).await, 5);
    assert_eq!(phones.conversation(ADA).unwrap().messages.len(), 3);
    assert!(phones.conversation("+12025550189").is_none());
}

#[tokio::test]
async fn receipts_and_answers_are_told_as_the_api_reads_them() {
    let phones = phones();
    let sent_at = phones.now();
    send(&phones, "a", ADA).await;
    phones.look(ADA).unwrap();
    assert_eq!(phones.look(ADA).unwrap().waiting(), 2, "it is read once");
    let written = phones.say(ADA, None, "Yes 👍\nplease").unwrap();
    let api = Api::default();
    assert_eq!((api.play(&phones).await, api.play(&phones).await), (3, 0));
    let asked = api.asked.lock().clone();
    let [(delivered_id, delivered), (_, read), (_, inbound)] = &asked[..] else { panic!("three posts: {asked:?}") };
    let at = |event: &Value| event["at"].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(at(delivered) >= sent_at && at(inbound) <= phones.now());
    assert_eq!(
        delivered,
        &json!({ "type": "receipt", "id": "a-delivered", "reference": "acme.a.mac", "status": "delivered", "reason": null,
            "channel": "imessage", "at": delivered["at"] })
    );
    assert_eq!((delivered_id.as_str(), &read["status"], &read["id"]), ("a-delivered", &json!("read"), &json!("a-read")));
    assert_eq!(
        inbound,
        &json!({ "type": "inbound", "id": written.id, "line": LINE, "peer": ADA, "text": "Yes 👍\nplease", "at": inbound["at"],
            "channel": "imessage" })
    );
    let kept = phones.conversation(ADA).unwrap();
    assert_eq!(kept.messages[0].receipts.iter().map(|receipt| receipt.answer).collect::<Vec<_>>(), [Some(202), Some(202)]);
    assert_eq!((kept.messages[1].direction, kept.messages[1].answer), (Direction::Inbound, Some(202)));
}

#[tokio::test]
async fn scripts_fail_repeat_reorder_and_stay_silent() {
    let phones = phones();
    for (id, to) in [("s", "+12025550190"), ("r", "+12025550194"), ("f", "+12025550195")] {
        send(&phones, id, to).await;
        phones.look(to).unwrap();
    }
    let api = Api::default();
    assert_eq!(api.play(&phones).await, 5);
    let asked = api.asked.lock().clone();
    let told = api.told();
    let of = |id: &str| told.iter().filter(|told| told.starts_with(id)).cloned().collect::<Vec<_>>();
    assert_eq!(of("r-"), ["r-read", "r-delivered", "r-read", "r-delivered"]);
    assert_eq!((of("f-"), of("s-")), (vec!["f-failed".to_owned()], vec![]));
    let failed = asked[0].1.as_array().unwrap().iter().find(|event| event["id"] == "f-failed").unwrap();
    assert_eq!((&failed["status"], &failed["reason"]), (&json!("failed"), &json!("carrier_error")));
    let repeated = phones.conversation("+12025550194").unwrap();
    assert!(repeated.messages[0].receipts.iter().all(|receipt| receipt.answer == Some(202)));
}

#[tokio::test]
async fn what_an_owner_cannot_write_is_refused() {
    let phones = phones();
    let why = |number: &str, line: Option<&str>, text: &str| phones.say(number, line, text).unwrap_err().to_string();
    assert!(why(ADA, None, "Hi").contains("knows no line"));
    assert!(why("Ada", Some(LINE), "Hi").contains("\"Ada\""));
    assert!(why(ADA, Some("line"), "Hi").contains("\"line\""));
    assert!(why(ADA, Some(LINE), " ").contains("1 to 1600"));
    assert!(why(ADA, Some(LINE), &"x".repeat(1_601)).contains("1 to 1600"));
    assert_eq!(phones.count(), 0);
    phones.switch(ADA, Switch::On(false)).unwrap();
    assert!(why(ADA, Some(LINE), "Hi").contains("off"));
    phones.switch(ADA, Switch::On(true)).unwrap();
    phones.say(ADA, Some(LINE), "Hi").unwrap();
}

#[tokio::test]
async fn an_event_is_told_again_with_its_id_until_it_is_answered_and_before_the_next() {
    let phones = phones();
    send(&phones, "a", ADA).await;
    send(&phones, "b", ADA).await;
    let api = Api::answering(&[503, 429, 500]);
    for told in [1, 2, 3] {
        assert_eq!(api.play(&phones).await, 0);
        assert_eq!(api.told(), vec!["a-delivered"; told]);
    }
    let unreachable = phones.play(async |_| Err("no connection".to_owned())).await;
    assert_eq!(unreachable.unwrap(), 0);
    assert_eq!(api.play(&phones).await, 2);
    assert_eq!(api.told()[3..], ["a-delivered", "b-delivered"]);
    assert_eq!(api.asked.lock().iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>()[..4], ["a-delivered"; 4]);
}

#[tokio::test]
async fn phones_are_told_of_together_and_one_that_is_refused_holds_up_no_other() {
    let phones = phones();
    for number in 0..150 {
        phones.say(&format!("+1202555{number:04}"), Some(LINE), "Hi").unwrap();
    }
    let api = Api::default();
    assert_eq!(api.play(&phones).await, 150);
    let posts: Vec<usize> = api.asked.lock().iter().map(|(_, body)| body.as_array().unwrap().len()).collect();
    assert_eq!(posts, [100, 50]);

    for number in [ADA, GRACE] {
        phones.say(number, Some(LINE), "Hi").unwrap();
    }
    // Together, and then each alone.
    let api = Api::answering(&[400, 404, 202]);
    assert_eq!(api.play(&phones).await, 2);
    assert_eq!(api.asked.lock().len(), 3);
    let answers = [ADA, GRACE].map(|number| phones.conversation(number).unwrap().messages.pop().unwrap().answer);
    assert_eq!(answers, [Some(404), Some(202)]);
    assert_eq!(api.play(&phones).await, 0, "what is refused is not told again");
}

#[tokio::test]
async fn everything_survives_the_process_and_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stack.sqlite3");
    let phones = connected(Journal::open(&path).unwrap());
    send(&phones, "a", ADA).await;
    phones.switch(GRACE, Switch::On(false)).unwrap();
    let (secret, before) = (phones.secret(), phones.phones());
    drop(phones);
    let phones = connected(Journal::open(&path).unwrap());
    assert_eq!((phones.secret(), phones.phones()), (secret, before));
    assert_eq!(post(&phones, &message("a", ADA, "imessage")).await.0, 409);
    let api = Api::default();
    assert_eq!(api.play(&phones).await, 1);
    drop(phones);
    let phones = connected(Journal::open(&path).unwrap());
    assert_eq!(api.play(&phones).await, 0);
    assert_eq!(phones.conversation(ADA).unwrap().messages[0].receipts[0].answer, Some(202));
}

#[tokio::test]
async fn another_secret_takes_the_place_of_the_first() {
    let phones = phones();
    let before = signed(&phones, "a", &message("a", ADA, "sms").to_string());
    let secret = Secret::generate().text();
    phones.use_secret(&secret).unwrap();
    assert_eq!(answer(&phones, before).await.0, 401);
    assert_eq!(post(&phones, &message("a", ADA, "sms")).await.0, 202);
    assert_eq!(Api::default().play(&phones).await, 1);
    assert!(phones.use_secret("whsec_short").is_err());
    assert_eq!(phones.secret(), secret);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_posts_of_an_id_at_once_one_is_the_first() {
    let phones = phones();
    for round in 0..20 {
        let body = message(&format!("m{round}"), ADA, "imessage");
        let posts = (0..8).map(|_| post(&phones, &body));
        let mut answers: Vec<u16> = futures_util::future::join_all(posts).await.into_iter().map(|(status, _)| status).collect();
        answers.sort_unstable();
        assert_eq!(answers, [202, 409, 409, 409, 409, 409, 409, 409]);
    }
    assert_eq!(phones.conversation(ADA).unwrap().messages.len(), 20);
}

#[test]
fn with_too_many_phones_the_one_that_was_silent_for_longest_leaves() {
    let phones = phones();
    {
        let mut kept = phones.shared.state.lock();
        for number in 0..MOST_PHONES {
            let number = format!("+1303{number:07}");
            kept.phones.insert(number.clone(), Phone::new(&number));
        }
    }
    phones.say(ADA, Some(LINE), "Hi").unwrap();
    phones.say(GRACE, Some(LINE), "Hi").unwrap();
    assert_eq!(phones.count(), MOST_PHONES);
    assert!(phones.conversation(ADA).is_some() && phones.conversation("+13030000000").is_none());
    let silent = |phone: Phone| phone.messages.is_empty() && phone.waiting() == 0;
    assert!(phones.conversation("+13030000002").is_some_and(silent));
}

/// The same API, behind a port.
async fn listening(api: Arc<Api>, secret: String) -> String {
    let router = Router::new().fallback(async move |request: Request| {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, 999_999).await.unwrap();
        StatusCode::from_u16(api.take(&secret, parts.uri.path(), &parts.headers, &body)).unwrap()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

#[tokio::test]
async fn in_real_time_everything_comes_after_another() {
    let phones = Phones::open(Journal::memory().unwrap(), "http://127.0.0.1:1/phones").unwrap();
    let troubles: Arc<Lock<Vec<String>>> = Arc::default();
    let noted = troubles.clone();
    tokio::spawn(phones.clone().run(move |problem| noted.lock().push(problem.to_owned())));
    send(&phones, "a", ADA).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(phones.conversation(ADA).unwrap().waiting(), 1, "nobody is there to be told");
    let api = Api::answering(&[503, 202, 404]);
    let mut news = phones.news();
    phones.connect(&listening(api.clone(), phones.secret()).await, "gw_1");
    phones.look(ADA).unwrap();
    while phones.conversation(ADA).unwrap().waiting() > 0 {
        tokio::time::timeout(Duration::from_secs(20), news.changed()).await.expect("something happens").unwrap();
    }
    assert_eq!(api.told(), ["a-delivered", "a-delivered", "a-read"]);
    let told = phones.conversation(ADA).unwrap().messages.remove(0);
    assert_eq!(told.receipts.iter().map(|receipt| receipt.answer).collect::<Vec<_>>(), [Some(202), Some(404)]);
    assert!(told.receipts[0].at.duration_since(told.at) >= SignedDuration::from_millis(500));
    let troubles = troubles.lock();
    assert!(troubles.len() == 2 && troubles[0].contains("503") && troubles[1].contains("404"), "{troubles:?}");
}
