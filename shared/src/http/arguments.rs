//! What handlers take: a parsed body, query parameters, a page of a list, a record of the tenant, a precondition.

use std::future::Future;

use http::header::IF_MATCH;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::http::catalogue::Operation;
use crate::http::endpoint::{Argument, path_value};
use crate::http::form::{self, Form};
use crate::http::paging::{InCursors, InOffsets, InPages, PageRequest, Style, binding};
use crate::http::request;
use crate::ids::{ApiKeyId, ProjectId, SessionId, SettingId, SubaccountId, TaskId};
use crate::model::api_key::ApiKey;
use crate::model::domain::{Domain, Hostname};
use crate::model::edge_config::EdgeConfig;
use crate::model::invitation::{Invitation, InvitationId};
use crate::model::member::{Member, MemberNumber};
use crate::model::project::{DeletedProject, Project, Shelf};
use crate::model::setting::{Setting, SettingName};
use crate::model::subaccount::Subaccount;
use crate::model::task::Task;
use crate::model::user::User;
use crate::store::Counter;
use crate::tenancy::{Entered, Incoming, Wants};

/// The JSON body.
pub struct Body<F>(pub F);

impl<F: Form> Argument for Body<F> {
    async fn take(incoming: &Incoming, _entered: &Entered) -> Result<Self> {
        request::form(incoming).map(Body)
    }

    fn describe(operation: &mut Operation) {
        operation.body(form::described::<F>());
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

/// Filters and position of a list in offsets (F0).
pub struct Offsets<F> {
    pub filters: F,
    pub page: PageRequest,
}

impl<F: Form> Argument for Pages<F> {
    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let InPages(form) = form::from_query::<InPages<F>>(&incoming.query).map_err(Error::Validation)?;
        let (filters, page) = form.request(Style::Pages, list_of(incoming, entered), incoming.app.keys().cursors()?)?;
        Ok(Pages { filters, page })
    }

    fn describe(operation: &mut Operation) {
        operation.query(form::described::<InPages<F>>());
    }
}

impl<F: Form> Argument for Offsets<F> {
    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let InOffsets(form) = form::from_query::<InOffsets<F>>(&incoming.query).map_err(Error::Validation)?;
        let (filters, page) = form.request(Style::Offsets, list_of(incoming, entered), incoming.app.keys().cursors()?)?;
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
        let (filters, page) = form.request(Style::Cursors, list_of(incoming, entered), incoming.app.keys().cursors()?)?;
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
        let (_, page) = form.or_whole().request(Style::Cursors, list_of(incoming, entered), incoming.app.keys().cursors()?)?;
        Ok(WholeList { page })
    }

    fn describe(operation: &mut Operation) {
        operation.query(form::described::<InCursors<NoFilters>>());
    }
}

/// The list a cursor belongs to: this tenant's (or person's), this path's, with these filters in this order.
fn list_of(incoming: &Incoming, entered: &Entered) -> String {
    let owner = entered.store.as_ref().map_or_else(|| entered.principal.clone(), |store| store.tenant_id().to_string());
    binding(&owner, &format!("{} {}", incoming.route, incoming.path_values.join("/")), &incoming.query)
}

/// A list without filters.
pub struct NoFilters;

impl Form for NoFilters {
    fn read(_fields: &mut form::Fields<'_>) -> Option<Self> {
        Some(NoFilters)
    }
}

/// The record that the path names, within the caller's tenant; anything else is `NotFound`.
pub struct Found<T>(pub T);

/// A record that a path can name.
pub trait Named: Sized + Send {
    fn wants(incoming: &Incoming, wants: &mut Wants);
    fn find(incoming: &Incoming, entered: &Entered) -> impl Future<Output = Result<Option<Self>>> + Send;

    /// What names it in a path.
    fn id_schema() -> Value {
        json!({"type": "string", "format": "uuid"})
    }
}

impl<T: Named> Argument for Found<T> {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        T::wants(incoming, wants);
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        T::find(incoming, entered).await?.map(Found).ok_or(Error::NotFound)
    }

    fn describe(operation: &mut Operation) {
        operation.names(T::id_schema());
    }
}

impl Named for Project {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if let Ok(id) = path_value(incoming, ProjectId::parse) {
            wants.record(&Project::key_of(id, Shelf::Active));
            wants.record(&Project::key_of(id, Shelf::Archived));
        }
    }

    async fn find(incoming: &Incoming, entered: &Entered) -> Result<Option<Self>> {
        let id = path_value(incoming, ProjectId::parse)?;
        match entered.find(&Project::key_of(id, Shelf::Active)).await? {
            Some(project) => Ok(Some(project)),
            None => entered.find(&Project::key_of(id, Shelf::Archived)).await,
        }
    }
}

