//! The whole tenant as one JSON document a line (F3): a walk over every collection, in pages, without what is secret, sealed or ours.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::http::arguments::Query;
use shared::http::form::{Cursor, Fields, Form};
use shared::http::lines::Lines;
use shared::ids::ProjectId;
use shared::model::records::{self, Anything};
use shared::model::task::Task;
use shared::store::{List, Position, Stored};
use shared::tenancy::TenantStore;
use shared::tenancy::doors::Owner;
use shared::{Error, Result};

/// Bytes of a page: in Base64, as Lambda hands it on, it stays below Lambda's 6 MB.
const PAGE: usize = 4_500_000;
/// So that a page takes seconds however thinly the records lie.
const QUERIES: usize = 60;
const RECORDS: i32 = 200;
const PROJECTS: i32 = 25;
const MASK: &str = "********";
/// An attribute whose name has one of these in it is nobody's to see.
const CONCEALED: [&str; 6] = ["secret", "sealed", "token", "password", "hash", "cipher"];

pub struct From(Option<String>);

/// Where a page begins. Sealed into the cursor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Place {
    /// Of `stages`.
    stage: String,
    after: Option<Position>,
    /// Among the tasks: the project after `after` has been shown so far.
    within: Option<(ProjectId, Position)>,
}

#[derive(Default)]
struct Page {
    text: String,
    queries: usize,
}

/// As it is while the pages are fetched: what is written meanwhile may or may not be in it.
pub async fn export(door: Owner, from: Query<From>) -> Result<Lines> {
    let (cursors, bound_to) = (door.app.keys().cursors()?, format!("export {}", door.tenant.id));
    let place = match from.0.0 {
        None => Place { stage: stages()[0].0.to_owned(), ..Place::default() },
        Some(cursor) => {
            let place = cursors.open(&cursor, &bound_to).and_then(|bytes| serde_json::from_slice(&bytes).ok());
            place.ok_or(Error::BadRequest("The cursor does not belong to this export.".into()))?
        }
    };
    let (text, next) = walk(&door.store, place).await?;
    let next = next.map(|next| serde_json::to_vec(&next)).transpose().map_err(|error| Error::internal("sealing a cursor", error))?;
    Ok(Lines { text, next: next.map(|next| cursors.seal(&next, &bound_to, door.app.random())) })
}

/// The collections in their order; the tasks, which are a partition a project, come after the projects.
fn stages() -> Vec<(&'static str, Option<List<Anything>>)> {
    let mut stages: Vec<_> = records::exported().map(|(name, list)| (name, Some(list))).collect();
    let after_projects = stages.iter().position(|(name, _)| *name == "projects").map_or(0, |index| index + 1);
    stages.insert(after_projects, ("tasks", None));
    stages
}

async fn walk(store: &TenantStore, mut place: Place) -> Result<(String, Option<Place>)> {
    let mut page = Page::default();
    let stages = stages();
    let first = stages.iter().position(|(name, _)| *name == place.stage).unwrap_or(stages.len());
    for (name, list) in stages.into_iter().skip(first) {
        if name != place.stage {
            place = Place { stage: name.to_owned(), ..Place::default() };
        }
        let finished = match list {
            Some(list) => page.collection(store, &list, &mut place).await?,
            None => page.tasks(store, &mut place).await?,
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

    async fn tasks(&mut self, store: &TenantStore, place: &mut Place) -> Result<bool> {
        let Some((_, projects)) = records::exported().find(|(name, _)| *name == "projects") else { return Ok(true) };
        while self.queries < QUERIES {
            let (found, next) = self.ask(store, &projects, place.after.clone(), PROJECTS).await?;
            for project in found {
                let id = project.data.get("id").and_then(Value::as_str).and_then(ProjectId::parse);
                if let Some(id) = id
                    && !self.tasks_of(store, id, place).await?
                {
                    return Ok(false);
                }
                place.after = Some(project.position);
            }
            if next.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn tasks_of(&mut self, store: &TenantStore, project: ProjectId, place: &mut Place) -> Result<bool> {
        // The project that a cursor was in may have gone since.
        place.within = place.within.take().filter(|(within, _)| *within == project);
        while self.queries < QUERIES {
            let after = place.within.as_ref().map(|(_, after)| after.clone());
            let (tasks, next) = self.ask(store, &Task::of_project(project), after, RECORDS).await?;
            for task in tasks {
                // Two projects may share a tag, and with it the partition.
                let is_own = task.data.get("project").and_then(Value::as_str) == Some(project.to_string().as_str());
                if is_own && !self.add(&task)? {
                    return Ok(false);
                }
                place.within = Some((project, task.position));
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

impl Form for From {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(From(fields.optional("cursor", Cursor { max: 4096 })))
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
    fn tasks_follow_their_projects_and_counters_stay_at_home() {
        let names: Vec<&str> = stages().into_iter().map(|(name, _)| name).collect();
        assert_eq!(&names[..2], ["projects", "tasks"]);
        for hidden in ["answers", "quota", "counters"] {
            assert!(!names.contains(&hidden));
        }
    }
}
