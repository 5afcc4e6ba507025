//! SQS: winterbaume's queue state behind our own storage trait. Every message is in the journal, so that an acknowledged message survives
//! SIGKILL. Adds `MessageGroupId`, which winterbaume drops.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use winterbaume_sqs::{
    SendMessageOutput, SqsBackend, SqsState, SqsStateView, StateViewError,
    state::{QueueState, SqsError},
    types::{Message, MessageAttribute, MessageMoveTask, Queue},
};

use super::{ACCOUNT, AwsError, REGION};
use crate::journal::{Change, Journal};
use crate::lock::{Guard, Lock};

const SPACE: &str = "message";

/// Cheap to clone. Clones share the queues.
#[derive(Clone)]
pub struct Queues {
    shared: Arc<Shared>,
}

/// A message as an event source or a test sees it.
#[derive(Debug, Clone)]
pub struct ReceivedMessage {
    pub message_id: String,
    pub receipt_handle: String,
    pub body: String,
    pub body_md5: String,
    pub group: Option<String>,
    pub receive_count: u32,
    pub sent_at: i64,
    pub first_received_at: i64,
    pub sender: String,
    pub attributes: BTreeMap<String, MessageAttribute>,
}

/// A message as it is sent.
#[derive(Default)]
pub(super) struct NewMessage {
    pub body: String,
    pub delay_seconds: Option<u32>,
    pub attributes: HashMap<String, MessageAttribute>,
    pub group: Option<String>,
    pub deduplication: Option<String>,
}

/// How many messages a queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    pub visible: usize,
    /// Received and not yet deleted, or delayed.
    pub hidden: usize,
}

struct Shared {
    journal: Journal,
    inner: Lock<Inner>,
}

#[derive(Default)]
struct Inner {
    state: SqsState,
    groups: HashMap<String, String>,
    /// Messages in the journal, with the queue and the receive count stored there, once `unwritten` is written.
    kept: HashMap<String, (String, u32)>,
    /// What the journal does not have yet.
    unwritten: Vec<Change>,
    /// Messages from the journal whose queue does not exist yet.
    waiting: HashMap<String, Vec<KeptMessage>>,
    /// What the body of a message that is refused contains, and how often that is still to happen.
    refusals: Vec<(String, usize)>,
}

#[derive(Serialize, Deserialize)]
struct KeptMessage {
    queue: String,
    id: String,
    body: String,
    md5: String,
    sender: String,
    sent: i64,
    first_received: Option<i64>,
    receive_count: u32,
    /// Only a delay set by the sender is kept. Who had received a message is lost with the process.
    delayed_until: i64,
    group: Option<String>,
    attributes: BTreeMap<String, KeptAttribute>,
}

#[derive(Serialize, Deserialize)]
struct KeptAttribute {
    data_type: String,
    text: Option<String>,
    binary: Option<Vec<u8>>,
}

impl Queues {
    pub fn open(journal: Journal) -> Result<Queues, AwsError> {
        let mut inner = Inner::default();
        for (id, message) in journal.list::<KeptMessage>(SPACE)? {
            inner.kept.insert(id, (message.queue.clone(), message.receive_count));
            inner.waiting.entry(message.queue.clone()).or_default().push(message);
        }
        Ok(Queues { shared: Arc::new(Shared { journal, inner: Lock::new(inner) }) })
    }

    /// Creates the queue, or sets these attributes on an existing one.
    pub fn create(&self, name: &str, attributes: &BTreeMap<String, String>) -> Result<(), AwsError> {
        let attributes: HashMap<String, String> = attributes.clone().into_iter().collect();
        self.change(|inner| {
            if inner.state.queues.contains_key(name) {
                return inner.state.set_queue_attributes(name, &attributes);
            }
            inner.state.create_queue(name, REGION, ACCOUNT, &attributes, None)?;
            inner.refill(name);
            Ok(())
        })
        .map_err(service_error)
    }

    pub fn send(&self, queue: &str, body: &str, group: Option<&str>) -> Result<String, AwsError> {
        let message = NewMessage { body: body.to_owned(), group: group.map(str::to_owned), ..NewMessage::default() };
        self.put(queue, message).map(|sent| sent.message_id).map_err(service_error)
    }

