//! The inbox: what people write lands in the thread it belongs to, and nowhere else; whoever answers is left alone by campaigns; answers go once.

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::model::inbound::{About, InboundId, ReplyRef};
use stack::mailbox::{Answer as Written, Envelope, KeptMail, Verdicts};

use crate::sending::{Death, Home};
use crate::world::{Answer, id};

const THREADS: &str = "/api/v1/tenant/inbox/threads";
const LEADS: &str = "/api/v1/tenant/leads";
const LETTERS: &str = "tenantry-local-InboundDeadLetters";

fn two_mails() -> Value {
    json!([
        {"type": "email", "subject": "Spring", "body": "<p>Hello</p>"},
        {"type": "wait", "value": 1, "unit": "days"},
        {"type": "email", "subject": "Spring again", "body": "<p>Hello again</p>"},
    ])
}

/// Launched to those leads, with the first mails out.
async fn launched(home: &Home, settings: Value, emails: &[&str]) -> (String, Vec<String>) {
    let mut leads = vec![];
    for email in emails {
        leads.push(id(&home.post(LEADS, json!({"email": email, "first_name": "Grace"})).await.expect(201).json()["data"]).to_owned());
    }
    let mut all = json!({"daily_limit": null});
    all.as_object_mut().expect("an object").extend(settings.as_object().cloned().unwrap_or_default());
    let campaign = home.campaign(two_mails(), json!({"lead_ids": leads}), all).await;
    home.send(&campaign, "start").await.expect(200);
    home.settle().await;
    (campaign, leads)
}

impl Home {
    async fn came_in(&self) {
        self.world.advance(SignedDuration::from_secs(30));
        self.settle().await;
        let letters = self.world.aws.queues().depth(LETTERS).expect("the queue");
        assert_eq!(letters.visible + letters.hidden, 0, "a mail was given up");
    }

    /// The newest mail to an address.
    fn newest_to(&self, email: &str) -> KeptMail {
        self.world.aws.mailbox().mails_to(email).expect("the mailbox").pop().expect("a mail")
    }

    async fn answer(&self, to: &KeptMail, answer: Written) {
        assert!(self.world.aws.mailbox().reply(&to.mail.id, &answer, self.world.auth.clock().now()).expect("a reply"));
        self.came_in().await;
    }

    /// A mail as somebody makes it up.
    async fn mail(&self, from: &str, to: &str, headers: &[(&str, &str)], verdicts: Verdicts) {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let raw = format!("From: {from}\r\nTo: {to}\r\n{headers}\r\nSome words\r\n");
        let source = from.rsplit_once('<').map_or(from, |(_, address)| address.trim_end_matches('>'));
        let envelope = Envelope { source, recipients: &[to], verdicts };
        self.world.aws.mailbox().receive(raw.as_bytes(), &envelope, self.world.auth.clock().now()).expect("it is received");
        self.came_in().await;
    }

    async fn threads(&self, query: &str) -> Vec<Value> {
        let answer = self.world.get(format!("{THREADS}{query}")).token(&self.tenant.owner.token).send().await.expect(200).json();
        let threads = answer["data"].as_array().expect("a list").clone();
        assert_eq!(answer["pagination"]["total"], threads.len(), "{query}");
        threads
    }

    async fn only_thread(&self) -> Value {
        let mut threads = self.threads("").await;
        assert_eq!(threads.len(), 1, "{threads:?}");
        self.thread(&threads.remove(0)).await
    }

    async fn thread(&self, thread: &Value) -> Value {
        self.get(&format!("{THREADS}/{}", id(thread))).await
    }

    async fn change(&self, thread: &Value, changes: Value) -> Answer {
        self.world.patch(format!("{THREADS}/{}", id(thread))).token(&self.tenant.owner.token).json(changes).send().await
    }

    async fn outcomes(&self, campaign: &str) -> Vec<String> {
        let recipients = self.get(&format!("/api/v1/tenant/campaigns/{campaign}/recipients")).await;
        let outcome =
            |one: &Value| format!("{} {}", one["lead"]["email"].as_str().unwrap_or_default(), one["outcome"].as_str().unwrap_or_default());
        let mut outcomes: Vec<String> = recipients.as_array().expect("a list").iter().map(outcome).collect();
        outcomes.sort();
        outcomes
    }
}

fn words(thread: &Value) -> Vec<(String, String)> {
    let text = |message: &Value, name: &str| message[name].as_str().unwrap_or_default().to_owned();
    thread["messages"].as_array().expect("messages").iter().map(|message| (text(message, "from"), text(message, "body"))).collect()
}

