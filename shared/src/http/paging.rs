//! Positions in lists. Requests contain page numbers, offsets or cursors; answers contain encrypted cursors. A cursor contains only a sort
//! position. It is bound to tenant, route, filters and order, so it is useless elsewhere.

use std::collections::BTreeMap;

use crate::crypto::{Random, SealingKey};
use crate::error::{Error, Result};
use crate::http::form::{Cursor, Fields, Form, Integer};
use crate::store::page::{Position, Span};
use crate::tenancy::App;

/// Larger offsets are refused. A cursor has the same cost at any depth.
pub const MAX_OFFSET: u64 = 10_000;

/// The paging of a family: F2 uses pages, F0 offsets, F4 only cursors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Pages,
    Offsets,
    Cursors,
}

/// Where a page begins and its size.
#[derive(Debug, Clone)]
pub struct PageRequest {
    pub style: Style,
    pub limit: usize,
    pub start: Start,
    /// What a cursor of this list is bound to.
    pub(crate) bound_to: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    Offset(u64),
    After(Position),
}

impl PageRequest {
    /// `None` when the list continues from a cursor, because pages then have no number.
    pub fn offset(&self) -> Option<u64> {
        match self.start {
            Start::Offset(offset) => Some(offset),
            Start::After(_) => None,
        }
    }

    /// What to read from the store.
    pub fn span(&self) -> Span {
        match &self.start {
            Start::Offset(offset) => Span { after: None, skip: usize::try_from(*offset).unwrap_or(usize::MAX), limit: self.limit },
            Start::After(position) => Span { after: Some(position.clone()), skip: 0, limit: self.limit },
        }
    }

    /// The cursor of the next page, for lists that print it themselves.
    pub fn cursor(&self, app: &App, next: Option<&Position>) -> Result<Option<String>> {
        next.map(|next| Ok(self.seal(next, app.keys().cursors()?, app.random()))).transpose()
    }

    pub(crate) fn seal(&self, position: &Position, key: &SealingKey, random: &Random) -> String {
        key.seal(position.0.as_bytes(), &self.bound_to, random)
    }
}

/// The filters `F` of a list and its position, as query parameters.
pub struct PagedForm<F> {
    pub filters: F,
    page: Option<i64>,
    per_page: Option<i64>,
    limit: Option<i64>,
    offset: Option<i64>,
    cursor: Option<String>,
}

/// Page numbers, for F2.
pub struct InPages<F>(pub PagedForm<F>);
/// Offsets, for F0.
pub struct InOffsets<F>(pub PagedForm<F>);
/// Only cursors, for F4.
pub struct InCursors<F>(pub PagedForm<F>);

impl<F: Form> Form for InPages<F> {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let filters = F::read(fields);
        let per_page = fields.optional("per_page", Integer { min: 1, max: 100 });
        let page = fields.optional("page", Integer { min: 1, max: i64::from(u32::MAX) });
        let cursor = fields.optional("cursor", Cursor { max: 2048 });
        Some(InPages(PagedForm { filters: filters?, page, per_page, limit: None, offset: None, cursor }))
    }
}

impl<F: Form> Form for InOffsets<F> {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let filters = F::read(fields);
        let limit = fields.optional("limit", Integer { min: 1, max: 100 });
        let offset = fields.optional("offset", Integer { min: 0, max: i64::from(u32::MAX) });
        let cursor = fields.optional("cursor", Cursor { max: 2048 });
        Some(InOffsets(PagedForm { filters: filters?, page: None, per_page: None, limit, offset, cursor }))
    }
}

impl<F: Form> Form for InCursors<F> {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let filters = F::read(fields);
        let limit = fields.optional("limit", Integer { min: 1, max: 100 });
        let cursor = fields.optional("cursor", Cursor { max: 2048 });
        Some(InCursors(PagedForm { filters: filters?, page: None, per_page: None, limit, offset: None, cursor }))
    }
}

impl<F> PagedForm<F> {
    /// With the largest page size as the default.
    pub(crate) fn or_whole(self) -> Self {
        PagedForm { limit: self.limit.or(Some(1000)), ..self }
    }

    /// Splits into filters and position. `default` is the size of a page, unless the request says another. `bound_to` names tenant, route, filters
    /// and order.
    pub(crate) fn request(self, style: Style, default: usize, bound_to: String, key: &SealingKey) -> Result<(F, PageRequest)> {
        let limit = self.per_page.or(self.limit).and_then(|limit| usize::try_from(limit).ok()).unwrap_or(default);
        let offset = match style {
            Style::Pages => self.page.map(|page| u64::try_from(page - 1).unwrap_or(0).saturating_mul(limit as u64)),
            Style::Offsets | Style::Cursors => self.offset.map(|offset| u64::try_from(offset).unwrap_or(0)),
        };
        let start = match (self.cursor, offset) {
            (Some(_), Some(_)) => return Err(Error::BadRequest("Give a page or a cursor, not both.".into())),
            (Some(cursor), None) => {
                let position = key.open(&cursor, &bound_to).and_then(|bytes| String::from_utf8(bytes).ok());
                Start::After(Position(position.ok_or(Error::BadRequest("The cursor does not belong to this list.".into()))?))
            }
            (None, offset) => {
                let offset = offset.unwrap_or(0);
                if offset > MAX_OFFSET {
                    let name = if style == Style::Pages { "page" } else { "offset" };
                    return Err(Error::field(
                        name,
                        format!("The {name} field reaches beyond {MAX_OFFSET} items: follow next_cursor instead."),
                    ));
                }
                Start::Offset(offset)
            }
        };
        Ok((self.filters, PageRequest { style, limit, start, bound_to }))
    }
}

/// What a cursor is bound to: tenant, route, and every parameter but the position.
pub fn binding(tenant: &str, route: &str, query: &BTreeMap<String, String>) -> String {
    let mut parts = vec![tenant.as_bytes(), route.as_bytes()];
    for (name, value) in query.iter().filter(|(name, _)| !is_position(name)) {
        parts.extend([name.as_bytes(), value.as_bytes()]);
    }
    crate::crypto::hash(&parts)
}

pub(crate) fn is_position(name: &str) -> bool {
    matches!(name, "page" | "per_page" | "limit" | "offset" | "cursor")
}
