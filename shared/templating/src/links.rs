//! Links in finished HTML: every attribute that names an address, found as a mail client finds it, and what is put in its place. All other
//! bytes stay as they were written. It knows neither templates nor what the links are for.

use html5gum::{DefaultEmitter, Error, Span, StartTag, Token, Tokenizer, naive_next_state};

/// One address in the HTML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    /// The element in lower case, such as `a` or `img`.
    pub element: &'a str,
    /// The attribute in lower case, such as `href`.
    pub attribute: &'a str,
    /// The address with its entities resolved.
    pub url: &'a str,
}

/// Gives every link of `html` to `replacement`, also those in Outlook's conditional comments. None keeps the link as it is written; Some is
/// escaped and put in its place. The result ends outside every tag, comment and raw text, so that what is appended to it is seen.
pub fn rewrite_links(html: &str, mut replacement: impl FnMut(Link<'_>) -> Option<String>) -> String {
    rewrite(html, &mut replacement, false)
}

/// What a link becomes in a mail: None if it may stay; else the same link without hidden characters, or `#`. A link may be http, https, mailto,
/// tel or a place within the mail (`#…`). `data:` may not, not even for images.
pub fn harmless(url: &str) -> Option<String> {
    // Browsers drop these characters before they look for the scheme.
    let stripped: String = url.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect();
    let clean = stripped.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    let lower = clean.get(..8).unwrap_or(clean).to_ascii_lowercase();
    let allowed = ["http://", "https://", "mailto:", "tel:", "#"].iter().any(|start| lower.starts_with(start));
    match allowed && !clean.contains(|c: char| c.is_control()) {
        true if clean == url => None,
        true => Some(clean.to_owned()),
        false => Some("#".to_owned()),
    }
}

/// Escapes text for HTML, between tags and in a quoted attribute.
pub(crate) fn escape(text: &str, mut write: impl FnMut(&str)) {
    let mut rest = text;
    while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
        write(&rest[..at]);
        write(match rest.as_bytes()[at] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            _ => "&#39;",
        });
        rest = &rest[at + 1..];
    }
    write(rest);
}

