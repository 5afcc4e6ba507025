//! A user in a tenant: their role, and the number by which tasks name them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ids::{PathId, UserId};
use crate::model::plan::Quota;
use crate::model::role::Role;
use crate::store::entity::{Collection, Counter, Entity, InTenant, Key};
use crate::store::page::List;

/// `members` / `user#<id>`: read by every door. Listed in the order in which they joined the deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Member {
    pub user: UserId,
    /// 1, 2, 3 … within the tenant, never used twice. Only for display and `assigned_to`, never for authorization.
    pub number: u64,
    pub role: Role,
    pub name: String,
    pub email: String,
    pub joined_at: Timestamp,
    pub version: u64,
}

impl Member {
    pub const PREFIX: &'static str = "user#";
    pub const COUNT: Counter = Counter::named("members");
    pub const OWNERS: Counter = Counter::named("owners");
    /// Numbers given out; never goes down.
    pub const NUMBERS: Counter = Counter::named("member_numbers");
    pub const QUOTA: Quota = Quota { counter: Member::COUNT, name: "users", most: |plan| plan.users };

    pub fn key_of(user: UserId) -> Key<Self> {
        Key::at(&Member::collection(), format!("{}{user}", Member::PREFIX))
    }

    pub fn all() -> List<Self> {
        List::new(Member::collection(), Member::PREFIX)
    }

    pub(crate) fn collection() -> Collection {
        Collection::of::<Member>()
    }

    pub fn with_role(&self, role: Role) -> Self {
        Member { role, version: self.version + 1, ..self.clone() }
    }

    /// A person of an agency as its child sees them: with their role in the agency and without a name.
    pub fn delegated(&self, name: &str) -> Self {
        Member { number: 0, name: name.to_owned(), email: String::new(), ..self.clone() }
    }

    pub fn numbered(&self) -> MemberNumber {
        MemberNumber { number: self.number, user: self.user, name: self.name.clone(), email: self.email.clone() }
    }

    /// In the form in which tasks show a person.
    pub fn person(&self) -> Person {
        Person { id: self.number, name: self.name.clone(), email: self.email.clone() }
    }
}

impl Entity for Member {
    type Scope = InTenant;
    const TYPE: &'static str = "member";
    const COLLECTION: &'static str = "members";
    const COUNTER: Option<Counter> = Some(Member::COUNT);

    fn key(&self) -> Key<Self> {
        Member::key_of(self.user)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

/// `members` / `number#<10 digits>`: who has a number. Used by `assigned_to` and `/members/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MemberNumber {
    pub number: u64,
    pub user: UserId,
    pub name: String,
    pub email: String,
}

impl MemberNumber {
    pub fn key_of(number: u64) -> Key<Self> {
        Key::at(&Member::collection(), format!("number#{number:010}"))
    }

    pub fn person(&self) -> Person {
        Person { id: self.number, name: self.name.clone(), email: self.email.clone() }
    }
}

impl Entity for MemberNumber {
    type Scope = InTenant;
    const TYPE: &'static str = "member_number";
    const COLLECTION: &'static str = "members";
    const AUDITED: bool = false;

    fn key(&self) -> Key<Self> {
        MemberNumber::key_of(self.number)
    }
}

/// A member as records keep them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The member's number.
    pub id: u64,
    pub name: String,
    /// Empty where an agency acted: it shows as the platform, without an address.
    pub email: String,
}

/// The number of a member as paths write it: a positive decimal without sign or leading zeros.
pub struct Number(pub u64);

impl PathId for Number {
    fn from_path(text: &str) -> Option<Self> {
        let number: u64 = text.parse().ok()?;
        (number > 0 && number.to_string() == text).then_some(Number(number))
    }

    fn schema() -> Value {
        json!({"type": "integer", "minimum": 1, "description": "The member's number."})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_numbers_have_one_spelling() {
        assert_eq!(Number::from_path("12").map(|number| number.0), Some(12));
        for wrong in ["0", "+1", "01", "-1", "1.0", "", "abc", "99999999999999999999"] {
            assert!(Number::from_path(wrong).is_none(), "{wrong}");
        }
    }
}
