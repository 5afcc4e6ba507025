//! Settings of a tenant: names, the types of the known ones, which values are secret, and how they are stored and shown.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use shared::crypto::{Random, SigningKey, Vault};
use shared::id;
use shared::ids::{Segment, TenantId};
use shared::model::text::{self, MASK};
use shared::model::web;
use shared::store::{Collection, Counter, Entity, InTenant, Key, List};

id!(SettingId, time_ordered);

/// 1 to 255 of `A-Z a-z 0-9 _ . -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SettingName(String);

impl SettingName {
    pub const RULE: &'static str = "must be 1 to 255 letters, digits, underscores, dots or hyphens";

    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
        (plain && (1..=255).contains(&text.len())).then(|| SettingName(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A value is secret unless its name is known to be harmless.
    pub fn is_secret(&self) -> bool {
        !HARMLESS.contains(&self.as_str())
    }

    /// A value as it may be stored; `None` for null, which deletes. The error continues "The <name> field …" and never repeats the value.
    pub fn read(&self, value: &Value) -> Result<Option<String>, String> {
        let text = match value {
            Value::Null => return Ok(None),
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => return Err("must be a string, a number, true, false or null".into()),
        };
        if text.len() > Setting::MAX_VALUE {
            return Err("must not be larger than 8 KiB".into());
        }
        if text::has_controls(&text) {
            return Err("must not contain control characters".into());
        }
        // A mask that is sent back cannot be checked against the type.
        if self.is_secret() && begins_as_mask(&text) {
            return Ok(Some(text));
        }
        let kind = TYPED.iter().find(|(name, _)| *name == self.as_str()).map_or(SettingType::Text, |(_, kind)| *kind);
        kind.read(text).map(Some)
    }
}

impl std::fmt::Display for SettingName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Segment for SettingName {}

impl TryFrom<String> for SettingName {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        SettingName::parse(&text).ok_or("not the name of a setting")
    }
}

impl From<SettingName> for String {
    fn from(name: SettingName) -> String {
        name.0
    }
}

#[derive(Debug, Clone, Copy)]
enum SettingType {
    Text,
    Flag,
    Number,
    Url,
    /// A URL whose user name is a key. The whole URL is sealed.
    Dsn,
    OneOf(&'static [&'static str]),
}

impl SettingType {
    /// The value as it is stored.
    fn read(self, text: String) -> Result<String, String> {
        let (fits, rule) = match self {
            SettingType::Url => return Ok(web::url(&text, &["https", "http"], false)?),
            SettingType::Dsn => return Ok(web::url(&text, &["https", "http"], true)?),
            SettingType::Text => (true, String::new()),
            SettingType::Flag => (matches!(text.as_str(), "true" | "false"), "must be true or false".into()),
            SettingType::Number => (text.parse::<u64>().is_ok(), "must be a whole number".into()),
            SettingType::OneOf(words) => (words.contains(&text.as_str()), format!("must be one of {}", words.join(", "))),
        };
        if fits { Ok(text) } else { Err(rule) }
    }
}

const TYPED: &[(&str, SettingType)] = &[
    ("fileStorageProvider", SettingType::OneOf(&["LOCAL", "S3", "WASABI", "CLOUDINARY", "DIGITALOCEAN"])),
    ("aws_force_path_style", SettingType::Flag),
    ("wasabi_aws_force_path_style", SettingType::Flag),
    ("wasabi_aws_service_url", SettingType::Url),
    ("cloudinary_api_secure", SettingType::Flag),
    ("cloudinary_delivery_url", SettingType::Url),
    ("digitalocean_force_path_style", SettingType::Flag),
    ("digitalocean_service_url", SettingType::Url),
    ("digitalocean_cdn_url", SettingType::Url),
    ("posthogEnabled", SettingType::Flag),
    ("posthogHost", SettingType::Url),
    ("posthogFlushInterval", SettingType::Number),
    ("sentryEnabled", SettingType::Flag),
    ("sentryDsn", SettingType::Dsn),
    ("jitsuEnabled", SettingType::Flag),
    ("jitsuHost", SettingType::Url),
];

