//! How a number stands with a tenant: what is known of it, and what one step makes of that. Whatever changes an opt-out or a chain of consent goes through
//! here, so the two never say different things.

use jiff::Timestamp;
use shared::crypto::{Random, sha256_hex};
use shared::model::phone_number::PhoneNumber;
use shared::{Error, Result};

use crate::consent::{ConsentEntry, ConsentFact, ConsentId, ConsentImportId, ConsentKind, millis};
use crate::consent_chain::Evidence;
use crate::opt_out::{OptOut, OptOutCause, Suspicion};
use crate::peer::{OptedOut, Peer};

/// What was read of a number, and what is to stand there after the steps that were taken.
#[derive(Debug, Clone)]
pub struct Standing {
    phone_number: PhoneNumber,
    /// As it was read.
    before: Option<Peer>,
    peer: Peer,
    opt_out: Option<OptOut>,
    /// Whether the opt-out is to be written.
    changed: bool,
    /// To be added to the chain.
    entries: Vec<ConsentEntry>,
}

/// Who takes a step, and when.
pub struct Recorder<'a> {
    /// The id of the tenant.
    pub tenant: String,
    /// See `ConsentEntry::recorded_by`.
    pub by: String,
    pub now: Timestamp,
    pub random: &'a Random,
    pub import: Option<ConsentImportId>,
}

impl Standing {
    /// Of what was read together.
    pub fn of(phone_number: PhoneNumber, peer: Option<Peer>, opt_out: Option<OptOut>, random: &Random) -> Self {
        let now = peer.clone().unwrap_or_else(|| Peer::new(phone_number.clone(), random));
        Standing { phone_number, before: peer, peer: now, opt_out, changed: false, entries: vec![] }
    }

    pub fn phone_number(&self) -> &PhoneNumber {
        &self.phone_number
    }

