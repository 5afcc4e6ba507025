//! The first new words of a mail, as a list of mails shows them.

use crate::{SNIPPET, one_line, start_of};

/// Bytes of the text that are looked at.
const BYTES: usize = 64 * 1024;
/// Lines of `On Monday … wrote:` before a quotation.
const ATTRIBUTION: usize = 3;
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
    // Where the paragraph begins that might introduce a quotation.
    let mut paragraph = 0;
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim();
        if matches!(*line, "-- " | "--") || original(trimmed) || header(&lines[at..]) {
            break;
        }
        if trimmed.starts_with('>') {
            while new.last().is_some_and(|line| line.is_empty()) {
                new.pop();
            }
            if introduces(&new[paragraph.min(new.len())..]) {
                new.truncate(paragraph);
            }
            paragraph = new.len();
        } else if trimmed.is_empty() {
            new.push(trimmed);
        } else {
            if new.last().is_some_and(|line| line.is_empty()) {
                paragraph = new.len();
            }
            new.push(trimmed);
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

/// A short paragraph such as `On Mon, 1 Jun 2026 at 10:00, Ada <ada@example.com> wrote:`, in any language.
fn introduces(lines: &[&str]) -> bool {
    let line = lines.join(" ");
    let moment = line.as_bytes().windows(3).any(|three| three[0].is_ascii_digit() && three[1] == b':' && three[2].is_ascii_digit());
    let year = line.as_bytes().windows(4).any(|four| four.iter().all(u8::is_ascii_digit));
    (1..=ATTRIBUTION).contains(&lines.len()) && line.ends_with([':', '：']) && line.len() < 500 && (moment || year || line.contains('@'))
}
