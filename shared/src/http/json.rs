//! Request bodies as JSON, read strictly. Repeated keys and nesting of more than 32 levels are refused. So is a number that could not be
//! returned with exactly the same value.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::FieldErrors;

const MAX_DEPTH: usize = 32;
/// The most numbers that one error names.
const MOST_NAMED: usize = 20;

/// The document, and the fields whose numbers cannot be stored exactly (they are 0 in the document). `Err` is a sentence for the caller
/// about invalid JSON.
pub fn parse(bytes: &[u8]) -> Result<(Value, FieldErrors), String> {
    let (bytes, inexact) = without_inexact(bytes);
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let value = Strict(MAX_DEPTH).deserialize(&mut reader).map_err(|error| describe(&error))?;
    reader.end().map_err(|error| describe(&error))?;
    Ok((value, inexact))
}

/// One text for all spellings of a document: keys in order, no blanks, numbers by their value.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (key, value) in entries {
                let _ = write!(text, "{}:", Value::from(key.as_str()));
                write_canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for value in values {
                write_canonical(value, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Number(number) => match number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15) {
            Some(whole) => {
                let _ = write!(text, "{}", whole as i64);
            }
            None => {
                let _ = write!(text, "{number}");
            }
        },
        other => {
            let _ = write!(text, "{other}");
        }
    }
}

/// The position of a number.
enum Place {
    /// The key's bytes, and whether a key comes next.
    Object(std::ops::Range<usize>, bool),
    Array(usize),
}

/// The text with 0 for each number that would change when it is stored, and the names of those fields. Numbers are stored as 64-bit
/// integers or as doubles. Invalid JSON is not changed, so that the parser reports it.
fn without_inexact(bytes: &[u8]) -> (Cow<'_, [u8]>, FieldErrors) {
    let (mut text, mut inexact) = (Cow::Borrowed(bytes), FieldErrors::new());
    let mut places: Vec<Place> = vec![];
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let start = at;
        at += 1;
        let depth = places.len();
        match (byte, places.last_mut()) {
            (b'"', place) => {
                while bytes.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
                if let Some(Place::Object(key, true)) = place {
                    *key = start + 1..(at - 1).min(bytes.len());
                }
            }
            // Deeper than the parser accepts.
            (b'{' | b'[', _) if depth > MAX_DEPTH => break,
            (b'{', _) => places.push(Place::Object(0..0, true)),
            (b'[', _) => places.push(Place::Array(0)),
            (b'}' | b']', _) => drop(places.pop()),
            (b',', Some(Place::Object(_, key_next))) => *key_next = true,
            (b',', Some(Place::Array(index))) => *index += 1,
            (b':', Some(Place::Object(_, key_next))) => *key_next = false,
            (b'-' | b'0'..=b'9', _) => {
                while bytes.get(at).is_some_and(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
                    at += 1;
                }
                let number = std::str::from_utf8(&bytes[start..at]).unwrap_or_default();
                if is_number(number) && !is_exact(number) {
                    let text = text.to_mut();
                    text[start..at].fill(b' ');
                    text[start] = b'0';
                    if inexact.len() < MOST_NAMED {
                        let name = name_of(&places, bytes);
                        let problem = format!("The {name} field holds a number that cannot be kept exactly: send it as a string.");
                        inexact.insert(name, vec![problem]);
                    }
                }
            }
            _ => {}
        }
    }
    (text, inexact)
}

/// `settings.list.3`, cut if it is long, because it is the caller's text.
fn name_of(places: &[Place], bytes: &[u8]) -> String {
    let steps: Vec<String> = places
        .iter()
        .map(|place| match place {
            Place::Object(key, _) => String::from_utf8_lossy(bytes.get(key.clone()).unwrap_or_default()).into_owned(),
            Place::Array(index) => index.to_string(),
        })
        .collect();
    steps.join(".").chars().take(64).collect()
}

/// The JSON syntax of numbers.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let mantissa = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(whole, fraction)| (whole, Some(fraction)));
    let exponent_fits = |exponent: &str| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    digits(whole) && (whole == "0" || !whole.starts_with('0')) && fraction.is_none_or(digits) && exponent.is_none_or(exponent_fits)
}

/// Whether the number has the same value after reading and writing.
fn is_exact(number: &str) -> bool {
    let whole = !number.contains(['.', 'e', 'E']);
    if whole && (number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok()) {
        return true;
    }
    // Compared with what the answer will contain. If two texts are equally short and near, the writer chooses one.
    number.parse::<f64>().is_ok_and(|read| {
        let written = serde_json::to_string(&read).unwrap_or_default();
        read.is_finite() && decimal(number).is_some_and(|given| decimal(&written) == Some(given))
    })
}

