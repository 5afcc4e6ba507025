//! What an address asks the mailbox to play, and the links of a mail.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{Mail, report::Report};

/// The addresses of SES's own simulator.
const SIMULATOR: &str = "simulator.amazonses.com";

/// What is played for a mail after it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Play {
    Report(Report),
    /// Somebody opens the mail: its picture is fetched.
    Open,
    /// Somebody follows its first link.
    Click,
    /// Somebody writes back.
    Reply,
    /// Nobody is there to read it, which their mail program writes back.
    OutOfOffice,
}

/// The words behind a plus in the local part, wherever they stand: `ada+list+bounce@example.com`.
fn asks(address: &str, word: &str) -> bool {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let mut parts = local.split('+');
    let name = parts.next().unwrap_or_default();
    let simulated = match word {
        "bounce" => "bounce",
        "complain" => "complaint",
        "ooo" => "ooto",
        _ => "",
    };
    parts.any(|part| part.eq_ignore_ascii_case(word))
        || (domain.eq_ignore_ascii_case(SIMULATOR) && !simulated.is_empty() && name.eq_ignore_ascii_case(simulated))
}

/// Whether the post of such a mail is answered as if the answer got lost.
pub fn is_lost(mail: &Mail) -> bool {
    !mail.tags.is_empty() && asks(&mail.to, "lost")
}

/// What is played for a mail, and how long after it was taken. A mail without tags is not reported, so nothing is.
pub fn of(mail: &Mail) -> Vec<(SignedDuration, Play)> {
    if mail.tags.is_empty() {
        return vec![];
    }
    let asks = |word| asks(&mail.to, word);
    let mut plays = match (asks("bounce"), asks("soft")) {
        (true, _) => vec![(500, Play::Report(Report::Bounce))],
        (false, true) => vec![(500, Play::Report(Report::SoftBounce))],
        (false, false) => vec![(500, Play::Report(Report::Delivery))],
    };
    if plays == [(500, Play::Report(Report::Delivery))] {
        let further = [
            ("ooo", 1_500, Play::OutOfOffice),
            ("complain", 2_000, Play::Report(Report::Complaint)),
            ("open", 3_000, Play::Open),
            ("click", 5_000, Play::Click),
            ("reply", 7_000, Play::Reply),
        ];
        plays.extend(further.into_iter().filter(|(word, ..)| asks(word)).map(|(_, after, play)| (after, play)));
    }
    let late = if is_lost(mail) { 5_000 } else { 0 };
    plays.into_iter().map(|(after, play)| (SignedDuration::from_millis(after + late), play)).collect()
}

/// A link or a picture of a mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    pub url: String,
    /// What a request to it means, if it is one that the platform answers.
    pub means: Option<Meaning>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    Open,
    Click,
    Unsubscribe,
}

impl Link {
    fn new(url: String) -> Link {
        let means = path(&url).and_then(|path| {
            let ways = [("/e/o/", Meaning::Open), ("/e/c/", Meaning::Click), ("/e/u/", Meaning::Unsubscribe)];
            ways.into_iter().find(|(start, _)| path.starts_with(start)).map(|(_, means)| means)
        });
        Link { url, means }
    }
}

/// The links of a mail in their order, each once: those of the HTML, then those of the text that are not in the HTML.
pub fn links(mail: &Mail) -> Vec<Link> {
    let mut urls = mail.html.as_deref().map(in_html).unwrap_or_default();
    urls.extend(in_text(&mail.text));
    let mut links: Vec<Link> = vec![];
    for url in urls {
        if !links.iter().any(|link| link.url == url) {
            links.push(Link::new(url));
        }
    }
    links
}

/// The web address of `List-Unsubscribe`.
pub fn unsubscribe_url(mail: &Mail) -> Option<String> {
    let (_, value) = mail.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("List-Unsubscribe"))?;
    let mut addresses = value.split(',').map(|part| part.trim().trim_start_matches('<').trim_end_matches('>'));
    addresses.find(|address| is_web(address)).map(str::to_owned)
}

/// Path and query of a web address.
pub fn path(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok().filter(|_| is_web(url))?;
    uri.path_and_query().map(|path| path.as_str().to_owned())
}