/// Names whose values may be stored and shown unencrypted.
const HARMLESS: &[&str] = &[
    "fileStorageProvider",
    "aws_default_region",
    "aws_bucket",
    "aws_force_path_style",
    "wasabi_aws_default_region",
    "wasabi_aws_service_url",
    "wasabi_aws_bucket",
    "wasabi_aws_force_path_style",
    "cloudinary_cloud_name",
    "cloudinary_api_secure",
    "cloudinary_delivery_url",
    "digitalocean_default_region",
    "digitalocean_service_url",
    "digitalocean_cdn_url",
    "digitalocean_bucket",
    "digitalocean_force_path_style",
    "posthogEnabled",
    "posthogHost",
    "posthogFlushInterval",
    "sentryEnabled",
    "jitsuEnabled",
    "jitsuHost",
    "preferredUi",
    "currency",
    "dateFormat",
    "date_format",
    "timeFormat",
    "timeZone",
    "timezone",
    "language",
    "locale",
    "theme",
];

/// The mask has a fixed length, so that it does not reveal the length of the secret. The last four characters tell secrets apart, unless
/// the secret is short.
fn masked(text: &str) -> String {
    let length = text.chars().count();
    let shown: String = if length < 8 { String::new() } else { text.chars().skip(length - 4).collect() };
    format!("{MASK}{shown}")
}

fn begins_as_mask(text: &str) -> bool {
    without_blanks(text).starts_with(MASK)
}

/// Text copied from a page or a terminal may have blanks at its ends or line breaks in it.
fn without_blanks(text: &str) -> String {
    let blank = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}');
    text.chars().filter(|c| !blank(*c)).collect()
}

/// `settings` / `name#<name>`: the name is the key. To find an id, the tenant's settings are searched, at most two hundred.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setting {
    pub id: SettingId,
    pub name: SettingName,
    pub value: SettingValue,
    /// The last changes, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<SettingChange>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingValue {
    Plain(String),
    Sealed(Sealed),
}

/// A secret value; see `Vault`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

/// Even the sealed value must not be logged.
impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed")
    }
}

/// Who changed a setting and when, with marks of the value before and after. Equal values have equal marks, and a mark does not reveal the
/// value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingChange {
    pub at: Timestamp,
    pub by: Author,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    pub after: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// The member's number.
    pub id: u64,
    pub name: String,
    /// The readable start of the API key that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// The vault's secret no longer contains the version that a value was sealed with.
#[derive(Debug)]
pub struct VaultKeyLost;

/// What is needed to store and read the values of one tenant.
pub struct SettingVault<'a> {
    pub tenant: TenantId,
    pub vault: &'a Vault,
    pub marking: &'a SigningKey,
    pub random: &'a Random,
}

impl SettingVault<'_> {
    fn keep(&self, name: &SettingName, text: &str) -> SettingValue {
        if name.is_secret() {
            SettingValue::Sealed(Sealed(self.vault.seal(self.tenant, &field(name), text, self.random)))
        } else {
            SettingValue::Plain(text.to_owned())
        }
    }

    /// `None` for a sealed value that does not belong to this tenant and name.
    fn open(&self, setting: &Setting) -> Option<String> {
        match &setting.value {
            SettingValue::Plain(text) => Some(text.clone()),
            SettingValue::Sealed(sealed) => self.vault.open(self.tenant, &field(&setting.name), &sealed.0),
        }
    }

    /// The setting with its secret sealed with the newest key. `None` if it already is, or is not a secret.
    pub fn resealed(&self, setting: &Setting) -> Result<Option<Setting>, VaultKeyLost> {
        match &setting.value {
            SettingValue::Sealed(sealed) if Vault::version_of(&sealed.0) != Some(self.vault.newest()) => {
                let value = self.keep(&setting.name, &self.open(setting).ok_or(VaultKeyLost)?);
                Ok(Some(Setting { value, version: setting.version + 1, ..setting.clone() }))
            }
            SettingValue::Sealed(_) | SettingValue::Plain(_) => Ok(None),
        }
    }

    fn mark(&self, name: &SettingName, text: &str) -> String {
        self.marking.sign(&format!("{} {name} {text}", self.tenant)).chars().take(12).collect()
    }

    /// The value as it is shown. `None` if it cannot be opened.
    pub fn shown(&self, setting: &Setting) -> Option<String> {
        let text = self.open(setting)?;
        Some(if setting.name.is_secret() { masked(&text) } else { text })
    }
}

