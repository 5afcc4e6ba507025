//! The tenant's id. It is never parsed from a request: it comes from a verified credential, the directory, or a stored key.

use std::fmt;

use uuid::Uuid;

use crate::crypto::Random;
use crate::ids::{Segment, parse_uuid};

/// A v4 UUID, so it cannot be guessed. It has no public constructor and no `Deserialize`, on purpose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Uuid);

impl TenantId {
    pub(crate) fn new(random: &Random) -> Self {
        TenantId(uuid::Builder::from_random_bytes(random.bytes()).into_uuid())
    }

    /// For text that we wrote ourselves, or that is checked before use: a signed claim, a stored key, the `x-tenant-id` selector.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        parse_uuid(text).map(TenantId)
    }

    /// The same for what we signed in a compact form.
    pub(crate) fn of_bytes(bytes: [u8; 16]) -> Self {
        TenantId(Uuid::from_bytes(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl Segment for TenantId {}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0)
    }
}

impl serde::Serialize for TenantId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl utoipa::PartialSchema for TenantId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        crate::ids::uuid_schema()
    }
}

impl utoipa::ToSchema for TenantId {}

/// How our own records store a tenant id: `#[serde(with = "stored")]`, only inside this crate.
pub(crate) mod stored {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use super::TenantId;

    pub(crate) fn serialize<S: Serializer>(id: &TenantId, serializer: S) -> Result<S::Ok, S::Error> {
        id.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TenantId, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        TenantId::parse(&text).ok_or_else(|| de::Error::custom("not a tenant id"))
    }
}

pub(crate) mod stored_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use super::TenantId;

    pub(crate) fn serialize<S: Serializer>(id: &Option<TenantId>, serializer: S) -> Result<S::Ok, S::Error> {
        id.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TenantId>, D::Error> {
        match Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)? {
            None => Ok(None),
            Some(text) => TenantId::parse(&text).map(Some).ok_or_else(|| de::Error::custom("not a tenant id")),
        }
    }
}

/// In the place of a tenant that holds something.
pub(crate) const NOBODY: &str = "nobody";

/// Always text, so that a condition can compare who holds something.
pub(crate) mod stored_or_nobody {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use super::{NOBODY, TenantId};

    pub(crate) fn serialize<S: Serializer>(id: &Option<TenantId>, serializer: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => id.serialize(serializer),
            None => NOBODY.serialize(serializer),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TenantId>, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        if text == NOBODY {
            return Ok(None);
        }
        TenantId::parse(&text).map(Some).ok_or_else(|| de::Error::custom("not a tenant id"))
    }
}

#[cfg(test)]
pub(crate) fn for_tests(text: &str) -> TenantId {
    TenantId::parse(text).expect("a UUID")
}
