//! The header fields of a mail or of one of its parts. The raw lines are found here, so that no trick with case, folding or repetition hides a
//! field; names, words in other charsets and parameters are decoded by mail-parser.

use mail_parser::{HeaderValue, MessageParser};

use crate::{Address, EMAIL, MESSAGE_ID, NAME, SUBJECT, invisible, one_line};

/// Bytes of all fields of the mail, and of one of its parts. What follows them is not read.
const BYTES: usize = 256 * 1024;
/// Fields of the mail, and of one of its parts.
const FIELDS: usize = 1_000;

/// The fields, in order.
pub struct Headers<'a> {
    fields: Vec<Field<'a>>,
}

struct Field<'a> {
    /// In lower case.
    name: String,
    /// As it is written, with the name and all lines.
    raw: &'a [u8],
    /// Where the value begins in `raw`.
    value: usize,
}

/// A media type or a disposition, in lower case, with what is known of its parameters.
#[derive(Default)]
pub struct Kind {
    /// Such as `text/plain`, or `attachment`.
    pub name: String,
    /// Names in lower case.
    parameters: Vec<(String, String)>,
}

impl<'a> Headers<'a> {
    /// Divides `part` into its fields and its body. Lines that are no fields are passed over.
    pub fn split(part: &'a [u8]) -> (Self, &'a [u8]) {
        let mut fields: Vec<Field> = Vec::new();
        let mut offset = 0;
        // Where the lines of the last field begin. None: the line before was none.
        let mut open = None;
        let mut body = part.len();
        for line in part.split_inclusive(|byte| *byte == b'\n') {
            let start = offset;
            offset += line.len();
            if line.trim_ascii().is_empty() && !line.starts_with(b" ") && !line.starts_with(b"\t") {
                body = offset;
                break;
            }
            if offset > BYTES {
                open = None;
            } else if line.starts_with(b" ") || line.starts_with(b"\t") {
                if let (Some(first), Some(field)) = (open, fields.last_mut()) {
                    field.raw = &part[first..offset];
                }
            } else if let Some((name, value)) = field(line).filter(|_| fields.len() < FIELDS) {
                fields.push(Field { name, raw: &part[start..offset], value });
                open = Some(start);
            } else {
                open = None;
            }
        }
        (Self { fields }, &part[body..])
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The values of all fields with this name, which is in lower case: each on one line, trimmed, in lower case. Empty ones say nothing.
    pub fn values(&self, name: &str) -> impl Iterator<Item = String> {
        self.all(name)
            .map(|field| one_line(&String::from_utf8_lossy(field.value()), 1_000).to_lowercase())
            .filter(|value| !value.is_empty())
    }

    /// The mailboxes of all fields with this name that have an address.
    pub fn mailboxes(&self, name: &str) -> Vec<Address> {
        let mut mailboxes = Vec::new();
        for value in self.parsed(name, "To") {
            let HeaderValue::Address(addresses) = value else { continue };
            mailboxes.extend(addresses.iter().filter_map(|address| {
                let email = address.address.as_deref().map(str::trim).filter(|email| is_email(email))?.to_owned();
                let name = address.name.as_deref().map(|name| one_line(name, NAME)).filter(|name| !name.is_empty());
                Some(Address { name, email })
            }));
        }
        mailboxes
    }

    /// The first subject that is not empty.
    pub fn subject(&self) -> String {
        let subjects = self.parsed("subject", "Subject").into_iter();
        let mut lines = subjects.filter_map(|value| value.as_text().map(|text| one_line(text, SUBJECT)));
        lines.find(|line| !line.is_empty()).unwrap_or_default()
    }

    /// The ids of all fields with this name, without angle brackets; each once.
    pub fn message_ids(&self, name: &str) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for field in self.all(name) {
            let value = field.value();
            // Some write their ids without brackets.
            let bare = !value.contains(&b'<');
            for word in value.split(|byte| *byte == b'<' || (bare && (byte.is_ascii_whitespace() || *byte == b','))) {
                let id = match word.iter().position(|byte| *byte == b'>') {
                    Some(end) => &word[..end],
                    None if bare && word.contains(&b'@') => word,
                    None => continue,
                };
                if let Some(id) = message_id(id)
                    && seen.insert(id)
                {
                    ids.push(id.to_owned());
                }
            }
        }
        ids
    }

