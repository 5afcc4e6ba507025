//! Several writes that all happen or none. Each write has its own answer for a failed condition, so a handler is one expression, and the
//! caller gets the first reason that applies.

use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};

use crate::crypto::Random;
use crate::error::{Error, PlanLimit, Result};
use crate::model::plan::{Plan, Quota};
use crate::model::tenant::{Tenant, TenantStatus};
use crate::store::entity::{Counter, Entity, InTenant, Key, Owned, Packed, WORKSPACE, not_found};
use crate::store::table::{Condition, FullKey, Item, Refused, Table, on_condition, text};
use crate::tenancy::directory::{Directory, GlobalCounter};
use crate::tenancy::store::Store;
use crate::tenancy::{Allowance, RecordStore, TenantId, TenantStore};

/// The error for a failed condition, given the existing item.
pub type Refusal = Box<dyn FnOnce(Option<Item>) -> Error + Send>;

pub struct Transaction<'a> {
    table: Table,
    random: &'a Random,
    actions: Vec<TransactWriteItem>,
    refusals: Vec<Refusal>,
    /// What each `create` wrote. If an answer was lost, the retry finds its own item, which is not a conflict.
    written: Vec<Option<Item>>,
    /// The tenants that own the records.
    tenants: Vec<TenantId>,
}

/// `conflict("…")`: the usual refusal of a `create`.
pub fn conflict(message: &'static str) -> Refusal {
    Box::new(move |_| Error::Conflict(message.into()))
}

/// The usual refusal for a write that expects its item to exist.
pub fn missing() -> Refusal {
    Box::new(|_| Error::NotFound)
}

/// Another writer changed the item in the meantime. The caller's edit must not overwrite that.
pub(crate) fn changed<E: Entity>() -> Refusal {
    Box::new(|old| match old {
        Some(_) => Error::Conflict("The resource was changed at the same time. Read it again.".into()),
        None => not_found::<E>(),
    })
}

impl<'a> Transaction<'a> {
    /// Adds the actions of `other` after these.
    pub fn and(mut self, other: Transaction<'a>) -> Self {
        self.actions.extend(other.actions);
        self.refusals.extend(other.refusals);
        self.written.extend(other.written);
        other.tenants.into_iter().fold(self, |all, tenant| all.of(Some(tenant)))
    }

    pub(crate) fn new(table: Table, random: &'a Random) -> Self {
        Transaction { table, random, actions: vec![], refusals: vec![], written: vec![], tenants: vec![] }
    }

    /// Marks that the next action is on a record of this tenant, or of the directory.
    fn of(mut self, tenant: Option<TenantId>) -> Self {
        self.tenants.extend(tenant.filter(|tenant| !self.tenants.contains(tenant)));
        self
    }

    /// Writes a record that must not exist yet.
    pub fn create<E: Entity>(self, store: &impl RecordStore<E>, entity: &E, refusal: Refusal) -> Result<Self> {
        self.put_if(store, entity, Condition::absent(), refusal)
    }

    /// Writes a record of whatever type that must not exist yet.
    pub fn create_packed<S: Owned>(self, place: &Store<S>, packed: &Packed, refusal: Refusal) -> Result<Self> {
        self.of(Some(place.tenant_id())).put_item_if(place.packed(packed.clone()), Condition::absent(), refusal)
    }

    /// Writes a record that must still stand as `before`.
    pub fn replace<E: Entity>(self, store: &impl RecordStore<E>, entity: &E, before: &E) -> Result<Self> {
        self.put_if(store, entity, Condition::unchanged(&before.guard()), changed::<E>())
    }

    /// Writes a record, whether it exists or not.
    pub fn put<E: Entity>(mut self, store: &impl RecordStore<E>, entity: &E) -> Result<Self> {
        let item = store.item(entity)?;
        self.push(TransactWriteItem::builder().put(self.put_of(item, None)?).build(), missing(), None);
        Ok(self.of(store.tenant()))
    }

    /// Writes a record that must not exist, or must have expired before `now` (epoch seconds).
    pub fn create_or_expired<E: Entity>(self, store: &impl RecordStore<E>, entity: &E, now: i64, refusal: Refusal) -> Result<Self> {
        let condition = Condition {
            expression: "attribute_not_exists(pk) OR #ttl <= :now".into(),
            names: vec![("#ttl", "ttl")],
            values: vec![(":now", AttributeValue::N(now.to_string()))],
        };
        self.put_if(store, entity, condition, refusal)
    }

