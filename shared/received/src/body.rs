//! The parts of a mail: which are its words, and which are attached. Parts are divided here, with bounds, and not by mail-parser: what that
//! gives is as deep and as wide as a stranger likes. A mail within a mail stays closed: it is an attachment.

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;

use crate::headers::{Headers, Kind};
use crate::{Attachment, FILE_NAME, HTML, NESTING, PARTS, RAW, TEXT, Unreadable, html, one_line, start_of, text};

/// Bytes of all parts with words, as they are decoded. Far more than is kept, for HTML is mostly markup that is dropped.
const WORDS: usize = 2 * 1024 * 1024;

/// A mail whose parts are found.
pub struct Mail<'a> {
    pub headers: Headers<'a>,
    pub attachments: Vec<File<'a>>,
    pieces: Vec<Piece>,
    /// Parts with words that were too long.
    truncated: bool,
}

/// What people read.
pub struct Words {
    pub text: String,
    pub html: Option<String>,
    pub truncated: bool,
}

/// An attachment, still encoded.
pub struct File<'a> {
    name: String,
    media_type: String,
    encoding: Encoding,
    body: &'a [u8],
}

/// Words of one place in the mail.
enum Piece {
    Text(String),
    Html(String),
    /// The same twice.
    Both {
        text: String,
        html: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    None,
    Base64,
    QuotedPrintable,
}

/// What the parts around a part say about it.
#[derive(Clone, Copy)]
struct Place {
    /// Multiparts around it.
    depth: usize,
    /// It is one of several forms of the same.
    alternative: bool,
    /// It is a mail, unless it says otherwise.
    digest: bool,
}

/// Finds the parts of `raw`.
pub fn open(raw: &[u8]) -> Result<Mail<'_>, Unreadable> {
    if raw.len() > RAW {
        return Err(Unreadable::TooLarge);
    }
    let (headers, body) = Headers::split(raw);
    if headers.is_empty() {
        return Err(Unreadable::NotAMail);
    }
    let mut parts = Parts { attachments: Vec::new(), count: 0, room: WORDS, truncated: false };
    let pieces = parts.enter(&headers, body, Place { depth: 0, alternative: false, digest: false })?;
    Ok(Mail { headers, attachments: parts.attachments, pieces, truncated: parts.truncated })
}

impl Mail<'_> {
    /// It holds what a mail server says about a mail that it did not deliver.
    pub fn reports_delivery(&self) -> bool {
        self.attachments.iter().any(|file| matches!(&*file.media_type, "message/delivery-status" | "message/global-delivery-status"))
    }

    pub fn words(&self) -> Words {
        let mut words = Words { text: String::new(), html: None, truncated: self.truncated };
        for piece in &self.pieces {
            let text = match piece {
                Piece::Text(text) | Piece::Both { text, .. } => text::clean(text),
                Piece::Html(html) => text::of_html(html, 2 * TEXT),
            };
            let separator = if words.text.is_empty() || text.is_empty() { "" } else { "\n\n" };
            words.text.push_str(separator);
            words.text.push_str(&text);
        }
        if self.pieces.iter().any(|piece| !matches!(piece, Piece::Text(_))) {
            let mut clean = String::new();
            for piece in &self.pieces {
                let most = HTML - clean.len();
                let (more, cut) = match piece {
                    Piece::Text(text) => html::of_text(text, most),
                    Piece::Html(html) | Piece::Both { html, .. } => html::clean(html, most),
                };
                clean.push_str(&more);
                words.truncated |= cut;
            }
            words.html = Some(clean);
        }
        if words.text.len() > TEXT {
            words.truncated = true;
            words.text = start_of(&words.text, TEXT).trim_end().to_owned();
        }
        words
    }
}

impl<'a> File<'a> {
    pub fn describe(&self) -> Attachment {
        let size = match self.encoding {
            Encoding::Base64 => base64_size(self.body),
            _ => self.content().len(),
        };
        Attachment { name: self.name.clone(), media_type: self.media_type.clone(), size }
    }

    pub fn content(&self) -> Cow<'a, [u8]> {
        decode(self.encoding, self.body)
    }
}

struct Parts<'a> {
    attachments: Vec<File<'a>>,
    count: usize,
    /// Bytes that parts with words may still have.
    room: usize,
    truncated: bool,
}

