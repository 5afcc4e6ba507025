//! A phone: its switches, its conversation, and what it still has to tell, in order. Nothing here knows of HTTP, of time or of a disk.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::script::Script;

/// The most messages of a conversation. Older ones are forgotten.
pub const MOST_MESSAGES: usize = 200;

/// The most characters of a message, in both directions.
pub const LONGEST_TEXT: usize = 1_600;

/// The longest pause between two posts of an event that the API has not taken.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Imessage,
    Rcs,
    Sms,
}

impl Channel {
    /// As people write it.
    pub fn title(self) -> &'static str {
        match self {
            Channel::Imessage => "iMessage",
            Channel::Rcs => "RCS",
            Channel::Sms => "SMS",
        }
    }

    /// An SMS tells nobody that it was read.
    pub fn tells_reading(self) -> bool {
        self != Channel::Sms
    }
}

/// As the API calls it: `outbound` to the phone, `inbound` from its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Outbound,
    Inbound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Delivered,
    Read,
    Failed,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Status::Delivered => "delivered",
            Status::Read => "read",
            Status::Failed => "failed",
        }
    }
}

/// One switch of a phone, and where it is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// What comes to a phone that is off arrives when it is on again.
    On(bool),
    Imessage(bool),
    Rcs(bool),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phone {
    /// E.164.
    pub number: String,
    pub on: bool,
    pub imessage: bool,
    pub rcs: bool,
    /// Oldest first.
    pub messages: Vec<Message>,
    /// What the API has not taken yet. Only the first may be posted, so that the order stays.
    pending: VecDeque<Pending>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Of an outbound message that of its sender.
    pub id: String,
    pub direction: Direction,
    /// The number at the other end.
    pub line: String,
    pub channel: Channel,
    pub text: String,
    pub at: Timestamp,
    /// What an outbound message was sent with, and its receipts repeat.
    pub reference: Option<String>,
    /// It came, or goes, through AWS End User Messaging and not through the gateway.
    #[serde(default)]
    pub by_aws: bool,
    /// It came while the phone was off, and has not arrived.
    pub held: bool,
    /// What the phone told, or is going to tell, of an outbound message.
    pub receipts: Vec<Receipt>,
    /// What the API answered to an inbound message. Nothing until it did.
    pub answer: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The same for every post of it.
    pub id: String,
    pub status: Status,
    pub reason: Option<String>,
    pub at: Timestamp,
    /// What the API answered. Nothing until it did.
    pub answer: Option<u16>,
}

/// What a gateway is sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incoming {
    pub id: String,
    pub reference: String,
    pub from: String,
    pub to: String,
    pub channel: Channel,
    pub text: String,
    #[serde(skip)]
    pub by_aws: bool,
}

/// What a gateway tells the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    Receipt { id: String, reference: String, status: Status, reason: Option<String>, channel: Channel, at: Timestamp },
    Inbound { id: String, line: String, peer: String, text: String, at: Timestamp, channel: Channel },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    pub event: Event,
    pub due: Timestamp,
    /// How often it was posted in vain.
    pub tries: u32,
    /// It is told by AWS End User Messaging.
    #[serde(default)]
    pub by_aws: bool,
}

/// `+` and 8 to 15 digits, the first of which is not 0.
pub fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (8..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0')
}

/// Whether a message may have this text.
pub fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= LONGEST_TEXT
}

impl Incoming {
    /// The same in every call about one message: AWS gives each call an id of its own.
    pub fn name(&self) -> &str {
        if self.by_aws { &self.reference } else { &self.id }
    }

    pub fn is_valid(&self) -> bool {
        let short = |text: &str, most| (1..=most).contains(&text.len());
        short(&self.id, 100) && short(&self.reference, 800) && is_number(&self.from) && is_number(&self.to) && is_text(&self.text)
    }
}

impl Event {
    pub fn id(&self) -> &str {
        match self {
            Event::Receipt { id, .. } | Event::Inbound { id, .. } => id,
        }
    }

