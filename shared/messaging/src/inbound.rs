//! Messages that come in from phones: whose they are, and what follows from what they say. One that comes again changes nothing more.

use futures_util::future::try_join;
use jiff::Timestamp;
use records::consent::ConsentFact;
use records::keywords::{self, Keyword};
use records::opt_out::{OptOutCause, OptOutSource};
use records::phone_message::{Inbound, PhoneMessage, PhoneMessageId};
use records::standing::{Recorder, Standing};
use shared::crypto;
use shared::model::gateway::GatewayId;
use shared::model::line::{Channel, LineId, LinePeer, LinePool};
use shared::model::phone_number::PhoneNumber;
use shared::model::tenant::{Tenant, TenantStatus};
use shared::model::unclaimed::Unclaimed;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, conflict};
use shared::{Error, Result};

use crate::standings;

/// How often a message is taken in again that meets others at its number.
const TRIES: u32 = 20;
const KNOWN: &str = "The message is here.";

/// A message as what carries it reports it.
pub struct Arrival<'a> {
    /// Of its line: a gateway, or AWS End User Messaging.
    pub carrier: Option<GatewayId>,
    pub pool: &'a LinePool,
    /// The carrier's own name for it.
    pub id: &'a str,
    pub line: &'a PhoneNumber,
    pub peer: PhoneNumber,
    pub text: String,
    pub channel: Channel,
    pub at: Timestamp,
}

/// `false`: the line is none of the carrier's, or the tenant is gone. Where nobody has written to the number from the line, nobody knows whom it is for: it is
/// kept for an operator to say so. STOP and START count then, too.
pub async fn receive(work: &WorkContext, arrival: Arrival<'_>) -> Result<bool> {
    let Arrival { carrier, pool, id, line, peer, text, channel, at } = arrival;
    let Some(line) = pool.of_number(line).filter(|line| line.gateway == carrier) else { return Ok(false) };
    let carrier = carrier.map_or_else(|| "aws".to_owned(), |gateway| gateway.to_string());
    let id = PhoneMessageId::of(at, &crypto::hash(&[carrier.as_bytes(), id.as_bytes()]));
    match holder(work, line.id, &peer, (&text, at)).await? {
        Holder::Tenant(store) => {
            let came = Inbound { peer, line: line.id, line_number: line.phone_number.clone(), channel, body: text };
            take_in(work, &store, &PhoneMessage::inbound(id, came, at), Words::Count).await
        }
        Holder::Nobody => Ok(true),
        Holder::Unknown => {
            let unclaimed = Unclaimed { message: id.into(), line: line.id, phone_number: peer, text, channel, came_at: at };
            match work.directory.create(&unclaimed, || Error::Conflict(KNOWN.into())).await {
                Ok(()) | Err(Error::Conflict(_)) => Ok(true),
                Err(error) => Err(error),
            }
        }
    }
}

/// Whether what a message says has its effect.
#[derive(Clone, Copy)]
pub enum Words {
    Count,
    /// It was said to nobody in particular, or long ago.
    AreRead,
}

/// Takes in a message of a tenant's conversation, with what follows from what it says. `false`: the tenant is gone.
pub async fn take_in(work: &WorkContext, store: &TenantStore, message: &PhoneMessage, words: Words) -> Result<bool> {
    let peer = message.peer();
    for round in 0..TRIES {
        let profile = Tenant::key_of();
        let (mut standing, tenant) = try_join(standings::read(store, peer), store.find(&profile)).await?;
        let Some(tenant) = tenant.filter(|tenant| tenant.status != TenantStatus::Closed) else { return Ok(false) };
        let says = match words {
            Words::Count => meaning(message, &mut standing, store)?,
            Words::AreRead => Meaning { changes: false, answer: None },
        };
        let mut writing = store.transaction().while_kept(store)?.create(store, message, conflict(KNOWN))?;
        if says.changes {
            writing = standings::write(writing, store, &standing)?;
        }
        // Of a suspended tenant a STOP counts, and nothing else acts.
        let answer = says.answer.filter(|_| tenant.inaccessible(work.now()).is_none());
        let answer = answer.and_then(|answer| {
            let (id, text) = (answer.id(message, work.now()), answer.text(&tenant.name));
            PhoneMessage::confirmation(id, message, text, work.now())
        });
        // Programs that ask for help of each other end so.
        let answer = match answer {
            Some(answer) if store.find(&PhoneMessage::key_of(answer.id)).await?.is_some() => None,
            answer => answer,
        };
        if let Some(answer) = &answer {
            writing = writing.create(store, answer, conflict("It is answered."))?;
        }
        match writing.commit().await {
            Ok(()) => return Ok(true),
            Err(Error::Conflict(refusal)) if refusal == KNOWN => return Ok(true),
            // Something else happened to the number at the same moment.
            Err(Error::Conflict(_)) => standings::wait(store, round).await,
            Err(Error::NotFound) => match store.find(&Tenant::key_of()).await? {
                Some(tenant) if tenant.status != TenantStatus::Closed => standings::wait(store, round).await,
                _ => return Ok(false),
            },
            Err(error) => return Err(error),
        }
    }
    Err(Error::Unavailable { doing: "taking a message in", cause: "others change its number".into() })
}

