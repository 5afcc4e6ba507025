//! The doors for work without a caller: a stream record, a queued job, a schedule, an operator's command. The tenant comes from the key of
//! the changed item, from the message that our own relay wrote about it, from what we signed, or from the directory. It never comes from text
//! that a tenant wrote.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::crypto;
use crate::error::{Error, Result};
use crate::ids::{MailId, WorkspaceTag};
use crate::model::audit::{self, Removal, ResourceChange};
use crate::model::deletion::Deletion;
use crate::model::demo::Demo;
use crate::model::domain::DomainCheck;
use crate::model::due::{AnchorConsents, DueAnchor, DueDelivery, DueNote as _, DueWork};
use crate::model::due_messages::DueMessages;
use crate::model::inbound::Inbound;
use crate::model::line::LinePeer;
use crate::model::mail_ref::{LinkKind, MailLink, MailRef};
use crate::model::message_ref::MessageRef;
use crate::model::subaccount::Subaccount;
use crate::model::tenant::{Slug, SlugClaim};
use crate::model::workspace::DeletedWorkspace;
use crate::store::entity::WORKSPACE;
use crate::store::{Entity, Records, Table};
use crate::tenancy::limiter::Class;
use crate::tenancy::store::audited_id;
use crate::tenancy::{Allowance, App, Directory, Origin, TenantId, TenantStore, WorkspaceStore};

/// One change of the table, from the stream.
#[derive(Debug)]
pub struct Change {
    /// From the item's partition key. `None` for the directory.
    tenant: Option<TenantId>,
    /// From the item's partition key, for what lies in a workspace.
    workspace: Option<WorkspaceTag>,
    pub kind: ChangeKind,
    /// The `type` attribute of the item.
    pub entity: String,
    /// The item after the change. If it was deleted, the item before.
    image: serde_dynamo::Item,
    /// The item before a modification.
    before: Option<serde_dynamo::Item>,
    sort: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Inserted,
    Modified,
    Removed,
}

/// What `relay` puts on a queue: a job, with the tenant of the change that caused it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Queued<J> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    /// Of the change. Jobs have fields of other names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    within: Option<String>,
    #[serde(flatten)]
    pub job: J,
}

/// Jobs of the mail queue.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub struct SendMail {
    pub mail: MailId,
}

/// What a worker may touch: the directory, and the tenant its job belongs to.
pub struct WorkContext {
    pub app: App,
    pub directory: Directory,
    pub store: Option<TenantStore>,
    /// For a job about something in a workspace.
    pub within: Option<WorkspaceStore>,
    /// The table to which the stores report their consumed capacity.
    table: Table,
}

impl Change {
    /// Reads a record of the table's stream. The tenant comes from the partition key, whatever the attributes say.
    pub(crate) fn read(record: serde_json::Value) -> Result<Self> {
        #[derive(Deserialize)]
        struct Record {
            #[serde(rename = "eventName")]
            event: String,
            dynamodb: Images,
        }
        #[derive(Deserialize)]
        struct Images {
            #[serde(rename = "Keys")]
            keys: serde_dynamo::Item,
            #[serde(rename = "NewImage", default)]
            new: Option<serde_dynamo::Item>,
            #[serde(rename = "OldImage", default)]
            old: Option<serde_dynamo::Item>,
        }
        let unreadable = |cause: &str| Error::internal("reading a stream record", cause.to_owned());
        let record: Record = serde_json::from_value(record).map_err(|error| Error::internal("reading a stream record", error))?;
        let kind = match record.event.as_str() {
            "INSERT" => ChangeKind::Inserted,
            "MODIFY" => ChangeKind::Modified,
            "REMOVE" => ChangeKind::Removed,
            other => return Err(unreadable(&format!("{other:?} is no kind of change"))),
        };
        let text = |item: &serde_dynamo::Item, name: &str| match item.get(name) {
            Some(serde_dynamo::AttributeValue::S(text)) => Some(text.clone()),
            _ => None,
        };
        let pk = text(&record.dynamodb.keys, "pk").ok_or_else(|| unreadable("it has no partition key"))?;
        let parts: Vec<&str> = pk.split('#').collect();
        let tenant = match parts[..] {
            ["T", tenant, _, ..] => Some(TenantId::parse(tenant).ok_or_else(|| unreadable("its partition key names no tenant"))?),
            ["G", _, ..] => None,
            _ => return Err(unreadable("its partition key is not ours")),
        };
        let sort = text(&record.dynamodb.keys, "sk").unwrap_or_default();
        let (image, before) = match (record.dynamodb.new, record.dynamodb.old) {
            (Some(new), old) => (new, old),
            (None, Some(old)) => (old, None),
            (None, None) => return Err(unreadable("it has no image")),
        };
        let entity = text(&image, "type").unwrap_or_default();
        // Only an item of a workspace has the attribute, and its partition names the same one.
        let workspace = match (text(&image, WORKSPACE), &parts[..]) {
            (None, _) => None,
            (Some(own), ["T", _, _, part, ..]) if part.split('.').next() == Some(own.as_str()) => WorkspaceTag::parse(&own),
            _ => return Err(unreadable("it lies in another workspace than its own")),
        };
        Ok(Change { tenant, workspace, kind, entity, image, before, sort })
    }