    /// The media type. None: the part does not say. The first field wins, as it does for most readers.
    pub fn media_type(&self) -> Option<Kind> {
        self.kind("content-type")
    }

    /// The disposition: `inline`, `attachment` or another word.
    pub fn disposition(&self) -> Option<Kind> {
        self.kind("content-disposition")
    }

    /// The transfer encoding in lower case; empty if the part does not say.
    pub fn encoding(&self) -> String {
        self.values("content-transfer-encoding").next().unwrap_or_default()
    }

    fn kind(&self, name: &str) -> Option<Kind> {
        let value = self.parsed(name, "Content-Type").into_iter().find(|value| matches!(value, HeaderValue::ContentType(_)))?;
        let HeaderValue::ContentType(parsed) = value else { return None };
        let subtype = parsed.subtype().map(|subtype| format!("/{subtype}")).unwrap_or_default();
        let parameters = parsed.attributes().unwrap_or_default().iter();
        Some(Kind {
            name: format!("{}{subtype}", parsed.ctype()).trim().to_ascii_lowercase(),
            parameters: parameters.map(|one| (one.name.to_ascii_lowercase(), one.value.to_string())).collect(),
        })
    }

    /// The values of all fields with this name, read as those of the field `as_name`.
    fn parsed(&self, name: &str, as_name: &str) -> Vec<HeaderValue<'static>> {
        let values = self.all(name).filter_map(|field| {
            // The name is written anew: the parser does not see a field with spaces before its colon. An `x` behind the field ends it.
            let lone = [as_name.as_bytes(), b":", field.value(), b"\r\nx: x\r\n\r\n"].concat();
            let message = MessageParser::default().parse_headers(&lone)?;
            message.parts.into_iter().next()?.headers.into_iter().next().map(|header| header.value.into_owned())
        });
        values.collect()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &Field<'a>> {
        self.fields.iter().filter(move |field| field.name == name)
    }
}

impl Field<'_> {
    fn value(&self) -> &[u8] {
        &self.raw[self.value..]
    }
}

impl Kind {
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), parameters: Vec::new() }
    }

    /// The parameter with this name, which is in lower case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(parameter, _)| parameter == name).map(|(_, value)| value.as_str())
    }
}

/// The subject without what answering, forwarding and lists put before and behind it, in lower case.
pub fn thread_subject(subject: &str) -> String {
    let mut base = subject;
    // Each round takes some off, so that this ends.
    loop {
        let shorter = mail_parser::parsers::fields::thread::thread_name(base).trim();
        if shorter.len() >= base.len() {
            return shorter.to_lowercase();
        }
        base = shorter;
    }
}

/// The name of a field in lower case, and where its value begins.
fn field(line: &[u8]) -> Option<(String, usize)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = line[..colon].trim_ascii_end();
    let proper = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    proper.then(|| (String::from_utf8_lossy(name).to_ascii_lowercase(), colon + 1))
}

fn is_email(email: &str) -> bool {
    let (local, domain) = email.rsplit_once('@').unwrap_or_default();
    let strange = |c: char| c.is_whitespace() || c.is_control() || invisible(c) || matches!(c, '<' | '>' | ',' | ';');
    !local.is_empty() && !domain.is_empty() && email.len() <= EMAIL && !email.contains(strange)
}

fn message_id(id: &[u8]) -> Option<&str> {
    let id = id.trim_ascii();
    let proper = !id.is_empty() && id.len() <= MESSAGE_ID && id.iter().all(u8::is_ascii_graphic);
    proper.then(|| str::from_utf8(id).ok()).flatten()
}
