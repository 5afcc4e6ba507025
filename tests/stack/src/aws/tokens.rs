//! Transactions that a client sends again with the same token, because it does not know that they were done. DynamoDB does them once within ten minutes.
//! dynoxide does so too, but looks through all tokens of these ten minutes at each transaction.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use dynoxide::DynoxideError;

use crate::lock::Lock;

/// Of DynamoDB.
const REMEMBERED: Duration = Duration::from_mins(10);

/// What was done with which token. Clones share it.
#[derive(Clone, Default)]
pub struct Tokens(Arc<Lock<Done>>);

#[derive(Default)]
struct Done {
    answers: HashMap<String, Answer>,
    /// The oldest first.
    order: VecDeque<(Instant, String)>,
}

struct Answer {
    /// The hash of the bytes that were sent: whoever sends a request again sends the same.
    request: u64,
    answer: Vec<u8>,
}

impl Tokens {
    /// Executes a request, or answers as when it was executed. One that failed is executed again. The next one waits meanwhile, as it does at the table.
    pub fn once(
        &self,
        token: &str,
        request: &[u8],
        execute: impl FnOnce() -> Result<Vec<u8>, DynoxideError>,
    ) -> Result<Vec<u8>, DynoxideError> {
        let request = hash(request);
        let mut done = self.0.lock();
        done.forget(Instant::now());
        if let Some(known) = done.answers.get(token) {
            let another = || DynoxideError::IdempotentParameterMismatchException("The token was used for another request.".to_owned());
            return if known.request == request { Ok(known.answer.clone()) } else { Err(another()) };
        }
        let answer = execute()?;
        done.order.push_back((Instant::now(), token.to_owned()));
        done.answers.insert(token.to_owned(), Answer { request, answer: answer.clone() });
        Ok(answer)
    }
}

impl Done {
    fn forget(&mut self, now: Instant) {
        while let Some((_, token)) = self.order.pop_front_if(|(at, _)| now.duration_since(*at) >= REMEMBERED) {
            self.answers.remove(&token);
        }
    }
}

fn hash(request: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> DynoxideError {
        DynoxideError::InternalServerError("failed".to_owned())
    }

    #[test]
    fn what_was_done_is_not_done_again() {
        let tokens = Tokens::default();
        assert!(tokens.once("a", b"one", || Err(failed())).is_err());
        assert_eq!(tokens.once("a", b"one", || Ok(b"done".to_vec())).unwrap(), b"done");
        assert_eq!(tokens.once("a", b"one", || Err(failed())).unwrap(), b"done");
        let another = tokens.once("a", b"two", || Ok(vec![]));
        assert!(matches!(another, Err(DynoxideError::IdempotentParameterMismatchException(_))));
        assert_eq!(tokens.once("b", b"two", || Ok(b"too".to_vec())).unwrap(), b"too");
    }

    #[test]
    fn a_token_is_forgotten_in_its_time() {
        let tokens = Tokens::default();
        tokens.once("a", b"one", || Ok(vec![])).unwrap();
        tokens.0.lock().forget(Instant::now());
        assert_eq!(tokens.0.lock().answers.len(), 1);
        tokens.0.lock().forget(Instant::now() + REMEMBERED);
        assert!(tokens.0.lock().answers.is_empty() && tokens.0.lock().order.is_empty());
    }
}
