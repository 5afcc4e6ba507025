//! A mail of a campaign, for one lead: its values put in, its links followed, the way out of it shown.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use records::campaign_settings::CampaignSettings;
use records::lead::Lead;
use records::template::Content;
use serde_json::{Map, Value};
use shared::carriers::Letter;
use shared::crypto::Random;
use shared::ids::TenantId;
use shared::model::inbound::{About, InboundId, ReplyRef};
use shared::model::mail_ref::{MailKeys, MailRef};
use shared::model::user::Email;
use shared::model::workspace::Workspace;
use templating::{RenderFault, Rendered, Source};

/// From whom a mail comes.
#[derive(Debug, Clone)]
pub struct Sender<'a> {
    pub workspace: &'a Workspace,
    pub settings: Option<&'a CampaignSettings>,
}

/// Where mails are sent from and links lead to.
#[derive(Debug, Clone)]
pub struct Sites {
    /// The address that the carrier sends from.
    pub from: String,
    /// Base URL of the API, which answers for links.
    pub api: String,
    /// The domain to which answers are sent. `None`: no mails are received.
    pub inbound: Option<String>,
}

/// The words of the part that every mail of a campaign ends with.
const UNSUBSCRIBE: &str = "Unsubscribe";

impl Sender<'_> {
    pub fn name(&self) -> Option<&str> {
        self.settings.and_then(|settings| settings.from_name.as_deref()).or(self.workspace.settings.default_from_name.as_deref())
    }

    /// Where answers go: the campaign says it, else into the inbox, else it is its sender's own address.
    fn reply_to(&self, inbox: Option<String>) -> Option<String> {
        let of_settings =
            |email: fn(&CampaignSettings) -> Option<&Email>| self.settings.and_then(email).map(|email| email.as_str().to_owned());
        of_settings(|settings| settings.reply_to.as_ref())
            .or(inbox)
            .or_else(|| of_settings(|settings| settings.from_email.as_ref()))
            .or_else(|| self.workspace.settings.default_from_email.clone())
    }

    /// A context with what is known of the sender, unless the context says it.
    pub fn complete(&self, mut context: Map<String, Value>) -> Map<String, Value> {
        let settings = &self.workspace.settings;
        let own_email = self.settings.and_then(|settings| settings.from_email.as_ref()).map(|email| email.as_str().to_owned());
        let known = [
            ("workspace_name", "workspaceName", Some(self.workspace.name.clone())),
            ("sender_name", "senderName", self.name().map(str::to_owned)),
            ("sender_email", "senderEmail", own_email.or_else(|| settings.default_from_email.clone())),
            ("postal_address", "postalAddress", settings.postal_address.clone()),
        ];
        for (name, camel, value) in known {
            let contact = context.get("contact").and_then(Value::as_object);
            let says = |object: &Map<String, Value>| object.contains_key(name) || object.contains_key(camel);
            if says(&context) || contact.is_some_and(says) {
                continue;
            }
            context.extend(value.map(|value| (name.to_owned(), Value::String(value))));
        }
        context
    }
}

/// What is alike for all mails of a campaign.
#[derive(Clone, Copy)]
pub struct Composer<'a> {
    pub workspace: &'a Workspace,
    pub settings: &'a CampaignSettings,
    pub sites: &'a Sites,
    pub keys: &'a MailKeys,
    pub random: &'a Random,
    /// The workspace's own address, where mails are received.
    pub inbound: Option<InboundId>,
}

