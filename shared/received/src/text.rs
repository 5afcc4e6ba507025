//! The words of a mail as plain text: as they were written, or made of the HTML. Quotations of HTML get the `>` that they have in text.

use std::iter::repeat_n;

use html5gum::Token;

use crate::html::{tokens, utf8};

/// Quotations within quotations that are shown as such.
const QUOTES: usize = 8;

/// `text` with `\n` at the end of a line, and without other control characters.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' | '\n' | '\u{2028}' | '\u{2029}' => {
                out.truncate(out.trim_end_matches([' ', '\t']).len() + usize::from(signature_follows(&out)));
                out.push('\n');
            }
            '\t' => out.push(char),
            _ if char.is_control() || char == '\u{feff}' => {}
            _ => out.push(char),
        }
    }
    let kept = out.trim_end().trim_start_matches('\n');
    kept.to_owned()
}

/// The text of `html`, of about `most` bytes. Blocks break lines, list items begin with `- `, a link is followed by its address in brackets, an
/// image is its `alt`, quotations begin with `> `. Styles, scripts, titles and comments are dropped.
pub fn of_html(html: &str, most: usize) -> String {
    let mut text = Text::default();
    for token in tokens(html) {
        match token {
            Token::StartTag(tag) => {
                let attribute = |name: &str| tag.attributes.get(name.as_bytes()).map(|value| utf8(value).into_owned());
                text.start(&utf8(&tag.name), attribute);
            }
            Token::EndTag(tag) => text.end(&utf8(&tag.name)),
            Token::String(string) => text.push(&utf8(&string)),
            _ => {}
        }
        if text.out.len() > most {
            break;
        }
    }
    text.close_link();
    text.out
}

/// The line that ends is `-- `: its space says that a signature follows.
fn signature_follows(out: &str) -> bool {
    out.strip_suffix("-- ").is_some_and(|before| before.is_empty() || before.ends_with('\n'))
}

#[derive(Default)]
struct Text {
    out: String,
    /// Newlines that come before the next word; at most two.
    newlines: usize,
    space: bool,
    /// The last thing written is the `-` of a list item, whose first block begins on the same line.
    bullet: bool,
    /// The open link: its address, and where its text begins.
    link: Option<(String, usize)>,
    quotes: usize,
    preformatted: usize,
}

impl Text {
    fn start(&mut self, element: &str, attribute: impl Fn(&str) -> Option<String>) {
        self.newlines = self.newlines.max(breaks(element));
        match element {
            "br" => self.newlines = (self.newlines + 1).min(2),
            "td" | "th" => self.space = true,
            "blockquote" => self.quotes += 1,
            "pre" => self.preformatted += 1,
            "li" => {
                self.push("- ");
                self.bullet = true;
            }
            "img" => self.push(&attribute("alt").unwrap_or_default()),
            "a" => {
                self.close_link();
                self.link = attribute("href").filter(|url| shown_link(url)).map(|url| (url, self.out.len()));
            }
            _ => {}
        }
    }

    fn end(&mut self, element: &str) {
        match element {
            "a" => self.close_link(),
            "blockquote" => self.quotes = self.quotes.saturating_sub(1),
            "pre" => self.preformatted = self.preformatted.saturating_sub(1),
            _ => {}
        }
        self.newlines = self.newlines.max(breaks(element));
    }

    fn push(&mut self, text: &str) {
        for char in text.chars() {
            if char == '\n' && self.preformatted > 0 {
                self.newlines = (self.newlines + 1).min(2);
                continue;
            }
            if char.is_whitespace() {
                self.space = true;
                continue;
            }
            if char.is_control() || char == '\u{feff}' {
                continue;
            }
            let first = self.out.is_empty();
            if first || (self.newlines > 0 && !self.bullet) {
                self.out.extend(repeat_n('\n', if first { 0 } else { self.newlines }));
                self.out.extend(repeat_n("> ", self.quotes.min(QUOTES)));
            } else if self.space {
                self.out.push(' ');
            }
            (self.newlines, self.space, self.bullet) = (0, false, false);
            self.out.push(char);
        }
    }

    /// A link whose text is its address is not written twice.
    fn close_link(&mut self) {
        if let Some((url, start)) = self.link.take() {
            let shown = self.out[start..].trim().trim_start_matches("> ");
            let address = url.trim_start_matches("mailto:").trim_start_matches("tel:");
            if shown.is_empty() {
                self.push(&url);
            } else if shown != url && shown != address {
                self.push(" (");
                self.push(&url);
                self.push(")");
            }
        }
    }
}

/// Addresses that say something. Some are a whole image.
fn shown_link(url: &str) -> bool {
    let start = url.trim_start().get(..8).unwrap_or(url).to_ascii_lowercase();
    url.len() <= 2_000 && ["http://", "https://", "mailto:", "tel:"].iter().any(|scheme| start.starts_with(scheme))
}

/// How many newlines are around an element: two around what has a margin.
fn breaks(element: &str) -> usize {
    match element {
        "blockquote" | "dl" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "hr" | "ol" | "p" | "pre" | "table" | "ul" => 2,
        "address" | "article" | "center" | "dd" | "div" | "dt" | "footer" | "form" | "header" | "li" | "main" | "nav" | "section"
        | "tr" => 1,
        _ => 0,
    }
}
