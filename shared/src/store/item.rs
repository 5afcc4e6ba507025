//! Reads records from items as the SDK returns them. `serde_dynamo`, which writes them, would first copy every item into its own maps. That
//! copy is a tenth of the cost of a list.

use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{Deserialize, Deserializer, Error as _, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use crate::store::table::Item;

/// Why an item is not the record it should be. It names no value: it will be logged.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Error(String);

/// Reads a record from an item's attributes. Attributes that the record does not have are ignored.
pub(crate) fn read<'a, T: Deserialize<'a>>(item: &'a Item) -> Result<T, Error> {
    T::deserialize(MapDeserializer::new(attributes(item)))
}

fn attributes(item: &Item) -> impl Iterator<Item = (Value<'_>, Value<'_>)> {
    item.iter().map(|(name, value)| (Value::Text(name), Value::of(value)))
}

enum Value<'a> {
    /// Also the name of an attribute.
    Text(&'a str),
    Other(&'a AttributeValue),
}

impl<'a> Value<'a> {
    fn of(value: &'a AttributeValue) -> Self {
        match value {
            AttributeValue::S(text) => Value::Text(text),
            other => Value::Other(other),
        }
    }
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = match self {
            Value::Text(text) => return visitor.visit_borrowed_str(text),
            Value::Other(value) => value,
        };
        match value {
            AttributeValue::N(number) => visit_number(number, visitor),
            AttributeValue::Bool(value) => visitor.visit_bool(*value),
            AttributeValue::Null(_) => visitor.visit_unit(),
            AttributeValue::M(map) => visitor.visit_map(MapDeserializer::new(attributes(map))),
            AttributeValue::L(list) => visitor.visit_seq(SeqDeserializer::new(list.iter().map(Value::of))),
            AttributeValue::B(bytes) => visitor.visit_borrowed_bytes(bytes.as_ref()),
            AttributeValue::Ss(texts) => visitor.visit_seq(SeqDeserializer::new(texts.iter().map(|text| Value::Text(text)))),
            _ => Err(Error::custom("an attribute of a type that no record has")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Value::Other(AttributeValue::Null(_)) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Value::Text(text) => BorrowedStrDeserializer::new(text).deserialize_enum(name, variants, visitor),
            Value::Other(AttributeValue::M(map)) if map.len() == 1 => {
                MapAccessDeserializer::new(MapDeserializer::new(attributes(map))).deserialize_enum(name, variants, visitor)
            }
            Value::Other(_) => self.deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier
    }
}

impl<'de> IntoDeserializer<'de, Error> for Value<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The table stores numbers as text. The field's type checks whether the number fits.
fn visit_number<'de, V: Visitor<'de>>(number: &str, visitor: V) -> Result<V::Value, Error> {
    if let Ok(number) = number.parse() {
        return visitor.visit_u64(number);
    }
    if let Ok(number) = number.parse() {
        return visitor.visit_i64(number);
    }
    visitor.visit_f64(number.parse().map_err(|_| Error::custom("a number that is none"))?)
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Error(format!("{} where there should be {expected}", kind(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(_found: &str, expected: &'static [&'static str]) -> Self {
        Error(format!("none of {}", expected.join(", ")))
    }
}

fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Str(_) | Unexpected::Char(_) => "a text",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a map",
        Unexpected::Unit => "nothing",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Everything {
        text: String,
        count: u64,
        small: u8,
        below: i64,
        share: f64,
        yes: bool,
        nothing: Option<String>,
        something: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left_out: Option<String>,
        named: Named,
        plain: Plain,
        rich: Vec<Rich>,
        tagged: Tagged,
        days: BTreeMap<Named, Inner>,
        value: serde_json::Value,
        #[serde(flatten)]
        inner: Inner,
    }

    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Named(String);

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Plain {
        First,
        SecondOne,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Rich {
        Unit,
        Newtype(i32),
        Struct { a: String, b: Option<bool> },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        Empty,
        Full { n: u64, list: Vec<String> },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Inner {
        tasks: u32,
        done: u32,
    }

    fn everything() -> impl Strategy<Value = Everything> {
        let inner = || (any::<u32>(), any::<u32>()).prop_map(|(tasks, done)| Inner { tasks, done });
        let rich = prop_oneof![
            Just(Rich::Unit),
            any::<i32>().prop_map(Rich::Newtype),
            (any::<String>(), any::<Option<bool>>()).prop_map(|(a, b)| Rich::Struct { a, b }),
        ];
        let tagged = prop_oneof![Just(Tagged::Empty), (any::<u64>(), any::<Vec<String>>()).prop_map(|(n, list)| Tagged::Full { n, list }),];
        let scalars = (any::<String>(), any::<u64>(), any::<u8>(), any::<i64>(), -1e9..1e9, any::<bool>());
        let options = (any::<Option<String>>(), any::<Option<u32>>(), any::<Option<String>>(), any::<String>(), any::<bool>());
        let nested = (
            prop::collection::vec(rich, 0..4),
            tagged,
            prop::collection::btree_map(any::<String>().prop_map(Named), inner(), 0..4),
            any::<(i64, String, bool)>().prop_map(|(n, s, b)| serde_json::json!({"n": n, "list": [s, null, {"b": b}]})),
            inner(),
        );
        (scalars, options, nested).prop_map(|(scalars, options, nested)| {
            let (text, count, small, below, share, yes) = scalars;
            let (nothing, something, left_out, named, first) = options;
            let (rich, tagged, days, value, inner) = nested;
            let plain = if first { Plain::First } else { Plain::SecondOne };
            let named = Named(named);
            Everything {
                text,
                count,
                small,
                below,
                share,
                yes,
                nothing,
                something,
                left_out,
                named,
                plain,
                rich,
                tagged,
                days,
                value,
                inner,
            }
        })
    }

    proptest! {
        #[test]
        fn a_record_comes_back_as_it_was_written(record in everything()) {
            let mut item: Item = serde_dynamo::to_item(&record).unwrap();
            item.insert("pk".into(), AttributeValue::S("T#1#things".into()));
            item.insert("unknown".into(), AttributeValue::M(item.clone()));
            prop_assert_eq!(&read::<Everything>(&item).unwrap(), &record);
            prop_assert_eq!(serde_dynamo::from_item::<_, Everything>(item).unwrap(), record);
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        fn fails<T: DeserializeOwned>(value: AttributeValue) -> String {
            let item = Item::from([("it".to_owned(), value)]);
            match read::<BTreeMap<String, T>>(&item) {
                Ok(_) => panic!("{item:?} was read"),
                Err(error) => error.to_string(),
            }
        }
        let number = |text: &str| AttributeValue::N(text.into());
        let secret = || AttributeValue::S("secret".into());
        assert_eq!(fails::<u8>(number("256")), "a number where there should be u8");
        assert_eq!(fails::<u64>(number("-1")), "a number where there should be u64");
        assert_eq!(fails::<u64>(number("1.5")), "a number where there should be u64");
        assert_eq!(fails::<f64>(number("many")), "a number that is none");
        assert_eq!(fails::<u64>(secret()), "a text where there should be u64");
        assert_eq!(fails::<String>(number("1")), "a number where there should be a string");
        assert_eq!(fails::<String>(AttributeValue::Null(true)), "nothing where there should be a string");
        assert_eq!(fails::<Plain>(secret()), "none of first, second_one");
        assert_eq!(fails::<Tagged>(AttributeValue::M(Item::from([("kind".to_owned(), secret())]))), "none of Empty, Full");
        assert!(fails::<Plain>(AttributeValue::Bool(true)).starts_with("a boolean where"));
        let both = ["Newtype", "Unit"].map(|name| (name.to_owned(), number("1")));
        assert!(fails::<Rich>(AttributeValue::M(Item::from(both))).starts_with("a map where"));
        assert!(fails::<Vec<u64>>(AttributeValue::Ns(vec!["1".into()])).contains("no record has"));
        assert!(read::<Inner>(&Item::from([("tasks".to_owned(), number("1"))])).unwrap_err().to_string().contains("done"));
    }
}
