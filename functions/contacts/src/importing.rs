//! An import of contacts: each row as if it came alone and after the one before it, many in one transaction. Whoever repeats an import that was interrupted
//! finds what it wrote as duplicates.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use records::contact::{Contact, ContactChanges, ContactId, ContactImport, ContactImportId};
use records::contact_group::{ContactGroup, ContactGroupId, ContactGroupMember};
use records::lead::Lead;
use records::peer::Peer;
use serde::Serialize;
use shared::error::{FieldErrors, PlanLimit};
use shared::http::answer::Answer;
use shared::http::arguments::Body;
use shared::http::form::{Fields, Form, OneOf, Rows};
use shared::http::request::LARGEST_BODY;
use shared::http::{Family, status};
use shared::model::phone_number::PhoneNumber;
use shared::store::Record;
use shared::tenancy::conflict;
use shared::tenancy::doors::Member;
use shared::{Error, Result};

use crate::contact::NewContact;
use crate::rules::group_ids;
use crate::writing::{claim, come_in, existing, without_deleted};

/// Writes of a transaction.
const MOST_WRITES: usize = 100;
/// Of each transaction: the two counters, and the note for the audit log.
const BESIDE: usize = 3;
/// Of each row: the contact and its peer.
const OF_ROW: usize = 2;
/// How often the rows of a transaction are looked at again, when others change the same.
const TRIES: usize = 5;
/// The function has 29 seconds, and a transaction with all its tries takes some of them. What is left then can be sent again.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of the rows: each is in one of the numbers, or among the errors.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ContactsImported)]
pub struct ImportedView {
    created: u64,
    updated: u64,
    /// Duplicates that were left as they are, or said nothing new.
    skipped: u64,
    /// In the order of the rows.
    errors: Vec<FaultView>,
}

/// A row that was not imported, and why.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ContactNotImported)]
pub struct FaultView {
    /// Of the row, from 0.
    index: u64,
    /// As in the answer to an error.
    code: &'static str,
    message: String,
}

pub struct Order {
    rows: Vec<Result<NewContact, FieldErrors>>,
    groups: Vec<ContactGroupId>,
    on_duplicate: OnDuplicate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OnDuplicate {
    Skip,
    Update,
}

/// A row that can be read, and where it stands.
type Row = (usize, NewContact);

enum Outcome {
    Created,
    Updated,
    Skipped,
}

/// The same request again changes nothing more, so its answer is kept after its effect.
pub async fn import(door: Member, body: Body<Order>) -> Result<Answer<ImportedView>> {
    let Order { rows, groups, on_duplicate } = body.0;
    if existing(&door.store, groups.iter().copied()).await?.len() < groups.len() {
        return Err(Error::Missing(ContactGroup::NOUN));
    }
    let note = ContactImport::new(ContactImportId::new(door.now(), door.store.random()), door.now());
    let mut import = Import { door: &door, groups, on_duplicate, note, full: None, outcomes: vec![] };
    let mut readable = vec![];
    for (index, row) in rows.into_iter().enumerate() {
        match row {
            Ok(row) => readable.push((index, row)),
            Err(faults) => import.outcomes.push((index, Err(Error::Validation(faults)))),
        }
    }
    let mut rest = &readable[..];
    let began = Instant::now();
    while !rest.is_empty() {
        if began.elapsed() > PATIENCE {
            let late = || Error::Unavailable { doing: "importing contacts", cause: "there was no time for all rows".into() };
            import.outcomes.extend(rest.iter().map(|(index, _)| (*index, Err(late()))));
            break;
        }
        let (some, others) = rest.split_at(import.fitting(rest));
        import.write(some).await?;
        rest = others;
    }
    Ok(Answer::new("Success", ImportedView::of(import.outcomes)))
}

/// An import on its way.
struct Import<'a> {
    door: &'a Member,
    /// For all rows.
    groups: Vec<ContactGroupId>,
    on_duplicate: OnDuplicate,
    note: ContactImport,
    /// What a transaction found: the plan allows no more, for all rows that follow.
    full: Option<PlanLimit>,
    outcomes: Vec<(usize, Result<Outcome>)>,
}

/// What a transaction writes.
#[derive(Default)]
struct Plan {
    contacts: BTreeMap<PhoneNumber, Planned>,
    outcomes: Vec<(usize, Result<Outcome>)>,
}

/// A contact as it is to stand.
struct Planned {
    before: Option<Contact>,
    peer: Option<Peer>,
    after: Contact,
}