/// Sign, digits without surrounding zeros, and the power of ten of the last digit.
fn decimal(number: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |mantissa| (true, mantissa));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0').trim_end_matches('0');
    if digits.is_empty() {
        return Some((false, String::new(), 0));
    }
    let zeros = all.len() - all.trim_end_matches('0').len();
    let power = exponent.parse::<i64>().ok()?.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(i64::try_from(zeros).ok()?)?;
    Some((negative, digits.to_owned(), power))
}

fn describe(error: &serde_json::Error) -> String {
    // The messages of serde_json contain only positions and expectations, never content.
    format!("The body is not valid JSON: {error}.")
}

struct Strict(usize);

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let inner = self.0.checked_sub(1).ok_or_else(|| A::Error::custom("nested more than 32 levels deep"))?;
        let mut values = vec![];
        while let Some(value) = sequence.next_element_seed(Strict(inner))? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.0.checked_sub(1).ok_or_else(|| A::Error::custom("nested more than 32 levels deep"))?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom("a key appears twice"));
            }
            map.insert(key, entries.next_value_seed(Strict(inner))?);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_where_others_guess() {
        assert!(parse(br#"{"a":[1,2.5,"x",null,true]}"#).is_ok());
        for wrong in
            ["", "{", r#"{"a":1,"a":2}"#, "{} {}", "nul", "\"\\ud800\"", "01", "1.", "-", "1e", "+1", "1e5e5", "[1 2]", "{\"a\" 1e999}"]
        {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let nest = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nest(32).as_bytes()).is_ok());
        assert!(parse(nest(33).as_bytes()).is_err());
        assert!(parse(nest(100_000).as_bytes()).is_err());
    }

    #[test]
    fn numbers_come_back_or_are_named() {
        for exact in [
            "0",
            "-0",
            "0.0",
            "1",
            "1.0",
            "-1.50",
            "1e2",
            "1E+2",
            "100e-2",
            "0.1",
            "0.30000000000000004",
            "1e300",
            "5e-324",
            "1e20",
            "18446744073709551615",
            "-9223372036854775808",
            "9007199254740993",
            "123456789.123456",
            "1.7976931348623157e308",
        ] {
            let (value, inexact) = parse(exact.as_bytes()).unwrap();
            assert!(inexact.is_empty(), "{exact}");
            assert_eq!(decimal(&value.to_string()), decimal(exact), "{exact}");
        }
        for inexact in [
            "18446744073709551616",
            "-9223372036854775809",
            "99999999999999.99",
            "1e400",
            "-1e400",
            "1e-400",
            "4.9e-324",
            "1e99999999999999999999",
            "0.1000000000000000055511151231257827",
            "12345678901234567890.5",
        ] {
            let (value, named) = parse(format!("{{\"a\":{{\"b, \\\"\":[1,{{}},{inexact}]}},\"c\":2.5}}").as_bytes()).unwrap();
            assert_eq!(named.keys().collect::<Vec<_>>(), ["a.b, \\\".2"], "{inexact}");
            assert_eq!((&value["a"]["b, \""][2], &value["c"]), (&Value::from(0), &Value::from(2.5)));
        }
        assert!(parse(b"[1e400").is_err());
    }

    #[test]
    fn spellings_of_one_document_are_one() {
        let text = |document: &str| canonical(&parse(document.as_bytes()).unwrap().0);
        assert_eq!(text(r#"{"b":[1,{"d":2,"c":"\u00e9"}],"a":null}"#), text("{ \"a\" : null, \"b\":[1.0, {\"c\":\"é\",\"d\":2e0}] }"));
        for (one, other) in [("[1,2]", "[2,1]"), ("1", "\"1\""), ("{\"a\":1}", "{\"a\":2}"), ("[[]]", "[]"), ("0.5", "0.25")] {
            assert_ne!(text(one), text(other));
        }
    }

    proptest::proptest! {
        #[test]
        fn every_double_is_exact(number in proptest::num::f64::NORMAL) {
            let text = serde_json::to_string(&number).unwrap();
            proptest::prop_assert!(is_number(&text) && is_exact(&text));
            proptest::prop_assert_eq!(parse(text.as_bytes()).unwrap().0.as_f64(), Some(number));
        }

        #[test]
        fn no_body_breaks_the_reader(body in proptest::collection::vec(proptest::sample::select(b"{}[],:\"\\01-.eE tnx\xFF".to_vec()), 0..40)) {
            let _ = parse(&body);
        }
    }
}
