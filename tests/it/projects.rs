//! Projects and tasks, beyond the documented examples.

use serde_json::json;

use crate::world::{World, id};

#[tokio::test]
async fn a_project_lives_from_creation_to_deletion() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let path = format!("/api/v1/projects/{}", id(&project));
    let task = world.task(&acme.owner, &project, json!({"title": "First"})).await;
    let shown = world.get(&path).token(&acme.owner.token).send().await.expect(200);
    assert_eq!(shown.json()["data"]["open_tasks_count"], 1);
    eprintln!("{:?}", shown.metered);
    let listed = world.get("/api/v1/projects").token(&acme.owner.token).send().await.expect(200);
    assert_eq!(listed.json()["meta"]["total"], 1);
    eprintln!("{:?} {}", listed.metered, listed.text);
    world.delete(&path).token(&acme.owner.token).send().await.expect(200);
    world.get(&path).token(&acme.owner.token).send().await.expect(404);
    world.get(format!("/api/v1/tasks/{}", id(&task))).token(&acme.owner.token).send().await.expect(404);
}
