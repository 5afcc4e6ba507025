//! Puts winterbaume's services, which answer one request with one response, behind an HTTP listener, and beside them
//! what the stack itself answers: mailbox, phones, and AWS End User Messaging in front of these.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header::CONTENT_TYPE},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::net::TcpListener;
use winterbaume_core::{MockRequest, MockService};
use winterbaume_sqs::SqsService;

use super::{
    batch,
    objects::Objects,
    queues::Queues,
    secrets::Secrets,
    signature::{self, Keyring},
};
use crate::gateway::guard;
use crate::phones::Phones;

#[derive(Clone)]
struct Services {
    secrets: Arc<Secrets>,
    queues: Queues,
    sqs: Arc<SqsService>,
    objects: Objects,
    phones: Phones,
    keyring: Keyring,
}

/// A mail is an object of up to 40 MB.
const LARGEST_BODY: usize = 48 * 1024 * 1024;

pub async fn serve(
    listener: TcpListener,
    secrets: Arc<Secrets>,
    queues: Queues,
    objects: Objects,
    phones: Phones,
    beside: Router,
    keyring: Keyring,
) {
    let sqs = Arc::new(SqsService::with_backend(Arc::new(queues.clone())));
    let services = Services { secrets, queues, sqs, objects, phones, keyring };
    let router = Router::new()
        .fallback(answer)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(services)
        .merge(beside)
        .layer(axum::middleware::from_fn(no_pages));
    if let Err(error) = axum::serve(listener, router).await {
        eprintln!("the embedded Secrets Manager, SQS and S3 stopped: {error}");
    }
}

/// Web pages may not call this, whatever host name they were loaded from.
pub async fn no_pages(request: Request, next: Next) -> Response {
    match guard::loopback(request.uri(), request.headers()).and_then(|()| guard::no_browser(request.headers())) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refuse(refusal.status, "AccessDeniedException", &refusal.message),
    }
}

async fn answer(State(services): State<Services>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let is_for_objects = signature::service_of(&headers).is_some_and(|service| service == "s3");
    if let Err(refusal) = services.keyring.check(&method, &uri, &headers, &body) {
        return match is_for_objects {
            true => refuse_in_xml(StatusCode::FORBIDDEN, refusal.code, refusal.message),
            false => refuse(StatusCode::BAD_REQUEST, refusal.code, refusal.message),
        };
    }
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default().to_owned();
    let request = MockRequest { method: method.to_string(), uri: uri.to_string(), headers, body };
    let answered = if is_for_objects {
        match services.objects.answer(request).await {
            Ok(response) => response,
            Err(error) => return refuse_in_xml(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", &error.to_string()),
        }
    } else if target.starts_with("secretsmanager.") {
        match services.secrets.answer(request).await {
            Ok(response) => response,
            Err(error) => {
                return refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalServiceError", &error.to_string());
            }
        }
    } else if target == "PinpointSMSVoiceV2.SendTextMessage" {
        return services.phones.send_text_message(&request.body);
    } else if target == "AmazonSQS.SendMessageBatch" {
        return batch::answer(&services.queues, &request.body);
    } else if target.starts_with("AmazonSQS.") {
        services.sqs.handle(request).await
    } else {
        return refuse(StatusCode::BAD_REQUEST, "UnknownOperationException", "this service is not part of the local stack");
    };
    let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, answered.headers, answered.body).into_response()
}

pub fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "__type": code, "message": message });
    (status, [(CONTENT_TYPE, "application/x-amz-json-1.0")], body.to_string()).into_response()
}

/// S3 alone answers in XML.
fn refuse_in_xml(status: StatusCode, code: &str, message: &str) -> Response {
    let text = winterbaume_core::xml_escape;
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{}</Code><Message>{}</Message></Error>", text(code), text(message));
    (status, [(CONTENT_TYPE, "application/xml")], body).into_response()
}
