//! The second wall.

use crate::world::{Settings, TenantCredentials, World};

async fn world() -> World {
    World::with(Settings { tenant_credentials: Some(TenantCredentials::Session), ..Settings::default() }).await
}

#[tokio::test]
async fn the_api_works() {
    let world = world().await;
    let own = world.tenant("acme").await;
    let project = world.project(&own.owner, "One").await;
    world.task(&own.owner, &project, serde_json::json!({"title": "One"})).await;
    println!("{:#?}", world.guard.as_ref().unwrap().0.used());
}
