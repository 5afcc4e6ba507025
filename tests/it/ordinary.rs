//! An ordinary resource that exists in this test alone: its record and its handlers, as a product's two files would have them. All the rest
//! follows: what stores it, names it in paths, counts it, pages it, writes it into the audit log, exports, imports and purges it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::Result;
use shared::http::answer::{Answer, Created, Listing, Nothing, Tagged};
use shared::http::arguments::{Body, Found, IfMatch, NoFilters, Offsets, Total};
use shared::http::form::{Fields, Form, Text};
use shared::http::idempotency::Once;
use shared::http::registry::Routes;
use shared::http::{Catalogue, Registry};
use shared::model::time::{Printed, zulu};
use shared::store::{Counter, InTenant, Record, Records};
use shared::tenancy::conflict;
use shared::tenancy::doors::{Member, Viewer};

use crate::workers::{Workers, drain};
use crate::world::{Settings, World, claims_of, id};

// The record: a file of `shared/records`, and a line in its list.

shared::id!(NoteId = "note", time_ordered);

/// `notes` / `<id>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    pub id: NoteId,
    pub text: String,
    pub created_at: Timestamp,
    pub version: u64,
}

impl Note {
    const COUNT: Counter = Counter::named("notes");
}

impl Record for Note {
    type Scope = InTenant;
    type Id = NoteId;
    const TYPE: &'static str = "note";
    const COLLECTION: &'static str = "notes";
    const COUNTER: Option<Counter> = Some(Note::COUNT);

    fn id(&self) -> NoteId {
        self.id
    }

    fn version(&self) -> Option<u64> {
        Some(self.version)
    }
}

shared::records! { Note }

const RECORDS: Records = Records(&[KINDS, records::KINDS, shared::model::records::KINDS]);

// The handlers: a file of a function, and its routes.

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Note)]
struct NoteView {
    id: String,
    text: String,
    created_at: Printed,
}

struct NewNote(String);

struct Changes(Option<String>);

struct Notes;

impl Routes for Notes {
    fn declare(routes: &mut impl Registry) {
        routes.tag("notes", "What somebody wants to keep.");
        routes.get("/api/v1/tenant/notes", "listNotes", "List notes", list);
        routes.post("/api/v1/tenant/notes", "createNote", "Create a note", create);
        routes.get("/api/v1/tenant/notes/{id}", "getNote", "Read a note", show);
        routes.patch("/api/v1/tenant/notes/{id}", "updateNote", "Change a note", update);
        routes.delete("/api/v1/tenant/notes/{id}", "deleteNote", "Delete a note", delete);
    }
}

async fn list(door: Viewer, asked: Offsets<NoFilters>, total: Total<Note>) -> Result<Listing<NoteView>> {
    let found = door.store.page(&Note::all(), &asked.page.span(), |_| true).await?;
    Ok(Listing { items: found.items.iter().map(NoteView::of).collect(), total: total.count, page: asked.page, next: found.next })
}

async fn create(door: Member, once: Once<NewNote>) -> Result<Tagged<NoteView, 201>> {
    let note = Note { id: NoteId::new(door.now(), door.store.random()), text: once.body.0, created_at: door.now(), version: 1 };
    let answer = Created::new("Note created", NoteView::of(&note)).tagged(note.etag());
    let transaction = once.ticket.record(door.store.transaction(), &door.store, &answer)?;
    transaction.count(&door.store, Note::COUNT, 1)?.create(&door.store, &note, conflict("Try again."))?.commit().await?;
    Ok(answer)
}

async fn show(_door: Viewer, note: Found<Note>) -> Result<Tagged<NoteView>> {
    Ok(Answer::new("Success", NoteView::of(&note.0)).tagged(note.0.etag()))
}

async fn update(door: Member, note: Found<Note>, expected: IfMatch, changes: Body<Changes>) -> Result<Tagged<NoteView>> {
    let changed = door
        .store
        .edit(note.0, |note, transaction| {
            expected.check(&note.etag())?;
            let text = changes.0.0.clone().unwrap_or_else(|| note.text.clone());
            Ok((text != note.text).then(|| (Note { text, version: note.version + 1, ..note.clone() }, transaction)))
        })
        .await?;
    Ok(Answer::new("Note changed", NoteView::of(&changed)).tagged(changed.etag()))
}

