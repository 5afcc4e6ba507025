//! Settings of the tenant (F3): a flat map, rows, writing one or many, and the history.

use std::collections::BTreeMap;

use records::setting::{Author, Setting, SettingId, SettingName, SettingVault, Settings, Write};
use serde::Serialize;
use serde_json::{Value, json};
use shared::http::answer::{Answer, Created, Tagged};
use shared::http::arguments::{WholeList, path_id};
use shared::http::form::{Fields, Form, Raw, Rule};
use shared::http::idempotency::Once;
use shared::http::{Argument, Operation};
use shared::ids::PathId;
use shared::model::time::{Printed, zulu};
use shared::store::{Direction, Window};
use shared::tenancy::doors::Owner;
use shared::tenancy::{Entered, Incoming, TenantId, TenantStore, Transaction, Wants, conflict};
use shared::{Error, Result};

/// Together with the counter and the recorded answer, within the limit of one transaction.
const CHANGES_AT_ONCE: usize = 90;
const ATTEMPTS: usize = 20;

/// Name to value; secrets are masked.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(as = SettingMap)]
pub struct MapView(BTreeMap<String, String>);

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Setting)]
pub struct SettingView {
    /// Null for a setting that is not there (any more).
    id: Option<SettingId>,
    name: String,
    /// Masked where the name is not known to be harmless.
    value: Option<String>,
    tenant_id: TenantId,
    created_at: Option<Printed>,
    updated_at: Option<Printed>,
}

/// The row, where one was written by name and value; else the whole map.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[schema(as = WrittenSettings)]
pub enum WrittenView {
    Row(SettingView),
    Map(MapView),
}

/// Newest first.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(as = SettingHistory)]
pub struct HistoryView(Vec<ChangeView>);

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SettingChange)]
pub struct ChangeView {
    changed_at: Printed,
    changed_by: AuthorView,
    /// Equal values have equal hashes; a hash tells no value.
    before_hash: Option<String>,
    after_hash: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SettingAuthor)]
pub struct AuthorView {
    id: u64,
    name: String,
    /// The start of the API key, where one was used.
    key: Option<String>,
}

/// `{name, value}`, or any number of names with their values. Null deletes.
pub enum Written {
    One(SettingName, Option<String>),
    Many(BTreeMap<SettingName, Option<String>>),
}

/// The changes of a request, given the present settings.
struct Changes {
    writes: Vec<(SettingName, Write)>,
    after: Settings,
}

pub async fn list(door: Owner) -> Result<Answer<MapView>> {
    let all = all(&door.store).await?;
    Ok(Answer::bare(MapView::of(&all, &setting_vault(&door)?)?))
}

pub async fn show(door: Owner, setting: FoundSetting) -> Result<Tagged<SettingView>> {
    let view = SettingView::of(&setting.0, &setting_vault(&door)?)?;
    Ok(Answer::bare(view).tagged(setting.0.etag()))
}

/// Old changes are dropped, so positions shift. A cursor therefore contains the moment of the change.
pub async fn history(door: Owner, setting: FoundSetting, asked: WholeList) -> Result<Answer<HistoryView>> {
    let changes = setting.0.changes;
    let mut window = Window::new(asked.page.span(), Direction::Descending)?;
    for (index, change) in changes.iter().enumerate() {
        window.add(change.at, format!("{index:02}"));
    }
    let (places, next, _) = window.finish();
    let next = asked.page.cursor(&door.app, next.as_ref())?;
    let newest_first = places.iter().filter_map(|place| changes.get(place.parse::<usize>().ok()?).cloned());
    let view = HistoryView(
        newest_first
            .map(|change| ChangeView {
                changed_at: zulu(change.at),
                changed_by: AuthorView { id: change.by.id, name: change.by.name, key: change.by.key },
                before_hash: change.before,
                after_hash: change.after,
            })
            .collect(),
    );
    Ok(Answer::bare(view).with_next(next))
}

/// Writes everything or nothing. Parallel writes follow one another: the last one wins, and each is in the history.
pub async fn write(door: Owner, named: NamedSetting, once: Once<Written>) -> Result<Created<WrittenView>> {
    let setting_vault = setting_vault(&door)?;
    let mut before = match &once.body {
        Written::One(..) => by_name(named.0),
        Written::Many(_) => all(&door.store).await?,
    };
    for _ in 0..ATTEMPTS {
        let changes = Changes::of(&before, &once.body, &door, &setting_vault)?;
        let answer = Created::bare(changes.view(&once.body, &door, &setting_vault)?);
        let transaction = once.ticket.record(door.store.transaction(), &door.store, &answer)?;
        let transaction = changes.add(transaction, &before, &door)?;
        if transaction.is_empty() {
            return Ok(answer);
        }
        match transaction.commit().await {
            // Somebody else changed one of them first.
            Err(Error::Conflict(_) | Error::NotFound) => {}
            written => return written.map(|()| answer),
        }
        before = match &once.body {
            Written::One(name, _) => by_name(door.store.find(&Setting::key_of(name)).await?),
            Written::Many(_) => all(&door.store).await?,
        };
    }
    Err(Error::Conflict("The settings are being changed by others. Try again.".into()))
}