    /// As it is to stand.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    pub fn opt_out(&self) -> Option<&OptOut> {
        self.opt_out.as_ref()
    }

    /// Those that were added, in their order.
    pub fn entries(&self) -> &[ConsentEntry] {
        &self.entries
    }

    /// The peer as it was read.
    pub fn before(&self) -> Option<&Peer> {
        self.before.as_ref()
    }

    /// The peer to be written: with a new version, or not at all where it says nothing.
    pub fn after(&self) -> Option<Peer> {
        let version = self.before.as_ref().map_or(self.peer.version, |before| before.version + 1);
        self.peer.says_something().then(|| Peer { version, ..self.peer.clone() })
    }

    /// The opt-out, if a step changed it.
    pub fn changed_opt_out(&self) -> Option<&OptOut> {
        self.opt_out.as_ref().filter(|_| self.changed)
    }

    /// Adds an entry to the chain. Of opt-outs and opt-ins, `opt_out` and `opt_in` tell the rest.
    pub fn append(&mut self, kind: ConsentKind, fact: ConsentFact, by: &Recorder<'_>) -> Result<&ConsentEntry> {
        let consented_at = fact.moment(by.now)?;
        let evidence = |value: Option<String>| value.map(|value| Evidence::new(value, by.random));
        let metadata = (!fact.metadata.is_empty()).then(|| serde_json::to_string(&fact.metadata));
        let metadata = metadata.transpose().map_err(|error| Error::internal("recording a consent", error))?;
        let last = self.peer.chain.clone().unwrap_or_else(ConsentEntry::beginning);
        let mut entry = ConsentEntry {
            id: ConsentId::new(by.now, by.random),
            recorded_in: by.tenant.clone(),
            phone_number: self.phone_number.clone(),
            n: last.n + 1,
            kind,
            consent_type: fact.consent_type,
            consent_source: fact.source,
            consent_text_version: fact.text_version,
            consented_at,
            recorded_at: millis(by.now),
            recorded_by: by.by.clone(),
            message_id: fact.message_id,
            text: evidence(fact.text),
            ip: evidence(fact.ip),
            user_agent: evidence(fact.user_agent),
            url: evidence(fact.url),
            metadata: evidence(metadata),
            previous: last.digest,
            digest: String::new(),
            redacted: None,
            import: by.import,
        };
        entry.digest = sha256_hex(&[entry.canonical().as_bytes()]);
        self.peer.chain = Some(entry.head());
        self.peer.consents = self.peer.consents.after(&entry);
        self.entries.push(entry);
        self.entries.last().ok_or_else(|| Error::internal("recording a consent", "it was not added"))
    }

    /// Nothing may be sent to it from now on. `false`: that is so already.
    pub fn opt_out_for(&mut self, cause: OptOutCause, by: &Recorder<'_>) -> Result<bool> {
        // An import of an export that was made meanwhile may have brought one of the two without the other.
        if self.peer.opted_out.is_some() && self.opt_out.as_ref().is_some_and(OptOut::is_active) {
            return Ok(false);
        }
        let fact = ConsentFact {
            text: cause.reason.clone().or_else(|| cause.keyword.clone()),
            message_id: cause.message_id.clone(),
            consented_at: cause.said_at,
            ..ConsentFact::from_source(cause.source.name())
        };
        let since = self.append(ConsentKind::OptedOut, fact, by)?.consented_at;
        self.peer.opted_out = Some(OptedOut { since, source: cause.source, keyword: cause.keyword.clone() });
        self.peer.suspected = None;
        self.opt_out = Some(OptOut::opted_out(self.opt_out.as_ref(), &self.phone_number, &cause, since));
        self.changed = true;
        Ok(true)
    }

    /// It may be written to again, on the evidence of `fact`, which is not older than what took back the consents. `false`: it has not opted out.
    pub fn opt_in(&mut self, fact: ConsentFact, by: &Recorder<'_>) -> Result<bool> {
        let of_record = self.opt_out.as_ref().filter(|opt_out| opt_out.is_active()).and_then(|opt_out| opt_out.opted_out_at);
        let Some(since) = self.peer.opted_out.as_ref().map(|opted_out| opted_out.since).or(of_record) else { return Ok(false) };
        // Without a moment of its own it is said now, also where another clock was ahead of ours.
        let latest = self.peer.consents.last_end().max(Some(since)).unwrap_or(since);
        if fact.consented_at.is_some_and(|said| millis(said) < latest) {
            return Err(Error::field(
                "consented_at",
                "The consented_at field must not be before the opt-out, or what took consents back after it.",
            ));
        }
        let now = by.now.max(latest);
        let entry = self.append(ConsentKind::OptedIn, fact, &Recorder { tenant: by.tenant.clone(), by: by.by.clone(), now, ..*by })?;
        let at = entry.recorded_at;
        self.peer.opted_out = None;
        self.peer.suspected = None;
        self.opt_out = Some(OptOut::opted_back_in(self.opt_out.as_ref(), &self.phone_number, at));
        self.changed = true;
        Ok(true)
    }

    /// Somebody seems to have said no. `false`: that is known, or they have opted out.
    pub fn suspect(&mut self, phrase: String, now: Timestamp) -> bool {
        if self.peer.opted_out.is_some() || self.peer.suspected.is_some() {
            return false;
        }
        let suspicion = Suspicion { since: millis(now), phrase };
        self.peer.suspected = Some(suspicion.clone());
        self.opt_out = Some(OptOut::suspected(self.opt_out.as_ref(), &self.phone_number, suspicion, now));
        self.changed = true;
        true
    }

    /// They did not. `false`: nothing was suspected.
    pub fn dismiss(&mut self, now: Timestamp) -> bool {
        let of_record = self.opt_out.as_ref().is_some_and(|opt_out| opt_out.suspected.is_some());
        if self.peer.suspected.take().is_none() && !of_record {
            return false;
        }
        self.opt_out = Some(OptOut::dismissed(self.opt_out.as_ref(), &self.phone_number, now));
        self.changed = true;
        true
    }

    /// What a person wrote as the reason of the opt-out of that moment.
    pub fn forget_reason(&mut self, opted_out_at: Timestamp, now: Timestamp) {
        let of_it = self.opt_out.as_ref().filter(|opt_out| opt_out.opted_out_at == Some(opted_out_at) && opt_out.reason.is_some());
        if let Some(left) = of_it.map(|opt_out| opt_out.without_reason(now)) {
            self.opt_out = Some(left);
            self.changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::consent::ConsentType;
    use crate::consent_chain::ChainCheck;
    use crate::contact::ContactId;
    use crate::opt_out::OptOutSource;

    fn number() -> PhoneNumber {
        PhoneNumber::parse("+15551234567").unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn recorder(random: &Random, second: i64) -> Recorder<'_> {
        Recorder { tenant: "t".into(), by: "member:1".into(), now: at(second), random, import: None }
    }

    fn stop() -> OptOutCause {
        let (source, keyword, channel) = (OptOutSource::Keyword, Some("STOP".into()), Some("sms".into()));
        OptOutCause { source, keyword, channel, reason: None, message_id: Some("msg_1".into()), said_at: None }
    }

    fn consent(consent_type: ConsentType) -> ConsentFact {
        ConsentFact { consent_type: Some(consent_type), ..ConsentFact::from_source("web_form") }
    }

    #[test]
    fn an_opt_out_and_an_opt_in_are_one_step_each_and_both_are_in_the_chain() {
        let random = Random::seeded(1);
        let mut standing = Standing::of(number(), None, None, &random);
        standing.append(ConsentKind::Granted, consent(ConsentType::ExpressWritten), &recorder(&random, 1)).unwrap();
        assert!(standing.opt_out_for(stop(), &recorder(&random, 2)).unwrap());
        assert!(!standing.opt_out_for(stop(), &recorder(&random, 3)).unwrap());
        let opted_out = standing.peer().opted_out.clone().unwrap();
        assert_eq!((opted_out.since, opted_out.source, opted_out.keyword.as_deref()), (at(2), OptOutSource::Keyword, Some("STOP")));
        assert_eq!(standing.peer().consents.effective(), None);
        let record = standing.changed_opt_out().unwrap();
        assert_eq!((record.is_active(), record.opted_out_at, record.channel.as_deref()), (true, Some(at(2)), Some("sms")));

        let early = ConsentFact { consented_at: Some(at(1)), ..consent(ConsentType::Express) };
        assert!(matches!(standing.opt_in(early, &recorder(&random, 4)), Err(Error::Validation(_))));
        assert!(standing.opt_in(consent(ConsentType::Express), &recorder(&random, 4)).unwrap());
        assert!(!standing.opt_in(consent(ConsentType::Express), &recorder(&random, 5)).unwrap());
        let record = standing.changed_opt_out().unwrap();
        assert_eq!((record.is_active(), record.opted_out_at, record.opted_back_in_at), (false, Some(at(2)), Some(at(4))));
        assert_eq!((standing.peer().opted_out.as_ref(), standing.peer().consents.effective()), (None, Some(ConsentType::Express)));

        let kinds: Vec<_> = standing.entries().iter().map(|entry| (entry.n, entry.kind.name())).collect();
        assert_eq!(kinds, [(1, "granted"), (2, "opted_out"), (3, "opted_in")]);
        let mut check = ChainCheck::of(number());
        standing.entries().iter().for_each(|entry| check.take(entry));
        assert_eq!(check.ended(standing.peer().chain.as_ref()), Ok(()));
        assert_eq!(record.version, 2);
    }

    #[test]
    fn an_opt_in_is_not_older_than_a_revocation_after_the_opt_out() {
        let random = Random::seeded(1);
        let mut standing = Standing::of(number(), None, None, &random);
        standing.opt_out_for(stop(), &recorder(&random, 2)).unwrap();
        standing.append(ConsentKind::Revoked, consent(ConsentType::Implied), &recorder(&random, 5)).unwrap();
        let said_at = |second| ConsentFact { consented_at: Some(at(second)), ..consent(ConsentType::Express) };
        assert!(matches!(standing.opt_in(said_at(4), &recorder(&random, 9)), Err(Error::Validation(_))));
        assert!(standing.opt_in(said_at(5), &recorder(&random, 9)).unwrap());
        assert_eq!(standing.peer().opted_out, None);
    }

    #[test]
    fn a_reason_is_forgotten_with_the_opt_out_that_it_is_of() {
        let random = Random::seeded(1);
        let mut standing = Standing::of(number(), None, None, &random);
        standing.opt_out_for(OptOutCause { reason: Some("called us".into()), ..stop() }, &recorder(&random, 2)).unwrap();
        standing.forget_reason(at(1), at(3));
        assert_eq!(standing.opt_out().unwrap().reason.as_deref(), Some("called us"));
        standing.forget_reason(at(2), at(3));
        assert_eq!((standing.opt_out().unwrap().reason.as_deref(), standing.opt_out().unwrap().is_active()), (None, true));
    }

    #[test]
    fn what_an_import_brought_in_halves_is_made_whole() {
        let random = Random::seeded(1);
        let mut standing = Standing::of(number(), None, None, &random);
        standing.opt_out_for(stop(), &recorder(&random, 2)).unwrap();
        let (peer, opt_out) = (standing.after(), standing.opt_out().cloned());
        let mut alone = Standing::of(number(), peer, None, &random);
        assert!(alone.opt_out_for(stop(), &recorder(&random, 3)).unwrap() && alone.changed_opt_out().is_some());
        let mut alone = Standing::of(number(), None, opt_out.clone(), &random);
        assert!(alone.opt_out_for(stop(), &recorder(&random, 3)).unwrap() && alone.peer().opted_out.is_some());
        let mut alone = Standing::of(number(), None, opt_out, &random);
        assert!(alone.opt_in(consent(ConsentType::Express), &recorder(&random, 3)).unwrap());
        assert!(!alone.opt_out().unwrap().is_active());
    }

    #[test]
    fn an_opt_in_counts_where_our_clock_is_behind() {
        let random = Random::seeded(1);
        let mut standing = Standing::of(number(), None, None, &random);
        standing.opt_out_for(stop(), &recorder(&random, 9)).unwrap();
        assert!(standing.opt_in(consent(ConsentType::Express), &recorder(&random, 8)).unwrap());
        assert_eq!(standing.peer().consents.effective(), Some(ConsentType::Express));
    }

    #[test]
    fn a_suspicion_is_confirmed_or_dismissed() {
        let random = Random::seeded(1);
        let mut standing = Standing::of(number(), None, None, &random);
        assert!(!standing.dismiss(at(1)) && standing.after().is_none() && standing.changed_opt_out().is_none());
        assert!(standing.suspect("stop texting me".into(), at(1)) && !standing.suspect("please stop".into(), at(2)));
        let record = standing.changed_opt_out().unwrap();
        assert_eq!((record.is_active(), record.suspected.as_ref().map(|suspicion| suspicion.since)), (false, Some(at(1))));
        assert!(standing.after().is_some());

        let mut confirmed = standing.clone();
        assert!(confirmed.opt_out_for(stop(), &recorder(&random, 3)).unwrap());
        assert!(confirmed.peer().suspected.is_none() && confirmed.opt_out().unwrap().suspected.is_none());
        assert!(!confirmed.suspect("stop".into(), at(4)) && !confirmed.dismiss(at(4)));

        assert!(standing.dismiss(at(3)));
        let record = standing.changed_opt_out().unwrap();
        assert_eq!((record.opted_out_at, record.suspected.as_ref(), record.dismissed_at, record.version), (None, None, Some(at(3)), 2));
        // Nothing is left to say of the number.
        assert!(standing.after().is_none() && standing.entries().is_empty());
    }

    #[test]
    fn what_else_is_known_of_a_number_stays_and_its_version_moves_on() {
        let random = Random::seeded(1);
        let contact = ContactId::new(at(0), &random);
        let peer = Peer::new(number(), &random).with_contact(contact);
        let mut standing = Standing::of(number(), Some(peer.clone()), None, &random);
        for second in 0..3 {
            standing.append(ConsentKind::Granted, consent(ConsentType::Implied), &recorder(&random, second)).unwrap();
        }
        let after = standing.after().unwrap();
        assert_eq!((after.contact, after.version, standing.before()), (Some(contact), peer.version + 1, Some(&peer)));
        assert_eq!((after.chain.unwrap().n, standing.entries().len(), standing.changed_opt_out()), (3, 3, None));
        let late = Recorder { now: at(9) + SignedDuration::from_nanos(1_500_000), ..recorder(&random, 0) };
        let entry = standing.append(ConsentKind::Granted, consent(ConsentType::Implied), &late).unwrap();
        assert_eq!((entry.n, entry.recorded_at), (4, at(9) + SignedDuration::from_millis(1)));
    }
}
