//! One id is one mail; what is planned is played once, at its time, and survives the process.

use std::sync::Arc;

use axum::{
    extract::Request,
    http::{Method, header},
    response::Redirect,
};
use serde_json::Value;
use tokio::net::TcpListener;

use super::*;
use crate::aws::objects::Objects;
use crate::client::Api;

const QUEUE: &str = "reports";
const NOTICES: &str = "notices";
const BUCKET: &str = "mails";

fn mail(id: &str, to: &str) -> Mail {
    let (id, to) = (id.to_owned(), to.to_owned());
    Mail { id, to, subject: "Hello".to_owned(), text: "text".to_owned(), kind: "verify".to_owned(), ..Mail::default() }
}

fn tagged(id: &str, to: &str) -> Mail {
    let tags = [("t".to_owned(), "acme".to_owned()), ("sig".to_owned(), "x_-1".to_owned())];
    Mail { tags: tags.into(), ..mail(id, to) }
}

/// A mailbox with a queue for its reports, both in one journal.
fn reporting(journal: Journal) -> (Mailbox, Queues) {
    let queues = Queues::open(journal.clone()).unwrap();
    queues.create(QUEUE, &BTreeMap::new()).unwrap();
    let mailbox = Mailbox::open(journal);
    let kinds = ["delivery", "bounce", "complaint"].map(str::to_owned).into();
    let reports = MailReports { configuration_set: "set".to_owned(), kinds, queue: QUEUE.to_owned() };
    mailbox.publish_to(queues.clone(), Some(reports));
    (mailbox, queues)
}

/// The same with a place for mails to the deployment.
fn receiving(journal: Journal) -> (Mailbox, Queues, Objects) {
    let (mailbox, queues) = reporting(journal.clone());
    queues.create(NOTICES, &BTreeMap::new()).unwrap();
    let (topic, recipients) = ("arn:aws:sns:us-east-1:1:topic".to_owned(), vec!["in.example.org".to_owned()]);
    let reception = MailReception { recipients, bucket: BUCKET.to_owned(), prefix: "in/".to_owned(), topic, queue: NOTICES.to_owned() };
    mailbox.receive_by(queues.clone(), Some(reception));
    (mailbox, queues, Objects::open(journal))
}

/// Notices and the mails they are about, oldest first.
fn received(queues: &Queues, objects: &Objects) -> Vec<(Value, String)> {
    let notices = queues.peek(NOTICES).unwrap().into_iter().map(|message| serde_json::from_str::<Value>(&message.body).unwrap());
    let read = notices.map(|notice| {
        let action = &notice["receipt"]["action"];
        assert_eq!((&action["type"], &action["bucketName"]), (&json!("S3"), &json!(BUCKET)));
        let raw = objects.get(BUCKET, action["objectKey"].as_str().unwrap()).unwrap().unwrap();
        (notice, String::from_utf8(raw).unwrap())
    });
    read.collect()
}

fn campaign(id: &str, to: &str, reply_to: &str) -> Mail {
    let (from, reply_to) = (Some("Ada King <ada@mail.example.org>".to_owned()), Some(reply_to.to_owned()));
    Mail { from, reply_to, text: "Hello Grace,\n\nhow are you?\n".to_owned(), ..tagged(id, to) }
}

fn events(queues: &Queues) -> Vec<Value> {
    queues.peek(QUEUE).unwrap().iter().map(|message| serde_json::from_str(&message.body).unwrap()).collect()
}

fn noon() -> Timestamp {
    "2030-01-01T12:00:00Z".parse().unwrap()
}

#[test]
fn one_id_is_one_mail() {
    let mailbox = Mailbox::open(Journal::memory().unwrap());
    assert!(mailbox.keep(mail("a", "one@example.com")).unwrap());
    assert!(!mailbox.keep(mail("a", "other@example.com")).unwrap());
    assert!(mailbox.keep(mail("b", "One@example.com")).unwrap());
    let mails = mailbox.mails().unwrap();
    assert_eq!(mails.len(), 2);
    assert_eq!((mails[0].mail.to.as_str(), mails[0].deliveries), ("one@example.com", 2));
    assert_eq!(mailbox.mails_to("one@EXAMPLE.com").unwrap().len(), 2);
    assert_ne!(mails[0].message_id, mails[1].message_id);
    assert_ne!(message_id("a/b"), message_id("a-b"));
}

