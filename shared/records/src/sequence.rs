//! The steps of a campaign: mails, waits and conditions, in their order. What is wrong with them as they are given, each with its place. What the mails
//! themselves may say is asked of whoever reads them.

use std::collections::BTreeSet;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::campaign::CampaignId;
use crate::lead::Lead;
use crate::lead_list::LeadListId;
use crate::rule::{Fault, Rule, StepEvent};
use crate::template::{Content, PackedText, TemplateId};
use shared::ids::{PathId, Segment};
use shared::model::free;
use shared::store::{Collection, Entity, IN_WORKSPACE, InWorkspace, Key, List, Restore, Within, restored};
use shared::{Result, crypto};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Email(EmailStep),
    Wait(WaitStep),
    Condition(ConditionStep),
}

/// A mail. In a draft its parts may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmailStep {
    /// In place of a template's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<EmailBody>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmailBody {
    Written(PackedText),
    Template(TemplateId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitStep {
    pub value: u32,
    pub unit: WaitUnit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitUnit {
    Minutes,
    Hours,
    Days,
    Weeks,
}

/// Where it goes on, by the number of a later step. `None`: it ends there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConditionStep {
    /// As it was given; `Rule::parse_in_sequence` takes it.
    #[serde(with = "free")]
    pub rule: Map<String, Value>,
    pub then: Option<u32>,
    #[serde(rename = "else")]
    pub otherwise: Option<u32>,
}

/// What the record of a campaign knows of its steps, which lie apart. The digest tells whether those that were read are those that the campaign means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceMark {
    pub steps: u32,
    pub digest: String,
}

/// Where a lead goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// With the mail or the condition of that number.
    Step {
        number: u32,
        due: Timestamp,
    },
    End,
}

/// Texts of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Subject,
    Body,
}

/// Steps of a sequence, and mails among them.
pub const MOST_STEPS: usize = 20;
pub const MOST_EMAILS: usize = 7;
const MOST_DAYS: u32 = 365;

/// Reads steps as they are given, and says all that is wrong with them. `text` says it of a text of a mail.
pub fn parse(given: &[Value], text: &dyn Fn(Part, &str) -> Vec<String>) -> Result<Vec<Step>, Vec<Fault>> {
    let (mut steps, mut faults) = (vec![], vec![]);
    let is_email = |step: &Value| step.get("type").and_then(Value::as_str) == Some("email");
    if given.len() > MOST_STEPS {
        faults.push(Fault { at: String::new(), problem: format!("must not have more than {MOST_STEPS} steps") });
    }
    if given.iter().filter(|step| is_email(step)).count() > MOST_EMAILS {
        faults.push(Fault { at: String::new(), problem: format!("must not have more than {MOST_EMAILS} emails") });
    }
    // What is beyond is not looked at, so that an answer remains small.
    for (index, step) in given.iter().take(MOST_STEPS).enumerate() {
        let mut reader = Reader { at: format!("[{index}]"), number: number_of(index), faults: &mut faults };
        let Some(step) = step.as_object() else {
            reader.refuse("", "must be an object");
            continue;
        };
        let before = &given[..index];
        let is_mail = |number: u32| before.iter().enumerate().any(|(index, step)| number_of(index) == number && is_email(step));
        steps.extend(reader.step(step, count(given), &is_mail, text));
    }
    if faults.is_empty() { Ok(steps) } else { Err(faults) }
}

/// The first mail or condition from a step on, after the waits before it.
pub fn from(steps: &[Step], number: u32, at: Timestamp) -> Next {
    let (mut number, mut due) = (number, at);
    loop {
        match step(steps, number) {
            None => return Next::End,
            Some(Step::Wait(wait)) => due = due.saturating_add(wait.length()).unwrap_or(Timestamp::MAX),
            Some(Step::Email(_) | Step::Condition(_)) => return Next::Step { number, due },
        }
        number += 1;
    }
}