    /// The same, as it is told at a moment: nothing happened later than that.
    pub fn told_at(mut self, moment: Timestamp) -> Event {
        match &mut self {
            Event::Receipt { at, .. } | Event::Inbound { at, .. } => *at = moment.min(*at),
        }
        self
    }
}

impl Phone {
    pub fn new(number: &str) -> Phone {
        let script = Script::of(number);
        Phone {
            number: number.to_owned(),
            on: script != Script::Off,
            imessage: !matches!(script, Script::NoImessage | Script::SmsOnly),
            rcs: script != Script::SmsOnly,
            messages: vec![],
            pending: VecDeque::new(),
        }
    }

    pub fn script(&self) -> Script {
        Script::of(&self.number)
    }

    /// Why a message on this channel can never arrive.
    pub fn refusal(&self, channel: Channel) -> Option<&'static str> {
        match channel {
            _ if self.script() == Script::Unreachable => Some("unreachable_number"),
            Channel::Imessage if !self.imessage => Some("no_imessage"),
            Channel::Rcs if !self.rcs => Some("no_rcs"),
            _ => None,
        }
    }

    /// How many events wait for the API.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// The line that wrote last. If none has, the one that the owner wrote to last.
    pub fn last_line(&self) -> Option<&str> {
        let outbound = self.messages.iter().rev().find(|message| message.direction == Direction::Outbound);
        outbound.or(self.messages.last()).map(|message| message.line.as_str())
    }

    /// Every line of the conversation, the last first.
    pub fn lines(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = vec![];
        for message in self.messages.iter().rev() {
            if !lines.contains(&message.line.as_str()) {
                lines.push(&message.line);
            }
        }
        lines
    }

    /// A message comes. The phone takes it, whether it is on or not.
    pub fn take(&mut self, incoming: Incoming, now: Timestamp) {
        let message = Message {
            id: incoming.id,
            direction: Direction::Outbound,
            line: incoming.from,
            channel: incoming.channel,
            text: incoming.text,
            at: now,
            reference: Some(incoming.reference),
            by_aws: incoming.by_aws,
            held: !self.on,
            receipts: vec![],
            answer: None,
        };
        self.add(message);
        if self.on {
            self.arrive(self.messages.len() - 1, now);
        }
    }

    /// Its owner writes to a line, on the channel of the conversation with it, otherwise on the best that the phone has.
    pub fn write(&mut self, id: String, line: &str, text: &str, now: Timestamp) -> Message {
        let last = self.messages.iter().rev().find(|message| message.line == line);
        let (before, by_aws) = (last.map(|message| message.channel), last.is_some_and(|message| message.by_aws));
        let best = match (self.imessage, self.rcs) {
            (true, _) => Channel::Imessage,
            (false, true) => Channel::Rcs,
            (false, false) => Channel::Sms,
        };
        let channel = before.filter(|channel| self.refusal(*channel).is_none()).unwrap_or(best);
        let (line, text, peer) = (line.to_owned(), text.to_owned(), self.number.clone());
        self.tell(Event::Inbound { id: id.clone(), line: line.clone(), peer, text: text.clone(), at: now, channel }, now, by_aws);
        let (direction, receipts) = (Direction::Inbound, vec![]);
        let message = Message { id, direction, line, channel, text, at: now, reference: None, by_aws, held: false, receipts, answer: None };
        self.add(message.clone());
        message
    }

    pub fn switch(&mut self, switch: Switch, now: Timestamp) {
        match switch {
            Switch::Imessage(has) => self.imessage = has,
            Switch::Rcs(has) => self.rcs = has,
            Switch::On(on) => {
                self.on = on;
                for index in 0..self.messages.len() {
                    if on && std::mem::take(&mut self.messages[index].held) {
                        self.arrive(index, now);
                    }
                }
            }
        }
    }

    /// Somebody looks at the conversation. Whether that changed anything.
    pub fn open(&mut self, now: Timestamp) -> bool {
        let (on, is_read) = (self.on, self.script().is_read());
        let unread = |message: &Message| {
            let told = message.receipts.iter().any(|receipt| receipt.status == Status::Read);
            message.direction == Direction::Outbound && message.channel.tells_reading() && !message.held && !told
        };
        let unread: Vec<usize> = (0..self.messages.len()).filter(|index| on && is_read && unread(&self.messages[*index])).collect();
        for index in &unread {
            self.receipt(*index, Status::Read, None, now);
        }
        !unread.is_empty()
    }

    /// The next event. The later ones must wait for it.
    pub fn next(&self) -> Option<&Pending> {
        self.pending.front()
    }

    /// The API has answered to an event, for good. One that is not the next changes nothing.
    pub fn settle(&mut self, event: &str, status: u16) {
        if self.pending.pop_front_if(|pending| pending.event.id() == event).is_none() {
            return;
        }
        for message in &mut self.messages {
            if message.id == event {
                message.answer = Some(status);
            }
            if let Some(receipt) = message.receipts.iter_mut().find(|receipt| receipt.id == event && receipt.answer.is_none()) {
                receipt.answer = Some(status);
            }
        }
    }

    /// An event could not be told: it is due again after a pause that doubles.
    pub fn postpone(&mut self, event: &str, now: Timestamp) {
        if let Some(first) = self.pending.front_mut().filter(|pending| pending.event.id() == event) {
            let pause = SignedDuration::from_secs(1 << first.tries.min(10)).min(LONGEST_PAUSE);
            first.tries += 1;
            first.due = now + pause;
        }
    }

    fn add(&mut self, message: Message) {
        self.messages.push(message);
        let old = self.messages.len().saturating_sub(MOST_MESSAGES);
        self.messages.drain(..old);
    }

    fn arrive(&mut self, index: usize, now: Timestamp) {
        for (after, status, reason) in self.script().receipts(self.messages[index].channel) {
            self.receipt(index, status, reason, now + after);
        }
    }

    fn receipt(&mut self, index: usize, status: Status, reason: Option<&str>, at: Timestamp) {
        let message = &mut self.messages[index];
        let (id, reason) = (format!("{}-{}", message.id, status.name()), reason.map(str::to_owned));
        message.receipts.push(Receipt { id: id.clone(), status, reason: reason.clone(), at, answer: None });
        let (reference, channel, by_aws) = (message.reference.clone().unwrap_or_default(), message.channel, message.by_aws);
        self.tell(Event::Receipt { id, reference, status, reason, channel, at }, at, by_aws);
    }

    /// Not before what is told already.
    fn tell(&mut self, event: Event, due: Timestamp, by_aws: bool) {
        let due = self.pending.back().map_or(due, |last| last.due.max(due));
        self.pending.push_back(Pending { event, due, tries: 0, by_aws });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Timestamp {
        "2030-01-01T12:00:00Z".parse().unwrap()
    }

    fn incoming(id: &str, channel: Channel) -> Incoming {
        let [id, reference, from, to, text] = [id, "ref", "+15550100", "+12025550100", "Hello"].map(str::to_owned);
        Incoming { id, reference, from, to, channel, text, by_aws: false }
    }

    /// The ids of all that the phone tells, in order, each answered with 202.
    fn told(phone: &mut Phone) -> Vec<String> {
        let mut told = vec![];
        while let Some(next) = phone.next().map(|pending| pending.event.id().to_owned()) {
            phone.settle(&next, 202);
            told.push(next);
        }
        told
    }

    #[test]
    fn a_phone_that_was_off_gets_everything_in_order() {
        let mut phone = Phone::new("+12025550100");
        phone.switch(Switch::On(false), noon());
        for id in ["a", "b", "c"] {
            phone.take(incoming(id, Channel::Imessage), noon());
        }
        assert!(!phone.open(noon()), "nobody reads what has not arrived");
        assert_eq!((phone.waiting(), phone.messages.iter().filter(|message| message.held).count()), (0, 3));
        phone.switch(Switch::On(true), noon());
        phone.switch(Switch::On(true), noon());
        assert_eq!(told(&mut phone), ["a-delivered", "b-delivered", "c-delivered"]);
        assert!(phone.messages.iter().all(|message| !message.held && message.receipts[0].answer == Some(202)));
    }

    #[test]
    fn reading_is_told_once_and_never_of_an_sms() {
        let mut phone = Phone::new("+12025550100");
        phone.take(incoming("a", Channel::Rcs), noon());
        phone.take(incoming("b", Channel::Sms), noon());
        assert!(phone.open(noon()) && !phone.open(noon()));
        assert_eq!(told(&mut phone), ["a-delivered", "b-delivered", "a-read"]);
        for (number, expected) in [("+12025550190", &[][..]), ("+12025550195", &["a-failed"])] {
            let mut phone = Phone::new(number);
            phone.take(incoming("a", Channel::Imessage), noon());
            assert!(!phone.open(noon()), "{number}");
            assert_eq!(told(&mut phone), expected, "{number}");
        }
    }

    #[test]
    fn what_is_told_keeps_its_order_and_waits_for_what_came_before() {
        let mut phone = Phone::new("+12025550191");
        phone.take(incoming("a", Channel::Imessage), noon());
        let written = phone.write("in-1".to_owned(), "+15550100", "Hi", noon());
        assert_eq!((written.channel, written.line.as_str(), phone.waiting()), (Channel::Imessage, "+15550100", 2));
        phone.settle("in-1", 404);
        assert_eq!((phone.waiting(), phone.messages[1].answer), (2, None), "it is not its turn");
        assert_eq!(phone.next().unwrap().due, noon() + SignedDuration::from_secs(10));
        for (tries, pause) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (8, 60)] {
            phone.postpone("in-1", noon());
            phone.postpone("a-delivered", noon());
            let next = phone.next().unwrap();
            assert_eq!((next.tries, next.due), (tries, noon() + SignedDuration::from_secs(pause)));
        }
        assert_eq!(told(&mut phone), ["a-delivered", "in-1"]);
        assert_eq!(phone.messages[1].answer, Some(202));
    }

    #[test]
    fn its_owner_writes_on_a_channel_that_the_phone_has() {
        let mut phone = Phone::new("+12025550197");
        assert_eq!(phone.write("1".to_owned(), "+15550100", "Hi", noon()).channel, Channel::Sms);
        phone.switch(Switch::Rcs(true), noon());
        assert_eq!(phone.write("2".to_owned(), "+15550100", "Hi", noon()).channel, Channel::Sms, "as in the conversation");
        assert_eq!(phone.write("3".to_owned(), "+15550101", "Hi", noon()).channel, Channel::Rcs);
        phone.switch(Switch::Rcs(false), noon());
        assert_eq!(phone.write("4".to_owned(), "+15550101", "Hi", noon()).channel, Channel::Sms);
        assert_eq!((phone.lines(), phone.last_line()), (vec!["+15550101", "+15550100"], Some("+15550101")));
        phone.take(incoming("a", Channel::Sms), noon());
        phone.write("5".to_owned(), "+15550101", "Hi", noon());
        assert_eq!(phone.last_line(), Some("+15550100"), "the line that wrote");
    }

    #[test]
    fn a_conversation_keeps_its_last_messages_and_all_that_it_has_to_tell() {
        let mut phone = Phone::new("+12025550100");
        for number in 0..MOST_MESSAGES + 5 {
            phone.take(incoming(&number.to_string(), Channel::Sms), noon());
        }
        assert_eq!((phone.messages.len(), phone.messages[0].id.as_str()), (MOST_MESSAGES, "5"));
        assert_eq!(told(&mut phone).len(), MOST_MESSAGES + 5);
    }

    #[test]
    fn numbers_and_texts_are_what_the_api_takes() {
        for number in ["+15550100", "+123456789012345"] {
            assert!(is_number(number), "{number}");
        }
        for number in ["", "+", "15550100", "+1555010", "+1234567890123456", "+05550100", "+1555 0100", "+١٢٣٤٥٦٧٨"] {
            assert!(!is_number(number), "{number}");
        }
        assert!(is_text(&"👋".repeat(LONGEST_TEXT)) && !is_text(&"x".repeat(LONGEST_TEXT + 1)) && !is_text(" \n"));
    }
}