impl Composer<'_> {
    /// A letter for the carrier. Its id is the same in every attempt of one claim.
    pub fn letter(&self, content: &Content, lead: &Lead, mail: &MailRef, id: String) -> Result<Letter, RenderFault> {
        let unsubscribe = format!("{}/e/u/{}", self.sites.api, mail.unsubscribe_token(&lead.email, self.keys, self.random));
        let written = self.written(content, lead, &unsubscribe, Some(mail))?;
        let inbox = self.address(mail, About::Campaign(mail.campaign()));
        let by_mail = self.address(mail, About::Unsubscribing(mail.campaign())).map(|address| format!(", <mailto:{address}>"));
        Ok(Letter {
            id,
            from: Some(mailbox(written.sender.name(), &self.sites.from)),
            reply_to: written.sender.reply_to(inbox),
            to: lead.email.clone(),
            subject: written.subject,
            text: written.text,
            html: written.html,
            kind: "campaign",
            tenant: Some(mail.tenant()),
            // RFC 8058: the header is there in any case, whatever the mail itself shows.
            headers: vec![
                ("List-Unsubscribe", format!("<{unsubscribe}>{}", by_mail.unwrap_or_default())),
                ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()),
            ],
            tags: mail.tags(&self.keys.signing),
        })
    }

    /// An address of ours for answers to a mail.
    fn address(&self, mail: &MailRef, about: About) -> Option<String> {
        let (inbound, domain) = self.inbound.zip(self.sites.inbound.as_deref())?;
        Some(ReplyRef::new(inbound, mail.lead(), about).address(domain, &self.keys.signing))
    }

    /// The same to somebody who wants to see it. It is no mail of the campaign: its way out leads nowhere, and nothing is reported of it.
    pub fn test_letter(&self, content: &Content, lead: &Lead, tenant: TenantId, to: Email, id: String) -> Result<Letter, RenderFault> {
        let unsubscribe = format!("{}/e/u/test", self.sites.api);
        let written = self.written(content, lead, &unsubscribe, None)?;
        Ok(Letter {
            id,
            from: Some(mailbox(written.sender.name(), &self.sites.from)),
            reply_to: written.sender.reply_to(None),
            to,
            subject: format!("[Test] {}", written.subject),
            text: written.text,
            html: written.html,
            kind: "campaign_test",
            tenant: Some(tenant),
            headers: vec![],
            tags: vec![],
        })
    }

    /// `followed`: the mail whose links and opens are noted, where the settings want it.
    fn written(&self, content: &Content, lead: &Lead, unsubscribe: &str, followed: Option<&MailRef>) -> Result<Written<'_>, RenderFault> {
        let Composer { workspace, settings, sites, keys, .. } = *self;
        let sender = Sender { workspace, settings: Some(settings) };
        let mut context = sender.complete(lead.variables());
        context.insert("unsubscribe_url".into(), Value::String(unsubscribe.to_owned()));
        let Rendered { subject, html, text, .. } =
            templating::render(Source { subject: &content.subject, html: &content.html, text: content.text.as_deref() }, &context)?;
        let (mut html, mut text) = (html, text);
        let visible = without_comments(&html);
        let shows_way_out = visible.contains(&escaped(unsubscribe));
        let address = sender.workspace.settings.postal_address.as_deref().unwrap_or_default();
        let mut footer = vec![];
        if !address.is_empty() && !visible.contains(&escaped(address)) {
            footer.push(escaped(address).replace('\n', "<br>"));
        }
        if settings.unsubscribe_enabled && !shows_way_out {
            footer.push(format!("<a href=\"{}\">{UNSUBSCRIBE}</a>", escaped(unsubscribe)));
        }
        if let Some(mail) = followed.filter(|_| settings.track_clicks) {
            html = templating::rewrite_links(&html, |link| {
                let followed = matches!((link.element, link.attribute), ("a" | "area", "href")) && link.url != unsubscribe;
                followed.then(|| mail.click_token(link.url, &keys.signing)).flatten().map(|token| format!("{}/e/c/{token}", sites.api))
            });
        }
        if !footer.is_empty() {
            let style = "font-size:12px;color:#666;margin-top:24px";
            html = appended(html, &format!("<p style=\"{style}\">{}</p>", footer.join("<br>")));
        }
        if let Some(mail) = followed.filter(|_| settings.track_opens) {
            let pixel = format!("{}/e/o/{}", sites.api, mail.open_token(&keys.signing));
            html = appended(html, &format!("<img src=\"{}\" width=\"1\" height=\"1\" alt=\"\">", escaped(&pixel)));
        }
        if !address.is_empty() && !text.contains(address) {
            text.push_str(&format!("\n\n{address}"));
        }
        if settings.unsubscribe_enabled && !text.contains(unsubscribe) {
            text.push_str(&format!("\n\n{UNSUBSCRIBE}: {unsubscribe}\n"));
        }
        Ok(Written { sender, subject, html, text })
    }
}

/// What stands in a comment is seen by nobody.
fn without_comments(html: &str) -> String {
    let mut parts = html.split("<!--");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |visible, part| visible + part.split_once("-->").map_or("", |(_, rest)| rest))
}

/// What a mail says, and from whom.
struct Written<'a> {
    sender: Sender<'a>,
    subject: String,
    html: String,
    text: String,
}

/// Before the end of the body, if it has one.
fn appended(mut html: String, part: &str) -> String {
    let lower = html.to_ascii_lowercase();
    match lower.rfind("</body>") {
        Some(at) => html.insert_str(at, part),
        None => html.push_str(part),
    }
    html
}