pub(crate) fn utf8(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

const ATTRIBUTES: &str = "action background cite data dynsrc formaction href longdesc lowsrc ping poster src srcset xlink:href";

/// `nested` is the content of a comment or of a raw text element. Some clients show it as HTML (Outlook; `noscript`, or `style` within `svg`), so
/// its tags are found too, but nothing within it.
fn rewrite(html: &str, replacement: &mut dyn FnMut(Link<'_>) -> Option<String>, nested: bool) -> String {
    let mut emitter = DefaultEmitter::<usize>::new_with_span();
    emitter.naively_switch_states(!nested);
    let mut out = String::with_capacity(html.len() + html.len() / 8);
    // Up to where `html` is in `out`, and up to where the tokenizer has understood it.
    let (mut copied, mut seen) = (0, 0);
    let mut raw: Option<String> = None;
    let mut unfinished = "";
    for Ok(token) in Tokenizer::new_with_emitter(html, emitter) {
        let mut replace = |span: Span, new: Option<String>| {
            seen = seen.max(span.end);
            if let Some(new) = new {
                out.push_str(html.get(copied..span.start).unwrap_or_default());
                out.push_str(&new);
                copied = span.end;
            }
        };
        match token {
            Token::StartTag(tag) => {
                replace(tag.span, retag(&tag, replacement));
                raw = naive_next_state(&tag.name).filter(|_| !nested).map(|_| utf8(&tag.name).into_owned());
            }
            Token::String(text) => {
                let inner = html.get(text.span.start..text.span.end).filter(|_| raw.is_some());
                replace(text.span, inner.map(|inner| rewrite(inner, replacement, true)));
            }
            Token::Comment(comment) => {
                let whole = html.get(comment.span.start..comment.span.end).filter(|whole| !nested && whole.starts_with("<!--[if"));
                let new = whole.map(|whole| {
                    let inner = whole.strip_suffix("-->").or(whole.strip_suffix("--!>")).unwrap_or(whole);
                    "<!--".to_owned() + &rewrite(&inner[4..], replacement, true) + &whole[inner.len()..]
                });
                replace(comment.span, new);
            }
            Token::EndTag(tag) => {
                replace(tag.span, None);
                raw = None;
            }
            Token::Doctype(doctype) => replace(doctype.span, None),
            Token::Error(error) => match error.value {
                Error::EofInComment => unfinished = "-->",
                Error::EofInTag | Error::EofInDoctype => unfinished = "<",
                Error::EofBeforeTagName => unfinished = "</",
                _ => {}
            },
        }
    }
    // A tag without an end is no tag to a tokenizer, but would become one with the next `>`.
    let end = if unfinished == "<" { seen } else { html.len() };
    let rest = html.get(copied..end).unwrap_or_default();
    out.push_str(if unfinished.starts_with('<') { rest.trim_end_matches(['<', '/']) } else { rest });
    match raw {
        _ if nested => {}
        Some(name) => out.push_str(&format!("</{name}>")),
        None if unfinished == "-->" => out.push_str(unfinished),
        None => {}
    }
    out
}

/// The tag written anew, if a link in it changes.
fn retag(tag: &StartTag<usize>, replacement: &mut dyn FnMut(Link<'_>) -> Option<String>) -> Option<String> {
    let element = utf8(&tag.name);
    let mut changed = false;
    let mut out = format!("<{element}");
    for (name, value) in &tag.attributes {
        let (attribute, url) = (utf8(name), utf8(value));
        let new = if ATTRIBUTES.split(' ').any(|name| name == attribute) {
            replacement(Link { element: &element, attribute: &attribute, url: &url })
        } else {
            None
        };
        changed |= new.is_some();
        out.push_str(&format!(" {attribute}=\""));
        escape(new.as_deref().unwrap_or(&url), |piece| out.push_str(piece));
        out.push('"');
    }
    out.push_str(if tag.self_closing { " />" } else { ">" });
    changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(html: &str) -> String {
        rewrite_links(html, |link| harmless(link.url))
    }

    #[test]
    fn only_harmless_links_stay() {
        for url in ["http://x.example", "https://x.example/?a=1&b=2#c", "HTTPS://X.example", "mailto:a@b.example", "tel:+491", "#top", "#"]
        {
            assert_eq!(harmless(url), None, "{url}");
        }
        for url in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "java\tscript:x",
            "java\nscript:x",
            "\u{1}javascript:x",
            " javascript:x",
            "java\0script:x",
            "vbscript:x",
            "data:text/html,x",
            "data:image/png;base64,x",
            "file:///etc",
            "ftp://x",
            "cid:x",
            "//x.example",
            "/x",
            "x",
            "",
            "http:x",
            "https:\\\\x",
            "https://x\0y",
            "blob:https://x",
            "javascript:https://x",
            "x:#",
            "ｈttps://x",
        ] {
            assert_eq!(harmless(url).as_deref(), Some("#"), "{url:?}");
        }
        assert_eq!(harmless(" ht\ttps://x.example/a\nb ").as_deref(), Some("https://x.example/ab"));
    }

    #[test]
    fn links_are_found_as_a_mail_client_finds_them() {
        for (html, expected) in [
            ("<a href=\"javascript:x\" id=i>y</a>", "<a href=\"#\" id=\"i\">y</a>"),
            ("<A HREF=javascript:x>y</A>", "<a href=\"#\">y</A>"),
            ("<a href='java&#115;cript:x'>", "<a href=\"#\">"),
            ("<a href='java&Tab;script&colon;x'>", "<a href=\"#\">"),
            ("<a\nhref\n=\n'javascript:x'\n>", "<a href=\"#\">"),
            ("<a/href=javascript:x>", "<a href=\"#\">"),
            ("<a x='>' href=javascript:x>", "<a href=\"#\" x=\"&gt;\">"),
            ("<img src='data:image/png,x' alt=\"a'b\"/>", "<img alt=\"a&#39;b\" src=\"#\" />"),
            ("<form Action=x><td background=javascript:x>", "<form action=\"#\"><td background=\"#\">"),
            ("<button formaction=x><svg><a xlink:href='javascript:x'>", "<button formaction=\"#\"><svg><a xlink:href=\"#\">"),
            ("<a href=https://ok.example href=javascript:x>", "<a href=https://ok.example href=javascript:x>"),
            ("<!--[if mso]><v:rect href='javascript:x'></v:rect><![endif]-->", "<!--[if mso]><v:rect href=\"#\"></v:rect><![endif]-->"),
            ("<![if !mso]><a href=x><![endif]>", "<![if !mso]><a href=\"#\"><![endif]>"),
            ("<!--[if !mso]><!--><a href=x><!--<![endif]-->", "<!--[if !mso]><!--><a href=\"#\"><!--<![endif]-->"),
            ("<!-- <a href=x> -->", "<!-- <a href=x> -->"),
            ("<svg><style><a href=x></style>", "<svg><style><a href=\"#\"></style>"),
            ("<noscript><a href=x></a></noscript>", "<noscript><a href=\"#\"></a></noscript>"),
            ("<style>a{b:'<!--'}</style><a href=x>", "<style>a{b:'<!--'}</style><a href=\"#\">"),
        ] {
            assert_eq!(cleaned(html), expected);
        }
    }

    #[test]
    fn all_else_stays_as_it_is_written() {
        let html = "<!DOCTYPE html PUBLIC \"x\">\r\n<P Class = a>&nbsp;&copy; ä &amp <b>x</B><br/><a  HREF='https://x.example/?a&amp;b'>é</a >\n<!-- c --!>";
        assert_eq!(cleaned(html), html);
    }

    #[test]
    fn the_end_is_outside_of_every_tag() {
        for (html, expected) in [
            ("a<a href=\"javascript:x", "a"),
            ("<p>a</p> b <a href=javascript:x ", "<p>a</p> b "),
            ("a</", "a"),
            ("a<!-- b", "a<!-- b-->"),
            ("<style>a", "<style>a</style>"),
            ("<title>a<b", "<title>a</title>"),
            ("a < b &am", "a < b &am"),
        ] {
            assert_eq!(cleaned(html), expected);
        }
    }

    #[test]
    fn links_are_replaced_by_what_is_asked_for() {
        let html = "<a href='https://x.example/?a=1&amp;b=2'>x</a><img src=\"https://x.example/i.png\">";
        let track = |link: Link| (link.element == "a").then(|| format!("https://t.example/?u=\"{}\"", link.url));
        assert_eq!(
            rewrite_links(html, track),
            "<a href=\"https://t.example/?u=&quot;https://x.example/?a=1&amp;b=2&quot;\">x</a><img src=\"https://x.example/i.png\">"
        );
    }
}