    /// Sends a message and makes other changes of the same journal, all or none.
    pub fn send_along(&self, queue: &str, body: &str, others: Vec<Change>) -> Result<(), AwsError> {
        let message = NewMessage { body: body.to_owned(), ..NewMessage::default() };
        let sent = self.change_along(others, |inner| inner.put(queue, message));
        sent.map(|_| ()).map_err(service_error)
    }

    /// Receives messages with the queue's own visibility timeout.
    pub fn receive(&self, queue: &str, most: usize) -> Result<Vec<ReceivedMessage>, AwsError> {
        self.change(|inner| {
            let messages = inner.receive(queue, most, None)?;
            Ok(messages.into_iter().map(|message| inner.received(message)).collect())
        })
        .map_err(service_error)
    }

    pub fn delete(&self, queue: &str, receipt_handle: &str) -> Result<(), AwsError> {
        self.change(|inner| inner.delete(queue, receipt_handle)).map_err(service_error)
    }

    /// Undoes a receive: the message is visible at once, and the receive does not count.
    pub fn give_back(&self, queue: &str, message_id: &str) -> Result<(), AwsError> {
        self.change(|inner| {
            let state = inner.state.queues.get_mut(queue).ok_or(SqsError::NonExistentQueue)?;
            if let Some(message) = state.messages.iter_mut().find(|message| message.message_id == message_id) {
                message.visible_at = 0;
                message.approximate_receive_count = message.approximate_receive_count.saturating_sub(1);
                let message = message.clone();
                inner.keep(queue, &message)?;
            }
            Ok(())
        })
        .map_err(service_error)
    }

    pub fn depth(&self, queue: &str) -> Result<Depth, AwsError> {
        let inner = self.lock();
        let queue = inner.state.queues.get(queue).ok_or_else(|| service_error(SqsError::NonExistentQueue))?;
        let visible = queue.messages.iter().filter(|message| message.is_visible()).count();
        Ok(Depth { visible, hidden: queue.messages.len() - visible })
    }

    /// Returns all messages of a queue without receiving them.
    pub fn peek(&self, queue: &str) -> Result<Vec<ReceivedMessage>, AwsError> {
        let inner = self.lock();
        let queue = inner.state.queues.get(queue).ok_or_else(|| service_error(SqsError::NonExistentQueue))?;
        Ok(queue.messages.iter().map(|message| inner.received(message.clone())).collect())
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.lock().state.queues.keys().cloned().collect();
        names.sort();
        names
    }

    /// Ends all delays and visibility timeouts of a queue at once. Returns how many there were.
    pub fn skip_waiting(&self, queue: &str) -> usize {
        let mut inner = self.lock();
        let Some(queue) = inner.state.queues.get_mut(queue) else {
            return 0;
        };
        let hidden = queue.messages.iter_mut().filter(|message| !message.is_visible());
        hidden.map(|message| message.visible_at = 0).count()
    }

    /// Lets time pass in queues until the next delay or visibility timeout ends. Returns how much that was; `None` if nothing waits.
    pub fn skip_to_next(&self, queues: &BTreeSet<&str>) -> Option<Duration> {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(i64::MAX);
        let mut inner = self.lock();
        let queues = inner.state.queues.iter_mut().filter(|(name, _)| queues.contains(name.as_str()));
        let messages = queues.flat_map(|(_, queue)| &mut queue.messages);
        let hidden: Vec<&mut Message> = messages.filter(|message| !message.is_visible()).collect();
        let passes = hidden.iter().map(|message| message.visible_at).min()? - now;
        hidden.into_iter().for_each(|message| message.visible_at -= passes);
        Some(Duration::from_millis(u64::try_from(passes).unwrap_or(0)))
    }

    /// For tests: the next messages whose body contains the text are refused, as when SQS has a fault of its own, so many times.
    pub fn refuse(&self, text: &str, times: usize) {
        self.lock().refusals.push((text.to_owned(), times));
    }

