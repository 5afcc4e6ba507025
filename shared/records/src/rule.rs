//! Rules over leads: `{"all": […]}`, `{"any": […]}`, `{"not": …}`, and leaves `{"field", "op", "value"}`. Text is compared in any case and composition.
//! A field without a value fails every op but the two negations, `not_equals` and `not_contains`. The rule of a campaign's step may also ask what a lead
//! did with the mails before it: `steps[1].opened`.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::lead::{Engagement, Lead, ProfileField};
use crate::lead_list::LeadListId;
use shared::ids::PathId;
use shared::model::{text, time};

/// A rule that can be asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    All(Vec<Rule>),
    Any(Vec<Rule>),
    Not(Box<Rule>),
    Leaf(Leaf),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    field: Field,
    op: Op,
    operand: Operand,
}

/// What is wrong with a rule, and where: `all[1].value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub at: String,
    pub problem: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Field {
    Email,
    Profile(ProfileField),
    Status,
    EmailStatus,
    CreatedAt,
    UpdatedAt,
    Tags,
    Lists,
    Attribute(String),
    Times(Times),
    Last(Times),
    Step(u32, StepEvent),
}

/// What a lead may have done with the mail of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepEvent {
    Opened,
    Clicked,
    Replied,
}

/// What is counted in `engagement`, with the moment when it last was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Times {
    Sent,
    Opened,
    Clicked,
    Replied,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Equals,
    NotEquals,
    Gt,
    Gte,
    Lt,
    Lte,
    Contains,
    NotContains,
    StartsWith,
    In,
    Exists,
    WithinDays,
}

/// A value of a rule, and of a lead's field.
#[derive(Debug, Clone, PartialEq)]
enum Scalar {
    /// Folded.
    Text(String),
    Number(f64),
    Moment(Timestamp),
    Bool(bool),
    List(LeadListId),
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    None,
    One(Scalar),
    Several(Vec<Scalar>),
    Days(i64),
}

/// What a leaf may be asked of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Moment,
    /// Tags.
    Texts,
    Lists,
    /// An attribute, whose values have whatever type.
    Free,
    /// True or false, and never missing.
    Flag,
}

const MAX_DEPTH: usize = 4;
const MAX_LEAVES: usize = 50;
const MAX_BYTES: usize = 4 * 1024;
/// Values of `in`.
const MAX_VALUES: usize = 50;
const MAX_DAYS: i64 = 3_650;

/// Whether a step, by its number, is a mail that a rule may ask about. `None`: the rule is of no sequence.
type Mails<'a> = Option<&'a dyn Fn(u32) -> bool>;

impl Rule {
    pub fn parse(rule: &Map<String, Value>) -> Result<Self, Fault> {
        Rule::parse_in(rule, None)
    }

    /// The rule of a step. `is_mail` says of a number whether a mail stands there, before this step.
    pub fn parse_in_sequence(rule: &Map<String, Value>, is_mail: &dyn Fn(u32) -> bool) -> Result<Self, Fault> {
        Rule::parse_in(rule, Some(is_mail))
    }

    fn parse_in(rule: &Map<String, Value>, mails: Mails<'_>) -> Result<Self, Fault> {
        if serde_json::to_vec(rule).map_or(0, |bytes| bytes.len()) > MAX_BYTES {
            return Err(fault("", "must not be larger than 4 KiB"));
        }
        let rule = node(rule, String::new(), 1, mails)?;
        if rule.leaves().count() > MAX_LEAVES {
            return Err(fault("", "must not have more than 50 conditions"));
        }
        Ok(rule)
    }

    /// The lists it asks for, which must exist in the workspace.
    pub fn lists(&self) -> Vec<LeadListId> {
        let mut lists: Vec<LeadListId> = vec![];
        let named = self.leaves().flat_map(|leaf| match &leaf.operand {
            Operand::One(one) => std::slice::from_ref(one),
            Operand::Several(several) => several,
            Operand::None | Operand::Days(_) => &[],
        });
        for scalar in named {
            if let Scalar::List(list) = scalar
                && !lists.contains(list)
            {
                lists.push(*list);
            }
        }
        lists
    }

    /// Whether it asks on which lists a lead is.
    pub fn asks_for_lists(&self) -> bool {
        self.leaves().any(|leaf| leaf.field == Field::Lists)
    }

    /// Whether a lead is such a one. Its lists must be there.
    pub fn matches(&self, lead: &Lead, now: Timestamp) -> bool {
        self.matches_after(lead, &|_, _| false, now)
    }

    /// The same for the rule of a step, with what the lead did with the mails before it.
    pub fn matches_after(&self, lead: &Lead, did: &dyn Fn(u32, StepEvent) -> bool, now: Timestamp) -> bool {
        match self {
            Rule::All(rules) => rules.iter().all(|rule| rule.matches_after(lead, did, now)),
            Rule::Any(rules) => rules.iter().any(|rule| rule.matches_after(lead, did, now)),
            Rule::Not(rule) => !rule.matches_after(lead, did, now),
            Rule::Leaf(leaf) => leaf.matches(lead, did, now),
        }
    }

