//! The body of a request, read as a form.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use crate::error::{Error, Result};
use crate::http::form::{self, Form};
use crate::http::json;
use crate::tenancy::Incoming;

/// What is read of a body, whatever the route.
pub const LARGEST_BODY: usize = 1024 * 1024;

/// The body as a form: a JSON object, no larger than the form allows, with no field too many.
pub fn form<F: Form>(incoming: &Incoming) -> Result<F> {
    const { assert!(F::MAX_BYTES <= LARGEST_BODY, "a body of this form is never read as a whole") };
    if incoming.body.len() > F::MAX_BYTES {
        return Err(Error::PayloadTooLarge(F::MAX_BYTES));
    }
    if let Some(codings) = incoming.list(&CONTENT_ENCODING)?
        && codings.split(',').any(|coding| !matches!(coding.trim().to_ascii_lowercase().as_str(), "" | "identity"))
    {
        return Err(Error::UnsupportedMediaType("A body is taken as it is: Content-Encoding may be identity alone."));
    }
    let kind = incoming.header(&CONTENT_TYPE)?.unwrap_or("application/json");
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind != "application/json" && !kind.ends_with("+json") {
        return Err(Error::BadRequest("Content-Type must be application/json.".into()));
    }
    if incoming.unreadable_body {
        return Err(Error::BadRequest("The body is not the base64 it is said to be.".into()));
    }
    let bytes = if incoming.body.is_empty() { b"{}" } else { &incoming.body[..] };
    let (value, inexact) = json::parse(bytes).map_err(|message| Error::BadRequest(message.into()))?;
    let Some(object) = value.as_object() else {
        return Err(Error::BadRequest("The body must be a JSON object.".into()));
    };
    match (form::from_body(object, bytes), inexact.is_empty()) {
        (Ok(form), true) => Ok(form),
        (Ok(_), false) => Err(Error::Validation(inexact)),
        (Err(mut errors), _) => {
            errors.extend(inexact);
            Err(Error::Validation(errors))
        }
    }
}