    /// The messages of one request, each of which is taken or refused by itself.
    pub(super) fn put_batch(&self, queue: &str, messages: Vec<NewMessage>) -> Result<Vec<Result<SendMessageOutput, SqsError>>, SqsError> {
        self.change(|inner| {
            let known = inner.state.queues.contains_key(queue);
            let put = |message| inner.put(queue, message);
            if known { Ok(messages.into_iter().map(put).collect()) } else { Err(SqsError::NonExistentQueue) }
        })
    }

    fn put(&self, queue: &str, message: NewMessage) -> Result<SendMessageOutput, SqsError> {
        self.change(|inner| inner.put(queue, message))
    }

    /// Makes a change, which is in the journal before it is acknowledged.
    fn change<T>(&self, make: impl FnOnce(&mut Inner) -> Result<T, SqsError>) -> Result<T, SqsError> {
        self.change_along(vec![], make)
    }

    fn change_along<T>(&self, others: Vec<Change>, make: impl FnOnce(&mut Inner) -> Result<T, SqsError>) -> Result<T, SqsError> {
        let mut inner = self.lock();
        let outcome = make(&mut inner);
        let own = inner.unwritten.len();
        if outcome.is_ok() {
            inner.unwritten.extend(others);
        }
        if !inner.unwritten.is_empty() {
            if let Err(error) = self.shared.journal.apply(&inner.unwritten) {
                // The own changes are made, and written with the next ones. The others belong to whoever is told of the failure.
                inner.unwritten.truncate(own);
                return Err(internal(error));
            }
            inner.unwritten.clear();
        }
        outcome
    }

    /// A change that may touch many messages: what is to be written is found by comparing them all.
    fn change_many<T>(&self, make: impl FnOnce(&mut Inner) -> Result<T, SqsError>) -> Result<T, SqsError> {
        self.change(|inner| {
            let outcome = make(inner);
            inner.compare()?;
            outcome
        })
    }

    fn lock(&self) -> Guard<'_, Inner> {
        self.shared.inner.lock()
    }
}

impl Inner {
    fn put(&mut self, queue: &str, message: NewMessage) -> Result<SendMessageOutput, SqsError> {
        let NewMessage { body, delay_seconds, attributes, group, deduplication } = message;
        if let Some((_, times)) = self.refusals.iter_mut().find(|(text, times)| *times > 0 && body.contains(text.as_str())) {
            *times -= 1;
            return Err(SqsError::InternalError("refused, as a test asked for".to_owned()));
        }
        let sent = self.state.send_message(queue, &body, delay_seconds, attributes, group.as_deref(), deduplication.as_deref())?;
        if let Some(group) = group {
            self.groups.insert(sent.message_id.clone(), group);
        }
        // One that was sent already, by its deduplication id, is not the last.
        let last = self.state.queues.get(queue).and_then(|queue| queue.messages.last()).cloned();
        if let Some(message) = last.filter(|message| message.message_id == sent.message_id) {
            self.keep(queue, &message)?;
        }
        Ok(SendMessageOutput { message_id: sent.message_id, body_md5: sent.body_md5 })
    }

    fn receive(&mut self, queue: &str, most: usize, visibility_timeout: Option<u32>) -> Result<Vec<Message>, SqsError> {
        let length = |inner: &Inner| inner.state.queues.get(queue).map(|queue| queue.messages.len());
        let before = length(self);
        let received = self.state.receive_message(queue, most, visibility_timeout)?;
        received.iter().try_for_each(|message| self.keep(queue, message))?;
        // Some went to the dead-letter queue.
        if length(self) != before {
            self.compare()?;
        }
        Ok(received)
    }

    fn delete(&mut self, queue: &str, receipt_handle: &str) -> Result<(), SqsError> {
        let messages = self.state.queues.get(queue).map(|queue| &queue.messages);
        let is_meant = |message: &&Message| message.all_receipt_handles.iter().any(|handle| handle == receipt_handle);
        let id = messages.and_then(|messages| messages.iter().find(is_meant)).map(|message| message.message_id.clone());
        self.state.delete_message(queue, receipt_handle)?;
        id.into_iter().for_each(|id| self.forget(id));
        Ok(())
    }

    /// Puts messages from the journal back into their queue.
    fn refill(&mut self, queue: &str) {
        for kept in self.waiting.remove(queue).unwrap_or_default() {
            if let Some(group) = &kept.group {
                self.groups.insert(kept.id.clone(), group.clone());
            }
            if let Some(queue) = self.state.queues.get_mut(queue) {
                queue.messages.push(kept.into_message());
            }
        }
    }