    fn leaves(&self) -> Box<dyn Iterator<Item = &Leaf> + '_> {
        match self {
            Rule::All(rules) | Rule::Any(rules) => Box::new(rules.iter().flat_map(Rule::leaves)),
            Rule::Not(rule) => rule.leaves(),
            Rule::Leaf(leaf) => Box::new(std::iter::once(leaf)),
        }
    }
}

fn fault(at: &str, problem: &str) -> Fault {
    Fault { at: at.to_owned(), problem: problem.to_owned() }
}

fn within(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

fn node(rule: &Map<String, Value>, at: String, depth: usize, mails: Mails<'_>) -> Result<Rule, Fault> {
    if depth > MAX_DEPTH {
        return Err(fault(&at, "is nested more than 4 deep"));
    }
    let group = |name: &str| rule.get(name).map(|part| (part, within(&at, name)));
    if let Some((part, at)) = group("all") {
        alone(rule, &at)?;
        return children(part, &at, depth, mails).map(Rule::All);
    }
    if let Some((part, at)) = group("any") {
        alone(rule, &at)?;
        return children(part, &at, depth, mails).map(Rule::Any);
    }
    if let Some((part, at)) = group("not") {
        alone(rule, &at)?;
        let part = part.as_object().ok_or_else(|| fault(&at, "must be a rule"))?;
        return node(part, at, depth + 1, mails).map(|rule| Rule::Not(Box::new(rule)));
    }
    leaf(rule, &at, mails).map(Rule::Leaf)
}

fn alone(rule: &Map<String, Value>, at: &str) -> Result<(), Fault> {
    if rule.len() == 1 { Ok(()) } else { Err(fault(at, "must stand alone in its rule")) }
}

fn children(part: &Value, at: &str, depth: usize, mails: Mails<'_>) -> Result<Vec<Rule>, Fault> {
    let parts = part.as_array().filter(|parts| !parts.is_empty()).ok_or_else(|| fault(at, "must be a list of at least one rule"))?;
    let child = |(index, part): (usize, &Value)| {
        let at = format!("{at}[{index}]");
        match part.as_object() {
            Some(part) => node(part, at, depth + 1, mails),
            None => Err(fault(&at, "must be a rule")),
        }
    };
    parts.iter().enumerate().map(child).collect()
}

fn leaf(rule: &Map<String, Value>, at: &str, mails: Mails<'_>) -> Result<Leaf, Fault> {
    if let Some(unknown) = rule.keys().find(|name| !matches!(name.as_str(), "field" | "op" | "value")) {
        let shown: String = unknown.chars().take(64).collect();
        return Err(fault(&within(at, &shown), "is not known: a rule is all, any, not, or field, op and value"));
    }
    let word = |name: &str| rule.get(name).and_then(Value::as_str).ok_or_else(|| fault(&within(at, name), "is required, a string"));
    let field = Field::parse(word("field")?).filter(|field| mails.is_some() || !matches!(field, Field::Step(..)));
    let field = field.ok_or_else(|| fault(&within(at, "field"), "is no field of a lead"))?;
    if let (Field::Step(number, _), Some(is_mail)) = (&field, mails)
        && !is_mail(*number)
    {
        return Err(fault(&within(at, "field"), "must name an email before this step"));
    }
    let op =
        Op::parse(word("op")?).ok_or_else(|| fault(&within(at, "op"), &format!("must be one of {}", Op::ALL.map(Op::name).join(", "))))?;
    let kind = field.kind();
    if !op.is_for(kind) {
        let ops: Vec<&str> = Op::ALL.into_iter().filter(|op| op.is_for(kind)).map(Op::name).collect();
        return Err(fault(&within(at, "op"), &format!("does not go with this field, which takes {}", ops.join(", "))));
    }
    let operand = operand(op, &field, rule.get("value")).map_err(|problem| Fault { at: within(at, "value"), problem })?;
    Ok(Leaf { field, op, operand })
}

fn operand(op: Op, field: &Field, value: Option<&Value>) -> Result<Operand, String> {
    match op {
        Op::Exists => match value {
            None | Some(Value::Null | Value::Bool(true)) => Ok(Operand::None),
            Some(_) => Err("of exists may only be true: put a not around it for the opposite".into()),
        },
        Op::WithinDays => value
            .and_then(Value::as_i64)
            .filter(|days| (1..=MAX_DAYS).contains(days))
            .map(Operand::Days)
            .ok_or_else(|| format!("must be a number of days between 1 and {MAX_DAYS}")),
        Op::In => {
            let values = value.and_then(Value::as_array).filter(|values| (1..=MAX_VALUES).contains(&values.len()));
            let values = values.ok_or_else(|| format!("must be a list of 1 to {MAX_VALUES} values"))?;
            values.iter().map(|value| field.scalar(op, value)).collect::<Result<_, _>>().map(Operand::Several)
        }
        _ => field.scalar(op, value.unwrap_or(&Value::Null)).map(Operand::One),
    }
}

impl Leaf {
    fn matches(&self, lead: &Lead, did: &dyn Fn(u32, StepEvent) -> bool, now: Timestamp) -> bool {
        let values = self.field.values(lead, did);
        if values.is_empty() {
            return self.op.is_negation();
        }
        match (self.op, &self.operand) {
            (Op::Exists, _) => true,
            (Op::Equals, Operand::One(wanted)) => values.is_one(wanted),
            (Op::NotEquals, Operand::One(wanted)) => !values.is_one(wanted),
            (Op::Contains, Operand::One(wanted)) => values.contain(wanted),
            (Op::NotContains, Operand::One(wanted)) => !values.contain(wanted),
            (Op::StartsWith, Operand::One(Scalar::Text(start))) => {
                values.single().is_some_and(|value| matches!(value, Scalar::Text(text) if text.starts_with(start)))
            }
            (Op::In, Operand::Several(wanted)) => values.scalars.iter().any(|value| wanted.iter().any(|wanted| same(value, wanted))),
            (Op::WithinDays, Operand::Days(days)) => values
                .single()
                .and_then(moment_of)
                .is_some_and(|moment| moment <= now && now.duration_since(moment) <= SignedDuration::from_hours(24 * days)),
            (op, Operand::One(wanted)) => values.single().and_then(|value| order(value, wanted)).is_some_and(|order| op.holds(order)),
            _ => false,
        }
    }
}

/// What a field of a lead holds; nothing if it has no value.
struct Values {
    scalars: Vec<Scalar>,
    /// A list of values, or an object, which is none of them.
    several: bool,
}

impl Values {
    fn one(scalar: Scalar) -> Self {
        Values { scalars: vec![scalar], several: false }
    }

    fn maybe(scalar: Option<Scalar>) -> Self {
        Values { scalars: scalar.into_iter().collect(), several: false }
    }

    fn is_empty(&self) -> bool {
        self.scalars.is_empty() && !self.several
    }

    fn single(&self) -> Option<&Scalar> {
        self.scalars.first().filter(|_| !self.several)
    }

    fn is_one(&self, wanted: &Scalar) -> bool {
        self.single().is_some_and(|value| same(value, wanted))
    }

    /// A text contains a text; several values contain one of them.
    fn contain(&self, wanted: &Scalar) -> bool {
        match (self.single(), wanted) {
            (Some(Scalar::Text(text)), Scalar::Text(wanted)) => text.contains(wanted),
            (Some(_), _) => false,
            (None, wanted) => self.scalars.iter().any(|value| same(value, wanted)),
        }
    }
}

fn same(value: &Scalar, wanted: &Scalar) -> bool {
    match (value, wanted) {
        (Scalar::Moment(_), _) | (_, Scalar::Moment(_)) => order(value, wanted) == Some(std::cmp::Ordering::Equal),
        (value, wanted) => value == wanted,
    }
}

/// `None` for values that have no order between them.
fn order(value: &Scalar, wanted: &Scalar) -> Option<std::cmp::Ordering> {
    match (value, wanted) {
        (Scalar::Number(value), Scalar::Number(wanted)) => value.partial_cmp(wanted),
        (value, wanted) => Some(moment_of(value)?.cmp(&moment_of(wanted)?)),
    }
}

fn moment_of(value: &Scalar) -> Option<Timestamp> {
    match value {
        Scalar::Moment(moment) => Some(*moment),
        // Folding wrote the letters of RFC 3339 small.
        Scalar::Text(text) => time::moment(&text.to_ascii_uppercase()),
        _ => None,
    }
}

impl Field {
    fn parse(name: &str) -> Option<Self> {
        if let Some(key) = name.strip_prefix("attributes.") {
            return (!key.is_empty()).then(|| Field::Attribute(key.to_owned()));
        }
        if let Some((number, event)) = name.strip_prefix("steps[").and_then(|rest| rest.split_once("].")) {
            let number = number.parse().ok().filter(|parsed: &u32| parsed.to_string() == number)?;
            return Some(Field::Step(number, StepEvent::parse(event)?));
        }
        Some(match name {
            "email" => Field::Email,
            "status" => Field::Status,
            "email_status" => Field::EmailStatus,
            "created_at" => Field::CreatedAt,
            "updated_at" => Field::UpdatedAt,
            "tags" => Field::Tags,
            "lists" => Field::Lists,
            "engagement.sent" => Field::Times(Times::Sent),
            "engagement.opened" => Field::Times(Times::Opened),
            "engagement.clicked" => Field::Times(Times::Clicked),
            "engagement.replied" => Field::Times(Times::Replied),
            "engagement.last_sent_at" => Field::Last(Times::Sent),
            "engagement.last_opened_at" => Field::Last(Times::Opened),
            "engagement.last_clicked_at" => Field::Last(Times::Clicked),
            "engagement.last_replied_at" => Field::Last(Times::Replied),
            name => Field::Profile(ProfileField::parse(name)?),
        })
    }

    fn kind(&self) -> Kind {
        match self {
            Field::Email | Field::Profile(_) | Field::Status | Field::EmailStatus => Kind::Text,
            Field::CreatedAt | Field::UpdatedAt | Field::Last(_) => Kind::Moment,
            Field::Tags => Kind::Texts,
            Field::Lists => Kind::Lists,
            Field::Attribute(_) => Kind::Free,
            Field::Times(_) => Kind::Number,
            Field::Step(..) => Kind::Flag,
        }
    }

    /// A value of the rule as it is compared with this field.
    fn scalar(&self, op: Op, value: &Value) -> Result<Scalar, String> {
        match (self.kind(), value) {
            (Kind::Text | Kind::Texts, Value::String(text)) => Ok(Scalar::Text(text::fold(text))),
            (Kind::Text | Kind::Texts, _) => Err("must be a string".into()),
            (Kind::Number, Value::Number(_)) => value.as_f64().map(Scalar::Number).ok_or_else(|| "must be a number".into()),
            (Kind::Number, _) => Err("must be a number".into()),
            (Kind::Moment, value) => {
                let moment = value.as_str().and_then(time::moment);
                moment.map(Scalar::Moment).ok_or_else(|| "must be a moment like 2026-12-31T00:00:00Z".into())
            }
            (Kind::Lists, value) => {
                value.as_str().and_then(LeadListId::from_path).map(Scalar::List).ok_or_else(|| "must be the id of a list".into())
            }
            (Kind::Flag, value) => value.as_bool().map(Scalar::Bool).ok_or_else(|| "must be true or false".into()),
            (Kind::Free, value) => match (free(value), op) {
                (Some(scalar @ Scalar::Text(_)), _) => Ok(scalar),
                (_, Op::StartsWith) => Err("must be a string".into()),
                (Some(scalar), _) => Ok(scalar),
                (None, _) => Err("must be a string, a number, true or false".into()),
            },
        }
    }

    fn values(&self, lead: &Lead, did: &dyn Fn(u32, StepEvent) -> bool) -> Values {
        match self {
            Field::Email => Values::one(Scalar::Text(lead.email.normalised())),
            Field::Profile(field) => Values::maybe(lead.profile.get(*field).map(|text| Scalar::Text(text::fold(text)))),
            Field::Status => Values::one(Scalar::Text(lead.status.name().to_owned())),
            Field::EmailStatus => Values::one(Scalar::Text(lead.email_status.name().to_owned())),
            Field::CreatedAt => Values::one(Scalar::Moment(lead.created_at)),
            Field::UpdatedAt => Values::one(Scalar::Moment(lead.updated_at)),
            Field::Tags => {
                let tags: Vec<Scalar> = lead.tags.iter().map(|tag| Scalar::Text(text::fold(tag))).collect();
                Values { several: !tags.is_empty(), scalars: tags }
            }
            Field::Lists => {
                let lists: Vec<Scalar> = lead.lists.iter().map(|list| Scalar::List(*list)).collect();
                Values { several: !lists.is_empty(), scalars: lists }
            }
            Field::Attribute(key) => match lead.attributes.get(key) {
                None | Some(Value::Null) => Values::maybe(None),
                Some(Value::Array(items)) => Values { several: !items.is_empty(), scalars: items.iter().filter_map(free).collect() },
                Some(Value::Object(_)) => Values { several: true, scalars: vec![] },
                Some(value) => Values::maybe(free(value)),
            },
            Field::Times(times) => Values::one(Scalar::Number(times.number(&lead.engagement) as f64)),
            Field::Last(times) => Values::maybe(times.last(&lead.engagement).map(Scalar::Moment)),
            Field::Step(number, event) => Values::one(Scalar::Bool(did(*number, *event))),
        }
    }
}

impl StepEvent {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "opened" => Some(StepEvent::Opened),
            "clicked" => Some(StepEvent::Clicked),
            "replied" => Some(StepEvent::Replied),
            _ => None,
        }
    }
}