#[tokio::test]
async fn an_answer_opens_a_thread_stops_the_sequence_and_is_answered() {
    let home = Home::new().await;
    let (campaign, leads) = launched(&home, json!({}), &["grace@example.com", "ada@example.com"]).await;
    let mail = home.newest_to("grace@example.com");
    assert!(mail.mail.headers["List-Unsubscribe"].contains(", <mailto:unsub+"));
    home.answer(&mail, Written::written("Yes, call me\n\nGrace")).await;

    let thread = home.only_thread().await;
    assert_eq!((&thread["subject"], &thread["unread"], &thread["status"]), (&json!("Re: Spring"), &json!(true), &json!("open")));
    assert_eq!(thread["lead"], json!({"id": leads[0], "email": "grace@example.com", "name": "Grace"}));
    assert_eq!((&thread["campaign_id"], thread["messages"][0]["from"].as_str()), (&json!(campaign), Some("prospect")));
    assert!(
        words(&thread)[0].1.starts_with("Yes, call me")
            && thread["snippet"].as_str().is_some_and(|snippet| snippet.starts_with("Yes, call me"))
    );

    let lead = home.get(&format!("{LEADS}/{}", leads[0])).await;
    assert_eq!((lead["status"].as_str(), lead["activity"][0]["type"].as_str()), (Some("replied"), Some("email_replied")));
    assert_eq!(home.outcomes(&campaign).await, ["ada@example.com active", "grace@example.com replied"]);
    assert_eq!(home.get(&format!("/api/v1/tenant/campaigns/{campaign}")).await["counts"]["replied"], 1);

    // Reading changes nothing. Answering marks it as read, and the answer goes once.
    assert_eq!(home.only_thread().await["unread"], true);
    let reply = json!({"body": "Thank you <b>\n\nAda", "last_seen": id(&thread["messages"][0])});
    let sent = home.post(&format!("{THREADS}/{}/reply", id(&thread)), reply.clone()).await.expect(201).json()["data"].clone();
    assert_eq!((&sent["from"], &sent["status"]), (&json!("me"), &json!("queued")));
    home.settle().await;
    let answered = home.only_thread().await;
    assert_eq!(
        (&answered["unread"], &answered["messages"][1]["status"], &answered["message_count"]),
        (&json!(false), &json!("sent"), &json!(2))
    );
    let answer = home.newest_to("grace@example.com");
    assert_eq!((answer.mail.subject.as_str(), answer.deliveries), ("Re: Spring", 1));
    assert_eq!(answer.mail.html.as_deref(), Some("<p>Thank you &lt;b&gt;</p><p>Ada</p>"));
    assert!(answer.mail.headers["References"].ends_with(&answer.mail.headers["In-Reply-To"]));
    assert!(answer.mail.reply_to.as_deref().is_some_and(|to| to.starts_with("reply+") && Some(to) != mail.mail.reply_to.as_deref()));
    // It was written before the answer went out.
    let seen = home.post(&format!("{THREADS}/{}/reply", id(&thread)), reply).await;
    assert_eq!((seen.status, seen.code().as_str()), (409, "THREAD_CHANGED"));

    // The next answer comes to the address of the thread, and a closed one opens again.
    home.change(&thread, json!({"status": "closed"})).await.expect(200);
    assert!(home.threads("").await.is_empty() && home.threads("?status=closed").await.len() == 1);
    home.answer(&answer, Written::written("See you")).await;
    assert!(home.threads("?status=closed").await.is_empty());
    assert_eq!(home.only_thread().await["message_count"], 3);

    // Nobody who answered gets the next mail.
    home.days(3).await;
    let mails = |email: &str| home.sent().iter().filter(|kept| kept.mail.to == email && kept.mail.kind == "campaign").count();
    assert_eq!((mails("grace@example.com"), mails("ada@example.com")), (1, 2));
}

#[tokio::test]
async fn an_answer_of_a_program_is_kept_and_puts_off_the_next_mail() {
    let home = Home::new().await;
    let (campaign, _) = launched(&home, json!({"ooo_delay_days": 3}), &["grace@example.com"]).await;
    let mail = home.newest_to("grace@example.com");
    home.answer(&mail, Written::out_of_office()).await;
    assert!(home.threads("").await.is_empty(), "it is in nobody's way");
    let kept = home.threads("?status=archived&category=ooo").await.remove(0);
    assert_eq!((&kept["unread"], &home.thread(&kept).await["messages"][0]["kind"]), (&json!(false), &json!("ooo")));
    assert_eq!(home.outcomes(&campaign).await, ["grace@example.com active"]);
    home.days(3).await;
    assert_eq!(home.sent().len(), 1, "the second mail waits for three days more");
    home.days(2).await;
    assert_eq!(home.sent().len(), 2);
    // A person's answer to it then opens the same thread.
    home.answer(&home.newest_to("grace@example.com"), Written::written("I am back")).await;
    assert_eq!(home.only_thread().await["message_count"], 2);
}

