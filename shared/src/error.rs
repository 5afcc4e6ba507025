//! What can go wrong, in one enum. It knows nothing of HTTP but one table, `Error::entry`; `http::answer` writes the body.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::http::Family;
use crate::http::answer::StoredAnswer;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause of a failure that is ours; logged once at the edge, never shown.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Field → what is wrong with it.
pub type FieldErrors = BTreeMap<String, Vec<String>>;

#[derive(Debug)]
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
    Unavailable {
        doing: &'static str,
        cause: Cause,
    },
    /// Our fault. `doing` and the cause go to the log.
    Internal {
        doing: &'static str,
        cause: Cause,
    },
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

/// The `error.code` of every answer that is not a success. This list is printed into the API reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub &'static str);

pub const CODES: &[(&str, &str)] = &[
    ("BAD_REQUEST", "The request cannot be read"),
    ("UNAUTHORIZED", "Authentication is missing or does not hold"),
    ("FORBIDDEN", "The role is too small, or the account may not do this"),
    ("KEY_INACTIVE", "The key's maker was removed, or demoted below what the key needs; an owner can adopt it"),
    ("TENANT_SUSPENDED", "The tenant is suspended"),
    ("NOT_FOUND", "It does not exist, or belongs to another tenant"),
    ("RESOURCE_NOT_FOUND", "The same, under /api/v1/tenant"),
    ("METHOD_NOT_ALLOWED", "The path exists, the method does not; see Allow"),
    ("UNSUPPORTED_MEDIA_TYPE", "The body's Content-Encoding is not taken"),
    ("VALIDATION_ERROR", "Fields are missing or wrong; details names each"),
    ("TOKEN_MISSING", "The body has no token, or an empty one"),
    ("INVALID_PERIOD", "The period is no month, or has not begun"),
    ("INVALID_RANGE", "The range is reversed, too long, or not made of days"),
    ("CONFLICT", "It exists already, or changed meanwhile"),
    ("PRECONDITION_FAILED", "If-Match names a version that is no longer current"),
    ("IDEMPOTENCY_KEY_REUSED", "The Idempotency-Key was used with another body"),
    ("PLAN_LIMIT_REACHED", "The tenant's plan allows no more; details has limit, used, max and plan"),
    ("AGENCY_REQUIRED", "The tenant is no agency: its plan has no subaccounts"),
    ("IDENTITY_CONFLICT", "The identity provider's address belongs to an account that it cannot be linked to; an operator decides"),
    ("TOO_MANY_REQUESTS", "A rate limit or quota is used up; see Retry-After"),
    ("INTERNAL_SERVER_ERROR", "Our fault; quote the request id"),
    ("SERVICE_UNAVAILABLE", "Try again in a moment"),
];

impl Error {
    /// The one table from errors to HTTP status and code.
    pub fn entry(&self, family: Family) -> (u16, Code) {
        let (status, code) = match self {
            Error::BadRequest(_) => (400, "BAD_REQUEST"),
            Error::Unauthorized => (401, "UNAUTHORIZED"),
            Error::Forbidden(_) => (403, "FORBIDDEN"),
            Error::KeyInactive(_) => (403, "KEY_INACTIVE"),
            Error::TenantSuspended => (403, "TENANT_SUSPENDED"),
            Error::PlanLimitReached(_) => (403, "PLAN_LIMIT_REACHED"),
            Error::AgencyRequired => (403, "AGENCY_REQUIRED"),
            Error::IdentityConflict => (403, "IDENTITY_CONFLICT"),
            Error::NotFound if family == Family::Engagement => (404, "RESOURCE_NOT_FOUND"),
            Error::NotFound => (404, "NOT_FOUND"),
            Error::MethodNotAllowed => (405, "METHOD_NOT_ALLOWED"),
            Error::InvalidPeriod => (400, "INVALID_PERIOD"),
            Error::InvalidRange(_) => (400, "INVALID_RANGE"),
            Error::Conflict(_) => (409, "CONFLICT"),
            Error::TokenMissing => (400, "TOKEN_MISSING"),
            Error::PreconditionFailed => (412, "PRECONDITION_FAILED"),
            Error::PayloadTooLarge => (413, "BAD_REQUEST"),
            Error::UnsupportedMediaType(_) => (415, "UNSUPPORTED_MEDIA_TYPE"),
            Error::Validation(_) if family == Family::Projects => (422, "VALIDATION_ERROR"),
            Error::Validation(_) => (400, "VALIDATION_ERROR"),
            Error::IdempotencyKeyReused => (422, "IDEMPOTENCY_KEY_REUSED"),
            Error::TooManyRequests(_) => (429, "TOO_MANY_REQUESTS"),
            Error::Replayed(answer) => (answer.status, ""),
            Error::Internal { .. } => (500, "INTERNAL_SERVER_ERROR"),
            Error::NotConfigured(_) | Error::Unavailable { .. } => (503, "SERVICE_UNAVAILABLE"),
        };
        (status, Code(code))
    }

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

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Unavailable { doing, cause } | Error::Internal { doing, cause } => write!(f, "{doing}: {cause}"),
            other => f.write_str(&other.message()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Unavailable { cause, .. } | Error::Internal { cause, .. } => Some(cause.as_ref()),
            _ => None,
        }
    }
}
