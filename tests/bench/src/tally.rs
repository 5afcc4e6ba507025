//! What calls of the table consume, by what they do, and the end of a process at a chosen write: from there on it gets no answer.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stack::lock::Lock;
use tokio::sync::Notify;

use crate::Outcome;

/// Calls of one kind.
#[derive(Serialize, Clone, Default, Debug)]
pub struct Calls {
    pub calls: usize,
    pub units: f64,
    /// Those whose condition did not hold. AWS counts a write of an item below 1 KB for each, and names no units.
    pub refused: usize,
}

/// When a process shall end: at the first write of a kind after so many enrolments.
#[derive(Serialize, Clone, Debug)]
pub struct Death {
    pub kind: &'static str,
    pub after: usize,
    /// The write is done, and only its answer is lost.
    pub is_written: bool,
}

pub const ENROLMENT: &str = "PutItem enrolment";
pub const PLAN: &str = "PutItem campaign_plan";
pub const TRANSACTION: &str = "TransactWriteItems";

#[derive(Default)]
pub struct Tally {
    state: Lock<Option<State>>,
    died: Notify,
}

#[derive(Default)]
struct State {
    calls: BTreeMap<String, Calls>,
    death: Option<Death>,
    is_dead: bool,
}

impl Tally {
    pub fn start(&self) {
        *self.state.lock() = Some(State::default());
    }

    pub fn stop(&self) -> BTreeMap<String, Calls> {
        self.state.lock().take().map(|state| state.calls).unwrap_or_default()
    }

    /// `None`: whoever comes next lives on.
    pub fn dies(&self, death: Option<Death>) {
        if let Some(state) = &mut *self.state.lock() {
            (state.death, state.is_dead) = (death, false);
        }
    }

    /// Waits until the process has done the last that it may do.
    pub async fn died(&self) {
        self.died.notified().await;
    }

    /// How many were written.
    pub fn enrolments(&self) -> usize {
        self.state.lock().as_ref().map_or(0, State::enrolments)
    }

    /// Before a call is passed on: what it is, for `note`. A dead process waits here for ever.
    pub async fn admit(&self, operation: &str, body: &[u8]) -> Outcome<Option<String>> {
        if self.state.lock().is_none() {
            return Ok(None);
        }
        let kind = kind(operation, body)?;
        if self.is_over(&kind, false) {
            std::future::pending::<()>().await;
        }
        Ok(Some(kind))
    }

    /// After it was done, and with no wait in between, so that what is written is always counted. Gives whether its answer is lost.
    pub fn note(&self, kind: &str, is_done: bool, answer: &[u8]) -> Outcome<bool> {
        let units = serde_json::from_slice::<Consumed>(answer)?.units();
        if let Some(state) = &mut *self.state.lock() {
            let calls = state.calls.entry(kind.to_owned()).or_default();
            if is_done {
                (calls.calls, calls.units) = (calls.calls + 1, calls.units + units);
            } else {
                calls.refused += 1;
            }
        }
        Ok(self.is_over(kind, true))
    }

    fn is_over(&self, kind: &str, is_written: bool) -> bool {
        let mut state = self.state.lock();
        let Some(state) = &mut *state else { return false };
        if let Some(death) = &state.death
            && death.kind == kind
            && death.is_written == is_written
            && state.enrolments() >= death.after
        {
            (state.death, state.is_dead) = (None, true);
            self.died.notify_one();
        }
        state.is_dead
    }
}

impl State {
    fn enrolments(&self) -> usize {
        self.calls.get(ENROLMENT).map_or(0, |calls| calls.calls)
    }
}

/// The operation, and of a put the type of its item.
fn kind(operation: &str, body: &[u8]) -> Outcome<String> {
    #[derive(Deserialize)]
    struct Put {
        #[serde(rename = "Item")]
        item: Item,
    }
    #[derive(Deserialize)]
    struct Item {
        r#type: BTreeMap<String, String>,
    }
    if operation != "PutItem" {
        return Ok(operation.to_owned());
    }
    let put: Put = serde_json::from_slice(body)?;
    Ok(format!("{operation} {}", put.item.r#type.values().next().map_or("", String::as_str)))
}

/// The product asks for the units of each of its calls.
#[derive(Deserialize)]
struct Consumed {
    #[serde(rename = "ConsumedCapacity")]
    consumed: Option<OneOrMore>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Capacity),
    More(Vec<Capacity>),
}

#[derive(Deserialize)]
struct Capacity {
    #[serde(rename = "CapacityUnits")]
    units: f64,
}

impl Consumed {
    fn units(&self) -> f64 {
        match &self.consumed {
            None => 0.0,
            Some(OneOrMore::One(one)) => one.units,
            Some(OneOrMore::More(more)) => more.iter().map(|one| one.units).sum(),
        }
    }
}

/// Of all kinds: read units and write units, without those that were refused.
pub fn units(calls: &BTreeMap<String, Calls>) -> (f64, f64) {
    let (mut read, mut write) = (0.0, 0.0);
    for (kind, calls) in calls {
        match kind.as_str() {
            "GetItem" | "BatchGetItem" | "Query" => read += calls.units,
            _ => write += calls.units,
        }
    }
    (read, write)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT: &[u8] = br#"{"TableName":"t","Item":{"pk":{"S":"x"},"type":{"S":"enrolment"}}}"#;
    const DONE: &[u8] = br#"{"ConsumedCapacity":{"CapacityUnits":1.0,"TableName":"t"}}"#;

    #[tokio::test]
    async fn a_process_ends_at_its_write_and_another_one_lives_on() {
        let tally = Tally::default();
        assert_eq!(tally.admit("PutItem", PUT).await.unwrap(), None);
        tally.start();
        tally.dies(Some(Death { kind: ENROLMENT, after: 2, is_written: true }));
        let kind = tally.admit("PutItem", PUT).await.unwrap().unwrap();
        assert_eq!(kind, ENROLMENT);
        assert!(!tally.note(&kind, true, DONE).unwrap());
        assert!(!tally.note(&kind, false, b"{}").unwrap());
        assert!(tally.note(&kind, true, DONE).unwrap());
        tally.died().await;
        let waiting = tally.admit("GetItem", b"{}");
        assert!(tokio::time::timeout(std::time::Duration::from_millis(5), waiting).await.is_err());
        tally.dies(None);
        assert_eq!(tally.admit("GetItem", b"{}").await.unwrap().as_deref(), Some("GetItem"));
        assert_eq!(units(&tally.stop()), (0.0, 2.0));
    }
}