impl Times {
    fn number(self, engagement: &Engagement) -> u64 {
        match self {
            Times::Sent => engagement.sent,
            Times::Opened => engagement.opened,
            Times::Clicked => engagement.clicked,
            Times::Replied => engagement.replied,
        }
    }

    fn last(self, engagement: &Engagement) -> Option<Timestamp> {
        match self {
            Times::Sent => engagement.last_sent_at,
            Times::Opened => engagement.last_opened_at,
            Times::Clicked => engagement.last_clicked_at,
            Times::Replied => engagement.last_replied_at,
        }
    }
}

/// A JSON value that can be compared.
fn free(value: &Value) -> Option<Scalar> {
    match value {
        Value::String(text) => Some(Scalar::Text(text::fold(text))),
        Value::Number(_) => value.as_f64().map(Scalar::Number),
        Value::Bool(bool) => Some(Scalar::Bool(*bool)),
        _ => None,
    }
}

impl Op {
    const ALL: [Op; 12] = [
        Op::Equals,
        Op::NotEquals,
        Op::Gt,
        Op::Gte,
        Op::Lt,
        Op::Lte,
        Op::Contains,
        Op::NotContains,
        Op::StartsWith,
        Op::In,
        Op::Exists,
        Op::WithinDays,
    ];

    fn name(self) -> &'static str {
        match self {
            Op::Equals => "equals",
            Op::NotEquals => "not_equals",
            Op::Gt => "gt",
            Op::Gte => "gte",
            Op::Lt => "lt",
            Op::Lte => "lte",
            Op::Contains => "contains",
            Op::NotContains => "not_contains",
            Op::StartsWith => "starts_with",
            Op::In => "in",
            Op::Exists => "exists",
            Op::WithinDays => "within_days",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Op::ALL.into_iter().find(|op| op.name() == name)
    }