impl<'a> Parts<'a> {
    /// The words of a part and of the parts within it. Its files are noted. The recursion is as deep as `NESTING`.
    fn enter(&mut self, headers: &Headers, body: &'a [u8], place: Place) -> Result<Vec<Piece>, Unreadable> {
        self.count += 1;
        if self.count > PARTS {
            return Err(Unreadable::TooManyParts);
        }
        let kind = match headers.media_type() {
            Some(kind) if kind.name.contains('/') => kind,
            _ if place.digest => Kind::named("message/rfc822"),
            _ => Kind::named("text/plain"),
        };
        let parts = match kind.parameter("boundary") {
            Some(boundary) if kind.name.starts_with("multipart/") && !boundary.is_empty() && place.depth < NESTING => {
                divide(body, boundary.as_bytes(), PARTS - self.count)?
            }
            _ => Vec::new(),
        };
        if parts.is_empty() {
            return Ok(self.leaf(headers, &kind, body, place).into_iter().collect());
        }
        let alternative = kind.name == "multipart/alternative";
        let inner = Place { depth: place.depth + 1, alternative, digest: kind.name == "multipart/digest" };
        let mut children = Vec::new();
        for part in parts {
            let (headers, body) = Headers::split(part);
            children.push(self.enter(&headers, body, inner)?);
        }
        Ok(match alternative {
            true => best(children),
            false => children.into_iter().flatten().collect(),
        })
    }

    fn leaf(&mut self, headers: &Headers, kind: &Kind, body: &'a [u8], place: Place) -> Option<Piece> {
        let encoding = match &*headers.encoding() {
            "base64" => Encoding::Base64,
            "quoted-printable" => Encoding::QuotedPrintable,
            _ => Encoding::None,
        };
        let disposition = headers.disposition().unwrap_or_default();
        let named = disposition.parameter("filename");
        // Some programs give a name to the words of the mail too.
        let described = kind.parameter("name").filter(|_| !place.alternative && place.depth > 0);
        let file = disposition.name == "attachment" || named.is_some() || described.is_some();
        // A multipart without parts, or with a boundary that nowhere is: whatever it has is shown.
        let html = kind.name == "text/html";
        let shown = html || kind.name == "text/plain" || (kind.name.starts_with("multipart/") && place.depth < NESTING);
        if file || !shown {
            let name = named.or(kind.parameter("name")).map(file_name).filter(|name| !name.is_empty());
            let media_type = media_type(&kind.name);
            let name = name.unwrap_or_else(|| default_name(media_type).to_owned());
            self.attachments.push(File { name, media_type: media_type.to_owned(), encoding, body });
            return None;
        }
        // Encoded, a byte takes at most three and a few for the end of its line.
        let start = &body[..body.len().min(4 * self.room)];
        let decoded = decode(encoding, start);
        let bytes = &decoded[..decoded.len().min(self.room)];
        self.truncated |= start.len() < body.len() || bytes.len() < decoded.len();
        self.room -= bytes.len();
        let text = characters(bytes, kind.parameter("charset"));
        Some(if html { Piece::Html(text) } else { Piece::Text(text) })
    }
}

impl Piece {
    fn take_text(&mut self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Both { text, .. } => Some(std::mem::take(text)),
            Self::Html(_) => None,
        }
    }

    fn take_html(&mut self) -> Option<String> {
        match self {
            Self::Html(html) | Self::Both { html, .. } => Some(std::mem::take(html)),
            Self::Text(_) => None,
        }
    }
}

/// Of several forms of the same: the first text, and the last HTML.
fn best(children: Vec<Vec<Piece>>) -> Vec<Piece> {
    let (mut text, mut html) = (None, None);
    for mut child in children {
        let texts: Vec<_> = child.iter_mut().filter_map(Piece::take_text).collect();
        let htmls: Vec<_> = child.iter_mut().filter_map(Piece::take_html).collect();
        if text.is_none() && !texts.is_empty() && texts.len() >= htmls.len() {
            text = Some(texts.join("\n\n")).filter(|text| !text.trim().is_empty());
        }
        if !htmls.is_empty() {
            html = Some(htmls.concat());
        }
    }
    match (text, html) {
        (Some(text), Some(html)) => vec![Piece::Both { text, html }],
        (Some(text), None) => vec![Piece::Text(text)],
        (None, Some(html)) => vec![Piece::Html(html)],
        (None, None) => Vec::new(),
    }
}