impl Import<'_> {
    /// How many of these rows fit into one transaction, at least one.
    fn fitting(&self, rows: &[Row]) -> usize {
        let (mut writes, mut groups) = (BESIDE, BTreeSet::new());
        let fitting = rows.iter().take_while(|(_, row)| {
            let own = self.groups_of(row);
            writes += OF_ROW + own.len();
            groups.extend(own);
            writes + groups.len() <= MOST_WRITES
        });
        fitting.count().max(1)
    }

    /// Each once.
    fn groups_of(&self, row: &NewContact) -> Vec<ContactGroupId> {
        let own = row.changes.groups.iter().flatten();
        let more = own.filter(|group| !self.groups.contains(group));
        self.groups.iter().chain(more).copied().collect()
    }

    /// Writes some rows together. Where that meets others again and again, one by one.
    async fn write(&mut self, rows: &[Row]) -> Result<()> {
        if self.write_together(rows).await? {
            return Ok(());
        }
        for row in rows {
            if !self.write_together(std::slice::from_ref(row)).await? {
                self.outcomes.push((row.0, Err(Error::contested())));
            }
        }
        Ok(())
    }

    /// `false`: others changed the same each time, and nothing was written.
    async fn write_together(&mut self, rows: &[Row]) -> Result<bool> {
        let mut room = self.full.clone();
        for _ in 0..TRIES {
            let plan = self.planned(rows, room.as_ref()).await?;
            match self.commit(&plan).await {
                Ok(note) => {
                    self.note = note;
                    self.outcomes.extend(plan.outcomes);
                    self.full = room.filter(|limit| limit.used >= limit.max);
                    return Ok(true);
                }
                Err(Error::PlanLimitReached(limit)) => room = Some(limit),
                // Somebody wrote one of the contacts, or a group went.
                Err(Error::Conflict(_) | Error::NotFound | Error::Missing(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// What these rows come to, one after another, from what stands now. `room` is what the plan has left, where it is not enough for all.
    async fn planned(&self, rows: &[Row], room: Option<&PlanLimit>) -> Result<Plan> {
        let store = &self.door.store;
        let numbers: BTreeSet<&PhoneNumber> = rows.iter().map(|(_, row)| &row.phone_number).collect();
        let keys: Vec<_> = numbers.into_iter().map(Peer::key_of).collect();
        let peers = store.find_many(&keys).await?;
        let keys: Vec<_> = peers.iter().filter_map(|peer| peer.contact).map(Contact::key_of).collect();
        let contacts = store.find_many(&keys).await?;
        let held = contacts.iter().flat_map(|contact| contact.groups.iter().copied());
        let there = existing(store, held.chain(rows.iter().flat_map(|(_, row)| self.groups_of(row)))).await?;
        let mut plan = Plan::default();
        let mut left = room.map(|limit| limit.max.saturating_sub(limit.used));
        for (index, row) in rows {
            let standing = match plan.contacts.get(&row.phone_number) {
                Some(planned) => Some(planned.after.clone()),
                None => contacts.iter().find(|contact| contact.phone_number == row.phone_number).cloned(),
            };
            let groups = self.groups_of(row);
            let outcome = match standing {
                _ if groups.iter().any(|group| !there.contains(group)) => Err(Error::Missing(ContactGroup::NOUN)),
                Some(_) if self.on_duplicate == OnDuplicate::Skip => Ok(Outcome::Skipped),
                Some(standing) => self.updated(&mut plan, row, &without_deleted(&standing, &there), &standing, &groups),
                None => match (room, left) {
                    (Some(limit), Some(0)) => Err(Error::PlanLimitReached(limit.clone())),
                    _ => {
                        let peer = peers.iter().find(|peer| peer.phone_number == row.phone_number);
                        let created = self.created(&mut plan, row, peer, &groups);
                        left = left.map(|left| left - u64::from(created.is_ok()));
                        created
                    }
                },
            };
            plan.outcomes.push((*index, outcome));
        }
        Ok(plan)
    }

    fn created(&self, plan: &mut Plan, row: &NewContact, peer: Option<&Peer>, groups: &[ContactGroupId]) -> Result<Outcome> {
        let (now, random) = (self.door.now(), self.door.store.random());
        let changes = ContactChanges { groups: Some(groups.to_vec()), ..row.changes.clone() };
        let contact = Contact::new(ContactId::new(now, random), row.phone_number.clone(), now).with(&changes)?;
        let after = Contact { import: Some(self.note.id), ..contact };
        plan.contacts.insert(row.phone_number.clone(), Planned { before: None, peer: peer.cloned(), after });
        Ok(Outcome::Created)
    }

    /// An import takes a contact out of no group.
    fn updated(
        &self,
        plan: &mut Plan,
        row: &NewContact,
        shown: &Contact,
        standing: &Contact,
        groups: &[ContactGroupId],
    ) -> Result<Outcome> {
        let changes = ContactChanges { groups: shown.in_groups(groups).groups, ..row.changes.clone() };
        let Some(mut changed) = shown.changed(&changes, self.door.now())? else { return Ok(Outcome::Skipped) };
        // An edit that leaves out a group that was deleted takes its row there away. Here is no room for that, so it stays until then.
        changed.groups.extend(standing.groups.iter().filter(|group| !shown.groups.contains(group)));
        let after = Contact { import: Some(self.note.id), ..changed };
        match plan.contacts.get_mut(&row.phone_number) {
            Some(planned) => planned.after = after,
            None => {
                let planned = Planned { before: Some(standing.clone()), peer: None, after };
                plan.contacts.insert(row.phone_number.clone(), planned);
            }
        }
        Ok(Outcome::Updated)
    }

    /// The note as it stands then.
    async fn commit(&self, plan: &Plan) -> Result<ContactImport> {
        if plan.contacts.is_empty() {
            return Ok(self.note.clone());
        }
        let (store, mut transaction) = (&self.door.store, self.door.store.transaction());
        let created = plan.contacts.values().filter(|planned| planned.before.is_none()).count() as u64;
        let note = self.note.going_on(created, plan.contacts.len() as u64 - created);
        if created > 0 {
            let by = i64::try_from(created).unwrap_or(i64::MAX);
            transaction = transaction.count_all_within(store, Lead::QUOTA, created, &self.door.plan, &self.door.tenant.plan)?.count(
                store,
                Contact::COUNT,
                by,
            )?;
        }
        let mut members: BTreeMap<ContactGroupId, i64> = BTreeMap::new();
        for Planned { before, peer, after } in plan.contacts.values() {
            transaction = match before {
                Some(before) => transaction.replace(store, after, before)?,
                None => {
                    let transaction = claim(transaction, store, after, peer.as_ref())?;
                    transaction.create(store, after, conflict("This contact exists already."))?
                }
            };
            let of_before = before.as_ref().map_or(&[][..], |before| &before.groups);
            for group in after.groups.iter().filter(|group| !of_before.contains(group)) {
                transaction = transaction.put(store, &ContactGroupMember { group: *group, contact: after.id })?;
                *members.entry(*group).or_default() += 1;
            }
        }
        for (group, many) in members {
            transaction = come_in(transaction, store, group, many)?;
        }
        transaction.put(store, &note)?.commit().await?;
        Ok(note)
    }
}

impl ImportedView {
    fn of(outcomes: Vec<(usize, Result<Outcome>)>) -> Self {
        let mut view = ImportedView { created: 0, updated: 0, skipped: 0, errors: vec![] };
        for (index, outcome) in outcomes {
            match outcome {
                Ok(Outcome::Created) => view.created += 1,
                Ok(Outcome::Updated) => view.updated += 1,
                Ok(Outcome::Skipped) => view.skipped += 1,
                Err(error) => {
                    let code = status::entry(&error, Family::Messaging).1.0;
                    view.errors.push(FaultView { index: index as u64, code, message: error.in_a_line() });
                }
            }
        }
        view.errors.sort_by_key(|fault| fault.index);
        view
    }
}

const ON_DUPLICATE: OneOf<OnDuplicate> = OneOf {
    words: &["skip", "update"],
    parse: |word| match word {
        "skip" => Some(OnDuplicate::Skip),
        "update" => Some(OnDuplicate::Update),
        _ => None,
    },
};

impl Form for Order {
    const MAX_BYTES: usize = LARGEST_BODY;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let rows = fields.required("contacts", Rows::<NewContact>::of("contact", 1_000));
        let groups = fields.optional("group_ids", group_ids()).unwrap_or_default();
        let on_duplicate = fields.optional("on_duplicate", ON_DUPLICATE).unwrap_or(OnDuplicate::Skip);
        Some(Order { rows: rows?, groups, on_duplicate })
    }
}
