//! Tells the API what happens to the phones: an event at a time of each phone, up to 100 phones in one post. What the API cannot take now is
//! told again, with the same id, before anything else of that phone.

use std::{collections::HashSet, time::Duration};

use aws_lc_rs::digest;
use bytes::Bytes;
use http::{Request, header::CONTENT_TYPE};
use jiff::Timestamp;
use serde_json::json;

use super::phone::Event;
use super::{PHONES, PhoneError, Phones};
use crate::journal::{Change, JournalError};
use crate::webhook_signature::{ID, SIGNATURE, TIMESTAMP};

/// The most events of a post.
const MOST_EVENTS: usize = 100;

/// How long nothing is looked for when nothing is to be told. Whatever happens ends the wait.
const IDLE: Duration = Duration::from_secs(3_600);

const AFTER_TROUBLE: Duration = Duration::from_secs(1);

/// An event, and whose it is.
#[derive(Clone)]
struct Told {
    number: String,
    event: Event,
    by_aws: bool,
}

/// What became of a post.
enum Verdict {
    /// Answered for good: taken, or refused.
    Settled(u16),
    /// To be told again. Why, for people.
    Later(String),
}

impl Phones {
    /// Tells everything that is to be told, as if its time had come, to `send`: a signed `POST /v1/gateways/{id}/events`, which gives the
    /// status of its answer. Returns how many events were answered for good. What `send` cannot take stays, with all that comes after it.
    pub async fn play<F: Future<Output = Result<u16, String>>>(&self, send: impl Fn(Request<Bytes>) -> F) -> Result<usize, PhoneError> {
        let (mut settled, mut stuck) = (0, HashSet::new());
        loop {
            let told = self.due(None, &stuck);
            if told.is_empty() {
                return Ok(settled);
            }
            for (told, verdict) in self.post(told, &send).await? {
                match verdict {
                    Verdict::Settled(_) => settled += told.len(),
                    Verdict::Later(_) => stuck.extend(told.into_iter().map(|told| told.number)),
                }
            }
        }
    }

