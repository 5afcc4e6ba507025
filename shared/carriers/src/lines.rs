//! Lines of a mail's head. A line break in one would begin another header, of whoever wrote the value.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use shared::carriers::Letter;

/// What SES takes as the value of a header.
const LONGEST_VALUE: usize = 870;

const LONGEST_NAME: usize = 126;

/// Whether each line of the head is one line. The reason names the header and not its value, which may contain an address.
pub fn check(letter: &Letter) -> Result<(), String> {
    let own = [("From", letter.from.as_deref()), ("Reply-To", letter.reply_to.as_deref()), ("Subject", Some(letter.subject.as_str()))];
    for (name, value) in own {
        if value.is_some_and(|value| value.contains(char::is_control)) {
            return Err(format!("{name} is not one line of text"));
        }
    }
    for (name, value) in &letter.headers {
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err("a header has no name that a mail can have".into());
        }
        if value.is_empty() || value.len() > LONGEST_VALUE || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(format!("{name} is not one line of at most {LONGEST_VALUE} characters of ASCII"));
        }
    }
    let taggable = |text: &str| {
        (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    match letter.tags.iter().find(|(name, value)| !taggable(name) || !taggable(value)) {
        Some((name, _)) => Err(format!("the tag {name:?} has characters that no tag may have")),
        None => Ok(()),
    }
}

/// `Name <address>` in ASCII: a name with other characters becomes encoded words (RFC 2047), as SES wants it.
pub fn in_ascii(mailbox: &str) -> String {
    match mailbox.rsplit_once('<') {
        Some((name, address)) if !name.is_ascii() => {
            let name = name.trim();
            let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).map_or(name.to_owned(), unquoted);
            format!("{} <{address}", encoded_words(&name))
        }
        _ => mailbox.to_owned(),
    }
}

/// The text of a quoted string: a backslash stands before what is meant as it is.
fn unquoted(text: &str) -> String {
    let mut escaped = false;
    text.chars()
        .filter(|c| {
            escaped = *c == '\\' && !escaped;
            !escaped
        })
        .collect()
}

/// Words of at most 75 characters, each of whole characters.
fn encoded_words(text: &str) -> String {
    let mut words = vec![String::new()];
    for c in text.chars() {
        match words.last_mut() {
            Some(word) if word.len() + c.len_utf8() <= 45 => word.push(c),
            _ => words.push(c.into()),
        }
    }
    let words = words.iter().map(|word| format!("=?UTF-8?B?{}?=", BASE64_STANDARD.encode(word)));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::letter;

    #[test]
    fn no_line_of_the_head_becomes_two() {
        assert_eq!(check(&letter()), Ok(()));
        for end in ["\r\n", "\n", "\r", "\0", "\u{b}", "\u{7f}", "\u{85}"] {
            let value = format!("x{end}Bcc: all@example.com");
            let lines: [fn(&mut Letter, String); 4] = [
                |letter, value| letter.from = Some(value),
                |letter, value| letter.reply_to = Some(value),
                |letter, value| letter.subject = value,
                |letter, value| letter.headers = vec![("List-Unsubscribe", value)],
            ];
            for (number, set) in lines.into_iter().enumerate() {
                let mut letter = letter();
                set(&mut letter, value.clone());
                let reason = check(&letter).expect_err("two lines");
                assert!(!reason.contains("all@example.com"), "{number}: {reason}");
                set(&mut letter, value.replace(end, ""));
                assert_eq!(check(&letter), Ok(()), "the twin of {number}");
            }
        }
    }

    #[test]
    fn headers_and_tags_are_what_the_carrier_takes() {
        for (name, value) in [("X Y", "1"), ("X:", "1"), ("", "1"), ("X", ""), ("X", "Grüße"), ("X", &"x".repeat(871))] {
            let refused = check(&Letter { headers: vec![(name, value.to_owned())], ..letter() });
            assert!(refused.is_err(), "{name}: {value}");
        }
        assert_eq!(check(&Letter { headers: vec![("X", "x".repeat(870))], ..letter() }), Ok(()));
        for value in ["", "a b", "a.b", "ä", &"x".repeat(257)] {
            assert!(check(&Letter { tags: vec![("t", value.to_owned())], ..letter() }).is_err(), "{value}");
        }
        assert_eq!(check(&Letter { tags: vec![("t", "aZ0-_".to_owned())], ..letter() }), Ok(()));
    }

    #[test]
    fn a_sender_of_any_language_is_written_in_ascii() {
        for (given, sent) in [
            ("ada@example.com", "ada@example.com"),
            ("\"Ada, Inc.\" <ada@example.com>", "\"Ada, Inc.\" <ada@example.com>"),
            ("Jörg <j@example.com>", "=?UTF-8?B?SsO2cmc=?= <j@example.com>"),
            ("\"J\\\"ö\\\\\" <j@example.com>", "=?UTF-8?B?SiLDtlw=?= <j@example.com>"),
        ] {
            assert_eq!(in_ascii(given), sent);
        }
        let long = in_ascii(&format!("{} <j@example.com>", "日本".repeat(20)));
        assert!(long.split(' ').all(|word| word.len() <= 75 && word.is_ascii()) && long.contains("?= =?"), "{long}");
    }
}