    /// Writes a record that does not exist, or whose attribute `holder` already is `held_by`.
    pub fn claim<E: Entity>(
        self,
        store: &impl RecordStore<E>,
        entity: &E,
        holder: &'static str,
        held_by: &str,
        refusal: Refusal,
    ) -> Result<Self> {
        let held = Condition::held_by(holder, held_by);
        let condition = Condition { expression: format!("attribute_not_exists(pk) OR {}", held.expression), ..held };
        self.put_if(store, entity, condition, refusal)
    }

    pub fn delete<E: Entity>(self, store: &impl RecordStore<E>, key: &Key<E>, refusal: Refusal) -> Result<Self> {
        self.of(store.tenant()).delete_if(store.full(key), Condition::present(), refusal)
    }

    /// Deletes a record that must still equal `before`.
    pub fn delete_unchanged<E: Entity>(self, store: &impl RecordStore<E>, before: &E) -> Result<Self> {
        self.of(store.tenant()).delete_if(store.full(&before.key()), Condition::unchanged(&before.guard()), changed::<E>())
    }

    /// Deletes a record if it exists.
    pub fn remove<E: Entity>(mut self, store: &impl RecordStore<E>, key: &Key<E>) -> Result<Self> {
        let delete = Delete::builder().table_name(self.table.name()).set_key(Some(store.full(key).attributes()));
        let delete = delete.build().map_err(|error| Error::internal("building a transaction", error))?;
        self.push(TransactWriteItem::builder().delete(delete).build(), missing(), None);
        Ok(self.of(store.tenant()))
    }

    /// Requires that a record exists, without writing it.
    pub fn require<E: Entity>(self, store: &impl RecordStore<E>, key: &Key<E>, refusal: Refusal) -> Result<Self> {
        self.require_if(store, key, &Condition::present(), refusal)
    }

    /// Requires that a record still equals `before`, without writing it.
    pub fn require_unchanged<E: Entity>(self, store: &impl RecordStore<E>, before: &E, refusal: Refusal) -> Result<Self> {
        self.require_if(store, &before.key(), &Condition::unchanged(&before.guard()), refusal)
    }

    /// Requires a condition of a record, without writing it.
    pub(crate) fn require_if<E: Entity>(
        self,
        store: &impl RecordStore<E>,
        key: &Key<E>,
        condition: &Condition,
        refusal: Refusal,
    ) -> Result<Self> {
        self.of(store.tenant()).check(store.full(key), condition, refusal)
    }

    /// Counts one more, if the allowance is not used up.
    pub fn allow(mut self, allowance: &Allowance) -> Result<Self> {
        let Some(most) = allowance.most else { return Ok(self) };
        let update = Update::builder()
            .table_name(self.table.name())
            .set_key(Some(allowance.key.clone().attributes()))
            .update_expression("SET #ttl = if_not_exists(#ttl, :ttl) ADD #n :one")
            .condition_expression("attribute_not_exists(#n) OR #n < :most")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_names("#n", "n")
            .expression_attribute_values(":ttl", AttributeValue::N(allowance.ends_at.to_string()))
            .expression_attribute_values(":one", AttributeValue::N("1".into()))
            .expression_attribute_values(":most", AttributeValue::N(most.to_string()));
        let update = update.build().map_err(|error| Error::internal("building a transaction", error))?;
        let refused = allowance.refused();
        self.push(TransactWriteItem::builder().update(update).build(), Box::new(|_| refused), None);
        Ok(self)
    }

