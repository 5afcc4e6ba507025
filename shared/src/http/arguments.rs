//! What handlers take: a parsed body, query parameters, a page of a list, a record of the tenant, a precondition.

use std::marker::PhantomData;

use http::header::IF_MATCH;

use crate::error::{Error, Result};
use crate::http::catalogue::Operation;
use crate::http::endpoint::Argument;
use crate::http::form::{self, Form};
use crate::http::paging::{InCursors, InOffsets, InPages, PageRequest, Style, binding};
use crate::http::request;
use crate::ids::PathId;
use crate::model::member::MemberNumber;
use crate::model::user::User;
use crate::store::entity::{Counter, Entity, Named, not_found};
use crate::tenancy::{Entered, Incoming, Reachable, Wants};

/// The JSON body.
pub struct Body<F>(pub F);

impl<F: Form> Argument for Body<F> {
    async fn take(incoming: &Incoming, _entered: &Entered) -> Result<Self> {
        request::form(incoming).map(Body)
    }

    fn describe(operation: &mut Operation) {
        operation.body(form::described::<F>());
        operation.at_most(F::MAX_BYTES);
    }
}

/// Query parameters.
pub struct Query<F>(pub F);

impl<F: Form> Argument for Query<F> {
    async fn take(incoming: &Incoming, _entered: &Entered) -> Result<Self> {
        form::from_query(&incoming.query).map(Query).map_err(Error::Validation)
    }

    fn describe(operation: &mut Operation) {
        operation.query(form::described::<F>());
    }
}

/// Filters and position of a list in pages (F2).
pub struct Pages<F> {
    pub filters: F,
    pub page: PageRequest,
}

/// Filters and position of a list in offsets (F0), in pages of `DEFAULT` unless the request says another size.
pub struct Offsets<F, const DEFAULT: usize = 20> {
    pub filters: F,
    pub page: PageRequest,
}

impl<F: Form> Argument for Pages<F> {
    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let InPages(form) = form::from_query::<InPages<F>>(&incoming.query).map_err(Error::Validation)?;
        let (filters, page) = form.request(Style::Pages, 15, list_of(incoming, entered), incoming.app.keys().cursors()?)?;
        Ok(Pages { filters, page })
    }

    fn describe(operation: &mut Operation) {
        operation.query(form::described::<InPages<F>>());
    }
}

impl<F: Form, const DEFAULT: usize> Argument for Offsets<F, DEFAULT> {
    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let InOffsets(form) = form::from_query::<InOffsets<F>>(&incoming.query).map_err(Error::Validation)?;
        let (filters, page) = form.request(Style::Offsets, DEFAULT, list_of(incoming, entered), incoming.app.keys().cursors()?)?;
        Ok(Offsets { filters, page })
    }

    fn describe(operation: &mut Operation) {
        operation.query(form::described::<InOffsets<F>>());
    }
}

/// Filters and position of a list that goes on by cursors (F4).
pub struct Cursors<F> {
    pub filters: F,
    pub page: PageRequest,
}

impl<F: Form> Argument for Cursors<F> {
    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let InCursors(form) = form::from_query::<InCursors<F>>(&incoming.query).map_err(Error::Validation)?;
        let (filters, page) = form.request(Style::Cursors, 50, list_of(incoming, entered), incoming.app.keys().cursors()?)?;
        Ok(Cursors { filters, page })
    }

    fn describe(operation: &mut Operation) {
        operation.query(form::described::<InCursors<F>>());
    }
}

/// The position of a list that comes whole unless a limit is given.
pub struct WholeList {
    pub page: PageRequest,
}

impl Argument for WholeList {
    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let InCursors(form) = form::from_query::<InCursors<NoFilters>>(&incoming.query).map_err(Error::Validation)?;
        let (_, page) = form.or_whole().request(Style::Cursors, 50, list_of(incoming, entered), incoming.app.keys().cursors()?)?;
        Ok(WholeList { page })
    }

    fn describe(operation: &mut Operation) {
        operation.query(form::described::<InCursors<NoFilters>>());
    }
}

/// The list a cursor belongs to: this tenant's (or workspace's, or person's), this path's, with these filters in this order.
fn list_of(incoming: &Incoming, entered: &Entered) -> String {
    let owner = match (&entered.workspace, &entered.store) {
        (Some(workspace), _) => format!("{} {}", workspace.tenant_id(), workspace.tag()),
        (None, Some(store)) => store.tenant_id().to_string(),
        (None, None) => entered.principal.clone(),
    };
    binding(&owner, &format!("{} {}", incoming.route, incoming.path_values.join("/")), &incoming.query)
}

/// A list without filters.
pub struct NoFilters;

impl Form for NoFilters {
    fn read(_fields: &mut form::Fields<'_>) -> Option<Self> {
        Some(NoFilters)
    }
}

/// A list without filters in a workspace, which the query may name.
pub struct OfWorkspace;

impl Form for OfWorkspace {
    fn read(fields: &mut form::Fields<'_>) -> Option<Self> {
        fields.optional("workspace", form::WorkspaceName);
        Some(OfWorkspace)
    }
}

/// The record that the path names, within the caller's tenant or workspace; anything else is not found.
pub struct Found<R>(pub R);