    fn is_negation(self) -> bool {
        matches!(self, Op::NotEquals | Op::NotContains)
    }

    fn is_for(self, kind: Kind) -> bool {
        match self {
            Op::Exists => kind != Kind::Flag,
            Op::In => !matches!(kind, Kind::Moment | Kind::Flag),
            Op::Equals | Op::NotEquals => !matches!(kind, Kind::Texts | Kind::Lists),
            Op::Gt | Op::Gte | Op::Lt | Op::Lte => matches!(kind, Kind::Number | Kind::Moment | Kind::Free),
            Op::Contains | Op::NotContains => !matches!(kind, Kind::Number | Kind::Moment | Kind::Flag),
            Op::StartsWith => matches!(kind, Kind::Text | Kind::Free),
            Op::WithinDays => matches!(kind, Kind::Moment | Kind::Free),
        }
    }

    /// Whether a comparison with this outcome holds.
    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Op::Gt => order.is_gt(),
            Op::Gte => order.is_ge(),
            Op::Lt => order.is_lt(),
            Op::Lte => order.is_le(),
            _ => false,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.at.as_str() {
            "" => f.write_str(&self.problem),
            at => write!(f, "is wrong at {at}, which {}", self.problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use shared::crypto::Random;
    use shared::ids::WorkspaceTag;

    use super::*;
    use crate::lead::tests::lead;
    use crate::lead::{EmailStatus, LeadChanges, LeadStatus};

    const NOW: &str = "2026-06-15T12:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn parse(rule: &Value) -> Result<Rule, Fault> {
        Rule::parse(rule.as_object().unwrap())
    }

    fn leaf(field: &str, op: &str, value: Value) -> Value {
        json!({"field": field, "op": op, "value": value})
    }

    fn list(n: u64) -> LeadListId {
        LeadListId::new(WorkspaceTag::NONE, Timestamp::UNIX_EPOCH, &Random::seeded(100 + n))
    }

    fn jane() -> Lead {
        let mut jane = lead("jane@acme.example");
        jane.profile.set(ProfileField::City, Some("Zürich".into()));
        jane.tags = vec!["VIP".into()];
        jane.lists = vec![list(1)];
        jane.created_at = "2026-06-10T12:00:00Z".parse().unwrap();
        jane.attributes = json!({"seats": 12, "plan": "Pro", "since": "2026-06-14T12:00:00Z", "likes": ["Tea", 3], "nothing": null,
            "address": {"zip": "1"}, "active": true, "empty": []})
        .as_object()
        .cloned()
        .unwrap();
        jane
    }

    #[test]
    fn rules_are_asked_as_they_are_written() {
        let lists = list(1).prefixed();
        for (rule, expected) in [
            (leaf("email", "starts_with", json!("JANE@")), true),
            (leaf("city", "equals", json!("zürich")), true),
            (leaf("city", "contains", json!("RICH")), true),
            (leaf("city", "not_equals", json!("Bern")), true),
            (leaf("city", "in", json!(["Bern", "ZÜRICH"])), true),
            (leaf("country", "equals", json!("")), false),
            (leaf("country", "not_equals", json!("CH")), true),
            (leaf("country", "not_contains", json!("CH")), true),
            (json!({"field": "country", "op": "exists"}), false),
            (json!({"not": {"field": "country", "op": "exists", "value": true}}), true),
            (leaf("status", "equals", json!("new")), true),
            (leaf("email_status", "in", json!(["bounced", "complained"])), false),
            (leaf("tags", "contains", json!("vip")), true),
            (leaf("tags", "contains", json!("vi")), false),
            (leaf("tags", "not_contains", json!("lost")), true),
            (leaf("lists", "contains", json!(lists)), true),
            (leaf("lists", "in", json!([list(2).prefixed(), lists])), true),
            (leaf("lists", "contains", json!(list(2).to_string())), false),
            (leaf("created_at", "within_days", json!(5)), true),
            (leaf("created_at", "within_days", json!(4)), false),
            (leaf("created_at", "lt", json!("2026-06-10T14:00:01+02:00")), true),
            (leaf("attributes.seats", "gte", json!(12)), true),
            (leaf("attributes.seats", "gt", json!(12.0)), false),
            (leaf("attributes.seats", "equals", json!("12")), false),
            (leaf("attributes.seats", "not_equals", json!("12")), true),
            (leaf("attributes.plan", "equals", json!("PRO")), true),
            (leaf("attributes.plan", "gt", json!("Free")), false),
            (leaf("attributes.since", "within_days", json!(1)), true),
            (leaf("attributes.since", "gte", json!("2026-06-14T13:00:00+01:00")), true),
            (leaf("attributes.likes", "contains", json!("tea")), true),
            (leaf("attributes.likes", "contains", json!(3)), true),
            (leaf("attributes.likes", "in", json!(["coffee", 3])), true),
            (leaf("attributes.likes", "equals", json!("tea")), false),
            (leaf("attributes.active", "equals", json!(true)), true),
            (leaf("attributes.nothing", "exists", json!(true)), false),
            (leaf("attributes.empty", "exists", json!(true)), false),
            (leaf("attributes.address", "exists", json!(true)), true),
            (leaf("attributes.address", "contains", json!("1")), false),
            (leaf("attributes.gone", "not_contains", json!("x")), true),
            (leaf("engagement.sent", "equals", json!(0)), true),
            (leaf("engagement.opened", "gt", json!(0)), false),
            (leaf("engagement.last_opened_at", "within_days", json!(30)), false),
            (
                json!({"all": [leaf("status", "equals", json!("new")), {"any": [leaf("city", "equals", json!("Bern")), {"not": leaf("city", "equals", json!("Bern"))}]}]}),
                true,
            ),
        ] {
            let parsed = parse(&rule).unwrap_or_else(|fault| panic!("{rule}: {fault}"));
            assert_eq!(parsed.matches(&jane(), now()), expected, "{rule}");
        }
    }

    #[test]
    fn a_fault_names_its_place() {
        let good = || leaf("city", "exists", json!(true));
        let nested = |depth: usize| (1..depth).fold(good(), |rule, _| json!({"not": rule}));
        assert!(parse(&nested(4)).is_ok());
        for (rule, at) in [
            (json!({}), "field"),
            (json!({"field": "city"}), "op"),
            (json!({"field": "shoe_size", "op": "exists"}), "field"),
            (json!({"field": "attributes.", "op": "exists"}), "field"),
            (json!({"field": "city", "op": "matches", "value": ".*"}), "op"),
            (json!({"field": "city", "op": "gt", "value": "a"}), "op"),
            (json!({"field": "tags", "op": "equals", "value": "a"}), "op"),
            (json!({"field": "city", "op": "equals"}), "value"),
            (json!({"field": "city", "op": "equals", "value": 3}), "value"),
            (json!({"field": "city", "op": "exists", "value": false}), "value"),
            (json!({"field": "city", "op": "in", "value": []}), "value"),
            (json!({"field": "city", "op": "in", "value": vec!["a"; 51]}), "value"),
            (json!({"field": "lists", "op": "contains", "value": "all"}), "value"),
            (json!({"field": "created_at", "op": "within_days", "value": 0}), "value"),
            (json!({"field": "created_at", "op": "gt", "value": "yesterday"}), "value"),
            (json!({"field": "attributes.a", "op": "equals", "value": [1]}), "value"),
            (json!({"field": "attributes.a", "op": "starts_with", "value": 1}), "value"),
            (json!({"field": "city", "op": "exists", "extra": 1}), "extra"),
            (json!({"all": []}), "all"),
            (json!({"all": good()}), "all"),
            (json!({"all": [good(), 3]}), "all[1]"),
            (json!({"all": [good()], "any": [good()]}), "all"),
            (json!({"any": [good(), {"not": {"all": [{"field": "city", "op": "exists", "value": 1}]}}]}), "any[1].not.all[0].value"),
            (json!({"not": [good()]}), "not"),
            (nested(5), "not.not.not.not"),
            (json!({"any": vec![good(); 51]}), ""),
            (leaf("city", "equals", json!("x".repeat(5_000))), ""),
        ] {
            let fault = parse(&rule).err().unwrap_or_else(|| panic!("{rule}"));
            assert_eq!(fault.at, at, "{rule}: {fault}");
        }
        assert_eq!(
            parse(&json!({"any": [{"all": []}]})).unwrap_err().to_string(),
            "is wrong at any[0].all, which must be a list of at least one rule"
        );
    }

    #[test]
    fn a_rule_of_a_step_asks_about_the_mails_before_it() {
        let is_mail = |number| number == 1 || number == 4;
        let parse_in = |rule: &Value| Rule::parse_in_sequence(rule.as_object().unwrap(), &is_mail);
        let opened = leaf("steps[1].opened", "equals", json!(true));
        let rule = parse_in(&json!({"all": [opened, leaf("steps[4].clicked", "not_equals", json!(true))]})).unwrap();
        let lead = lead("a@acme.example");
        assert!(rule.matches_after(&lead, &|number, event| (number, event) == (1, StepEvent::Opened), now()));
        assert!(!rule.matches_after(&lead, &|_, _| true, now()) && !rule.matches(&lead, now()));
        for (rule, at) in [
            (leaf("steps[2].opened", "equals", json!(true)), "field"),
            (leaf("steps[01].opened", "equals", json!(true)), "field"),
            (leaf("steps[-1].opened", "equals", json!(true)), "field"),
            (leaf("steps[1].sent", "equals", json!(true)), "field"),
            (leaf("steps[1].opened.twice", "equals", json!(true)), "field"),
            (leaf("steps[1].replied", "exists", json!(true)), "op"),
            (leaf("steps[1].replied", "in", json!([true])), "op"),
            (leaf("steps[1].replied", "equals", json!("true")), "value"),
            (json!({"not": leaf("steps[3].opened", "equals", json!(true))}), "not.field"),
        ] {
            assert_eq!(parse_in(&rule).unwrap_err().at, at, "{rule}");
        }
        // Segments know no steps.
        assert_eq!(parse(&opened).unwrap_err().to_string(), "is wrong at field, which is no field of a lead");
    }

    #[test]
    fn lists_that_a_rule_names_are_told_once() {
        let contains = |n| leaf("lists", "contains", json!(list(n).prefixed()));
        let rule =
            json!({"any": [contains(1), {"not": contains(2)}, leaf("lists", "in", json!([list(1).prefixed(), list(3).prefixed()]))]});
        assert_eq!(parse(&rule).unwrap().lists(), [list(1), list(2), list(3)]);
    }

    /// The same question, answered from the documents alone.
    fn naively(rule: &Value, lead: &Value) -> bool {
        let rules = |part: &Value| part.as_array().unwrap().clone();
        if let Some(part) = rule.get("all") {
            return !rules(part).iter().any(|rule| !naively(rule, lead));
        }
        if let Some(part) = rule.get("any") {
            return !rules(part).iter().all(|rule| !naively(rule, lead));
        }
        if let Some(part) = rule.get("not") {
            return !naively(part, lead);
        }
        let (name, op, wanted) = (rule["field"].as_str().unwrap(), rule["op"].as_str().unwrap(), &rule["value"]);
        let value = lead.get(name).cloned().unwrap_or(Value::Null);
        let missing = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        let equal = |one: &Value, other: &Value| match (one, other) {
            (Value::String(one), Value::String(other)) => match (one.parse::<Timestamp>(), other.parse::<Timestamp>()) {
                (Ok(one), Ok(other)) => one == other,
                _ => one.to_lowercase() == other.to_lowercase(),
            },
            (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
            _ => one == other,
        };
        let contains = || match (&value, wanted) {
            (Value::Array(values), wanted) => values.iter().any(|value| equal(value, wanted)),
            (Value::String(text), Value::String(wanted)) => text.to_lowercase().contains(&wanted.to_lowercase()),
            _ => false,
        };
        let compare = |holds: fn(f64, f64) -> bool| match (&value, wanted) {
            (Value::Number(one), Value::Number(other)) => holds(one.as_f64().unwrap(), other.as_f64().unwrap()),
            (Value::String(one), Value::String(other)) => match (one.parse::<Timestamp>(), other.parse::<Timestamp>()) {
                (Ok(one), Ok(other)) => holds(one.as_second() as f64, other.as_second() as f64),
                _ => false,
            },
            _ => false,
        };
        match op {
            "not_equals" => missing || !equal(&value, wanted),
            "not_contains" => missing || !contains(),
            _ if missing => false,
            "exists" => true,
            "equals" => equal(&value, wanted),
            "contains" => contains(),
            "starts_with" => value.as_str().is_some_and(|text| text.to_lowercase().starts_with(&wanted.as_str().unwrap().to_lowercase())),
            "in" => wanted.as_array().unwrap().iter().any(|wanted| match &value {
                Value::Array(values) => values.iter().any(|value| equal(value, wanted)),
                value => equal(value, wanted),
            }),
            "gt" => compare(|one, other| one > other),
            "gte" => compare(|one, other| one >= other),
            "lt" => compare(|one, other| one < other),
            "lte" => compare(|one, other| one <= other),
            "within_days" => value.as_str().and_then(|text| text.parse::<Timestamp>().ok()).is_some_and(|moment| {
                let age = now().as_second() - moment.as_second();
                age >= 0 && age <= wanted.as_i64().unwrap() * 86_400
            }),
            _ => unreachable!("{op}"),
        }
    }

    /// A lead as the naive evaluator reads it: each field by its name in rules.
    fn document(lead: &Lead) -> Value {
        let mut document = json!({
            "email": lead.email.as_str(), "status": lead.status.name(), "email_status": lead.email_status.name(),
            "created_at": lead.created_at.to_string(), "updated_at": lead.updated_at.to_string(), "tags": lead.tags,
            "lists": lead.lists.iter().map(LeadListId::prefixed).collect::<Vec<_>>(), "engagement.sent": lead.engagement.sent,
            "engagement.last_opened_at": lead.engagement.last_opened_at.map(|moment| moment.to_string()),
        });
        for field in ProfileField::ALL {
            document[field.name()] = json!(lead.profile.get(field));
        }
        for (name, value) in &lead.attributes {
            document[format!("attributes.{name}")] = value.clone();
        }
        document
    }

    fn moments() -> impl Strategy<Value = String> {
        (0_i64..10).prop_map(|days| (now() - SignedDuration::from_hours(24 * (days - 1))).to_string())
    }

    fn words() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["", "a", "A", "ab", "Abc", "b c", "VIP", "zürich", "ZÜRICH", "rich"]).prop_map(str::to_owned)
    }