    /// winterbaume records a move task without moving anything. This moves the messages and closes the task.
    fn redrive(&mut self, task: &str, source: &str, destination: Option<&str>) {
        let name_of = |wanted: &dyn Fn(&QueueState) -> bool| {
            let found = self.state.queues.iter().find(|(_, queue)| wanted(queue));
            found.map(|(name, _)| name.clone())
        };
        let from = name_of(&|queue| queue.queue.arn == source);
        // Without a destination, messages go back to the queue whose dead-letter queue this is.
        let to = name_of(&|queue| match destination {
            Some(destination) => queue.queue.arn == destination,
            None => queue.dead_letter_target_arn.as_deref() == Some(source),
        });
        let mut moved = Vec::new();
        if let (Some(from), Some(_)) = (&from, &to)
            && let Some(from) = self.state.queues.get_mut(from)
        {
            moved = std::mem::take(&mut from.messages);
        }
        let count = moved.len() as i64;
        if let Some(to) = to.and_then(|to| self.state.queues.get_mut(&to)) {
            to.messages.extend(moved.into_iter().map(|message| Message {
                receipt_handle: None,
                all_receipt_handles: Vec::new(),
                approximate_receive_count: 0,
                approximate_first_receive_timestamp: None,
                visible_at: 0,
                ..message
            }));
        }
        for record in self.state.message_move_tasks.iter_mut().filter(|record| record.task_handle == task) {
            record.status = "COMPLETED".to_owned();
            record.approximate_number_of_messages_moved = count;
        }
    }

    fn received(&self, message: Message) -> ReceivedMessage {
        ReceivedMessage {
            group: self.groups.get(&message.message_id).cloned(),
            receipt_handle: message.receipt_handle.unwrap_or_default(),
            receive_count: message.approximate_receive_count,
            sent_at: message.sent_timestamp,
            first_received_at: message.approximate_first_receive_timestamp.unwrap_or_default(),
            sender: message.sender_id,
            attributes: message.message_attributes.into_iter().collect(),
            message_id: message.message_id,
            body: message.body,
            body_md5: message.body_md5,
        }
    }

    /// A message as it is now is to be written.
    fn keep(&mut self, queue: &str, message: &Message) -> Result<(), SqsError> {
        let group = self.groups.get(&message.message_id).cloned();
        let change = Change::put(SPACE, &message.message_id, &KeptMessage::new(queue, message, group)).map_err(internal)?;
        self.unwritten.push(change);
        self.kept.insert(message.message_id.clone(), (queue.to_owned(), message.approximate_receive_count));
        Ok(())
    }

    fn forget(&mut self, id: String) {
        self.unwritten.push(Change::delete(SPACE, &id));
        self.kept.remove(&id);
        self.groups.remove(&id);
    }

    /// Writes the difference between the queues and the journal.
    fn compare(&mut self) -> Result<(), SqsError> {
        let all = self.state.queues.iter().flat_map(|(name, queue)| queue.messages.iter().map(move |message| (name, message)));
        let is_kept = |queue: &String, message: &Message| {
            self.kept.get(&message.message_id).is_some_and(|(at, count)| at == queue && *count == message.approximate_receive_count)
        };
        let changed = all.clone().filter(|(queue, message)| !is_kept(queue, message));
        let changed: Vec<(String, Message)> = changed.map(|(queue, message)| (queue.clone(), message.clone())).collect();
        let waiting = self.waiting.values().flatten().map(|message| &message.id);
        let alive: HashSet<&String> = all.map(|(_, message)| &message.message_id).chain(waiting).collect();
        let gone: Vec<String> = self.kept.keys().filter(|id| !alive.contains(id)).cloned().collect();
        changed.iter().try_for_each(|(queue, message)| self.keep(queue, message))?;
        gone.into_iter().for_each(|id| self.forget(id));
        Ok(())
    }
}

