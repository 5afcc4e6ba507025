//! Gives a message to AWS End User Messaging. It has no token by which a call could be repeated, so nothing is repeated unless it said that it did not accept
//! the message. What becomes of one, it reports with the reference that it was given.
//! <https://docs.aws.amazon.com/pinpoint/latest/apireference_smsvoicev2/API_SendTextMessage.html>

use std::time::Duration;

use aws_sdk_pinpointsmsvoicev2::Client;
use aws_sdk_pinpointsmsvoicev2::config::retry::RetryConfig;
use aws_sdk_pinpointsmsvoicev2::config::timeout::TimeoutConfig;
use aws_sdk_pinpointsmsvoicev2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_pinpointsmsvoicev2::operation::send_text_message::SendTextMessageError;
use aws_sdk_pinpointsmsvoicev2::types::{ConflictExceptionReason, ValidationExceptionReason};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use jiff::Timestamp;
use records::phone_message::{PhoneMessage, Reason};
use shared::aws::Aws;
use shared::aws::https::Unreachable;

use crate::carrier::{LATER, LATEST, Outcome};

/// By this name a report repeats the reference.
pub const REFERENCE: &str = "reference";

const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);
/// Seconds for which it may try to deliver a message, at least and at most.
const TIME_TO_LIVE: std::ops::RangeInclusive<i64> = 5..=259_200;
/// Fields of a call that say nothing of the message.
const OURS: [&str; 2] = ["ConfigurationSetName", "OriginationIdentity"];
/// Seconds until a fault of the account or of the number is asked about again.
const FAULT: u32 = 60;

pub struct EndUserMessaging {
    client: Client,
    /// Where it reports to.
    configuration_set: String,
}

impl EndUserMessaging {
    pub fn new(aws: &Aws, configuration_set: String) -> Self {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(TIMEOUT).operation_timeout(TIMEOUT).build();
        // The SDK would repeat what timed out, which may have been sent.
        let once = RetryConfig::disabled();
        let client =
            shared::client!(aws, "PINPOINT_SMS_VOICE_V2", aws_sdk_pinpointsmsvoicev2, retry_config(once), timeout_config(timeouts));
        EndUserMessaging { client, configuration_set }
    }

    pub async fn send(&self, message: &PhoneMessage, reference: &str, now: Timestamp) -> Outcome {
        let left = message.valid_until.duration_since(now).as_secs().clamp(*TIME_TO_LIVE.start(), *TIME_TO_LIVE.end());
        let sending = self.client.send_text_message().destination_phone_number(message.to.to_string()).message_body(&message.body);
        let sending = sending.set_origination_identity(message.from.as_ref().map(ToString::to_string));
        let sending = sending.configuration_set_name(&self.configuration_set).context(REFERENCE, reference);
        match sending.set_time_to_live(i32::try_from(left).ok()).send().await {
            Ok(_) => Outcome::Taken,
            Err(error) => {
                let outcome = verdict(&error);
                if outcome == Outcome::NotNow(FAULT) {
                    tracing::error!(code = error.code(), "AWS End User Messaging refuses a line or the account");
                }
                outcome
            }
        }
    }
}