    fn values() -> impl Strategy<Value = Value> {
        prop_oneof![
            words().prop_map(Value::from),
            moments().prop_map(Value::from),
            (-2_i64..4).prop_map(Value::from),
            (-1.0..2.0).prop_map(|n: f64| json!((n * 2.0).round() / 2.0)),
            any::<bool>().prop_map(Value::from),
        ]
    }

    fn leads() -> impl Strategy<Value = Lead> {
        let attribute = prop_oneof![
            values(),
            prop::collection::vec(values(), 0..3).prop_map(Value::from),
            Just(Value::Null),
            Just(json!({"zip": "a"})),
        ];
        let profile = prop::collection::vec((prop::sample::select(ProfileField::ALL.to_vec()), words()), 0..4);
        (
            prop::sample::select(vec!["a@acme.example", "abc@b.example", "vip@zu.example"]),
            profile,
            prop::collection::vec(words().prop_filter("a tag shows something", |word| !word.is_empty()), 0..3),
            prop::collection::vec(0_u64..3, 0..3),
            prop::collection::btree_map(prop::sample::select(vec!["x", "y"]), attribute, 0..3),
            (0_usize..4, 0_usize..4, 0_u64..3, prop::option::of(moments()), moments()),
        )
            .prop_map(|(email, profile, tags, lists, attributes, (status, email_status, sent, opened, created))| {
                let profile = profile.into_iter().map(|(field, word)| (field, Some(word))).collect();
                let mut lead = lead(email).with(&LeadChanges { profile, tags: Some(tags), ..LeadChanges::default() }).unwrap();
                lead.lists = lists.into_iter().map(list).collect();
                lead.attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                lead.status = LeadStatus::parse(LeadStatus::WORDS[status]).unwrap();
                lead.email_status = EmailStatus::parse(EmailStatus::WORDS[email_status]).unwrap();
                lead.engagement.sent = sent;
                lead.engagement.last_opened_at = opened.map(|moment| moment.parse().unwrap());
                lead.created_at = created.parse().unwrap();
                lead
            })
    }

