//! Typed identifiers. Each is a UUID in its canonical 36-character form, so no id contains a key delimiter, and different kinds of ids
//! cannot be mixed up. Time and randomness come from the caller. A record may declare its id in its own file. `TenantId` has its own rules,
//! in `tenant_id.rs`.

mod tenant_id;
mod workspace;

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, Type};

use crate::crypto::Random;

pub use tenant_id::TenantId;
#[cfg(test)]
pub(crate) use tenant_id::for_tests as tenant_id_for_tests;
pub(crate) use tenant_id::{stored, stored_option, stored_or_nobody};
pub use workspace::{WorkspaceId, WorkspaceTag};
#[doc(hidden)]
pub use workspace::{ending_in, in_workspace};

/// Reads the canonical form only (36 characters, hyphens): no braces, no `urn:`, no bare hex. Either letter case; stored in lower case.
#[doc(hidden)]
pub fn parse_uuid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

/// A time-ordered UUID (v7, RFC 9562): 48 bits of milliseconds, then randomness.
#[doc(hidden)]
pub fn time_ordered(now: Timestamp, random: &Random) -> Uuid {
    beginning(now, random.bytes())
}

/// The same with a rest that whoever makes it again makes again. The version and the variant take the place of six bits in its first and third byte.
pub fn beginning(moment: Timestamp, rest: [u8; 10]) -> Uuid {
    Builder::from_unix_timestamp_millis(u64::try_from(moment.as_millisecond()).unwrap_or(0), &rest).into_uuid()
}

/// The moment of a time-ordered id, in milliseconds.
pub fn moment_of(id: &Uuid) -> Timestamp {
    let millis = id.as_bytes()[..6].iter().fold(0, |millis, byte| millis << 8 | i64::from(*byte));
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

/// How the API reference shows an id.
#[doc(hidden)]
pub fn uuid_schema() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::Custom("uuid".into()))).into()
}

/// What may stand in a key: types that cannot hold the delimiter.
pub trait Segment: fmt::Display {}

/// What names a record in a path.
pub trait PathId: Sized + Send {
    fn from_path(text: &str) -> Option<Self>;

    /// As the API reference shows it.
    fn schema() -> Value;
}

/// A word of ours in a key, where a collection has but one record.
impl Segment for &'static str {}

impl Segment for jiff::civil::Date {}

/// All of an id in one line: `id!(WorkspaceId = "ws", time_ordered)`. With a prefix it is also written as F4 does, `ws_0198…` (32 hex digits), and
/// read in both spellings. How a new one is made: `time_ordered`, which sorts by time; `random`, where there must be nothing to guess from; `in_workspace`, which says
/// its workspace; `own`.
#[macro_export]
macro_rules! id {
    ($(#[$doc:meta])* $name:ident $(= $prefix:literal)?, $making:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($crate::ids::Uuid);

        impl $name {
            pub fn parse(text: &str) -> Option<Self> {
                $crate::ids::parse_uuid(text).map($name)
            }
        }

        impl $crate::ids::Segment for $name {}

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self.0.as_hyphenated(), f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                $name::parse(&text).ok_or_else(|| serde::de::Error::custom(concat!("not a ", stringify!($name))))
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                $crate::ids::uuid_schema()
            }
        }

        impl utoipa::ToSchema for $name {}

        $crate::id!(@$making $name);
        $crate::id!(@path $name $($prefix)?);
    };
    (@path $name:ident) => {
        impl $crate::ids::PathId for $name {
            fn from_path(text: &str) -> Option<Self> {
                $name::parse(text)
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({"type": "string", "format": "uuid"})
            }
        }
    };
    (@path $name:ident $prefix:literal) => {
        $crate::id!(@prefixed $name $prefix);

        impl $crate::ids::PathId for $name {
            fn from_path(text: &str) -> Option<Self> {
                $name::parse_prefixed(text)
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({
                    "type": "string",
                    "pattern": concat!("^(", $prefix, "_[0-9A-Fa-f]{32}|[0-9A-Fa-f-]{36})$"),
                    "description": concat!("`", $prefix, "_` and 32 hex digits, or the same as a UUID."),
                })
            }
        }
    };
    (@time_ordered $name:ident) => {
        impl $name {
            pub fn new(now: jiff::Timestamp, random: &$crate::crypto::Random) -> Self {
                $name($crate::ids::time_ordered(now, random))
            }
        }
    };
    (@random $name:ident) => {
        impl $name {
            /// v4: 122 random bits, so it cannot be guessed.
            pub fn new(random: &$crate::crypto::Random) -> Self {
                $name($crate::ids::Builder::from_random_bytes(random.bytes()).into_uuid())
            }
        }
    };
    (@in_workspace $name:ident) => {
        impl From<$name> for $crate::ids::Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl From<$crate::ids::Uuid> for $name {
            fn from(id: $crate::ids::Uuid) -> Self {
                $name(id)
            }
        }

        impl $name {
            /// Sorts by time, and ends with the workspace's tag.
            pub fn new(workspace: $crate::ids::WorkspaceTag, now: jiff::Timestamp, random: &$crate::crypto::Random) -> Self {
                $name($crate::ids::in_workspace(workspace, now, random))
            }
        }
    };
    (@own $name:ident) => {};
    (@prefixed $name:ident $prefix:literal) => {
        impl $name {
            pub fn prefixed(&self) -> String {
                format!(concat!($prefix, "_{}"), self.0.as_simple())
            }

            pub fn parse_prefixed(text: &str) -> Option<Self> {
                match text.strip_prefix(concat!($prefix, "_")) {
                    Some(hex) if hex.len() == 32 => $crate::ids::Uuid::try_parse(hex).ok().map($name),
                    Some(_) => None,
                    None => $name::parse(text),
                }
            }
        }
    };
}

#[doc(hidden)]
pub use uuid::{Builder, Uuid};

crate::id!(/// A person, across all tenants.
    UserId, time_ordered);
id!(/// One login of one user.
    SessionId, random);
id!(/// A mail of the platform to a person.
    MailId, time_ordered);
id!(ApiKeyId = "key", time_ordered);
id!(/// A client's tenant within its agency.
    SubaccountId = "sub", time_ordered);
id!(/// The record behind a link in a mail (verify, reset, accept).
    LinkId, random);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_an_id() {
        assert!(UserId::parse("550e8400-e29b-41d4-a716-446655440000").is_some());
        assert_eq!(UserId::parse("550E8400-E29B-41D4-A716-446655440000"), UserId::parse("550e8400-e29b-41d4-a716-446655440000"));
        for wrong in
            ["", "1", "550e8400e29b41d4a716446655440000", "{550e8400-e29b-41d4-a716-446655440000}", "550e8400-e29b-41d4-a716-44665544000#"]
        {
            assert!(UserId::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_prefixed_id_is_read_in_both_spellings() {
        let id = ApiKeyId::new(Timestamp::UNIX_EPOCH, &Random::seeded(1));
        for text in [id.to_string(), id.prefixed()] {
            assert_eq!(ApiKeyId::parse_prefixed(&text), Some(id), "{text}");
        }
        let hex = id.prefixed()[4..].to_owned();
        for wrong in [hex.clone(), format!("key_{id}"), format!("sub_{hex}"), "key_".into(), format!("key_{hex}0"), format!("key_{{{hex}")]
        {
            assert_eq!(ApiKeyId::parse_prefixed(&wrong), None, "{wrong}");
        }
    }
}
