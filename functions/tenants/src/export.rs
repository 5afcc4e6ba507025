//! The whole tenant as one JSON document a line (F3): a walk over every collection, in pages, without what is secret, sealed or ours.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::http::arguments::Query;
use shared::http::form::{Cursor, Fields, Form};
use shared::http::lines::Lines;
use shared::model::text::MASK;
use shared::store::{Anything, Branch, List, Nested, Position, Records, Stored};
use shared::tenancy::TenantStore;
use shared::tenancy::doors::Owner;
use shared::{Error, Result};

/// Bytes of a page: in Base64, as Lambda hands it on, it stays below Lambda's 6 MB.
const PAGE: usize = 4_500_000;
/// Limits how long a page takes when reads find few records.
const QUERIES: usize = 60;
const RECORDS: i32 = 200;
const PARENTS: i32 = 25;
/// An attribute whose name contains one of these is masked.
const CONCEALED: [&str; 6] = ["secret", "sealed", "token", "password", "hash", "cipher"];

pub struct ExportQuery(Option<String>);

/// Where a page begins. Sealed into the cursor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Place {
    /// The name of a stage (see `stages`).
    stage: String,
    after: Option<Position>,
    /// Inside the parent that follows `after`: the parent's key, and the last nested record that was handled.
    within: Option<(String, Position)>,
}

#[derive(Default)]
struct Page {
    text: String,
    queries: usize,
}

/// As it is while the pages are fetched: what is written meanwhile may or may not be in it.
pub async fn export(door: Owner, query: Query<ExportQuery>) -> Result<Lines> {
    let (cursors, bound_to) = (door.app.keys().cursors()?, format!("export {}", door.tenant.id));
    let place = match query.0.0 {
        None => None,
        Some(cursor) => {
            let place = cursors.open(&cursor, &bound_to).and_then(|bytes| serde_json::from_slice(&bytes).ok());
            Some(place.ok_or_else(not_of_this_export)?)
        }
    };
    let (text, next) = walk(door.app.records(), &door.store, place).await?;
    let next = next.map(|next| serde_json::to_vec(&next)).transpose().map_err(|error| Error::internal("sealing a cursor", error))?;
    Ok(Lines { text, next: next.map(|next| cursors.seal(&next, &bound_to, door.app.random())) })
}

fn not_of_this_export() -> Error {
    Error::BadRequest("The cursor does not belong to this export.".into())
}

/// What one pass over a collection shows: its records, or what lies within them.
struct Stage {
    name: String,
    list: List<Anything>,
    nested: Option<Nested>,
}

/// In their order: what lies within the records of a collection comes right after them.
fn stages(records: Records) -> Vec<Stage> {
    let of = |branch: Branch| {
        let Branch { name, list, nested } = branch;
        let within =
            nested.into_iter().map(|nested| Stage { name: format!("{name}/{}", nested.name), list: list.clone(), nested: Some(nested) });
        let within: Vec<Stage> = within.collect();
        std::iter::once(Stage { name: name.to_owned(), list, nested: None }).chain(within)
    };
    records.exported().into_iter().flat_map(of).collect()
}

async fn walk(records: Records, store: &TenantStore, place: Option<Place>) -> Result<(String, Option<Place>)> {
    let mut page = Page::default();
    let stages = stages(records);
    let first = match &place {
        None => 0,
        Some(place) => stages.iter().position(|stage| stage.name == place.stage).ok_or_else(not_of_this_export)?,
    };
    let mut place = place.unwrap_or_default();
    for stage in stages.into_iter().skip(first) {
        if stage.name != place.stage {
            place = Place { stage: stage.name.clone(), ..Place::default() };
        }
        let finished = match &stage.nested {
            None => page.collection(store, &stage.list, &mut place).await?,
            Some(nested) => page.within(store, &stage.list, nested, &mut place).await?,
        };
        if !finished {
            return Ok((page.text, Some(place)));
        }
    }
    Ok((page.text, None))
}

