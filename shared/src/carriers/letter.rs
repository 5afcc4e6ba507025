//! The text of the platform's mails: subject, plain text and HTML, made from the same paragraphs. Names come from people who may not know
//! the recipient. They are therefore shown short and on one line, and left out if they could become a link.

use jiff::Timestamp;
use maud::{DOCTYPE, html};

use crate::crypto::SigningKey;
use crate::ids::LinkId;
use crate::model::edge::Metric;
use crate::model::link::Link;
use crate::model::mail::{Mail, MailContent};
use crate::model::user::Email;
use crate::tenancy::TenantId;

/// A mail that is ready for a carrier.
pub struct Letter {
    /// The same in every attempt.
    pub id: String,
    /// Display name and address. `None` is the platform's own sender.
    pub from: Option<String>,
    pub reply_to: Option<String>,
    pub to: Email,
    pub subject: String,
    pub text: String,
    pub html: String,
    pub kind: &'static str,
    pub tenant: Option<TenantId>,
    /// Further headers, each one line of ASCII.
    pub headers: Vec<(&'static str, String)>,
    /// What the carrier's reports about this letter repeat. Without tags it reports nothing.
    pub tags: Vec<(&'static str, String)>,
}

/// Without address and content, because they may contain a token.
impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Letter({} {})", self.kind, self.id)
    }
}

/// Where the links in mails lead.
#[derive(Debug, Clone)]
pub struct Sites {
    /// Base URL of the API, which accepts a token directly.
    pub api: String,
    /// Base URL of the web pages for people, if there are any: `/verify-email`, `/reset-password` and `/accept-invitation` with `?token=`.
    pub app: Option<String>,
}

/// A paragraph.
enum Part {
    Says(String),
    Link {
        label: &'static str,
        url: String,
    },
    /// Text to copy.
    Token(String),
}

impl Letter {
    /// Writes the text of a mail. Its tokens exist nowhere else: they are signed here, from the id of the link.
    pub fn of(mail: &Mail, sites: &Sites, links: &SigningKey) -> Self {
        let (subject, parts) = words(&mail.content, sites, links);
        Letter {
            id: mail.id.to_string(),
            from: None,
            reply_to: None,
            to: mail.to.clone(),
            text: plain(&parts),
            html: page(&subject, &parts),
            subject,
            kind: mail.content.kind(),
            tenant: mail.tenant,
            headers: vec![],
            tags: vec![],
        }
    }
}