impl<R: Named<Scope: Reachable>> Argument for Found<R> {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        wants.means::<R>();
        for key in path_id::<R::Id>(incoming).map(R::places).unwrap_or_default() {
            wants.named(&key);
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        for key in path_id::<R::Id>(incoming).map(R::places).unwrap_or_default() {
            if let Some(record) = entered.find(&key).await? {
                return Ok(Found(record));
            }
        }
        Err(not_found::<R>())
    }

    fn describe(operation: &mut Operation) {
        operation.names(R::Id::schema());
    }
}

/// The id that a path names, by its last value; what cannot be one names nothing.
pub fn path_id<I: PathId>(incoming: &Incoming) -> Result<I> {
    incoming.path_values.last().and_then(|text| I::from_path(text)).ok_or(Error::NotFound)
}

/// How many of a record there are, by its counter, read with the door.
pub struct Total<R> {
    pub count: u64,
    of: PhantomData<fn() -> R>,
}

impl<R: Entity> Total<R> {
    const COUNTER: Counter = match R::COUNTER {
        Some(counter) => counter,
        None => panic!("the record declares no counter"),
    };
}

impl<R: Entity> Argument for Total<R> {
    fn wants(_incoming: &Incoming, wants: &mut Wants) {
        wants.counter(Self::COUNTER);
    }

    async fn take(_incoming: &Incoming, entered: &Entered) -> Result<Self> {
        Ok(Total { count: entered.count(Self::COUNTER).await?, of: PhantomData })
    }

    fn describe(_operation: &mut Operation) {}
}

/// The member whom the body's `assigned_to` names, read with the door; `None` when it names none, or nobody.
pub struct NamedMember(pub Option<MemberNumber>);

#[derive(serde::Deserialize)]
struct Assignment {
    assigned_to: Option<u64>,
}

impl NamedMember {
    /// The form says what is wrong with a body; here a wrong one names nobody.
    fn number(incoming: &Incoming) -> Option<u64> {
        serde_json::from_slice::<Assignment>(&incoming.body).ok()?.assigned_to
    }
}

impl Argument for NamedMember {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if let Some(number) = NamedMember::number(incoming) {
            wants.record(&MemberNumber::key_of(number));
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        match NamedMember::number(incoming) {
            Some(number) => entered.find(&MemberNumber::key_of(number)).await.map(NamedMember),
            None => Ok(NamedMember(None)),
        }
    }

    fn describe(_operation: &mut Operation) {}
}

/// The caller's own user record, read with the door.
pub struct OwnUser(pub User);

impl Argument for OwnUser {
    fn wants(_incoming: &Incoming, wants: &mut Wants) {
        wants.user = true;
    }

    async fn take(_incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let key = User::key_of(entered.user.ok_or(Error::Unauthorized)?);
        entered.find_open(&key).await?.map(OwnUser).ok_or(Error::Unauthorized)
    }

    fn describe(_operation: &mut Operation) {}
}

/// Has the caller's tenants looked up on the way in, for `SignedIn::tenants`.
pub struct WithTenants;

impl Argument for WithTenants {
    fn wants(_incoming: &Incoming, wants: &mut Wants) {
        wants.tenants();
    }

    async fn take(_incoming: &Incoming, _entered: &Entered) -> Result<Self> {
        Ok(WithTenants)
    }

    fn describe(_operation: &mut Operation) {}
}

/// `If-Match`: the version the caller saw. Absent, anything holds.
#[derive(Clone)]
pub struct IfMatch(Option<String>);

impl Argument for IfMatch {
    async fn take(incoming: &Incoming, _entered: &Entered) -> Result<Self> {
        incoming.list(&IF_MATCH).map(IfMatch)
    }

    fn describe(operation: &mut Operation) {
        operation.conditional();
    }
}

impl IfMatch {
    /// Holds when one of the listed tags is of this version. A tag's first number is the version; what follows it (counts that move
    /// without an edit) does not make a difference to an edit. A weak tag counts as its strong twin: ours are strong, and a proxy on the
    /// way weakens them.
    pub fn check(&self, etag: &str) -> Result<()> {
        let Some(expected) = &self.0 else { return Ok(()) };
        let version = |tag: &str| {
            let tag = tag.trim();
            let tag = tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"')?.strip_suffix('"')?;
            tag.split('.').next().map(str::to_owned)
        };
        let current = version(etag);
        let holds = expected.trim() == "*" || (current.is_some() && expected.split(',').any(|tag| version(tag) == current));
        if holds { Ok(()) } else { Err(Error::PreconditionFailed) }
    }
}

/// Whether `If-None-Match` names the representation that would be sent.
pub(crate) fn not_modified(expected: &str, etag: &str) -> bool {
    expected.trim() == "*" || expected.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_compares_versions() {
        let check = |header: &str, etag: &str| IfMatch(Some(header.into())).check(etag).is_ok();
        assert!(check("\"3.1.0\"", "\"3.2.0\""));
        assert!(check("\"1\", \"3\"", "\"3\""));
        assert!(check("*", "\"3\""));
        assert!(!check("\"2\"", "\"3\""));
        assert!(check("W/\"3\"", "\"3\""));
        assert!(check("\"1\",W/\"3.9.9\" , \"7\"", "\"3.1.0\""));
        assert!(!check("W/\"2\"", "\"3\""));
        assert!(!check("w/\"3\"", "\"3\"") && !check("\"3", "\"3\"") && !check("", "\"3\""));
        assert!(!check("3", "\"3\""));
        assert!(IfMatch(None).check("\"3\"").is_ok());
    }
}