#[tokio::test]
async fn a_person_who_answers_one_campaign_is_left_alone_by_the_others_that_want_it() {
    let home = Home::new().await;
    let (first, leads) = launched(&home, json!({}), &["grace@example.com"]).await;
    let mail = home.newest_to("grace@example.com");
    let other = home.campaign(two_mails(), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    let stubborn = home.campaign(two_mails(), json!({"lead_ids": leads}), json!({"daily_limit": null, "pause_on_reply": false})).await;
    for campaign in [&other, &stubborn] {
        home.send(campaign, "start").await.expect(200);
    }
    home.settle().await;
    home.answer(&mail, Written::written("Stop it")).await;
    let expected = [(&first, "replied", 1), (&other, "replied", 0), (&stubborn, "active", 0)];
    for (campaign, outcome, replied) in expected {
        assert_eq!(home.outcomes(campaign).await, [format!("grace@example.com {outcome}")]);
        assert_eq!(home.get(&format!("/api/v1/tenant/campaigns/{campaign}")).await["counts"]["replied"], replied);
    }
}

#[tokio::test]
async fn a_mail_is_taken_in_once_however_often_it_comes() {
    let home = Home::new().await;
    launched(&home, json!({}), &["grace@example.com"]).await;
    let to = home.newest_to("grace@example.com").mail.reply_to.expect("an address");
    let named = [("Subject", "Re: Spring"), ("Message-ID", "<1@mail.example>")];
    let raw = b"From: grace@example.com\r\nSubject: Re: Spring\r\nMessage-ID: <0@mail.example>\r\n\r\nYes\r\n";
    let envelope = Envelope { source: "grace@example.com", recipients: &[&to], verdicts: Verdicts::default() };
    home.world.aws.mailbox().receive(raw, &envelope, home.world.auth.clock().now()).expect("it is received");
    let queue = "tenantry-local-InboundQueue";
    let notice = home.world.aws.queues().peek(queue).expect("the queue").remove(0).body;
    for _ in 0..2 {
        home.world.aws.queues().send(queue, &notice, None).expect("it is queued");
    }
    home.came_in().await;
    assert_eq!(home.only_thread().await["message_count"], 1);
    // The sender's server did not hear that it arrived, and sends it again: another notice, the same mail.
    for _ in 0..2 {
        home.mail("grace@example.com", &to, &named, Verdicts::default()).await;
    }
    assert_eq!(home.only_thread().await["message_count"], 2);
    // Somebody else's mail of the same name is another mail.
    home.mail("eve@elsewhere.example", &to, &named, Verdicts::default()).await;
    let thread = home.only_thread().await;
    assert_eq!(words(&thread).iter().map(|(from, _)| from.as_str()).collect::<Vec<_>>(), ["prospect", "prospect", "other"]);
}

#[tokio::test]
async fn without_its_address_a_mail_finds_its_thread_by_what_it_answers_and_who_wrote_it() {
    let home = Home::new().await;
    launched(&home, json!({}), &["grace@example.com"]).await;
    let mail = home.newest_to("grace@example.com");
    let reply_to = mail.mail.reply_to.clone().expect("an address");
    home.mail(
        "Grace <grace@example.com>",
        &reply_to,
        &[("Subject", "Re: Spring"), ("Message-ID", "<1@mail.example>")],
        Verdicts::default(),
    )
    .await;
    let thread = home.only_thread().await;
    home.post(&format!("{THREADS}/{}/reply", id(&thread)), json!({"body": "Good"})).await.expect(201);
    home.settle().await;
    let answer = home.newest_to("grace@example.com");
    let inbox = format!("inbox-{}@{}", inbound(&home), domain(&reply_to));
    let named = format!("<{}@email.amazonses.com>", answer.message_id);
    // By the name of our answer, of their own mail, and by the subject.
    for (number, headers) in
        [[("In-Reply-To", named.as_str())], [("References", "<0@x> <1@mail.example>")], [("Subject", "AW: spring ")]].iter().enumerate()
    {
        home.mail("GRACE@example.com", &inbox, headers, Verdicts::default()).await;
        assert_eq!(home.only_thread().await["message_count"], 3 + number, "{headers:?}");
    }
    // What another person names opens nothing, nor what only pretends to be from them.
    let forged = Verdicts { dmarc: "FAIL", ..Verdicts::default() };
    home.mail("eve@elsewhere.example", &inbox, &[("In-Reply-To", &named), ("Subject", "Re: Spring")], Verdicts::default()).await;
    home.mail("grace@example.com", &inbox, &[("In-Reply-To", &named), ("Subject", "Re: Spring")], forged).await;
    let threads = home.threads("").await;
    assert_eq!(threads.len(), 3);
    assert_eq!(home.thread(&thread).await["message_count"], 5);
    let leads: Vec<_> = threads.iter().map(|thread| thread["lead"]["id"].is_null()).collect();
    assert_eq!(leads, [true, true, false], "neither is the lead's");
}

#[tokio::test]
async fn what_is_spam_a_virus_or_for_nobody_disturbs_nobody() {
    let home = Home::new().await;
    let (campaign, _) = launched(&home, json!({}), &["grace@example.com"]).await;
    let to = home.newest_to("grace@example.com").mail.reply_to.expect("an address");
    let before = home.world.items().len();
    home.mail("grace@example.com", &to, &[("Subject", "x")], Verdicts { virus: "FAIL", ..Verdicts::default() }).await;
    let (local, host) = to.split_once('@').expect("an address");
    let mut wrong = local.to_owned().into_bytes();
    wrong[10] = if wrong[10] == b'a' { b'b' } else { b'a' };
    for address in
        [format!("{}@{host}", String::from_utf8(wrong).expect("ASCII")), format!("hello@{host}"), format!("inbox-0123456789abcdef@{host}")]
    {
        home.mail("grace@example.com", &address, &[("Subject", "x")], Verdicts::default()).await;
    }
    assert_eq!(home.world.items().len(), before);
    home.mail("grace@example.com", &to, &[("Subject", "Win")], Verdicts { spam: "FAIL", ..Verdicts::default() }).await;
    assert!(home.threads("").await.is_empty());
    let spam = home.threads("?status=archived").await.remove(0);
    assert_eq!((&spam["tags"], &spam["unread"]), (&json!(["spam"]), &json!(false)));
    assert_eq!(home.outcomes(&campaign).await, ["grace@example.com active"], "it has no effects");
    // Somebody finds that it is none.
    let found = home.change(&spam, json!({"status": "open"})).await.expect(200).json()["data"].clone();
    assert_eq!((&found["tags"], &found["status"]), (&json!([]), &json!("open")));
}

#[tokio::test]
async fn a_mail_to_the_address_of_the_header_unsubscribes() {
    let home = Home::new().await;
    let (campaign, leads) = launched(&home, json!({}), &["grace@example.com"]).await;
    let header = home.newest_to("grace@example.com").mail.headers["List-Unsubscribe"].clone();
    let address = header.split_once("<mailto:").and_then(|(_, rest)| rest.strip_suffix('>')).expect("an address").to_owned();
    for _ in 0..2 {
        home.mail("anybody@example.com", &address, &[("Subject", "unsubscribe")], Verdicts::default()).await;
    }
    assert!(home.threads("").await.is_empty());
    assert_eq!(home.get(&format!("{LEADS}/{}", leads[0])).await["email_status"], "unsubscribed");
    assert_eq!(home.outcomes(&campaign).await, ["grace@example.com unsubscribed"]);
    assert_eq!(home.get(&format!("/api/v1/tenant/campaigns/{campaign}")).await["counts"]["unsubscribed"], 1);
    home.days(2).await;
    assert_eq!(home.sent().len(), 1);
}

/// The address of the header has no room for that of the lead, so the sender's own counts, if it is proved.
#[tokio::test]
async fn a_mail_to_the_address_of_the_header_counts_for_its_sender_when_the_lead_is_gone() {
    let home = Home::new().await;
    let (_, leads) = launched(&home, json!({}), &["grace@example.com"]).await;
    let header = home.newest_to("grace@example.com").mail.headers["List-Unsubscribe"].clone();
    let address = header.split_once("<mailto:").and_then(|(_, rest)| rest.strip_suffix('>')).expect("an address").to_owned();
    home.delete(&format!("{LEADS}/{}", leads[0])).await;
    let again = id(&home.post(LEADS, json!({"email": "grace@example.com"})).await.expect(201).json()["data"]).to_owned();
    let status = async || home.get(&format!("{LEADS}/{again}")).await["email_status"].clone();
    let forged = Verdicts { dmarc: "FAIL", ..Verdicts::default() };
    home.mail("grace@example.com", &address, &[("Subject", "unsubscribe")], forged).await;
    assert_eq!(status().await, "active");
    home.mail("grace@example.com", &address, &[("Subject", "unsubscribe")], Verdicts::default()).await;
    assert_eq!(status().await, "unsubscribed");
    let check = home.get("/api/v1/tenant/suppression-list/check?email=grace@example.com").await;
    assert_eq!((&check["scope"], &check["reason"]), (&json!("workspace"), &json!("user_request")));
}

#[tokio::test]
async fn two_programs_that_answer_each_other_come_to_rest() {
    let home = Home::new().await;
    launched(&home, json!({}), &["grace@example.com"]).await;
    let to = home.newest_to("grace@example.com").mail.reply_to.expect("an address");
    for number in 0..25 {
        let name = format!("<{number}@mail.example>");
        let raw = format!("From: grace@example.com\r\nSubject: Re: Spring\r\nMessage-ID: {name}\r\n\r\nYes\r\n");
        let envelope = Envelope { source: "grace@example.com", recipients: &[&to], verdicts: Verdicts::default() };
        home.world.aws.mailbox().receive(raw.as_bytes(), &envelope, home.world.auth.clock().now()).expect("it is received");
        home.settle().await;
        if number == 20 {
            let thread = home.threads("").await.remove(0);
            home.change(&thread, json!({"unread": false, "status": "closed"})).await.expect(200);
        }
    }
    let thread = home.thread(&home.threads("?status=closed").await.remove(0)).await;
    assert_eq!((&thread["message_count"], &thread["unread"]), (&json!(25), &json!(false)), "all is kept, and the last ones had no effect");
}

#[tokio::test]
async fn threads_are_found_by_their_state_and_counted_exactly() {
    let home = Home::new().await;
    let emails = ["a@example.com", "b@example.com", "c@example.org"];
    let (campaign, leads) = launched(&home, json!({}), &emails).await;
    for email in emails {
        home.answer(&home.newest_to(email), Written::written("Yes")).await;
    }
    let newest = |threads: &[Value]| {
        threads.iter().map(|thread| thread["lead"]["email"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let threads = home.threads("").await;
    assert_eq!(newest(&threads), ["c@example.org", "b@example.com", "a@example.com"]);
    let member = home.world.member(&home.tenant, "admin").await;
    home.change(&threads[0], json!({"assigned_to": member.id, "unread": false})).await.expect(200);
    home.change(&threads[1], json!({"category": "interested"})).await.expect(200);
    let lead = format!("?lead_id={}", leads[0]);
    let (assigned, of_campaign) = (format!("?assigned_to={}", member.id), format!("?campaign_id={campaign}&unread=true"));
    for (query, found) in [
        ("?unread=false", vec!["c@example.org"]),
        ("?unread=true", vec!["b@example.com", "a@example.com"]),
        (&assigned, vec!["c@example.org"]),
        ("?category=interested", vec!["b@example.com"]),
        (&lead, vec!["a@example.com"]),
        (&of_campaign, vec!["b@example.com", "a@example.com"]),
        ("?search=EXAMPLE.ORG", vec!["c@example.org"]),
        ("?search=spring", vec!["c@example.org", "b@example.com", "a@example.com"]),
        ("?status=archived", vec![]),
    ] {
        assert_eq!(newest(&home.threads(query).await), found, "{query}");
    }
    // Page by page, with and without a filter.
    for filter in ["", "&search=example"] {
        let (mut seen, mut cursor) = (vec![], String::new());
        loop {
            let page = home
                .world
                .get(format!("{THREADS}?limit=2{filter}{cursor}"))
                .token(&home.tenant.owner.token)
                .send()
                .await
                .expect(200)
                .json();
            assert_eq!(page["pagination"]["total"], 3);
            seen.extend(newest(page["data"].as_array().expect("a list")));
            match page["pagination"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, ["c@example.org", "b@example.com", "a@example.com"]);
    }
    for query in ["?status=snoozed", "?unread=perhaps", "?category=x", "?assigned_to=0", "?lead_id=x", "?search=x", "?colour=red"] {
        let refused = home.world.get(format!("{THREADS}{query}")).token(&home.tenant.owner.token).send().await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "VALIDATION_ERROR"), "{query}");
    }
    for changes in
        [json!({"assigned_to": 99}), json!({"status": "snoozed"}), json!({"unread": "yes"}), json!({"category": "x"}), json!({"body": "x"})]
    {
        let refused = home.change(&threads[0], changes.clone()).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "VALIDATION_ERROR"), "{changes}");
    }
}

#[tokio::test]
async fn who_is_not_interested_gets_no_more_mail_nor_answers() {
    let home = Home::new().await;
    launched(&home, json!({}), &["grace@example.com"]).await;
    home.answer(&home.newest_to("grace@example.com"), Written::written("No")).await;
    let thread = home.only_thread().await;
    for _ in 0..2 {
        home.change(&thread, json!({"category": "not_interested"})).await.expect(200);
    }
    let check = home.get("/api/v1/tenant/suppression-list/check?email=grace@example.com").await;
    assert_eq!((&check["suppressed"], &check["reason"]), (&json!(true), &json!("not_interested")));
    let refused = home.post(&format!("{THREADS}/{}/reply", id(&thread)), json!({"body": "Please"})).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "RECIPIENT_SUPPRESSED"));
    for body in [
        json!({}),
        json!({"body": ""}),
        json!({"body": " \n"}),
        json!({"body": "x".repeat(100 * 1024 + 1)}),
        json!({"body": 1}),
        json!({"body": "x", "attachments": []}),
        json!({"body": "x", "last_seen": "x"}),
    ] {
        let refused = home.post(&format!("{THREADS}/{}/reply", id(&thread)), body).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "VALIDATION_ERROR"));
    }
}

