//! How a tenant sends messages: the zone of numbers that nothing else is known of, quiet hours, consent, and by what a message may go.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shared::model::line::Channel;
use shared::store::{Collection, Entity, InTenant, Key, Restore, restored};
use shared::{Error, Result};

use crate::quiet_hours::{QuietHours, QuietMode, QuietRules};

/// `messaging-settings` / `one`: one for each tenant, from the first change on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessagingSettings {
    /// An IANA zone.
    pub timezone: String,
    pub quiet_mode: QuietMode,
    pub quiet_hours: QuietHours,
    /// Marketing goes only to those whose consent is kept.
    pub require_marketing_consent: bool,
    pub fallback: Fallback,
    /// One-time passwords to one number.
    #[serde(default = "otp_per_hour")]
    pub otp_per_hour: u64,
    /// Events are kept for those who ask for them, also those that no webhook takes.
    #[serde(default = "kept")]
    pub keep_events: bool,
    pub updated_at: Timestamp,
    /// Counts edits.
    pub version: u64,
}

/// The channels that a message to `auto` tries, in their order: at least one, each once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Channel>", into = "Vec<Channel>")]
pub struct Fallback(Vec<Channel>);

/// What an edit changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct MessagingChanges {
    pub timezone: Option<String>,
    pub quiet_mode: Option<QuietMode>,
    /// A minute of the day.
    pub quiet_start: Option<u16>,
    /// A minute of the day.
    pub quiet_end: Option<u16>,
    pub quiet_rules: Option<QuietRules>,
    pub require_marketing_consent: Option<bool>,
    pub fallback: Option<Fallback>,
    pub otp_per_hour: Option<u64>,
    pub keep_events: Option<bool>,
}

/// Where nothing is set: nobody mistypes more often, and whoever makes a page send codes to a number that earns them money gets little.
fn otp_per_hour() -> u64 {
    5
}

/// Unless told otherwise.
fn kept() -> bool {
    true
}

impl Fallback {
    /// All that there are.
    pub const MOST: usize = Channel::WORDS.len();

    /// `None`: there is none, or one is twice.
    pub fn new(channels: Vec<Channel>) -> Option<Self> {
        let is_twice = |at: usize| channels[..at].contains(&channels[at]);
        (!channels.is_empty() && !(0..channels.len()).any(is_twice)).then_some(Fallback(channels))
    }

    pub fn channels(&self) -> &[Channel] {
        &self.0
    }
}

impl TryFrom<Vec<Channel>> for Fallback {
    type Error = &'static str;

    fn try_from(channels: Vec<Channel>) -> Result<Self, &'static str> {
        Fallback::new(channels).ok_or("no channels, or one twice")
    }
}

impl From<Fallback> for Vec<Channel> {
    fn from(fallback: Fallback) -> Vec<Channel> {
        fallback.0
    }
}

impl MessagingSettings {
    pub const MOST_OTP_PER_HOUR: i64 = 100;

    /// Those of a tenant that has changed none, since then. They are not stored: the first change makes them version 1.
    pub fn unset(since: Timestamp) -> Self {
        MessagingSettings {
            timezone: "UTC".into(),
            quiet_mode: QuietMode::Block,
            quiet_hours: QuietHours::DEFAULT,
            require_marketing_consent: false,
            fallback: Fallback(vec![Channel::Imessage, Channel::Rcs, Channel::Sms]),
            otp_per_hour: otp_per_hour(),
            keep_events: kept(),
            updated_at: since,
            version: 0,
        }
    }

    pub fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    /// `None`: it is so already.
    pub fn changed(&self, changes: &MessagingChanges, now: Timestamp) -> Result<Option<Self>> {
        let MessagingChanges {
            timezone,
            quiet_mode,
            quiet_start,
            quiet_end,
            quiet_rules,
            require_marketing_consent,
            fallback,
            otp_per_hour,
            keep_events,
        } = changes.clone();
        let hours = self.quiet_hours;
        let (start, end) = (quiet_start.unwrap_or(hours.start()), quiet_end.unwrap_or(hours.end()));
        let changed = MessagingSettings {
            timezone: timezone.unwrap_or_else(|| self.timezone.clone()),
            quiet_mode: quiet_mode.unwrap_or(self.quiet_mode),
            quiet_hours: QuietHours::new(start, end, quiet_rules.unwrap_or(hours.rules())).map_err(invalid)?,
            require_marketing_consent: require_marketing_consent.unwrap_or(self.require_marketing_consent),
            fallback: fallback.unwrap_or_else(|| self.fallback.clone()),
            otp_per_hour: otp_per_hour.unwrap_or(self.otp_per_hour),
            keep_events: keep_events.unwrap_or(self.keep_events),
            ..self.clone()
        };
        Ok((changed != *self).then(|| MessagingSettings { updated_at: now, version: self.version + 1, ..changed }))
    }

    pub fn key_of() -> Key<Self> {
        Key::new(&Collection::of::<MessagingSettings>(), "one")
    }
}

