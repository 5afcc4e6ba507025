//! What a received mail says: who wrote it, what about, its words, what is attached, and whether a person wrote it at all.
//! The bytes come from strangers: any input gives an answer in bounded time and memory. No I/O, no clock, no randomness.

mod body;
mod headers;
mod html;
mod nature;
mod snippet;
mod text;

#[cfg(test)]
mod clients;
#[cfg(test)]
mod hostile;

use thiserror::Error;

/// Bytes of a whole mail.
pub const RAW: usize = 25 * 1024 * 1024;
/// MIME parts of a mail, with those that only contain others.
pub const PARTS: usize = 100;
/// Multiparts within each other. What is deeper is an attachment.
pub const NESTING: usize = 8;
/// Characters of the name of a mailbox.
pub const NAME: usize = 200;
/// Bytes of the address of a mailbox.
pub const EMAIL: usize = 320;
/// Characters of a subject.
pub const SUBJECT: usize = 255;
/// Bytes of the id of a message.
pub const MESSAGE_ID: usize = 998;
/// Ids of `in_reply_to`, and of `references`.
pub const REFERENCES: usize = 20;
/// Bytes of the text.
pub const TEXT: usize = 256 * 1024;
/// Bytes of the clean HTML.
pub const HTML: usize = 512 * 1024;
/// Characters of the snippet.
pub const SNIPPET: usize = 160;
/// Attachments with a name.
pub const ATTACHMENTS: usize = 20;
/// Characters of the name of an attachment.
pub const FILE_NAME: usize = 255;

/// What a mail says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The first mailbox of `From`, or that of `Sender` if there is none. Anybody may write anything there.
    pub from: Address,
    /// One line. Empty if there is none.
    pub subject: String,
    /// The subject in lower case without `Re:`, `Fwd:`, `AW:`, `[list]` …: equal in all mails of a conversation. May be empty.
    pub thread_subject: String,
    /// Without angle brackets. None also if it is too long, or has characters that no id has.
    pub message_id: Option<String>,
    /// In the same form, the oldest first.
    pub in_reply_to: Vec<String>,
    /// In the same form: the first of the conversation, and the newest.
    pub references: Vec<String>,
    /// The words, with `\n` at the end of a line. Made of the HTML if the mail has no text part.
    pub text: String,
    /// A fragment with a few harmless elements and attributes. Images of other servers have their address in `data-src`, so that none is loaded.
    pub html: Option<String>,
    /// A part of `text` or `html` is missing because it was too long.
    pub truncated: bool,
    /// The first words that are new: without quotations and signature, on one line.
    pub snippet: String,
    /// The first ones, in the order of the mail.
    pub attachments: Vec<Attachment>,
    /// How many more there are.
    pub further_attachments: usize,
    pub nature: Nature,
}

/// A mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// On one line, without invisible characters.
    pub name: Option<String>,
    /// As written: something before an `@` and something behind it, without spaces and control characters.
    pub email: String,
}

/// A part of a mail that is a file, or cannot be shown. A mail within the mail is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// A name without a path, and never empty. Two may have the same.
    pub name: String,
    /// As the mail says, in lower case, such as `image/png`.
    pub media_type: String,
    /// Bytes of the content.
    pub size: usize,
}

/// Who, or what, wrote a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    Person,
    /// Somebody is away.
    OutOfOffice,
    /// Another machine: a list, a newsletter, a ticket, a receipt.
    Automatic,
    /// A mail of ours did not arrive.
    Bounce,
}

/// Why a mail is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    #[error("the mail has more than {RAW} bytes")]
    TooLarge,
    #[error("the mail has more than {PARTS} parts")]
    TooManyParts,
    #[error("the mail does not say who wrote it")]
    NoSender,
    #[error("this is not a mail")]
    NotAMail,
}

/// What the mail `raw` (RFC 5322) says.
pub fn read(raw: &[u8]) -> Result<Received, Unreadable> {
    let mail = body::open(raw)?;
    let headers = &mail.headers;
    let from = headers.mailboxes("from").into_iter().chain(headers.mailboxes("sender")).next().ok_or(Unreadable::NoSender)?;
    let subject = headers.subject();
    let nature = nature::nature(headers, &from.email, &subject, mail.reports_delivery());
    let words = mail.words();
    let attachments: Vec<_> = mail.attachments.iter().take(ATTACHMENTS).map(body::File::describe).collect();
    Ok(Received {
        thread_subject: headers::thread_subject(&subject),
        subject,
        message_id: headers.message_ids("message-id").into_iter().next(),
        in_reply_to: first_and_newest(headers.message_ids("in-reply-to")),
        references: first_and_newest(headers.message_ids("references")),
        snippet: snippet::snippet(&words.text),
        text: words.text,
        html: words.html,
        truncated: words.truncated,
        further_attachments: mail.attachments.len() - attachments.len(),
        attachments,
        nature,
        from,
    })
}

/// The content of the attachment at `index` of `Received::attachments`, whose size is what a mail says of it.
#[cfg(test)]
fn attachment(raw: &[u8], index: usize) -> Option<Vec<u8>> {
    let mail = body::open(raw).ok()?;
    mail.attachments.into_iter().take(ATTACHMENTS).nth(index).map(|file| file.content().into_owned())
}

/// The first id names the conversation, and the newest ones are most likely known.
fn first_and_newest(mut ids: Vec<String>) -> Vec<String> {
    if ids.len() > REFERENCES {
        ids.drain(1..=ids.len() - REFERENCES);
    }
    ids
}

/// `text` on one line: without control characters and those that are invisible or turn others around, at most `most` characters.
fn one_line(text: &str, most: usize) -> String {
    let mut line = String::new();
    let mut count = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        let mut word = word.chars().filter(|c| !invisible(*c)).peekable();
        if word.peek().is_none() {
            continue;
        }
        let space = (!line.is_empty()).then_some(' ');
        for char in space.into_iter().chain(word) {
            if count == most {
                line.truncate(line.trim_end().len());
                return line;
            }
            line.push(char);
            count += 1;
        }
    }
    line
}

/// Characters without a shape, which hide text or change its direction.
fn invisible(char: char) -> bool {
    matches!(char,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

/// The start of `text` that has at most `most` bytes, cut between two characters.
fn start_of(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_clean_and_short() {
        for (text, line) in [
            ("  Ada\r\n\tLovelace\u{0} ", "Ada Lovelace"),
            ("\u{202e}evil\u{200b}\u{feff}", "evil"),
            ("\u{200b} \u{2066}", ""),
            ("abcdefghijklmn", "abcdefghijkl"),
            ("abcdefghijk lm", "abcdefghijk"),
            ("ééééééééééééé", "éééééééééééé"),
        ] {
            assert_eq!(one_line(text, 12), line, "{text:?}");
        }
    }

    #[test]
    fn references_keep_the_first_and_the_newest() {
        let ids = |range: std::ops::Range<usize>| range.map(|i| i.to_string()).collect::<Vec<_>>();
        assert_eq!(first_and_newest(ids(0..20)), ids(0..20));
        assert_eq!(first_and_newest(ids(0..50)), [ids(0..1), ids(31..50)].concat());
    }
}
