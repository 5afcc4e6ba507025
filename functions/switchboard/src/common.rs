//! What the messages of a batch have in common, read once for those that ask soon after one another. It may not outlive the batch, nor be old: a message may
//! wait long, and what is paused, suspended or taken away meanwhile must stop it.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use messaging::ways;
use records::message_campaign::{MessageCampaign, MessageCampaignId};
use records::messaging_settings::MessagingSettings;
use shared::Result;
use shared::model::gateway::{Gateway, GatewayId};
use shared::model::line::LinePool;
use shared::model::tenant::Tenant;
use shared::tenancy::{Directory, TenantId};
use tokio::sync::{Mutex, MutexGuard};

/// How old what is known may be.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Common {
    lines: Known<(), Arc<LinePool>>,
    gateways: Known<GatewayId, Option<Gateway>>,
    senders: Known<Of, Option<Arc<Sender>>>,
    /// Whoever changes the pace of a line holds it.
    turns: Mutex<()>,
    /// Whoever gives a message to a carrier that would take it a second time holds it.
    alone: Mutex<()>,
}

/// Whose messages, and of which campaign.
pub type Of = (TenantId, Option<MessageCampaignId>);

/// Who sends a message.
pub struct Sender {
    pub tenant: Tenant,
    pub settings: MessagingSettings,
    pub campaign: Option<MessageCampaign>,
}

impl Common {
    pub async fn lines(&self, directory: &Directory) -> Result<Arc<LinePool>> {
        let read = async { ways::pool(directory).await.map(Arc::new) };
        self.lines.or_read((), read).await
    }

    pub async fn gateway(&self, directory: &Directory, id: GatewayId) -> Result<Option<Gateway>> {
        self.gateways.or_read(id, async { directory.find(&Gateway::key_of(id)).await }).await
    }

    /// `read` also gives what is read with it, which is given back to whoever did read.
    pub async fn sender<T>(
        &self,
        of: Of,
        read: impl Future<Output = Result<(Option<Arc<Sender>>, T)>>,
    ) -> Result<(Option<Arc<Sender>>, Option<T>)> {
        let mut beside = None;
        let read = async {
            let (sender, more) = read.await?;
            beside = Some(more);
            Ok(sender)
        };
        let sender = self.senders.or_read(of, read).await?;
        Ok((sender, beside))
    }

    /// Somebody wrote what was decided upon: it is looked at again.
    pub async fn forget_senders(&self) {
        self.senders.0.lock().await.clear();
    }

    /// For a message to a carrier that would take it a second time. If the worker dies meanwhile, nobody knows whether it went: of a batch, that is one at most.
    pub async fn alone(&self) -> MutexGuard<'_, ()> {
        self.alone.lock().await
    }

    /// The same, where nobody needs to be waited for.
    pub fn alone_now(&self) -> Option<MutexGuard<'_, ()>> {
        self.alone.try_lock().ok()
    }

    /// Of two that read a pace at the same time, one would write in vain.
    pub async fn turns(&self) -> MutexGuard<'_, ()> {
        self.turns.lock().await
    }
}

/// Whoever asks first reads, and the others wait for that.
struct Known<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Known(Mutex::new(HashMap::new()))
    }
}

impl<K: Eq + Hash, V: Clone> Known<K, V> {
    async fn or_read(&self, key: K, read: impl Future<Output = Result<V>>) -> Result<V> {
        let mut known = self.0.lock().await;
        if let Some((_, value)) = known.get(&key).filter(|(asked_at, _)| asked_at.elapsed() < FRESH) {
            return Ok(value.clone());
        }
        let asked_at = Instant::now();
        let value = read.await?;
        known.insert(key, (asked_at, value.clone()));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn what_was_asked_a_while_ago_is_asked_again() {
        let known = Known::default();
        let ask = |key, value| known.or_read(key, async move { Ok(value) });
        assert_eq!((ask("a", 1).await.unwrap(), ask("b", 2).await.unwrap(), ask("a", 3).await.unwrap()), (1, 2, 1));
        known.0.lock().await.get_mut("a").unwrap().0 -= FRESH;
        assert_eq!((ask("a", 4).await.unwrap(), ask("b", 5).await.unwrap()), (4, 2));
    }

    #[tokio::test]
    async fn those_who_ask_at_once_read_once_and_a_failure_is_nothing_known() {
        let (known, reads) = (Known::default(), AtomicUsize::new(0));
        let read = || async {
            tokio::task::yield_now().await;
            match reads.fetch_add(1, Ordering::SeqCst) {
                0 => Err(shared::Error::NotFound),
                read => Ok(read),
            }
        };
        let asked = join_all((0..4).map(|_| known.or_read((), read()))).await;
        assert!(asked[0].is_err() && asked[1..].iter().all(|asked| matches!(asked, Ok(1))), "{asked:?}");
    }
}
