//! What the forms of this function have in common.

use records::contact::{Contact, ContactId};
use records::contact_group::ContactGroupId;
use shared::http::form::{Id, Several, Texts};

pub const CONTACT: Id<ContactId> = Id::of("a contact");
pub const GROUP: Id<ContactGroupId> = Id::of("a group of contacts");

pub fn group_ids() -> Several<Id<ContactGroupId>> {
    Several { each: GROUP, min: 0, max: Contact::MAX_GROUPS, key: ContactGroupId::to_string }
}

/// Metadata of a contact, or a change of it.
pub const METADATA: Texts =
    Texts { most: Contact::MAX_METADATA, each: Contact::MAX_METADATA_VALUE, bytes: Contact::MAX_METADATA_BYTES, clears: true };
