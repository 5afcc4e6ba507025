//! What can go wrong, in one enum. It knows nothing of HTTP: `http::status` has the table to status and code, `http::answer` writes the body.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause of a failure that is ours; logged once at the edge, never shown.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Field → what is wrong with it.
pub type FieldErrors = BTreeMap<String, Vec<String>>;

#[derive(Debug, thiserror::Error)]
#[error("{}", self.message())]
pub enum Error {
    /// The request cannot be read: not JSON, a header twice, a cursor that is not ours.
    BadRequest(Cow<'static, str>),
    /// No credential, or one that does not hold. Never says which part failed.
    Unauthorized,
    /// Within one's own tenant only.
    Forbidden(Cow<'static, str>),
    /// A key whose maker's membership no longer bears it; says why.
    KeyInactive(&'static str),
    /// Nobody acts in the tenant until it is activated again.
    TenantSuspended,
    /// Does not exist, or is another tenant's: the same thing to the caller.
    NotFound,
    /// A known path with another method; axum adds `Allow`.
    MethodNotAllowed,
    PayloadTooLarge,
    /// A body in a coding that is not taken.
    UnsupportedMediaType(&'static str),
    /// Every field at fault, at once.
    Validation(FieldErrors),
    /// Not a month that has begun.
    InvalidPeriod,
    /// A range of days or moments that is none, or too long.
    InvalidRange(&'static str),
    Conflict(Cow<'static, str>),
    /// A token to be kept that is not there.
    TokenMissing,
    /// `If-Match` names a version that is no longer the current one.
    PreconditionFailed,
    /// The same `Idempotency-Key` came with another body.
    IdempotencyKeyReused,
    PlanLimitReached(PlanLimit),
    /// For agencies alone.
    AgencyRequired,
    /// An identity provider's token names an account that it may not be linked to.
    IdentityConflict,
    TooManyRequests(Throttled),
    /// Not an error to the caller: the stored answer to the first request with this `Idempotency-Key`.
    Replayed(Box<StoredAnswer>),
    /// A feature this deployment has not configured.
    NotConfigured(&'static str),
    /// Try again: the table is throttling or out of reach.
    #[error("{doing}: {cause}")]
    Unavailable {
        doing: &'static str,
        #[source]
        cause: Cause,
    },
    /// Our fault. `doing` and the cause go to the log.
    #[error("{doing}: {cause}")]
    Internal {
        doing: &'static str,
        #[source]
        cause: Cause,
    },
}

/// An answer as bytes: what is sent, and what an `Idempotency-Key` keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredAnswer {
    pub status: u16,
    pub etag: Option<String>,
    pub body: String,
}

/// A plan's limit that stands in the way.
#[derive(Debug, Clone)]
pub struct PlanLimit {
    pub limit: &'static str,
    pub used: u64,
    pub max: u64,
    pub plan: String,
}

/// A rate limit or daily quota that is used up.
#[derive(Debug, Clone)]
pub struct Throttled {
    pub quota: &'static str,
    pub limit: u64,
    /// Seconds until it is worth trying again, at least 1.
    pub retry_after: u64,
}

impl Error {
    /// The sentence for a person.
    pub fn message(&self) -> Cow<'static, str> {
        match self {
            Error::BadRequest(message) | Error::Forbidden(message) | Error::Conflict(message) => message.clone(),
            Error::NotConfigured(message) | Error::KeyInactive(message) => Cow::Borrowed(message),
            Error::TenantSuspended => "This tenant is suspended.".into(),
            Error::Unauthorized => "Authentication is required.".into(),
            Error::NotFound => "Resource not found.".into(),
            Error::MethodNotAllowed => "This path does not take that method.".into(),
            Error::PayloadTooLarge => "The body is larger than 256 KiB.".into(),
            Error::Validation(_) => "The given data is invalid.".into(),
            Error::TokenMissing => "The token is missing.".into(),
            Error::AgencyRequired => "Subaccounts are for agencies: your plan has none, or this is a subaccount itself.".into(),
            Error::IdentityConflict => {
                "This address belongs to an account that is linked to somebody else at your identity provider, or is not confirmed yet."
                    .into()
            }
            Error::InvalidPeriod => "The period must be current, previous, or a month like 2026-11 that has begun.".into(),
            Error::InvalidRange(message) | Error::UnsupportedMediaType(message) => Cow::Borrowed(message),
            Error::PreconditionFailed => "The resource changed since the version in If-Match.".into(),
            Error::IdempotencyKeyReused => "This Idempotency-Key was used with another body.".into(),
            Error::PlanLimitReached(limit) => format!("Your plan allows {} {}.", limit.max, limit.limit).into(),
            Error::TooManyRequests(_) => "Too many requests. Try again later.".into(),
            Error::Replayed(_) => "".into(),
            Error::Unavailable { .. } => "The service is busy. Try again in a moment.".into(),
            Error::Internal { .. } => "Something went wrong on our side.".into(),
        }
    }

    pub fn internal(doing: &'static str, cause: impl Into<Cause>) -> Self {
        Error::Internal { doing, cause: cause.into() }
    }

    /// One field at fault.
    pub fn field(name: &str, message: impl Into<String>) -> Self {
        Error::Validation(BTreeMap::from([(name.to_owned(), vec![message.into()])]))
    }

    /// The request itself is at fault, whatever stands in the table.
    pub fn is_invalid(&self) -> bool {
        matches!(
            self,
            Error::BadRequest(_)
                | Error::PayloadTooLarge
                | Error::UnsupportedMediaType(_)
                | Error::Validation(_)
                | Error::InvalidPeriod
                | Error::InvalidRange(_)
                | Error::TokenMissing
                | Error::IdempotencyKeyReused
        )
    }

    /// Worth another try by a worker, or final.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable { .. })
    }
}

/// An error with its causes, on one line.
pub(crate) struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_its_message_and_one_of_ours_as_its_cause_too() {
        assert_eq!(Error::NotFound.to_string(), "Resource not found.");
        assert!(std::error::Error::source(&Error::NotFound).is_none());
        let error = Error::internal("reading a project", "no connection");
        assert_eq!(
            (error.to_string().as_str(), &*error.message()),
            ("reading a project: no connection", "Something went wrong on our side.")
        );
        assert_eq!(std::error::Error::source(&error).map(ToString::to_string).as_deref(), Some("no connection"));
        assert_eq!(Chain(&error).to_string(), "reading a project: no connection: no connection");
    }
}
