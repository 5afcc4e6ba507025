//! Reads CloudFormation YAML into JSON values. Short tags become their long form (`!Ref x` → `{"Ref": "x"}`), so that the rest of the code
//! knows only one form.

use saphyr::{LoadableYamlNode, ScalarOwned, YamlOwned};
use serde_json::{Map, Value, json};

use super::TemplateError;

pub fn parse(text: &str) -> Result<Value, TemplateError> {
    let documents = YamlOwned::load_from_str(text).map_err(|error| TemplateError::Yaml(error.to_string()))?;
    match documents.as_slice() {
        [document] => convert(document, ""),
        _ => Err(TemplateError::Yaml(format!("expected one document, found {}", documents.len()))),
    }
}

fn convert(node: &YamlOwned, at: &str) -> Result<Value, TemplateError> {
    Ok(match node {
        YamlOwned::Value(scalar) => convert_scalar(scalar),
        YamlOwned::Representation(text, ..) => Value::String(text.clone()),
        YamlOwned::Sequence(items) => Value::Array(
            items.iter().enumerate().map(|(index, item)| convert(item, &join(at, &index.to_string()))).collect::<Result<_, _>>()?,
        ),
        YamlOwned::Mapping(entries) => {
            let mut object = Map::new();
            for (key, value) in entries {
                let key = match convert(key, at)? {
                    Value::String(key) => key,
                    other @ (Value::Number(_) | Value::Bool(_)) => other.to_string(),
                    _ => return Err(unreadable(at, "a key is not a text")),
                };
                let value = convert(value, &join(at, &key))?;
                object.insert(key, value);
            }
            Value::Object(object)
        }
        YamlOwned::Tagged(tag, inner) => convert_tag(&tag.suffix, convert(inner, at)?),
        YamlOwned::Alias(_) => return Err(unreadable(at, "an alias without an anchor")),
        YamlOwned::BadValue => return Err(unreadable(at, "a value that does not parse")),
    })
}

fn convert_scalar(scalar: &ScalarOwned) -> Value {
    match scalar {
        ScalarOwned::Null => Value::Null,
        ScalarOwned::Boolean(value) => json!(value),
        ScalarOwned::Integer(value) => json!(value),
        ScalarOwned::FloatingPoint(value) => json!(value.into_inner()),
        ScalarOwned::String(value) => json!(value),
    }
}

fn convert_tag(tag: &str, value: Value) -> Value {
    match (tag, &value) {
        ("Ref" | "Condition", _) => json!({ tag: value }),
        // The short form of GetAtt is one dotted text, and only the first dot separates.
        ("GetAtt", Value::String(text)) => {
            let (resource, attribute) = text.split_once('.').unwrap_or((text, ""));
            json!({ "Fn::GetAtt": [resource, attribute] })
        }
        _ => json!({ format!("Fn::{tag}"): value }),
    }
}

fn join(at: &str, part: &str) -> String {
    if at.is_empty() { part.to_owned() } else { format!("{at}.{part}") }
}

fn unreadable(at: &str, problem: &str) -> TemplateError {
    TemplateError::Yaml(format!("at `{at}`: {problem}"))
}