fn invalid(problems: BTreeMap<&'static str, String>) -> Error {
    let told = |(field, problem): (&str, String)| (format!("quiet_hours.{field}"), vec![format!("The {field} field {problem}.")]);
    Error::Validation(problems.into_iter().map(told).collect())
}

impl Entity for MessagingSettings {
    type Scope = InTenant;
    const TYPE: &'static str = "messaging_settings";
    const COLLECTION: &'static str = "messaging-settings";
    const RESTORE: Option<Restore> = Some(restored::<MessagingSettings>);

    fn key(&self) -> Key<Self> {
        MessagingSettings::key_of()
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn changed(changes: MessagingChanges) -> Result<Option<MessagingSettings>> {
        MessagingSettings::unset(NOW).changed(&changes, NOW + SignedDuration::from_secs(1))
    }

    #[test]
    fn an_edit_changes_what_it_names_and_an_edit_of_nothing_is_none() {
        let unset = MessagingSettings::unset(NOW);
        assert_eq!((unset.version, changed(MessagingChanges::default()).unwrap()), (0, None));
        let same = MessagingChanges {
            timezone: Some("UTC".into()),
            quiet_mode: Some(QuietMode::Block),
            quiet_start: Some(1200),
            quiet_end: Some(480),
            quiet_rules: Some(QuietRules::Default),
            require_marketing_consent: Some(false),
            fallback: Some(unset.fallback.clone()),
            otp_per_hour: Some(5),
            keep_events: Some(true),
        };
        assert_eq!(changed(same).unwrap(), None);
        let later = changed(MessagingChanges { quiet_end: Some(540), ..Default::default() }).unwrap().unwrap();
        assert_eq!((later.version, later.updated_at, later.etag().as_str()), (1, NOW + SignedDuration::from_secs(1), "\"1\""));
        assert_eq!((later.quiet_hours.start(), later.quiet_hours.end(), later.timezone.as_str()), (1200, 540, "UTC"));
        let strict = MessagingChanges { quiet_rules: Some(QuietRules::Strict), ..Default::default() };
        let strict = later.changed(&strict, NOW).unwrap().unwrap();
        assert_eq!((strict.quiet_hours.end(), strict.quiet_hours.rules(), strict.version), (540, QuietRules::Strict, 2));
    }

    #[test]
    fn hours_are_judged_with_those_that_stay() {
        let fields = |changes| match changed(changes) {
            Err(Error::Validation(errors)) => {
                errors.into_iter().map(|(field, problems)| format!("{field}: {}", problems.concat())).collect()
            }
            _ => vec![],
        };
        let hours = |start, end| MessagingChanges { quiet_start: start, quiet_end: end, ..Default::default() };
        assert_eq!(
            fields(hours(Some(1201), Some(479))),
            [
                "quiet_hours.end: The end field must not be earlier than 08:00.",
                "quiet_hours.start: The start field must not be later than 20:00."
            ]
        );
        let late = changed(hours(None, Some(900))).unwrap().unwrap();
        assert!(late.changed(&hours(Some(1140), None), NOW).unwrap().is_some());
        assert!(matches!(late.changed(&hours(Some(1139), None), NOW), Err(Error::Validation(_))));
    }

    #[test]
    fn a_fallback_has_channels_and_each_once() {
        let [imessage, rcs, sms] = [Channel::Imessage, Channel::Rcs, Channel::Sms];
        for right in [vec![sms], vec![sms, imessage], vec![imessage, rcs, sms]] {
            assert_eq!(Fallback::new(right.clone()).unwrap().channels(), right);
        }
        for wrong in [vec![], vec![sms, sms], vec![sms, rcs, sms]] {
            assert_eq!(Fallback::new(wrong), None);
        }
        for word in Channel::WORDS {
            assert_eq!(serde_json::to_value(Channel::parse(word)).unwrap(), *word);
        }
    }

    #[test]
    fn what_is_stored_is_read_as_strictly_as_what_is_sent() {
        let stored = serde_json::to_value(MessagingSettings::unset(NOW)).unwrap();
        assert_eq!(serde_json::from_value::<MessagingSettings>(stored.clone()).unwrap(), MessagingSettings::unset(NOW));
        let mut earlier = stored.clone();
        for added in ["keep_events", "otp_per_hour"] {
            earlier.as_object_mut().unwrap().remove(added);
        }
        let earlier = serde_json::from_value::<MessagingSettings>(earlier).unwrap();
        assert_eq!((earlier.keep_events, earlier.otp_per_hour), (true, 5), "stored before there was a choice");
        let shrunk = serde_json::json!({"start": 1260, "end": 480, "rules": "default"});
        for (field, wrong) in
            [("quiet_hours", shrunk), ("fallback", serde_json::json!(["sms", "sms"])), ("fallback", serde_json::json!([]))]
        {
            let mut stored = stored.clone();
            stored[field] = wrong;
            assert!(serde_json::from_value::<MessagingSettings>(stored).is_err(), "{field}");
        }
    }
}