impl Changes {
    fn of(before: &Settings, body: &Written, door: &Owner, setting_vault: &SettingVault<'_>) -> Result<Self> {
        let by = Author { id: door.member.number, name: door.member.name.clone(), key: door.key.as_ref().map(|key| key.prefix()) };
        let mut changes = Changes { writes: vec![], after: before.clone() };
        let mut refused = shared::error::FieldErrors::new();
        for (name, text) in body.each() {
            let made = (SettingId::new(door.now(), door.app.random()), door.now());
            match Setting::written(before.get(name), name, text.map(String::as_str), &by, made, setting_vault) {
                Ok(Write::Nothing) => continue,
                Ok(write) => {
                    match &write {
                        Write::Create(setting) | Write::Replace(setting) => changes.after.insert(name.clone(), setting.clone()),
                        Write::Delete | Write::Nothing => changes.after.remove(name),
                    };
                    changes.writes.push((name.clone(), write));
                }
                Err(problem) => {
                    let field = if matches!(body, Written::One(..)) { "value" } else { name.as_str() };
                    refused.insert(field.to_owned(), vec![format!("The {field} field {problem}.")]);
                }
            }
        }
        if !refused.is_empty() {
            return Err(Error::Validation(refused));
        }
        // A deletion takes two writes, because it adds a removal for the audit log.
        let writes: usize = changes.writes.iter().map(|(_, write)| if matches!(write, Write::Delete) { 2 } else { 1 }).sum();
        if writes > CHANGES_AT_ONCE {
            let message = format!("At most {CHANGES_AT_ONCE} settings can change in one request; a deletion counts twice.");
            return Err(Error::BadRequest(message.into()));
        }
        Ok(changes)
    }

    fn add<'a>(&self, transaction: Transaction<'a>, before: &Settings, door: &Owner) -> Result<Transaction<'a>> {
        let (mut transaction, mut more, mut fewer) = (transaction, 0, 0);
        for (name, write) in &self.writes {
            transaction = match (write, before.get(name)) {
                (Write::Create(setting), _) => {
                    more += 1;
                    transaction.create(&door.store, setting, conflict("Try again."))?
                }
                (Write::Replace(setting), Some(before)) => transaction.replace(&door.store, setting, before)?,
                (Write::Delete, Some(before)) => {
                    fewer += 1;
                    door.store.delete_audited(transaction, before)?
                }
                _ => transaction,
            };
        }
        if more > fewer {
            let plan = &door.tenant.plan;
            return transaction.count_many_within(&door.store, Setting::COUNT, more - fewer, "settings", Setting::MAX_COUNT, plan);
        }
        if more == fewer { Ok(transaction) } else { transaction.count(&door.store, Setting::COUNT, more as i64 - fewer as i64) }
    }

    fn view(&self, body: &Written, door: &Owner, setting_vault: &SettingVault<'_>) -> Result<WrittenView> {
        Ok(match body {
            Written::Many(_) => WrittenView::Map(MapView::of(&self.after, setting_vault)?),
            Written::One(name, _) => WrittenView::Row(match self.after.get(name) {
                Some(setting) => SettingView::of(setting, setting_vault)?,
                None => SettingView {
                    id: None,
                    name: name.to_string(),
                    value: None,
                    tenant_id: door.tenant.id,
                    created_at: None,
                    updated_at: None,
                },
            }),
        })
    }
}

impl Written {
    fn each(&self) -> Vec<(&SettingName, Option<&String>)> {
        match self {
            Written::One(name, text) => vec![(name, text.as_ref())],
            Written::Many(many) => many.iter().map(|(name, text)| (name, text.as_ref())).collect(),
        }
    }
}

fn setting_vault(door: &Owner) -> Result<SettingVault<'_>> {
    let keys = door.app.keys();
    Ok(SettingVault { tenant: door.tenant.id, vault: keys.vault()?, marking: keys.fingerprints()?, random: door.app.random() })
}

async fn all(store: &TenantStore) -> Result<Settings> {
    store.all(&Setting::all()).await.map(by_name)
}

fn by_name(settings: impl IntoIterator<Item = Setting>) -> Settings {
    settings.into_iter().map(|setting| (setting.name.clone(), setting)).collect()
}