impl Page {
    /// Whether all of it is on this page or an earlier one; if not, `place` says where to go on.
    async fn collection(&mut self, store: &TenantStore, list: &List<Anything>, place: &mut Place) -> Result<bool> {
        while self.queries < QUERIES {
            let (records, next) = self.ask(store, list, place.after.clone(), RECORDS).await?;
            for record in records {
                if !self.add(&record)? {
                    return Ok(false);
                }
                place.after = Some(record.position);
            }
            if next.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The same of what lies within the records of a list.
    async fn within(&mut self, store: &TenantStore, list: &List<Anything>, nested: &Nested, place: &mut Place) -> Result<bool> {
        while self.queries < QUERIES {
            let (parents, next) = self.ask(store, list, place.after.clone(), PARENTS).await?;
            for parent in parents {
                if !self.within_one(store, &parent, nested, place).await? {
                    return Ok(false);
                }
                place.after = Some(parent.position);
            }
            if next.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn within_one(&mut self, store: &TenantStore, parent: &Stored, nested: &Nested, place: &mut Place) -> Result<bool> {
        let Some(list) = nested.of(&parent.data) else { return Ok(true) };
        // The parent that a cursor was in may have gone since.
        place.within = place.within.take().filter(|(within, _)| *within == parent.key);
        while self.queries < QUERIES {
            let after = place.within.as_ref().map(|(_, after)| after.clone());
            let (records, next) = self.ask(store, &list, after, RECORDS).await?;
            for record in records {
                if nested.is_of(&record.data, &parent.data) && !self.add(&record)? {
                    return Ok(false);
                }
                place.within = Some((parent.key.clone(), record.position));
            }
            if next.is_none() {
                place.within = None;
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn ask<E>(
        &mut self,
        store: &TenantStore,
        list: &List<E>,
        after: Option<Position>,
        at_most: i32,
    ) -> Result<(Vec<Stored>, Option<Position>)> {
        self.queries += 1;
        store.stored(list, after, at_most).await
    }

    /// `false` when the page has no room for it.
    fn add(&mut self, record: &Stored) -> Result<bool> {
        if record.expired {
            return Ok(true);
        }
        let line = json!({"type": record.kind, "key": record.key, "data": shown(&record.kind, &record.data)}).to_string();
        if !self.text.is_empty() && self.text.len() + line.len() >= PAGE {
            return Ok(false);
        }
        self.text.push_str(&line);
        self.text.push('\n');
        Ok(true)
    }
}

fn shown(kind: &str, data: &Map<String, Value>) -> Map<String, Value> {
    // The link of an invitation is for whom it was sent to.
    let shown = data.iter().filter(|(name, _)| !(kind == "invitation" && *name == "link"));
    shown.map(|(name, value)| (name.clone(), masked(name, value))).collect()
}

fn masked(name: &str, value: &Value) -> Value {
    let lower = name.to_lowercase();
    if CONCEALED.iter().any(|word| lower.contains(word)) {
        return MASK.into();
    }
    match value {
        Value::Object(object) => object.iter().map(|(name, value)| (name.clone(), masked(name, value))).collect(),
        Value::Array(values) => values.iter().map(|value| masked("", value)).collect(),
        other => other.clone(),
    }
}

impl Form for ExportQuery {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(ExportQuery(fields.optional("cursor", Cursor { max: 4096 })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_concealed_stays_so_at_any_depth() {
        let data = json!({"name": "n", "value": {"sealed": "v1.x"}, "keys": [{"apiToken": "t", "id": 1}], "secret_hash": "h", "link": "l"});
        let shown = shown("invitation", data.as_object().unwrap());
        assert_eq!(
            Value::Object(shown),
            json!({"name": "n", "value": {"sealed": MASK}, "keys": [{"apiToken": MASK, "id": 1}], "secret_hash": MASK})
        );
    }

    #[test]
    fn what_lies_within_follows_its_parents() {
        let names: Vec<String> = stages(records::ALL).into_iter().map(|stage| stage.name).collect();
        assert_eq!(&names[..2], ["projects", "projects/tasks"]);
    }
}
