//! Which request is next. The number of running requests is limited, in total and for each function. The others wait, and their senders
//! take turns. A sender with five hundred requests at once therefore only delays itself.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use tokio::sync::oneshot;

use crate::lock::{Guard, Lock};

/// As many may be under way, of one function, and waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub places: usize,
    pub per_function: usize,
    pub waiting: usize,
}

/// The queue is full: try again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

#[derive(Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

/// One running request. Dropping it lets the next one in.
pub struct Permit {
    queue: Queue,
    function: String,
}

struct Inner {
    bounds: Bounds,
    state: Lock<State>,
}

#[derive(Default)]
struct State {
    taken: usize,
    by_function: BTreeMap<String, usize>,
    /// Senders with waiting requests, in the order of their turns.
    turns: VecDeque<u64>,
    waiting: HashMap<u64, VecDeque<Waiting>>,
    length: usize,
}

struct Waiting {
    function: String,
    go: oneshot::Sender<Permit>,
}

impl Queue {
    pub fn new(bounds: Bounds) -> Queue {
        Queue { inner: Arc::new(Inner { bounds, state: Lock::default() }) }
    }

    /// Waits for its turn: among the requests of `sender`, and among all senders.
    pub async fn enter(&self, sender: u64, function: &str) -> Result<Permit, Full> {
        let (go, turn) = oneshot::channel();
        let crowded_out = self.state().push(sender, Waiting { function: function.to_owned(), go }, self.inner.bounds.waiting)?;
        // Its receiver learns that it will not get a turn.
        drop(crowded_out);
        self.advance();
        turn.await.map_err(|_| Full)
    }

    /// The numbers of running and waiting requests.
    pub fn lengths(&self) -> (usize, usize) {
        let state = self.state();
        (state.taken, state.length)
    }

    fn advance(&self) {
        let mut called = Vec::new();
        let mut state = self.state();
        while let Some(waiting) = state.next(&self.inner.bounds) {
            called.push(waiting);
        }
        drop(state);
        for waiting in called {
            // If the receiver has gone away, dropping the permit needs the lock.
            let place = Permit { queue: self.clone(), function: waiting.function };
            drop(waiting.go.send(place));
        }
    }

    fn state(&self) -> Guard<'_, State> {
        self.inner.state.lock()
    }
}

impl State {
    /// In a full queue the longest row loses its last request, unless that row is the one of the new request.
    fn push(&mut self, sender: u64, waiting: Waiting, bound: usize) -> Result<Option<Waiting>, Full> {
        let mut crowded_out = None;
        if self.length >= bound {
            let own = self.waiting.get(&sender).map_or(0, VecDeque::len);
            let longest = self.waiting.iter().max_by_key(|(_, row)| row.len()).map(|(sender, row)| (*sender, row.len()));
            let Some((longest, _)) = longest.filter(|(_, length)| *length > own + 1) else { return Err(Full) };
            crowded_out = self.waiting.get_mut(&longest).and_then(VecDeque::pop_back);
            self.length -= 1;
        }
        let row = self.waiting.entry(sender).or_default();
        if row.is_empty() {
            self.turns.push_back(sender);
        }
        row.push_back(waiting);
        self.length += 1;
        Ok(crowded_out)
    }

    /// Takes a permit for the next request that may run.
    fn next(&mut self, bounds: &Bounds) -> Option<Waiting> {
        if self.taken >= bounds.places {
            return None;
        }
        for _ in 0..self.turns.len() {
            let sender = self.turns.pop_front()?;
            let Some(row) = self.waiting.get_mut(&sender) else { continue };
            let may_go = |waiting: &Waiting| self.by_function.get(&waiting.function).is_none_or(|taken| *taken < bounds.per_function);
            let next = row.iter().position(may_go).and_then(|index| row.remove(index));
            if row.is_empty() {
                self.waiting.remove(&sender);
            } else {
                self.turns.push_back(sender);
            }
            if let Some(next) = next {
                self.length -= 1;
                self.taken += 1;
                *self.by_function.entry(next.function.clone()).or_default() += 1;
                return Some(next);
            }
        }
        None
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.taken -= 1;
        if let Some(taken) = state.by_function.get_mut(&self.function) {
            *taken -= 1;
        }
        drop(state);
        self.queue.advance();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const BOUNDS: Bounds = Bounds { places: 2, per_function: 2, waiting: 6 };

    type Turn = std::pin::Pin<Box<dyn Future<Output = Result<Permit, Full>>>>;

    /// Polled once, so that it is in the queue.
    fn waiting(queue: &Queue, sender: u64, function: &'static str) -> Turn {
        let queue = queue.clone();
        let mut turn: Turn = Box::pin(async move { queue.enter(sender, function).await });
        assert!((&mut turn).now_or_never().is_none());
        turn
    }

    #[tokio::test]
    async fn senders_take_turns() {
        let queue = Queue::new(BOUNDS);
        let first = queue.enter(1, "a").await.unwrap();
        let second = queue.enter(1, "a").await.unwrap();
        let mut busy: Vec<Turn> = (0..4).map(|_| waiting(&queue, 1, "a")).collect();
        let mut other = waiting(&queue, 2, "a");
        drop(first);
        let third = (&mut busy[0]).now_or_never().unwrap().unwrap();
        drop(second);
        // The request that came last is next, before three earlier ones of another sender.
        let place = (&mut other).now_or_never().unwrap().unwrap();
        assert!((&mut busy[1]).now_or_never().is_none());
        drop((third, place));
        assert_eq!(queue.lengths(), (2, 1));
        drop(busy);
        assert_eq!(queue.lengths(), (0, 0));
    }

    #[tokio::test]
    async fn a_function_has_its_share_and_does_not_hold_up_the_others() {
        let queue = Queue::new(Bounds { places: 4, per_function: 2, waiting: 9 });
        let _held = [queue.enter(1, "slow").await.unwrap(), queue.enter(1, "slow").await.unwrap()];
        let _behind = waiting(&queue, 1, "slow");
        assert!(queue.enter(1, "quick").now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_takes_from_the_longest_row_for_others() {
        let queue = Queue::new(BOUNDS);
        let _held = [queue.enter(1, "a").await.unwrap(), queue.enter(1, "a").await.unwrap()];
        let mut row: Vec<Turn> = (0..6).map(|_| waiting(&queue, 1, "a")).collect();
        assert!(matches!(queue.enter(1, "a").now_or_never(), Some(Err(Full))));
        let mut other = waiting(&queue, 2, "a");
        assert!(matches!((&mut row[5]).now_or_never(), Some(Err(Full))));
        assert!((&mut row[4]).now_or_never().is_none() && (&mut other).now_or_never().is_none());
        assert_eq!(queue.lengths(), (2, 6));
    }

    #[tokio::test]
    async fn a_request_that_leaves_the_queue_is_passed_over() {
        let queue = Queue::new(BOUNDS);
        let held = [queue.enter(1, "a").await.unwrap(), queue.enter(1, "a").await.unwrap()];
        let gone = waiting(&queue, 1, "a");
        let mut patient = waiting(&queue, 1, "a");
        drop(gone);
        drop(held);
        assert!((&mut patient).now_or_never().unwrap().is_ok());
        assert_eq!(queue.lengths(), (0, 0));
    }
}
