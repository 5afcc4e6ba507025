//! Random and chosen hostile templates: each must end with an answer, soon, and the engine must take all that the scanner lets through.

use std::time::{Duration, Instant};

use html5gum::{DefaultEmitter, Token, Tokenizer};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value as Json, json};

use crate::links::utf8;
use crate::{OUTPUT, RenderFault, Source, check, harmless, html_to_text, render, rewrite_links};

const WORDS: [&str; 64] = [
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "{",
    "}",
    "-",
    "|",
    ":",
    "(",
    ")",
    "[",
    "]",
    ",",
    ".",
    "\"",
    "'",
    "==",
    "<",
    ">",
    "!=",
    " ",
    "\n",
    " if ",
    " elif ",
    " else ",
    " endif ",
    " for ",
    " in ",
    " endfor ",
    " and ",
    " or ",
    " not ",
    "first_name",
    "custom.list",
    "custom.text",
    "item",
    "loop.index",
    "default",
    "upper",
    "truncate(3)",
    "date('%Y')",
    "urlencode",
    "12",
    "true",
    "<a href=",
    "javascript:",
    "https://x.example",
    "<!--",
    "-->",
    "<!--[if mso]>",
    "<style>",
    "</style>",
    "<p>",
    "</a>",
    "<li>",
    "&#",
    "é",
    "\u{2028}",
    "\0",
    "\\",
    "raw",
];
/// Pieces that fit together, so that many of the templates have no fault.
const PIECES: [&str; 16] = [
    "{{first_name}}",
    "{{ custom.text | there }}",
    "{{item.name|upper}}",
    "{% if first_name == 'a' %}",
    "{% if not (custom.list or item) %}",
    "{% elif 1 < 2 %}",
    "{% else %}",
    "{% endif %}",
    "{% for item in custom.list %}",
    "{% for item in item.list %}",
    "{% endfor %}",
    "<a href='{{custom.text}}'>",
    "{% if 'x' in custom.list and item in ['x', 1] %}",
    "{{custom.moment|date: '%d %b'|truncate(4)}}",
    "{#- x -#}",
    "<style>{#a{}",
];

fn context() -> Map<String, Json> {
    let items: Vec<_> = (0..20).map(|i| json!({"name": format!("<{i}>"), "list": ["x", i, {"list": [1, "é"]}]})).collect();
    let custom = json!({"list": items, "text": "javascript:\"<!--<style>", "moment": "2026-09-03T22:30:00Z"});
    json!({"first_name": "a", "custom": custom}).as_object().unwrap().clone()
}

fn ends_well(part: &str) -> bool {
    let source = Source { subject: part, html: part, text: Some(part) };
    let checked = check(source, |_| false);
    let rendered = render(source, &context());
    match (&checked, &rendered) {
        (Err(faults), Err(RenderFault::Template(same))) => assert_eq!(faults, same),
        (Ok(_), Ok(mail)) => {
            assert!(!mail.subject.contains(char::is_control));
            assert!(mail.html.len() <= OUTPUT && mail.text.len() <= OUTPUT);
            assert_eq!(rewrite_links(&mail.html, |link| harmless(link.url)), mail.html, "cleaning again changes nothing");
        }
        (Ok(_), Err(RenderFault::Fuel(_) | RenderFault::Output(_))) => {}
        wrong => panic!("{part:?} gives {wrong:?}"),
    }
    // HTML that no template made. A tokenizer without positions and states sees what `rewrite_links` might have missed.
    let clean = rewrite_links(part, |link| harmless(link.url));
    assert_eq!(rewrite_links(&clean, |link| harmless(link.url)), clean, "{part:?}");
    for switches in [true, false] {
        let mut emitter = DefaultEmitter::<()>::new_with_span();
        emitter.naively_switch_states(switches);
        for Ok(token) in Tokenizer::new_with_emitter(&clean, emitter) {
            if let Token::StartTag(tag) = token
                && let Some(url) = tag.attributes.get(&b"href"[..])
            {
                assert_eq!(harmless(&utf8(url)), None, "{part:?}");
            }
        }
    }
    html_to_text(part);
    checked.is_ok()
}

#[test]
fn random_templates_end_well() {
    let parts = prop_oneof![
        proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..40).prop_map(|words| words.concat()),
        proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..12).prop_map(|pieces| pieces.concat()),
        (proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..12)).prop_map(|words| format!("{{{{ {} }}}}", words.concat())),
        "\\PC{0,60}",
        "(<a href=x>|<|>|a|&|;|!|--|/|=|\"|'| |style|script|href|é|\\[if|[^a-z]|x:|\\PC|\n|\r){0,30}",
    ];
    let config = Config { cases: 500, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
    let good = std::cell::Cell::new(0);
    let count = |part: String| {
        good.set(good.get() + u32::from(ends_well(&part)));
        Ok(())
    };
    runner.run(&parts, count).unwrap();
    assert!(good.get() > 100, "only {} of the templates had no fault, so little was rendered", good.get());
}

#[test]
fn chosen_attacks_end_soon() {
    let nested = |open: &str, close: &str, count: usize| open.repeat(count) + "{{a.name|upper}}" + &close.repeat(count);
    let attacks = [
        "{{".repeat(100_000),
        "{% if a %}".repeat(20_000),
        "{#".repeat(100_000),
        "{# ".repeat(80_000),
        format!("{{{{ {} }}}}", "a".repeat(250_000)),
        format!("{{{{ a|default(\"{}\") }}}}", "x".repeat(250_000)),
        format!("{{{{ {}a }}}}", "(".repeat(2_000)),
        format!("{{% if {}a %}}{{% endif %}}", "not ".repeat(500)),
        nested("{% for a in custom.list %}", "{% endfor %}", 20),
        nested("{% for a in custom.list %}{% for b in custom.list %}", "{% endfor %}{% endfor %}", 10),
        format!("{{% for a in custom.list %}}{}{{% endfor %}}", "x".repeat(250_000)),
        format!("{{{{a|date('{}')}}}}", "%255Y".repeat(20)),
        format!("{{{{custom.text{}}}}}", "|urlencode".repeat(8)),
        "{{custom.text|urlencode|urlencode|urlencode|urlencode|urlencode|urlencode|urlencode|urlencode}}".repeat(500),
        "<a href=\"&quot;&quot;\">".repeat(12_000),
        "<a href=https://x.example>".repeat(10_000),
        "<!--[if".repeat(30_000),
        "<style>".repeat(30_000),
        "<a ".repeat(80_000),
        "<li>".repeat(60_000),
        format!("<a {}>", (0..40_000).map(|i| format!("a{i} ")).collect::<String>()),
        "&".repeat(250_000),
    ];
    for attack in attacks {
        let start = Instant::now();
        ends_well(&attack);
        let html = Source { subject: "", html: &attack, text: None };
        _ = render(html, &context());
        // Far above what any takes on a busy machine: it tells a loop without an end from a slow one.
        assert!(start.elapsed() < Duration::from_secs(60), "{} takes {:?}", &attack[..40], start.elapsed());
    }
    // Where there is one: the most memory that this process ever had.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u32>().ok());
    assert!(peak.is_none_or(|kilobytes| kilobytes < 64 * 1024), "all tests together took {peak:?} kB");
}
