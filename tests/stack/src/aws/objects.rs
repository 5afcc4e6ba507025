//! S3: winterbaume answers from memory, and every object is in the journal before its answer is sent. What others put into the journal, such as mails with
//! the notice of them, is an object from then on.

use std::{collections::HashSet, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, Method,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use winterbaume_core::{MockRequest, MockResponse, MockService};
use winterbaume_s3::S3Service;

use super::AwsError;
use crate::journal::{Change, Journal, JournalError};

const SPACE: &str = "object";

/// Cheap to clone. Clones share the buckets.
#[derive(Clone)]
pub struct Objects {
    journal: Journal,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    service: S3Service,
    /// Objects of the journal that the service has.
    loaded: HashSet<String>,
}

#[derive(Serialize, Deserialize)]
struct KeptObject {
    content_type: String,
    /// In base64.
    content: String,
}

impl Objects {
    pub fn open(journal: Journal) -> Objects {
        Objects { journal, inner: Arc::new(Mutex::new(Inner { service: S3Service::new(), loaded: HashSet::new() })) }
    }

    /// Creates the bucket, if it does not exist.
    pub async fn create(&self, bucket: &str) -> Result<(), AwsError> {
        let inner = self.inner.lock().await;
        if inner.call(Method::HEAD, &path_of(bucket), HeaderMap::new(), Bytes::new()).await.status < 300 {
            return Ok(());
        }
        let made = inner.call(Method::PUT, &path_of(bucket), HeaderMap::new(), Bytes::new()).await;
        if made.status < 300 { Ok(()) } else { Err(AwsError::Service(format!("creating the bucket {bucket}: {:?}", made.body))) }
    }

    /// What puts an object, for a transaction of the journal.
    pub fn put(bucket: &str, key: &str, content_type: &str, content: &[u8]) -> Result<Change, JournalError> {
        let kept = KeptObject { content_type: content_type.to_owned(), content: BASE64_STANDARD.encode(content) };
        Change::put(SPACE, &id_of(bucket, key), &kept)
    }

    pub fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, AwsError> {
        let kept: Option<KeptObject> = self.journal.get(SPACE, &id_of(bucket, key))?;
        kept.map(|kept| kept.content()).transpose()
    }

    /// The keys of a bucket's objects.
    pub fn keys(&self, bucket: &str) -> Result<Vec<String>, AwsError> {
        let ids = self.journal.ids(SPACE)?;
        Ok(ids.iter().filter_map(|id| id.strip_prefix(bucket)?.strip_prefix('/')).map(str::to_owned).collect())
    }

    /// Removes an object, as a lifecycle does after its time.
    pub async fn expire(&self, bucket: &str, key: &str) -> Result<(), AwsError> {
        let request = MockRequest {
            method: Method::DELETE.to_string(),
            uri: path_of(&id_of(bucket, key)),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let answered = self.answer(request).await?;
        if answered.status < 300 { Ok(()) } else { Err(AwsError::Service(format!("deleting {key}: {:?}", answered.body))) }
    }

    pub async fn answer(&self, request: MockRequest) -> Result<MockResponse, AwsError> {
        let mut inner = self.inner.lock().await;
        inner.load(&self.journal).await?;
        let (method, path) = (request.method.clone(), path_in(&request.uri));
        let kept = KeptObject {
            content_type: request.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("binary/octet-stream").to_owned(),
            content: BASE64_STANDARD.encode(&request.body),
        };
        let is_plain = !request.uri.contains('?') || request.uri.ends_with(&format!("?x-id={}", operation_of(&method)));
        if method != "GET" && method != "HEAD" && !(is_plain && ["PUT", "DELETE"].contains(&method.as_str())) {
            return Err(AwsError::Service("the local S3 puts, gets and deletes whole objects, and nothing else".to_owned()));
        }
        if request.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding == "aws-chunked") {
            return Err(AwsError::Service("the local S3 takes objects in one piece".to_owned()));
        }
        let answered = inner.service.handle(MockRequest { uri: format!("{HOST}{}", request.uri), ..request }).await;
        if let Some(id) = path.filter(|_| answered.status < 300) {
            match method.as_str() {
                "PUT" => {
                    self.journal.put(SPACE, &id, &kept)?;
                    inner.loaded.insert(id);
                }
                "DELETE" => {
                    self.journal.delete(SPACE, &id)?;
                    inner.loaded.remove(&id);
                }
                _ => {}
            }
        }
        Ok(answered)
    }
}

impl Inner {
    /// Takes over what the journal has besides.
    async fn load(&mut self, journal: &Journal) -> Result<(), AwsError> {
        for id in journal.ids(SPACE)? {
            if self.loaded.contains(&id) {
                continue;
            }
            let Some(kept) = journal.get::<KeptObject>(SPACE, &id)? else { continue };
            let mut headers = HeaderMap::new();
            headers.extend(kept.content_type.parse().map(|kind| (CONTENT_TYPE, kind)));
            let put = self.call(Method::PUT, &path_of(&id), headers, kept.content()?.into()).await;
            // Without its bucket it waits until there is one.
            if put.status < 300 {
                self.loaded.insert(id);
            }
        }
        Ok(())
    }

    async fn call(&self, method: Method, path: &str, headers: HeaderMap, body: Bytes) -> MockResponse {
        self.service.handle(MockRequest { method: method.to_string(), uri: format!("{HOST}{path}"), headers, body }).await
    }
}

impl KeptObject {
    fn content(&self) -> Result<Vec<u8>, AwsError> {
        BASE64_STANDARD.decode(&self.content).map_err(|error| AwsError::Service(format!("an object of the journal: {error}")))
    }
}

/// winterbaume reads whole addresses.
const HOST: &str = "https://s3.us-east-1.amazonaws.com";

/// The operation that clients name in the query of some requests.
fn operation_of(method: &str) -> &'static str {
    match method {
        "PUT" => "PutObject",
        _ => "DeleteObject",
    }
}

fn id_of(bucket: &str, key: &str) -> String {
    format!("{bucket}/{key}")
}

/// The path of a bucket or an object.
fn path_of(id: &str) -> String {
    let parts: Vec<String> = id.split('/').map(|part| percent_encoding::utf8_percent_encode(part, UNRESERVED).to_string()).collect();
    format!("/{}", parts.join("/"))
}

/// Bucket and key of a path; `None` of what is no object.
fn path_in(uri: &str) -> Option<String> {
    let path = uri.split('?').next().unwrap_or_default().strip_prefix('/')?;
    let id = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    let (_, key) = id.split_once('/')?;
    (!key.is_empty()).then(|| id.into_owned())
}

const UNRESERVED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
