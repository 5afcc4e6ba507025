//! Event filter patterns of Lambda event source mappings.

use serde_json::Value;

/// Refuses operators that are not implemented, so that a filter never passes more than on AWS.
pub fn check(pattern: &Value) -> Result<(), String> {
    match pattern {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| match value {
            Value::Array(_) if name.starts_with('$') => Err(format!("the filter operator `{name}` is not known here")),
            Value::Array(rules) => rules.iter().try_for_each(check_rule),
            other => check(other),
        }),
        _ => Err("a filter pattern has objects and lists of rules only".to_owned()),
    }
}

/// Whether the event passes one of the filters. Without filters everything passes.
pub fn passes(filters: &[Value], event: &Value) -> bool {
    filters.is_empty() || filters.iter().any(|pattern| matches(pattern, Some(event)))
}

fn check_rule(rule: &Value) -> Result<(), String> {
    let Value::Object(operator) = rule else {
        return Ok(());
    };
    match operator.keys().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["prefix" | "suffix" | "exists" | "anything-but" | "equals-ignore-case"] => Ok(()),
        _ => Err(format!("the filter rule {rule} is not known here")),
    }
}

fn matches(pattern: &Value, event: Option<&Value>) -> bool {
    match pattern {
        Value::Object(fields) => fields.iter().all(|(name, pattern)| matches(pattern, event.and_then(|event| event.get(name)))),
        Value::Array(rules) => rules.iter().any(|rule| rule_holds(rule, event)),
        _ => false,
    }
}

fn rule_holds(rule: &Value, found: Option<&Value>) -> bool {
    // A list in the event matches if one of its elements does.
    if let Some(Value::Array(elements)) = found {
        return elements.iter().any(|element| rule_holds(rule, Some(element)));
    }
    let Value::Object(operator) = rule else {
        return found == Some(rule);
    };
    let Some((name, argument)) = operator.iter().next() else {
        return false;
    };
    let text = found.and_then(Value::as_str);
    let argument_text = argument.as_str().unwrap_or_default();
    match name.as_str() {
        "exists" => argument.as_bool() == Some(found.is_some()),
        "prefix" => text.is_some_and(|text| text.starts_with(argument_text)),
        "suffix" => text.is_some_and(|text| text.ends_with(argument_text)),
        "equals-ignore-case" => text.is_some_and(|text| text.eq_ignore_ascii_case(argument_text)),
        "anything-but" => found.is_some_and(|found| match argument {
            Value::Array(refused) => !refused.contains(found),
            Value::Object(_) => !rule_holds(argument, Some(found)),
            refused => refused != found,
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_select_as_lambda_does() {
        let event = json!({
            "eventName": "INSERT",
            "dynamodb": { "Keys": { "pk": { "S": "T#1#projects" } }, "tags": ["a", "b"] },
        });
        for (pattern, expected) in [
            (json!({ "eventName": ["INSERT", "MODIFY"] }), true),
            (json!({ "eventName": ["REMOVE"] }), false),
            (json!({ "dynamodb": { "Keys": { "pk": { "S": [{ "prefix": "T#" }] } } } }), true),
            (json!({ "dynamodb": { "Keys": { "pk": { "S": [{ "prefix": "G#" }] } } } }), false),
            (json!({ "dynamodb": { "NewImage": [{ "exists": false }] } }), true),
            (json!({ "eventName": [{ "anything-but": ["REMOVE"] }] }), true),
            (json!({ "dynamodb": { "tags": ["b"] } }), true),
            (json!({ "eventName": ["INSERT"], "missing": ["x"] }), false),
        ] {
            check(&pattern).unwrap();
            assert_eq!(passes(std::slice::from_ref(&pattern), &event), expected, "{pattern}");
        }
        assert!(passes(&[], &event));
    }

    #[test]
    fn an_unknown_operator_is_refused() {
        assert!(check(&json!({ "a": [{ "numeric": [">", 1] }] })).is_err());
        assert!(check(&json!({ "a": "text" })).is_err());
    }
}