impl KeptMessage {
    fn new(queue: &str, message: &Message, group: Option<String>) -> KeptMessage {
        let attributes = message.message_attributes.iter().map(|(name, attribute)| {
            let kept = KeptAttribute {
                data_type: attribute.data_type.clone(),
                text: attribute.string_value.clone(),
                binary: attribute.binary_value.clone(),
            };
            (name.clone(), kept)
        });
        KeptMessage {
            queue: queue.to_owned(),
            id: message.message_id.clone(),
            body: message.body.clone(),
            md5: message.body_md5.clone(),
            sender: message.sender_id.clone(),
            sent: message.sent_timestamp,
            first_received: message.approximate_first_receive_timestamp,
            receive_count: message.approximate_receive_count,
            delayed_until: match message.approximate_receive_count {
                0 => message.visible_at,
                _ => 0,
            },
            group,
            attributes: attributes.collect(),
        }
    }

    fn into_message(self) -> Message {
        let attributes = self.attributes.into_iter().map(|(name, kept)| {
            let attribute = MessageAttribute { data_type: kept.data_type, string_value: kept.text, binary_value: kept.binary };
            (name, attribute)
        });
        Message {
            message_id: self.id,
            body: self.body,
            body_md5: self.md5,
            receipt_handle: None,
            all_receipt_handles: Vec::new(),
            sender_id: self.sender,
            sent_timestamp: self.sent,
            approximate_first_receive_timestamp: self.first_received,
            approximate_receive_count: self.receive_count,
            visible_at: self.delayed_until,
            message_attributes: attributes.collect(),
        }
    }
}

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

fn answer<T: Send + 'static>(value: T) -> Answer<T> {
    Box::pin(std::future::ready(value))
}

/// Account and region are ignored, because the stack has only one of each.
impl SqsBackend for Queues {
    fn create_queue(
        &self,
        _account: String,
        _region: String,
        name: String,
        attributes: HashMap<String, String>,
        tags: Option<HashMap<String, String>>,
    ) -> Answer<Result<Queue, SqsError>> {
        answer(self.change(|inner| {
            let queue = inner.state.create_queue(&name, REGION, ACCOUNT, &attributes, tags.as_ref())?.clone();
            inner.refill(&name);
            Ok(queue)
        }))
    }

    fn delete_queue(&self, _account: String, _region: String, name: String) -> Answer<Result<(), SqsError>> {
        answer(self.change_many(|inner| inner.state.delete_queue(&name)))
    }

    fn get_queue_url(&self, _account: String, _region: String, name: String) -> Answer<Result<String, SqsError>> {
        answer(self.lock().state.get_queue_url(&name).map(str::to_owned))
    }

    fn get_queue_attributes(&self, _account: String, _region: String, name: String) -> Answer<Result<HashMap<String, String>, SqsError>> {
        answer(self.lock().state.get_queue_attributes(&name))
    }

    fn set_queue_attributes(
        &self,
        _account: String,
        _region: String,
        name: String,
        attributes: HashMap<String, String>,
    ) -> Answer<Result<(), SqsError>> {
        answer(self.change(|inner| inner.state.set_queue_attributes(&name, &attributes)))
    }

    fn list_queues(&self, _account: String, _region: String, prefix: Option<String>) -> Answer<Result<Vec<Queue>, SqsError>> {
        let queues = self.lock().state.list_queues(prefix.as_deref()).into_iter().cloned().collect();
        answer(Ok(queues))
    }

    fn send_message(
        &self,
        _account: String,
        _region: String,
        name: String,
        body: String,
        delay_seconds: Option<u32>,
        attributes: HashMap<String, MessageAttribute>,
        group: Option<String>,
        deduplication: Option<String>,
    ) -> Answer<Result<SendMessageOutput, SqsError>> {
        answer(self.put(&name, NewMessage { body, delay_seconds, attributes, group, deduplication }))
    }

    fn receive_messages(
        &self,
        _account: String,
        _region: String,
        name: String,
        most: usize,
        visibility_timeout: Option<u32>,
    ) -> Answer<Result<Vec<Message>, SqsError>> {
        answer(self.change(|inner| inner.receive(&name, most, visibility_timeout)))
    }

    fn delete_message(&self, _account: String, _region: String, name: String, receipt_handle: String) -> Answer<Result<(), SqsError>> {
        answer(self.change(|inner| inner.delete(&name, &receipt_handle)))
    }