/// More than a request erases: as if it had been interrupted.
#[tokio::test]
async fn what_a_deletion_of_a_lead_leaves_is_erased_without_another_one() {
    let home = Home::new().await;
    let (_, leads) = launched(&home, json!({}), &["grace@example.com"]).await;
    home.answer(&home.newest_to("grace@example.com"), Written::written("A secret")).await;
    let entry = home.world.items_of_type("activity").remove(0);
    for number in 0..600 {
        let id = format!("{number:08x}{}", &entry["id"]["S"].as_str().expect("an id")[8..]);
        let mut copy = entry.clone();
        copy["sk"] = json!({"S": format!("{}#{id}", entry["lead"]["S"].as_str().expect("an id"))});
        copy["id"] = json!({"S": id});
        home.world.put_item(&copy);
    }
    home.delete(&format!("{LEADS}/{}", leads[0])).await;
    let gone = home.world.get(format!("{LEADS}/{}", leads[0])).token(&home.tenant.owner.token).send().await;
    assert_eq!(gone.status, 404);
    let tombstone = home.world.items_of_type("deleted_lead").remove(0);
    assert!(!home.world.items_of_type("activity").is_empty());
    home.settle().await;
    for kind in ["deleted_lead", "activity", "thread", "thread_card", "own_thread", "message"] {
        assert_eq!(home.world.items_of_type(kind).len(), 0, "{kind}");
    }
    // What somebody with the address begins before it is all erased stays.
    home.world.advance(SignedDuration::from_secs(1));
    home.answer(&home.newest_to("grace@example.com"), Written::written("Who are you?")).await;
    let mut kept = home.world.items_of_type("message");
    home.world.put_item(&tombstone);
    home.settle().await;
    assert_eq!(home.world.items_of_type("deleted_lead").len(), 0);
    assert!(kept.len() == 1 && kept == home.world.items_of_type("message") && home.threads("").await.len() == 1);
    // As long as it is as old as the lead, a thread goes, whatever is written in it.
    let mut later = tombstone;
    later["deleted_at"] = json!({"S": home.world.auth.clock().now().to_string()});
    home.world.put_item(&later);
    home.settle().await;
    kept.clear();
    assert_eq!(home.world.items_of_type("message"), kept);
}