#[test]
fn mails_survive_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stack.sqlite3");
    Mailbox::open(Journal::open(&path).unwrap()).keep(mail("a", "one@example.com")).unwrap();
    let again = Mailbox::open(Journal::open(&path).unwrap());
    assert_eq!(again.mail("a").unwrap().unwrap().deliveries, 1);
    assert!(!again.keep(mail("a", "one@example.com")).unwrap());
}

#[test]
fn a_mail_with_tags_is_reported_as_ses_does_and_one_without_is_not() {
    let (mailbox, queues) = reporting(Journal::memory().unwrap());
    let from = Some("Ada King <ada@mail.example.org>".to_owned());
    mailbox.keep(Mail { from, headers: [("X-Test".to_owned(), "1".to_owned())].into(), ..tagged("a", "one@example.com") }).unwrap();
    mailbox.keep(mail("b", "two+bounce@example.com")).unwrap();
    assert_eq!(events(&queues), Vec::<Value>::new(), "nothing before a test says so");
    assert_eq!(mailbox.play(noon()).unwrap(), 1);
    assert_eq!(mailbox.play(noon()).unwrap(), 0, "played once");
    let [event] = &events(&queues)[..] else { panic!("one event") };
    assert_eq!((&event["eventType"], &event["delivery"]["timestamp"]), (&json!("Delivery"), &json!("2030-01-01T12:00:00.000Z")));
    assert_eq!(event["delivery"]["recipients"], json!(["one@example.com"]));
    let about = &event["mail"];
    assert_eq!((&about["messageId"], &about["destination"]), (&json!("local-a"), &json!(["one@example.com"])));
    assert_eq!((&about["source"], &about["commonHeaders"]["subject"]), (&json!("Ada King <ada@mail.example.org>"), &json!("Hello")));
    assert_eq!((&about["tags"]["t"], &about["tags"]["sig"]), (&json!(["acme"]), &json!(["x_-1"])));
    assert_eq!(
        (&about["tags"]["ses:configuration-set"], &about["tags"]["ses:from-domain"]),
        (&json!(["set"]), &json!(["mail.example.org"]))
    );
    assert!(about["headers"].as_array().unwrap().contains(&json!({ "name": "X-Test", "value": "1" })));
    let kept = mailbox.mail("a").unwrap().unwrap();
    assert_eq!(
        kept.events.iter().map(|played| (played.what.as_str(), played.at.as_str())).collect::<Vec<_>>(),
        [("delivery", "2030-01-01T12:00:00Z")]
    );
}

#[test]
fn bounces_and_complaints_say_what_they_are() {
    let (mailbox, queues) = reporting(Journal::memory().unwrap());
    for (id, to) in [("a", "a+bounce@example.com"), ("b", "b+soft@example.com"), ("c", "c+complain@example.com")] {
        mailbox.keep(tagged(id, to)).unwrap();
    }
    assert_eq!(mailbox.play(noon()).unwrap(), 4);
    let events = events(&queues);
    let kinds: Vec<_> = events.iter().map(|event| (event["eventType"].as_str().unwrap(), event["bounce"]["bounceType"].as_str())).collect();
    assert_eq!(kinds, [("Bounce", Some("Permanent")), ("Bounce", Some("Transient")), ("Delivery", None), ("Complaint", None)]);
    assert_eq!(events[0]["bounce"]["bouncedRecipients"][0]["emailAddress"], "a+bounce@example.com");
    assert_eq!(events[3]["complaint"]["complainedRecipients"], json!([{ "emailAddress": "c+complain@example.com" }]));
    // By hand, whatever the address says.
    assert!(mailbox.report("c", Report::Bounce, noon()).unwrap());
    assert!(!mailbox.report("none", Report::Bounce, noon()).unwrap());
    mailbox.keep(mail("d", "d@example.com")).unwrap();
    assert!(!mailbox.report("d", Report::Bounce, noon()).unwrap(), "without tags SES reports nothing");
}

#[test]
fn only_what_the_template_asks_for_is_published() {
    let (mailbox, queues) = reporting(Journal::memory().unwrap());
    let reports = MailReports { configuration_set: "set".to_owned(), kinds: ["bounce".to_owned()].into(), queue: QUEUE.to_owned() };
    mailbox.publish_to(queues.clone(), Some(reports));
    mailbox.keep(tagged("a", "a@example.com")).unwrap();
    mailbox.keep(tagged("b", "b+bounce@example.com")).unwrap();
    assert_eq!(mailbox.play(noon()).unwrap(), 1);
    assert_eq!(events(&queues)[0]["eventType"], "Bounce");
}

