//! What a message to a phone says: how long it may be, the body of a template with its variables, and the text that becomes of it. It is plain text:
//! nothing is escaped, and a value is not read for variables itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shared::model::text;
use shared::{Error, Result};

/// Characters of a message, as Unicode counts them.
pub const MOST: usize = 1_600;
/// Variables of a body: no more than there may be values.
pub const VARIABLES: usize = 50;
/// Characters of a value.
pub const VALUE: usize = 500;
/// Letters of a variable's name.
const NAME: usize = 32;
/// As many mistakes of a body are told.
const TOLD: usize = 20;

/// What is wrong with the text of a message, after "The body field".
pub fn problem(text: &str) -> Option<String> {
    if text.trim().is_empty() {
        Some("must not be empty".into())
    } else if !text::has_visible(text) {
        Some("must have a visible character".into())
    } else if text::has_controls(text) {
        Some("must not contain control characters".into())
    } else if text.chars().count() > MOST {
        Some(format!("must not be greater than {MOST} characters"))
    } else {
        None
    }
}

/// The body of a template: the text of a message with `{{variables}}`, kept as it was written. Blanks around a name are allowed; whatever else begins
/// with `{{` is a mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TemplateBody(String);

enum Part<'a> {
    Text(&'a str),
    Variable(&'a str),
}

impl TemplateBody {
    /// `Err`: all that is wrong, each after "The body field".
    pub fn parse(body: &str) -> Result<Self, Vec<String>> {
        if let Some(problem) = problem(body) {
            return Err(vec![problem]);
        }
        let (parts, mistakes) = parts(body);
        if !mistakes.is_empty() {
            return Err(mistakes.into_iter().take(TOLD).collect());
        }
        if names(&parts).len() > VARIABLES {
            return Err(vec![format!("must not have more than {VARIABLES} variables")]);
        }
        Ok(TemplateBody(body.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// In the order in which they appear, each once.
    pub fn variables(&self) -> Vec<String> {
        names(&self.parts()).into_iter().map(str::to_owned).collect()
    }

    /// With a value for each variable. `MissingTemplateVariables` names those without one; a text that no message can have is a mistake of `data`.
    pub fn rendered(&self, data: &BTreeMap<String, String>) -> Result<String> {
        let parts = self.parts();
        let missing: Vec<String> = names(&parts).into_iter().filter(|name| !data.contains_key(*name)).map(str::to_owned).collect();
        if !missing.is_empty() {
            return Err(Error::MissingTemplateVariables(missing));
        }
        let shown = |part: &Part<'_>| match part {
            Part::Text(text) => (*text).to_owned(),
            Part::Variable(name) => data.get(*name).cloned().unwrap_or_default(),
        };
        let text: String = parts.iter().map(shown).collect();
        match problem(&text) {
            Some(problem) => Err(Error::field("data", format!("The text with this data {problem}."))),
            None => Ok(text),
        }
    }

    fn parts(&self) -> Vec<Part<'_>> {
        parts(&self.0).0
    }
}

impl TryFrom<String> for TemplateBody {
    type Error = String;

    fn try_from(body: String) -> Result<Self, String> {
        TemplateBody::parse(&body).map_err(|problems| problems.join("; "))
    }
}

impl From<TemplateBody> for String {
    fn from(body: TemplateBody) -> Self {
        body.0
    }
}

/// Text and variables in turn, and what is wrong with those that are none.
fn parts(body: &str) -> (Vec<Part<'_>>, Vec<String>) {
    let (mut parts, mut mistakes, mut at) = (vec![], vec![], 0);
    while let Some(open) = body[at..].find("{{").map(|open| at + open) {
        parts.push(Part::Text(&body[at..open]));
        let inner = &body[open + 2..];
        // One that is opened again before it is closed has no end of its own.
        let closed = inner.find("}}").map(|close| &inner[..close]).filter(|inside| !inside.contains("{{"));
        match closed.ok_or("{{ has no }}".to_owned()).and_then(name) {
            Ok(name) => parts.push(Part::Variable(name)),
            Err(mistake) => {
                let (line, column) = place(&body[..open]);
                mistakes.push(format!("has a mistake in line {line}, column {column}: {mistake}"));
            }
        }
        at = open + 2 + closed.map_or(0, |inside| inside.len() + 2);
    }
    parts.push(Part::Text(&body[at..]));
    (parts, mistakes)
}

/// What stands between the braces as the name of a variable.
fn name(inside: &str) -> Result<&str, String> {
    let name = inside.trim_matches([' ', '\t']);
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() {
        Err("a variable has no name".into())
    } else if !name.bytes().all(is_letter) {
        let shown: String = name.chars().take(NAME).collect();
        Err(format!("{shown:?} is no name of a variable: it has letters a to z, digits and _"))
    } else if name.len() > NAME {
        Err(format!("a variable's name has more than {NAME} letters"))
    } else {
        Ok(name)
    }
}

/// Where a text ends: line and column from 1, columns in characters.
fn place(before: &str) -> (usize, usize) {
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

fn names<'a>(parts: &[Part<'a>]) -> Vec<&'a str> {
    let mut names = vec![];
    for part in parts {
        if let Part::Variable(name) = part
            && !names.contains(name)
        {
            names.push(*name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(body: &str) -> Vec<String> {
        TemplateBody::parse(body).unwrap_err()
    }

    fn rendered(body: &str, data: &[(&str, &str)]) -> Result<String> {
        let data = data.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        TemplateBody::parse(body).unwrap().rendered(&data)
    }

    #[test]
    fn variables_are_listed_once_in_the_order_in_which_they_appear() {
        let body = TemplateBody::parse("{{b}} {{ a }}{{b}}\t{{\ta_1 }} {a} }} { {c} } {{0}}").unwrap();
        assert_eq!(body.variables(), ["b", "a", "a_1", "0"]);
        assert_eq!(TemplateBody::parse("no }} variables {x}").unwrap().variables(), Vec::<String>::new());
        assert!(TemplateBody::parse(&format!("{{{{{}}}}}", "x".repeat(32))).is_ok());
    }

    #[test]
    fn whatever_else_is_opened_is_a_mistake_with_its_place() {
        let at = |place: &str, what: &str| vec![format!("has a mistake in {place}: {what}")];
        let no_name = |shown: &str| format!("{shown:?} is no name of a variable: it has letters a to z, digits and _");
        for (body, expected) in [
            ("{{", at("line 1, column 1", "{{ has no }}")),
            ("Hi {{name", at("line 1, column 4", "{{ has no }}")),
            ("ä\n日{{a {{b}}", at("line 2, column 2", "{{ has no }}")),
            ("{{}}", at("line 1, column 1", "a variable has no name")),
            ("a\r\n{{  }}", at("line 2, column 1", "a variable has no name")),
            ("{{Name}}", at("line 1, column 1", &no_name("Name"))),
            ("{{first name}}", at("line 1, column 1", &no_name("first name"))),
            ("{{a.b}}", at("line 1, column 1", &no_name("a.b"))),
            ("{{a|b}}", at("line 1, column 1", &no_name("a|b"))),
            ("{{a\n}}", at("line 1, column 1", &no_name("a\n"))),
            ("{{\u{a0}a}}", at("line 1, column 1", &no_name("\u{a0}a"))),
            ("{{{a}}}", at("line 1, column 1", &no_name("{a"))),
            ("{{#if a}}", at("line 1, column 1", &no_name("#if a"))),
            ("{{ａ}}", at("line 1, column 1", &no_name("ａ"))),
            (&format!("{{{{{}}}}}", "x".repeat(33)), at("line 1, column 1", "a variable's name has more than 32 letters")),
        ] {
            assert_eq!(mistakes(body), expected, "{body}");
        }
        // Each is told, as far as anybody reads.
        assert_eq!(mistakes("{{A}} {{b}} {{}}").len(), 2);
        assert_eq!(mistakes(&"{{".repeat(800)).len(), TOLD);
    }

    #[test]
    fn a_body_has_a_bounded_length_and_as_many_variables_as_there_may_be_values() {
        assert!(TemplateBody::parse(&"😀".repeat(MOST)).is_ok());
        assert_eq!(mistakes(&"x".repeat(MOST + 1)), ["must not be greater than 1600 characters"]);
        for empty in ["", " \n\t ", "\u{2003}"] {
            assert_eq!(mistakes(empty), ["must not be empty"], "{empty:?}");
        }
        for hidden in ["\u{200B}", "\u{FEFF} \u{2060}", "\u{301}"] {
            assert_eq!(mistakes(hidden), ["must have a visible character"], "{hidden:?}");
        }
        for control in ["a\0", "\u{7}a", "a\u{1B}[0m", "a\u{7F}", "a\u{85}", "a\u{C}b"] {
            assert_eq!(mistakes(control), ["must not contain control characters"], "{control:?}");
        }
        let using = |many: usize| (0..many).map(|number| format!("{{{{v{number}}}}}")).collect::<String>();
        assert_eq!(TemplateBody::parse(&using(50)).unwrap().variables().len(), 50);
        assert_eq!(mistakes(&using(51)), ["must not have more than 50 variables"]);
    }

    #[test]
    fn values_come_out_as_they_are_and_are_not_read_again() {
        let text = rendered("{{ a }}{{b}} & {{a}}\r\n", &[("a", "{{b}}"), ("b", "<b>{{a}}&amp;"), ("c", "unused")]).unwrap();
        assert_eq!(text, "{{b}}<b>{{a}}&amp; & {{b}}\r\n");
        assert_eq!(rendered("a{{b}}c", &[("b", "")]).unwrap(), "ac");
    }

    #[test]
    fn what_is_missing_is_named_all_at_once() {
        let missing = rendered("{{c}} {{a}} {{b}} {{c}}", &[("a", "x")]).unwrap_err();
        assert!(matches!(&missing, Error::MissingTemplateVariables(names) if *names == ["c", "b"]), "{missing:?}");
        assert_eq!(missing.message(), "The template needs values that data lacks: c, b.");
    }

    #[test]
    fn a_text_that_no_message_can_have_is_refused() {
        let wrong = |body: &str, value: &str| match rendered(body, &[("a", value)]).unwrap_err() {
            Error::Validation(fields) => fields["data"].clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(wrong("{{a}}", " "), ["The text with this data must not be empty."]);
        assert_eq!(wrong(&"{{a}}".repeat(4), &"x".repeat(401)), ["The text with this data must not be greater than 1600 characters."]);
        assert!(rendered(&"{{a}}".repeat(4), &[("a", &"é".repeat(400))]).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_an_answer_and_a_body_without_values_is_itself(body in "[a{} \n_A}{é]{0,40}") {
            if let Ok(parsed) = TemplateBody::parse(&body) {
                let data = parsed.variables().into_iter().map(|name| (name.clone(), format!("{{{{{name}}}}}"))).collect();
                let text = parsed.rendered(&data).unwrap();
                proptest::prop_assert_eq!(text.replace(' ', ""), body.replace(' ', ""));
                proptest::prop_assert_eq!(serde_json::from_value::<TemplateBody>(serde_json::json!(body)).unwrap(), parsed);
            }
        }
    }
}