/// Where a condition leads.
pub fn branch(steps: &[Step], condition: &ConditionStep, lead: &Lead, did: &dyn Fn(u32, StepEvent) -> bool, now: Timestamp) -> Next {
    // A rule that cannot be read any more holds for nobody.
    let holds = Rule::parse_in_sequence(&condition.rule, &|_| true).is_ok_and(|rule| rule.matches_after(lead, did, now));
    match if holds { condition.then } else { condition.otherwise } {
        Some(number) => from(steps, number, now),
        None => Next::End,
    }
}

/// By its number.
pub fn step(steps: &[Step], number: u32) -> Option<&Step> {
    steps.get(usize::try_from(number).ok()?.checked_sub(1)?)
}

/// Whether steps may take the place of those of a launched campaign: leads are somewhere among them, so each keeps its number and its kind.
pub fn continues(before: &[Step], after: &[Step]) -> bool {
    let kind = |step: &Step| std::mem::discriminant(step);
    after.len() >= before.len() && before.iter().zip(after).all(|(before, after)| kind(before) == kind(after))
}

/// Steps are counted from 1.
pub fn number_of(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1)
}

fn count<T>(steps: &[T]) -> u32 {
    u32::try_from(steps.len()).unwrap_or(u32::MAX)
}

struct Reader<'a> {
    at: String,
    number: u32,
    faults: &'a mut Vec<Fault>,
}

impl Reader<'_> {
    fn refuse(&mut self, field: &str, problem: impl Into<String>) {
        let shown: String = field.chars().take(64).collect();
        let at = if field.is_empty() { self.at.clone() } else { format!("{}.{shown}", self.at) };
        self.faults.push(Fault { at, problem: problem.into() });
    }

    fn step(
        &mut self,
        step: &Map<String, Value>,
        last: u32,
        is_mail: &dyn Fn(u32) -> bool,
        text: &dyn Fn(Part, &str) -> Vec<String>,
    ) -> Option<Step> {
        let own = match step.get("type").and_then(Value::as_str) {
            Some("email") => &["subject", "body", "template_id"][..],
            Some("wait") => &["value", "unit"],
            Some("condition") => &["rule", "then", "else"],
            _ => {
                self.refuse("type", "must be one of email, wait, condition");
                return None;
            }
        };
        for name in step.keys().filter(|name| !matches!(name.as_str(), "type" | "step") && !own.contains(&name.as_str())) {
            self.refuse(name, "is not known");
        }
        // Answers number the steps, so it may come back with one. It says nothing new.
        if step.get("step").is_some_and(|number| number.as_u64() != Some(self.number.into())) {
            self.refuse("step", format!("must be {}, the step's place", self.number));
        }
        match own {
            ["subject", ..] => self.email(step, text).map(Step::Email),
            ["value", ..] => self.wait(step).map(Step::Wait),
            _ => self.condition(step, last, is_mail).map(Step::Condition),
        }
    }

    fn email(&mut self, step: &Map<String, Value>, text: &dyn Fn(Part, &str) -> Vec<String>) -> Option<EmailStep> {
        let subject = self.text(step, "subject", Part::Subject, text);
        let written = self.text(step, "body", Part::Body, text);
        let template = match step.get("template_id").filter(|id| !id.is_null()) {
            None => None,
            Some(id) => {
                let id = id.as_str().and_then(TemplateId::from_path);
                if id.is_none() {
                    self.refuse("template_id", "must be the id of a template");
                }
                id
            }
        };
        let body = match (written, template) {
            (Some(_), Some(_)) => {
                self.refuse("template_id", "must not stand beside a body");
                return None;
            }
            (Some(written), None) => Some(EmailBody::Written(PackedText::of(&written))),
            (None, template) => template.map(EmailBody::Template),
        };
        Some(EmailStep { subject, body })
    }

    fn text(&mut self, step: &Map<String, Value>, name: &str, part: Part, problems: &dyn Fn(Part, &str) -> Vec<String>) -> Option<String> {
        let given = step.get(name).filter(|given| !given.is_null())?;
        let Some(given) = given.as_str() else {
            self.refuse(name, "must be a string");
            return None;
        };
        for problem in problems(part, given) {
            self.refuse(name, problem);
        }
        Some(given.to_owned())
    }

    fn wait(&mut self, step: &Map<String, Value>) -> Option<WaitStep> {
        let unit = step.get("unit").and_then(Value::as_str).and_then(WaitUnit::parse);
        if unit.is_none() {
            self.refuse("unit", format!("must be one of {}", WaitUnit::ALL.map(WaitUnit::name).join(", ")));
        }
        let most = unit.unwrap_or(WaitUnit::Minutes).most();
        let value = step.get("value").and_then(Value::as_u64).and_then(|value| u32::try_from(value).ok());
        let value = value.filter(|value| (1..=most).contains(value));
        if value.is_none() {
            self.refuse("value", format!("must be an integer between 1 and {most}"));
        }
        Some(WaitStep { value: value?, unit: unit? })
    }

    fn condition(&mut self, step: &Map<String, Value>, last: u32, is_mail: &dyn Fn(u32) -> bool) -> Option<ConditionStep> {
        let rule = match step.get("rule").and_then(Value::as_object) {
            None => {
                self.refuse("rule", "is required, a rule");
                None
            }
            Some(rule) => match Rule::parse_in_sequence(rule, is_mail) {
                Ok(_) => Some(rule.clone()),
                Err(Fault { at, problem }) => {
                    self.refuse(&if at.is_empty() { "rule".to_owned() } else { format!("rule.{at}") }, problem);
                    None
                }
            },
        };
        let (then, otherwise) = (self.next(step, "then", last), self.next(step, "else", last));
        Some(ConditionStep { rule: rule?, then: then?, otherwise: otherwise? })
    }

    fn next(&mut self, step: &Map<String, Value>, name: &str, last: u32) -> Option<Option<u32>> {
        let later = |number: u64| u32::try_from(number).ok().filter(|number| (self.number + 1..=last).contains(number));
        match step.get(name) {
            Some(Value::Null) => return Some(None),
            Some(number) => {
                if let Some(later) = number.as_u64().and_then(later) {
                    return Some(Some(later));
                }
                self.refuse(name, "must be the number of a later step, or null for the end");
            }
            None => self.refuse(name, "is required: the number of a later step, or null for the end"),
        }
        None
    }
}

