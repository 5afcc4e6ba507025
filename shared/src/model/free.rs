//! A caller's own JSON is stored as text, so that its numbers and names need not fit into attributes of the table. Older records with maps
//! can still be read.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{Error as _, Serializer};
use serde_json::{Map, Value};

pub fn serialize<S: Serializer>(given: &Map<String, Value>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&serde_json::to_string(given).map_err(S::Error::custom)?)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    deserializer.deserialize_any(Stored)
}

/// What is wrong with the size of one, or of a change in which null takes a name away: it has room for so many keys, and for so many bytes as JSON.
pub fn problem(given: &Map<String, Value>, keys: usize, bytes: usize) -> Option<String> {
    if given.values().filter(|value| !value.is_null()).count() > keys || given.len() > 2 * keys {
        Some(format!("must not have more than {keys} keys"))
    } else if serde_json::to_vec(given).map_or(0, |json| json.len()) > bytes {
        Some(format!("must not be larger than {} KiB", bytes / 1024))
    } else {
        None
    }
}

struct Stored;

impl<'de> Visitor<'de> for Stored {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object as text, or a map")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        serde_json::from_str(text).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        Map::deserialize(MapAccessDeserializer::new(entries)).map_err(A::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Record {
        #[serde(with = "super")]
        free: Map<String, Value>,
    }

    #[test]
    fn text_and_maps_read_alike() {
        let given = json!({"a": 18_446_744_073_709_551_615_u64, "b": [0.1, 1e300], "": {"": null}});
        let written = serde_json::to_value(Record { free: given.as_object().cloned().unwrap() }).unwrap();
        assert!(written["free"].is_string());
        for stored in [written, json!({"free": given})] {
            let record: Record = serde_json::from_value(stored).unwrap();
            assert_eq!(Value::Object(record.free), given);
        }
        assert!(serde_json::from_value::<Record>(json!({"free": "[]"})).is_err());
    }
}
