//! How a campaign sends: from whom, how fast, what it watches, and when it stops by itself.

use serde::{Deserialize, Serialize};

use crate::schedule::Window;
use shared::model::user::Email;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignSettings {
    /// `None`: the workspace's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_name: Option<String>,
    /// `None`: the workspace's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_email: Option<Email>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Email>,
    /// First mails and later ones, in a day of `timezone`. `None`: as many as the carrier takes.
    pub daily_limit: Option<u32>,
    /// `None`: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// As IANA spells it.
    pub timezone: String,
    pub track_opens: bool,
    pub track_clicks: bool,
    pub unsubscribe_enabled: bool,
    pub pause_on_reply: bool,
    pub ooo_delay_days: u32,
    /// Canonical names, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_variables: Vec<String>,
    pub brake: Brake,
}

/// The shares of bounces and complaints at which a campaign pauses itself, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brake {
    pub bounce: u32,
    pub complaint: u32,
}

/// What an edit changes; `None` leaves a setting as it is.
#[derive(Debug, Clone, Default)]
pub struct SettingsChanges {
    pub from_name: Option<Option<String>>,
    pub from_email: Option<Option<Email>>,
    pub reply_to: Option<Option<Email>>,
    pub daily_limit: Option<Option<u32>>,
    pub window: Option<Option<Window>>,
    /// Cleared, it is the workspace's.
    pub timezone: Option<Option<String>>,
    pub track_opens: Option<bool>,
    pub track_clicks: Option<bool>,
    pub unsubscribe_enabled: Option<bool>,
    pub pause_on_reply: Option<bool>,
    pub ooo_delay_days: Option<u32>,
    pub required_variables: Option<Vec<String>>,
    pub bounce: Option<u32>,
    pub complaint: Option<u32>,
}

impl CampaignSettings {
    pub const FROM_NAME: usize = 100;
    pub const MOST_A_DAY: u32 = 1_000_000;
    pub const MOST_DELAY: u32 = 30;
    pub const MOST_REQUIRED: usize = 20;

    /// Those of a new campaign in a workspace of that zone.
    pub fn new(timezone: &str) -> Self {
        CampaignSettings {
            from_name: None,
            from_email: None,
            reply_to: None,
            daily_limit: Some(50),
            window: None,
            timezone: timezone.to_owned(),
            track_opens: true,
            track_clicks: true,
            unsubscribe_enabled: true,
            pause_on_reply: true,
            ooo_delay_days: 3,
            required_variables: vec![],
            brake: Brake { bounce: 500, complaint: 30 },
        }
    }

    /// After an edit, in a workspace of that zone.
    pub fn with(&self, changes: &SettingsChanges, timezone: &str) -> Self {
        let (now, new) = (self.clone(), changes.clone());
        CampaignSettings {
            from_name: new.from_name.unwrap_or(now.from_name),
            from_email: new.from_email.unwrap_or(now.from_email),
            reply_to: new.reply_to.unwrap_or(now.reply_to),
            daily_limit: new.daily_limit.unwrap_or(now.daily_limit),
            window: new.window.unwrap_or(now.window),
            timezone: new.timezone.map_or(now.timezone, |zone| zone.unwrap_or_else(|| timezone.to_owned())),
            track_opens: new.track_opens.unwrap_or(now.track_opens),
            track_clicks: new.track_clicks.unwrap_or(now.track_clicks),
            unsubscribe_enabled: new.unsubscribe_enabled.unwrap_or(now.unsubscribe_enabled),
            pause_on_reply: new.pause_on_reply.unwrap_or(now.pause_on_reply),
            ooo_delay_days: new.ooo_delay_days.unwrap_or(now.ooo_delay_days),
            required_variables: new.required_variables.unwrap_or(now.required_variables),
            brake: Brake { bounce: new.bounce.unwrap_or(now.brake.bounce), complaint: new.complaint.unwrap_or(now.brake.complaint) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_changes_what_it_names() {
        let new = CampaignSettings::new("Europe/Berlin");
        assert_eq!(new.with(&SettingsChanges::default(), "UTC"), new);
        let changes = SettingsChanges {
            daily_limit: Some(None),
            timezone: Some(Some("Asia/Tokyo".into())),
            complaint: Some(10),
            ..SettingsChanges::default()
        };
        let changed = new.with(&changes, "UTC");
        let expected =
            CampaignSettings { daily_limit: None, timezone: "Asia/Tokyo".into(), brake: Brake { bounce: 500, complaint: 10 }, ..new };
        assert_eq!(changed, expected);
        let cleared = changed.with(&SettingsChanges { timezone: Some(None), ..SettingsChanges::default() }, "UTC");
        assert_eq!(cleared.timezone, "UTC");
        let stored: CampaignSettings = serde_json::from_value(serde_json::to_value(&changed).unwrap()).unwrap();
        assert_eq!(stored, changed);
    }
}