/// The field name that is bound into a sealed value.
fn field(name: &SettingName) -> String {
    format!("setting {name}")
}

/// The result of a write.
#[derive(Debug)]
pub enum Write {
    Nothing,
    Create(Setting),
    Replace(Setting),
    Delete,
}

impl Setting {
    /// Bytes.
    pub const MAX_VALUE: usize = 8 * 1024;
    pub const MAX_COUNT: u64 = 200;
    pub const COUNT: Counter = Counter::named("settings");
    const CHANGES_KEPT: usize = 20;

    pub fn key_of(name: &SettingName) -> Key<Self> {
        Key::behind(&Setting::collection(), "name#", name.clone())
    }

    /// In the order of their names.
    pub fn all() -> List<Self> {
        List::new(Setting::collection(), "name#")
    }

    fn collection() -> Collection {
        Collection::of::<Setting>()
    }

    pub fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    /// The result of writing `text` over `before`; `None` deletes. A mask that is sent back, with any added blanks, leaves the secret as it
    /// is. Any other text that begins like a mask is an error, which continues "The <name> field …".
    pub fn written(
        before: Option<&Setting>,
        name: &SettingName,
        text: Option<&str>,
        by: &Author,
        (id, now): (SettingId, Timestamp),
        setting_vault: &SettingVault<'_>,
    ) -> Result<Write, &'static str> {
        let Some(text) = text else { return Ok(if before.is_some() { Write::Delete } else { Write::Nothing }) };
        let old = before.map(|before| setting_vault.open(before).ok_or("cannot be read any more: delete it first")).transpose()?;
        if old.as_deref() == Some(text) {
            return Ok(Write::Nothing);
        }
        if name.is_secret() && begins_as_mask(text) {
            let comes_back = old.as_deref().is_some_and(|old| without_blanks(&masked(old)) == without_blanks(text));
            return if comes_back { Ok(Write::Nothing) } else { Err("begins as a mask, and is not that of the current value") };
        }
        let change = SettingChange {
            at: now,
            by: by.clone(),
            before: old.as_deref().map(|old| setting_vault.mark(name, old)),
            after: setting_vault.mark(name, text),
        };
        let value = setting_vault.keep(name, text);
        Ok(match before {
            None => {
                let (name, changes) = (name.clone(), vec![change]);
                Write::Create(Setting { id, name, value, changes, created_at: now, updated_at: now, version: 1 })
            }
            Some(before) => {
                let surplus = (before.changes.len() + 1).saturating_sub(Setting::CHANGES_KEPT);
                let changes = before.changes.iter().skip(surplus).cloned().chain([change]).collect();
                Write::Replace(Setting { value, changes, updated_at: now, version: before.version + 1, ..before.clone() })
            }
        })
    }
}

impl Entity for Setting {
    type Scope = InTenant;
    const TYPE: &'static str = "setting";
    const COLLECTION: &'static str = "settings";
    const COUNTER: Option<Counter> = Some(Setting::COUNT);

