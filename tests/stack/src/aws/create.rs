//! Creates the resources of a template in the embedded services. Existing resources stay as they are.

use bytes::Bytes;
use dynoxide::Database;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use winterbaume_core::MockRequest;

use super::{AwsError, objects::Objects, queues::Queues, secrets::Secrets};
use crate::{
    journal::{Journal, JournalError},
    template::{GenerateSecretString, InitialSecret, Template},
};

/// The definitions from which the tables on disk were created.
const SPACE: &str = "table";

pub fn tables(database: &Database, journal: &Journal, template: &Template) -> Result<(), AwsError> {
    for table in template.tables()? {
        let known: Option<Value> = journal.get(SPACE, &table.name)?;
        if database.get_table_metadata(&table.name)?.is_some() {
            if known.is_some_and(|known| known != table.definition) {
                return Err(AwsError::Definition(table.name));
            }
        } else {
            let request = serde_json::from_value(table.definition.clone())
                .map_err(|error| AwsError::Service(format!("the definition of {}: {error}", table.logical_id)))?;
            database.create_table(request)?;
        }
        // Repeated at every start, because a process may have been killed between creating the table and setting its TTL.
        if let Some(attribute) = &table.ttl_attribute {
            let wanted = json!({
                "TableName": table.name,
                "TimeToLiveSpecification": { "AttributeName": attribute, "Enabled": true },
            });
            let now =
                database.describe_time_to_live(serde_json::from_value(json!({ "TableName": table.name })).map_err(JournalError::from)?)?;
            let now = serde_json::to_value(now).map_err(JournalError::from)?;
            if now["TimeToLiveDescription"]["AttributeName"] != attribute.as_str() {
                database.update_time_to_live(serde_json::from_value(wanted).map_err(JournalError::from)?)?;
            }
        }
        journal.put(SPACE, &table.name, &table.definition)?;
    }
    Ok(())
}

pub fn queues(queues: &Queues, template: &Template) -> Result<(), AwsError> {
    for queue in template.queues()? {
        queues.create(&queue.name, &queue.attributes)?;
    }
    Ok(())
}

pub async fn buckets(objects: &Objects, template: &Template) -> Result<(), AwsError> {
    for bucket in template.buckets()? {
        objects.create(&bucket).await?;
    }
    Ok(())
}

pub async fn secrets(secrets: &Secrets, template: &Template) -> Result<(), AwsError> {
    let existing = secrets.values().await;
    for secret in template.secrets()? {
        if existing.contains_key(&secret.name) {
            continue;
        }
        let mut request = json!({ "Name": secret.name });
        // Data that was sealed with keys of the former secret can still be opened.
        let former = secret.split_from.as_ref().and_then(|name| existing.get(name)).and_then(Option::as_ref);
        match (former, &secret.initial) {
            (Some(text), _) | (None, InitialSecret::Text(text)) => request["SecretString"] = json!(text),
            (None, InitialSecret::Empty) => {}
            (None, InitialSecret::Generated(generate)) => {
                request["SecretString"] = generated(secrets, generate).await?.into();
            }
        }
        call(secrets, "CreateSecret", &request).await?;
    }
    Ok(())
}

async fn generated(secrets: &Secrets, generate: &GenerateSecretString) -> Result<String, AwsError> {
    let request = json!({
        "PasswordLength": generate.password_length,
        "ExcludePunctuation": generate.exclude_punctuation,
        "ExcludeNumbers": generate.exclude_numbers,
        "ExcludeUppercase": generate.exclude_uppercase,
        "ExcludeLowercase": generate.exclude_lowercase,
        "IncludeSpace": generate.include_space,
        "ExcludeCharacters": generate.exclude_characters,
        "RequireEachIncludedType": generate.require_each_included_type,
    });
    let answer = call(secrets, "GetRandomPassword", &request).await?;
    let password = answer["RandomPassword"].as_str().unwrap_or_default().to_owned();
    let (Some(template), Some(key)) = (&generate.secret_string_template, &generate.generate_string_key) else {
        return Ok(password);
    };
    let mut object: Value =
        serde_json::from_str(template).map_err(|error| AwsError::Service(format!("SecretStringTemplate is not JSON: {error}")))?;
    object[key.as_str()] = password.into();
    Ok(object.to_string())
}

async fn call(secrets: &Secrets, action: &str, request: &Value) -> Result<Value, AwsError> {
    let mut headers = HeaderMap::new();
    let target = HeaderValue::from_str(&format!("secretsmanager.{action}")).map_err(|error| AwsError::Service(error.to_string()))?;
    headers.insert("x-amz-target", target);
    let response = secrets
        .answer(MockRequest { method: "POST".to_owned(), uri: "/".to_owned(), headers, body: Bytes::from(request.to_string()) })
        .await?;
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    if response.status < 300 { Ok(body) } else { Err(AwsError::Service(format!("{action}: {body}"))) }
}
