//! Access to DynamoDB. There is one table: `pk` is `T#<tenant>#<collection>` for what a tenant owns, `T#<tenant>#<collection>#<workspace>` for what a
//! workspace of it owns, and `G#<collection>` for the directory.
//! `sk` is the entity's own sort key. This module opens no partition by itself: `tenancy` creates the stores that are bound to one tenant.

pub(crate) mod entity;
pub(crate) mod item;
pub(crate) mod page;
pub(crate) mod records;
pub(crate) mod sessions;
pub(crate) mod sweep;
pub(crate) mod table;

pub use entity::{
    Collection, Counter, Declared, Entity, IN_WORKSPACE, InTenant, InWorkspace, Key, ListEntry, Listed, Named, Owned, Packed, Record,
    Within,
};
pub use page::{Direction, List, Page, Position, RankedPage, Span, Stored, Window};
pub use records::{Anything, Branch, Kind, Nested, Records, Restore, Restored, restored};
pub use sweep::Swept;
pub use table::{Metered, Table};
