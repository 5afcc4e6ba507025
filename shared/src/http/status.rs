//! The status and the code of each error, defined only here.

use crate::error::Error;
use crate::http::family::Family;

/// The `error.code` of every answer that is not a success. This list is printed into the API reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub &'static str);

/// Code, statuses, and what it means.
pub const CODES: &[(&str, &[u16], &str)] = &[
    ("BAD_REQUEST", &[400, 413], "The request cannot be read"),
    ("UNAUTHORIZED", &[401], "Authentication is missing or does not hold"),
    ("FORBIDDEN", &[403], "The role is too small, or the account may not do this"),
    ("KEY_INACTIVE", &[403], "The key's maker was removed, or demoted below what the key needs; an owner can adopt it"),
    ("TENANT_SUSPENDED", &[403], "The tenant is suspended"),
    ("NOT_FOUND", &[404], "It does not exist, or belongs to another tenant"),
    ("RESOURCE_NOT_FOUND", &[404], "The same, under /api/v1/tenant"),
    ("GONE", &[410], "What the link belonged to is no more, or not in use"),
    ("METHOD_NOT_ALLOWED", &[405], "The path exists, the method does not; see Allow"),
    ("UNSUPPORTED_MEDIA_TYPE", &[415], "The body's Content-Encoding is not taken"),
    ("VALIDATION_ERROR", &[400, 422], "Fields are missing or wrong; details names each"),
    ("MISSING_TEMPLATE_VAR", &[400], "The template needs values that data lacks; details names each"),
    ("INVALID_TEMPLATE", &[400], "There is no template of this name, or it does not go with the channel"),
    ("WEBHOOK_URL_REFUSED", &[400], "Events may not be delivered to this URL; details says why"),
    ("TOKEN_MISSING", &[400], "The body has no token, or an empty one"),
    ("INVALID_PERIOD", &[400], "The period is no month, or has not begun"),
    ("INVALID_RANGE", &[400], "The range is reversed, too long, or not made of days"),
    ("CONFLICT", &[409], "It exists already, or changed meanwhile"),
    ("CAMPAIGN_INVALID_STATE", &[409], "The campaign is in a state in which this cannot be done"),
    ("CAMPAIGN_NO_LEADS", &[409], "The campaign has no audience, or nobody of it would get a mail"),
    ("CAMPAIGN_EMPTY_SEQUENCE", &[409], "The campaign has no email, or one without a subject or a body"),
    ("CAMPAIGN_TEMPLATE_GONE", &[409], "A template that the campaign names was deleted"),
    ("CAMPAIGN_AUDIENCE_GONE", &[409], "A list or segment that the campaign's audience names was deleted"),
    ("SENDER_NAME_MISSING", &[409], "Neither the campaign nor its workspace has a sender's name"),
    ("SENDER_ADDRESS_MISSING", &[409], "The workspace has no postal address, which each mail must show"),
    ("TEMPLATE_IN_USE", &[409], "Campaigns use the template, so it cannot be deleted"),
    ("MESSAGE_INVALID_STATE", &[409], "The message is in a state in which this cannot be done"),
    ("RECIPIENT_OPTED_OUT", &[403], "The number opted out, so nothing is sent to it"),
    ("NUMBER_NOT_OWNED", &[404], "The tenant may not use the line of this number, or not for this recipient"),
    ("NO_PHONE_AVAILABLE", &[503], "No line can send by the channel that is asked for"),
    ("RECIPIENT_SUPPRESSED", &[409], "The address is on the suppression list, so it gets no mail"),
    ("THREAD_CHANGED", &[409], "A message came in that the writer of the answer had not seen"),
    ("WEBHOOK_DISABLED", &[409], "Nothing is delivered to the webhook, because it is disabled"),
    ("PRECONDITION_FAILED", &[412], "If-Match names a version that is no longer current"),
    ("IDEMPOTENCY_KEY_REUSED", &[422], "The Idempotency-Key was used with another body"),
    ("PLAN_LIMIT_REACHED", &[403], "The tenant's plan allows no more; details has limit, used, max and plan"),
    ("AGENCY_REQUIRED", &[403], "The tenant is no agency: its plan has no subaccounts"),
    ("IDENTITY_CONFLICT", &[403], "The identity provider's address belongs to an account that it cannot be linked to; an operator decides"),
    ("TOO_MANY_REQUESTS", &[429], "A rate limit or quota is used up; see Retry-After"),
    ("INTERNAL_SERVER_ERROR", &[500], "Our fault; quote the request id"),
    ("SERVICE_UNAVAILABLE", &[503], "Try again in a moment"),
];

/// The table from errors to HTTP status and code.
pub fn entry(error: &Error, family: Family) -> (u16, Code) {
    let (status, code) = match error {
        Error::BadRequest(_) => (400, "BAD_REQUEST"),
        Error::Unauthorized => (401, "UNAUTHORIZED"),
        Error::Forbidden(_) => (403, "FORBIDDEN"),
        Error::KeyInactive(_) => (403, "KEY_INACTIVE"),
        Error::TenantSuspended => (403, "TENANT_SUSPENDED"),
        Error::PlanLimitReached(_) => (403, "PLAN_LIMIT_REACHED"),
        Error::AgencyRequired => (403, "AGENCY_REQUIRED"),
        Error::IdentityConflict => (403, "IDENTITY_CONFLICT"),
        Error::NotFound | Error::Missing(_) if family == Family::Engagement => (404, "RESOURCE_NOT_FOUND"),
        Error::NotFound | Error::Missing(_) => (404, "NOT_FOUND"),
        Error::Gone => (410, "GONE"),
        Error::MethodNotAllowed => (405, "METHOD_NOT_ALLOWED"),
        Error::InvalidPeriod => (400, "INVALID_PERIOD"),
        Error::InvalidRange(_) => (400, "INVALID_RANGE"),
        Error::Conflict(_) => (409, "CONFLICT"),
        Error::CampaignState(_) => (409, "CAMPAIGN_INVALID_STATE"),
        Error::CampaignNotReady(lack, _) => (409, lack.code()),
        Error::TemplateInUse => (409, "TEMPLATE_IN_USE"),
        Error::RecipientSuppressed => (409, "RECIPIENT_SUPPRESSED"),
        Error::ThreadChanged => (409, "THREAD_CHANGED"),
        Error::MissingTemplateVariables(_) => (400, "MISSING_TEMPLATE_VAR"),
        Error::InvalidTemplate(_) => (400, "INVALID_TEMPLATE"),
        Error::NumberNotOwned => (404, "NUMBER_NOT_OWNED"),
        Error::NoPhoneAvailable => (503, "NO_PHONE_AVAILABLE"),
        Error::RecipientOptedOut => (403, "RECIPIENT_OPTED_OUT"),
        Error::MessageState(_) => (409, "MESSAGE_INVALID_STATE"),
        Error::WebhookUrlRefused(_) => (400, "WEBHOOK_URL_REFUSED"),
        Error::WebhookDisabled => (409, "WEBHOOK_DISABLED"),
        Error::TokenMissing => (400, "TOKEN_MISSING"),
        Error::PreconditionFailed => (412, "PRECONDITION_FAILED"),
        Error::PayloadTooLarge(_) => (413, "BAD_REQUEST"),
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