fn is_web(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

/// The values of `href` and `src`, which are all that a mail program follows. What is no web address is left out.
fn in_html(html: &str) -> Vec<String> {
    let lower = html.to_ascii_lowercase();
    let mut found: Vec<(usize, String)> = vec![];
    for attribute in ["href=", "src="] {
        for (at, _) in lower.match_indices(attribute) {
            let value = &html[at + attribute.len()..];
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
            let value = match quote {
                Some(quote) => value[1..].split(quote).next(),
                None => value.split(|c: char| c.is_whitespace() || c == '>').next(),
            };
            let named = lower[..at].ends_with(|c: char| c.is_ascii_whitespace() || matches!(c, '"' | '\''));
            found.extend(value.filter(|value| named && is_web(value)).map(|value| (at, value.replace("&amp;", "&"))));
        }
    }
    found.sort();
    found.into_iter().map(|(_, url)| url).collect()
}

fn in_text(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '(' | ')' | '"'));
    words.filter(|word| is_web(word)).map(|word| word.trim_end_matches(['.', ',', ';', ':', '!', '?']).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(to: &str) -> Mail {
        let tags = [("t".to_owned(), "acme".to_owned())].into();
        Mail { to: to.to_owned(), tags, ..Mail::default() }
    }

    #[test]
    fn an_address_says_what_is_played() {
        use Play::{Click, Open, OutOfOffice, Reply};
        let report = Play::Report;
        for (to, plays) in [
            ("ada@example.com", &[report(Report::Delivery)][..]),
            ("bounce@example.com", &[report(Report::Delivery)]),
            ("ada+bounced@example.com", &[report(Report::Delivery)]),
            ("ada+bounce@example.com", &[report(Report::Bounce)]),
            ("ada+x+Bounce+complain@example.com", &[report(Report::Bounce)]),
            ("ada+soft@example.com", &[report(Report::SoftBounce)]),
            ("ada+complain@example.com", &[report(Report::Delivery), report(Report::Complaint)]),
            ("ada+open@example.com", &[report(Report::Delivery), Open]),
            ("ada+click+open@example.com", &[report(Report::Delivery), Open, Click]),
            ("ada+lost+click@example.com", &[report(Report::Delivery), Click]),
            ("bounce@simulator.amazonses.com", &[report(Report::Bounce)]),
            ("bounce+label@simulator.amazonses.com", &[report(Report::Bounce)]),
            ("complaint@Simulator.amazonses.com", &[report(Report::Delivery), report(Report::Complaint)]),
            ("success@simulator.amazonses.com", &[report(Report::Delivery)]),
            ("ooto@simulator.amazonses.com", &[report(Report::Delivery), OutOfOffice]),
            ("ada+ooo@example.com", &[report(Report::Delivery), OutOfOffice]),
            ("ada+reply+open@example.com", &[report(Report::Delivery), Open, Reply]),
            ("ada+bounce+reply@example.com", &[report(Report::Bounce)]),
        ] {
            assert_eq!(of(&mail(to)).into_iter().map(|(_, play)| play).collect::<Vec<_>>(), plays, "{to}");
            assert_eq!(of(&Mail { tags: Default::default(), ..mail(to) }), [], "{to} without tags");
            assert_eq!(is_lost(&mail(to)), to.contains("+lost"), "{to}");
        }
        assert!(of(&mail("ada+lost@example.com"))[0].0 > of(&mail("ada@example.com"))[0].0);
    }

    #[test]
    fn links_are_found_in_their_order_and_those_of_the_platform_are_known() {
        let html = r#"<a HREF="https://x.example/e/c/t1?a=1&amp;b=2">One</a> <a href='mailto:a@b'>no</a> <a data-href="https://no.example">no</a>
            <a href=https://y.example/>Two</a><a href="https://y.example/">again</a><img alt=""src="http://x.example/e/o/t2">"#;
        let text = "See https://y.example/, (https://z.example/e/u/t3) or ftp://no.example.";
        let mail = Mail { html: Some(html.to_owned()), text: text.to_owned(), ..Mail::default() };
        let expected = [
            ("https://x.example/e/c/t1?a=1&b=2", Some(Meaning::Click)),
            ("https://y.example/", None),
            ("http://x.example/e/o/t2", Some(Meaning::Open)),
            ("https://z.example/e/u/t3", Some(Meaning::Unsubscribe)),
        ];
        assert_eq!(links(&mail), expected.map(|(url, means)| Link { url: url.to_owned(), means }));
    }

    #[test]
    fn the_web_address_of_list_unsubscribe_is_found() {
        let with = |value: &str| Mail { headers: [("list-unsubscribe".to_owned(), value.to_owned())].into(), ..Mail::default() };
        let url = "https://x.example/e/u/t".to_owned();
        assert_eq!(unsubscribe_url(&with("<https://x.example/e/u/t>, <mailto:u@x.example>")), Some(url.clone()));
        assert_eq!(unsubscribe_url(&with("<mailto:u@x.example>,<https://x.example/e/u/t>")), Some(url));
        assert_eq!(unsubscribe_url(&with("<mailto:u@x.example>")), None);
        assert_eq!(unsubscribe_url(&Mail::default()), None);
    }
}
