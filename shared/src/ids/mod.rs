//! Typed identifiers. Each is a UUID in its canonical 36-character form, so no id contains a key delimiter, and different kinds of ids
//! cannot be mixed up. Time and randomness come from the caller. A record may declare its id in its own file. `TenantId` has its own rules,
//! in `tenant_id.rs`.

mod tenant_id;

use std::fmt;

use jiff::Timestamp;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, Type};
use uuid::Uuid;

use crate::crypto::Random;

pub use tenant_id::TenantId;
#[cfg(test)]
pub(crate) use tenant_id::for_tests as tenant_id_for_tests;
pub(crate) use tenant_id::{stored, stored_option};

/// Reads only the canonical form (36 characters, hyphens), without braces, `urn:` or bare hex. Upper and lower case are accepted; the id is
/// stored in lower case.
pub(crate) fn parse_uuid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

/// A time-ordered UUID (v7, RFC 9562): 48 bits of milliseconds, then random bits.
pub(crate) fn time_ordered(now: Timestamp, random: &Random) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(millis(now), &random.bytes()).into_uuid()
}

fn millis(now: Timestamp) -> u64 {
    u64::try_from(now.as_millisecond()).unwrap_or(0)
}

/// How the API reference shows an id.
pub(crate) fn uuid_schema() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::Custom("uuid".into()))).into()
}

/// Types that can be part of a key, because they cannot contain the delimiter.
pub(crate) trait Segment: fmt::Display {}

/// Declares an id in one line: `id!(WorkspaceId = "ws", time_ordered)`. With a prefix it is also written as F4 does, `ws_0198…` (32 hex
/// digits), and both forms are read. The last word says how a new id is made: `time_ordered` sorts by time, `random` cannot be guessed, and
/// `own` is written by hand.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident $(= $prefix:literal)?, $making:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(uuid::Uuid);

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

        $crate::ids::id!(@$making $name);
        $($crate::ids::id!(@prefixed $name $prefix);)?
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
                $name(uuid::Builder::from_random_bytes(random.bytes()).into_uuid())
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
                    Some(hex) if hex.len() == 32 => uuid::Uuid::try_parse(hex).ok().map($name),
                    Some(_) => None,
                    None => $name::parse(text),
                }
            }
        }
    };
}

pub(crate) use id;

id!(/// A person, across all tenants.
    UserId, time_ordered);
id!(/// One login of one user.
    SessionId, random);
id!(ProjectId, time_ordered);
id!(TaskId, own);
id!(/// A mail of the platform to a person.
    MailId, time_ordered);
id!(ApiKeyId = "key", time_ordered);
id!(/// A client's tenant within its agency.
    SubaccountId = "sub", time_ordered);
id!(SettingId, time_ordered);
id!(/// The record behind a link in a mail (verify, reset, accept).
    LinkId, random);

impl Segment for ProjectTag {}

/// 48 bits of a project's id, which the ids of its tasks contain. A task is therefore found by its id alone, without an index or a pointer
/// item. Two projects may share a tag (odds of one in 2^48 for a pair), so lists also compare the project.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProjectTag(u64);

const TAG_BITS: u128 = (1 << 48) - 1;

impl ProjectId {
    pub fn tag(&self) -> ProjectTag {
        ProjectTag((self.0.as_u128() & TAG_BITS) as u64)
    }
}

impl TaskId {
    /// A v7 UUID whose last 48 bits are the project's tag. 26 random bits separate tasks of the same millisecond.
    pub fn new(project: ProjectId, now: Timestamp, random: &Random) -> Self {
        let ordered = time_ordered(now, random).as_u128();
        TaskId(Uuid::from_u128((ordered & !TAG_BITS) | u128::from(project.tag().0)))
    }

    pub fn project_tag(&self) -> ProjectTag {
        ProjectTag((self.0.as_u128() & TAG_BITS) as u64)
    }
}

impl fmt::Display for ProjectTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_an_id() {
        assert!(ProjectId::parse("550e8400-e29b-41d4-a716-446655440000").is_some());
        assert_eq!(ProjectId::parse("550E8400-E29B-41D4-A716-446655440000"), ProjectId::parse("550e8400-e29b-41d4-a716-446655440000"));
        for wrong in
            ["", "1", "550e8400e29b41d4a716446655440000", "{550e8400-e29b-41d4-a716-446655440000}", "550e8400-e29b-41d4-a716-44665544000#"]
        {
            assert!(ProjectId::parse(wrong).is_none(), "{wrong}");
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

    #[test]
    fn a_task_id_names_its_project() {
        let random = Random::seeded(1);
        let now = Timestamp::UNIX_EPOCH;
        let project = ProjectId::new(now, &random);
        let task = TaskId::new(project, now, &random);
        assert_eq!(task.project_tag(), project.tag());
        assert_eq!(TaskId::parse(&task.to_string()), Some(task));
        assert_ne!(TaskId::new(project, now, &random), task);
    }
}
