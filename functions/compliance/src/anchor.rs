//! Anchors of a tenant: what each webhook that takes `consent.anchored` was told, for comparison.

use records::consent_anchor::ConsentAnchor;
use serde::Serialize;
use shared::Result;
use shared::http::answer::Listing;
use shared::http::arguments::{Cursors, NoFilters};
use shared::model::time::{Printed, zulu};
use shared::tenancy::TenantStore;
use shared::tenancy::doors::Viewer;

/// One hash over the ends of all chains that grew on a day.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConsentAnchor)]
pub struct AnchorView {
    tenant_id: String,
    /// From 1.
    number: u64,
    anchored_at: Printed,
    /// How many chains grew.
    heads: u64,
    /// Of the Merkle tree (RFC 6962) over their ends, in the order of the phone numbers.
    root: String,
    /// The hash of the anchor before it; 64 zeros for the first.
    previous: String,
    /// Of its canonical form: SHA-256 in hex. It is what to compare with what your webhook was told.
    hash: String,
}

/// Newest first.
pub async fn list(door: Viewer, asked: Cursors<NoFilters>) -> Result<Listing<AnchorView>> {
    let found = door.store.page(&ConsentAnchor::newest_first(), &asked.page.span(), |_| true).await?;
    let items = found.items.iter().map(|anchor| AnchorView::of(&door.store, anchor));
    Ok(Listing { items: items.collect(), total: 0, page: asked.page, next: found.next })
}

impl AnchorView {
    pub fn of(store: &TenantStore, anchor: &ConsentAnchor) -> Self {
        AnchorView {
            tenant_id: store.tenant_id().to_string(),
            number: anchor.number,
            anchored_at: zulu(anchor.anchored_at),
            heads: anchor.heads,
            root: anchor.root.clone(),
            previous: anchor.previous.clone(),
            hash: anchor.digest.clone(),
        }
    }
}