#[tokio::test]
async fn the_threads_of_a_deleted_lead_go_with_it() {
    let home = Home::new().await;
    let (_, leads) = launched(&home, json!({}), &["grace@example.com"]).await;
    let mail = home.newest_to("grace@example.com");
    home.answer(&mail, Written::written("A secret")).await;
    let thread = home.only_thread().await;
    home.world.delete(format!("{LEADS}/{}", leads[0])).token(&home.tenant.owner.token).send().await.expect(204);
    home.settle().await;
    assert!(home.threads("").await.is_empty());
    let gone = home.world.get(format!("{THREADS}/{}", id(&thread))).token(&home.tenant.owner.token).send().await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "RESOURCE_NOT_FOUND"));
    for kind in ["thread", "thread_card", "own_thread", "message"] {
        assert_eq!(home.world.items_of_type(kind).len(), 0, "{kind}");
    }
    // An answer that comes afterwards is a stranger's.
    home.answer(&mail, Written::written("Again")).await;
    assert_eq!(home.only_thread().await["lead"]["id"], Value::Null);
}

/// Of the workspace, as its record says.
fn inbound(home: &Home) -> String {
    let address = home.world.items_of_type("inbound_address").remove(0);
    address["id"]["S"].as_str().expect("an id").to_owned()
}

fn domain(address: &str) -> String {
    address.rsplit_once('@').expect("an address").1.to_owned()
}

