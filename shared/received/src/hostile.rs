//! Random and chosen hostile mails: each must end with an answer that keeps its bounds, and HTML in which nothing can do harm.

use html5gum::{DefaultEmitter, Token, Tokenizer};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::clients::{SAMPLES, wire};
use crate::*;

/// Attributes that may be in clean HTML.
const ATTRIBUTES: [&str; 14] =
    ["align", "alt", "colspan", "data-src", "dir", "height", "href", "rel", "rowspan", "src", "start", "valign", "width", ""];
/// Elements that may be in clean HTML.
const ELEMENTS: &str = " a abbr b big blockquote br caption cite code col colgroup dd del div dl dt em h1 h2 h3 h4 h5 h6 hr i img ins kbd li ol p \
    pre q s samp small span strike strong sub sup table tbody td tfoot th thead tr tt u ul var ";

/// What a part of a mail may be made of.
const PIECES: [&str; 60] = [
    "From: a@example.com\n",
    "from:",
    "To: ",
    "Subject: ",
    "=?utf-8?q?=00=E2=82?=",
    "=?utf-8?b?",
    "=?x-unknown?b?////?=",
    "=?",
    "?=",
    "Message-ID: <a@b>\n",
    "References: ",
    "<a@b> ",
    "<",
    ">",
    "\"",
    "\\",
    "(",
    ")",
    ";",
    ":",
    ",",
    "@",
    "Auto-Submitted: ",
    "Return-Path: <>\n",
    "Content-Type: multipart/mixed; boundary=b\n",
    "Content-Type: multipart/alternative; boundary=\"c\"\n",
    "Content-Type: multipart/digest; boundary=b\n",
    "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n",
    "Content-Type: text/html; charset=utf-7\n",
    "Content-Type: text/plain; charset=utf-16\n",
    "Content-Type: text/html; charset=gb18030\n",
    "Content-Type: message/rfc822\n",
    "Content-Type: text/calendar; name*0*=utf-8''%zz; name*1=x\n",
    "Content-Disposition: attachment; filename=\"../../etc/passwd\"\n",
    "Content-Transfer-Encoding: base64\n",
    "Content-Transfer-Encoding: quoted-printable\n",
    "PGI+aGk8L2I+",
    "=3D=\n",
    "=zz",
    "\n",
    "\n\n",
    "\r",
    "\r\n",
    "\n--b\n",
    "\n--b--\n",
    "\n--c\n",
    "--",
    " ",
    "\t",
    "\u{0}",
    "é",
    "\u{202e}",
    "<table><tr><td>",
    "<script>alert(1)</script>",
    "<a href='javascript:x'>",
    "<blockquote>",
    "<!--",
    "> quoted\n",
    "On 1 Jan 2026 a@b wrote:\n",
    "-- \n",
];

