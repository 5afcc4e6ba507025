//! The whole tenant as one JSON document a line (F3): a walk over every collection, in pages, without what is secret, sealed or ours.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::http::arguments::Query;
use shared::http::form::{Cursor, Fields, Form};
use shared::http::lines::Lines;
use shared::model::text::{self, MASK};
use shared::store::{Branch, List, Nested, Position, Records, Stored};
use shared::tenancy::TenantStore;
use shared::tenancy::doors::Owner;
use shared::{Error, Result};

/// Bytes of a page: in Base64, as Lambda hands it on, it stays below Lambda's 6 MB.
const PAGE: usize = 4_500_000;
/// Limits how long a page takes when reads find few records.
const QUERIES: usize = 80;
const RECORDS: i32 = 200;
const PARENTS: i32 = 25;

pub struct ExportQuery(Option<String>);

/// Where a page begins. Sealed into the cursor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Place {
    /// The name of a stage (see `stages`).
    stage: String,
    /// One for each collection on the way to the records of the stage, from the outermost.
    levels: Vec<Level>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Level {
    after: Option<Position>,
    /// Inside the parent that follows `after`: its key, and which of its partitions.
    within: Option<(String, usize)>,
}

struct Page {
    records: Records,
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

/// What one pass over a collection shows: its records, or what lies within them, at the end of `chain`.
struct Stage {
    name: String,
    root: Branch,
    chain: Vec<Nested>,
}

/// In their order: what lies within the records of a collection comes right after them.
fn stages(records: Records) -> Vec<Stage> {
    let mut stages = vec![];
    for root in records.exported() {
        stages.push(Stage { name: root.name.to_owned(), root: root.clone(), chain: vec![] });
        add_nested(&mut stages, root.name, &root, &root.nested, &[]);
    }
    stages
}

fn add_nested(stages: &mut Vec<Stage>, name: &str, root: &Branch, nested: &[Nested], above: &[Nested]) {
    for nested in nested {
        let name = format!("{name}/{}", nested.name);
        let chain: Vec<Nested> = above.iter().chain([nested]).cloned().collect();
        stages.push(Stage { name: name.clone(), root: root.clone(), chain: chain.clone() });
        add_nested(stages, &name, root, nested.nested(), &chain);
    }
}

async fn walk(records: Records, store: &TenantStore, place: Option<Place>) -> Result<(String, Option<Place>)> {
    let mut page = Page { records, text: String::new(), queries: 0 };
    let stages = stages(records);
    let first = match &place {
        None => 0,
        Some(place) => stages.iter().position(|stage| stage.name == place.stage).ok_or_else(not_of_this_export)?,
    };
    let mut place = place.unwrap_or_default();
    for stage in stages.into_iter().skip(first) {
        if stage.name != place.stage {
            place = Place { stage: stage.name.clone(), levels: vec![] };
        }
        place.levels.resize(stage.chain.len() + 1, Level::default());
        if !page.collection(store, &stage.root, &stage.chain, None, &mut place.levels).await? {
            return Ok((page.text, Some(place)));
        }
    }
    Ok((page.text, None))
}

impl Page {
    /// Whether all of it is on this page or an earlier one; if not, `levels` says where to go on. `of` is the parent, for a collection that lies within
    /// its partition.
    async fn collection(
        &mut self,
        store: &TenantStore,
        branch: &Branch,
        chain: &[Nested],
        of: Option<(&Nested, &Stored)>,
        levels: &mut [Level],
    ) -> Result<bool> {
        let at_most = if chain.is_empty() { RECORDS } else { PARENTS };
        while self.queries < QUERIES {
            let (records, next) = self.ask(store, &branch.list, levels[0].after.clone(), at_most).await?;
            for record in records {
                let done = match (chain.split_first(), of) {
                    (Some((nested, chain)), _) => Box::pin(self.within(store, branch, &record, nested, chain, levels)).await?,
                    (None, Some((nested, parent))) if !nested.is_of(&record.data, &parent.data) => true,
                    (None, _) => self.add(&record)?,
                };
                if !done {
                    return Ok(false);
                }
                levels[0].after = Some(record.position);
            }
            if next.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The same of what lies in the partitions of one record.
    async fn within(
        &mut self,
        store: &TenantStore,
        branch: &Branch,
        parent: &Stored,
        nested: &Nested,
        chain: &[Nested],
        levels: &mut [Level],
    ) -> Result<bool> {
        let Some((here, below)) = levels.split_first_mut() else { return Ok(true) };
        // The parent that a cursor was in may have gone since.
        let begun = here.within.take().filter(|(within, _)| *within == parent.key).map(|(_, part)| part);
        if begun.is_none() {
            below.fill(Level::default());
        }
        for (part, partition) in branch.within(nested, &parent.data).unwrap_or_default().iter().enumerate().skip(begun.unwrap_or(0)) {
            here.within = Some((parent.key.clone(), part));
            if !self.collection(store, partition, chain, Some((nested, parent)), below).await? {
                return Ok(false);
            }
            below.fill(Level::default());
        }
        here.within = None;
        Ok(true)
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
        let mut line =
            json!({"type": record.kind, "key": record.key, "data": shown(&record.kind, &record.data, self.records.free(&record.kind))});
        if let Some(workspace) = &record.workspace {
            line["workspace"] = workspace.as_str().into();
        }
        let line = line.to_string();
        if !self.text.is_empty() && self.text.len() + line.len() >= PAGE {
            return Ok(false);
        }
        self.text.push_str(&line);
        self.text.push('\n');
        Ok(true)
    }
}

/// `free`: attributes in which a customer named things themselves. Those names say nothing of secrets.
fn shown(kind: &str, data: &Map<String, Value>, free: &[&str]) -> Map<String, Value> {
    // The link of an invitation is for whom it was sent to.
    let shown = data.iter().filter(|(name, _)| !(kind == "invitation" && *name == "link"));
    let value = |name: &String, value: &Value| if free.contains(&name.as_str()) { value.clone() } else { masked(name, value) };
    shown.map(|(name, stored)| (name.clone(), value(name, stored))).collect()
}

fn masked(name: &str, value: &Value) -> Value {
    if text::is_concealed(name) {
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
        let shown = |free: &[&str]| Value::Object(super::shown("invitation", data.as_object().unwrap(), free));
        assert_eq!(shown(&[]), json!({"name": "n", "value": {"sealed": MASK}, "keys": [{"apiToken": MASK, "id": 1}], "secret_hash": MASK}));
        assert_eq!(shown(&["keys"])["keys"], data["keys"]);
        assert_eq!(shown(&["keys"])["value"], json!({"sealed": MASK}));
    }

    #[test]
    fn what_lies_within_follows_its_parents() {
        let names: Vec<String> = stages(records::ALL).into_iter().map(|stage| stage.name).collect();
        assert_eq!(&names[..2], ["projects", "projects/tasks"]);
        let position = |wanted: &str| names.iter().position(|name| name == wanted);
        let (workspaces, members) = (position("workspaces").unwrap(), position("workspaces/workspace-members").unwrap());
        assert!(names[workspaces..=members].iter().all(|name| name.starts_with("workspaces")), "{names:?}");
        assert!(names.iter().all(|name| !name.contains("counters") && !name.contains("deleted")), "{names:?}");
    }
}