/// An address that names a lead of one tenant and the inbox of another is nobody's: only we write addresses, and the two lie in one workspace.
#[tokio::test]
async fn an_address_leads_into_its_own_workspace_alone() {
    let home = Home::new().await;
    launched(&home, json!({}), &["grace@example.com"]).await;
    let other = home.beside("other").await;
    launched(&other, json!({}), &["grace@example.com"]).await;
    let mails = home.world.aws.mailbox().mails_to("grace@example.com").expect("mails");
    let addresses: Vec<String> = mails.into_iter().filter_map(|kept| kept.mail.reply_to).collect();
    let [mine, theirs] = &addresses[..] else { panic!("{addresses:?}") };
    // The first 13 letters are those of the workspace.
    let mixed = format!("{}{}", &theirs[..19], &mine[19..]);
    home.mail("grace@example.com", &mixed, &[("Subject", "x")], Verdicts::default()).await;
    assert!(home.threads("").await.is_empty() && other.threads("").await.is_empty());
    home.mail("grace@example.com", theirs, &[("Subject", "x")], Verdicts::default()).await;
    assert_eq!((home.threads("").await.len(), other.threads("").await.len()), (0, 1));
    let thread = other.threads("").await.remove(0);
    let foreign = home.world.get(format!("{THREADS}/{}", id(&thread))).token(&home.tenant.owner.token).send().await;
    assert_eq!((foreign.status, foreign.code().as_str()), (404, "RESOURCE_NOT_FOUND"));
    // Even with our own signature, a lead that is not of the workspace is nobody there.
    let key = &home.world.app("links").keys().mail_refs().expect("the key").signing;
    let strange = shared::ids::Uuid::from_u128(7 << 80);
    let made_up = ReplyRef::new(InboundId::parse(&inbound(&home)).expect("an id"), strange, About::Campaign(strange));
    home.mail("eve@elsewhere.example", &made_up.address(&domain(mine), key), &[("Subject", "x")], Verdicts::default()).await;
    let threads: Vec<Value> = home.threads("").await.into_iter().chain(other.threads("").await).collect();
    let of_eve: Vec<&Value> = threads.iter().filter(|thread| thread["lead"]["email"] == "eve@elsewhere.example").collect();
    assert!(of_eve.len() == 1 && of_eve[0]["lead"]["id"].is_null(), "{of_eve:?}");
}

#[tokio::test]
async fn strangers_fill_no_inbox_and_drown_no_answer() {
    let home = Home::new().await;
    launched(&home, json!({}), &["grace@example.com"]).await;
    let mail = home.newest_to("grace@example.com");
    let inbox = format!("inbox-{}@{}", inbound(&home), domain(mail.mail.reply_to.as_deref().expect("an address")));
    let write = async |number: u64| {
        let (from, id) = (format!("stranger{number}@elsewhere.example"), format!("<{number}@elsewhere.example>"));
        home.mail(&from, &inbox, &[("Subject", "Buy"), ("Message-ID", &id)], Verdicts::default()).await;
    };
    let begun = |threads: u64| {
        let item = home.world.items_of_type("stranger_day").remove(0);
        let key = |name: &str| item[name]["S"].as_str().expect("a key").to_owned();
        home.world.change_item(&key("pk"), &key("sk"), |item| item["threads"] = json!({"N": threads.to_string()}));
    };
    write(1).await;
    assert_eq!(home.threads("").await.len(), 1);
    begun(99);
    write(2).await;
    write(3).await;
    assert_eq!((home.threads("").await.len(), home.threads("?status=archived").await.len()), (2, 1));
    // Nor does a second mail bring it out of the archive.
    home.mail("stranger3@elsewhere.example", &inbox, &[("In-Reply-To", "<3@elsewhere.example>")], Verdicts::default()).await;
    assert_eq!((home.threads("").await.len(), home.threads("?status=archived").await.len()), (2, 1));
    // A flood of spam takes no other's room, and has an end of its own.
    let begun_spam = |threads: u64| {
        let item = home.world.items_of_type("stranger_day").remove(0);
        let key = |name: &str| item[name]["S"].as_str().expect("a key").to_owned();
        home.world.change_item(&key("pk"), &key("sk"), |item| item["spam"] = json!({"N": threads.to_string()}));
    };
    begun(1);
    begun_spam(999);
    let flood = Verdicts { spam: "FAIL", ..Verdicts::default() };
    for number in 10..12 {
        let (from, id) = (format!("flood{number}@elsewhere.example"), format!("<{number}@elsewhere.example>"));
        home.mail(&from, &inbox, &[("Subject", "Buy"), ("Message-ID", &id)], flood.clone()).await;
    }
    assert_eq!(home.threads("?status=archived").await.len(), 2);
    write(12).await;
    assert_eq!((home.threads("").await.len(), home.threads("?status=archived").await.len()), (3, 2));
    begun(1_000);
    write(4).await;
    assert_eq!((home.threads("").await.len(), home.threads("?status=archived").await.len()), (3, 2));
    home.answer(&mail, Written::written("Yes")).await;
    assert_eq!(home.threads("").await.len(), 4);
    home.world.advance(SignedDuration::from_hours(24));
    write(5).await;
    assert_eq!(home.threads("").await.len(), 5);
}

#[tokio::test]
async fn an_answer_from_another_address_is_somebody_elses_and_still_stops_the_mails() {
    let home = Home::new().await;
    let (campaign, leads) = launched(&home, json!({}), &["grace@example.com"]).await;
    let to = home.newest_to("grace@example.com").mail.reply_to.expect("an address");
    home.mail("Eve <eve@elsewhere.example>", &to, &[("Subject", "Re: Spring")], Verdicts::default()).await;
    let thread = home.only_thread().await;
    // Whoever got the mail on wrote it. They are not the one who is answered.
    assert_eq!(thread["lead"], json!({"id": leads[0], "email": "grace@example.com", "name": "Grace"}));
    assert_eq!((&thread["messages"][0]["from"], &thread["messages"][0]["email"]), (&json!("other"), &json!("eve@elsewhere.example")));
    assert_eq!(home.outcomes(&campaign).await, ["grace@example.com replied"]);
    home.post(&format!("{THREADS}/{}/reply", id(&thread)), json!({"body": "Who are you?"})).await.expect(201);
    home.settle().await;
    assert_eq!(home.newest_to("grace@example.com").mail.kind, "reply");
    assert!(home.world.aws.mailbox().mails_to("eve@elsewhere.example").expect("the mailbox").is_empty());
    // Who only pretends to be the lead is not believed either, whatever address they know.
    let forged = Verdicts { dmarc: "FAIL", ..Verdicts::default() };
    home.mail("grace@example.com", &to, &[("Subject", "Re: Spring")], forged).await;
    assert_eq!(home.only_thread().await["messages"][2]["from"], "other");
}

