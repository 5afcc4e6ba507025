//! The first new words of a mail, as a list of mails shows them.

use crate::{SNIPPET, one_line, start_of};

/// Bytes of the text that are looked at.
const BYTES: usize = 64 * 1024;
/// Lines of `On Monday … wrote:` before a quotation.
const ATTRIBUTION: usize = 3;
/// How that begins, in the languages of most mails.
const ON: [&str; 14] = ["On ", "Am ", "Le ", "El ", "Il ", "Em ", "Op ", "Den ", "På ", "W dniu ", "Dnia ", "Dne ", "Pe ", "В "];
/// How the lines of a header begin that is written into the text when a mail is answered or forwarded: who, and what follows that.
const WHO: [&str; 9] = ["from:", "von:", "de:", "de :", "da:", "van:", "från:", "fra:", "od:"];
const WHAT: [&str; 24] = [
    "sent:",
    "date:",
    "to:",
    "subject:",
    "gesendet:",
    "datum:",
    "an:",
    "betreff:",
    "envoyé",
    "date :",
    "à :",
    "objet",
    "enviado",
    "fecha:",
    "para:",
    "asunto:",
    "inviato:",
    "data:",
    "verzonden:",
    "aan:",
    "skickat:",
    "sendt:",
    "wysłano:",
    "cc:",
];

/// What is new in `text`: without quotations, what introduces them, and the signature. All of it, if nothing else is left.
pub fn snippet(text: &str) -> String {
    let text = start_of(text, BYTES);
    let lines: Vec<&str> = text.lines().collect();
    let mut new: Vec<&str> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim();
        if matches!(*line, "-- " | "--") || original(trimmed) || header(&lines[at..]) {
            break;
        }
        match trimmed.starts_with('>') {
            true => new.truncate(before_quotation(&new)),
            false => new.push(trimmed),
        }
    }
    let snippet = one_line(&new.join(" "), SNIPPET);
    if snippet.is_empty() { one_line(text, SNIPPET) } else { snippet }
}

/// The line above a mail that is answered or forwarded, as Outlook writes it.
fn original(line: &str) -> bool {
    let dashes = line.starts_with("-----") && line.ends_with("---") && line.contains(char::is_alphabetic);
    dashes || (line.len() >= 20 && line.bytes().all(|byte| byte == b'_'))
}

/// `From:` with two more such lines close behind it.
fn header(lines: &[&str]) -> bool {
    let begins = |line: &str, starts: &[&str]| {
        let line = line.trim().trim_start_matches('*').to_lowercase();
        starts.iter().any(|start| line.starts_with(start))
    };
    lines.first().is_some_and(|line| line.len() < 400 && begins(line, &WHO))
        && lines.iter().skip(1).take(4).filter(|line| line.len() < 2_000 && begins(line, &WHAT)).count() >= 2
}

/// How many of `lines` are before what introduces the quotation that follows, such as `On Mon, 1 Jun 2026 at 10:00, Ada <ada@example.com> wrote:`.
fn before_quotation(lines: &[&str]) -> usize {
    let end = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    let paragraph = lines[..end].iter().rposition(|line| line.is_empty()).map_or(0, |empty| empty + 1);
    // It begins with a known word, or else it is one line, in any language.
    let earliest = paragraph.max(end.saturating_sub(ATTRIBUTION));
    let known = (earliest..end).rev().find(|at| ON.iter().any(|on| lines[*at].starts_with(on)));
    let start = known.unwrap_or(end.saturating_sub(1));
    if introduces(&lines[start..end].join(" ")) { start } else { end }
}

fn introduces(line: &str) -> bool {
    let moment = line.as_bytes().windows(3).any(|three| three[0].is_ascii_digit() && three[1] == b':' && three[2].is_ascii_digit());
    let year = line.as_bytes().windows(4).any(|four| four.iter().all(u8::is_ascii_digit));
    line.ends_with([':', '：']) && line.len() < 500 && (moment || year || line.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_words_are_shown() {
        for (text, new) in [
            ("Yes.\n\nOn 1 Jun 2026, at 10:00, Ada <a@b.example> wrote:\n> no\n\nBye", "Yes. Bye"),
            ("Yes.\nOn 1 Jun 2026, at 10:00, Ada\n<a@b.example>\nwrote:\n\n> no", "Yes."),
            ("Ja.\n\nAm 01.06.26 um 10:00 schrieb Ada:\n> no\n> no", "Ja."),
            ("Kyllä.\n\nma 1. kesäk. 2026 klo 10.00 Ada <a@b.example> kirjoitti:\n> no", "Kyllä."),
            ("1. answer:\n> question 1\nyes\n> question 2\nno", "1. answer: yes no"),
            ("Yes\n-- \nAda", "Yes"),
            ("Yes\n--\nAda", "Yes"),
            ("Yes\n\n-----Original Message-----\nno", "Yes"),
            ("Yes\n________________________________\nFrom: Ada", "Yes"),
            ("Ja\n\nVon: Ada\nGesendet: gestern\nAn: Grace\n\nno", "Ja"),
            ("From: the start\nto: the end", "From: the start to: the end"),
            ("-- \nAda", "-- Ada"),
            ("> all\n> quoted", "> all > quoted"),
            ("", ""),
        ] {
            assert_eq!(snippet(text), new, "{text:?}");
        }
    }
}