    fn leaves() -> impl Strategy<Value = Value> {
        let fields = vec![
            "email",
            "first_name",
            "city",
            "company",
            "status",
            "email_status",
            "created_at",
            "tags",
            "lists",
            "attributes.x",
            "attributes.y",
            "engagement.sent",
            "engagement.last_opened_at",
        ];
        let fitting = prop_oneof![
            values(),
            (0_u64..4).prop_map(|n| json!(list(n).prefixed())),
            prop::collection::vec(values(), 1..4).prop_map(Value::from),
            prop::sample::select(LeadStatus::WORDS.to_vec()).prop_map(Value::from),
            (1_i64..9).prop_map(Value::from),
            Just(Value::Bool(true)),
        ];
        (prop::sample::select(fields), prop::sample::select(Op::ALL.map(Op::name).to_vec()), fitting)
            .prop_map(|(field, op, value)| leaf(field, op, value))
            .prop_filter("a leaf that is taken", |leaf| parse(leaf).is_ok())
    }

    fn rules() -> impl Strategy<Value = Value> {
        leaves().prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(|rules| json!({"all": rules})),
                prop::collection::vec(inner.clone(), 1..4).prop_map(|rules| json!({"any": rules})),
                inner.prop_map(|rule| json!({"not": rule})),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, max_local_rejects: 1_000_000, ..ProptestConfig::default() })]
        #[test]
        fn a_rule_means_what_a_naive_reader_takes_it_for(rule in rules(), leads in prop::collection::vec(leads(), 1..6)) {
            let parsed = parse(&rule).unwrap();
            for lead in leads {
                prop_assert_eq!(parsed.matches(&lead, now()), naively(&rule, &document(&lead)), "{} {}", rule, document(&lead));
            }
        }
    }
}
