//! A dry run says who gets a campaign, and the launch enrols exactly them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{CAMPAIGNS, Home, LEADS, email, state, text};
use crate::world::{Settings, id};

/// Numbers that follow from a seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }

    pub fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn some<'a, T>(&mut self, all: &'a [T], most: usize) -> Vec<&'a T> {
        (0..=self.below(most)).map(|_| &all[self.below(all.len())]).collect()
    }
}

/// What there is to choose from.
struct Choice {
    leads: Vec<String>,
    lists: Vec<String>,
    segments: Vec<String>,
    campaigns: Vec<String>,
}

const CITIES: [&str; 3] = ["Paris", "Rome", "Oslo"];

async fn filled(home: &Home, dice: &mut Dice) -> Choice {
    let mut choice = Choice { leads: vec![], lists: vec![], segments: vec![], campaigns: vec![] };
    for number in 0..5 {
        let list = home.post(&format!("{LEADS}/lists"), json!({"name": format!("List {number}")})).await.expect(201).json();
        choice.lists.push(id(&list["data"]).to_owned());
    }
    for number in 0..120 {
        let mut body = json!({"email": format!("lead{number}@example.com"), "city": CITIES[dice.below(3)]});
        if !dice.chance(4) {
            body["first_name"] = json!(format!("Lead{number}"));
        }
        let mut lists: Vec<&String> = if dice.chance(5) { vec![] } else { dice.some(&choice.lists, 3) };
        lists.sort();
        lists.dedup();
        body["list_ids"] = json!(lists);
        body["tags"] = if dice.chance(3) { json!(["vip"]) } else { json!([]) };
        choice.leads.push(id(&home.post(LEADS, body).await.expect(201).json()["data"]).to_owned());
    }
    for city in &CITIES[..2] {
        let rule = json!({"field": "city", "op": "equals", "value": city});
        let segment = home.post(&format!("{LEADS}/segments"), json!({"name": city, "rule": rule})).await.expect(201).json();
        choice.segments.push(id(&segment["data"]).to_owned());
    }
    for number in 0..8 {
        let scope = if number % 2 == 0 { "tenant" } else { "workspace" };
        let body = json!({"email": format!("lead{}@example.com", dice.below(120)), "scope": scope, "reason": "manual"});
        let answer = home.post("/api/v1/tenant/suppression-list", body).await;
        assert!(matches!(answer.status, 201 | 409), "{}", answer.text);
    }
    choice
}

/// One way to choose leads, and perhaps to leave some out.
fn audience(choice: &Choice, dice: &mut Dice) -> Value {
    let mut audience = match dice.below(4) {
        0 => json!({"lead_ids": dice.some(&choice.leads, 40)}),
        1 => json!({"list_ids": dice.some(&choice.lists, 3)}),
        2 => json!({"segment_id": dice.some(&choice.segments, 1)[0]}),
        _ => json!({"tag": "vip"}),
    };
    for name in ["lead_ids", "list_ids"] {
        if let Some(ids) = audience[name].as_array_mut() {
            ids.sort_by_key(Value::to_string);
            // Only leads may be named twice.
            if name == "list_ids" {
                ids.dedup();
            }
        }
    }
    let mut exclude = json!({});
    if dice.chance(3) {
        exclude["list_ids"] = json!([dice.some(&choice.lists, 1)[0]]);
    }
    if dice.chance(3) {
        exclude["segment_id"] = json!(dice.some(&choice.segments, 1)[0]);
    }
    if !choice.campaigns.is_empty() && dice.chance(3) {
        exclude["campaign_ids"] = json!([dice.some(&choice.campaigns, 1)[0]]);
    }
    if dice.chance(2) {
        audience["exclude"] = exclude;
    }
    audience
}

/// `AUDIENCES=1000 cargo test --test it audiences` takes as many.
#[tokio::test]
async fn a_launch_enrols_exactly_whom_the_dry_run_named() {
    let audiences: u32 = std::env::var("AUDIENCES").map_or(24, |number| number.parse().expect("a number"));
    let plans = json!({"free": {"emails_per_month": null}});
    let (home, mut dice) = (Home::with(Settings { plans, ..Settings::default() }).await, Dice(7));
    let mut choice = filled(&home, &mut dice).await;
    let mut launched = 0;
    for _ in 0..audiences {
        let audience = audience(&choice, &mut dice);
        let required = if dice.chance(2) { json!(["first_name"]) } else { json!([]) };
        let settings = json!({"daily_limit": 1, "required_variables": required});
        let campaign = home.campaign(json!([email("One")]), audience.clone(), settings).await;
        // Some of those who are named are gone.
        if let Some(named) = audience["lead_ids"].as_array().filter(|_| dice.chance(3)) {
            let gone = named[0].as_str().expect("an id");
            home.delete(&format!("{LEADS}/{gone}")).await;
            choice.leads.retain(|lead| lead != gone);
        }
        let foretold = home.post(&format!("{CAMPAIGNS}/{campaign}/dry-run"), json!({})).await.expect(200).json()["data"].clone();
        let answer = home.send(&campaign, "start").await;
        if foretold["would_get"] == 0 {
            answer.expect(409);
            continue;
        }
        answer.expect(200);
        home.settle().await;
        let mut enrolled = 0;
        let mut skipped = BTreeMap::<String, u64>::new();
        for enrolment in home.enrolments(&campaign) {
            match state(&enrolment) {
                "skipped" => *skipped.entry(text(&enrolment["state"]["M"], "reason").to_owned()).or_default() += 1,
                _ => enrolled += 1,
            }
        }
        assert_eq!(foretold["would_get"], enrolled, "{audience}: {foretold}");
        let mut excluded = foretold["excluded"].as_object().expect("reasons").clone();
        // Who is named twice is in it once.
        excluded.remove("duplicate");
        assert_eq!(json!(excluded), json!(skipped), "{audience}");
        let plan = home.record("campaign-plans", &campaign);
        assert_eq!(super::number(&plan, "enrolled"), enrolled);
        assert_eq!(super::number(&plan, "skipped"), skipped.values().sum::<u64>());
        choice.campaigns.push(campaign);
        launched += 1;
    }
    assert!(launched * 5 > audiences * 3, "{launched} launches");
}
