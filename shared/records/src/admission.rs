//! Whether a campaign writes to a lead, and why not. One function decides, for a dry run and for whoever enrols, so they cannot disagree.

use std::borrow::Cow;
use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::campaign::CampaignId;
use crate::lead::{EmailStatus, Lead, ProfileField};
use crate::lead_list::LeadListId;
use crate::rule::Rule;
use crate::segment::SegmentId;
use crate::suppression::Reason;

/// What is alike for all leads of a campaign. It knows of no list and no segment that is gone.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// Canonical names of variables (`first_name`, `custom.plan`) that no mail may go without.
    pub required: Vec<String>,
    pub excluded_lists: BTreeSet<LeadListId>,
    pub excluded_segment: Option<(SegmentId, Rule)>,
    /// The lists of the workspace that are there: those among which rules, and leads, may name one.
    pub lists: BTreeSet<LeadListId>,
}

/// A lead that the audience names.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// `None`: it was deleted since.
    pub lead: Option<&'a Lead>,
    /// The audience named it before.
    pub is_repeated: bool,
    /// In the tenant or in the workspace.
    pub suppressed: Option<Reason>,
    /// A campaign that the audience leaves out, and the lead is in.
    pub enrolled_in: Option<CampaignId>,
}

/// Why a lead gets no mail. Of several reasons the first holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    Duplicate,
    Deleted,
    Unsubscribed,
    Bounced,
    Complained,
    Suppressed(Reason),
    OnList(LeadListId),
    InSegment(SegmentId),
    InCampaign(CampaignId),
    /// The names without a value.
    MissingVariable(Vec<String>),
}

impl Admission {
    pub fn decide(&self, candidate: &Candidate<'_>, now: Timestamp) -> Result<(), Refusal> {
        if candidate.is_repeated {
            return Err(Refusal::Duplicate);
        }
        let lead = candidate.lead.ok_or(Refusal::Deleted)?;
        match lead.email_status {
            EmailStatus::Active => {}
            EmailStatus::Unsubscribed => return Err(Refusal::Unsubscribed),
            EmailStatus::Bounced => return Err(Refusal::Bounced),
            EmailStatus::Complained => return Err(Refusal::Complained),
        }
        if let Some(reason) = candidate.suppressed {
            return Err(Refusal::Suppressed(reason));
        }
        if let Some(list) = lead.lists.iter().find(|list| self.excluded_lists.contains(list)) {
            return Err(Refusal::OnList(*list));
        }
        if let Some((segment, rule)) = &self.excluded_segment
            && rule.matches(&self.as_it_is(lead), now)
        {
            return Err(Refusal::InSegment(*segment));
        }
        if let Some(campaign) = candidate.enrolled_in {
            return Err(Refusal::InCampaign(campaign));
        }
        let missing = missing(&self.required, lead);
        if missing.is_empty() { Ok(()) } else { Err(Refusal::MissingVariable(missing)) }
    }

    /// The lead without lists that were deleted.
    pub fn as_it_is<'a>(&self, lead: &'a Lead) -> Cow<'a, Lead> {
        if lead.lists.iter().all(|list| self.lists.contains(list)) {
            return Cow::Borrowed(lead);
        }
        let mut lead = lead.clone();
        lead.lists.retain(|list| self.lists.contains(list));
        Cow::Owned(lead)
    }
}

impl Refusal {
    /// A word for programs, which stays the same.
    pub fn word(&self) -> &'static str {
        match self {
            Refusal::Duplicate => "duplicate",
            Refusal::Deleted => "deleted",
            Refusal::Unsubscribed => "unsubscribed",
            Refusal::Bounced => "bounced",
            Refusal::Complained => "complained",
            Refusal::Suppressed(_) => "suppressed",
            Refusal::OnList(_) | Refusal::InSegment(_) | Refusal::InCampaign(_) => "excluded",
            Refusal::MissingVariable(_) => "missing_variable",
        }
    }

    /// What exactly, where the word does not say it.
    pub fn detail(&self) -> Option<String> {
        match self {
            Refusal::Suppressed(reason) => Some(reason.name().to_owned()),
            Refusal::OnList(list) => Some(list.prefixed()),
            Refusal::InSegment(segment) => Some(segment.prefixed()),
            Refusal::InCampaign(campaign) => Some(campaign.prefixed()),
            Refusal::MissingVariable(names) => Some(names.join(", ")),
            _ => None,
        }
    }
}

