//! Commands for those who run the deployment. There is no URL: IAM says who may invoke this function. A command answers `{"ok": true, …}`
//! or fails with one sentence. Repeating it changes nothing more.

pub mod import;
mod lines;
mod unclaimed;

use records::setting::{Setting, SettingValue, SettingVault, VaultKeyLost};
use records::webhook::WebhookSecrets;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::accounts::{AddressRecords, ProvenData, confirm, owner_of};
use shared::config::Variables;
use shared::crypto::Vault;
use shared::ids::{LinkId, MailId};
use shared::model::deletion::{Deletion, Receipt};
use shared::model::demo::{Demo, DemoClaim};
use shared::model::edge_config::EdgeConfig;
use shared::model::link::{Link, Purpose};
use shared::model::mail::{Mail, MailContent, UnknownMail};
use shared::model::registration::Registration;
use shared::model::tenant::{Tenant, TenantKind, TenantStatus};
use shared::model::user::{Email, EmailClaim, Identity, Subject, User};
use shared::runtime::worker::{self, Worker};
use shared::runtime::{App, StartError};
use shared::store::Record as _;
use shared::tenancy::directory::GlobalCounter;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, conflict};
use shared::tenant_lifecycle::close;
use shared::{Error, Result, children};

pub struct Operator {
    app: App,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
enum Command {
    /// Makes a demo a permanent tenant. `tenant` is a slug or an id.
    ConvertDemo {
        tenant: String,
        plan: String,
    },
    /// Has the effect of following the link in the mail.
    VerifyUser {
        email: String,
    },
    /// Links the person at this address to a subject of an identity provider.
    LinkIdentity {
        email: String,
        issuer: String,
        subject: String,
    },
    /// Sends a mail again under a new id: one that failed, one that may or may not have been sent, or one whose job was given up.
    ResendMail {
        mail: MailId,
    },
    ListUnknownMails {},
    /// Nobody can enter from the next request on.
    SuspendTenant {
        tenant: String,
    },
    ActivateTenant {
        tenant: String,
    },
    /// Seals what a tenant entrusted to us with the newest version of the vault's secret, so that an old version can be removed.
    ReencryptTokens {
        tenant: String,
    },
    ChangePlan {
        tenant: String,
        plan: String,
    },
    /// Takes a deletion back, within seven days.
    RestoreTenant {
        tenant: String,
    },
    /// Requests a deletion as an owner does. With `now`, a deletion that was already requested is due at once: the janitor's next run
    /// purges the tenant.
    PurgeTenant {
        tenant: String,
        #[serde(default)]
        now: bool,
    },
    ListReceipts {},
    /// Adds a gateway, or gives the one of this name another address and secret.
    GatewayAdd {
        name: String,
        url: String,
        #[serde(default)]
        secret: Option<String>,
    },
    /// Adds a line to the pool that all tenants share.
    LineAdd(lines::NewLine),
    LineList {},
    /// Messages from numbers to which nobody has written: whom are they for?
    UnclaimedList {},
    /// Gives a tenant the conversation between a number and a line, with what came of it. `line` is a number or an id.
    UnclaimedAttribute {
        phone_number: String,
        line: String,
        tenant: String,
    },
    /// Creates a new tenant for `owner` from the lines of an export.
    ImportTenant {
        owner: String,
        lines: String,
    },
}

/// A mail that may or may not have been sent.
#[derive(Serialize)]
struct UnknownMailView {
    mail: MailId,
    kind: String,
    tenant: Option<String>,
    since: String,
}

impl Worker for Operator {
    const NAME: &'static str = "operator";

    fn start(app: App, _variables: Variables) -> Result<Self, StartError> {
        Ok(Operator { app })
    }