#[tokio::test]
async fn a_sender_without_a_policy_is_believed_where_the_envelope_says_the_same() {
    let home = Home::new().await;
    launched(&home, json!({}), &["grace@example.com"]).await;
    home.answer(&home.newest_to("grace@example.com"), Written::written("Yes")).await;
    let inbox = format!("inbox-{}@{}", inbound(&home), domain(&home.newest_to("grace@example.com").mail.reply_to.expect("an address")));
    let of = |dmarc, spf| Verdicts { dmarc, spf, ..Verdicts::default() };
    for (number, (verdicts, found)) in
        [(of("GRAY", "PASS"), 2), (of("GRAY", "FAIL"), 2), (of("PROCESSING_FAILED", "GRAY"), 2)].into_iter().enumerate()
    {
        home.mail("grace@example.com", &inbox, &[("Subject", "Spring")], verdicts).await;
        let threads = home.threads("?search=spring").await;
        let own = threads.iter().find(|thread| !thread["lead"]["id"].is_null()).expect("the lead's");
        assert_eq!((home.thread(own).await["message_count"].as_u64(), threads.len()), (Some(found), number + 1), "{number}");
    }
}

#[tokio::test]
async fn a_second_answer_of_a_program_brings_nothing_forward() {
    let home = Home::new().await;
    launched(&home, json!({"ooo_delay_days": 3}), &["grace@example.com"]).await;
    let mail = home.newest_to("grace@example.com");
    for _ in 0..2 {
        home.answer(&mail, Written::out_of_office()).await;
    }
    home.days(5).await;
    assert_eq!(home.sent().len(), 1, "a day, and three days for each");
    home.days(3).await;
    assert_eq!(home.sent().len(), 2);
}

#[tokio::test]
async fn an_answer_shows_that_a_mail_went_of_which_nobody_knew() {
    let home = Home::new().await;
    let (campaign, _) = launched(&home, json!({}), &["grace+lost@example.com"]).await;
    assert_eq!(home.outcomes(&campaign).await, ["grace+lost@example.com unknown"]);
    home.answer(&home.newest_to("grace+lost@example.com"), Written::written("Yes")).await;
    assert_eq!(home.outcomes(&campaign).await, ["grace+lost@example.com replied"]);
    let counts = home.get(&format!("/api/v1/tenant/campaigns/{campaign}")).await["counts"].clone();
    assert_eq!((&counts["sent"], &counts["unknown"], &counts["replied"]), (&json!(1), &json!(0), &json!(1)));
    home.days(3).await;
    assert_eq!(home.sent().len(), 1);
}

#[tokio::test]
async fn one_mail_is_for_each_of_its_addresses_and_is_no_new_thread_when_it_comes_again() {
    let home = Home::new().await;
    let (campaign, leads) = launched(&home, json!({}), &["grace@example.com"]).await;
    let mail = home.newest_to("grace@example.com").mail;
    let reply_to = mail.reply_to.expect("an address");
    let header = &mail.headers["List-Unsubscribe"];
    let out = header.split_once("<mailto:").and_then(|(_, rest)| rest.strip_suffix('>')).expect("an address");
    let raw = b"From: grace@example.com\r\nSubject: Stop\r\nMessage-ID: <1@mail.example>\r\n\r\nNo more\r\n";
    let envelope = Envelope { source: "grace@example.com", recipients: &[&reply_to, out], verdicts: Verdicts::default() };
    home.world.aws.mailbox().receive(raw, &envelope, home.world.auth.clock().now()).expect("it is received");
    home.came_in().await;
    assert_eq!(home.only_thread().await["message_count"], 1);
    assert_eq!(home.get(&format!("{LEADS}/{}", leads[0])).await["email_status"], "unsubscribed");
    assert_eq!(home.outcomes(&campaign).await, ["grace@example.com unsubscribed"]);
    // Who wants no mail gets no answers.
    let refused = home.post(&format!("{THREADS}/{}/reply", id(&home.only_thread().await)), json!({"body": "Please"})).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "RECIPIENT_SUPPRESSED"));
    let inbox = format!("inbox-{}@{}", inbound(&home), domain(&reply_to));
    for _ in 0..2 {
        home.mail("new@elsewhere.example", &inbox, &[("Message-ID", "<2@mail.example>")], Verdicts::default()).await;
    }
    assert_eq!(home.threads("").await.len(), 2);
}

#[tokio::test]
async fn answers_count_in_the_month_and_what_the_carrier_never_takes_does_not() {
    let home = Home::new().await;
    launched(&home, json!({}), &["grace@example.com"]).await;
    home.answer(&home.newest_to("grace@example.com"), Written::written("Yes")).await;
    let thread = home.only_thread().await;
    let reply = format!("{THREADS}/{}/reply", id(&thread));
    let month = || home.world.items_of_type("mail_month").remove(0)["mails"]["N"].as_str().map(str::to_owned);
    assert_eq!(month().as_deref(), Some("1"));
    home.post(&reply, json!({"body": "One"})).await.expect(201);
    home.settle().await;
    assert_eq!(month().as_deref(), Some("2"));
    // The carrier takes nothing for so long that the queue gives it up: the answer says so, and may be written again.
    home.world.aws.mailbox().throttle_next(1_000);
    home.post(&reply, json!({"body": "Two"})).await.expect(201);
    assert_eq!(month().as_deref(), Some("3"));
    let shown = format!("{THREADS}/{}", id(&thread));
    let queued = home.world.get(&shown).token(&home.tenant.owner.token).send().await.expect(200);
    home.world.advance(SignedDuration::from_mins(21));
    home.settle().await;
    home.world.aws.mailbox().throttle_next(0);
    // Whoever has seen it queued hears of it.
    home.world.get(&shown).token(&home.tenant.owner.token).header("if-none-match", queued.header("etag")).send().await.expect(200);
    let message = home.only_thread().await["messages"][2].clone();
    assert_eq!((message["status"].as_str(), month().as_deref()), (Some("failed"), Some("2")), "{message}");
    // The plan's month is full.
    let item = home.world.items_of_type("mail_month").remove(0);
    home.world.change_item(item["pk"]["S"].as_str().expect("a key"), item["sk"]["S"].as_str().expect("a key"), |item| {
        item["mails"] = json!({"N": "500"})
    });
    let refused = home.post(&reply, json!({"body": "Three"})).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "PLAN_LIMIT_REACHED"));
    assert_eq!(refused.details()["used"], 500);
}