/// What is between the lines `--boundary` of a multipart. The last part may lack its end.
fn divide<'a>(body: &'a [u8], boundary: &[u8], most: usize) -> Result<Vec<&'a [u8]>, Unreadable> {
    let mut parts = Vec::new();
    let mut start = None;
    let mut offset = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let before = offset;
        offset += line.len();
        let Some(rest) = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary)) else { continue };
        let rest = rest.trim_ascii();
        if !matches!(rest, b"" | b"--") {
            continue;
        }
        if let Some(start) = start {
            if parts.len() == most {
                return Err(Unreadable::TooManyParts);
            }
            parts.push(without_newline(&body[start..before]));
        }
        start = rest.is_empty().then_some(offset);
        if start.is_none() {
            break;
        }
    }
    if let Some(start) = start.filter(|start| *start < body.len()) {
        if parts.len() == most {
            return Err(Unreadable::TooManyParts);
        }
        parts.push(&body[start..]);
    }
    Ok(parts)
}

/// The newline before a boundary belongs to the boundary.
fn without_newline(part: &[u8]) -> &[u8] {
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    part.strip_suffix(b"\r").unwrap_or(part)
}

fn decode(encoding: Encoding, body: &[u8]) -> Cow<'_, [u8]> {
    match encoding {
        Encoding::None => body.into(),
        Encoding::Base64 => base64(body).into(),
        Encoding::QuotedPrintable => quoted_printable_decode(body).map_or(body.into(), Cow::from),
    }
}

/// Rubbish is passed over, and so is a last character that makes no byte.
fn base64(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for value in body.iter().filter_map(|byte| base64_value(*byte)) {
        bits = bits << 6 | value;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}

fn base64_size(body: &[u8]) -> usize {
    body.iter().filter(|byte| base64_value(**byte).is_some()).count() * 3 / 4
}

fn base64_value(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}

/// Without a charset that is known it is UTF-8, or what old Windows programs write.
fn characters(bytes: &[u8], charset: Option<&str>) -> String {
    let named = charset.filter(|name| !name.eq_ignore_ascii_case("utf-8")).and_then(|name| charset_decoder(name.as_bytes()));
    match (named, str::from_utf8(bytes)) {
        (Some(decode), _) => decode(bytes),
        (None, Ok(text)) => text.to_owned(),
        (None, Err(_)) => match charset_decoder(b"windows-1252").filter(|_| charset.is_none()) {
            // A part that was cut ends within a character.
            Some(decode) if String::from_utf8_lossy(bytes).matches('\u{fffd}').count() > 1 => decode(bytes),
            _ => String::from_utf8_lossy(bytes).into_owned(),
        },
    }
}

/// The name of a file without its folders, and without what shells and file systems take as something else.
fn file_name(name: &str) -> String {
    let line = one_line(name, usize::MAX);
    let last = line.rsplit(['/', '\\']).find(|part| !part.trim().is_empty()).unwrap_or_default();
    let clean: String = last.chars().map(|c| if matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*') { '_' } else { c }).collect();
    let clean = clean.trim().trim_end_matches('.');
    match clean.char_indices().nth(FILE_NAME) {
        None => clean.to_owned(),
        Some(_) => {
            // The end says what it is.
            let extension = clean.rsplit_once('.').map(|(_, extension)| format!(".{extension}")).filter(|end| end.chars().count() <= 16);
            let extension = extension.unwrap_or_default();
            clean.chars().take(FILE_NAME - extension.chars().count()).chain(extension.chars()).collect()
        }
    }
}

fn media_type(name: &str) -> &str {
    let token = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c));
    match name.split_once('/') {
        Some((kind, subtype)) if token(kind) && token(subtype) && name.len() <= 127 => name,
        _ => "application/octet-stream",
    }
}

fn default_name(media_type: &str) -> &'static str {
    match media_type {
        "text/calendar" => "invite.ics",
        "message/rfc822" | "message/global" => "message.eml",
        "message/delivery-status" | "message/global-delivery-status" => "delivery-status.txt",
        "text/rfc822-headers" | "message/global-headers" => "headers.txt",
        "text/vcard" | "text/x-vcard" => "contact.vcf",
        "image/png" => "image.png",
        "image/jpeg" => "image.jpg",
        "image/gif" => "image.gif",
        "application/pdf" => "document.pdf",
        "application/pgp-signature" => "signature.asc",
        "application/pkcs7-signature" | "application/x-pkcs7-signature" => "smime.p7s",
        _ => "attachment",
    }
}
