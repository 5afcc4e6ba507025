//! An import of consents: each row as if it came alone and after the one before it, many in one transaction. What stands already is left out, so whoever
//! repeats an import that was interrupted adds no row twice that has its moment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use messaging::standings;
use records::consent::{ConsentEntry, ConsentImport, ConsentImportId, ConsentKind};
use records::peer::Peer;
use records::standing::{Recorder, Standing};
use serde::Serialize;
use shared::error::FieldErrors;
use shared::http::answer::Answer;
use shared::http::arguments::Body;
use shared::http::form::{Fields, Form, Rows};
use shared::http::request::LARGEST_BODY;
use shared::http::{Family, status};
use shared::model::phone_number::PhoneNumber;
use shared::store::{Direction, Span};
use shared::tenancy::doors::Member;
use shared::{Error, Result};

use crate::rules::{NewConsent, recorder};

/// Rows of one import.
const MOST: usize = 500;
/// Rows of one transaction of at most 100 writes: an entry, its line and a peer for each, and the note for the audit log.
const TOGETHER: usize = 33;
/// How often the rows of a transaction are looked at again, when others change the same.
const TRIES: u32 = 10;
/// Of a chain, where a row is looked for: the newest.
const COMPARED: usize = 1_000;
/// The function has 29 seconds, and a transaction with all its tries takes some of them. What is left then can be sent again.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of the rows: each is in one of the numbers, or among the errors.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConsentsImported)]
pub struct ImportedView {
    imported: u64,
    /// They stood already, with the same moment.
    skipped: u64,
    /// In the order of the rows.
    errors: Vec<FaultView>,
}

/// A row that was not imported, and why.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConsentNotImported)]
pub struct FaultView {
    /// Of the row, from 0.
    index: u64,
    /// As in the answer to an error.
    code: &'static str,
    message: String,
}

pub struct Order {
    rows: Vec<Result<NewConsent, FieldErrors>>,
}

/// A row that can be read, and where it stands.
type Row = (usize, NewConsent);

enum Outcome {
    Imported,
    Skipped,
}

/// The same request again changes nothing more, so its answer is kept after its effect.
pub async fn import(door: Member, body: Body<Order>) -> Result<Answer<ImportedView>> {
    let note = ConsentImport::new(ConsentImportId::new(door.now(), door.store.random()), door.now());
    let mut import = Import { door: &door, note, outcomes: vec![] };
    let mut rows = vec![];
    for (index, row) in body.0.rows.into_iter().enumerate() {
        match row {
            Ok(row) => rows.push((index, row)),
            Err(faults) => import.outcomes.push((index, Err(Error::Validation(faults)))),
        }
    }
    let began = Instant::now();
    for some in rows.chunks(TOGETHER) {
        if began.elapsed() > PATIENCE {
            let late = || Error::Unavailable { doing: "importing consents", cause: "there was no time for all rows".into() };
            import.outcomes.extend(some.iter().map(|(index, _)| (*index, Err(late()))));
            continue;
        }
        import.write(some).await?;
    }
    Ok(Answer::new("Success", ImportedView::of(import.outcomes)))
}

/// An import on its way.
struct Import<'a> {
    door: &'a Member,
    note: ConsentImport,
    outcomes: Vec<(usize, Result<Outcome>)>,
}

impl Import<'_> {
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
        let store = &self.door.store;
        for round in 0..TRIES {
            let (standings, outcomes) = self.planned(rows).await?;
            let added = standings.iter().map(|standing| standing.entries().len() as u64).sum();
            if added == 0 {
                self.outcomes.extend(outcomes);
                return Ok(true);
            }
            let note = self.note.going_on(added);
            let transaction = store.transaction().put(store, &note)?;
            let transaction = standings.iter().try_fold(transaction, |all, standing| standings::write(all, store, standing))?;
            match transaction.commit().await {
                Ok(()) => {
                    self.note = note;
                    self.outcomes.extend(outcomes);
                    return Ok(true);
                }
                Err(Error::Conflict(_) | Error::NotFound) => standings::wait(store, round).await,
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// What these rows come to, one after another, from what stands now.
    async fn planned(&self, rows: &[Row]) -> Result<(Vec<Standing>, Vec<(usize, Result<Outcome>)>)> {
        let store = &self.door.store;
        let mut numbers: BTreeMap<PhoneNumber, (Standing, Vec<ConsentEntry>)> = BTreeMap::new();
        let keys: BTreeMap<&PhoneNumber, _> = rows.iter().map(|(_, row)| (&row.phone_number, Peer::key_of(&row.phone_number))).collect();
        let peers = store.find_many(&keys.values().cloned().collect::<Vec<_>>()).await?;
        for number in keys.into_keys() {
            let peer = peers.iter().find(|peer| peer.phone_number == *number).cloned();
            let chain = match peer.as_ref().and_then(|peer| peer.chain.as_ref()) {
                Some(_) => {
                    let chain = ConsentEntry::chain_of(number).going(Direction::Descending);
                    store.page(&chain, &Span::first(COMPARED), |_| true).await?.items
                }
                None => vec![],
            };
            numbers.insert(number.clone(), (Standing::of(number.clone(), peer, None, store.random()), chain));
        }
        let by = Recorder { import: Some(self.note.id), ..recorder(self.door) };
        let mut outcomes = vec![];
        for (index, row) in rows {
            let Some((standing, chain)) = numbers.get_mut(&row.phone_number) else { continue };
            let outcome = if chain.iter().chain(standing.entries()).any(|entry| entry.says(&row.fact)) {
                Ok(Outcome::Skipped)
            } else {
                standing.append(ConsentKind::Granted, row.fact.clone(), &by).map(|_| Outcome::Imported)
            };
            outcomes.push((*index, outcome));
        }
        let standings = numbers.into_values().map(|(standing, _)| standing).filter(|standing| !standing.entries().is_empty());
        Ok((standings.collect(), outcomes))
    }
}

impl ImportedView {
    fn of(outcomes: Vec<(usize, Result<Outcome>)>) -> Self {
        let mut view = ImportedView { imported: 0, skipped: 0, errors: vec![] };
        for (index, outcome) in outcomes {
            match outcome {
                Ok(Outcome::Imported) => view.imported += 1,
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

impl Form for Order {
    const MAX_BYTES: usize = LARGEST_BODY;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.required("records", Rows::<NewConsent>::of("record", MOST)).map(|rows| Order { rows })
    }
}