impl WaitStep {
    /// A day has 24 hours.
    pub fn length(self) -> SignedDuration {
        let minutes = match self.unit {
            WaitUnit::Minutes => 1,
            WaitUnit::Hours => 60,
            WaitUnit::Days => 24 * 60,
            WaitUnit::Weeks => 7 * 24 * 60,
        };
        SignedDuration::from_mins(i64::from(self.value) * minutes)
    }
}

impl WaitUnit {
    const ALL: [WaitUnit; 4] = [WaitUnit::Minutes, WaitUnit::Hours, WaitUnit::Days, WaitUnit::Weeks];

    fn name(self) -> &'static str {
        match self {
            WaitUnit::Minutes => "minutes",
            WaitUnit::Hours => "hours",
            WaitUnit::Days => "days",
            WaitUnit::Weeks => "weeks",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        WaitUnit::ALL.into_iter().find(|unit| unit.name() == name)
    }

    /// How many of them a wait may have.
    fn most(self) -> u32 {
        match self {
            WaitUnit::Minutes => MOST_DAYS * 24 * 60,
            WaitUnit::Hours => MOST_DAYS * 24,
            WaitUnit::Days => MOST_DAYS,
            WaitUnit::Weeks => MOST_DAYS / 7,
        }
    }
}

impl SequenceMark {
    pub fn of(steps: &[Step]) -> Self {
        let written = serde_json::to_vec(steps).unwrap_or_default();
        SequenceMark { steps: count(steps), digest: crypto::hash(&[&written]) }
    }
}

/// The templates that steps name, each once.
pub fn templates(steps: &[Step]) -> BTreeSet<TemplateId> {
    let template = |step: &Step| match step {
        Step::Email(EmailStep { body: Some(EmailBody::Template(template)), .. }) => Some(*template),
        _ => None,
    };
    steps.iter().filter_map(template).collect()
}

/// The lists that the rules of steps name, each once.
pub fn lists(steps: &[Step]) -> BTreeSet<LeadListId> {
    let rules = steps.iter().filter_map(|step| match step {
        Step::Condition(condition) => Rule::parse_in_sequence(&condition.rule, &|_| true).ok(),
        _ => None,
    });
    rules.flat_map(|rule| rule.lists()).collect()
}

