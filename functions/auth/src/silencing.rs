//! Silences keys that lose their power with a membership. This happens before the membership changes, so that an interruption leaves too
//! little power and never too much. It happens once more afterwards, for a key that was made in the meantime. Doors also check the maker's
//! membership on every request. The mark on a key is for the owner to read, and it keeps the key silent when its maker is promoted again.

use serde::Serialize;
use shared::model::api_key::ApiKey;
use shared::model::member::Member;
use shared::model::subaccount::Subaccount;
use shared::model::tenant::TenantStatus;
use shared::store::Record as _;
use shared::tenancy::doors::Admin;
use shared::tenancy::{Role, TenantStore};
use shared::{Error, Result};

/// A key that does nothing any more until an owner adopts it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SilencedKey)]
pub struct SilencedView {
    id: String,
    name: String,
    prefix: String,
    /// The subaccount it belongs to, where it is not a key of the tenant itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    subaccount: Option<String>,
}

const PAGE: usize = 100;

/// Silences the keys with `member`'s power that need more than `role`, here and in the subaccounts. Without a role, silences all of them.
pub async fn silence(door: &Admin, member: &Member, role: Option<Role>) -> Result<Vec<SilencedView>> {
    let mut silenced = vec![];
    for key in silence_in(&door.store, member, role, false).await? {
        silenced.push(SilencedView::of(&key, None));
    }
    // A subaccount has no subaccounts.
    if door.delegated {
        return Ok(silenced);
    }
    for child in door.directory.all(&Subaccount::of_agency(door.tenant.id)).await? {
        if child.status != TenantStatus::Closed {
            for key in silence_in(&door.child(&child)?, member, role, true).await? {
                silenced.push(SilencedView::of(&key, Some(&child)));
            }
        }
    }
    Ok(silenced)
}

/// `of_agency`: the member belongs to the tenant's agency.
async fn silence_in(store: &TenantStore, member: &Member, role: Option<Role>, of_agency: bool) -> Result<Vec<ApiKey>> {
    let (mut silenced, mut after) = (vec![], None);
    loop {
        let (keys, next) = store.after(&ApiKey::all(), after.as_ref(), PAGE).await?;
        for key in keys {
            let lost = |key: &ApiKey| {
                let why = key.lost_with(member, role).filter(|_| key.issuer.is_of_agency() == of_agency);
                why.and_then(|why| key.silenced(why))
            };
            if lost(&key).is_none() {
                continue;
            }
            match store.edit(key, |key, transaction| Ok(lost(key).map(|key| (key, transaction)))).await {
                Ok(key) => silenced.push(key),
                // Revoked in the meantime.
                Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        match next {
            Some(next) => after = Some(next),
            None => return Ok(silenced),
        }
    }
}

impl SilencedView {
    fn of(key: &ApiKey, child: Option<&Subaccount>) -> Self {
        SilencedView {
            id: key.id.prefixed(),
            name: key.name.clone(),
            prefix: key.prefix(),
            subaccount: child.map(|child| child.id.prefixed()),
        }
    }
}
