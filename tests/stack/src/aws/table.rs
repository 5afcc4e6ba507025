//! The HTTP side of DynamoDB: dynoxide answers in the same process, behind a listener that refuses web pages.

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header::CONTENT_TYPE},
    middleware::from_fn,
    response::{IntoResponse, Response},
};
use dynoxide::{Database, DynoxideError, actions::transact_write_items::TransactWriteItemsRequest};
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::TcpListener;

use super::{server, signature::Keyring, tokens::Tokens};

/// DynamoDB accepts 16 MB.
const MOST: usize = 16 * 1024 * 1024;

#[derive(Clone)]
struct Table {
    database: Database,
    keyring: Keyring,
    tokens: Tokens,
}

pub async fn serve(listener: TcpListener, database: Database, keyring: Keyring) {
    let router = Router::new()
        .fallback(answer)
        .layer(DefaultBodyLimit::max(MOST))
        .with_state(Table { database, keyring, tokens: Tokens::default() })
        .layer(from_fn(server::no_pages));
    if let Err(error) = axum::serve(listener, router).await {
        eprintln!("the embedded DynamoDB stopped: {error}");
    }
}

async fn answer(State(table): State<Table>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = ["DynamoDB_20120810.", "DynamoDBStreams_20120810."].into_iter().find_map(|prefix| target.strip_prefix(prefix));
    let Some(operation) = operation.filter(|_| method == Method::POST) else { return refuse("UnknownOperationException", "") };
    if let Err(refusal) = table.keyring.check(&method, &uri, &headers, &body) {
        return refuse(refusal.code, refusal.message);
    }
    let (status, body) = match call(&table, operation, &body) {
        None => return refuse("UnknownOperationException", ""),
        Some(Ok(body)) => (StatusCode::OK, body),
        Some(Err(error)) => {
            // No program reads the wording of a message. The tag is for dynoxide's own server.
            let error = match error {
                DynoxideError::EnvelopedValidation(message) => DynoxideError::ValidationException(message),
                error => error,
            };
            (StatusCode::from_u16(error.status_code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), error.to_json().into_bytes())
        }
    };
    json(status, body)
}

/// `None`: an operation that does not exist.
fn call(Table { database: table, tokens, .. }: &Table, operation: &str, body: &[u8]) -> Option<Result<Vec<u8>, DynoxideError>> {
    Some(match operation {
        "BatchGetItem" => run(body, |request| table.batch_get_item(request)),
        "BatchWriteItem" => run(body, |request| table.batch_write_item(request)),
        "CreateTable" => run(body, |request| table.create_table(request)),
        "DeleteItem" => run(body, |request| table.delete_item(request)),
        "DescribeStream" => run(body, |request| table.describe_stream(request)),
        "DescribeTable" => run(body, |request| table.describe_table(request)),
        "DescribeTimeToLive" => run(body, |request| table.describe_time_to_live(request)),
        "GetItem" => run(body, |request| table.get_item(request)),
        "GetRecords" => run(body, |request| table.get_records(request)),
        "GetShardIterator" => run(body, |request| table.get_shard_iterator(request)),
        "ListStreams" => run(body, |request| table.list_streams(request)),
        "ListTables" => run(body, |request| table.list_tables(request)),
        "PutItem" => run(body, |request| table.put_item(request)),
        "Query" => run(body, |request| table.query(request)),
        "Scan" => run(body, |request| table.scan(request)),
        "TransactGetItems" => run(body, |request| table.transact_get_items(request)),
        "TransactWriteItems" => transact(table, tokens, body),
        "UpdateItem" => run(body, |request| table.update_item(request)),
        _ => return None,
    })
}

fn transact(table: &Database, tokens: &Tokens, body: &[u8]) -> Result<Vec<u8>, DynoxideError> {
    let mut request: TransactWriteItemsRequest = serde_json::from_slice(body).map_err(unreadable)?;
    let token = request.client_request_token.take();
    let execute = || serde_json::to_vec(&table.transact_write_items(request)?).map_err(unreadable);
    match token {
        Some(token) => tokens.once(&token, body, execute),
        None => execute(),
    }
}

fn run<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Result<Vec<u8>, DynoxideError> {
    let answer = operation(serde_json::from_slice(body).map_err(unreadable)?)?;
    serde_json::to_vec(&answer).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> DynoxideError {
    DynoxideError::SerializationException(error.to_string())
}

fn refuse(code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "__type": format!("com.amazon.coral.service#{code}"), "message": message });
    json(StatusCode::BAD_REQUEST, body.to_string().into_bytes())
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    // Clients check it if it is present, as DynamoDB sends it.
    let checksum = HeaderValue::from(crc32fast::hash(&body));
    let mut response = (status, [(CONTENT_TYPE, "application/x-amz-json-1.0")], body).into_response();
    response.headers_mut().insert("x-amz-crc32", checksum);
    response
}