impl Named for Task {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if let Ok(id) = path_value(incoming, TaskId::parse) {
            wants.record(&Task::key_of(id));
            wants.record(&DeletedProject::key_of(id.project_tag()));
        }
    }

    async fn find(incoming: &Incoming, entered: &Entered) -> Result<Option<Self>> {
        let id = path_value(incoming, TaskId::parse)?;
        let Some(task) = entered.find(&Task::key_of(id)).await? else { return Ok(None) };
        let deleted: Option<DeletedProject> = entered.find(&DeletedProject::key_of(id.project_tag())).await?;
        Ok(deleted.is_none_or(|deleted| deleted.id != task.project).then_some(task))
    }
}

impl Named for Invitation {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if let Ok(id) = path_value(incoming, InvitationId::parse) {
            wants.record(&Invitation::key_of(id));
        }
    }

    async fn find(incoming: &Incoming, entered: &Entered) -> Result<Option<Self>> {
        entered.find(&Invitation::key_of(path_value(incoming, InvitationId::parse)?)).await
    }
}

impl Named for ApiKey {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if let Ok(id) = path_value(incoming, ApiKeyId::parse_prefixed) {
            wants.record(&ApiKey::key_of(id));
        }
    }

    async fn find(incoming: &Incoming, entered: &Entered) -> Result<Option<Self>> {
        entered.find(&ApiKey::key_of(path_value(incoming, ApiKeyId::parse_prefixed)?)).await
    }

    fn id_schema() -> Value {
        either_spelling("key")
    }
}

impl Named for Subaccount {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        wants.subaccount = path_value(incoming, SubaccountId::parse_prefixed).ok();
    }

    async fn find(incoming: &Incoming, entered: &Entered) -> Result<Option<Self>> {
        let id = path_value(incoming, SubaccountId::parse_prefixed)?;
        match &entered.store {
            Some(agency) => entered.find_open(&Subaccount::key_of(agency.tenant_id(), id)).await,
            None => Ok(None),
        }
    }

    fn id_schema() -> Value {
        either_spelling("sub")
    }
}

/// An id with its kind in front, or the same as a UUID.
fn either_spelling(prefix: &str) -> Value {
    let description = format!("`{prefix}_` and 32 hex digits, or the same as a UUID.");
    json!({"type": "string", "pattern": format!("^({prefix}_[0-9A-Fa-f]{{32}}|[0-9A-Fa-f-]{{36}})$"), "description": description})
}

impl Named for Member {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if let Ok(number) = path_value(incoming, member_number) {
            wants.record(&MemberNumber::key_of(number));
        }
    }

    async fn find(incoming: &Incoming, entered: &Entered) -> Result<Option<Self>> {
        let number = path_value(incoming, member_number)?;
        match entered.find(&MemberNumber::key_of(number)).await? {
            Some(numbered) => entered.find(&Member::key_of(numbered.user)).await,
            None => Ok(None),
        }
    }

    fn id_schema() -> Value {
        json!({"type": "integer", "minimum": 1, "description": "The member's number."})
    }
}

/// By id a setting is looked for among all: they are few, and their names are what they are found by otherwise.
impl Named for Setting {
    fn wants(_incoming: &Incoming, _wants: &mut Wants) {}

    async fn find(incoming: &Incoming, entered: &Entered) -> Result<Option<Self>> {
        let id = path_value(incoming, SettingId::parse)?;
        let Some(store) = &entered.store else { return Ok(None) };
        let all = store.all(&Setting::all()).await?;
        Ok(all.into_iter().find(|setting| setting.id == id))
    }
}

/// A member's number as paths and `assigned_to` write it: a positive decimal without sign or leading zeros.
fn member_number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number > 0 && number.to_string() == text).then_some(number)
}

/// The id in a path of the person's own things (sessions).
pub struct OwnSession(pub SessionId);

impl Argument for OwnSession {
    async fn take(incoming: &Incoming, _entered: &Entered) -> Result<Self> {
        path_value(incoming, SessionId::parse).map(OwnSession)
    }

    fn describe(operation: &mut Operation) {
        operation.names(json!({"type": "string", "format": "uuid"}));
    }
}

/// How many projects stand on the shelf that the query asks for (`archived`), read with the door.
pub struct ShelfTotal(pub u64);

impl ShelfTotal {
    fn counter(incoming: &Incoming) -> Counter {
        let archived = incoming.query.get("archived").is_some_and(|archived| matches!(archived.as_str(), "true" | "1"));
        if archived { Shelf::Archived.counter() } else { Shelf::Active.counter() }
    }
}

impl Argument for ShelfTotal {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        wants.counter(ShelfTotal::counter(incoming));
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        entered.count(ShelfTotal::counter(incoming)).await.map(ShelfTotal)
    }

    fn describe(_operation: &mut Operation) {}
}

