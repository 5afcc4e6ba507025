//! A demo tenant, complete with one call: tenant, owner, what there is to try, and the mail about it.

use jiff::SignedDuration;
use records::project::Shelf;
use serde::Serialize;
use shared::error::Throttled;
use shared::http::answer::Created;
use shared::http::form::{EmailAddress, Fields, Form, Name};
use shared::http::idempotency::Once;
use shared::ids::{MailId, UserId};
use shared::model::demo::{Demo, DemoClaim};
use shared::model::mail::{Mail, MailContent};
use shared::model::member::Member;
use shared::model::tenant::{Slug, TenantKind};
use shared::model::time::{Printed, with_offset};
use shared::model::user::{DemoAccount, Email, User};
use shared::tenancy::directory::GlobalCounter;
use shared::tenancy::doors::DemoVisitor;
use shared::tenancy::{Transaction, conflict};
use shared::tenant_lifecycle::{NewTenant, SLUG_ALPHABET, TenantCreation};
use shared::{Error, Result};

use crate::samples::{self, SampleClient};

pub struct NewDemo {
    email: Email,
    name: String,
    company_name: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Demo)]
pub struct DemoView {
    /// The tenant's account number.
    tenant_id: u64,
    tenant_slug: String,
    #[schema(format = "uri")]
    tenant_url: String,
    #[schema(format = "uri")]
    app_url: String,
    email: Email,
    password: String,
    expires_at: Printed,
}

/// The answer is the same whether the address has an account or not. A demo has no right to the address and takes nothing from its owner.
pub async fn create(door: DemoVisitor, once: Once<NewDemo>) -> Result<Created<DemoView>> {
    let config = &door.app.config().demo;
    if !config.enabled {
        return Err(Error::Forbidden("Demos are disabled.".into()));
    }
    let (directory, now) = (&door.directory, door.directory.now());
    let passwords = door.app.secrets().demo_passwords()?;
    let store = directory.new_tenant_store();
    let password = Demo::password(passwords, store.tenant_id());
    let slug = Slug::parse(&format!("demo-{}", door.app.random().text(SLUG_ALPHABET, 6))).ok_or(Error::NotFound)?;
    // Whole seconds, so that the printed time is exact.
    let ends_at = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now) + SignedDuration::from_hours(config.hours);
    // The API documents show a demo's owner as verified. Nothing was proven: the address still belongs to its owner.
    let user = User {
        id: UserId::new(now, door.app.random()),
        name: once.body.name,
        email: once.body.email,
        password: None,
        passwords: 0,
        verified_at: Some(now),
        demo: Some(DemoAccount::Running),
        system_admin: false,
        home: Some(store.tenant_id()),
        created_at: now,
        updated_at: now,
        version: 1,
    };
    let new = NewTenant {
        name: once.body.company_name,
        logo: None,
        slug: slug.clone(),
        plan: "demo".into(),
        kind: TenantKind::Demo,
        ends_at: Some(ends_at),
    };
    let creation = TenantCreation::with_owner(directory, store, new, &user).await?;
    let tenant_url = config.tenant_url.replace("{slug}", slug.as_str());
    let answer = Created::new(
        "Demo tenant created successfully",
        DemoView {
            tenant_id: creation.tenant.account,
            tenant_slug: slug.to_string(),
            app_url: format!("{tenant_url}/app"),
            tenant_url: tenant_url.clone(),
            email: user.email.clone(),
            password: password.clone(),
            expires_at: with_offset(ends_at),
        },
    );
    let listed = Demo {
        tenant: creation.tenant.id,
        owner: user.id,
        slug,
        email: user.email.clone(),
        name: user.name.clone(),
        tenant_name: creation.tenant.name.clone(),
        ends_at,
        warned: false,
        version: 1,
    };
    let content = MailContent::DemoReady { name: listed.name.clone(), tenant_name: listed.tenant_name.clone(), url: tenant_url, ends_at };
    let mail = Mail::queued(MailId::new(now, door.app.random()), Some(listed.tenant), listed.email.clone(), content, now);
    let claim = DemoClaim::new(&listed, &password);
    let owner = creation.owner.as_ref().map(Member::person).ok_or(Error::NotFound)?;
    let samples = samples::projects(&owner, now, door.app.random());
    let client = SampleClient::new(&creation, now, door.app.random())?;
    let full = Throttled { quota: "active_demos", limit: config.max_active, retry_after: 3600 };
    let allowance = door.mails(&listed.email);
    let write = |mailed: bool| -> Result<Transaction<'_>> {
        let mut transaction = once.ticket.record_open(directory.transaction(), directory, &answer)?;
        if mailed {
            transaction = transaction.allow(&allowance)?.create(directory, &mail, conflict("Try again."))?;
        }
        // If no mail was sent now, no warning is sent later.
        let listed = Demo { warned: !mailed, ..listed.clone() };
        let full = full.clone();
        transaction = creation
            .write(transaction, directory, conflict("Try again: this slug was taken at the same moment."))?
            .create(directory, &user, conflict("Try again."))?
            .create(directory, &claim, conflict("Try again."))?
            .count_global(GlobalCounter::ActiveDemos, 1, Some(config.max_active), Box::new(|_| Error::TooManyRequests(full)))?
            .create(directory, &listed, conflict("Try again."))?
            .count(&creation.store, Shelf::Active.counter(), samples.len() as i64)?;
        for (project, tasks) in &samples {
            transaction = transaction.create(&creation.store, project, conflict("Try again."))?;
            for task in tasks {
                transaction = transaction.create(&creation.store, task, conflict("Try again."))?;
            }
        }
        client.write(transaction, &creation.store, &door.new_workspace(&creation.store, client.workspace.id))
    };
    match write(true)?.commit().await {
        // The address has already got its mails of the day, so the demo comes without one.
        Err(Error::TooManyRequests(throttled)) if throttled.quota != full.quota => write(false)?.commit().await?,
        written => written?,
    }
    Ok(answer)
}

impl Form for NewDemo {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let email = fields.required("email", EmailAddress);
        let name = fields.required("name", Name { max: 255 });
        let company_name = fields.required("company_name", Name { max: 255 });
        Some(NewDemo { email: email?, name: name?, company_name: company_name? })
    }
}