/// `campaign-steps` / `<campaign>#<number>`: a step, apart from its campaign, which is read more often. Written and deleted with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CampaignStep {
    pub campaign: CampaignId,
    pub number: u32,
    pub step: Step,
    /// What its template said when the campaign was launched, or the step changed after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<TemplateCopy>,
}

/// A template's content as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TemplateCopy {
    pub subject: String,
    pub html: PackedText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<PackedText>,
}

impl TemplateCopy {
    pub fn of(content: &Content) -> Self {
        TemplateCopy {
            subject: content.subject.clone(),
            html: PackedText::of(&content.html),
            text: content.text.as_deref().map(PackedText::of),
        }
    }
}

/// The digits are padded, so that steps sort by number.
struct StepKey(CampaignId, u32);

impl Segment for StepKey {}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:02}", self.0, self.1)
    }
}

impl CampaignStep {
    pub fn key_of(campaign: CampaignId, number: u32) -> Key<Self> {
        Key::new(&Collection::of::<CampaignStep>(), StepKey(campaign, number))
    }

    /// The steps of a campaign in their order.
    pub fn of_campaign(campaign: CampaignId) -> List<Self> {
        List::behind(Collection::of::<CampaignStep>(), campaign)
    }

    /// What a mail of it says, before a lead's values are put in: its own subject or its template's, and the body. `None`: it is no mail, or lacks one.
    pub fn content(&self) -> Result<Option<Content>> {
        let Step::Email(EmailStep { subject, body }) = &self.step else { return Ok(None) };
        let (html, text) = match (body, &self.copy) {
            (Some(EmailBody::Written(html)), _) => (html.unpacked()?, None),
            (Some(EmailBody::Template(_)), Some(copy)) => {
                (copy.html.unpacked()?, copy.text.as_ref().map(PackedText::unpacked).transpose()?)
            }
            _ => return Ok(None),
        };
        let subject = subject.clone().or_else(|| self.copy.as_ref().map(|copy| copy.subject.clone()));
        Ok(subject.map(|subject| Content { subject, html, text }))
    }

    /// Numbered.
    pub fn all_of(campaign: CampaignId, steps: &[Step]) -> Vec<Self> {
        let one = |(index, step): (usize, &Step)| CampaignStep { campaign, number: number_of(index), step: step.clone(), copy: None };
        steps.iter().enumerate().map(one).collect()
    }
}

impl Entity for CampaignStep {
    type Scope = InWorkspace;
    const TYPE: &'static str = "campaign_step";
    const COLLECTION: &'static str = "campaign-steps";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    /// The campaign, which is written with it, is.
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(restored::<CampaignStep>);

