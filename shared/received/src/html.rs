//! Harmless HTML, made of the HTML of a stranger. Nothing of it is copied: the result is written anew, token by token, from a short list of
//! elements and attributes, with every text and value escaped. So it holds no element that makes a browser read what follows by other rules
//! (script, style, svg, math, noscript, textarea …), and reads the same wherever it is parsed. It has neither style nor class. Every element is
//! closed, and parts of tables and items of lists are only within one, so that nothing reaches beyond the place where it is shown.

use std::borrow::Cow;

use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer, naive_next_state};

/// Elements within each other. The words of deeper ones stay.
const DEPTH: usize = 100;
/// Bytes of the address of a link, or of an image of another server.
const URL: usize = 8 * 1024;
/// Bytes of an image that is in the HTML itself, as it is encoded.
const IMAGE: usize = 64 * 1024;

/// What is kept of an element.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Inline,
    Block,
    /// Never closed.
    Void,
}

/// The tokens of `html` without what is not shown: comments, styles, scripts, titles.
pub fn tokens(html: &str) -> impl Iterator<Item = Token<()>> {
    let mut emitter = DefaultEmitter::<()>::new_with_span();
    emitter.naively_switch_states(true);
    let mut hidden = false;
    Tokenizer::new_with_emitter(html, emitter).filter_map(Result::ok).filter(move |token| {
        match token {
            Token::StartTag(tag) => hidden = naive_next_state(&tag.name).is_some(),
            Token::EndTag(_) => hidden = false,
            Token::String(_) => return !hidden,
            _ => return false,
        }
        true
    })
}