#[test]
fn what_is_planned_survives_the_process_and_is_played_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stack.sqlite3");
    let (mailbox, _) = reporting(Journal::open(&path).unwrap());
    mailbox.keep(tagged("a", "a+complain@example.com")).unwrap();
    mailbox.keep(tagged("a", "a+complain@example.com")).unwrap();
    drop(mailbox);
    let (mailbox, queues) = reporting(Journal::open(&path).unwrap());
    assert_eq!(mailbox.play(noon()).unwrap(), 2);
    assert_eq!(events(&queues).len(), 2);
    drop((mailbox, queues));
    let (mailbox, queues) = reporting(Journal::open(&path).unwrap());
    assert_eq!((mailbox.play(noon()).unwrap(), events(&queues).len()), (0, 2));
    assert_eq!(mailbox.mail("a").unwrap().unwrap().events.len(), 2);
}

#[tokio::test]
async fn a_lost_answer_is_a_mail_that_was_sent() {
    use axum::body::{Body, to_bytes};
    use tower::ServiceExt;

    let (mailbox, queues) = reporting(Journal::memory().unwrap());
    let post = async |mail: Mail| {
        let request = Request::post("/mailbox").header(header::CONTENT_TYPE, "application/json");
        let request = request.body(Body::from(json!(mail).to_string())).unwrap();
        let response = mailbox.router().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice::<Value>(&to_bytes(response.into_body(), 9_999).await.unwrap()).unwrap())
    };
    assert_eq!(post(tagged("a", "a+lost@example.com")).await.0, 500);
    assert_eq!(post(mail("b", "b+lost@example.com")).await, (200, json!({ "new": true, "message_id": "local-b" })));
    assert_eq!(post(mail("b", "b+lost@example.com")).await, (200, json!({ "new": false, "message_id": "local-b" })));
    assert_eq!(mailbox.play(noon()).unwrap(), 1);
    assert_eq!(events(&queues)[0]["mail"]["messageId"], "local-a");
}

/// Method, path, user agent and body of each request.
type Asked = Arc<Lock<Vec<(Method, String, String, String)>>>;