    fn key(&self) -> Key<Self> {
        CampaignStep::key_of(self.campaign, self.number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(given: Value) -> Result<Vec<Step>, Vec<Fault>> {
        parse(given.as_array().unwrap(), &|part, text| match (part, text) {
            (Part::Body, "bad") => vec!["has a fault".into(), "has another".into()],
            _ => vec![],
        })
    }

    fn places(given: Value) -> Vec<String> {
        read(given).unwrap_err().into_iter().map(|fault| fault.at).collect()
    }

    fn opened(step: u32) -> Value {
        json!({"field": format!("steps[{step}].opened"), "op": "equals", "value": true})
    }

    #[test]
    fn a_sequence_is_read_and_a_draft_may_be_incomplete() {
        let template = format!("tpl_{}", "0".repeat(32));
        let steps = read(json!([
            {"step": 1, "type": "email", "subject": "Hi", "body": "Hello"},
            {"type": "wait", "value": 2, "unit": "days"},
            {"type": "condition", "rule": opened(1), "then": 4, "else": null},
            {"type": "email", "template_id": template, "body": null},
            {"type": "email"},
        ]));
        let steps = steps.unwrap();
        assert_eq!((steps.len(), templates(&steps).len(), SequenceMark::of(&steps).steps), (5, 1, 5));
        assert!(matches!(&steps[2], Step::Condition(ConditionStep { then: Some(4), otherwise: None, .. })));
        assert_eq!(steps[4], Step::Email(EmailStep { subject: None, body: None }));
        assert_eq!(read(json!([])).unwrap(), []);
        // As it is stored.
        let stored: Vec<CampaignStep> = CampaignStep::all_of(CampaignId::parse("00000000-0000-0000-0000-000000000001").unwrap(), &steps);
        let back: Vec<CampaignStep> = serde_json::from_value(serde_json::to_value(&stored).unwrap()).unwrap();
        assert_eq!(back, stored);
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let wait = |value: Value, unit: &str| json!([{"type": "wait", "value": value, "unit": unit}]);
        let condition =
            |rule: Value, then: Value| json!([{"type": "email"}, {"type": "condition", "rule": rule, "then": then, "else": null}]);
        for (given, expected) in [
            (json!(["x", null, {"type": "sms"}, {}]), vec!["[0]", "[1]", "[2].type", "[3].type"]),
            (json!([{"type": "email", "colour": 1, "value": 2}]), vec!["[0].colour", "[0].value"]),
            (json!([{"type": "email", "subject": 1, "body": "bad"}]), vec!["[0].subject", "[0].body", "[0].body"]),
            (json!([{"type": "email", "body": "x", "template_id": "tpl_1"}]), vec!["[0].template_id"]),
            (json!([{"type": "email", "step": 2}, {"type": "email", "step": 2}]), vec!["[0].step"]),
            (wait(json!(0), "days"), vec!["[0].value"]),
            (wait(json!(366), "days"), vec!["[0].value"]),
            (wait(json!(53), "weeks"), vec!["[0].value"]),
            (wait(json!(1.5), "hours"), vec!["[0].value"]),
            (wait(json!("1"), "years"), vec!["[0].unit", "[0].value"]),
            (condition(opened(1), json!(2)), vec!["[1].then"]),
            (condition(opened(1), json!(1)), vec!["[1].then"]),
            (condition(opened(1), json!(3)), vec!["[1].then"]),
            (condition(opened(2), json!(null)), vec!["[1].rule.field"]),
            (condition(opened(0), json!(null)), vec!["[1].rule.field"]),
            (condition(json!({"all": [{"field": "shoe", "op": "exists"}]}), json!(null)), vec!["[1].rule.all[0].field"]),
            (json!([{"type": "condition"}]), vec!["[0].rule", "[0].then", "[0].else"]),
            (Value::from(vec![json!({"type": "email"}); 8]), vec![""]),
            (Value::from(vec![json!({"type": "wait", "value": 1, "unit": "days"}); 21]), vec![""]),
        ] {
            assert_eq!(places(given.clone()), expected, "{given}");
        }
        for unit in WaitUnit::ALL {
            assert!(read(wait(json!(unit.most()), unit.name())).is_ok() && read(wait(json!(unit.most() + 1), unit.name())).is_err());
        }
    }

    proptest! {
        #[test]
        fn whatever_is_given_is_read_or_refused_and_what_is_read_goes_forward(
            kinds in prop::collection::vec((0_usize..3, 0_u32..8, 0_u32..8), 0..9),
        ) {
            let step = |(kind, one, other): (usize, u32, u32)| match kind {
                0 => json!({"type": "email"}),
                1 => json!({"type": "wait", "value": one, "unit": "hours"}),
                _ => json!({"type": "condition", "rule": opened(one), "then": other, "else": null}),
            };
            let given: Vec<Value> = kinds.into_iter().map(step).collect();
            if let Ok(steps) = parse(&given, &|_, _| vec![]) {
                prop_assert_eq!(steps.len(), given.len());
                for (index, step) in steps.iter().enumerate() {
                    if let Step::Condition(condition) = step {
                        let later = condition.then.unwrap_or(u32::MAX);
                        prop_assert!(later > number_of(index) && later as usize <= steps.len());
                        let is_mail = |number: u32| matches!(steps.get(number as usize - 1), Some(Step::Email(_))) && number <= number_of(index);
                        prop_assert!(Rule::parse_in_sequence(&condition.rule, &is_mail).is_ok());
                    }
                }
            }
        }
    }
}