    /// Tells everything at its time.
    pub async fn run(self, trouble: impl Fn(&str)) {
        let mut news = self.news();
        loop {
            news.borrow_and_update();
            let pause = match self.play_due(&trouble).await {
                Ok(pause) => pause,
                Err(problem) => {
                    trouble(&format!("the phones cannot tell anything: {problem}"));
                    tokio::time::sleep(AFTER_TROUBLE).await;
                    continue;
                }
            };
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Returns how long it is until something else is due.
    async fn play_due(&self, trouble: impl Fn(&str)) -> Result<Duration, PhoneError> {
        loop {
            let Some(connection) = self.shared.api.lock().clone() else { return Ok(IDLE) };
            let now = self.now();
            let told = self.due(Some(now), &HashSet::new());
            if told.is_empty() {
                let next = self.shared.state.lock().phones.values().filter_map(|phone| Some(phone.next()?.due)).min();
                return Ok(next.map_or(IDLE, |due| Duration::try_from(due.duration_since(now)).unwrap_or_default()));
            }
            let send = async |request| Ok(connection.api.send(request).await?.status().as_u16());
            for (_, verdict) in self.post(told, send).await? {
                match verdict {
                    Verdict::Settled(200..=299) => {}
                    Verdict::Settled(status) => trouble(&format!("the API refused what a phone told it, with {status}")),
                    Verdict::Later(problem) => trouble(&format!("the phones will tell it again: {problem}")),
                }
            }
        }
    }

    /// The next event of each phone that is due, or all that come next if no moment is given.
    fn due(&self, at: Option<Timestamp>, without: &HashSet<String>) -> Vec<Told> {
        let now = self.now();
        let kept = self.shared.state.lock();
        let next = kept.phones.values().filter(|phone| !without.contains(&phone.number)).filter_map(|phone| {
            let pending = phone.next().filter(|pending| at.is_none_or(|at| pending.due <= at))?;
            Some(Told { number: phone.number.clone(), event: pending.event.clone().told_at(now), by_aws: pending.by_aws })
        });
        next.take(MOST_EVENTS).collect()
    }

    /// Publishes what AWS End User Messaging tells, and posts the rest together. If they are refused together, one may be the reason, and each is posted alone.
    async fn post<F>(&self, told: Vec<Told>, send: impl Fn(Request<Bytes>) -> F) -> Result<Vec<(Vec<Told>, Verdict)>, PhoneError>
    where
        F: Future<Output = Result<u16, String>>,
    {
        let (published, told): (Vec<Told>, Vec<Told>) = told.into_iter().partition(|told| told.by_aws);
        for told in &published {
            self.publish(&told.number, &told.event)?;
        }
        self.note(&published, &Verdict::Settled(200))?;
        let published = published.into_iter().map(|told| (vec![told], Verdict::Settled(200)));
        if told.is_empty() {
            return Ok(published.collect());
        }
        let verdict = judge(send(self.request(&told)?).await);
        if told.len() == 1 || !matches!(verdict, Verdict::Settled(400..)) {
            self.note(&told, &verdict)?;
            return Ok(published.chain([(told, verdict)]).collect());
        }
        let mut verdicts: Vec<_> = published.collect();
        for told in told.into_iter().map(|told| vec![told]) {
            let verdict = judge(send(self.request(&told)?).await);
            self.note(&told, &verdict)?;
            verdicts.push((told, verdict));
        }
        Ok(verdicts)
    }

    /// An event is posted as an object, several as an array. The same events have the same `webhook-id` each time.
    fn request(&self, told: &[Told]) -> Result<Request<Bytes>, PhoneError> {
        let gateway = self.shared.api.lock().as_ref().map(|connection| connection.gateway.clone()).ok_or(PhoneError::Alone)?;
        let (id, body) = match told {
            [told] => (told.event.id().to_owned(), json!(told.event)),
            several => {
                let ids: Vec<&str> = several.iter().map(|told| told.event.id()).collect();
                let digest = digest::digest(&digest::SHA256, ids.join(" ").as_bytes());
                let id: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
                (format!("events-{id}"), several.iter().map(|told| json!(told.event)).collect())
            }
        };
        let (body, at) = (body.to_string(), self.now().as_second());
        let signature = self.shared.secret.lock().sign(&id, at, body.as_bytes());
        let request = Request::post(format!("/v1/gateways/{gateway}/events"))
            .header(CONTENT_TYPE, "application/json")
            .header(ID, id)
            .header(TIMESTAMP, at)
            .header(SIGNATURE, signature);
        Ok(request.body(body.into())?)
    }

    /// Writes down what became of a post.
    fn note(&self, told: &[Told], verdict: &Verdict) -> Result<(), JournalError> {
        let now = self.now();
        let mut kept = self.shared.state.lock();
        let mut phones = vec![];
        for told in told {
            let Some(mut phone) = kept.phones.get(&told.number).cloned() else { continue };
            match verdict {
                Verdict::Settled(status) => phone.settle(told.event.id(), *status),
                Verdict::Later(_) => phone.postpone(told.event.id(), now),
            }
            phones.push(phone);
        }
        let changes = phones.iter().map(|phone| Change::put(PHONES, &phone.number, phone)).collect::<Result<Vec<_>, _>>()?;
        self.shared.journal.apply(&changes)?;
        kept.phones.extend(phones.into_iter().map(|phone| (phone.number.clone(), phone)));
        self.changed();
        Ok(())
    }
}

/// An answer that is no answer, or says so, asks for another try.
fn judge(answer: Result<u16, String>) -> Verdict {
    match answer {
        Ok(status @ (429 | 500..)) => Verdict::Later(format!("the API answered {status}")),
        Ok(status) => Verdict::Settled(status),
        Err(problem) => Verdict::Later(problem),
    }
}
