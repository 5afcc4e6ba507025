//! Whether a person wrote a mail (RFC 3834). Only the header tells: words such as "out of office" in the text do not make a mail automatic.

use crate::Nature;
use crate::headers::Headers;

/// How the subjects of programs that answer for people begin, in lower case.
const AWAY: [&str; 22] = [
    "abwesend",
    "abwesenheit",
    "afwezig",
    "auto reply",
    "auto:",
    "auto-reply",
    "automatic reply",
    "automatisch antwoord",
    "automatische antwort",
    "autoreply",
    "autosvar",
    "away from",
    "fraværende",
    "fuera de la oficina",
    "out of office",
    "out of the office",
    "respuesta automática",
    "resposta automática",
    "risposta automatica",
    "réponse automatique",
    "vacation",
    "自動返信",
];

/// What wins: a bounce, then a receipt or another report, then somebody who is away, then all other machines. A field that is empty says nothing;
/// of several with the same name each counts, except of the path back: the last server wrote the topmost one.
pub fn nature(headers: &Headers, from: &str, subject: &str, reports_delivery: bool) -> Nature {
    let says = |name: &str| headers.values(name).next().is_some();
    let no_return = headers.values("return-path").next().is_some_and(|path| path.chars().filter(|c| !c.is_whitespace()).eq("<>".chars()));
    let (local, _) = from.rsplit_once('@').unwrap_or_default();
    let postmaster = ["mailer-daemon", "postmaster"].iter().any(|name| local.eq_ignore_ascii_case(name));
    let kind = headers.media_type().unwrap_or_default();
    let report = kind.name == "multipart/report";
    let delivery = kind.parameter("report-type").map_or(reports_delivery, |kind| kind.trim().eq_ignore_ascii_case("delivery-status"));
    if (report && delivery) || (no_return && postmaster) {
        return Nature::Bounce;
    }
    if report {
        return Nature::Automatic;
    }
    let submitted: Vec<_> = headers.values("auto-submitted").map(|value| first_word(&value)).filter(|word| word != "no").collect();
    let yes = |name: &str| headers.values(name).any(|value| !matches!(&*first_word(&value), "no" | "false"));
    let answers = yes("x-autoreply") || yes("x-autorespond") || yes("x-auto-reply");
    let precedence: Vec<_> = headers.values("precedence").map(|value| first_word(&value).replace('-', "_")).collect();
    let replies = precedence.iter().any(|word| word == "auto_reply");
    let replied = submitted.iter().any(|word| word == "auto-replied");
    let bulk = precedence.iter().any(|word| matches!(&**word, "bulk" | "junk" | "list"));
    let list = says("list-id") || says("list-unsubscribe");
    let subject = subject.to_lowercase();
    let away = AWAY.iter().any(|start| subject.starts_with(start));
    let machine = no_return || !submitted.is_empty() || bulk || list;
    if replied || answers || replies || (away && (machine || says("x-auto-response-suppress"))) {
        Nature::OutOfOffice
    } else if machine {
        Nature::Automatic
    } else {
        Nature::Person
    }
}

/// The value without parameters and comments.
fn first_word(value: &str) -> String {
    value.split(|c: char| c.is_whitespace() || matches!(c, ';' | '(' | ',')).find(|word| !word.is_empty()).unwrap_or_default().to_owned()
}
