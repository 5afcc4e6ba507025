//! Makes the anchors of a tenant that are due: one for each settled day on which something was recorded, and more where that was much. What is read decides
//! what is written, so it may be repeated, cut off, or done twice at once: what an anchor holds of each number is written first, the anchor last, and once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use records::consent::{ChainHead, Consent, ConsentEntry};
use records::consent_anchor::{ConsentAnchor, ConsentAnchored};
use shared::model::due::{AnchorConsents, DueNote as _};
use shared::model::phone_number::PhoneNumber;
use shared::model::tenant::{Tenant, TenantStatus};
use shared::store::{Entity as _, Record as _, Span};
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, conflict};
use shared::{Error, Result};

/// How much one job may do.
pub struct Portion {
    pub anchors: usize,
    /// Lines of one anchor.
    pub lines: usize,
}

impl Portion {
    pub const MOST: Portion = Portion { anchors: 10, lines: ConsentAnchor::MOST };
}

/// A job that took so long leaves the rest to another one: an anchor takes up to half a minute, and the function has five.
const PATIENCE: Duration = Duration::from_secs(120);
/// Lines, or entries, of one read.
const AT_ONCE: usize = 500;
/// Records of one transaction.
const TOGETHER: usize = 90;

/// The note goes when nothing is left to anchor. If something is, it is brought to mind again, and the relay queues the next job.
pub async fn anchor(context: &WorkContext, job: AnchorConsents, most: Portion) -> Result<()> {
    let Some((store, due)) = context.anchoring(&job).await? else { return Ok(()) };
    // Nobody is told anything of a tenant that is to be purged. If it is restored, the note brings it to mind.
    if store.find(&Tenant::key_of()).await?.is_some_and(|tenant| tenant.status == TenantStatus::Deleting) {
        return Ok(());
    }
    let began = Instant::now();
    for _ in 0..most.anchors {
        if began.elapsed() > PATIENCE {
            break;
        }
        match next(&store, context.now(), most.lines).await {
            Ok(true) => {}
            // Nothing is left, or nothing may be written, because the tenant is being purged.
            Ok(false) | Err(Error::NotFound) => return context.directory.delete(&due.key()).await.map(|_| ()),
            Err(error) => return Err(error),
        }
    }
    context.directory.replace_if(&due.again(), &due).await.map(|_| ())
}

/// Makes the next anchor, if one is due.
async fn next(store: &TenantStore, now: Timestamp, most: usize) -> Result<bool> {
    let last = store.page(&ConsentAnchor::newest_first(), &Span::first(1), |_| true).await?.items.pop();
    let lines = lines_after(store, last.as_ref(), now, most).await?;
    let Some(until) = lines.last().map(|line| line.id) else { return Ok(false) };
    let (tenant, heads) = (store.tenant_id().to_string(), heads(store, &lines).await?);
    let (anchor, anchored) = ConsentAnchor::after(last.as_ref(), &tenant, until, &heads, now);
    for some in anchored.chunks(TOGETHER) {
        write(store, some).await?;
    }
    let made = store.transaction().while_kept(store)?.create(store, &anchor, conflict("It is made."))?.commit().await;
    match made {
        // Somebody else made the same.
        Ok(()) | Err(Error::Conflict(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The lines that the anchor after the last one covers.
async fn lines_after(store: &TenantStore, last: Option<&ConsentAnchor>, now: Timestamp, most: usize) -> Result<Vec<Consent>> {
    let mut place = last.map(|last| Consent::key_of(last.until));
    let mut lines = vec![];
    loop {
        let (some, next) = store.after(&Consent::all(), place.as_ref(), AT_ONCE).await?;
        lines.extend(some);
        let covered = ConsentAnchor::covered(&lines, now, most).len();
        if covered < lines.len() || next.is_none() {
            lines.truncate(covered);
            return Ok(lines);
        }
        place = next;
    }
}

/// The ends of the chains that grew. Of a chain that lacks its end there is none: it is broken, which `verify` tells.
async fn heads(store: &TenantStore, lines: &[Consent]) -> Result<BTreeMap<PhoneNumber, ChainHead>> {
    let ends = ConsentAnchor::heads(lines);
    let keys: Vec<_> = ends.iter().map(|(number, n)| ConsentEntry::key_of(number, *n)).collect();
    let mut heads = BTreeMap::new();
    for some in keys.chunks(AT_ONCE) {
        heads.extend(store.find_many(some).await?.into_iter().map(|entry| (entry.phone_number.clone(), entry.head())));
    }
    Ok(heads)
}

/// Nothing may be written after a purge.
async fn write(store: &TenantStore, anchored: &[ConsentAnchored]) -> Result<()> {
    let writing = store.transaction().while_kept(store)?;
    anchored.iter().try_fold(writing, |writing, one| writing.put(store, one))?.commit().await
}