fn words(content: &MailContent, sites: &Sites, links: &SigningKey) -> (String, Vec<Part>) {
    let says = |text: &str| Part::Says(text.to_owned());
    let way = |action: &'static str, label: &'static str, link: LinkId| way(sites, action, label, Link::token(link, links));
    match content {
        MailContent::VerifyEmail { name, link } => {
            let mut parts = vec![greeting(name), says("Somebody registered with this address. If it was you, confirm that it is yours.")];
            parts.extend(way("verify-email", "Confirm the address", *link));
            parts.push(says("Give the password that you want along with it: that one is the account's, whatever was typed before."));
            parts.push(says("If you did not register, ignore this mail: without the confirmation nothing happens."));
            ("Confirm your e-mail address".into(), parts)
        }
        MailContent::AlreadyRegistered { name } => {
            let parts = vec![
                greeting(name),
                says("Somebody, perhaps you, tried to register with this address. It has an account already, and nothing was changed."),
                says("If it was you, sign in, or ask for a new password if you do not know it any more."),
            ];
            ("You have an account already".into(), parts)
        }
        MailContent::ResetPassword { name, link } => {
            let mut parts = vec![greeting(name), says("You asked for a new password.")];
            parts.extend(way("reset-password", "Choose a new password", *link));
            parts.push(says("If you did not ask, ignore this mail: your password stays as it is."));
            ("Choose a new password".into(), parts)
        }
        MailContent::Invitation { tenant_name, invited_by, link } => {
            let who = shown(invited_by).unwrap_or_else(|| "Somebody".into());
            let team = shown(tenant_name).unwrap_or_else(|| "their team".into());
            let mut parts = vec![says("Hello,"), Part::Says(format!("{who} invites you to {team}."))];
            parts.extend(way("accept-invitation", "Accept the invitation", *link));
            parts.push(says("If you do not know what this is about, ignore this mail."));
            (format!("You are invited to {team}"), parts)
        }
        MailContent::DemoReady { name, tenant_name, url, ends_at } => {
            let parts = vec![
                greeting(name),
                Part::Says(format!("Your demo {} is ready, with sample projects and tasks in it.", demo(tenant_name))),
                Part::Link { label: "Open the demo", url: url.clone() },
                says("Sign in with this address and the password that you were shown when the demo was made."),
                Part::Says(format!("The demo ends on {}; everything in it is deleted then.", moment(*ends_at))),
            ];
            ("Your demo is ready".into(), parts)
        }
        MailContent::DemoEnding { name, tenant_name, ends_at } => {
            let parts = vec![
                greeting(name),
                Part::Says(format!("Your demo {} ends on {}. Everything in it is deleted then.", demo(tenant_name), moment(*ends_at))),
                says("To keep it, ask us to convert it to a plan before that."),
            ];
            ("Your demo is about to end".into(), parts)
        }
        MailContent::QuotaReached { name, tenant_name, metric, percent, overage } => {
            let whose = shown(tenant_name).unwrap_or_else(|| "your tenant".into());
            let what = match metric {
                Metric::Requests => "edge requests",
                Metric::Bytes => "edge bandwidth",
            };
            let next = match (*percent >= 100, *overage) {
                (true, true) => "Serving goes on; what comes beyond the quota is billed.",
                (true, false) => "Serving pauses until the first of next month, or until you choose a larger plan.",
                (false, _) => "Nothing changes yet.",
            };
            let parts = vec![greeting(name), Part::Says(format!("{whose} has used {percent} % of this month's {what}.")), says(next)];
            (format!("{percent} % of this month's {what} are used"), parts)
        }
        MailContent::WebhookFailing { name, tenant_name, webhook, failing_since, is_disabled } => {
            let whose = shown(tenant_name).unwrap_or_else(|| "your tenant".into());
            let since = failing_since.map_or_else(
                || "It asked to be left alone.".to_owned(),
                |since| format!("Since {} no delivery to it has succeeded.", moment(since)),
            );
            let (subject, next) = if *is_disabled {
                (
                    "A webhook is disabled",
                    "Nothing is delivered to it any more. When it works again, enable it (PATCH it with {\"enabled\": true}), \
                     and let a replay deliver what it missed (POST …/replay).",
                )
            } else {
                ("A webhook fails", "Deliveries are tried again. If they fail for five days, the webhook is disabled.")
            };
            let parts = vec![
                greeting(name),
                Part::Says(format!("{whose} has a webhook {webhook}. {since}")),
                says(next),
                Part::Says(format!("What was answered: GET {}/v1/webhooks/{webhook}/deliveries", sites.api)),
            ];
            (subject.into(), parts)
        }
    }
}

/// How to use a token: with a web page, if there are any, and always with the API.
fn way(sites: &Sites, action: &'static str, label: &'static str, token: String) -> Vec<Part> {
    let page = sites.app.as_ref().map(|app| Part::Link { label, url: format!("{app}/{action}?token={token}") });
    let call = format!("{} send this token to POST {}/api/v1/auth/{action}:", if page.is_some() { "Or" } else { "To do so," }, sites.api);
    page.into_iter().chain([Part::Says(call), Part::Token(token), Part::Says("It works once, and not for long.".into())]).collect()
}

fn greeting(name: &str) -> Part {
    Part::Says(shown(name).map_or_else(|| "Hello,".into(), |name| format!("Hello {name},")))
}

fn demo(tenant_name: &str) -> String {
    shown(tenant_name).map_or_else(|| "tenant".into(), |name| format!("\u{201c}{name}\u{201d}"))
}

/// In UTC, to the minute.
fn moment(moment: Timestamp) -> String {
    moment.strftime("%-d %B %Y at %H:%M UTC").to_string()
}

/// A name that a person entered. `None` if it is too long or could become a link.
fn shown(name: &str) -> Option<String> {
    let name: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let fits = (1..=80).contains(&name.chars().count());
    (fits && !name.contains("://") && !name.contains('@') && !name.split(' ').any(reads_as_domain)).then_some(name)
}

/// Mail programs turn `evil.com` and `www.evil` into links, but not `Dr.`, `J.R.` and `v1.0`.
fn reads_as_domain(word: &str) -> bool {
    word.split_once('/')
        .map_or(word, |(host, _)| host)
        .split('.')
        .skip(1)
        .any(|label| label.chars().take_while(|c| c.is_alphabetic()).count() >= 2)
}

fn plain(parts: &[Part]) -> String {
    let paragraphs = parts.iter().map(|part| match part {
        Part::Says(text) => text.clone(),
        Part::Link { label, url } => format!("{label}: {url}"),
        Part::Token(token) => format!("    {token}"),
    });
    paragraphs.collect::<Vec<_>>().join("\n\n") + "\n"
}