/// How many members the tenant has, read with the door.
pub struct MemberTotal(pub u64);

impl Argument for MemberTotal {
    fn wants(_incoming: &Incoming, wants: &mut Wants) {
        wants.counter(Counter::Members);
    }

    async fn take(_incoming: &Incoming, entered: &Entered) -> Result<Self> {
        entered.count(Counter::Members).await.map(MemberTotal)
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

/// How many custom domains the tenant lists, read with the door.
pub struct DomainTotal(pub u64);

impl Argument for DomainTotal {
    fn wants(_incoming: &Incoming, wants: &mut Wants) {
        wants.counter(Counter::Domains);
    }

    async fn take(_incoming: &Incoming, entered: &Entered) -> Result<Self> {
        entered.count(Counter::Domains).await.map(DomainTotal)
    }

    fn describe(_operation: &mut Operation) {}
}

/// The setting that the body's `name` names, read with the door; `None` when it names none, or none is there.
pub struct NamedSetting(pub Option<Setting>);

#[derive(serde::Deserialize)]
struct SettingBody {
    name: Option<SettingName>,
}

impl NamedSetting {
    /// The form says what is wrong with a body; here a wrong one names nothing.
    fn name(incoming: &Incoming) -> Option<SettingName> {
        serde_json::from_slice::<SettingBody>(&incoming.body).ok()?.name
    }
}

impl Argument for NamedSetting {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if let Some(name) = NamedSetting::name(incoming) {
            wants.record(&Setting::key_of(&name));
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        match NamedSetting::name(incoming) {
            Some(name) => entered.find(&Setting::key_of(&name)).await.map(NamedSetting),
            None => Ok(NamedSetting(None)),
        }
    }

    fn describe(_operation: &mut Operation) {}
}

/// The tenant's domain that the body's `hostname` names, or the query's, read with the door; anything else is `NotFound`.
pub struct NamedDomain(pub Domain);

struct InBody(Option<Hostname>);

impl Form for InBody {
    fn read(fields: &mut form::Fields<'_>) -> Option<Self> {
        Some(InBody(fields.optional("hostname", form::HostnameText)))
    }
}

impl NamedDomain {
    /// The form says what is wrong with an input; here a wrong one names nothing.
    fn hostname(incoming: &Incoming) -> Option<Hostname> {
        #[derive(serde::Deserialize)]
        struct Naming {
            hostname: Option<String>,
        }
        let in_query = incoming.query.get("hostname").cloned();
        let in_body = || serde_json::from_slice::<Naming>(&incoming.body).ok()?.hostname;
        Hostname::parse(&in_query.or_else(in_body)?).ok()
    }
}

impl Argument for NamedDomain {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if let Some(hostname) = NamedDomain::hostname(incoming) {
            wants.record(&Domain::key_of(&hostname));
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let InBody(in_query) = form::from_query(&incoming.query).map_err(Error::Validation)?;
        let InBody(in_body) = request::form(incoming)?;
        let hostname = match (in_query, in_body) {
            (None, None) => return Err(Error::field("hostname", "The hostname field is required.")),
            (Some(one), Some(other)) if one != other => {
                return Err(Error::field("hostname", "The hostname field differs between query and body."));
            }
            (Some(hostname), _) | (None, Some(hostname)) => hostname,
        };
        entered.find(&Domain::key_of(&hostname)).await?.map(NamedDomain).ok_or(Error::NotFound)
    }

    fn describe(operation: &mut Operation) {
        operation.body(form::described::<InBody>());
        operation.query(form::described::<InBody>());
        operation.may_miss();
    }
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
        wants.belongs = true;
    }

    async fn take(_incoming: &Incoming, _entered: &Entered) -> Result<Self> {
        Ok(WithTenants)
    }

    fn describe(_operation: &mut Operation) {}
}

/// The tenant's edge configuration, read with the door; `None` where nothing was configured yet.
pub struct EdgeConfigured(pub Option<EdgeConfig>);

impl Argument for EdgeConfigured {
    fn wants(_incoming: &Incoming, wants: &mut Wants) {
        wants.record(&EdgeConfig::key_of());
    }

    async fn take(_incoming: &Incoming, entered: &Entered) -> Result<Self> {
        entered.find(&EdgeConfig::key_of()).await.map(EdgeConfigured)
    }

    fn describe(operation: &mut Operation) {
        operation.may_miss();
    }
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

    #[test]
    fn member_numbers_have_one_spelling() {
        assert_eq!(member_number("12"), Some(12));
        for wrong in ["0", "+1", "01", "-1", "1.0", "", "abc", "99999999999999999999"] {
            assert_eq!(member_number(wrong), None, "{wrong}");
        }
    }
}
