//! The id of a workspace, and the part of it that the ids of everything within it carry.

use std::fmt;

use jiff::Timestamp;

use super::{Segment, Uuid, time_ordered};
use crate::crypto::Random;

crate::id!(/// A workspace of a tenant.
    WorkspaceId = "ws", own);

const TAG_BITS: u128 = (1 << 48) - 1;

/// The last 48 bits of a workspace's id, with which the ids of all that lies in the workspace end: an id alone says where to look. 32 bits of seconds,
/// so that tags sort by creation, then 16 random bits. Unique within a tenant, because it is a workspace's key there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkspaceTag(u64);

impl WorkspaceId {
    /// No workspace has it.
    pub(crate) const NONE: WorkspaceId = WorkspaceId(Uuid::nil());

    /// A v7 UUID whose last 48 bits are a new tag.
    pub fn new(now: Timestamp, random: &Random) -> Self {
        let seconds = u64::try_from(now.as_second()).unwrap_or(0) & 0xFFFF_FFFF;
        let tag = WorkspaceTag(seconds << 16 | u64::from(u16::from_be_bytes(random.bytes())));
        WorkspaceId(ending_in(time_ordered(now, random), tag))
    }

    pub fn tag(&self) -> WorkspaceTag {
        tag_of(self.0)
    }

    /// Whether a workspace may have it.
    pub fn is_one(&self) -> bool {
        self.tag() != WorkspaceTag::NONE
    }
}

impl WorkspaceTag {
    /// No workspace has it.
    pub const NONE: WorkspaceTag = WorkspaceTag(0);

    /// As it stands in keys and exports: 12 hex digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(WorkspaceTag)
    }

    /// Of the id of anything that lies in a workspace.
    pub fn of(id: Uuid) -> Self {
        tag_of(id)
    }

    /// Of the id of anything that lies in a workspace, whatever its prefix: `tpl_0198…` or a UUID.
    pub fn of_id(text: &str) -> Option<Self> {
        let uuid = match text.split_once('_') {
            Some((_, hex)) if hex.len() == 32 => Uuid::try_parse(hex).ok(),
            Some(_) => None,
            None => super::parse_uuid(text),
        };
        uuid.map(tag_of)
    }
}

impl Segment for WorkspaceTag {}

impl fmt::Display for WorkspaceTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

/// The id of something in a workspace: 26 random bits keep those of one millisecond apart.
#[doc(hidden)]
pub fn in_workspace(workspace: WorkspaceTag, now: Timestamp, random: &Random) -> Uuid {
    ending_in(time_ordered(now, random), workspace)
}

/// The same id as it is named in a workspace.
#[doc(hidden)]
pub fn ending_in(ordered: Uuid, tag: WorkspaceTag) -> Uuid {
    Uuid::from_u128((ordered.as_u128() & !TAG_BITS) | u128::from(tag.0))
}

fn tag_of(id: Uuid) -> WorkspaceTag {
    WorkspaceTag((id.as_u128() & TAG_BITS) as u64)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn an_id_says_its_workspace_and_tags_sort_by_creation() {
        let (random, now) = (Random::seeded(1), Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000));
        let workspace = WorkspaceId::new(now, &random);
        let within = in_workspace(workspace.tag(), now, &random);
        for text in [format!("tpl_{}", within.as_simple()), within.to_string(), workspace.prefixed()] {
            assert_eq!(WorkspaceTag::of_id(&text), Some(workspace.tag()), "{text}");
        }
        for wrong in ["", "tpl_", "tpl_1", &within.as_simple().to_string(), "a_b_0198"] {
            assert_eq!(WorkspaceTag::of_id(wrong), None, "{wrong}");
        }
        let later = WorkspaceId::new(now + SignedDuration::from_secs(1), &random);
        assert!(later.tag() > workspace.tag() && later.tag().to_string() > workspace.tag().to_string());
        assert_eq!(workspace.tag().to_string().len(), 12);
    }
}