fn page(subject: &str, parts: &[Part]) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { (subject) } }
            body style="font-family: sans-serif; line-height: 1.5; max-width: 36em; margin: 2em auto; padding: 0 1em" {
                @for part in parts {
                    @match part {
                        Part::Says(text) => p { (text) },
                        Part::Link { label, url } => p { a href=(url) { (label) } },
                        Part::Token(token) => p { code { (token) } },
                    }
                }
            }
        }
    };
    page.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Random, RootKey};
    use crate::ids::MailId;

    fn key() -> SigningKey {
        RootKey::new(b"a root secret of a deployment, 32 bytes or more").signing("links")
    }

    fn sites(app: Option<&str>) -> Sites {
        Sites { api: "https://api.example.com".into(), app: app.map(Into::into) }
    }

    fn letter(content: MailContent, app: Option<&str>) -> Letter {
        let now = Timestamp::UNIX_EPOCH;
        let mail = Mail::queued(MailId::new(now, &Random::seeded(1)), None, Email::parse("ada@example.com").unwrap(), content, now);
        Letter::of(&mail, &sites(app), &key())
    }

    fn every_content(name: &str) -> Vec<MailContent> {
        let (link, name, ends_at) = (LinkId::new(&Random::seeded(2)), name.to_owned(), Timestamp::UNIX_EPOCH);
        vec![
            MailContent::VerifyEmail { name: name.clone(), link },
            MailContent::AlreadyRegistered { name: name.clone() },
            MailContent::ResetPassword { name: name.clone(), link },
            MailContent::Invitation { tenant_name: name.clone(), invited_by: name.clone(), link },
            MailContent::DemoReady { name: name.clone(), tenant_name: name.clone(), url: "https://demo-abc.example.com".into(), ends_at },
            MailContent::DemoEnding { name: name.clone(), tenant_name: name.clone(), ends_at },
            MailContent::QuotaReached { name: name.clone(), tenant_name: name.clone(), metric: Metric::Bytes, percent: 80, overage: false },
            MailContent::WebhookFailing {
                name: name.clone(),
                tenant_name: name,
                webhook: "wh_0198c0de000070008000000000000000".into(),
                failing_since: Some(ends_at),
                is_disabled: false,
            },
        ]
    }

    #[test]
    fn the_token_in_a_mail_is_one_the_api_takes() {
        let link = LinkId::new(&Random::seeded(2));
        let letter = letter(MailContent::VerifyEmail { name: "Ada".into(), link }, Some("https://app.example.com"));
        let (_, token) = letter.text.split_once("https://app.example.com/verify-email?token=").unwrap();
        let token = token.split_whitespace().next().unwrap();
        assert_eq!(Link::of_token(token, &key()), Some(link));
        assert!(letter.html.contains(&format!("<a href=\"https://app.example.com/verify-email?token={token}\">")));
        assert!(letter.text.contains(&format!("POST https://api.example.com/api/v1/auth/verify-email:\n\n    {token}\n")));
    }

    #[test]
    fn without_pages_a_mail_has_no_link_that_leads_nowhere() {
        let link = LinkId::new(&Random::seeded(2));
        let letter = letter(MailContent::ResetPassword { name: "Ada".into(), link }, None);
        assert!(!letter.html.contains("href") && !letter.text.contains("?token="));
        assert!(letter.text.contains(&Link::token(link, &key())));
    }

    #[test]
    fn names_cannot_write_markup_lines_or_links() {
        for content in every_content("<b>Ada</b> & \"Co\"") {
            let letter = letter(content, None);
            assert!(!letter.html.contains("<b>") && letter.html.contains("&lt;b&gt;Ada&lt;/b&gt; &amp; &quot;Co&quot;"), "{}", letter.html);
        }
        for content in every_content("Ada\r\nBcc: all@example.com\0") {
            let letter = letter(content, None);
            assert!(!letter.subject.chars().any(char::is_control));
            assert!(!letter.text.contains("all@example.com"));
        }
        for name in ["You won, see evil.com", "http://x", "www.evil.example/path", &"x".repeat(81), " ", "evil.com/now"] {
            assert_eq!(shown(name), None, "{name}");
            for content in every_content(name) {
                let letter = letter(content, None);
                assert!(!letter.text.contains("evil") && !letter.html.contains("evil") && !letter.subject.contains("evil"));
            }
        }
        for name in ["Dr. Ada King", "J.R.R. Tolkien", "Acme & Sons, Ltd.", "v1.0", "日本", "  Ada \n King "] {
            assert!(shown(name).is_some(), "{name}");
        }
        assert_eq!(shown("  Ada \n King ").as_deref(), Some("Ada King"));
    }

    #[test]
    fn a_letter_never_shows_its_content_by_accident() {
        let link = LinkId::new(&Random::seeded(2));
        let shown = format!("{:?}", letter(MailContent::VerifyEmail { name: "Ada".into(), link }, None));
        assert!(!shown.contains("ada@") && !shown.contains(&link.to_string()));
    }
}