    /// The store of the tenant that owns the item. `None` for the directory.
    fn store(&self, app: &App, worker: &'static str, request_id: &str) -> Option<TenantStore> {
        self.tenant.map(|tenant| WorkContext::scheduled(app, worker, request_id).directory.enter(tenant))
    }

    /// Writes the change into its tenant's audit log, if a request changed a resource. A record may also change only because another record
    /// changed (a counter inside it). It then still names the request that last wrote it, and is skipped.
    pub async fn audit(&self, app: &App, worker: &'static str, request_id: &str) -> Result<()> {
        let Some((change, by, at)) = self.audited(app.records())? else { return Ok(()) };
        let store = if self.entity == Subaccount::TYPE {
            // A record of the directory that an agency writes. It goes into the agency's log.
            let subaccount: Subaccount = self.record()?;
            Some(WorkContext::scheduled(app, worker, request_id).directory.enter(subaccount.agency))
        } else {
            self.store(app, worker, request_id)
        };
        match store {
            Some(store) => store.audited_late(&by, at, &change).await,
            None => Ok(()),
        }
    }

    fn audited(&self, records: Records) -> Result<Option<(ResourceChange, Origin, Timestamp)>> {
        let text = |item: &serde_dynamo::Item, name: &str| match item.get(name) {
            Some(serde_dynamo::AttributeValue::S(text)) => Some(text.clone()),
            _ => None,
        };
        if self.kind == ChangeKind::Removed || (self.tenant.is_none() && self.entity != Subaccount::TYPE) {
            return Ok(None);
        }
        let (Some(request), Some(actor)) = (text(&self.image, "request"), text(&self.image, "actor")) else { return Ok(None) };
        let Some(at) = text(&self.image, "at").and_then(|at| at.parse().ok()) else { return Ok(None) };
        let digest = |item: &serde_dynamo::Item| {
            let attributes = serde_dynamo::from_item(item.clone()).map_err(|error| Error::internal("reading a stream record", error))?;
            Ok::<_, Error>(audit::digest(&attributes))
        };
        let change = if self.entity == Removal::TYPE && self.kind == ChangeKind::Inserted {
            let removal: Removal = self.record()?;
            let Removal { resource, id, before, .. } = removal;
            ResourceChange { action: "deleted".into(), resource, id, before: Some(before), after: None }
        } else {
            let Some(resource) = records.audited(&self.entity, &actor) else { return Ok(None) };
            if self.before.as_ref().is_some_and(|before| text(before, "request").as_ref() == Some(&request)) {
                return Ok(None);
            }
            let teller = |item: &serde_dynamo::Item| records.told_by(&self.entity).and_then(|attribute| text(item, attribute));
            if teller(&self.image).is_some_and(|told_by| self.before.as_ref().and_then(teller) != Some(told_by)) {
                return Ok(None);
            }
            // A record that moved appears as a new one, but keeps its version.
            let first = match self.image.get("version") {
                Some(serde_dynamo::AttributeValue::N(version)) => version == "1",
                _ => true,
            };
            ResourceChange {
                action: if self.kind == ChangeKind::Inserted && first { "created" } else { "changed" }.into(),
                resource: resource.into(),
                id: audited_id(text(&self.image, "id").as_ref(), text(&self.image, WORKSPACE).as_ref(), &self.sort),
                before: self.before.as_ref().map(digest).transpose()?,
                after: Some(digest(&self.image)?),
            }
        };
        Ok(Some((change, Origin { actor, request }, at)))
    }