/// Names of variables that say something of a lead, each with how it is found there.
const OF_A_LEAD: &[&str] = &["email", "full_name", "lead_score"];
const CUSTOM: &str = "custom.";

/// Whether a variable, by its canonical name, is a lead's. Others are the sender's, the same for all.
pub fn is_of_a_lead(name: &str) -> bool {
    name.starts_with(CUSTOM) || ProfileField::parse(name).is_some() || OF_A_LEAD.contains(&name)
}

/// Those of the names for which a mail to the lead would show nothing.
pub fn missing(names: &[String], lead: &Lead) -> Vec<String> {
    names.iter().filter(|name| !has_value(lead, name)).cloned().collect()
}

/// Whether a mail to the lead would show something for the variable.
fn has_value(lead: &Lead, name: &str) -> bool {
    let of = |field| lead.profile.get(field).is_some_and(|value| !value.trim().is_empty());
    if let Some(path) = name.strip_prefix(CUSTOM) {
        return has_attribute(lead, path);
    }
    match (name, ProfileField::parse(name)) {
        (_, Some(field)) => of(field),
        ("email", None) => true,
        ("full_name", None) => of(ProfileField::FirstName) || of(ProfileField::LastName),
        (name, None) => has_attribute(lead, name),
    }
}

fn has_attribute(lead: &Lead, path: &str) -> bool {
    let mut names = path.split('.');
    let first = names.next().and_then(|name| lead.attributes.get(name));
    let value = names.try_fold(first, |value, name| value.map(|value| value.get(name)));
    match value.flatten() {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(entries)) => !entries.is_empty(),
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};
    use shared::crypto::Random;
    use shared::ids::WorkspaceId;
    use shared::model::user::Email;

    use super::*;
    use crate::lead::{LeadChanges, LeadId};

    fn lead(profile: &[(ProfileField, &str)], attributes: Value) -> Lead {
        let (random, now) = (Random::seeded(1), Timestamp::UNIX_EPOCH);
        let id = LeadId::new(WorkspaceId::new(now, &random).tag(), now, &random);
        let profile = profile.iter().map(|(field, value)| (*field, Some((*value).to_owned()))).collect();
        let changes = LeadChanges { profile, attributes: attributes.as_object().cloned(), ..LeadChanges::default() };
        Lead::new(id, Email::parse("a@acme.example").unwrap(), now).with(&changes).unwrap()
    }

    fn list(number: u128) -> LeadListId {
        LeadListId::parse(&format!("00000000-0000-0000-0000-{number:012x}")).unwrap()
    }

    fn segment() -> SegmentId {
        SegmentId::parse("00000000-0000-0000-0000-000000000001").unwrap()
    }

    fn in_paris() -> Rule {
        Rule::parse(json!({"field": "city", "op": "equals", "value": "Paris"}).as_object().unwrap()).unwrap()
    }

    #[test]
    fn a_variable_has_a_value_where_a_mail_shows_one() {
        let lead = lead(
            &[(ProfileField::LastName, "Lovelace"), (ProfileField::City, " ")],
            json!({"plan": "pro", "empty": "", "none": null, "list": [], "object": {}, "zero": 0, "a": {"b": "c"}, "lead_score": 3}),
        );
        for name in ["last_name", "full_name", "email", "custom.plan", "custom.zero", "custom.a", "custom.a.b", "lead_score"] {
            assert!(has_value(&lead, name) && is_of_a_lead(name), "{name}");
        }
        for name in [
            "first_name",
            "city",
            "custom.empty",
            "custom.none",
            "custom.list",
            "custom.object",
            "custom.a.c",
            "custom.plan.x",
            "custom.other",
        ] {
            assert!(!has_value(&lead, name) && is_of_a_lead(name), "{name}");
        }
        assert!(!is_of_a_lead("sender_name") && !is_of_a_lead("unsubscribe_url"));
    }

    #[test]
    fn the_first_reason_is_told() {
        let mut lead = lead(&[(ProfileField::City, "paris")], json!({}));
        lead.lists = vec![list(1), list(2)];
        let admission = Admission {
            required: vec!["city".into(), "first_name".into(), "custom.plan".into()],
            excluded_lists: BTreeSet::from([list(2)]),
            excluded_segment: Some((segment(), in_paris())),
            lists: BTreeSet::from([list(1), list(2)]),
        };
        let decide = |admission: &Admission, lead: &Lead, suppressed, is_repeated| {
            admission
                .decide(&Candidate { lead: Some(lead), is_repeated, suppressed, enrolled_in: None }, Timestamp::UNIX_EPOCH)
                .unwrap_err()
        };
        lead.email_status = EmailStatus::Bounced;
        assert_eq!(decide(&admission, &lead, Some(Reason::Manual), true), Refusal::Duplicate);
        assert_eq!(decide(&admission, &lead, Some(Reason::Manual), false), Refusal::Bounced);
        lead.email_status = EmailStatus::Active;
        let suppressed = decide(&admission, &lead, Some(Reason::HardBounce), false);
        assert_eq!((suppressed.word(), suppressed.detail().as_deref()), ("suppressed", Some("hard_bounce")));
        assert_eq!(decide(&admission, &lead, None, false), Refusal::OnList(list(2)));
        let admission = Admission { excluded_lists: BTreeSet::new(), ..admission };
        assert_eq!(decide(&admission, &lead, None, false), Refusal::InSegment(segment()));
        let admission = Admission { excluded_segment: None, ..admission };
        assert_eq!(decide(&admission, &lead, None, false).detail().as_deref(), Some("first_name, custom.plan"));
        let admission = Admission { required: vec![], ..admission };
        let candidate = Candidate { lead: Some(&lead), is_repeated: false, suppressed: None, enrolled_in: None };
        assert_eq!(admission.decide(&candidate, Timestamp::UNIX_EPOCH), Ok(()));
        let gone = Candidate { lead: None, ..candidate };
        assert_eq!(admission.decide(&gone, Timestamp::UNIX_EPOCH), Err(Refusal::Deleted));
    }

    #[test]
    fn a_list_that_is_gone_counts_for_nobody() {
        let mut lead = lead(&[], json!({}));
        lead.lists = vec![list(1)];
        let on_list = json!({"field": "lists", "op": "contains", "value": list(1).prefixed()});
        let rule = Rule::parse(on_list.as_object().unwrap_or(&Map::new())).unwrap();
        let there = Admission { excluded_segment: Some((segment(), rule)), lists: BTreeSet::from([list(1)]), ..Admission::default() };
        let candidate = Candidate { lead: Some(&lead), is_repeated: false, suppressed: None, enrolled_in: None };
        assert_eq!(there.decide(&candidate, Timestamp::UNIX_EPOCH), Err(Refusal::InSegment(segment())));
        let gone = Admission { lists: BTreeSet::new(), ..there };
        assert_eq!(gone.decide(&candidate, Timestamp::UNIX_EPOCH), Ok(()));
    }

    proptest! {
        #[test]
        fn who_gets_a_mail_has_no_reason_not_to(
            status in 0_usize..4, suppressed in any::<bool>(), is_repeated in any::<bool>(), lists in prop::collection::vec(0_u128..3, 0..3),
            city in prop::sample::select(vec!["", "Paris", "Rome"]), name in prop::sample::select(vec!["", "Ada"]),
        ) {
            let mut lead = lead(&[(ProfileField::City, city), (ProfileField::FirstName, name)], json!({}));
            lead.email_status = EmailStatus::parse(EmailStatus::WORDS[status]).unwrap();
            lead.lists = lists.iter().map(|number| list(*number)).collect();
            let admission = Admission {
                required: vec!["first_name".into()],
                excluded_lists: BTreeSet::from([list(1)]),
                excluded_segment: Some((segment(), in_paris())),
                lists: (0..3).map(list).collect(),
            };
            let suppressed = suppressed.then_some(Reason::Manual);
            let decided = admission.decide(&Candidate { lead: Some(&lead), is_repeated, suppressed, enrolled_in: None }, Timestamp::UNIX_EPOCH);
            let gets = status == 0 && suppressed.is_none() && !is_repeated && !lists.contains(&1) && city != "Paris" && name == "Ada";
            prop_assert_eq!(decided.is_ok(), gets, "{:?}", decided);
        }
    }
}