    fn purge_queue(&self, _account: String, _region: String, name: String) -> Answer<Result<(), SqsError>> {
        answer(self.change_many(|inner| inner.state.purge_queue(&name)))
    }

    fn change_message_visibility(
        &self,
        _account: String,
        _region: String,
        name: String,
        receipt_handle: String,
        timeout: u32,
    ) -> Answer<Result<(), SqsError>> {
        answer(self.change(|inner| inner.state.change_message_visibility(&name, &receipt_handle, timeout)))
    }

    fn change_message_visibility_batch(
        &self,
        _account: String,
        _region: String,
        name: String,
        entries: Vec<(String, String, u32)>,
    ) -> Answer<Result<Vec<String>, SqsError>> {
        answer(self.change(|inner| inner.state.change_message_visibility_batch(&name, &entries)))
    }

    fn list_queue_tags(&self, _account: String, _region: String, name: String) -> Answer<Result<HashMap<String, String>, SqsError>> {
        answer(self.lock().state.list_queue_tags(&name))
    }

    fn tag_queue(&self, _account: String, _region: String, name: String, tags: HashMap<String, String>) -> Answer<Result<(), SqsError>> {
        answer(self.change(|inner| inner.state.tag_queue(&name, &tags)))
    }

    fn untag_queue(&self, _account: String, _region: String, name: String, keys: Vec<String>) -> Answer<Result<(), SqsError>> {
        answer(self.change(|inner| inner.state.untag_queue(&name, &keys)))
    }

    fn add_permission(
        &self,
        _account: String,
        _region: String,
        name: String,
        label: String,
        accounts: Vec<String>,
        actions: Vec<String>,
    ) -> Answer<Result<(), SqsError>> {
        answer(self.change(|inner| inner.state.add_permission(&name, &label, accounts, actions)))
    }

    fn remove_permission(&self, _account: String, _region: String, name: String, label: String) -> Answer<Result<(), SqsError>> {
        answer(self.change(|inner| inner.state.remove_permission(&name, &label)))
    }

    fn list_dead_letter_source_queues(&self, _account: String, _region: String, name: String) -> Answer<Result<Vec<String>, SqsError>> {
        answer(self.lock().state.list_dead_letter_source_queues(&name))
    }

    fn start_message_move_task(
        &self,
        _account: String,
        _region: String,
        source: String,
        destination: Option<String>,
        per_second: Option<i32>,
    ) -> Answer<Result<String, SqsError>> {
        answer(self.change_many(|inner| {
            let task = inner.state.start_message_move_task(&source, destination.as_deref(), per_second)?;
            inner.redrive(&task, &source, destination.as_deref());
            Ok(task)
        }))
    }

    fn cancel_message_move_task(&self, _account: String, _region: String, task: String) -> Answer<Result<i64, SqsError>> {
        answer(self.change(|inner| inner.state.cancel_message_move_task(&task)))
    }

    fn list_message_move_tasks(&self, _account: String, _region: String, source: String) -> Answer<Result<Vec<MessageMoveTask>, SqsError>> {
        let tasks = self.lock().state.list_message_move_tasks(&source).into_iter().cloned().collect();
        answer(Ok(tasks))
    }

    fn scopes_with_state(&self) -> Vec<(String, String)> {
        vec![(ACCOUNT.to_owned(), REGION.to_owned())]
    }

    fn snapshot(&self, _account: String, _region: String) -> Answer<SqsStateView> {
        answer(SqsStateView::from(&self.lock().state))
    }

    fn restore(&self, _account: String, _region: String, view: SqsStateView) -> Answer<Result<(), StateViewError>> {
        self.lock().state = SqsState::from(view);
        answer(Ok(()))
    }

    fn merge(&self, _account: String, _region: String, view: SqsStateView) -> Answer<Result<(), StateViewError>> {
        self.lock().state.queues.extend(SqsState::from(view).queues);
        answer(Ok(()))
    }
}

fn internal(error: impl std::fmt::Display) -> SqsError {
    SqsError::InternalError(error.to_string())
}

fn service_error(error: SqsError) -> AwsError {
    AwsError::Service(error.to_string())
}
