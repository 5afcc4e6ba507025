//! Everything that can go wrong, in one enum. It knows nothing of HTTP: `http::status` maps it to status and code, and `http::answer`
//! writes the body.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause of a failure that is our fault. It is logged once, where the request ends, and never shown.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Field → what is wrong with it.
pub type FieldErrors = BTreeMap<String, Vec<String>>;

#[derive(Debug, thiserror::Error)]
#[error("{}", self.message())]
pub enum Error {
    /// The request cannot be read: it is not JSON, has a header twice, or has a cursor that is not ours.
    BadRequest(Cow<'static, str>),
    /// No credential, or one that is not valid. Never says which part failed.
    Unauthorized,
    /// Only used inside the caller's own tenant.
    Forbidden(Cow<'static, str>),
    /// A key whose maker no longer has the role for it. Says why.
    KeyInactive(&'static str),
    /// Nobody can act in the tenant until it is activated again.
    TenantSuspended,
    /// It does not exist, or it belongs to another tenant. The caller cannot tell the difference.
    NotFound,
    /// The same, and what was not found: `Template`.
    Missing(&'static str),
    /// What a signed link belongs to is no more, or not in use. Only for those who have the link.
    Gone,
    /// A known path with another method; axum adds `Allow`.
    MethodNotAllowed,
    /// Says how many bytes the route takes.
    PayloadTooLarge(usize),
    /// A body with a content encoding that is not supported.
    UnsupportedMediaType(&'static str),
    /// Every field at fault, in one answer.
    Validation(FieldErrors),
    /// Not a month, or a month in the future.
    InvalidPeriod,
    /// A range of days or moments that is invalid or too long.
    InvalidRange(&'static str),
    Conflict(Cow<'static, str>),
    /// What is asked of a campaign does not go with its state. Says why.
    CampaignState(&'static str),
    /// A campaign lacks what a launch asks for. Says what.
    CampaignNotReady(Lack, String),
    /// Campaigns use the template that is to go.
    TemplateInUse,
    /// A template of messages needs values that the request does not have. Names its variables.
    MissingTemplateVariables(Vec<String>),
    /// A message names a template that there is not, or that does not go with the rest. Says why.
    InvalidTemplate(&'static str),
    /// A message is to come from a number that the tenant may not use.
    NumberNotOwned,
    /// No line can send a message by the channel that is asked for.
    NoPhoneAvailable,
    /// The number said that it wants no messages.
    RecipientOptedOut,
    /// What is asked of a message does not go with its state. Says why.
    MessageState(&'static str),
    /// The address gets no mail: of the workspace, or of all of its tenant.
    RecipientSuppressed,
    /// Something came in that its writer had not seen.
    ThreadChanged,
    /// A URL that events may not be delivered to. Says why, after "The url field".
    WebhookUrlRefused(String),
    /// Nothing is delivered to a webhook that is disabled.
    WebhookDisabled,
    /// The request asks to keep a token, but there is none.
    TokenMissing,
    /// `If-Match` names a version that is not the current one.
    PreconditionFailed,
    /// The same `Idempotency-Key` came with another body.
    IdempotencyKeyReused,
    PlanLimitReached(PlanLimit),
    /// Only for agencies.
    AgencyRequired,
    /// An identity provider's token names an account that it may not be linked to.
    IdentityConflict,
    TooManyRequests(Throttled),
    /// Not an error for the caller: the stored answer to the first request with this `Idempotency-Key`.
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

/// An answer as bytes, as it is sent and as it is stored for an `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredAnswer {
    pub status: u16,
    pub etag: Option<String>,
    pub body: String,
}

/// A limit of the plan that would be exceeded.
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
    /// Seconds until another try can succeed, at least 1.
    pub retry_after: u64,
}

/// What a campaign may lack, each with a code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    Leads,
    Emails,
    Template,
    Audience,
    SenderName,
    SenderAddress,
}

impl Lack {
    pub const ALL: [Lack; 6] = [Lack::Leads, Lack::Emails, Lack::Template, Lack::Audience, Lack::SenderName, Lack::SenderAddress];

    pub fn code(self) -> &'static str {
        match self {
            Lack::Leads => "CAMPAIGN_NO_LEADS",
            Lack::Emails => "CAMPAIGN_EMPTY_SEQUENCE",
            Lack::Template => "CAMPAIGN_TEMPLATE_GONE",
            Lack::Audience => "CAMPAIGN_AUDIENCE_GONE",
            Lack::SenderName => "SENDER_NAME_MISSING",
            Lack::SenderAddress => "SENDER_ADDRESS_MISSING",
        }
    }
}

impl Error {
    /// The sentence for a person.
    pub fn message(&self) -> Cow<'static, str> {
        match self {
            Error::BadRequest(message) | Error::Forbidden(message) | Error::Conflict(message) => message.clone(),
            Error::NotConfigured(message) | Error::KeyInactive(message) | Error::CampaignState(message) => Cow::Borrowed(message),
            Error::InvalidTemplate(message) | Error::MessageState(message) => Cow::Borrowed(message),
            Error::NumberNotOwned => "You have no line with this number.".into(),
            Error::NoPhoneAvailable => "No line can send by this channel at the moment.".into(),
            Error::RecipientOptedOut => "This number opted out: it gets no messages.".into(),
            Error::TenantSuspended => "This tenant is suspended.".into(),
            Error::Unauthorized => "Authentication is required.".into(),
            Error::NotFound => "Resource not found.".into(),
            Error::Missing(what) => format!("{what} not found").into(),
            Error::Gone => "This link is no longer in use.".into(),
            Error::MethodNotAllowed => "This path does not take that method.".into(),
            Error::PayloadTooLarge(most) => match most / 1024 {
                kib if kib % 1024 == 0 => format!("The body is larger than {} MiB.", kib / 1024).into(),
                kib => format!("The body is larger than {kib} KiB.").into(),
            },
            Error::CampaignNotReady(_, message) => Cow::Owned(message.clone()),
            Error::MissingTemplateVariables(names) => format!("The template needs values that data lacks: {}.", names.join(", ")).into(),
            Error::TemplateInUse => "Campaigns use this template: it cannot be deleted.".into(),
            Error::RecipientSuppressed => "This address is on the suppression list: it gets no mail.".into(),
            Error::ThreadChanged => "A message came in that you had not seen. Read the thread again.".into(),
            Error::WebhookUrlRefused(problem) => format!("The url field {problem}.").into(),
            Error::WebhookDisabled => "This webhook is disabled: enable it first.".into(),
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

    /// Others changed the same each time that it was tried.
    pub fn contested() -> Self {
        Error::Conflict("The resource is being changed by others. Try again.".into())
    }

    /// One field at fault.
    pub fn field(name: &str, message: impl Into<String>) -> Self {
        Error::Validation(BTreeMap::from([(name.to_owned(), vec![message.into()])]))
    }

    /// What is wrong, in one line, where it is one of many: its first few sentences, so that a thousand fit into an answer.
    pub fn in_a_line(&self) -> String {
        match self {
            Error::Validation(fields) => fields.values().flatten().take(5).cloned().collect::<Vec<_>>().join(" "),
            error => error.message().into_owned(),
        }
    }

    /// The request itself is at fault, whatever is in the table.
    pub fn is_invalid(&self) -> bool {
        matches!(
            self,
            Error::BadRequest(_)
                | Error::PayloadTooLarge(_)
                | Error::UnsupportedMediaType(_)
                | Error::Validation(_)
                | Error::MissingTemplateVariables(_)
                | Error::InvalidTemplate(_)
                | Error::WebhookUrlRefused(_)
                | Error::InvalidPeriod
                | Error::InvalidRange(_)
                | Error::TokenMissing
                | Error::IdempotencyKeyReused
        )
    }

    /// Whether a worker should try again.
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
