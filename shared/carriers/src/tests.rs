//! The choice of a carrier, and that none is reached around the guard.

use std::collections::HashMap;

use jiff::Timestamp;
use shared::carriers::letter::Sites;
use shared::crypto::{Random, RootKey};
use shared::ids::{LinkId, MailId};
use shared::model::mail::{Mail, MailContent};
use shared::model::user::Email;

use super::*;

pub fn letter() -> Letter {
    let (random, now) = (Random::seeded(1), Timestamp::UNIX_EPOCH);
    let content = MailContent::VerifyEmail { name: "Ada".into(), link: LinkId::new(&random) };
    let mail = Mail::queued(MailId::new(now, &random), None, Email::parse("ada@example.com").unwrap(), content, now);
    let key = RootKey::new(b"a root secret of a deployment, 32 bytes or more").signing("links");
    Letter::of(&mail, &Sites { api: "https://api.example.com".into(), app: None }, &key)
}

pub fn variables(pairs: &[(&str, &str)]) -> Variables {
    let credentials = [("AWS_REGION", "eu-central-1"), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
    let all = credentials.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Variables(all.collect::<HashMap<_, _>>())
}

fn refusal(pairs: &[(&str, &str)], stage: Stage) -> Option<String> {
    chosen(variables(pairs), stage).err().map(|error| error.to_string())
}

#[test]
fn the_mailbox_is_for_local_runs_and_ses_needs_a_sender() {
    let mailbox = ("MAILBOX_URL", "http://127.0.0.1:1/mailbox");
    assert!(chosen(variables(&[mailbox]), Stage::Local).unwrap().deduplicates());
    for stage in [Stage::Development, Stage::Production] {
        assert!(refusal(&[mailbox], stage).unwrap().starts_with("MAILBOX_URL is for local runs"));
    }
    assert!(!chosen(variables(&[("MAIL_FROM", "no-reply@example.com")]), Stage::Production).unwrap().deduplicates());
    assert!(refusal(&[], Stage::Production).unwrap().contains("MAIL_FROM"));
}

#[tokio::test]
async fn neither_carrier_gets_a_letter_with_a_broken_line() {
    let broken = Letter { headers: vec![("X-Test", "1\r\nBcc: all@example.com".into())], ..letter() };
    let refused = Outcome::Never("X-Test is not one line of at most 870 characters of ASCII".into());
    for pairs in [[("MAILBOX_URL", "http://127.0.0.1:1/mailbox")], [("MAIL_FROM", "no-reply@example.com")]] {
        assert_eq!(chosen(variables(&pairs), Stage::Local).unwrap().send(&broken).await, refused);
    }
}
