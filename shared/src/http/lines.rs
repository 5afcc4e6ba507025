//! Answers with one JSON document in each line (NDJSON), in pages that are connected by `Link`.

use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue, LINK};
use serde_json::{Map, Value};

use crate::http::answer::ResponseBody;
use crate::http::catalogue::{Operation, Shape};
use crate::http::endpoint::Reply;
use crate::tenancy::Incoming;

pub struct Lines {
    pub text: String,
    /// The cursor of the next page.
    pub next: Option<String>,
}

/// One line of an export, as the API reference shows it.
#[derive(utoipa::ToSchema)]
#[schema(as = ExportLine)]
pub struct Line {
    pub r#type: String,
    pub key: String,
    #[schema(value_type = Object)]
    pub data: Map<String, Value>,
}

impl Reply for Lines {
    fn response(self, incoming: &Incoming) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::from(self.text));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        let link = self.next.map(|cursor| format!("<{}?cursor={cursor}>; rel=\"next\"", incoming.path));
        if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
            response.headers_mut().insert(LINK, link);
        }
        response
    }

    fn describe(operation: &mut Operation) {
        operation.answers::<Line>(200, Shape::Lines);
    }
}