/// Reads `raw`, and checks all that is promised of any mail.
fn ends_well(raw: &[u8]) -> bool {
    let Ok(read) = read(raw) else { return false };
    let line = |text: &str, most: usize| {
        assert!(text.chars().count() <= most && !text.contains(|c: char| c.is_control() || invisible(c)), "{text:?}");
        assert_eq!(text.trim(), text);
    };
    let from = &read.from;
    line(from.name.as_deref().unwrap_or_default(), NAME);
    assert_ne!(from.name.as_deref(), Some(""));
    line(&from.email, EMAIL);
    assert!(from.email.len() <= EMAIL && from.email.contains('@'));
    line(&read.subject, SUBJECT);
    assert!(read.thread_subject.chars().count() <= 3 * SUBJECT);
    line(&read.snippet, SNIPPET);
    assert!(read.references.len() <= REFERENCES && read.in_reply_to.len() <= REFERENCES);
    for id in read.references.iter().chain(&read.in_reply_to).chain(&read.message_id) {
        assert!((1..=MESSAGE_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id:?}");
    }
    assert!(read.text.len() <= TEXT && !read.text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')), "{:?}", read.text);
    if let Some(html) = &read.html {
        assert!(html.len() <= HTML);
        assert_harmless(html);
    }
    assert!(read.attachments.len() <= ATTACHMENTS && read.attachments.len() + read.further_attachments < PARTS + 1);
    for (index, file) in read.attachments.iter().enumerate() {
        line(&file.name, FILE_NAME);
        assert!(!file.name.is_empty() && !file.name.contains(['/', '\\']), "{:?}", file.name);
        assert!(file.media_type.contains('/') && file.media_type.len() <= 127, "{:?}", file.media_type);
        assert_eq!(attachment(raw, index).unwrap().len(), file.size);
    }
    true
}

/// Fails if `html` has anything but the few elements and attributes that are allowed, each closed where it must be. It knows how the HTML is
/// read, and nothing of how it was made.
pub fn assert_harmless(html: &str) {
    let tokens = |switch: bool| {
        let mut emitter = DefaultEmitter::<()>::new_with_span();
        emitter.naively_switch_states(switch);
        Tokenizer::new_with_emitter(html, emitter).map(|token| token.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(tokens(true), tokens(false), "no element changes how the rest is read");
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut open: Vec<String> = Vec::new();
    for token in tokens(true) {
        match token {
            Token::StartTag(tag) => {
                let name = utf8(&tag.name);
                assert!(ELEMENTS.contains(&format!(" {name} ")), "{html}");
                let table = open.iter().any(|open| open == "table");
                let part = matches!(&*name, "caption" | "col" | "colgroup" | "tbody" | "td" | "tfoot" | "th" | "thead" | "tr");
                assert!(table || !part, "{name} is not in a table: {html}");
                let list = open.iter().any(|open| matches!(&**open, "dl" | "ol" | "ul"));
                assert!(list || !matches!(&*name, "dd" | "dt" | "li"), "{name} is not in a list: {html}");
                for (attribute, value) in &tag.attributes {
                    let (attribute, value) = (utf8(attribute), utf8(value));
                    assert!(ATTRIBUTES.contains(&&*attribute), "{attribute}: {html}");
                    let begins = |starts: &[&str]| starts.iter().any(|start| value.starts_with(start));
                    match &*attribute {
                        "href" => assert!(begins(&["http://", "https://", "mailto:", "tel:"]), "{html}"),
                        "data-src" => assert!(begins(&["http://", "https://"]), "{html}"),
                        "src" => assert!(begins(&["data:image/png;", "data:image/jpeg;", "data:image/gif;"]), "{html}"),
                        "rel" => assert_eq!(value, "noopener noreferrer nofollow"),
                        _ => {}
                    }
                }
                assert!(!tag.attributes.contains_key(&b"href"[..]) || tag.attributes.contains_key(&b"rel"[..]));
                if !matches!(&*name, "br" | "col" | "hr" | "img") {
                    open.push(name);
                }
            }
            Token::EndTag(tag) => assert_eq!(open.pop(), Some(utf8(&tag.name)), "{html}"),
            Token::String(text) => assert!(!utf8(&text).contains('\0')),
            other => panic!("{other:?} in {html}"),
        }
    }
    assert!(open.is_empty(), "{open:?} stay open: {html}");
    // What a careless reader might take for markup.
    assert!(!html.contains("<!") && !html.contains("<?"), "{html}");
}

fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[11; 32]))
}

#[test]
fn random_mails_end_well() {
    let pieces = || proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..40).prop_map(|pieces| pieces.concat().into_bytes());
    let mails = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        pieces(),
        pieces().prop_map(|rest| [b"From: a@example.com\n", &rest[..]].concat()),
        (pieces(), pieces()).prop_map(|(a, b)| [
            b"From: a@b.c\nContent-Type: multipart/mixed; boundary=b\n\n--b\n",
            &a[..],
            b"\n--b\n",
            &b
        ]
        .concat()),
        pieces().prop_map(|rest| [b"From: a@b.c\nContent-Type: text/html\n\n", &rest[..]].concat()),
    ];
    let good = std::cell::Cell::new(0);
    let count = |mail: Vec<u8>| {
        good.set(good.get() + u32::from(ends_well(&mail)));
        Ok(())
    };
    runner(2_000).run(&mails, count).unwrap();
    assert!(good.get() > 800, "only {} of the mails could be read", good.get());
}

#[test]
fn damaged_mails_end_well() {
    let damage = (0..SAMPLES.len(), proptest::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..12));
    let damaged = damage.prop_map(|(sample, changes)| {
        let mut mail = wire(SAMPLES[sample].mail);
        for (index, change, byte) in changes {
            let at = index.index(mail.len());
            match change {
                0 => mail[at] = byte,
                1 => mail.truncate(at.max(1)),
                2 => mail.splice(at..at, PIECES[usize::from(byte) % PIECES.len()].bytes()).for_each(drop),
                _ => {
                    let copy = mail[at..].to_vec();
                    mail.extend(&copy[..copy.len().min(400)]);
                }
            }
        }
        mail
    });
    runner(1_000).run(&damaged, |mail| Ok(_ = ends_well(&mail))).unwrap();
}

