//! How the tenant sends messages: read and change. What was never changed is answered as it is without that.

use records::messaging_settings::{MessagingChanges, MessagingSettings};
use records::quiet_hours::{QuietHours, QuietMode, QuietRules};
use serde::Serialize;
use shared::http::answer::{Answer, Tagged};
use shared::http::arguments::{Body, IfMatch};
use shared::http::form::{Fields, Flag, Form, Integer, Timezone, clock};
use shared::http::{Argument, Operation};
use shared::model::line::Channel;
use shared::model::time::{Printed, zulu};
use shared::tenancy::doors::{Admin, Viewer};
use shared::tenancy::{Entered, Incoming, Wants};
use shared::{Error, Result};

use crate::rules::{CLOCK, Channels, QUIET_MODE, QUIET_RULES};

/// How the tenant sends messages.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MessagingSettings)]
pub struct SettingsView {
    /// Whose clocks count for a number of which neither the contact's zone nor that of the area code is known.
    timezone: String,
    quiet_hours: QuietHoursView,
    /// Marketing goes only to those whose consent is kept.
    require_marketing_consent: bool,
    /// What a message to `auto` tries, in this order.
    fallback: Vec<Channel>,
    /// One-time passwords to one number.
    otp_per_hour: u64,
    /// Every event is kept for 30 days, to be read at `/v1/events`. `false`: only what a webhook takes.
    keep_events: bool,
    /// 0: nothing was changed yet.
    version: u64,
    updated_at: Printed,
}

/// When marketing does not go to somebody, by their own clocks: from `start` over midnight until `end`.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = QuietHours)]
pub struct QuietHoursView {
    mode: QuietMode,
    #[schema(example = "20:00")]
    start: String,
    #[schema(example = "08:00")]
    end: String,
    rules: QuietRules,
}

pub struct Changes(MessagingChanges);

#[derive(Default)]
struct QuietChanges {
    mode: Option<QuietMode>,
    start: Option<u16>,
    end: Option<u16>,
    rules: Option<QuietRules>,
}

/// The tenant's settings, read with the door; `None` where nothing was changed yet.
pub struct FoundSettings(pub Option<MessagingSettings>);

pub async fn show(door: Viewer, found: FoundSettings) -> Result<Tagged<SettingsView>> {
    Ok(answer(&found.0.unwrap_or_else(|| MessagingSettings::unset(door.tenant.created_at))))
}

pub async fn update(door: Admin, found: FoundSettings, expected: IfMatch, changes: Body<Changes>) -> Result<Tagged<SettingsView>> {
    let change = |settings: &MessagingSettings| {
        expected.check(&settings.etag())?;
        settings.changed(&changes.0.0, door.now())
    };
    let current = match found.0 {
        Some(settings) => settings,
        None => {
            let unset = MessagingSettings::unset(door.tenant.created_at);
            let Some(first) = change(&unset)? else { return Ok(answer(&unset)) };
            match door.store.create(&first, Error::contested).await {
                Ok(()) => return Ok(answer(&first)),
                // Somebody else was quicker: theirs is changed.
                Err(Error::Conflict(_)) => door.store.get(&MessagingSettings::key_of()).await?,
                Err(error) => return Err(error),
            }
        }
    };
    let edited = door.store.edit(current, |settings, transaction| Ok(change(settings)?.map(|changed| (changed, transaction))));
    Ok(answer(&edited.await?))
}

fn answer(settings: &MessagingSettings) -> Tagged<SettingsView> {
    Answer::new("Success", SettingsView::of(settings)).tagged(settings.etag())
}

impl SettingsView {
    fn of(settings: &MessagingSettings) -> Self {
        let hours = settings.quiet_hours;
        SettingsView {
            timezone: settings.timezone.clone(),
            quiet_hours: QuietHoursView {
                mode: settings.quiet_mode,
                start: clock(hours.start()),
                end: clock(hours.end()),
                rules: hours.rules(),
            },
            require_marketing_consent: settings.require_marketing_consent,
            fallback: settings.fallback.channels().to_vec(),
            otp_per_hour: settings.otp_per_hour,
            keep_events: settings.keep_events,
            version: settings.version,
            updated_at: zulu(settings.updated_at),
        }
    }
}

impl Argument for FoundSettings {
    fn wants(_incoming: &Incoming, wants: &mut Wants) {
        wants.record(&MessagingSettings::key_of());
    }

    async fn take(_incoming: &Incoming, entered: &Entered) -> Result<Self> {
        entered.find(&MessagingSettings::key_of()).await.map(FoundSettings)
    }

    fn describe(_operation: &mut Operation) {}
}

impl Form for Changes {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let timezone = fields.change("timezone", Timezone);
        let QuietChanges { mode, start, end, rules } = fields.nested("quiet_hours").unwrap_or_default();
        let require_marketing_consent = fields.change("require_marketing_consent", Flag);
        let fallback = fields.change("fallback", Channels);
        let otp_per_hour = fields.change("otp_per_hour", Integer { min: 1, max: MessagingSettings::MOST_OTP_PER_HOUR });
        let keep_events = fields.change("keep_events", Flag);
        Some(Changes(MessagingChanges {
            timezone,
            quiet_mode: mode,
            quiet_start: start,
            quiet_end: end,
            quiet_rules: rules,
            require_marketing_consent,
            fallback,
            otp_per_hour: otp_per_hour.and_then(|most| u64::try_from(most).ok()),
            keep_events,
        }))
    }
}

impl Form for QuietChanges {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let mode = fields.change("mode", QUIET_MODE);
        let start = fields.change("start", CLOCK);
        let end = fields.change("end", CLOCK);
        QuietHours::shrunk(start, end).iter().for_each(|(field, problem)| fields.refuse(field, problem));
        let rules = fields.change("rules", QUIET_RULES);
        Some(QuietChanges { mode, start, end, rules })
    }
}
