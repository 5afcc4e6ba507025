//! The embedded table, called without a second HTTP hop. All contenders wait for the same table, and the shorter that is, the larger is
//! their own share of the time.
use axum::body::Bytes;
use dynoxide::{Database, DynoxideError};
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use serde::{Serialize, de::DeserializeOwned};

use crate::Outcome;

/// `None`: an operation for the table's own server.
pub fn answer(table: &Database, operation: &str, body: &[u8]) -> Option<Outcome<(Response<()>, Bytes)>> {
    Some(match operation {
        "BatchGetItem" => call(body, |request| table.batch_get_item(request)),
        "DeleteItem" => call(body, |request| table.delete_item(request)),
        "GetItem" => call(body, |request| table.get_item(request)),
        "PutItem" => call(body, |request| table.put_item(request)),
        "Query" => call(body, |request| table.query(request)),
        "TransactWriteItems" => call(body, |request| table.transact_write_items(request)),
        "UpdateItem" => call(body, |request| table.update_item(request)),
        _ => return None,
    })
}

fn call<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Outcome<(Response<()>, Bytes)> {
    let (status, answer) = match operation(serde_json::from_slice(body)?) {
        Ok(answer) => (StatusCode::OK, serde_json::to_vec(&answer)?),
        Err(error) => (StatusCode::from_u16(error.status_code())?, error.to_json().into_bytes()),
    };
    let checksum = crc32fast::hash(&answer);
    let mut response = Response::new(());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
    // DynamoDB sends it, and clients check it.
    response.headers_mut().insert("x-amz-crc32", HeaderValue::from(checksum));
    Ok((response, Bytes::from(answer)))
}