    /// The changed record.
    pub fn record<E: DeserializeOwned>(&self) -> Result<E> {
        serde_dynamo::from_item(self.image.clone()).map_err(|error| Error::internal("reading a stream record", error))
    }

    /// The record before a modification.
    pub fn earlier<E: DeserializeOwned>(&self) -> Result<Option<E>> {
        let read = |item: &serde_dynamo::Item| serde_dynamo::from_item(item.clone());
        self.before.as_ref().map(read).transpose().map_err(|error| Error::internal("reading a stream record", error))
    }

    /// Whether this worker wrote it.
    pub fn is_by(&self, worker: &str) -> bool {
        matches!(self.image.get("actor"), Some(serde_dynamo::AttributeValue::S(actor)) if actor == worker)
    }

    /// When the record was written, and a hash that no other write has. Both are the same however often the stream brings the change.
    pub fn written(&self) -> Result<(Timestamp, String)> {
        let text = |name: &str| match self.image.get(name) {
            Some(serde_dynamo::AttributeValue::S(text)) => Ok(text.as_str()),
            _ => Err(Error::internal("reading a stream record", format!("it has no {name}"))),
        };
        let (at, request) = (text("at")?, text("request")?);
        let moment = at.parse().map_err(|error| Error::internal("reading a stream record", error))?;
        // One request may write a record several times.
        let version = match self.image.get("version") {
            Some(serde_dynamo::AttributeValue::N(version)) => version.as_str(),
            _ => "",
        };
        let place = [self.group(), self.entity.clone(), self.sort.clone()];
        let mark = crypto::hash(&[&place[0], &place[1], &place[2], at, request, version].map(str::as_bytes));
        Ok((moment, mark))
    }

    /// The change's tenant, so that each tenant gets a fair share of a queue.
    pub fn group(&self) -> String {
        self.tenant.map_or_else(|| "directory".to_owned(), |tenant| tenant.to_string())
    }

    /// The context for work on this change, with the store of the tenant whose item changed.
    pub fn context(&self, app: &App, worker: &'static str, request_id: &str) -> WorkContext {
        let mut context = WorkContext::scheduled(app, worker, request_id);
        context.store = self.tenant.map(|tenant| context.directory.enter(tenant));
        context
    }

    /// A job that belongs to the tenant of this change.
    pub fn job<J>(&self, job: J) -> Queued<J> {
        let within = self.workspace.map(|workspace| workspace.to_string());
        Queued { tenant: self.tenant.map(|tenant| tenant.to_string()), within, job }
    }
}

impl<J: DeserializeOwned> Queued<J> {
    pub(crate) fn read(body: &str) -> Result<Self> {
        serde_json::from_str(body).map_err(|error| Error::internal("reading a job", error))
    }

    pub(crate) fn open(self, app: &App, worker: &'static str, request_id: &str) -> Result<(WorkContext, J)> {
        let mut context = WorkContext::scheduled(app, worker, request_id);
        if let Some(text) = self.tenant {
            let tenant = TenantId::parse(&text).ok_or_else(|| Error::internal("reading a job", "it names no tenant"))?;
            let store = context.directory.enter(tenant);
            if let Some(text) = self.within {
                let tag = WorkspaceTag::parse(&text).ok_or_else(|| Error::internal("reading a job", "it names no workspace"))?;
                context.within = Some(store.workspace(tag));
            }
            context.store = Some(store);
        }
        Ok((context, self.job))
    }
}

impl WorkContext {
    /// The context of scheduled work and operators' commands.
    pub(crate) fn scheduled(app: &App, worker: &'static str, request_id: &str) -> Self {
        let table = app.table().metered();
        let origin = Origin { actor: worker.to_owned(), request: request_id.to_owned() };
        let directory = Directory::open(table.clone(), app.shared_random(), app.clock().now(), origin.into());
        WorkContext { app: app.clone(), directory, store: None, within: None, table }
    }