#[test]
fn random_html_is_harmless() {
    let html = "(<(/?)(a|p|b|div|table|tr|td|caption|li|ul|h1|pre|svg|math|style|script|title|noscript|textarea|select|template|br|img)( |/)?\
        ((href|src|style|onload|colspan|width|align)=['\"]?(https://x|javascript:x|data:text/html,x|2|&quot;|é|center)['\"]?){0,2}>|<|>|&lt|&#0;|\
        x|--|!--|\"|'|\\]\\]|/|\n|\0|\u{a0}|\\PC){0,40}";
    let check = |html: String| {
        let (clean, cut) = html::clean(&html, HTML);
        assert!(!cut);
        assert_harmless(&clean);
        if !clean.contains("<img") {
            assert_eq!(html::clean(&clean, HTML).0, clean, "cleaning again changes nothing: {html:?}");
        }
        let (short, _) = html::clean(&html, 50);
        assert!(short.len() <= 50, "{short}");
        assert_harmless(&short);
        text::of_html(&html, 100);
        Ok(())
    };
    runner(600).run(&html, check).unwrap();
}

#[test]
fn chosen_attacks_end_well() {
    let mail = |header: &str, body: &str| format!("From: a@example.com\n{header}\n\n{body}");
    let html = |html: &str| mail("Content-Type: text/html", html);
    let multipart = "Content-Type: multipart/mixed; boundary=b";
    let nest = |kind: &str, depth: usize| {
        (0..depth).map(|i| format!("Content-Type: {kind}; boundary=b{i}\n\n--b{i}\n")).collect::<String>() + "\n\ninnermost"
    };
    let attacks = [
        nest("multipart/mixed", 5_000),
        mail("X: y", "").replace("X: y\n\n", &nest("multipart/mixed", 5_000)),
        mail("X: y", "").replace("X: y\n\n", &nest("multipart/alternative", 90)),
        mail("X: y", "").replace("X: y\n\n", &"Content-Type: message/rfc822\n\n".repeat(50_000)),
        mail(multipart, &"--b\nContent-Type: message/rfc822\n\n".repeat(90)),
        mail("Content-Type: multipart/digest; boundary=b", &"--b\n\n".repeat(90)),
        mail(multipart, &format!("--b\n{}", "Content-Type: multipart/mixed; boundary=no\n\n--b\n".repeat(90))),
        mail(&"X: y\n".repeat(200_000), ""),
        mail(&"From: b@example.com\n".repeat(20_000), ""),
        mail(&format!("X: {}", "y\n ".repeat(200_000)), ""),
        mail(&format!("To: {}", "a@b.c, ".repeat(30_000)), ""),
        mail(&format!("To: {}", "(".repeat(200_000)), ""),
        mail(&format!("To: {}", "\"".repeat(200_001)), ""),
        mail(&format!("To: {}", "<".repeat(200_000)), ""),
        mail(&format!("To: {}", "g:".repeat(100_000)), ""),
        mail(&format!("To: {}", "=?utf-8?q?".repeat(20_000)), ""),
        mail(&format!("Subject: {}", "=?utf-8?b?4oKs?= ".repeat(10_000)), ""),
        mail(&format!("Subject: {}", "=?utf-8?q?".repeat(20_000)), ""),
        mail(&format!("Subject: {}", "Re: [x] ".repeat(20_000)), ""),
        mail(&format!("Subject: {}", "(fwd)".repeat(20_000)), ""),
        mail(&format!("References: {}", "<a@b>".repeat(40_000)), ""),
        mail(&format!("References: {}", (0..20_000).map(|i| format!("<{i}@b>")).collect::<String>()), ""),
        mail(&format!("Content-Type: text/plain; {}", "a=b; ".repeat(40_000)), "hi"),
        mail(&format!("Content-Type: text/plain; {}", "name*0=b; ".repeat(20_000)), "hi"),
        mail(&format!("Content-Type: multipart/mixed; boundary={}", "b".repeat(200_000)), &"-".repeat(200_000)),
        mail(&format!("Content-Disposition: attachment; filename=\"{}\"", "é/".repeat(50_000)), ""),
        mail("Content-Type: text/plain; charset=x-none\nContent-Transfer-Encoding: base64", &"!=?\n".repeat(100_000)),
        mail("Content-Type: text/plain; charset=utf-16\nContent-Transfer-Encoding: base64", &"/////".repeat(100_000)),
        mail("Content-Type: text/plain; charset=utf-7", &"+".repeat(500_000)),
        mail("Content-Type: text/html; charset=hz-gb-2312\nContent-Transfer-Encoding: quoted-printable", &"=~{".repeat(100_000)),
        mail("Content-Transfer-Encoding: quoted-printable", &"=".repeat(500_000)),
        mail("Content-Type: text/plain", &"x".repeat(3_000_000)),
        mail("Content-Type: text/plain", &"> On 1:1 2026:\n".repeat(50_000)),
        mail("Content-Type: text/plain", &"From: x\n".repeat(50_000)),
        mail("Content-Type: text/plain", &"\n".repeat(1_000_000)),
        html(&"<div>".repeat(100_000)),
        html(&"<b><p>".repeat(10_000)),
        html(&"<table><tr><td>".repeat(10_000)),
        html(&"<table>".repeat(20_000)),
        html(&"<blockquote>x".repeat(10_000)),
        html(&"<a href=https://x.example>".repeat(10_000)),
        html(&"<li>".repeat(20_000)),
        html(&"</p>".repeat(20_000)),
        html(&"<svg><style>".repeat(10_000)),
        html(&"<!--".repeat(20_000)),
        html(&"<a ".repeat(20_000)),
        html(&format!("<a {}>", (0..10_000).map(|i| format!("a{i} ")).collect::<String>())),
        html(&format!("<a href=\"https://{}\">", "x".repeat(500_000))),
        html(&format!("<img src=\"data:image/png;base64,{}\">", "A".repeat(1_000_000))),
        html(&"&".repeat(200_000)),
        html(&"\"".repeat(200_000)),
    ];
    let mut read = 0;
    for attack in &attacks {
        read += usize::from(ends_well(attack.as_bytes()));
    }
    assert_eq!(read, attacks.len() - 1, "only the first has no sender");
}