#[tokio::test]
async fn two_answers_at_once_and_one_asked_for_twice() {
    let home = Home::new().await;
    launched(&home, json!({}), &["grace@example.com"]).await;
    home.answer(&home.newest_to("grace@example.com"), Written::written("Yes")).await;
    let thread = home.only_thread().await;
    let path = format!("{THREADS}/{}/reply", id(&thread));
    let seen = id(&thread["messages"][0]).to_owned();
    let ask = |body: &str| {
        let body = json!({"body": body, "last_seen": seen});
        home.world.post(&path).token(&home.tenant.owner.token).json(body).send()
    };
    home.world.advance(SignedDuration::from_secs(1));
    let (one, two) = tokio::join!(ask("One"), ask("Two"));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409], "nobody answers over another's head");
    let again =
        || home.world.post(&path).token(&home.tenant.owner.token).header("idempotency-key", "once").json(json!({"body": "Three"})).send();
    let first = again().await.expect(201);
    assert_eq!(again().await.expect(201).json()["data"]["id"], first.json()["data"]["id"]);
    home.settle().await;
    let thread = home.only_thread().await;
    assert_eq!(thread["message_count"], 3);
    let states: Vec<_> = thread["messages"].as_array().expect("messages").iter().map(|message| message["status"].clone()).collect();
    assert_eq!(states, [Value::Null, json!("sent"), json!("sent")]);
    let answers = home.world.aws.mailbox().mails_to("grace@example.com").expect("mails");
    assert!(answers.iter().filter(|kept| kept.mail.kind == "reply").all(|kept| kept.deliveries == 1));
}

/// Its first mail is answered: the receiver dies at whatever point, the notice comes again, and all that follows was done once.
#[tokio::test]
async fn a_receiver_that_dies_anywhere_takes_a_mail_in_once() {
    let home = Home::new().await;
    let mut deaths = 0;
    for waits in (1..).step_by(2) {
        let email = format!("grace{waits}@example.com");
        let (campaign, leads) = launched(&home, json!({}), &[&email]).await;
        home.crew.dies(Death { of: "receiver", waits, mails: usize::MAX, delay: SignedDuration::from_mins(6) });
        home.answer(&home.newest_to(&email), Written::written("Yes")).await;
        let lives = home.crew.lives();
        let threads = home.threads(&format!("?lead_id={}", leads[0])).await;
        assert_eq!(threads.len(), 1, "after {waits} waits");
        let thread = home.thread(&threads[0]).await;
        assert_eq!((&thread["message_count"], thread["messages"].as_array().map(Vec::len)), (&json!(1), Some(1)), "after {waits} waits");
        assert_eq!(home.outcomes(&campaign).await, [format!("{email} replied")], "after {waits} waits");
        assert_eq!(home.get(&format!("/api/v1/tenant/campaigns/{campaign}")).await["counts"]["replied"], 1, "after {waits} waits");
        let lead = home.get(&format!("{LEADS}/{}", leads[0])).await;
        let answers = lead["activity"].as_array().expect("activity").iter().filter(|one| one["type"] == "email_replied").count();
        assert_eq!(answers, 1, "after {waits} waits");
        if lives {
            break;
        }
        deaths += 1;
        assert!(waits < 500);
    }
    assert!(deaths > 5, "{deaths} deaths");
    let cards = home.world.items_of_type("thread_card").len();
    assert_eq!(home.threads("?limit=100").await.len(), cards, "the count is that of the cards");
}

/// The same for a worker that sends an answer: it goes at most once, and says so where nobody knows.
#[tokio::test]
async fn a_sender_that_dies_anywhere_answers_at_most_once() {
    let home = Home::new().await;
    launched(&home, json!({}), &["grace@example.com"]).await;
    home.answer(&home.newest_to("grace@example.com"), Written::written("Yes")).await;
    let path = format!("{THREADS}/{}", id(&home.only_thread().await));
    let mut deaths = 0;
    for waits in (1..).step_by(2) {
        let body = format!("After {waits} waits");
        home.crew.dies(Death { of: "sender", waits, mails: usize::MAX, delay: SignedDuration::from_mins(6) });
        let message = home.post(&format!("{path}/reply"), json!({"body": body})).await.expect(201).json()["data"].clone();
        home.settle().await;
        let lives = home.crew.lives();
        let went = home.world.aws.mailbox().mails_to("grace@example.com").expect("mails").into_iter().filter(|kept| kept.mail.text == body);
        let deliveries: usize = went.map(|kept| kept.deliveries).sum();
        let messages = home.get(&format!("{path}/messages?limit=100")).await;
        let message = messages.as_array().expect("a list").iter().find(|one| one["id"] == message["id"]).expect("the answer").clone();
        match message["status"].as_str() {
            Some("sent") => assert_eq!(deliveries, 1, "{body}"),
            Some("unknown") => assert!(deliveries <= 1, "{body}"),
            other => panic!("{body}: {other:?}"),
        }
        if lives {
            assert_eq!(message["status"], "sent");
            break;
        }
        deaths += 1;
        assert!(waits < 500);
    }
    assert!(deaths > 3, "{deaths} deaths");
}