    async fn handle(&self, event: Value, request_id: &str) -> Result<Value> {
        let context = worker::work_context(&self.app, Self::NAME, request_id);
        match worker::command(event)? {
            Command::ConvertDemo { tenant, plan } => convert_demo(&context, &tenant, &plan).await,
            Command::VerifyUser { email } => verify_user(&context, &email).await,
            Command::LinkIdentity { email, issuer, subject } => link_identity(&context, &email, &issuer, &subject).await,
            Command::ResendMail { mail } => resend_mail(&context, mail).await,
            Command::ListUnknownMails {} => list_unknown_mails(&context).await,
            Command::SuspendTenant { tenant } => set_status(&context, &tenant, TenantStatus::Suspended).await,
            Command::ActivateTenant { tenant } => set_status(&context, &tenant, TenantStatus::Active).await,
            Command::ReencryptTokens { tenant } => reencrypt_tokens(&context, &tenant).await,
            Command::ChangePlan { tenant, plan } => change_plan(&context, &tenant, &plan).await,
            Command::RestoreTenant { tenant } => restore_tenant(&context, &tenant).await,
            Command::PurgeTenant { tenant, now } => purge_tenant(&context, &tenant, now).await,
            Command::ListReceipts {} => list_receipts(&context).await,
            Command::GatewayAdd { name, url, secret } => lines::add_gateway(&context, &name, &url, secret.as_deref()).await,
            Command::LineAdd(line) => lines::add_line(&context, line).await,
            Command::LineList {} => lines::list(&context).await,
            Command::UnclaimedList {} => unclaimed::list(&context).await,
            Command::UnclaimedAttribute { phone_number, line, tenant } => {
                // What is taken in comes in now, and events tell of it. What an operator puts back is not told.
                let context = worker::work_context(&self.app, unclaimed::ACTOR, request_id);
                unclaimed::attribute(&context, &phone_number, &line, &tenant).await
            }
            Command::ImportTenant { owner, lines } => import::import_tenant(&context, records::ALL_RESTORED, &owner, &lines).await,
        }
    }
}

/// One transaction: the tenant no longer ends, and it no longer counts as a demo. It proves no address. The owner logs in with the demo's
/// password until a person who reads the mails of the address sets another one and so gets this account.
async fn convert_demo(context: &WorkContext, name: &str, plan: &str) -> Result<Value> {
    let plans = context.app.plans();
    if !plans.contains(plan) || plan == "demo" {
        let names: Vec<_> = plans.names().filter(|name| *name != "demo").collect();
        return Err(Error::BadRequest(format!("There is no plan {plan:?} to convert to: it must be one of {}.", names.join(", ")).into()));
    }
    let (store, tenant) = find(context, name).await?;
    if tenant.kind == TenantKind::Standard && tenant.plan == plan {
        return Ok(converted(&tenant));
    }
    let standing = tenant.converted(plan, context.now())?;
    let ends_at = tenant.ends_at.ok_or_else(|| Error::internal("converting a demo", "the demo has no end"))?;
    let directory = &context.directory;
    let demo = directory.find(&Demo::key_of(ends_at, tenant.id)).await?;
    let demo = demo.ok_or_else(|| Error::internal("converting a demo", "the demo is not listed"))?;
    let given_up = || Error::Conflict("The address of this demo's owner belongs to another account by now.".into());
    if owner_of(directory, &demo.email).await?.is_some_and(|owner| owner.id != demo.owner) {
        return Err(given_up());
    }
    let owner = directory.find(&User::key_of(demo.owner)).await?.ok_or_else(given_up)?;
    let transaction = directory
        .transaction()
        .replace(&store, &standing, &tenant)?
        .delete_unchanged(directory, &demo)?
        .replace(directory, &owner.kept(context.now()), &owner)?
        .count_global(GlobalCounter::ActiveDemos, -1, None, conflict("Try again."))?;
    let transaction = match directory.find_expired_too(&DemoClaim::key_of(&demo.email, tenant.id)).await? {
        // A proof of the address deletes the claim. Then it is not kept.
        Some(claim) => transaction.replace(directory, &claim.kept(), &claim)?,
        // From before demos had their own claims.
        None => {
            let claim = EmailClaim { email: demo.email.clone(), user: demo.owner, ends_at: None };
            transaction.claim(directory, &claim, "user", &demo.owner.to_string(), Box::new(move |_| given_up()))?
        }
    };
    transaction.commit().await?;
    Ok(converted(&standing))
}

/// Has the effect of following the link in the mail: the mailbox is theirs, and no earlier password opens the account. They set one with
/// the link that is sent to them.
async fn verify_user(context: &WorkContext, email: &str) -> Result<Value> {
    let email = Email::presented(email).map_err(|_| Error::BadRequest("This is not an e-mail address.".into()))?;
    let (directory, now) = (&context.directory, context.now());
    let address = AddressRecords::read(directory, &email).await?;
    if let Some(owner) = address.owner(directory).await? {
        return Ok(json!({"ok": true, "user": owner.id, "verified_at": owner.verified_at}));
    }
    let given = ProvenData { name: None, password: None, home: None };
    let newest = address.registrations().iter().max_by_key(|registration| registration.created_at).cloned();
    let (proof, creation) = match (address.unproven(directory).await?, newest) {
        (Some(user), _) => (address.proof(directory, Some(user), given).await?, None),
        (None, Some(registration)) => {
            let (proof, creation) = confirm(directory, address, &registration, given).await?;
            (proof, Some(creation))
        }
        // The message must not contain the address, because messages are logged.
        (None, None) => return Err(Error::BadRequest("No account has this e-mail address.".into())),
    };
    let user = &proof.user;
    let link = Link {
        id: LinkId::new(context.app.random()),
        purpose: Purpose::ResetPassword { user: user.id, passwords: user.passwords },
        expires_at: now + Registration::WAITS,
    };
    let content = MailContent::ResetPassword { name: user.name.clone(), link: link.id };
    let mail = Mail::queued(MailId::new(now, context.app.random()), user.home, user.email.clone(), content, now);
    let meanwhile = conflict("The account was changed at the same time. Try again.");
    let transaction = proof.write(directory.transaction(), directory, meanwhile)?;
    let transaction = match &creation {
        Some(creation) => creation.write(transaction, directory, conflict("Try again: this slug was taken at the same moment."))?,
        None => transaction,
    };
    let transaction = transaction.create(directory, &link, conflict("Try again."))?.create(directory, &mail, conflict("Try again."))?;
    transaction.commit().await?;
    proof.finish(directory).await?;
    Ok(json!({"ok": true, "user": user.id, "verified_at": user.verified_at}))
}

/// Links the person at this address to this subject of the issuer, instead of any other. An operator decides this where a token alone is
/// refused.
async fn link_identity(context: &WorkContext, email: &str, issuer: &str, subject: &str) -> Result<Value> {
    let email = Email::presented(email).map_err(|_| Error::BadRequest("This is not an e-mail address.".into()))?;
    let directory = &context.directory;
    let owner = owner_of(directory, &email).await?.ok_or(Error::BadRequest("No account has this e-mail address.".into()))?;
    let before = directory.find(&Subject::key_of(owner.id, issuer)).await?.filter(|before| before.subject != subject);
    let transaction = directory
        .transaction()
        .put(directory, &Subject { user: owner.id, issuer: issuer.to_owned(), subject: subject.to_owned() })?
        .put(directory, &Identity { issuer: issuer.to_owned(), subject: subject.to_owned(), user: owner.id, paired: true })?;
    let transaction = match before {
        Some(before) => transaction.remove(directory, &Identity::key_of(issuer, &before.subject))?,
        None => transaction,
    };
    transaction.commit().await?;
    Ok(json!({"ok": true, "user": owner.id, "issuer": issuer, "subject": subject}))
}

async fn resend_mail(context: &WorkContext, id: MailId) -> Result<Value> {
    let directory = &context.directory;
    let mail = directory
        .find(&Mail::key_of(id))
        .await?
        .ok_or(Error::BadRequest("There is no mail with this id; they are kept for 30 days.".into()))?;
    let (replaced, again) = mail.sent_again(MailId::new(context.now(), context.app.random()), context.now())?;
    directory
        .transaction()
        .replace(directory, &replaced, &mail)?
        .create(directory, &again, conflict("Try again."))?
        .remove(directory, &UnknownMail::key_of(id))?
        .commit()
        .await?;
    Ok(json!({"ok": true, "mail": id, "sent_again_as": again.id}))
}

async fn list_unknown_mails(context: &WorkContext) -> Result<Value> {
    let mails: Vec<UnknownMailView> = context
        .directory
        .all(&UnknownMail::all())
        .await?
        .into_iter()
        .map(|unknown| UnknownMailView {
            mail: unknown.mail,
            kind: unknown.kind,
            tenant: unknown.tenant.map(|tenant| tenant.to_string()),
            since: unknown.since.to_string(),
        })
        .collect();
    worker::answer(json!({"ok": true, "mails": mails}))
}

async fn set_status(context: &WorkContext, name: &str, status: TenantStatus) -> Result<Value> {
    let (store, tenant) = find(context, name).await?;
    let changed = match tenant.status {
        TenantStatus::Deleting | TenantStatus::Closed => return Err(gone()),
        now if now == status => tenant,
        _ => {
            let changed = tenant.with_status(status, context.now());
            store.transaction().replace(&store, &changed, &tenant)?.commit().await?;
            changed
        }
    };
    Ok(state_of(&changed))
}

async fn change_plan(context: &WorkContext, name: &str, plan: &str) -> Result<Value> {
    let plans = context.app.plans();
    if !plans.contains(plan) || plan == "demo" {
        let names: Vec<_> = plans.names().filter(|name| *name != "demo").collect();
        return Err(Error::BadRequest(format!("There is no plan {plan:?}: it must be one of {}.", names.join(", ")).into()));
    }
    let (store, tenant) = find(context, name).await?;
    let changed = store
        .edit(tenant, |tenant, transaction| match (tenant.kind, tenant.status) {
            (_, TenantStatus::Deleting | TenantStatus::Closed) => Err(gone()),
            (TenantKind::Demo, _) => Err(Error::Conflict("This tenant is a demo: convert it.".into())),
            _ if tenant.plan == plan => Ok(None),
            _ => Ok(Some((tenant.on_plan(plan, context.now()), transaction))),
        })
        .await?;
    Ok(converted(&changed))
}

async fn restore_tenant(context: &WorkContext, name: &str) -> Result<Value> {
    let (store, tenant) = find(context, name).await?;
    if !matches!(tenant.status, TenantStatus::Deleting | TenantStatus::Closed) {
        // An interrupted run may have left some of them closed.
        children::restore_with(&store, &context.directory, |child| Ok(context.child(child))).await?;
        return Ok(state_of(&tenant));
    }
    let too_late = || Error::Conflict("This tenant is being purged and cannot be restored any more.".into());
    let deletion = deletion_of(context, &tenant).await?.filter(|deletion| deletion.due_at > context.now()).ok_or_else(too_late)?;
    if tenant.status == TenantStatus::Closed {
        return Err(too_late());
    }
    let restored = tenant.restored(deletion.status, context.now());
    let directory = &context.directory;
    directory.transaction().replace(&store, &restored, &tenant)?.delete_unchanged(directory, &deletion)?.commit().await?;
    children::restore_with(&store, directory, |child| Ok(context.child(child))).await?;
    Ok(state_of(&restored))
}

async fn purge_tenant(context: &WorkContext, name: &str, now: bool) -> Result<Value> {
    let (store, tenant) = find(context, name).await?;
    let directory = &context.directory;
    let due_at = match deletion_of(context, &tenant).await? {
        None if now => {
            let first = "Ask for the deletion first: by this command without `now`, or as an owner of the tenant.";
            return Err(Error::BadRequest(first.into()));
        }
        None => {
            let closed = close(&store, directory, tenant.clone()).await;
            closed.map_err(|error| if matches!(error, Error::NotFound) { gone() } else { error })?;
            children::close_with(&store, directory, |child| Ok(context.child(child))).await?;
            Deletion::of(&tenant, context.now()).due_at
        }
        Some(deletion) => {
            let deletion_now = deletion.due_now(context.now());
            if now && deletion_now.due_at < deletion.due_at {
                let moving = directory.transaction().delete_unchanged(directory, &deletion)?;
                moving.create(directory, &deletion_now, conflict("Try again."))?.commit().await?;
                deletion_now.due_at
            } else {
                deletion.due_at
            }
        }
    };
    Ok(json!({"ok": true, "tenant": tenant.id, "slug": tenant.slug, "purged_after": due_at.to_string()}))
}

async fn list_receipts(context: &WorkContext) -> Result<Value> {
    let key = context.app.keys().receipts()?;
    let receipts = context.directory.all(&Receipt::all()).await?;
    let receipts = receipts.iter().map(|receipt| {
        let mut shown = worker::answer(receipt)?;
        // Whether it is unchanged.
        shown["intact"] = receipt.holds(key).into();
        Ok(shown)
    });
    Ok(json!({"ok": true, "receipts": receipts.collect::<Result<Vec<Value>>>()?}))
}

/// The entry of a tenant's deletion. There are as many entries as tenants were deleted in a week.
async fn deletion_of(context: &WorkContext, tenant: &Tenant) -> Result<Option<Deletion>> {
    let all = context.directory.all(&Deletion::all()).await?;
    Ok(all.into_iter().find(|deletion| deletion.tenant == tenant.id))
}

fn gone() -> Error {
    Error::Conflict("This tenant is being deleted.".into())
}

fn state_of(tenant: &Tenant) -> Value {
    json!({"ok": true, "tenant": tenant.id, "slug": tenant.slug, "status": tenant.status})
}

/// What a tenant entrusted to us: the token of its API origin, and its secret settings.
async fn reencrypt_tokens(context: &WorkContext, name: &str) -> Result<Value> {
    let (store, tenant) = find(context, name).await?;
    let (vault, marking) = (context.app.keys().vault()?, context.app.keys().fingerprints()?);
    let lost = || Error::Conflict("The vault's secret lacks the version something of this tenant was sealed with.".into());
    let (mut sealed, mut changed) = (0, 0);
    if let Some(config) = store.find(&EdgeConfig::key_of()).await? {
        sealed += usize::from(config.api_token.is_some());
        let before = config.version;
        let resealed = |config: &EdgeConfig| {
            let old = config.api_token.as_ref().filter(|token| Vault::version_of(&token.sealed) != Some(vault.newest()));
            let Some(token) = old else { return Ok(None) };
            let plain = vault.open(tenant.id, EdgeConfig::TOKEN_FIELD, &token.sealed).ok_or_else(lost)?;
            Ok(Some(config.resealed(vault.seal(tenant.id, EdgeConfig::TOKEN_FIELD, &plain, context.app.random()))))
        };
        let config = store.edit(config, |config, transaction| Ok(resealed(config)?.map(|config| (config, transaction)))).await?;
        changed += usize::from(config.version != before);
    }
    let setting_vault = SettingVault { tenant: tenant.id, vault, marking, random: context.app.random() };
    for setting in store.all(&Setting::all()).await? {
        sealed += usize::from(matches!(setting.value, SettingValue::Sealed(_)));
        let before = setting.version;
        let resealed = |setting: &Setting| setting_vault.resealed(setting).map_err(|_: VaultKeyLost| lost());
        let setting = store.edit(setting, |setting, transaction| Ok(resealed(setting)?.map(|setting| (setting, transaction)))).await?;
        changed += usize::from(setting.version != before);
    }
    for secrets in store.all(&WebhookSecrets::all()).await? {
        sealed += secrets.secrets.len();
        let before = secrets.version;
        let resealed =
            |secrets: &WebhookSecrets| secrets.resealed(tenant.id, vault, context.app.random()).map_err(|_: VaultKeyLost| lost());
        let secrets = store.edit(secrets, |secrets, transaction| Ok(resealed(secrets)?.map(|secrets| (secrets, transaction)))).await?;
        changed += if secrets.version == before { 0 } else { secrets.secrets.len() };
    }
    Ok(json!({"ok": true, "tenant": tenant.id, "slug": tenant.slug, "key_version": vault.newest(), "sealed": sealed, "changed": changed}))
}

async fn find(context: &WorkContext, name: &str) -> Result<(TenantStore, Tenant)> {
    let unknown = |error| match error {
        Error::NotFound => Error::BadRequest(format!("There is no tenant with the slug or id {name:?}.").into()),
        other => other,
    };
    let store = context.tenant_named(name).await.map_err(unknown)?;
    let tenant = store.get(&Tenant::key_of()).await.map_err(unknown)?;
    Ok((store, tenant))
}

fn converted(tenant: &Tenant) -> Value {
    json!({"ok": true, "tenant": tenant.id, "slug": tenant.slug, "plan": tenant.plan})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_events_are_commands() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/operator");
        let mut read = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let event: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            worker::command::<Command>(event).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            read += 1;
        }
        assert_eq!(read, 18, "one sample for each command");
    }

    #[test]
    fn a_command_that_cannot_be_read_says_what_is_wrong() {
        for (event, says) in [
            (json!({"command": "drop-table"}), "drop-table"),
            (json!({"command": "verify-user"}), "email"),
            (json!({"command": "verify-user", "email": "a@example.com", "force": true}), "force"),
            (json!({"command": "resend-mail", "mail": "1"}), "MailId"),
        ] {
            let error = worker::command::<Command>(event).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
