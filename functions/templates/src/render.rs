//! Templates as mails with the values of a context, saved or not. Nothing is written.

use std::collections::BTreeSet;

use engagement::letter::Sender;
use records::lead::{Lead, LeadId};
use records::template::{Content, Template};
use serde::Serialize;
use serde_json::{Map, Value};
use shared::http::answer::Answer;
use shared::http::arguments::{Body, Found};
use shared::http::form::{Fields, Form, WorkspaceName};
use shared::model::workspace::Workspace;
use shared::tenancy::doors::{In, Viewer};
use shared::{Error, Result};
use templating::{Field, RenderFault};

use crate::rules::{Context, LEAD, MOST_BYTES, Part, name, refuse_faults, refused, source};
use crate::template::content_of;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RenderedTemplate)]
pub struct RenderedView {
    subject: String,
    html: String,
    text: String,
    /// Names that had neither a value nor something that stands in for it.
    missing: Vec<String>,
}

/// Whose values a mail shows: those of the context, and of a lead where the context says nothing.
pub struct WithContext {
    lead: Option<LeadId>,
    context: Map<String, Value>,
}

pub struct Unsaved {
    content: Content,
    values: WithContext,
}

pub async fn saved(door: In<Viewer>, template: Found<Template>, body: Body<WithContext>) -> Result<Answer<RenderedView>> {
    let content = content_of(&door.store, &template.0).await?;
    rendered(&content, values_of(&door, body.0).await?, &door.workspace)
}

pub async fn unsaved(door: In<Viewer>, body: Body<Unsaved>) -> Result<Answer<RenderedView>> {
    let Unsaved { content, values } = body.0;
    rendered(&content, values_of(&door, values).await?, &door.workspace)
}

async fn values_of(door: &In<Viewer>, asked: WithContext) -> Result<Map<String, Value>> {
    let Some(lead) = asked.lead else { return Ok(asked.context) };
    let lead = door.store.get(&Lead::key_of(lead)).await?;
    Ok(above(asked.context, lead.variables()))
}

/// A context, and beneath it the values of a lead: where the context says something, in whatever place and spelling, the lead's value is not shown.
fn above(mut context: Map<String, Value>, lead: Map<String, Value>) -> Map<String, Value> {
    let object = |context: &Map<String, Value>, name: &str| context.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    let (mut contact, mut custom) = (object(&context, "contact"), object(&context, "custom"));
    let said: BTreeSet<String> = context.keys().chain(contact.keys()).chain(custom.keys()).map(|name| snake(name)).collect();
    for (name, value) in lead {
        match value {
            Value::Object(attributes) if name == "custom" => {
                custom.extend(attributes.into_iter().filter(|(name, _)| !said.contains(&snake(name))));
            }
            value if !said.contains(&name) => drop(contact.insert(name, value)),
            _ => {}
        }
    }
    context.insert("contact".into(), Value::Object(contact));
    context.insert("custom".into(), Value::Object(custom));
    context
}

/// `firstName` is `first_name`.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 2);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn rendered(content: &Content, context: Map<String, Value>, workspace: &Workspace) -> Result<Answer<RenderedView>> {
    let context = Sender { workspace, settings: None }.complete(context);
    let mail = templating::render(source(content), &context).map_err(refusal)?;
    let templating::Rendered { subject, html, text, missing } = mail;
    Ok(Answer::new("Success", RenderedView { subject, html, text, missing }))
}

fn refusal(fault: RenderFault) -> Error {
    let on = |field: Field, what: &str| Error::field(name(field), format!("The {} field {what} with this context.", name(field)));
    match fault {
        RenderFault::Template(faults) => refused(&faults),
        RenderFault::Context => Error::field(
            "context",
            format!(
                "The context field must not be larger than {} KiB or nested more than {} deep.",
                templating::CONTEXT / 1024,
                templating::NESTING
            ),
        ),
        RenderFault::Fuel(field) => on(field, "takes too many steps"),
        RenderFault::Output(field) => on(field, &format!("becomes larger than {} KiB", templating::OUTPUT / 1024)),
        fault @ RenderFault::Engine(..) => Error::internal("rendering a template", fault),
    }
}

impl Form for WithContext {
    const MAX_BYTES: usize = MOST_BYTES;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let lead = fields.optional("lead_id", LEAD);
        Some(WithContext { lead, context: fields.optional("context", Context).unwrap_or_default() })
    }
}

impl Form for Unsaved {
    const MAX_BYTES: usize = MOST_BYTES;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace_slug", WorkspaceName);
        let subject = fields.required("subject", Part(Field::Subject));
        let html = fields.required("body", Part(Field::Html));
        let text = fields.optional("text", Part(Field::Text));
        let values = WithContext::read(fields);
        refuse_faults(fields, Field::Subject, subject.as_deref());
        refuse_faults(fields, Field::Html, html.as_deref());
        refuse_faults(fields, Field::Text, text.as_deref());
        Some(Unsaved { content: Content { subject: subject?, html: html?, text }, values: values? })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::crypto::Random;
    use shared::ids::WorkspaceId;
    use shared::model::workspace::{WorkspaceSettings, WorkspaceSlug};

    use super::*;

    fn workspace() -> Workspace {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let settings = WorkspaceSettings { default_from_name: Some("Ada".into()), ..WorkspaceSettings::default() };
        let (id, slug) = (WorkspaceId::new(now, &Random::seeded(1)), WorkspaceSlug::from_name("Acme", 0));
        Workspace { id, slug, name: "Acme".into(), settings, created_at: now, updated_at: now, version: 1 }
    }

    #[test]
    fn a_context_stands_above_the_values_of_a_lead() {
        let lead = json!({"first_name": "Ada", "email": "a@b.example", "custom": {"plan": "pro", "seats": 3}});
        let shown = |context: Value| {
            let html = "{{first_name}} {{email}} {{custom.plan}} {{custom.seats}}".into();
            let content = Content { subject: "s".into(), html, text: None };
            let values = above(context.as_object().unwrap().clone(), lead.as_object().unwrap().clone());
            templating::render(source(&content), &values).unwrap().html
        };
        assert_eq!(shown(json!({})), "Ada a@b.example pro 3");
        assert_eq!(shown(json!({"contact": {"firstName": "Bob"}})), "Bob a@b.example pro 3");
        assert_eq!(shown(json!({"firstName": "Bob", "plan": "free"})), "Bob a@b.example free 3");
        assert_eq!(shown(json!({"custom": {"seats": 4}})), "Ada a@b.example pro 4");
    }

    #[test]
    fn a_context_is_completed_and_never_contradicted() {
        let content = Content { subject: "s".into(), html: "{{workspaceName}} {{sender_name}} {{postal_address}}".into(), text: None };
        for (context, html, missing) in [
            (json!({}), "Acme Ada ", json!(["postal_address"])),
            (json!({"workspaceName": "Mine"}), "Mine Ada ", json!(["postal_address"])),
            (json!({"contact": {"sender_name": "Bob", "postalAddress": "Here"}}), "Acme Bob Here", json!([])),
            (json!({"sender_name": ""}), "Acme  ", json!(["postal_address", "sender_name"])),
        ] {
            let mail = templating::render(
                source(&content),
                &Sender { workspace: &workspace(), settings: None }.complete(context.as_object().unwrap().clone()),
            )
            .unwrap();
            assert_eq!((mail.html.as_str(), json!(mail.missing)), (html, missing), "{context}");
        }
    }
}
