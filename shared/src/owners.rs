//! Mails to the owners of a tenant: of what happens to it while nobody looks.

use crate::error::Result;
use crate::ids::MailId;
use crate::model::mail::{Mail, MailContent};
use crate::model::member::Member;
use crate::model::tenant::{Tenant, TenantKind};
use crate::model::user::Email;
use crate::store::Span;
use crate::tenancy::jobs::WorkContext;
use crate::tenancy::{Role, TenantStore};

/// A transaction has at most a hundred writes.
const MOST: usize = 20;

/// A mail to every owner, with what `content` says to somebody of that name; to be written with what they are told of. A demo sends no mails.
pub async fn mails(
    context: &WorkContext,
    store: &TenantStore,
    tenant: &Tenant,
    content: impl Fn(String) -> MailContent,
) -> Result<Vec<Mail>> {
    if tenant.kind == TenantKind::Demo {
        return Ok(vec![]);
    }
    let owners = store.page(&Member::all(), &Span::first(MOST), |member| member.role == Role::Owner).await?;
    let mail = |owner: Member| {
        let id = MailId::new(context.now(), context.app.random());
        Some(Mail::queued(id, Some(store.tenant_id()), Email::parse(&owner.email)?, content(owner.name), context.now()))
    };
    Ok(owners.items.into_iter().filter_map(mail).collect())
}