async fn delete(door: Member, note: Found<Note>) -> Result<Answer<Nothing>> {
    door.store.remove(note.0, |_, transaction| transaction.count(&door.store, Note::COUNT, -1)).await?;
    Ok(Answer::done("Note deleted"))
}

impl NoteView {
    fn of(note: &Note) -> Self {
        NoteView { id: note.id.prefixed(), text: note.text.clone(), created_at: zulu(note.created_at) }
    }
}

impl Form for NewNote {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.required("text", Text::at_most(1000)).map(NewNote)
    }
}

impl Form for Changes {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Changes(fields.change("text", Text::at_most(1000))))
    }
}

// What follows.

async fn world() -> World {
    World::with(Settings { records: Some(RECORDS), ..Settings::default() }).await.serving::<Notes>("/api/v1/tenant/notes").await
}

async fn note(world: &World, token: &str, text: &str) -> String {
    let made = world.post("/api/v1/tenant/notes").token(token).json(json!({"text": text})).send().await.expect(201).json();
    id(&made["data"]).to_owned()
}

#[tokio::test]
async fn it_is_made_read_changed_and_deleted_like_any_other() {
    let world = world().await;
    let acme = world.tenant("acme").await;
    let owner = &acme.owner.token;
    let request = || world.post("/api/v1/tenant/notes").token(owner).header("idempotency-key", "once").json(json!({"text": "First"}));
    let first = request().send().await.expect(201);
    let again = request().send().await.expect(201);
    assert_eq!((first.json(), again.header("idempotency-replayed")), (again.json(), "true"));
    let path = format!("/api/v1/tenant/notes/{}", id(&first.json()["data"]));
    let read = world.get(&path).token(owner).send().await.expect(200);
    assert_eq!((&read.json()["data"]["text"], read.header("etag")), (&json!("First"), "\"1\""));
    let change = |tag: &str, body: Value| world.patch(&path).token(owner).header("if-match", tag).json(body);
    assert_eq!(change("\"1\"", json!({"text": "Second"})).send().await.expect(200).header("etag"), "\"2\"");
    change("\"1\"", json!({"text": "Third"})).send().await.expect(412);
    change("\"2\"", json!({"text": 3})).send().await.expect(400);
    change("\"2\"", json!({"version": 9})).send().await.expect(400);
    for text in ["b", "c", "d"] {
        note(&world, owner, text).await;
    }
    let page = world.get("/api/v1/tenant/notes?limit=3").token(owner).send().await.expect(200).json();
    assert_eq!(page["data"].as_array().map(Vec::len), Some(3));
    assert!(page.to_string().contains("\"total\":4"), "{page}");
    world.delete(&path).token(owner).send().await.expect(200);
    world.get(&path).token(owner).send().await.expect(404);
    let rest = world.get("/api/v1/tenant/notes").token(owner).send().await.expect(200).json();
    assert!(rest.to_string().contains("\"total\":3"), "{rest}");
}

#[tokio::test]
async fn it_is_its_tenants_alone_and_asks_for_the_role_of_its_door() {
    let world = world().await;
    let (acme, globex) = (world.tenant("acme").await, world.tenant("globex").await);
    let path = format!("/api/v1/tenant/notes/{}", note(&world, &globex.owner.token, "Theirs").await);
    let nobodys = "/api/v1/tenant/notes/note_0198c0de000070008000000000000000";
    let before = world.items_of(&globex);
    let viewer = world.member(&acme, "viewer").await;
    for token in [&acme.owner.token, &viewer.token] {
        let foreign = world.get(&path).token(token).send().await.expect(404);
        assert_eq!(foreign.fingerprint(), world.get(nobodys).token(token).send().await.fingerprint());
    }
    world.delete(&path).token(&acme.owner.token).send().await.expect(404);
    world.post("/api/v1/tenant/notes").token(&viewer.token).json(json!({"text": "No"})).send().await.expect(403);
    assert_eq!(world.items_of(&globex), before);
    world.get(&path).token(&globex.owner.token).send().await.expect(200);
}

