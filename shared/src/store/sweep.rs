//! Deletes the items of partitions that are no longer needed: one page at a time, with several deletes in parallel. It deletes at most the
//! given number. It is finished only when a whole pass finds nothing more.

use futures_util::future::try_join_all;

use crate::error::Result;
use crate::store::table::{FullKey, Item, Query, Table, text};

const PAGE: i32 = 100;
const AT_ONCE: usize = 25;

/// How far a sweep got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub deleted: usize,
    /// A consistent pass over the whole partition found nothing left to delete.
    pub finished: bool,
}

/// Deletes at most `at_most` items of a partition whose sort keys begin with `prefix` and for which `doomed` is true.
pub(crate) async fn sweep(table: &Table, pk: &str, prefix: &str, at_most: usize, doomed: impl Fn(&Item) -> Result<bool>) -> Result<Swept> {
    let mut deleted = 0;
    loop {
        let before = deleted;
        let mut after = None;
        loop {
            let query = Query {
                pk: pk.to_owned(),
                prefix: prefix.to_owned(),
                index: None,
                forward: true,
                consistent: true,
                after: after.take(),
                limit: Some(PAGE),
                attributes: None,
            };
            let (found, next) = table.query(query).await?;
            let mut keys = vec![];
            for item in found {
                if doomed(&item)? {
                    keys.push(FullKey { pk: text(&item, "pk"), sk: text(&item, "sk") });
                }
            }
            let room = at_most - deleted;
            let too_many = keys.len() > room;
            keys.truncate(room);
            for some in keys.chunks(AT_ONCE) {
                // If the item is already gone, that is fine.
                try_join_all(some.iter().map(|key| table.delete(key.clone(), None))).await?;
                deleted += some.len();
            }
            if too_many {
                return Ok(Swept { deleted, finished: false });
            }
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        if deleted == before {
            return Ok(Swept { deleted, finished: true });
        }
    }
}
