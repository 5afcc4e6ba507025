//! Answers for people without an account, who follow a link of a mail: a small page, an image, a redirect. Nothing in them runs, comes from
//! elsewhere, is found by a search engine, or tells another site which link was followed.

use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY};
use http::{Response, StatusCode};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use crate::error::{Error, Result};
use crate::http::answer::{Nothing, ResponseBody};
use crate::http::catalogue::{Operation, Shape};
use crate::http::endpoint::Reply;
use crate::tenancy::Incoming;

pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const GIF: &str = "image/gif";

const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1.5rem;overflow-wrap:anywhere}\
    button{font:inherit;padding:.5rem 1.2rem}";
/// With the SHA-256 of the style, which is all that the page may use. A form leads back to where it came from.
const POLICY: &str = "default-src 'none'; style-src 'sha256-loQrr+Y6g36zXiFtFnKvYpEql+HWeD7kvSYU1zAE0KM='; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");

/// A page: its heading, and what stands below it.
pub struct Page {
    heading: String,
    content: Markup,
}

/// An image that nobody sees.
pub struct Pixel;

/// 302 to a URL.
pub struct Redirect(HeaderValue);

impl Page {
    pub fn new(heading: String, content: Markup) -> Self {
        Page { heading, content }
    }

    fn render(&self, status: u16) -> Response<ResponseBody> {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="robots" content="noindex";
                    title { (self.heading) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    h1 { (self.heading) }
                    (self.content)
                }
            }
        };
        let mut response = private(Some(HTML), page.into_string().into());
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response
    }
}

impl Redirect {
    pub fn to(url: &str) -> Result<Self> {
        HeaderValue::from_str(url).map(Redirect).map_err(|error| Error::internal("redirecting", error))
    }
}

/// A refusal, for people.
pub(crate) fn refusal(status: u16, error: &Error) -> Response<ResponseBody> {
    let sentence = match error {
        Error::NotFound => "This link does not work. It may be incomplete: try to copy it from the mail once more.".into(),
        error => error.message(),
    };
    Page::new("Sorry".to_owned(), html! { p { (sentence) } }).render(status)
}

fn private(kind: Option<&'static str>, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    let headers = [
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (ROBOTS, HeaderValue::from_static("noindex, nofollow")),
        // The URL contains the token.
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    response.headers_mut().extend(headers);
    response.headers_mut().extend(kind.map(|kind| (CONTENT_TYPE, HeaderValue::from_static(kind))));
    response
}

impl Reply for Page {
    fn response(self, _incoming: &Incoming) -> Response<ResponseBody> {
        self.render(200)
    }

    fn describe(operation: &mut Operation) {
        operation.answers::<Page>(200, Shape::Page);
    }
}

impl Reply for Pixel {
    fn response(self, _incoming: &Incoming) -> Response<ResponseBody> {
        private(Some(GIF), ResponseBody::from(PIXEL))
    }

    fn describe(operation: &mut Operation) {
        operation.answers::<Pixel>(200, Shape::Image);
    }
}

/// One transparent pixel.
const PIXEL: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

impl Reply for Redirect {
    fn response(self, _incoming: &Incoming) -> Response<ResponseBody> {
        let mut response = private(None, ResponseBody::default());
        response.headers_mut().insert(LOCATION, self.0);
        *response.status_mut() = StatusCode::FOUND;
        response
    }

    fn describe(operation: &mut Operation) {
        operation.answers::<Nothing>(302, Shape::Redirect);
    }
}

macro_rules! text {
    ($name:ident, $kind:expr) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().schema_type(Type::String).content_media_type($kind).into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

text!(Page, "text/html");
text!(Pixel, "image/gif");

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn the_policy_allows_the_style_and_nothing_else() {
        let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
        assert!(POLICY.contains(&format!("style-src 'sha256-{hash}';")), "the style's hash is {hash}");
        let response = Page::new("<b>".into(), html! { p { "<i>" } }).render(200);
        assert_eq!(response.headers()[CONTENT_SECURITY_POLICY], POLICY);
    }

    #[test]
    fn the_image_is_the_smallest_transparent_gif() {
        assert_eq!(STANDARD.encode(PIXEL), "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==");
    }
}