    /// Adds to numbers inside a record that must exist.
    pub fn adjust<E: Entity>(
        self,
        store: &impl RecordStore<E>,
        key: &Key<E>,
        changes: &[(&'static str, i64)],
        refusal: Refusal,
    ) -> Result<Self> {
        let key = store.full(key);
        self.of(store.tenant()).add(key, changes, Some(Condition::present()), refusal)
    }

    /// Adds to numbers of a record. The first addition creates it.
    pub fn tally<E: Entity<Scope = InTenant>>(
        mut self,
        store: &TenantStore,
        key: &Key<E>,
        changes: &[(&'static str, u64)],
    ) -> Result<Self> {
        let key = store.full(key);
        let mut update = Update::builder()
            .table_name(self.table.name())
            .set_key(Some(key.attributes()))
            .expression_attribute_names("#type", "type")
            .expression_attribute_values(":type", AttributeValue::S(E::TYPE.into()))
            .expression_attribute_names("#tenant", "tenant")
            .expression_attribute_values(":tenant", AttributeValue::S(store.tenant_id().to_string()));
        let mut added = vec![];
        for (index, (attribute, by)) in changes.iter().enumerate() {
            update = update
                .expression_attribute_names(format!("#a{index}"), *attribute)
                .expression_attribute_values(format!(":a{index}"), AttributeValue::N(by.to_string()));
            added.push(format!("#a{index} :a{index}"));
        }
        let update = update.update_expression(format!("SET #type = :type, #tenant = :tenant ADD {}", added.join(", ")));
        let update = update.build().map_err(|error| Error::internal("building a transaction", error))?;
        self.push(TransactWriteItem::builder().update(update).build(), missing(), None);
        Ok(self)
    }

    /// The same for a record that says more than its numbers: its texts, as in `zero`, are written with each addition.
    pub fn tally_from<E: Entity<Scope = InTenant>>(
        mut self,
        store: &TenantStore,
        zero: &E,
        changes: &[(&'static str, i64)],
    ) -> Result<Self> {
        let mut update = Update::builder().table_name(self.table.name()).set_key(Some(store.full(&zero.key()).attributes()));
        let (mut set, mut added) = (vec![], vec![]);
        let is_set = |name: &str, value: &AttributeValue| (value.is_s() && !matches!(name, "pk" | "sk")) || name == "ttl";
        let item = store.item(zero)?;
        for (index, (name, value)) in item.into_iter().filter(|(name, value)| is_set(name, value)).enumerate() {
            update = update.expression_attribute_names(format!("#s{index}"), name).expression_attribute_values(format!(":s{index}"), value);
            set.push(format!("#s{index} = :s{index}"));
        }
        for (index, (attribute, by)) in changes.iter().enumerate() {
            update = update
                .expression_attribute_names(format!("#a{index}"), *attribute)
                .expression_attribute_values(format!(":a{index}"), AttributeValue::N(by.to_string()));
            added.push(format!("#a{index} :a{index}"));
        }
        let update = update.update_expression(format!("SET {} ADD {}", set.join(", "), added.join(", ")));
        let update = update.build().map_err(|error| Error::internal("building a transaction", error))?;
        self.push(TransactWriteItem::builder().update(update).build(), missing(), None);
        Ok(self.of(Some(store.tenant_id())))
    }

    /// Adds to a number of a record, which `by` takes to at most `most`. The first addition creates it. Less than nothing takes off.
    pub fn tally_within<S: Owned, E: Entity<Scope = S>>(
        mut self,
        store: &Store<S>,
        key: &Key<E>,
        (attribute, by): (&'static str, i64),
        most: Option<u64>,
        refusal: Refusal,
    ) -> Result<Self> {
        let workspace = store.workspace_tag();
        let mut update = Update::builder()
            .table_name(self.table.name())
            .set_key(Some(store.full(key).attributes()))
            .expression_attribute_names("#type", "type")
            .expression_attribute_values(":type", AttributeValue::S(E::TYPE.into()))
            .expression_attribute_names("#tenant", "tenant")
            .expression_attribute_values(":tenant", AttributeValue::S(store.tenant_id().to_string()))
            .expression_attribute_names("#n", attribute)
            .expression_attribute_values(":by", AttributeValue::N(by.to_string()));
        if let Some(workspace) = &workspace {
            update = update
                .expression_attribute_names("#workspace", WORKSPACE)
                .expression_attribute_values(":workspace", AttributeValue::S(workspace.clone()));
        }
        if let Some(most) = most {
            let room = i64::try_from(most).unwrap_or(i64::MAX).saturating_sub(by);
            // Where there is not even room at the beginning, the condition never holds.
            let fits = if room < 0 { "attribute_not_exists(pk) AND #n <= :room" } else { "attribute_not_exists(#n) OR #n <= :room" };
            update = update.condition_expression(fits).expression_attribute_values(":room", AttributeValue::N(room.to_string()));
        }
        let of_workspace = if workspace.is_some() { ", #workspace = :workspace" } else { "" };
        let update = update
            .update_expression(format!("SET #type = :type, #tenant = :tenant{of_workspace} ADD #n :by"))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let update = update.build().map_err(|error| Error::internal("building a transaction", error))?;
        self.push(TransactWriteItem::builder().update(update).build(), refusal, None);
        Ok(self.of(Some(store.tenant_id())))
    }

    /// Sets text attributes of an item. Creates it if it does not exist; other attributes stay.
    pub(crate) fn set(mut self, tenant: Option<TenantId>, key: FullKey, sets: &[(&str, String)]) -> Result<Self> {
        let mut update =
            Update::builder().table_name(self.table.name()).key("pk", AttributeValue::S(key.pk)).key("sk", AttributeValue::S(key.sk));
        let mut set = vec![];
        for (index, (attribute, text)) in sets.iter().enumerate() {
            set.push(format!("#s{index} = :s{index}"));
            update = update
                .expression_attribute_names(format!("#s{index}"), *attribute)
                .expression_attribute_values(format!(":s{index}"), AttributeValue::S(text.clone()));
        }
        let update = update.update_expression(format!("SET {}", set.join(", ")));
        let update = update.build().map_err(|error| Error::internal("building a transaction", error))?;
        self.push(TransactWriteItem::builder().update(update).build(), missing(), None);
        Ok(self.of(tenant))
    }

    /// Requires that a tenant is not being purged. A write without a request may happen late, even after everything else was deleted. It
    /// must therefore use this in the same transaction. The refusal is `NotFound`.
    pub fn while_kept(self, store: &TenantStore) -> Result<Self> {
        self.require_unless(store, &Tenant::key_of(), "status", [TenantStatus::Closed.name()], Box::new(|_| Error::NotFound))
    }

    /// Requires that a record exists whose attribute is none of these words.
    pub(crate) fn require_unless<E: Entity>(
        self,
        store: &impl RecordStore<E>,
        key: &Key<E>,
        attribute: &'static str,
        words: impl IntoIterator<Item = &'static str>,
        refusal: Refusal,
    ) -> Result<Self> {
        self.require_if(store, key, &Condition::says_not(attribute, words), refusal)
    }

    /// Sets the time when a record, which must exist, expires.
    pub fn expire<E: Entity>(mut self, store: &impl RecordStore<E>, key: &Key<E>, at: jiff::Timestamp, refusal: Refusal) -> Result<Self> {
        let key = store.full(key);
        let update = Update::builder()
            .table_name(self.table.name())
            .set_key(Some(key.attributes()))
            .update_expression("SET #ttl = :ttl")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":ttl", AttributeValue::N(at.as_second().to_string()))
            .build()
            .map_err(|error| Error::internal("building a transaction", error))?;
        self.push(TransactWriteItem::builder().update(update).build(), refusal, None);
        Ok(self.of(store.tenant()))
    }

    /// Changes a counter without a limit.
    pub fn count<S: Owned>(self, store: &Store<S>, counter: Counter, by: i64) -> Result<Self> {
        self.of(Some(store.tenant_id())).add(store.counter(counter), &[("n", by)], None, missing())
    }

    /// Adds one to a counter that must stay within what the plan, of the name `called`, allows.
    pub fn count_within<S: Owned>(self, place: &Store<S>, quota: Quota, plan: &Plan, called: &str) -> Result<Self> {
        self.count_all_within(place, quota, 1, plan, called)
    }

    /// Adds `by` to it, all or none.
    pub fn count_all_within<S: Owned>(self, place: &Store<S>, quota: Quota, by: u64, plan: &Plan, called: &str) -> Result<Self> {
        match (quota.most)(plan) {
            Some(max) => self.count_many_within(place, quota.counter, by, quota.name, max, called),
            None => self.count(place, quota.counter, i64::try_from(by).unwrap_or(i64::MAX)),
        }
    }

    /// Adds `by` to a counter that must stay within `max`.
    pub fn count_many_within<S: Owned>(
        self,
        store: &Store<S>,
        counter: Counter,
        by: u64,
        limit: &'static str,
        max: u64,
        plan: &str,
    ) -> Result<Self> {
        let room = max.checked_sub(by);
        let condition = Condition {
            // If there is not even room at the beginning, use a condition that is never true.
            expression: if room.is_none() { "attribute_not_exists(pk) AND #n <= :room" } else { "attribute_not_exists(#n) OR #n <= :room" }
                .into(),
            names: vec![("#n", "n")],
            values: vec![(":room", AttributeValue::N(room.unwrap_or(0).to_string()))],
        };
        let by = i64::try_from(by).unwrap_or(i64::MAX);
        self.of(Some(store.tenant_id())).add(store.counter(counter), &[("n", by)], Some(condition), limit_reached(limit, max, plan))
    }

    /// Subtracts one from a counter that must stay at `min` or more.
    pub fn count_down<S: Owned>(self, store: &Store<S>, counter: Counter, min: u64, refusal: Refusal) -> Result<Self> {
        let condition = Condition {
            expression: "#n > :min".into(),
            names: vec![("#n", "n")],
            values: vec![(":min", AttributeValue::N(min.to_string()))],
        };
        self.of(Some(store.tenant_id())).add(store.counter(counter), &[("n", -1)], Some(condition), refusal)
    }

    /// Requires a counter to be below what the plan allows less what is `held` beside it, without moving it.
    pub fn require_room<S: Owned>(self, place: &Store<S>, quota: Quota, held: u64, plan: &Plan, called: &str) -> Result<Self> {
        let Some(max) = (quota.most)(plan) else { return Ok(self) };
        // Where all is held already, there is none even before the first is counted.
        let room = if held < max { "attribute_not_exists(#n) OR #n < :max" } else { "#n < :max" };
        let condition = Condition {
            expression: room.into(),
            names: vec![("#n", "n")],
            values: vec![(":max", AttributeValue::N(max.saturating_sub(held).to_string()))],
        };
        let plan = called.to_owned();
        let refusal: Refusal = Box::new(move |old| {
            let used = held + old.as_ref().and_then(|item| crate::store::table::number(item, "n")).unwrap_or(0);
            Error::PlanLimitReached(PlanLimit { limit: quota.name, used, max, plan })
        });
        self.of(Some(place.tenant_id())).check(place.counter(quota.counter), &condition, refusal)
    }

    /// Changes a number of the whole deployment, which must be below `max` before.
    pub fn count_global(self, counter: GlobalCounter, by: i64, max: Option<u64>, refusal: Refusal) -> Result<Self> {
        let condition = max.map(|max| Condition {
            expression: "attribute_not_exists(#n) OR #n < :max".into(),
            names: vec![("#n", "n")],
            values: vec![(":max", AttributeValue::N(max.to_string()))],
        });
        self.add(Directory::counter(counter), &[("n", by)], condition, refusal)
    }

    /// Writes everything. If conditions failed, returns the refusal of the one that was added first.
    pub async fn commit(self) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let (refused, refusals) = self.attempt().await?;
        let Some(refused) = refused else { return Ok(()) };
        for (refused, refusal) in refused.into_iter().zip(refusals) {
            if let Some(refused) = refused {
                return Err(refusal(refused.0));
            }
        }
        Err(Error::internal("writing a transaction", "it was cancelled without a reason"))
    }

    /// Writes everything, unless the first action, which expects a record unchanged, finds it changed. Then returns the record as it is
    /// now, or `Some(None)` if it is gone.
    pub(crate) async fn commit_or_changed(self) -> Result<Option<Option<Item>>> {
        let (refused, refusals) = self.attempt().await?;
        let Some(mut refused) = refused else { return Ok(None) };
        if let Some(first) = refused.first_mut().and_then(Option::take) {
            return Ok(Some(first.0));
        }
        for (refused, refusal) in refused.into_iter().zip(refusals) {
            if let Some(refused) = refused {
                return Err(refusal(refused.0));
            }
        }
        Err(Error::internal("writing a transaction", "it was cancelled without a reason"))
    }

    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    async fn attempt(self) -> Result<(Option<Vec<Option<Refused>>>, Vec<Refusal>)> {
        let Transaction { table, random, actions, refusals, written, tenants } = self;
        let table = match tenants[..] {
            [] => table,
            [tenant] => table.acting_for((tenant, None)),
            [tenant, partner] => table.acting_for((tenant, Some(partner))),
            _ if table.has_sessions() => return Err(Error::internal("writing a transaction", "it is of more than two tenants")),
            _ => table,
        };
        let token = crate::crypto::hash(&[&random.bytes::<32>()])[..36].to_owned();
        let mut attempt: u32 = 0;
        let refused = loop {
            match table.transact(actions.clone(), &token).await {
                Ok(refused) => break refused,
                // Two transactions met at an item and the other one won. This one is tried again, with a longer delay each time.
                Err(Error::Unavailable { .. }) if attempt < 8 => {
                    attempt += 1;
                    let ceiling = f64::from(10_u32 << attempt.min(6));
                    tokio::time::sleep(std::time::Duration::from_millis((ceiling * random.fraction()) as u64)).await;
                }
                Err(error) => return Err(error),
            }
        };
        let mine = refused.as_ref().is_some_and(|refused| {
            refused
                .iter()
                .zip(&written)
                .filter_map(|(refused, written)| refused.as_ref().map(|refused| (refused, written)))
                .all(|(refused, written)| written.is_some() && refused.0 == *written)
        });
        Ok((refused.filter(|_| !mine), refusals))
    }

    fn put_if<E: Entity>(self, store: &impl RecordStore<E>, entity: &E, condition: Condition, refusal: Refusal) -> Result<Self> {
        self.of(store.tenant()).put_item_if(store.item(entity)?, condition, refusal)
    }

    fn put_item_if(mut self, item: Item, condition: Condition, refusal: Refusal) -> Result<Self> {
        let put = self.put_of(item.clone(), Some(condition))?;
        self.push(TransactWriteItem::builder().put(put).build(), refusal, Some(item));
        Ok(self)
    }

    fn put_of(&self, item: Item, condition: Option<Condition>) -> Result<Put> {
        if text(&item, "pk").is_empty() {
            return Err(Error::internal("building a transaction", "an item has no partition"));
        }
        let mut put = Put::builder().table_name(self.table.name()).set_item(Some(item));
        if let Some(condition) = condition {
            put = on_condition!(put, condition);
        }
        put.build().map_err(|error| Error::internal("building a transaction", error))
    }

    fn check(mut self, key: FullKey, condition: &Condition, refusal: Refusal) -> Result<Self> {
        let check = on_condition!(ConditionCheck::builder().table_name(self.table.name()).set_key(Some(key.attributes())), condition)
            .build()
            .map_err(|error| Error::internal("building a transaction", error))?;
        self.push(TransactWriteItem::builder().condition_check(check).build(), refusal, None);
        Ok(self)
    }

    fn delete_if(mut self, key: FullKey, condition: Condition, refusal: Refusal) -> Result<Self> {
        let delete = on_condition!(Delete::builder().table_name(self.table.name()).set_key(Some(key.attributes())), condition)
            .build()
            .map_err(|error| Error::internal("building a transaction", error))?;
        self.push(TransactWriteItem::builder().delete(delete).build(), refusal, None);
        Ok(self)
    }

    fn add(mut self, key: FullKey, changes: &[(&'static str, i64)], condition: Option<Condition>, refusal: Refusal) -> Result<Self> {
        let mut update = Update::builder()
            .table_name(self.table.name())
            .set_key(Some(key.attributes()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let mut added = vec![];
        for (index, (attribute, by)) in changes.iter().enumerate() {
            update = update
                .expression_attribute_names(format!("#a{index}"), *attribute)
                .expression_attribute_values(format!(":a{index}"), AttributeValue::N(by.to_string()));
            added.push(format!("#a{index} :a{index}"));
        }
        update = update.update_expression(format!("ADD {}", added.join(", ")));
        if let Some(condition) = condition {
            update = update.condition_expression(&condition.expression);
            for (name, attribute) in condition.names {
                update = update.expression_attribute_names(name, attribute);
            }
            for (name, value) in condition.values {
                update = update.expression_attribute_values(name, value);
            }
        }
        let update = update.build().map_err(|error| Error::internal("building a transaction", error))?;
        self.push(TransactWriteItem::builder().update(update).build(), refusal, None);
        Ok(self)
    }

    fn push(&mut self, action: TransactWriteItem, refusal: Refusal, written: Option<Item>) {
        self.actions.push(action);
        self.refusals.push(refusal);
        self.written.push(written);
    }
}

/// The refusal of a count that the plan does not allow. It says how far the counter is.
pub fn limit_reached(limit: &'static str, max: u64, plan: &str) -> Refusal {
    let plan = plan.to_owned();
    Box::new(move |old| {
        // Counters and tallies name their number differently.
        let number = |name| old.as_ref().and_then(|item| crate::store::table::number(item, name));
        let used = number("n").or_else(|| number("mails")).unwrap_or(0);
        Error::PlanLimitReached(PlanLimit { limit, used, max, plan })
    })
}