/// What a tokenizer gives is UTF-8, for it was given a string.
pub fn utf8(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// `html` without everything that could do harm, at most `most` bytes, and whether something is missing for that.
pub fn clean(html: &str, most: usize) -> (String, bool) {
    let mut clean = Clean::new(most);
    for token in tokens(html) {
        match token {
            Token::StartTag(tag) => clean.start(&tag),
            Token::EndTag(tag) => clean.end(&utf8(&tag.name)),
            Token::String(text) => clean.text(&utf8(&text)),
            _ => {}
        }
        if clean.full {
            break;
        }
    }
    clean.close_from(0);
    (clean.html, clean.full)
}

/// Text between HTML: as it is written.
pub fn of_text(text: &str, most: usize) -> (String, bool) {
    let mut clean = Clean::new(most);
    clean.open("pre", "");
    clean.text(text);
    clean.close_from(0);
    (clean.html, clean.full)
}

struct Clean {
    html: String,
    /// The open elements.
    open: Vec<&'static str>,
    /// Bytes that closing them takes.
    closing: usize,
    most: usize,
    /// Something did not fit. Nothing more is written but what closes the elements.
    full: bool,
}

impl Clean {
    fn new(most: usize) -> Self {
        Self { html: String::new(), open: Vec::new(), closing: 0, most, full: false }
    }

    fn start(&mut self, tag: &StartTag<()>) {
        let Some((element, shape)) = element(&utf8(&tag.name)) else { return };
        if !self.make_room_for(element, shape) {
            return;
        }
        let Some(attributes) = attributes(element, tag) else { return };
        match shape {
            Shape::Void => self.write(&format!("<{element}{attributes}>"), 0),
            _ if self.open.len() < DEPTH => self.open(element, &attributes),
            _ => {}
        }
    }

    fn end(&mut self, name: &str) {
        let Some((element, shape)) = element(name) else { return };
        let limits: &[&str] = match element {
            "table" => &[],
            _ if is_table(element) => &["table"],
            _ => &["table", "td", "th", "caption"],
        };
        let last = self.open.iter().rposition(|open| *open == element || limits.contains(open));
        if let Some(at) = last.filter(|at| self.open[*at] == element && shape != Shape::Void) {
            self.close_from(at);
        }
    }

    fn text(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find(special) {
            self.plain(&rest[..at]);
            let mut chars = rest[at..].chars();
            match chars.next() {
                Some('&') => self.write("&amp;", 0),
                Some('<') => self.write("&lt;", 0),
                Some('>') => self.write("&gt;", 0),
                Some('"') => self.write("&quot;", 0),
                Some('\'') => self.write("&#39;", 0),
                _ => {}
            }
            rest = chars.as_str();
        }
        self.plain(rest);
    }

    /// Text without special characters, of which the start may stay.
    fn plain(&mut self, text: &str) {
        let room = self.most.saturating_sub(self.html.len() + self.closing);
        if text.len() > room && !self.full {
            self.html.push_str(crate::start_of(text, room));
        }
        self.write(text, 0);
    }

    /// Closes what ends where `element` begins, as browsers do. False: the element has no place here.
    fn make_room_for(&mut self, element: &'static str, shape: Shape) -> bool {
        let last_of = |open: &[&str], names: &[&str]| open.iter().rposition(|open| names.contains(open));
        if is_table(element) && element != "table" {
            let Some(table) = last_of(&self.open, &["table"]) else { return false };
            let parents: &[&str] = match element {
                "td" | "th" => &["tr", "tbody", "thead", "tfoot", "table"],
                "tr" => &["tbody", "thead", "tfoot", "table"],
                "col" => &["colgroup", "table"],
                _ => &["table"],
            };
            let parent = last_of(&self.open[table..], parents).unwrap_or_default();
            self.close_from(table + parent + 1);
            return true;
        }
        if element == "table"
            && let Some(at) = self.open.iter().rposition(|open| is_table(open))
            && !matches!(self.open[at], "td" | "th" | "caption")
        {
            // Directly within a table, it ends that table.
            let outer = last_of(&self.open, &["table"]).unwrap_or(at);
            self.close_from(outer);
        }
        if matches!(element, "li" | "dd" | "dt") {
            // An item is directly in a list. Without one it might end an item of the page that shows it.
            let lists: &[&str] = if element == "li" { &["ul", "ol"] } else { &["dl"] };
            let list = self.open.iter().rposition(|open| lists.contains(open) || is_table(open));
            let Some(list) = list.filter(|at| lists.contains(&self.open[*at])) else { return false };
            self.close_from(list + 1);
            return true;
        }
        let ended: &[&str] = match element {
            "a" => &["a"],
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => &["p", "h1", "h2", "h3", "h4", "h5", "h6"],
            "hr" => &["p"],
            _ if shape == Shape::Block => &["p"],
            _ => &[],
        };
        let at = self.open.iter().rposition(|open| ended.contains(open) || is_table(open));
        if let Some(at) = at.filter(|at| ended.contains(&self.open[*at])) {
            self.close_from(at);
        }
        true
    }

    fn open(&mut self, element: &'static str, attributes: &str) {
        let end = element.len() + "</>".len();
        self.write(&format!("<{element}{attributes}>"), end);
        if !self.full {
            self.open.push(element);
            self.closing += end;
        }
    }

    /// Closes the open element at `at`, and all within it.
    fn close_from(&mut self, at: usize) {
        for element in self.open.drain(at.min(self.open.len())..).rev() {
            self.html.push_str("</");
            self.html.push_str(element);
            self.html.push('>');
            self.closing -= element.len() + "</>".len();
        }
    }

    /// Writes all of `html` or, if there is no room for it and for `more`, nothing.
    fn write(&mut self, html: &str, more: usize) {
        self.full |= self.html.len() + html.len() + self.closing + more > self.most;
        if !self.full {
            self.html.push_str(html);
        }
    }
}

/// The element that is written for one that is called `name`.
fn element(name: &str) -> Option<(&'static str, Shape)> {
    const INLINE: [&str; 23] = [
        "a", "abbr", "b", "big", "cite", "code", "del", "em", "i", "ins", "kbd", "q", "s", "samp", "small", "span", "strike", "strong",
        "sub", "sup", "tt", "u", "var",
    ];
    const BLOCK: [&str; 25] = [
        "blockquote",
        "caption",
        "colgroup",
        "dd",
        "div",
        "dl",
        "dt",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "li",
        "ol",
        "p",
        "pre",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    ];
    const VOID: [&str; 4] = ["br", "col", "hr", "img"];
    const DIVISIONS: [&str; 9] = ["address", "article", "aside", "center", "footer", "header", "main", "nav", "section"];
    let find = |names: &[&'static str]| names.iter().copied().find(|known| *known == name);
    let inline = find(&INLINE).map(|name| (name, Shape::Inline));
    let block = || find(&BLOCK).or(find(&DIVISIONS).map(|_| "div")).map(|name| (name, Shape::Block));
    inline.or_else(block).or_else(|| find(&VOID).map(|name| (name, Shape::Void)))
}

fn is_table(element: &str) -> bool {
    matches!(element, "caption" | "col" | "colgroup" | "table" | "tbody" | "td" | "tfoot" | "th" | "thead" | "tr")
}

/// What is written behind the name of the element. None: without what is not allowed, nothing is left of it.
fn attributes(element: &str, tag: &StartTag<()>) -> Option<String> {
    let mut out = String::new();
    let value = |name: &str| tag.attributes.get(name.as_bytes()).map(|value| utf8(value));
    let mut add = |name: &str, value: &str| {
        out.push(' ');
        out.push_str(name);
        out.push_str("=\"");
        escape(value, &mut out);
        out.push('"');
    };
    if let Some(value) = value("dir").and_then(|value| one_of(&value, &["ltr", "rtl", "auto"])) {
        add("dir", value);
    }
    match element {
        "a" => {
            if let Some(url) = value("href").and_then(|url| link(&url)) {
                add("href", &url);
                add("rel", "noopener noreferrer nofollow");
            }
        }
        "img" => {
            let source = value("src").unwrap_or_default();
            match (remote(&source), embedded(&source)) {
                (Some(url), _) => add("data-src", &url),
                (None, Some(image)) => add("src", &image),
                (None, None) => return None,
            }
            if let Some(alt) = value("alt") {
                add("alt", crate::start_of(&alt, 1_000));
            }
        }
        _ => {}
    }
    let sizes: &[&str] = match element {
        "img" => &["width", "height"],
        "table" | "col" | "colgroup" => &["width"],
        "td" | "th" => &["width", "colspan", "rowspan"],
        "ol" => &["start"],
        _ => &[],
    };
    for name in sizes {
        if let Some(value) = value(name).filter(|value| size(value)) {
            add(name, &value);
        }
    }
    if is_table(element) || matches!(element, "div" | "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6") {
        if let Some(value) = value("align").and_then(|value| one_of(&value, &["left", "right", "center", "justify"])) {
            add("align", value);
        }
        if let Some(value) = value("valign").and_then(|value| one_of(&value, &["top", "middle", "bottom", "baseline"])) {
            add("valign", value);
        }
    }
    Some(out)
}

/// The address of a link, if it leads to nothing but a page, a mail or a call.
fn link(url: &str) -> Option<String> {
    address(url, &["http://", "https://", "mailto:", "tel:"])
}

/// The address of an image on another server.
fn remote(url: &str) -> Option<String> {
    address(url, &["http://", "https://"])
}

/// `url`, as browsers read it, if it begins with one of `starts`.
fn address(url: &str, starts: &[&str]) -> Option<String> {
    if url.len() > URL {
        return None;
    }
    // Browsers drop these characters before they look for the scheme.
    let stripped: String = url.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect();
    let clean = stripped.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    let start = starts.iter().find(|start| clean.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start)))?;
    let rest = &clean[start.len()..];
    (!rest.is_empty() && !rest.contains(char::is_control)).then(|| format!("{start}{rest}"))
}