fn shown(setting: &Setting, setting_vault: &SettingVault<'_>) -> Result<String> {
    setting_vault.shown(setting).ok_or_else(|| Error::internal("reading a setting", "its value does not open"))
}

impl MapView {
    fn of(settings: &Settings, setting_vault: &SettingVault<'_>) -> Result<Self> {
        let shown = settings.values().map(|setting| Ok((setting.name.to_string(), shown(setting, setting_vault)?)));
        shown.collect::<Result<_>>().map(MapView)
    }
}

impl SettingView {
    fn of(setting: &Setting, setting_vault: &SettingVault<'_>) -> Result<Self> {
        Ok(SettingView {
            id: Some(setting.id),
            name: setting.name.to_string(),
            value: Some(shown(setting, setting_vault)?),
            tenant_id: setting_vault.tenant,
            created_at: Some(zulu(setting.created_at)),
            updated_at: Some(zulu(setting.updated_at)),
        })
    }
}

/// The setting whose id the path names. All settings are searched: there are at most 200, and their key is the name.
pub struct FoundSetting(pub Setting);

impl Argument for FoundSetting {
    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let id: SettingId = path_id(incoming)?;
        let all = entered.store().ok_or(Error::NotFound)?.all(&Setting::all()).await?;
        all.into_iter().find(|setting| setting.id == id).map(FoundSetting).ok_or(Error::NotFound)
    }

    fn describe(operation: &mut Operation) {
        operation.names(SettingId::schema());
    }
}

/// The setting that the body's `name` names, read with the door; `None` when it names none, or none is there.
pub struct NamedSetting(pub Option<Setting>);

#[derive(serde::Deserialize)]
struct SettingBody {
    name: Option<SettingName>,
}

impl NamedSetting {
    /// The form says what is wrong with a body; here a wrong one names nothing.
    fn name(incoming: &Incoming) -> Option<SettingName> {
        serde_json::from_slice::<SettingBody>(&incoming.body).ok()?.name
    }
}

impl Argument for NamedSetting {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if let Some(name) = NamedSetting::name(incoming) {
            wants.record(&Setting::key_of(&name));
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        match NamedSetting::name(incoming) {
            Some(name) => entered.find(&Setting::key_of(&name)).await.map(NamedSetting),
            None => Ok(NamedSetting(None)),
        }
    }

    fn describe(_operation: &mut Operation) {}
}

/// A body with `name` and `value` is one setting; any other is a map of many.
impl Form for Written {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        match fields.given() {
            Some(given) if !given.is_empty() && !given.contains_key("name") && !given.contains_key("value") => {
                fields.take_any(any_value);
                if given.len() as u64 > Setting::MAX_COUNT {
                    fields.refuse("name", "is one of too many: a tenant has at most 200 settings");
                }
                let mut many = BTreeMap::new();
                for (name, value) in given {
                    match SettingName::parse(name).ok_or(SettingName::RULE.to_owned()).and_then(|name| Ok((name.read(value)?, name))) {
                        Ok((text, name)) => drop(many.insert(name, text)),
                        Err(problem) => fields.refuse(name, &problem),
                    }
                }
                Some(Written::Many(many))
            }
            None => {
                let _ = (fields.optional("name", Name), fields.optional("value", AnyValue));
                fields.take_any(any_value);
                None
            }
            Some(given) => {
                let name = fields.required("name", Name);
                let _ = fields.optional("value", AnyValue);
                let Some(value) = given.get("value") else {
                    fields.refuse("value", "is required; null deletes");
                    return None;
                };
                let name = name?;
                match name.read(value) {
                    Ok(text) => Some(Written::One(name, text)),
                    Err(problem) => {
                        fields.refuse("value", &problem);
                        None
                    }
                }
            }
        }
    }
}

struct Name;

impl Rule for Name {
    type Value = SettingName;

    fn check(&self, raw: Raw<'_>) -> Result<SettingName, String> {
        let Raw::Json(Value::String(text)) = raw else { return Err("must be a string".into()) };
        SettingName::parse(text).ok_or_else(|| SettingName::RULE.into())
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,255}$"})
    }
}

/// Checked together with the name, which determines the type.
struct AnyValue;

/// The schema of a value; null deletes the setting.
fn any_value() -> Value {
    let kinds = ["string", "number", "boolean", "null"].map(|kind| json!({"type": kind}));
    let limit = format!("One request changes at most {CHANGES_AT_ONCE} settings; a deletion counts twice.");
    json!({"anyOf": kinds, "maxLength": Setting::MAX_VALUE, "description": limit})
}

impl Rule for AnyValue {
    type Value = ();

    fn check(&self, _raw: Raw<'_>) -> Result<(), String> {
        Ok(())
    }

    fn schema(&self) -> Value {
        any_value()
    }
}