#[test]
fn too_much_is_refused() {
    assert_eq!(read(&vec![b'x'; RAW + 1]), Err(Unreadable::TooLarge));
    for nothing in ["", "\n\nFrom: a@example.com", "hello", "\0\0\0", "hello\nFrom\n\n"] {
        assert_eq!(read(nothing.as_bytes()), Err(Unreadable::NotAMail), "{nothing:?}");
    }
    for nobody in ["Subject: x\n\n", "From: \n\n", "From: <>\n\n", "From: Ada\nTo: a@example.com\n\n", "From: a@\n\n", "From: @b\n\n"] {
        assert_eq!(read(nobody.as_bytes()), Err(Unreadable::NoSender), "{nobody:?}");
    }
    let parts = |count: usize| format!("From: a@b.c\nContent-Type: multipart/mixed; boundary=b\n\n{}--b--", "--b\n\nx\n".repeat(count));
    assert!(ends_well(parts(PARTS - 1).as_bytes()));
    assert_eq!(read(parts(PARTS).as_bytes()), Err(Unreadable::TooManyParts));
    assert_eq!(read(parts(10_000).as_bytes()), Err(Unreadable::TooManyParts));
}

#[test]
fn what_is_too_long_is_cut_and_said() {
    let text = |length: usize| read(format!("From: a@b.c\n\n{}", "é".repeat(length / 2)).as_bytes()).unwrap();
    assert!(!text(TEXT).truncated && text(TEXT).text.len() == TEXT);
    assert!(text(TEXT + 2).truncated && text(TEXT + 2).text.len() == TEXT);
    let html = |length: usize| read(format!("From: a@b.c\nContent-Type: text/html\n\n<p>{}", "x".repeat(length)).as_bytes()).unwrap();
    assert_eq!((html(1_000).truncated, html(1_000).text.len()), (false, 1_000));
    let long = html(HTML);
    assert!(long.truncated && long.html.as_ref().is_some_and(|html| html.len() == HTML && html.ends_with("x</p>")));
    let files = "--b\nContent-Disposition: attachment\n\nx\n".repeat(50);
    let many = read(format!("From: a@b.c\nContent-Type: multipart/mixed; boundary=b\n\n{files}--b--").as_bytes()).unwrap();
    assert_eq!((many.attachments.len(), many.further_attachments), (ATTACHMENTS, 30));
}
