//! Whether a message may go to a phone now, as the number stands and as its tenant has set it. Asked when a message is accepted, and again before each call.

use jiff::Timestamp;

use crate::consent::ConsentType;
use crate::message_template::MessageType;
use crate::messaging_settings::MessagingSettings;
use crate::peer::Peer;
use crate::phone_message::{PhoneMessage, Reason};
use crate::quiet_hours::{QuietMode, quiet_until, zones};

/// What is known of a number.
#[derive(Clone, Copy)]
pub struct Recipient<'a> {
    pub peer: Option<&'a Peer>,
    /// The zone of its contact.
    pub timezone: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    May,
    Blocked(Reason),
    /// It may go at that moment.
    Waits(Reason, Timestamp),
}

/// One-time passwords and alerts go to whoever has not opted out. Marketing goes neither to those who seem to have said no, nor without the consent that its
/// tenant asks for, nor at night. A confirmation goes always.
pub fn verdict(message: &PhoneMessage, recipient: Recipient<'_>, settings: &MessagingSettings, now: Timestamp) -> Verdict {
    let peer = recipient.peer;
    if message.is_confirmation {
        return Verdict::May;
    }
    if peer.is_some_and(Peer::is_opted_out) {
        return Verdict::Blocked(Reason::OptedOut);
    }
    if message.message_type != MessageType::Marketing {
        return Verdict::May;
    }
    if peer.is_some_and(|peer| peer.suspected.is_some()) {
        return Verdict::Blocked(Reason::OptOutSuspected);
    }
    let has_consent = peer.is_some_and(|peer| peer.consents.effective() == Some(ConsentType::ExpressWritten));
    if settings.require_marketing_consent && !has_consent {
        return Verdict::Blocked(Reason::NoConsent);
    }
    let clocks = zones(&message.to, recipient.timezone, &settings.timezone);
    match quiet_until(now, &clocks, settings.quiet_hours) {
        None => Verdict::May,
        Some(_) if message.quiet_mode.unwrap_or(settings.quiet_mode) == QuietMode::Block => Verdict::Blocked(Reason::QuietHours),
        Some(until) => Verdict::Waits(Reason::QuietHours, until),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use shared::crypto::Random;
    use shared::model::phone_number::PhoneNumber;

    use super::*;
    use crate::opt_out::{OptOutSource, Suspicion};
    use crate::peer::OptedOut;
    use crate::phone_message::{NewMessage, PhoneMessageId, RequestedChannel};

    const DAY: &str = "2026-11-21T18:00:00Z";
    const NIGHT: &str = "2026-11-21T07:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// To New York.
    fn message(message_type: MessageType) -> PhoneMessage {
        let new = NewMessage {
            to: PhoneNumber::parse("+12125550123").unwrap(),
            body: "Hello".into(),
            template: None,
            message_type,
            requested_channel: RequestedChannel::Auto,
            from_number: None,
            scheduled_at: None,
            valid_for: None,
            quiet_mode: None,
            metadata: BTreeMap::new(),
        };
        PhoneMessage::outbound(PhoneMessageId::new(at(DAY), &Random::seeded(1)), new, &[], at(DAY))
    }

    #[test]
    fn marketing_is_held_to_more_than_the_rest() {
        let settings = MessagingSettings::unset(at(DAY));
        let known = Peer::new(message(MessageType::Otp).to, &Random::seeded(1));
        let opted_out = Peer { opted_out: Some(OptedOut { since: at(DAY), source: OptOutSource::Api, keyword: None }), ..known.clone() };
        let suspected = Peer { suspected: Some(Suspicion { since: at(DAY), phrase: "please stop".into() }), ..known.clone() };
        let asking = MessagingSettings { require_marketing_consent: true, ..settings.clone() };
        let deferring = MessagingSettings { quiet_mode: QuietMode::Defer, ..settings.clone() };
        let (otp, marketing) = (MessageType::Otp, MessageType::Marketing);
        for (message_type, peer, settings, now, expected) in [
            (otp, None, &settings, NIGHT, Verdict::May),
            (otp, Some(&suspected), &asking, NIGHT, Verdict::May),
            (otp, Some(&opted_out), &settings, DAY, Verdict::Blocked(Reason::OptedOut)),
            (marketing, None, &settings, DAY, Verdict::May),
            (marketing, Some(&suspected), &settings, DAY, Verdict::Blocked(Reason::OptOutSuspected)),
            (marketing, Some(&known), &asking, DAY, Verdict::Blocked(Reason::NoConsent)),
            (marketing, None, &settings, NIGHT, Verdict::Blocked(Reason::QuietHours)),
            (marketing, None, &deferring, NIGHT, Verdict::Waits(Reason::QuietHours, at("2026-11-21T13:00:00Z"))),
        ] {
            let recipient = Recipient { peer, timezone: None };
            assert_eq!(verdict(&message(message_type), recipient, settings, at(now)), expected, "{message_type:?} {now}");
        }
        let own = PhoneMessage { quiet_mode: Some(QuietMode::Block), ..message(marketing) };
        let recipient = Recipient { peer: None, timezone: None };
        assert_eq!(verdict(&own, recipient, &deferring, at(NIGHT)), Verdict::Blocked(Reason::QuietHours));
        // Noon in Zurich.
        let recipient = Recipient { peer: None, timezone: Some("Europe/Zurich") };
        assert_eq!(verdict(&own, recipient, &settings, at("2026-11-21T11:00:00Z")), Verdict::May);
        let confirmation = PhoneMessage { is_confirmation: true, ..message(marketing) };
        assert_eq!(verdict(&confirmation, Recipient { peer: Some(&opted_out), timezone: None }, &asking, at(NIGHT)), Verdict::May);
    }
}