    /// For a request of the operator's own programs.
    pub(super) fn of_request(app: App, directory: Directory, table: Table) -> Self {
        WorkContext { app, directory, store: None, within: None, table }
    }

    /// The time when the work began.
    pub fn now(&self) -> Timestamp {
        self.directory.now()
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// The store of a demo from the directory's list.
    pub fn tenant_of(&self, demo: &Demo) -> TenantStore {
        self.directory.enter(demo.tenant)
    }

    /// The store of the tenant of a domain from the directory's list of checks.
    pub fn tenant_of_check(&self, check: &DomainCheck) -> TenantStore {
        self.directory.enter(check.tenant)
    }

    /// The stores of the tenant and the workspace of a campaign that is due, from the directory's list. `None`: its id names no workspace.
    pub fn due(&self, due: &DueWork) -> Option<(TenantStore, WorkspaceStore)> {
        let store = self.directory.enter(due.tenant);
        let within = store.workspace(due.workspace()?);
        Some((store, within))
    }

    /// The store of a tenant whose messages are due, from the directory's list.
    pub fn waiting(&self, due: &DueMessages) -> TenantStore {
        self.directory.enter(due.tenant)
    }

    /// The message to a phone that a carrier reports about, with the store of its tenant. Only our reference says whose it is, and only with our signature.
    pub fn messaged(&self, reference: &str) -> Result<Option<(MessageRef, TenantStore)>> {
        let reference = MessageRef::read(reference, &self.app.keys().lines()?.references);
        Ok(reference.map(|reference| (reference, self.directory.enter(reference.tenant))))
    }

    /// The store of the tenant to whom belongs what comes in from a number on a line, from the directory. `None`: it is nobody's.
    pub fn conversing(&self, peer: &LinePeer) -> Option<TenantStore> {
        peer.tenant.map(|tenant| self.directory.enter(tenant))
    }

    /// The store of the tenant of a delivery that is due, from the directory's list.
    pub fn tenant_of_delivery(&self, due: &DueDelivery) -> TenantStore {
        self.directory.enter(due.tenant)
    }

    /// The store of a tenant whose consents are to be anchored, and the note that says so. A job only names the note: the directory must have it, and it
    /// must be due.
    pub async fn anchoring(&self, job: &AnchorConsents) -> Result<Option<(TenantStore, DueAnchor)>> {
        let due = self.directory.find(&job.due_anchor.key()).await?.filter(|due| due.is_due(self.now()));
        Ok(due.map(|due| (self.directory.enter(due.tenant), due)))
    }

    /// Limits mails about webhooks to the owners of a tenant, in a day: whoever manages webhooks can make them fail at will.
    pub fn webhook_mails(&self, store: &TenantStore) -> Allowance {
        const MOST: u64 = 10;
        self.app.limiter().allowance(Class::WEBHOOK_MAILS, &store.tenant_id().to_string(), MOST, self.now())
    }

    /// A job that belongs to the tenant of this one.
    pub fn job<J>(&self, job: J) -> Queued<J> {
        Queued { tenant: self.store.as_ref().map(|store| store.tenant_id().to_string()), within: None, job }
    }

    /// The store of a tenant whose deletion was requested.
    pub fn deleted_tenant(&self, deletion: &Deletion) -> TenantStore {
        self.directory.enter(deletion.tenant)
    }

    /// The store of a subaccount from the directory.
    pub fn child(&self, subaccount: &Subaccount) -> TenantStore {
        self.directory.enter(subaccount.tenant)
    }

    /// The store of what a deleted workspace of the tenant held.
    pub fn deleted_workspace(&self, store: &TenantStore, deleted: &DeletedWorkspace) -> WorkspaceStore {
        store.workspace(deleted.id.tag())
    }

    /// The mail that a carrier reports about, with the stores of what it belongs to. Only our tags say whose mail it is, and only with our signature:
    /// the rest of a report may be anybody's text.
    pub fn reported(&self, tags: &BTreeMap<String, String>) -> Result<Option<(MailRef, TenantStore, WorkspaceStore)>> {
        let mail = MailRef::of_tags(tags, &self.app.keys().mail_refs()?.signing);
        Ok(mail.map(|mail| self.stores_of(mail)))
    }

    /// The same for a link of a mail that somebody followed, by its token.
    pub fn engaged(&self, kind: LinkKind, token: &str) -> Result<Option<(MailLink, TenantStore, WorkspaceStore)>> {
        let link = MailRef::read(kind, token, self.app.keys().mail_refs()?);
        Ok(link.map(|link| {
            let (_, store, within) = self.stores_of(link.mail);
            (link, store, within)
        }))
    }

    /// The stores of the tenant and the workspace that a mail came in for, from the directory's record of the address.
    pub fn received(&self, inbound: &Inbound) -> (TenantStore, WorkspaceStore) {
        let store = self.directory.enter(inbound.tenant);
        let within = store.workspace(inbound.workspace_id.tag());
        (store, within)
    }

    fn stores_of(&self, mail: MailRef) -> (MailRef, TenantStore, WorkspaceStore) {
        let store = self.directory.enter(mail.tenant());
        let within = store.workspace(mail.workspace());
        (mail, store, within)
    }

    /// For an import: the store of a workspace of the new tenant, by the tag that a line names.
    pub fn imported_workspace(&self, store: &TenantStore, tag: &str) -> Option<WorkspaceStore> {
        WorkspaceTag::parse(tag).map(|tag| store.workspace(tag))
    }

    /// For operators, whose access IAM controls: the tenant with this slug or id.
    pub async fn tenant_named(&self, name: &str) -> Result<TenantStore> {
        let tenant = match TenantId::parse(name) {
            Some(tenant) => tenant,
            None => {
                let slug = Slug::asked(name).ok_or(Error::NotFound)?;
                self.directory.get(&SlugClaim::key_of(&slug)).await?.tenant
            }
        };
        Ok(self.directory.enter(tenant))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

    use super::*;

    fn change(pk: &str, image: serde_json::Value) -> Result<Change> {
        Change::read(json!({"eventName": "INSERT", "dynamodb": {"Keys": {"pk": {"S": pk}, "sk": {"S": "x"}}, "NewImage": image}}))
    }

    #[test]
    fn the_tenant_comes_from_the_key_whatever_the_item_says() {
        let (mine, other) = ("550e8400-e29b-41d4-a716-446655440000", "650e8400-e29b-41d4-a716-446655440000");
        let change = change(&format!("T#{mine}#projects"), json!({"tenant": {"S": other}, "type": {"S": "project"}})).unwrap();
        assert_eq!((change.group().as_str(), change.entity.as_str()), (mine, "project"));
        let queued = serde_json::to_value(change.job(HashMap::<String, String>::new())).unwrap();
        assert_eq!(queued["tenant"], mine);
    }

    #[test]
    fn the_workspace_comes_from_the_key_which_the_item_must_confirm() {
        let (tenant, own) = ("550e8400-e29b-41d4-a716-446655440000", "0123456789ab");
        let wave = json!({"type": {"S": "wave"}, "workspace": {"S": own}});
        for part in [own.to_owned(), format!("{own}.07")] {
            let change = change(&format!("T#{tenant}#waves#{part}"), wave.clone()).unwrap();
            let queued = serde_json::to_value(change.job(HashMap::<String, String>::new())).unwrap();
            assert_eq!((&queued["tenant"], &queued["within"]), (&tenant.into(), &own.into()));
        }
        for pk in [format!("T#{tenant}#waves#ba9876543210"), format!("T#{tenant}#waves"), "G#waves#0123456789ab".into()] {
            assert!(change(&pk, wave.clone()).is_err(), "{pk}");
        }
        // What a tenant's nested record is called is no workspace.
        let task = change(&format!("T#{tenant}#tasks#{own}"), json!({"type": {"S": "task"}})).unwrap();
        assert!(serde_json::to_value(task.job(HashMap::<String, String>::new())).unwrap().get("within").is_none());
    }

    #[test]
    fn keys_that_are_not_ours_are_refused() {
        for pk in ["", "T#", "T#nobody#projects", "X#1#y", "T#550e8400-e29b-41d4-a716-446655440000"] {
            assert!(change(pk, json!({"type": {"S": "x"}})).is_err(), "{pk}");
        }
        assert_eq!(change("G#user#1", json!({"type": {"S": "user"}})).unwrap().group(), "directory");
    }
}