/// What an error says about the message.
fn verdict(error: &SdkError<SendTextMessageError, HttpResponse>) -> Outcome {
    match error {
        SdkError::ConstructionFailure(_) => Outcome::NotNow(LATEST),
        SdkError::DispatchFailure(_) if Unreachable::is_behind(error) => Outcome::NotNow(LATER),
        SdkError::ServiceError(refused) => match (refused.raw().status().as_u16(), refused.err()) {
            // Of a second.
            (400..500, SendTextMessageError::ThrottlingException(_)) => Outcome::NotNow(1),
            // Of the month's money, or the day's messages.
            (400..500, SendTextMessageError::ServiceQuotaExceededException(_)) => Outcome::NotNow(LATEST),
            (400..500, SendTextMessageError::ConflictException(conflict)) => match conflict.reason() {
                Some(ConflictExceptionReason::DestinationPhoneNumberOptedOut) => Outcome::Never(Reason::OptedOut),
                Some(
                    ConflictExceptionReason::DestinationCountryBlockedByProtectConfiguration
                    | ConflictExceptionReason::DestinationPhoneNumberBlockedByProtectNumberOverride
                    | ConflictExceptionReason::DestinationPhoneNumberNotVerified,
                ) => Outcome::Never(Reason::Rejected),
                _ => Outcome::NotNow(FAULT),
            },
            (400..500, SendTextMessageError::ValidationException(fault)) => match fault.reason() {
                Some(
                    ValidationExceptionReason::CountryNotEnabled
                    | ValidationExceptionReason::DestinationCountryBlocked
                    | ValidationExceptionReason::InternationalSendingNotSupported
                    | ValidationExceptionReason::InvalidIdentityForDestinationCountry
                    | ValidationExceptionReason::PriceOverThreshold,
                ) => Outcome::Never(Reason::Rejected),
                Some(
                    ValidationExceptionReason::ChannelNotEnabled
                    | ValidationExceptionReason::InvalidArn
                    | ValidationExceptionReason::Other
                    | ValidationExceptionReason::ResourceNotAccessible
                    | ValidationExceptionReason::UnspecifiedParameterNotSupported,
                ) => Outcome::NotNow(FAULT),
                // What it says of the line is no fault of the message.
                _ if fault.fields().iter().any(|field| OURS.contains(&field.name())) => Outcome::NotNow(FAULT),
                _ => Outcome::Never(Reason::CarrierError),
            },
            // Its right or its number is missing: an operator must look.
            (400..500, _) => Outcome::NotNow(FAULT),
            _ => Outcome::Lost,
        },
        _ => Outcome::Lost,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_pinpointsmsvoicev2::types::ValidationExceptionField;
    use aws_sdk_pinpointsmsvoicev2::types::error::{
        AccessDeniedException, ConflictException, InternalServerException, ServiceQuotaExceededException, ThrottlingException,
        ValidationException,
    };
    use aws_smithy_runtime_api::http::StatusCode;

    use super::*;

    fn of(status: u16, error: SendTextMessageError) -> Outcome {
        let answer = HttpResponse::new(StatusCode::try_from(status).unwrap(), "".into());
        verdict(&SdkError::service_error(error, answer))
    }

    #[test]
    fn only_what_was_certainly_not_taken_is_given_again() {
        use SendTextMessageError::{
            AccessDeniedException as Denied, ConflictException as Conflict, InternalServerException as Internal,
            ServiceQuotaExceededException as Quota, ThrottlingException as TooMany, ValidationException as Invalid,
        };
        let conflict = |reason| Conflict(ConflictException::builder().set_reason(Some(reason)).message("").build());
        let invalid = |reason| Invalid(ValidationException::builder().set_reason(Some(reason)).message("").build());
        let wrong = |field: &str| {
            let field = ValidationExceptionField::builder().name(field).message("").build().unwrap();
            Invalid(
                ValidationException::builder().reason(ValidationExceptionReason::FieldValidationFailed).fields(field).message("").build(),
            )
        };
        for (status, error, outcome) in [
            (400, TooMany(ThrottlingException::builder().message("").build()), Outcome::NotNow(1)),
            (402, Quota(ServiceQuotaExceededException::builder().message("").build()), Outcome::NotNow(LATEST)),
            (409, conflict(ConflictExceptionReason::DestinationPhoneNumberOptedOut), Outcome::Never(Reason::OptedOut)),
            (409, conflict(ConflictExceptionReason::DestinationPhoneNumberNotVerified), Outcome::Never(Reason::Rejected)),
            (409, conflict(ConflictExceptionReason::ResourceNotActive), Outcome::NotNow(FAULT)),
            (400, invalid(ValidationExceptionReason::DestinationCountryBlocked), Outcome::Never(Reason::Rejected)),
            (400, invalid(ValidationExceptionReason::ResourceNotAccessible), Outcome::NotNow(FAULT)),
            (400, invalid(ValidationExceptionReason::MaximumSizeExceeded), Outcome::Never(Reason::CarrierError)),
            (400, wrong("DestinationPhoneNumber"), Outcome::Never(Reason::CarrierError)),
            (400, wrong("OriginationIdentity"), Outcome::NotNow(FAULT)),
            (403, Denied(AccessDeniedException::builder().message("").build()), Outcome::NotNow(FAULT)),
            (500, Internal(InternalServerException::builder().message("").build()), Outcome::Lost),
            // Whatever it is called: who answers so may have it.
            (503, TooMany(ThrottlingException::builder().message("").build()), Outcome::Lost),
        ] {
            let shown = format!("{status} {error:?}");
            assert_eq!(of(status, error), outcome, "{shown}");
        }
        assert_eq!(verdict(&SdkError::timeout_error("it took too long")), Outcome::Lost);
    }
}
