//! Records of several types, read in one round trip. Each is compared with the store that asks, like one that is read alone.

use crate::error::Result;
use crate::store::entity::{Entity, Key, Owned};
use crate::store::table::{FullKey, Item};
use crate::tenancy::record_store::RecordStore as _;
use crate::tenancy::store::Store;

/// Two to six keys.
pub trait Together<S: Owned> {
    /// A record for each key, if it is there.
    type Found;

    #[doc(hidden)]
    fn full(&self, store: &Store<S>) -> Vec<FullKey>;

    #[doc(hidden)]
    fn read(store: &Store<S>, items: &[Option<Item>]) -> Result<Self::Found>;
}

macro_rules! together {
    ($($entity:ident $number:tt),+) => {
        impl<S: Owned, $($entity: Entity<Scope = S>),+> Together<S> for ($(&Key<$entity>,)+) {
            type Found = ($(Option<$entity>,)+);

            fn full(&self, store: &Store<S>) -> Vec<FullKey> {
                vec![$(store.full(self.$number)),+]
            }

            fn read(store: &Store<S>, items: &[Option<Item>]) -> Result<Self::Found> {
                Ok(($(store.read(items.get($number).and_then(Option::as_ref))?,)+))
            }
        }
    };
}

together!(A 0, B 1);
together!(A 0, B 1, C 2);
together!(A 0, B 1, C 2, D 3);
together!(A 0, B 1, C 2, D 3, E 4);
together!(A 0, B 1, C 2, D 3, E 4, F 5);