    fn key(&self) -> Key<Self> {
        Setting::key_of(&self.name)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

/// Settings by name.
pub type Settings = BTreeMap<SettingName, Setting>;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use shared::crypto::RootKey;
    use shared::model::user::UserTenant;

    fn read(name: &str, value: Value) -> Result<Option<String>, String> {
        SettingName::parse(name).unwrap().read(&value)
    }

    #[test]
    fn names_hold_no_delimiter() {
        assert!(SettingName::parse("smtp.pass-word_1").is_some());
        for wrong in ["", "a#b", "a b", "ü", "a/b", &"x".repeat(256)] {
            assert!(SettingName::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn known_names_have_types() {
        assert_eq!(read("posthogEnabled", json!(true)).unwrap().as_deref(), Some("true"));
        assert_eq!(read("posthogFlushInterval", json!(5000)).unwrap().as_deref(), Some("5000"));
        assert_eq!(read("anything", json!(null)).unwrap(), None);
        for (name, wrong) in [
            ("fileStorageProvider", json!("FTP")),
            ("posthogEnabled", json!("yes")),
            ("posthogFlushInterval", json!("-1")),
            ("posthogHost", json!("ftp://example.com")),
            ("posthogHost", json!("https://user:pass@example.com")),
            ("posthogHost", json!("example.com")),
            ("sentryDsn", json!("dsn")),
            ("anything", json!([1])),
            ("anything", json!({})),
            ("anything", json!("nul\u{0}")),
            ("anything", json!("x".repeat(8193))),
        ] {
            assert!(read(name, wrong.clone()).is_err(), "{name} {wrong}");
        }
        assert!(read("sentryDsn", json!("********4321")).is_ok(), "a mask may come back");
        assert!(read("anything", json!("x".repeat(8192))).is_ok());
    }

    #[test]
    fn masks_tell_no_more_than_four_characters() {
        assert_eq!(masked("1234567"), "********");
        assert_eq!(masked("12345678"), "********5678");
        assert_eq!(masked("ünïcödé-ß€"), format!("********{}", "é-ß€"));
        assert!(begins_as_mask(&masked("12345678")) && begins_as_mask(&masked("")) && !begins_as_mask("swordfish"));
        for blanks in [" ********12", "********12\n", "****\u{200b}****", "\u{feff}********"] {
            assert!(begins_as_mask(blanks), "{blanks:?}");
        }
    }

    #[test]
    fn a_write_knows_what_it_comes_to() {
        let root = RootKey::new(&[7; 32]);
        let (marking, random) = (root.signing("fingerprints"), Random::seeded(1));
        let vault = Vault::new(BTreeMap::from([(1, RootKey::new(&[7; 32]))]));
        let tenant = json!("550e8400-e29b-41d4-a716-446655440000");
        let belongs = json!({"user": tenant, "tenant": tenant, "since": Timestamp::UNIX_EPOCH});
        let tenant = serde_json::from_value::<UserTenant>(belongs).unwrap().tenant;
        let setting_vault = SettingVault { tenant, vault: &vault, marking: &marking, random: &random };
        let (name, now) = (SettingName::parse("smtp_password").unwrap(), Timestamp::UNIX_EPOCH);
        let by = Author { id: 1, name: "Ada".into(), key: None };
        let write = |before: Option<&Setting>, text: Option<&str>| {
            Setting::written(before, &name, text, &by, (SettingId::new(now, &random), now), &setting_vault)
        };
        assert!(matches!(write(None, None), Ok(Write::Nothing)));
        assert!(write(None, Some("********")).is_err());
        let Ok(Write::Create(mut setting)) = write(None, Some("swordfish")) else { panic!() };
        assert!(!serde_json::to_string(&setting).unwrap().contains("swordfish"));
        assert_eq!(setting_vault.shown(&setting).as_deref(), Some("********fish"));
        assert!(matches!(write(Some(&setting), Some("********fish")), Ok(Write::Nothing)));
        for blanks in ["********fish\n", " ********fish", "********\u{a0}fish", "********fi\r\nsh", "\u{feff}********fish\t"] {
            assert!(matches!(write(Some(&setting), Some(blanks)), Ok(Write::Nothing)), "{blanks:?}");
        }
        for wrong in ["********bird", "********", "********fish!", "*********fish", "********swordfish"] {
            assert!(write(Some(&setting), Some(wrong)).is_err(), "{wrong:?}");
        }
        assert!(matches!(write(Some(&setting), Some("swordfish")), Ok(Write::Nothing)));
        assert!(matches!(write(Some(&setting), None), Ok(Write::Delete)));
        for turn in 0..30 {
            let Ok(Write::Replace(next)) = write(Some(&setting), Some(&format!("value {turn}"))) else { panic!() };
            assert_eq!(next.changes.last().unwrap().before, Some(setting.changes.last().unwrap().after.clone()));
            setting = next;
        }
        assert_eq!((setting.changes.len(), setting.version), (Setting::CHANGES_KEPT, 31));
        // With another root key it opens only after it was sealed again.
        assert!(matches!(setting_vault.resealed(&setting), Ok(None)));
        let both = Vault::new(BTreeMap::from([(1, RootKey::new(&[7; 32])), (2, RootKey::new(&[8; 32]))]));
        let newest = Vault::new(BTreeMap::from([(2, RootKey::new(&[8; 32]))]));
        let with = |vault| SettingVault { tenant, vault, marking: &marking, random: &random };
        assert_eq!(with(&newest).shown(&setting), None);
        let Ok(Some(resealed)) = with(&both).resealed(&setting) else { panic!() };
        assert_eq!(with(&newest).shown(&resealed), setting_vault.shown(&setting));
    }
}