enum Holder {
    Tenant(TenantStore),
    /// What was said has its effect without one.
    Nobody,
    Unknown,
}

/// Whose the conversation of a number with a line is. Nobody's STOP keeps the line from writing to the number, for whomever, and a START that was said after
/// it ends that.
async fn holder(work: &WorkContext, line: LineId, peer: &PhoneNumber, (text, at): (&str, Timestamp)) -> Result<Holder> {
    let (directory, key) = (&work.directory, LinePeer::key_of(line, peer));
    for _ in 0..TRIES {
        let known = directory.find(&key).await?;
        if let Some(store) = known.as_ref().and_then(|known| work.conversing(known)) {
            return Ok(Holder::Tenant(store));
        }
        match (keywords::of(text), known) {
            (Some(Keyword::Stop), None) => match directory.create(&LinePeer::nobodys(line, peer.clone(), at), Error::contested).await {
                // A tenant began to write to the number at the same moment.
                Err(Error::Conflict(_)) => continue,
                stopped => stopped?,
            },
            (Some(Keyword::Stop), Some(stopped)) => match stopped.stopped_again(at) {
                Some(again) if !directory.replace_if(&again, &stopped).await? => continue,
                _ => {}
            },
            (Some(Keyword::Start), Some(stopped)) if stopped.is_stopped_after(at) => {}
            (Some(Keyword::Start), Some(stopped)) => match directory.transaction().delete_unchanged(directory, &stopped)?.commit().await {
                Err(Error::Conflict(_) | Error::NotFound) => continue,
                started => started?,
            },
            _ => {
                tracing::warn!(%line, "a message came in from a number to which nobody has written");
                return Ok(Holder::Unknown);
            }
        }
        return Ok(Holder::Nobody);
    }
    Err(Error::contested())
}

/// What a message changes, and what it is answered with.
struct Meaning {
    changes: bool,
    answer: Option<Confirmation>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Confirmation {
    OptedOut,
    OptedIn,
    Help,
}

/// STOP and START count once: a second one is silent, and START of somebody who has not opted out is an ordinary message. So is one that was said before
/// the opt-out and comes in after it: the last word is to count, and not the last to arrive.
fn meaning(message: &PhoneMessage, standing: &mut Standing, store: &TenantStore) -> Result<Meaning> {
    let by = Recorder { tenant: store.tenant_id().to_string(), by: "phone".into(), now: store.now(), random: store.random(), import: None };
    let (word, message_id) = (keywords::written(&message.body), Some(message.id.prefixed()));
    let answered = |changes: bool, answer: Confirmation| Meaning { changes, answer: changes.then_some(answer) };
    match keywords::of(&message.body) {
        Some(Keyword::Stop) => {
            let channel = message.channel.map(|channel| channel.word().to_owned());
            let said_at = Some(message.created_at.min(store.now()));
            let cause = OptOutCause { source: OptOutSource::Keyword, keyword: Some(word), channel, reason: None, message_id, said_at };
            Ok(answered(standing.opt_out_for(cause, &by)?, Confirmation::OptedOut))
        }
        Some(Keyword::Start) if standing.peer().opted_out.as_ref().is_some_and(|opted_out| message.created_at < opted_out.since) => {
            Ok(Meaning { changes: false, answer: None })
        }
        Some(Keyword::Start) => {
            let fact = ConsentFact { text: Some(word), message_id, ..ConsentFact::from_source("sms_keyword") };
            Ok(answered(standing.opt_in(fact, &by)?, Confirmation::OptedIn))
        }
        Some(Keyword::Help) => Ok(Meaning { changes: false, answer: Some(Confirmation::Help) }),
        None => {
            let changes = keywords::meant(&message.body).is_some_and(|phrase| standing.suspect(phrase.to_owned(), store.now()));
            Ok(Meaning { changes, answer: None })
        }
    }
}

impl Confirmation {
    /// A step of a number is answered once; a call for help once an hour.
    fn id(self, message: &PhoneMessage, now: Timestamp) -> PhoneMessageId {
        let peer = message.peer().to_string();
        match self {
            Confirmation::Help => {
                let hour = Timestamp::from_second(now.as_second().div_euclid(3_600) * 3_600).unwrap_or(now);
                PhoneMessageId::of(hour, &crypto::hash(&[peer.as_bytes(), b"help"]))
            }
            _ => PhoneMessageId::of(message.created_at, &crypto::hash(&[message.id.to_string().as_bytes(), b"confirmation"])),
        }
    }

    /// One message, without advertising (47 CFR 64.1200(a)(12)). `sender` is who the person has written to.
    fn text(self, sender: &str) -> String {
        match self {
            Confirmation::OptedOut => {
                format!("{sender}: you are unsubscribed and will get no more messages. Reply START to get them again.")
            }
            Confirmation::OptedIn => format!("{sender}: you will get messages again. Reply HELP for help, STOP to end them."),
            Confirmation::Help => format!("{sender}: reply STOP to end these messages."),
        }
    }
}
