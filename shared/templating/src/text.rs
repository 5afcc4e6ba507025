//! The text part of a mail, made of its HTML: for people who read without HTML, and for filters that compare both parts.

use html5gum::{DefaultEmitter, Token, Tokenizer, naive_next_state};

use crate::links::utf8;

/// The text of `html`. Blocks break lines, list items begin with `- `, a link is followed by its address in brackets, an image is its `alt`.
/// Styles, scripts, titles and comments are dropped. Any input is accepted.
pub fn html_to_text(html: &str) -> String {
    let mut emitter = DefaultEmitter::<()>::new_with_span();
    emitter.naively_switch_states(true);
    let mut text = Text::default();
    let mut hidden = false;
    for Ok(token) in Tokenizer::new_with_emitter(html, emitter) {
        match token {
            Token::StartTag(tag) => {
                hidden = naive_next_state(&tag.name).is_some();
                let attribute = |name: &str| tag.attributes.get(name.as_bytes()).map(|value| utf8(value).into_owned());
                text.start(&utf8(&tag.name), attribute);
            }
            Token::EndTag(tag) => {
                hidden = false;
                text.end(&utf8(&tag.name));
            }
            Token::String(string) if !hidden => text.push(&utf8(&string)),
            _ => {}
        }
    }
    text.close_link();
    text.out
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
}

impl Text {
    fn start(&mut self, element: &str, attribute: impl Fn(&str) -> Option<String>) {
        self.newlines = self.newlines.max(breaks(element));
        match element {
            "br" => self.newlines = (self.newlines + 1).min(2),
            "td" | "th" => self.space = true,
            "li" => {
                self.push("- ");
                self.bullet = true;
            }
            "img" => self.push(&attribute("alt").unwrap_or_default()),
            "a" => {
                self.close_link();
                self.link = attribute("href").filter(|url| !url.starts_with('#')).map(|url| (url, self.out.len()));
            }
            _ => {}
        }
    }

    fn end(&mut self, element: &str) {
        if element == "a" {
            self.close_link();
        }
        self.newlines = self.newlines.max(breaks(element));
    }

    fn push(&mut self, text: &str) {
        for char in text.chars() {
            if char.is_whitespace() {
                self.space = true;
                continue;
            }
            match self.newlines {
                _ if self.out.is_empty() => {}
                1.. if !self.bullet => self.out.extend(std::iter::repeat_n('\n', self.newlines)),
                _ if self.space => self.out.push(' '),
                _ => {}
            }
            (self.newlines, self.space, self.bullet) = (0, false, false);
            self.out.push(char);
        }
    }

    /// A link whose text is its address is not written twice.
    fn close_link(&mut self) {
        if let Some((url, start)) = self.link.take() {
            let shown = self.out[start..].trim();
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

/// How many newlines are around an element: two around what has a margin.
fn breaks(element: &str) -> usize {
    match element {
        "blockquote" | "dl" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "hr" | "ol" | "p" | "pre" | "table" | "ul" => 2,
        "address" | "article" | "center" | "dd" | "div" | "dt" | "footer" | "form" | "header" | "li" | "main" | "nav" | "section"
        | "tr" => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_becomes_text() {
        let html = "<!DOCTYPE html><html><head><title>T</title><style>p{}</style></head><body>\n<h1>Hi  <b>Ada</b>&nbsp;&amp; all</h1>\n\
            <p>One<br>two\n three</p><div>a</div><div>b</div><ul><li>x</li><li><p>y</p></li></ul>\
            <table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table><!-- c --><script>s()</script>\
            <p>See <a href='https://x.example/?a=1&amp;b=2'>our <i>site</i></a>.</p></body></html>";
        let text = "Hi Ada & all\n\nOne\ntwo three\n\na\nb\n\n- x\n- y\n\n1 2\n3\n\nSee our site (https://x.example/?a=1&b=2).";
        assert_eq!(html_to_text(html), text);
    }

    #[test]
    fn an_address_is_written_once() {
        for (html, text) in [
            ("<a href=https://x.example>https://x.example</a>", "https://x.example"),
            ("<a href=mailto:a@b.example>a@b.example</a>", "a@b.example"),
            ("<a href=tel:+1>call</a>", "call (tel:+1)"),
            ("<a href=#top>up</a> <a name=x>y</a>", "up y"),
            ("<a href=https://x.example><img src=x></a>", "https://x.example"),
            ("<a href=https://x.example><img alt='Shop' src=x></a>!", "Shop (https://x.example)!"),
            ("<a href=https://x.example>open", "open (https://x.example)"),
            ("<style>a", ""),
            ("", ""),
        ] {
            assert_eq!(html_to_text(html), text, "{html}");
        }
    }
}
