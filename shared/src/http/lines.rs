//! Answers with one JSON document in each line (NDJSON) or as a table, in pages that are connected by `Link`.

use std::marker::PhantomData;

use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue, LINK};
use serde_json::{Map, Value};

use crate::http::answer::ResponseBody;
use crate::http::catalogue::{Operation, Shape};
use crate::http::endpoint::{Reply, next_link};
use crate::tenancy::Incoming;

/// The media types of exports.
pub(crate) const LINES: &str = "application/x-ndjson";
pub(crate) const CSV: &str = "text/csv; charset=utf-8";

pub struct Lines {
    pub text: String,
    /// The cursor of the next page.
    pub next: Option<String>,
}

/// A page of an export of `T` in the form that the request asks for, a record in each line.
pub struct Sheet<T> {
    /// Whether it is a table with commas; else each line is JSON.
    pub is_csv: bool,
    pub text: String,
    /// The cursor of the next page.
    pub next: Option<String>,
    pub of: PhantomData<fn() -> T>,
}

impl<T: utoipa::ToSchema> Reply for Sheet<T> {
    fn response(self, incoming: &Incoming) -> Response<ResponseBody> {
        let kind = if self.is_csv { CSV } else { LINES };
        let mut response = Response::new(ResponseBody::from(self.text));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let link = self.next.as_deref().and_then(|cursor| next_link(incoming, cursor));
        response.headers_mut().extend(link.map(|link| (LINK, link)));
        response
    }

    fn describe(operation: &mut Operation) {
        operation.answers::<T>(200, Shape::Sheet);
    }
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
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(LINES));
        let link = self.next.as_deref().and_then(|cursor| next_link(incoming, cursor));
        response.headers_mut().extend(link.map(|link| (LINK, link)));
        response
    }

    fn describe(operation: &mut Operation) {
        operation.answers::<Line>(200, Shape::Lines);
    }
}