/// An API that sends everybody elsewhere.
async fn api() -> (Api, Asked) {
    let asked = Asked::default();
    let noting = asked.clone();
    let router = Router::new().fallback(async move |request: Request| {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 9_999).await.unwrap();
        let agent = parts.headers[header::USER_AGENT].to_str().unwrap().to_owned();
        noting.lock().push((parts.method, parts.uri.to_string(), agent, String::from_utf8_lossy(&body).into_owned()));
        Redirect::temporary("http://127.0.0.1:1/elsewhere")
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = Api::new(&format!("http://{}", listener.local_addr().unwrap()));
    tokio::task::spawn_local(async move { axum::serve(listener, router).await });
    (api, asked)
}

#[tokio::test]
async fn recipients_open_click_and_unsubscribe_by_requests_to_the_api_alone() {
    let local = tokio::task::LocalSet::new();
    local.run_until(acts()).await;
}

async fn acts() {
    let (api, asked) = api().await;
    let (mailbox, _) = reporting(Journal::memory().unwrap());
    let base = api.base();
    let html = format!(r#"<a href="http://127.0.0.1:1/e/c/far">x</a><a href="{base}/e/c/t?x=1">y</a><img src="{base}/e/o/p">"#);
    let headers = [("List-Unsubscribe".to_owned(), format!("<{base}/e/u/t>, <mailto:u@example.com>"))].into();
    mailbox.keep(Mail { html: Some(html), headers, ..tagged("a", "a@example.com") }).unwrap();
    mailbox.keep(tagged("b", "b@example.com")).unwrap();
    assert_eq!(mailbox.act(&api, "a", &Act::Open).await, Ok(Some(307)));
    assert_eq!(mailbox.act(&api, "a", &Act::Click(Some(format!("{base}/e/c/t?x=1")))).await, Ok(Some(307)));
    assert_eq!(mailbox.act(&api, "a", &Act::Unsubscribe).await, Ok(Some(307)));
    // Another host's, one that is not in the mail, and a mail without links.
    for act in [Act::Click(None), Act::Click(Some(format!("{base}/e/c/other")))] {
        assert_eq!(mailbox.act(&api, "a", &act).await, Ok(None));
    }
    for act in [Act::Open, Act::Click(None), Act::Unsubscribe] {
        assert_eq!(mailbox.act(&api, "b", &act).await, Ok(None));
    }
    let asked: Vec<_> = asked.lock().iter().map(|(method, path, _, body)| format!("{method} {path} {body}")).collect();
    assert_eq!(asked, ["GET /e/o/p ", "GET /e/c/t?x=1 ", "POST /e/u/t List-Unsubscribe=One-Click"]);
    let kept = mailbox.mail("a").unwrap().unwrap();
    assert_eq!(kept.events.iter().map(|played| played.what.as_str()).collect::<Vec<_>>(), ["open", "click", "unsubscribe"]);
}

#[tokio::test]
async fn in_real_time_everything_comes_after_another() {
    let local = tokio::task::LocalSet::new();
    local.run_until(in_time()).await;
}

async fn in_time() {
    let (api, asked) = api().await;
    let (mailbox, queues) = reporting(Journal::memory().unwrap());
    let html = Some(format!(r#"<img src="{}/e/o/p">"#, api.base()));
    tokio::task::spawn_local(mailbox.clone().run(api, |problem| panic!("{problem}")));
    mailbox.keep(Mail { html, ..tagged("a", "a+open@example.com") }).unwrap();
    let mut news = mailbox.news();
    while mailbox.mail("a").unwrap().unwrap().events.len() < 2 {
        tokio::time::timeout(std::time::Duration::from_secs(20), news.changed()).await.expect("something happens").unwrap();
    }
    let played = mailbox.mail("a").unwrap().unwrap().events;
    assert_eq!((played[0].what.as_str(), played[1].what.as_str()), ("delivery", "open"));
    let apart = played[1].at.parse::<Timestamp>().unwrap().duration_since(played[0].at.parse().unwrap());
    assert!(apart.as_secs() >= 2, "who opens within a second of the delivery counts as a robot");
    assert_eq!(events(&queues).len(), 1);
    assert!(asked.lock()[0].2.starts_with("Mozilla/5.0"));
}

#[test]
fn an_answer_is_a_mail_in_the_bucket_and_a_notice_in_the_queue() {
    let (mailbox, queues, objects) = receiving(Journal::memory().unwrap());
    mailbox.keep(campaign("a", "Grace Hopper <grace+vip@example.com>", "Ada <reply+abc@IN.example.org>")).unwrap();
    assert!(mailbox.reply("a", &Answer::written("Yes – gladly.\nGrace"), noon()).unwrap());
    assert!(mailbox.reply("a", &Answer::out_of_office(), noon()).unwrap());
    let received = received(&queues, &objects);
    let [(notice, mail), (automatic_notice, automatic)] = &received[..] else { panic!("two mails: {received:?}") };
    assert_eq!((&notice["notificationType"], &notice["mail"]["source"]), (&json!("Received"), &json!("grace+vip@example.com")));
    let receipt = &notice["receipt"];
    assert_eq!((&receipt["timestamp"], &receipt["recipients"]), (&json!("2030-01-01T12:00:00.000Z"), &json!(["reply+abc@IN.example.org"])));
    assert_eq!((&receipt["spamVerdict"], &receipt["virusVerdict"]), (&json!({ "status": "PASS" }), &json!({ "status": "PASS" })));
    assert!(receipt["action"]["objectKey"].as_str().unwrap().starts_with("in/inbound"), "{receipt}");
    for line in [
        "Return-Path: <grace+vip@example.com>",
        "X-SES-Spam-Verdict: PASS",
        "From: \"Grace Hopper\" <grace+vip@example.com>",
        "To: <reply+abc@IN.example.org>",
        "Subject: Re: Hello",
        "Message-ID: <local-a.1@example.com>",
        "In-Reply-To: <local-a@email.amazonses.com>",
        "References: <local-a@email.amazonses.com>",
        "Date: Tue, 1 Jan 2030 12:00:00 +0000",
    ] {
        assert!(mail.lines().any(|found| found.trim_end() == line), "{line}: {mail}");
    }
    assert!(mail.contains("Grace") && mail.contains("> Hello Grace,") && mail.contains("wrote:"), "{mail}");
    assert!(!mail.contains("Auto-Submitted"), "{mail}");
    for line in ["Return-Path: <>", "Message-ID: <local-a.2@example.com>", "Auto-Submitted: auto-replied", "X-Autoreply: yes"] {
        assert!(automatic.lines().any(|found| found.trim_end() == line), "{line}: {automatic}");
    }
    assert_eq!(automatic_notice["mail"]["source"], "");
    assert_ne!(notice["mail"]["messageId"], automatic_notice["mail"]["messageId"]);
    let played: Vec<String> = mailbox.mail("a").unwrap().unwrap().events.into_iter().map(|played| played.what).collect();
    assert_eq!(played, ["reply", "ooo"]);
}

#[test]
fn nobody_answers_a_mail_whose_answers_go_elsewhere() {
    let (mailbox, queues, objects) = receiving(Journal::memory().unwrap());
    mailbox.keep(campaign("a", "a+reply@example.com", "r@example.org")).unwrap();
    mailbox.keep(Mail { reply_to: None, ..campaign("b", "b+ooo@example.com", "") }).unwrap();
    for id in ["a", "b", "none"] {
        assert!(!mailbox.reply(id, &Answer::usual(), noon()).unwrap());
    }
    assert_eq!(mailbox.play(noon()).unwrap(), 2, "the deliveries");
    assert_eq!(received(&queues, &objects), []);
    // Without a rule nothing is received at all.
    mailbox.receive_by(queues.clone(), None);
    mailbox.keep(campaign("c", "c@example.com", "reply+abc@in.example.org")).unwrap();
    assert!(!mailbox.reply("c", &Answer::usual(), noon()).unwrap());
}

#[test]
fn addresses_ask_for_answers_which_come_once_and_survive_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stack.sqlite3");
    let (mailbox, ..) = receiving(Journal::open(&path).unwrap());
    mailbox.keep(campaign("a", "a+reply@example.com", "reply+a@in.example.org")).unwrap();
    mailbox.keep(campaign("b", "b+ooo@example.com", "reply+b@in.example.org")).unwrap();
    drop(mailbox);
    let (mailbox, queues, objects) = receiving(Journal::open(&path).unwrap());
    assert_eq!(mailbox.play(noon()).unwrap(), 4);
    assert_eq!(mailbox.play(noon()).unwrap(), 0);
    let to: Vec<Value> = received(&queues, &objects).into_iter().map(|(notice, _)| notice["receipt"]["recipients"][0].clone()).collect();
    assert_eq!(to, [json!("reply+b@in.example.org"), json!("reply+a@in.example.org")]);
    drop((mailbox, queues, objects));
    let (mailbox, queues, objects) = receiving(Journal::open(&path).unwrap());
    assert_eq!((mailbox.play(noon()).unwrap(), received(&queues, &objects).len()), (0, 2));
}

#[test]
fn any_mail_is_taken_in_as_ses_would() {
    let (mailbox, queues, objects) = receiving(Journal::memory().unwrap());
    let raw = b"From: x@example.net\r\nSubject: Hi\r\n\r\nHello\r\n";
    let verdicts = Verdicts { spam: "FAIL", dmarc: "GRAY", ..Verdicts::default() };
    let recipients = ["reply+a@in.example.org", "someone@example.net"];
    let envelope = Envelope { source: "x@example.net", recipients: &recipients, verdicts };
    let first = mailbox.receive(raw, &envelope, noon()).unwrap();
    let second = mailbox.receive(raw, &envelope, noon()).unwrap();
    assert_ne!(first, second);
    let (notice, mail) = received(&queues, &objects).remove(0);
    assert_eq!((&notice["mail"]["messageId"], &notice["mail"]["destination"]), (&json!(first), &json!(recipients)));
    assert_eq!((&notice["receipt"]["recipients"], &notice["receipt"]["spamVerdict"]["status"]), (&json!(recipients[..1]), &json!("FAIL")));
    assert_eq!(
        (&notice["receipt"]["dmarcVerdict"]["status"], &notice["receipt"]["spfVerdict"]["status"]),
        (&json!("GRAY"), &json!("PASS"))
    );
    assert!(mail.contains("X-SES-Spam-Verdict: FAIL") && mail.ends_with("From: x@example.net\r\nSubject: Hi\r\n\r\nHello\r\n"), "{mail}");
    let stranger = Envelope { recipients: &["a@example.net"], ..envelope };
    assert!(mailbox.receive(raw, &stranger, noon()).unwrap_err().to_string().contains("in.example.org"), "SES refuses it");
}
