//! The events in events/ work as they are, with the data of a fresh `cargo local`.

use std::sync::Arc;

use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use stack::samples::{self, Provider};
use stack::sources::{Invoke, InvokeError, Sources};
use tower::ServiceExt;

use crate::derived::template;
use crate::template::events;
use crate::workers::Workers;
use crate::world::{Settings, World};

#[tokio::test]
async fn every_sample_event_works_as_it_is() {
    let provider = Provider::open().await.expect("a port on loopback");
    let variables = vec![("OIDC_ISSUERS", provider.issuers())];
    let serving = tokio::spawn(provider.serve());
    let world = World::with(Settings { variables, ..Settings::default() }).await;
    let deployment = Deployment { workers: Workers::on(&world), world: world.clone() };
    // Creating the samples needs a mail.
    let sources = Arc::new(Sources::new(&world.template, &world.aws, deployment.clone()).expect("the sources"));
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let playing = tokio::spawn(sources.run(stopped, |problem| eprintln!("{problem}")));
    samples::seed(&world.aws, &world.template, &deployment).await.expect("the samples are made");
    stack::phone_lines::seed(world.aws.phones(), &deployment, "http://127.0.0.1:1").await.expect("lines");
    let routes = template().routes().expect("routes");
    let mut events = events();
    events.sort_by(|(_, left, _), (_, right, _)| left.cmp(right));
    assert!(events.len() >= 37, "{}", events.len());
    for (function, name, event) in events {
        if let Some(key) = event["routeKey"].as_str() {
            let route = key.strip_prefix("ANY ").expect("a route key");
            assert!(routes.iter().any(|known| known.path == route && known.function == function), "{function} has no {route}: {name}");
            let typed: lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest =
                serde_json::from_value(event.clone()).expect("an event of API Gateway, payload 2.0");
            assert_eq!(typed.raw_path, typed.request_context.http.path, "{name}");
            if let Some(credential) = event["headers"]["authorization"].as_str() {
                assert_eq!(credential, format!("Bearer {}", samples::TOKEN), "{name}");
            }
        }
        let is_batch = event["Records"].is_array();
        let answer = deployment.invoke(&function, event).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        match answer["statusCode"].as_u64() {
            // Each deployment signs links with a key of its own, so it takes none that is written down.
            Some(status) if function == "links" => assert_eq!(status, 404, "{name} answers {answer}"),
            Some(status) => assert!((200..300).contains(&status), "{name} answers {answer}"),
            None if is_batch => assert_eq!(answer, json!({"batchItemFailures": []}), "{name}"),
            None => assert_eq!(answer["ok"], true, "{name} answers {answer}"),
        }
    }
    playing.abort();
    serving.abort();
}

/// Every function, invoked with whole events.
#[derive(Clone)]
struct Deployment {
    world: World,
    workers: Workers,
}

impl Invoke for Deployment {
    fn invoke(&self, function: &str, payload: Value) -> impl Future<Output = Result<Value, InvokeError>> + Send {
        let (deployment, function) = (self.clone(), function.to_owned());
        async move {
            if payload.get("requestContext").is_none() {
                return deployment.workers.invoke(&function, payload).await;
            }
            let request = lambda_http::request::from_str(&payload.to_string()).expect("the runtime reads it");
            let router = deployment.world.router(request.uri().path());
            let response = router.oneshot(request.map(Body::new)).await.expect("the router always answers");
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.expect("the body is in memory").to_bytes();
            Ok(json!({"statusCode": status, "body": String::from_utf8_lossy(&body)}))
        }
    }
}