/// As HTML has it, in text and in quoted values.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// A display name and an address as a header writes them: RFC 5322, with words of RFC 2047 for what is not ASCII.
pub fn mailbox(name: Option<&str>, address: &str) -> String {
    let name: String = name.unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let name = name.trim();
    if name.is_empty() {
        return address.to_owned();
    }
    if name.is_ascii() {
        return format!("\"{}\" <{address}>", name.replace('\\', "\\\\").replace('"', "\\\""));
    }
    // A word has at most 75 characters, of which 63 are left for Base64: 45 bytes, and no character is parted.
    let (mut words, mut word) = (vec![], String::new());
    for letter in name.chars() {
        if word.len() + letter.len_utf8() > 45 {
            words.push(std::mem::take(&mut word));
        }
        word.push(letter);
    }
    words.push(word);
    let encoded: Vec<String> = words.iter().map(|word| format!("=?UTF-8?B?{}?=", STANDARD.encode(word))).collect();
    format!("{} <{address}>", encoded.join(" "))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use records::campaign::CampaignId;
    use records::lead::LeadId;
    use serde_json::json;
    use shared::crypto::{Random, RootKey};
    use shared::ids::{TenantId, WorkspaceId, WorkspaceTag};
    use shared::model::inbound::Addressed;
    use shared::model::mail::UnknownMail;
    use shared::model::mail_ref::LinkKind;
    use shared::model::user::Email;
    use shared::model::workspace::{WorkspaceSettings, WorkspaceSlug};

    use super::*;

    fn letter(html: &str, settings: &CampaignSettings) -> (Letter, MailKeys) {
        letter_to("bob@example.com", html, settings)
    }

    fn letter_to(to: &str, html: &str, settings: &CampaignSettings) -> (Letter, MailKeys) {
        let (random, now) = (Random::seeded(1), Timestamp::UNIX_EPOCH);
        let id = WorkspaceId::new(now, &random);
        let of_workspace = WorkspaceSettings {
            default_from_name: Some("Ada \"Countess\"".into()),
            postal_address: Some("1 Main St & Co".into()),
            ..WorkspaceSettings::default()
        };
        let slug = WorkspaceSlug::from_name("Acme", 0);
        let workspace = Workspace { id, slug, name: "Acme".into(), settings: of_workspace, created_at: now, updated_at: now, version: 1 };
        let lead = Lead::new(LeadId::new(id.tag(), now, &random), Email::parse(to).unwrap(), now);
        let tenant = stored_tenant();
        let mail = MailRef::new(tenant, CampaignId::new(id.tag(), now, &random), lead.id, 1).unwrap();
        let keys = MailKeys::of(&RootKey::new(b"a root secret of a deployment, 32 bytes or more"));
        let content = Content { subject: "Hi {{email}}".into(), html: html.into(), text: None };
        let inbound = Some("in.example.net".into());
        let sites = Sites { from: "mail@example.net".into(), api: "https://api.example.com".into(), inbound };
        let inbound = Some(InboundId::new(&random));
        let composer = Composer { workspace: &workspace, settings, sites: &sites, keys: &keys, random: &random, inbound };
        (composer.letter(&content, &lead, &mail, "1".into()).unwrap(), keys)
    }

    /// Only the tenancy makes ids of tenants; this one comes out of a record.
    fn stored_tenant() -> TenantId {
        let id = "550e8400-e29b-41d4-a716-446655440000";
        let stored =
            json!({"mail": id, "tenant": id, "kind": "invitation", "since": "2026-11-21T09:30:00Z", "expires_at": "2026-12-21T09:30:00Z"});
        serde_json::from_value::<UnknownMail>(stored).unwrap().tenant.unwrap()
    }

    fn token_behind(html: &str, start: &str) -> String {
        let (_, rest) = html.split_once(start).unwrap_or_else(|| panic!("{start} in {html}"));
        rest.split('"').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_mail_shows_its_sender_follows_its_links_and_has_a_way_out() {
        let settings = CampaignSettings::new("UTC");
        let (letter, keys) = letter("<body><a href=\"https://shop.example/?a=1&amp;b=2\">Shop</a></body>", &settings);
        assert_eq!((letter.subject.as_str(), letter.kind), ("Hi bob@example.com", "campaign"));
        assert_eq!(letter.from.as_deref(), Some("\"Ada \\\"Countess\\\"\" <mail@example.net>"));
        let click = token_behind(&letter.html, "https://api.example.com/e/c/");
        let link = MailRef::read(LinkKind::Click, &click, &keys).unwrap();
        assert_eq!(link.url.as_deref(), Some("https://shop.example/?a=1&b=2"));
        let open = token_behind(&letter.html, "<img src=\"https://api.example.com/e/o/");
        assert!(MailRef::read(LinkKind::Open, &open, &keys).is_some());
        let out = token_behind(&letter.html, "<a href=\"https://api.example.com/e/u/");
        assert_eq!(MailRef::read(LinkKind::Unsubscribe, &out, &keys).and_then(|link| link.to).as_ref(), Some(&letter.to));
        assert!(letter.html.contains("1 Main St &amp; Co") && letter.html.ends_with("</body>"), "{}", letter.html);
        assert!(letter.text.contains("1 Main St & Co") && letter.text.contains(&format!("Unsubscribe: https://api.example.com/e/u/{out}")));
        let (by_web, by_mail) = letter.headers[0].1.split_once(", ").expect("two ways");
        assert_eq!((letter.headers[0].0, by_web.to_owned()), ("List-Unsubscribe", format!("<https://api.example.com/e/u/{out}>")));
        let read = |address: &str| match Addressed::read(address, "in.example.net", &keys.signing) {
            Some(Addressed::Reply(reply)) => reply.about(WorkspaceTag::NONE),
            other => panic!("{other:?} of {address}"),
        };
        assert!(matches!(read(&by_mail["<mailto:".len()..by_mail.len() - 1]), About::Unsubscribing(_)));
        assert!(matches!(read(letter.reply_to.as_deref().unwrap_or_default()), About::Campaign(_)));
        assert_eq!(letter.headers[1].1, "List-Unsubscribe=One-Click");
    }

    /// Mail programs fold long headers, and some give up on lines of 998 bytes.
    #[test]
    fn the_way_out_of_a_mail_to_the_longest_address_is_short_enough() {
        let host = ["a", "b", "c"].map(|letter| letter.repeat(61)).join(".");
        let longest = format!("{}@{host}.com", "l".repeat(64));
        assert_eq!(longest.len(), 254);
        let (letter, keys) = letter_to(&longest, "<p>Hi</p>", &CampaignSettings::new("UTC"));
        let (name, value) = &letter.headers[0];
        assert!(*name == "List-Unsubscribe" && value.contains("<mailto:") && value.len() < 870, "{} {value}", value.len());
        let out = value.split_once("/e/u/").and_then(|(_, rest)| rest.split_once('>')).map(|(token, _)| token).unwrap();
        assert_eq!(MailRef::read(LinkKind::Unsubscribe, out, &keys).and_then(|link| link.to).as_ref(), Some(&letter.to));
    }

    #[test]
    fn what_the_author_shows_is_not_shown_twice_and_what_is_not_wanted_is_not_tracked() {
        let settings = CampaignSettings { track_opens: false, track_clicks: false, ..CampaignSettings::new("UTC") };
        let (letter, _) =
            letter("<a href=\"{{unsubscribe_url}}\">Out</a> {{postal_address}} <a href=\"https://x.example\">x</a>", &settings);
        assert_eq!(letter.html.matches("/e/u/").count(), 1);
        assert_eq!(letter.html.matches("1 Main St").count(), 1);
        assert!(!letter.html.contains("/e/o/") && letter.html.contains("https://x.example"));
        let hidden = CampaignSettings { unsubscribe_enabled: false, ..settings };
        let (letter, _) = self::letter("<p>Hi</p>", &hidden);
        assert!(!letter.html.contains("/e/u/") && letter.headers[0].1.contains("/e/u/"));
    }

    #[test]
    fn the_way_out_is_never_a_click() {
        let (letter, _) = letter("<a href=\"{{unsubscribe_url}}\">Out</a>", &CampaignSettings::new("UTC"));
        assert!(letter.html.contains("/e/u/") && !letter.html.contains("/e/c/"), "{}", letter.html);
    }

    #[test]
    fn names_are_written_so_that_no_header_breaks() {
        assert_eq!(mailbox(None, "a@b.example"), "a@b.example");
        assert_eq!(mailbox(Some("A\r\nBcc: x"), "a@b.example"), "\"A  Bcc: x\" <a@b.example>");
        let long = mailbox(Some(&"ä".repeat(50)), "a@b.example");
        assert!(long.is_ascii() && long.split(' ').all(|word| word.len() <= 75) && long.matches("=?UTF-8?B?").count() == 3, "{long}");
    }
}