/// A small picture in the HTML itself, of a kind that holds no script.
fn embedded(url: &str) -> Option<String> {
    const STARTS: [&str; 3] = ["data:image/png;base64,", "data:image/jpeg;base64,", "data:image/gif;base64,"];
    if url.len() > 2 * IMAGE {
        return None;
    }
    let clean: String = url.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let start = STARTS.iter().find(|start| clean.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start)))?;
    let rest = &clean[start.len()..];
    let proper = !rest.is_empty() && rest.len() <= IMAGE && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    proper.then(|| format!("{start}{rest}"))
}

/// Up to four digits, perhaps with a percent sign.
fn size(value: &str) -> bool {
    let digits = value.strip_suffix('%').unwrap_or(value);
    (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn one_of<'a>(value: &str, allowed: &[&'a str]) -> Option<&'a str> {
    allowed.iter().copied().find(|one| one.eq_ignore_ascii_case(value.trim()))
}

/// Characters that are not written as they are: those of markup, and controls, which are dropped.
fn special(char: char) -> bool {
    matches!(char, '&' | '<' | '>' | '"' | '\'' | '\u{feff}') || (char.is_control() && !matches!(char, '\n' | '\t'))
}

fn escape(value: &str, out: &mut String) {
    let mut clean = Clean::new(usize::MAX);
    clean.text(value);
    out.push_str(&clean.html);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::assert_harmless;

    #[test]
    fn a_mail_keeps_its_form() {
        for (html, expected) in [
            ("<p>Hi <b>Ada</b> &amp; <i>all</i></p>", "<p>Hi <b>Ada</b> &amp; <i>all</i></p>"),
            ("<P ALIGN=Center STYLE='color:red' class=x id=y>a</P>", "<p align=\"center\">a</p>"),
            ("<ul><li>a<li>b<ul><li>c</ul><li>d</ul>", "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>"),
            ("<p>a<p>b<div>c</div>", "<p>a</p><p>b</p><div>c</div>"),
            ("a<br/>b<hr>c", "a<br>b<hr>c"),
            ("<center>a</center><section>b", "<div>a</div><div>b</div>"),
            (
                "<table width=600 bgcolor=red><tr><td colspan=2 width='50%'>a<td>b<tr><th>c</table>d",
                "<table width=\"600\"><tr><td width=\"50%\" colspan=\"2\">a</td><td>b</td></tr><tr><th>c</th></tr></table>d",
            ),
            ("<table><tr><td><table><tr><td>a</table>b</table>", "<table><tr><td><table><tr><td>a</td></tr></table>b</td></tr></table>"),
            ("<table><tr><td>a</table></td></tr></div></table>b", "<table><tr><td>a</td></tr></table>b"),
            ("<td>a</td></tr>b", "ab"),
            ("<li>a</li><dd>b", "ab"),
            ("<ul><table><tr><td><li>a", "<ul><table><tr><td>a</td></tr></table></ul>"),
            ("<ul><li><div>a<li>b", "<ul><li><div>a</div></li><li>b</li></ul>"),
            ("<dl><dt>a<dd>b<dt>c</dl>", "<dl><dt>a</dt><dd>b</dd><dt>c</dt></dl>"),
            ("<h1>a<h2>b<a href=x>c<a href=y>d", "<h1>a</h1><h2>b<a>c</a><a>d</a></h2>"),
            ("<table><table><tr><td>a", "<table></table><table><tr><td>a</td></tr></table>"),
            ("<b><i>a</b>b</i>", "<b><i>a</i></b>b"),
            ("<font color=red>a</font><o:p>b</o:p>", "ab"),
            ("<!--[if mso]><p>x</p><![endif]--><![if !mso]>a<![endif]>", "a"),
            ("<head><title>t</title><style>p{}</style><meta charset=x></head><body>a", "a"),
            ("<ol start=3 type=A><li>a", "<ol start=\"3\"><li>a</li></ol>"),
            ("a < b > c & d \"e\" 'f'", "a &lt; b &gt; c &amp; d &quot;e&quot; &#39;f&#39;"),
        ] {
            assert_eq!(clean(html, 1_000), (expected.to_owned(), false), "{html}");
            assert_harmless(expected);
        }
    }

    #[test]
    fn links_lead_to_pages_mails_and_calls() {
        let rel = "rel=\"noopener noreferrer nofollow\"";
        for (url, expected) in [
            ("https://x.example/?a=1&amp;b=2", Some("https://x.example/?a=1&amp;b=2")),
            (" HTTP://x.example", Some("http://x.example")),
            ("ht\ntps://x.example", Some("https://x.example")),
            ("mailto:a@b.example", Some("mailto:a@b.example")),
            ("tel:+1", Some("tel:+1")),
            ("javascript:alert(1)", None),
            ("//x.example", None),
            ("/path", None),
            ("#top", None),
            ("https:", None),
            ("ftp://x.example", None),
            ("https://x\u{1}y", None),
        ] {
            let expected = expected.map(|url| format!("<a href=\"{url}\" {rel}>a</a>")).unwrap_or("<a>a</a>".to_owned());
            assert_eq!(clean(&format!("<a href=\"{url}\" target=_top onclick=x rel=opener>a</a>"), 1_000).0, expected);
        }
    }

    #[test]
    fn no_image_is_loaded() {
        let small = format!("data:image/png;base64,{}", "A".repeat(IMAGE));
        let large = format!("{small}A");
        for (url, expected) in [
            ("https://x.example/a.png", "<img data-src=\"https://x.example/a.png\" alt=\"A\">"),
            ("HTTP://x.example", "<img data-src=\"http://x.example\" alt=\"A\">"),
            ("cid:a@b", ""),
            ("//x.example/a.png", ""),
            ("a.png", ""),
            ("data:image/svg+xml;base64,AAAA", ""),
            ("data:image/png,AAAA", ""),
            ("data:image/gif;base64,AA\" onload=x", ""),
            ("DATA:image/GIF;base64,AA==", "<img src=\"data:image/gif;base64,AA==\" alt=\"A\">"),
            (&small, &format!("<img src=\"{small}\" alt=\"A\">")),
            (&large, ""),
        ] {
            let html = format!("<img src='{url}' srcset='https://x.example 2x' alt=A lowsrc=x longdesc=x>");
            assert_eq!(clean(&html, 2 * IMAGE).0, expected, "{url}");
        }
    }

    #[test]
    fn attacks_do_no_harm() {
        for attack in ATTACKS {
            let (html, _) = clean(attack, 10_000);
            assert_harmless(&html);
            // Some words stay, but only as words and in quoted values.
            let tags = html.split('<').skip(1).filter_map(|tag| tag.split('>').next());
            let markup: String = tags.flat_map(|tag| tag.split('"').step_by(2)).collect();
            for word in ["script", "onerror", "onload", "style", "url(", "data:text", "svg", "xlink", "srcset", "expression", "vbscript"] {
                assert!(!markup.to_lowercase().contains(word), "{word} in {html} of {attack}");
            }
        }
    }

    const ATTACKS: [&str; 62] = [
        "<script>alert(1)</script>",
        "<SCRIPT SRC=//x.example/x.js></SCRIPT>",
        "<scr<script>ipt>alert(1)</scr</script>ipt>",
        "<script/x>alert(1)</script >",
        "<script>a</script",
        "<<script>alert(1)//<</script>",
        "<svg onload=alert(1)>",
        "<svg/onload=alert(1)//",
        "<svg><script>alert(1)</script></svg>",
        "<svg><script href=data:,alert(1) />",
        "<svg><a xlink:href=javascript:alert(1)><text>x</text></a></svg>",
        "<svg><animate attributeName=href values=javascript:alert(1) />",
        "<svg><set attributeName=onload to=alert(1) />",
        "<svg><use href=\"data:image/svg+xml,x#x\" />",
        "<svg></p><style><a id=\"</style><img src=1 onerror=alert(1)>\">",
        "<svg><foreignObject><p><style><img src=x onerror=alert(1)></style>",
        "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
        "<math><mtext><mglyph><svg><mtext><style><path id=\"</style><img onerror=alert(1) src>\">",
        "<math><annotation-xml encoding=\"text/html\"><style><img src=x onerror=alert(1)></style></annotation-xml>",
        "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
        "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
        "<style><!--</style><script>alert(1)//--></script>",
        "<style>@import 'https://x.example/x.css';</style>",
        "<title><img title=\"</title><img src onerror=alert(1)>\">",
        "<textarea><img title=\"</textarea><img src onerror=alert(1)>\">",
        "<xmp><p title=\"</xmp><svg/onload=alert(1)>\">",
        "<noembed><img title=\"</noembed><img src onerror=alert(1)>\">",
        "<noframes><img title=\"</noframes><img src onerror=alert(1)>\">",
        "<template><img src=x onerror=alert(1)></template>",
        "<select><template><style><!--</style><a rel=\"--></style></template></select><img src onerror=alert(1)>\">",
        "<plaintext><img src=x onerror=alert(1)>",
        "<iframe src=javascript:alert(1)></iframe>",
        "<iframe srcdoc=\"&lt;script&gt;alert(1)&lt;/script&gt;\">",
        "<object data=data:text/html,x></object><embed src=javascript:alert(1)>",
        "<applet code=x></applet><frameset onload=alert(1)><frame src=x>",
        "<base href=https://x.example/><a href=/x>x</a>",
        "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
        "<link rel=stylesheet href=https://x.example/x.css>",
        "<form action=https://x.example><input name=password><button formaction=javascript:alert(1)>x</button></form>",
        "<img src=x onerror=alert(1)>",
        "<img src=https://x.example/x onerror=alert(1) srcset='x 1x, https://x.example 2x'>",
        "<img src=`javascript:alert(1)`>",
        "<img \"\"\"><script>alert(1)</script>\">",
        "<img src=\"https://x.example/\" title=\"--!><img src=x onerror=alert(1)>\">",
        "<picture><source srcset=https://x.example/x></picture><video poster=https://x.example src=x onerror=alert(1)><audio src=x>",
        "<a href=\"javascript:alert(1)\">x</a>",
        "<a href=\"java\tscript:alert(1)\">x</a>",
        "<a href=\"\u{1}javascript:alert(1)\">x</a>",
        "<a href=\"&#106;&#97;vascript&colon;alert(1)\">x</a>",
        "<a href=\"&#x6A&#x61;vascript:alert(1)\">x</a>",
        "<a href=\"vbscript:x\">x</a><a href=\"data:text/html,<script>alert(1)</script>\">y</a>",
        "<a href='https://x.example/\" onmouseover=\"alert(1)'>x</a>",
        "<a href=https://x.example/&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;>x</a>",
        "<a href=x href=javascript:alert(1) ping=https://x.example>x</a>",
        "<div style=\"background:url(https://x.example/x)\">x</div>",
        "<div style=\"width:expression(alert(1))\">x</div><p style=\"position:fixed;top:0\">y</p>",
        "<table background=https://x.example/x><td background=javascript:alert(1)>x",
        "<body onload=alert(1) background=https://x.example/x>",
        "<p title='<!--' onclick=alert(1)>--><script>alert(1)</script>",
        "<p>\0<scr\0ipt>alert(1)</scr\0ipt><a hr\0ef=x href=\"java\0script:x\">y",
        "<!--><script>alert(1)</script>--><!-- --!><img src onerror=alert(1)> -->",
        "</div></td></table></body></html><img src=x onerror=alert(1)><![CDATA[<script>alert(1)</script>]]>",
    ];
}
