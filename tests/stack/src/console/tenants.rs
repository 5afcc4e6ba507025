//! Tenants by name and slug, with their id. Read from the present table.

use std::collections::{BTreeMap, HashMap};

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::Console;

/// What is shown of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub id: String,
    /// Empty if the record no longer exists.
    pub name: String,
    pub slug: String,
    pub status: String,
    pub plan: String,
}

/// Looks each tenant up once. Created for every page, so that no name is out of date.
pub struct Tenants<'a> {
    console: &'a Console,
    known: HashMap<String, Named>,
}

impl<'a> Tenants<'a> {
    pub fn of(console: &'a Console) -> Tenants<'a> {
        Tenants { console, known: HashMap::new() }
    }

    pub fn get(&mut self, id: &str) -> Named {
        if let Some(named) = self.known.get(id) {
            return named.clone();
        }
        let named = self.read(id);
        self.known.insert(id.to_owned(), named.clone());
        named
    }

    fn read(&self, id: &str) -> Named {
        let partition = format!("T#{id}#tenant");
        let record = self.console.tables.iter().find_map(|table| self.console.aws.item(table, &partition, "profile").ok().flatten());
        let text = |name: &str| record.as_ref().and_then(|record| record[name]["S"].as_str()).unwrap_or_default().to_owned();
        Named { id: id.to_owned(), name: text("name"), slug: text("slug"), status: text("status"), plan: text("plan") }
    }
}

impl Named {
    /// Name and slug in one line, or the id if there is no record.
    pub fn title(&self) -> String {
        match (self.name.as_str(), self.slug.as_str()) {
            ("", "") => self.id.clone(),
            (name, slug) => format!("{name} ({slug})"),
        }
    }

    /// The name with the slug below. The id is in the title, and in the text for searches.
    pub fn markup(&self) -> Markup {
        html! {
            @if self.name.is_empty() && self.slug.is_empty() { span .id { (self.id) } }
            @else { span title=(self.id) { (self.name) span .under { (self.slug) } } }
        }
    }

    /// Whether name, slug or id contains the text, in upper or lower case.
    pub fn fits(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        [&self.name, &self.slug, &self.id].into_iter().any(|part| part.to_lowercase().contains(&text))
    }
}

/// A stored item without DynamoDB's types: its key first, the other attributes by name.
pub fn plain_item(item: &Value) -> Value {
    let mut fields: Vec<(&String, &Value)> = item.as_object().into_iter().flatten().collect();
    fields.sort_by_key(|(name, _)| (!matches!(name.as_str(), "pk" | "sk"), *name));
    fields.into_iter().map(|(name, attribute)| (name.clone(), plain(attribute))).collect::<Map<_, _>>().into()
}

/// DynamoDB's typed JSON without the types.
fn plain(attribute: &Value) -> Value {
    let Some((kind, value)) = attribute.as_object().and_then(|object| object.iter().next()) else {
        return attribute.clone();
    };
    match (kind.as_str(), value) {
        ("L", Value::Array(elements)) => elements.iter().map(plain).collect(),
        ("M", Value::Object(fields)) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            sorted.into_iter().map(|(name, field)| (name.clone(), plain(field))).collect::<Map<_, _>>().into()
        }
        ("N", Value::String(number)) => number_of(number),
        ("NS", Value::Array(numbers)) => numbers.iter().map(|number| number_of(number.as_str().unwrap_or_default())).collect(),
        ("NULL", _) => Value::Null,
        _ => value.clone(),
    }
}

/// A number that would change as a JSON number stays text.
fn number_of(text: &str) -> Value {
    let number: Value = serde_json::from_str(text).unwrap_or_default();
    if number.is_number() && number.to_string().as_str() == text { number } else { Value::from(text) }
}