#[tokio::test]
async fn it_stands_in_the_audit_log_the_export_the_import_and_is_purged() {
    let world = world().await;
    let workers = Workers::on(&world);
    let acme = world.tenant("acme").await;
    let owner = &acme.owner.token;
    let (kept, gone) = (note(&world, owner, "Kept").await, note(&world, owner, "Gone").await);
    world.patch(format!("/api/v1/tenant/notes/{kept}")).token(owner).json(json!({"text": "Kept!"})).send().await.expect(200);
    world.delete(format!("/api/v1/tenant/notes/{gone}")).token(owner).send().await.expect(200);
    drain(&world, &workers).await;
    let log = world.get("/api/tenant/audit-log").token(owner).send().await.expect(200).json();
    let told: Vec<&str> = log["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .flat_map(|entry| entry["changes"].as_array().expect("changes"))
        .filter(|change| change["resource"] == "note")
        .filter_map(|change| change["action"].as_str())
        .collect();
    assert_eq!(told.iter().filter(|action| **action == "created").count(), 2, "{told:?}");
    assert!(told.contains(&"changed") && told.contains(&"deleted"), "{told:?}");

    let lines = world.get("/api/tenant/export").token(owner).send().await.expect(200).text;
    assert!(lines.lines().any(|line| line.contains("\"type\":\"note\"") && line.contains("Kept!")), "{lines}");
    let imported = workers.import(&[RESTORED], &acme.owner.email, &lines).await;
    assert_eq!(imported["imported"]["note"], 1, "{imported}");
    // What an export masks, by its name, is not put back as a value. A text that only looks so is one.
    let with_secret = lines.replace("\"text\":\"Kept!\"", "\"text\":\"Kept!\",\"token\":\"********\"");
    for (lines, imports, skips) in [(with_secret, Value::Null, json!(1)), (lines.replace("Kept!", "********"), json!(1), Value::Null)] {
        let masked = workers.import(&[RESTORED], &acme.owner.email, &lines).await;
        assert_eq!((&masked["imported"]["note"], &masked["skipped"]["note"]), (&imports, &skips), "{masked}");
    }
    let again = world.login(&acme.owner.email, &acme.owner.password).await;
    let twin = imported["tenant"].as_str().expect("a tenant");
    let there = world.get("/api/v1/tenant/notes").token(&again.token).header("x-tenant-id", twin).send().await.expect(200).json();
    assert_eq!(there["data"][0]["text"], "Kept!");
    assert!(there.to_string().contains("\"total\":1"), "{there}");

    world.delete("/api/tenant").token(owner).header("x-tenant-id", &acme.id).send().await.expect(200);
    world.advance(SignedDuration::from_hours(24 * 8));
    workers.run("janitor", json!({"task": "purge"})).await.expect("the purge");
    assert_eq!(world.items_of(&acme), Vec::<Value>::new());
    assert_ne!(claims_of(owner)["tid"], twin);
}

#[test]
fn it_is_described_to_its_clients() {
    let mut catalogue = Catalogue::default();
    catalogue.add::<Notes>("notes");
    let document = catalogue.openapi("0.0.0");
    let path = &document["paths"]["/api/v1/tenant/notes/{id}"];
    assert_eq!(path["get"]["operationId"], "getNote");
    assert!(path["get"]["parameters"][0]["schema"]["pattern"].as_str().is_some_and(|pattern| pattern.starts_with("^(note_")), "{path}");
    assert!(path["get"]["responses"]["404"].is_object() && path["patch"]["responses"]["412"].is_object(), "{path}");
    assert_eq!(
        document["paths"]["/api/v1/tenant/notes"]["post"]["requestBody"]["content"]["application/json"]["example"],
        json!({"text": "Text"})
    );
    assert_eq!(document["components"]["schemas"]["Note"]["required"], json!(["created_at", "id", "text"]));
    assert!(catalogue.role_matrix().contains("/api/v1/tenant/notes"));
}
