//! What a message from a phone means beyond its words: that somebody wants no more messages, wants them again, or wants help. Only a whole message is a
//! keyword. Words that seem to say no without being one are a suspicion, which a person decides on.

/// A message that is one word of these, or says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyword {
    Stop,
    Start,
    Help,
}

/// English, French and Spanish carriers' words, and those that the FCC lists as reasonable (47 CFR 64.1200(a)(10)).
const STOP: &[&str] = &[
    "STOP",
    "STOPALL",
    "STOP ALL",
    "UNSUBSCRIBE",
    "CANCEL",
    "END",
    "QUIT",
    "REVOKE",
    "OPTOUT",
    "OPT-OUT",
    "OPT OUT",
    "REMOVE",
    "ARRET",
    "ARRÊT",
    "TD",
];
const START: &[&str] = &["START", "UNSTOP", "YES"];
const HELP: &[&str] = &["HELP", "INFO", "AIDE"];

/// Parts of messages that seem to say no, in lower case, with plain apostrophes and single blanks.
const MEANT: &[&str] = &[
    "stop texting",
    "stop messaging",
    "stop sending",
    "stop contacting",
    "stop calling",
    "stop bothering",
    "stop spamming",
    "stop it",
    "please stop",
    "pls stop",
    "just stop",
    "don't text",
    "do not text",
    "dont text",
    "don't message",
    "do not message",
    "dont message",
    "don't contact",
    "do not contact",
    "dont contact",
    "no more texts",
    "no more messages",
    "quit texting",
    "quit messaging",
    "leave me alone",
    "leave us alone",
    "remove me",
    "remove my number",
    "take me off",
    "take my number off",
    "delete my number",
    "lose my number",
    "lose this number",
    "unsubscribe me",
    "unsubscribe please",
    "please unsubscribe",
    "opt me out",
    "want to opt out",
    "cancel my subscription",
    "wrong number",
    "not interested",
];

/// `None`: it is an ordinary message.
pub fn of(text: &str) -> Option<Keyword> {
    let words = plain(text).to_uppercase();
    let is_one_of = |list: &[&str]| list.contains(&words.as_str());
    if is_one_of(STOP) {
        Some(Keyword::Stop)
    } else if is_one_of(START) {
        Some(Keyword::Start)
    } else if is_one_of(HELP) {
        Some(Keyword::Help)
    } else {
        None
    }
}

/// The keyword as it is kept: what was written, in capitals.
pub fn written(text: &str) -> String {
    plain(text).to_uppercase()
}

/// The words by which an ordinary message seems to say no.
pub fn meant(text: &str) -> Option<&'static str> {
    let words = plain(text).to_lowercase().replace(['\u{2018}', '\u{2019}', '`'], "'");
    MEANT.iter().copied().find(|phrase| {
        words.match_indices(phrase).any(|(at, found)| {
            let is_edge = |letter: Option<char>| letter.is_none_or(|letter| !letter.is_alphanumeric());
            is_edge(words[..at].chars().next_back()) && is_edge(words[at + found.len()..].chars().next())
        })
    })
}

/// Without blanks around and punctuation at the end, and with single blanks between words.
fn plain(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let end =
        |letter: char| letter.is_ascii_punctuation() || matches!(letter, '\u{2026}' | '\u{3002}' | '\u{ff01}' | '\u{201d}' | '\u{2019}');
    words.join(" ").trim_end_matches(end).trim_start_matches(['"', '\'', '\u{201c}', '\u{2018}', '\u{ab}']).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_message_is_a_keyword() {
        for text in ["STOP", "stop", " Stop. ", "stop!!!", "\"STOP\"", "Opt  out", "opt-out", "stop all", "arrêt", "TD", "Unsubscribe\n"] {
            assert_eq!(of(text), Some(Keyword::Stop), "{text:?}");
        }
        for (text, keyword) in [("start", Keyword::Start), ("YES!", Keyword::Start), ("Unstop", Keyword::Start), ("help?", Keyword::Help)] {
            assert_eq!(of(text), Some(keyword), "{text:?}");
        }
        for text in ["", "...", "stop it now", "don't stop", "STOPP", "S T O P", "yes please", "the end", "HELP ME"] {
            assert_eq!(of(text), None, "{text:?}");
        }
        assert_eq!(written(" stop. "), "STOP");
    }

    #[test]
    fn words_that_seem_to_say_no_are_found_as_words() {
        for (text, phrase) in [
            ("Please stop texting me", "stop texting"),
            ("PLEASE   STOP", "please stop"),
            ("I don\u{2019}t know you, don\u{2019}t text me again", "don't text"),
            ("Wrong number!", "wrong number"),
            ("take me off your list.", "take me off"),
        ] {
            assert_eq!(meant(text), Some(phrase), "{text:?}");
        }
        for text in ["see you at the bus stop", "nonstop texting is fun", "I am interested", "removed", "the stop sign"] {
            assert_eq!(meant(text), None, "{text:?}");
        }
        assert!(MEANT.iter().all(|phrase| of(phrase).is_none() && *phrase == plain(phrase).to_lowercase()));
    }
}
