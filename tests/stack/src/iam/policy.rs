//! Decides like IAM, for the part of its language that template.yaml uses: Effect, Action, Resource, Principal, and the conditions
//! StringEquals, StringLike and Null, with ForAllValues, ForAnyValue and policy variables. Anything else is refused when it is read, so
//! that it cannot be decided wrongly. (`iam-rs` is no alternative: it does not replace variables in conditions, which are needed here.)

use std::collections::BTreeMap;

use serde_json::Value;

/// What is known about a request. A key may have several values. Names are in lower case.
#[derive(Debug, Clone, Default)]
pub struct Context(BTreeMap<String, Vec<String>>);

#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    allow: bool,
    principals: Option<Vec<String>>,
    pub actions: Vec<String>,
    pub resources: Vec<String>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq)]
struct Condition {
    quantifier: Quantifier,
    operator: Operator,
    key: String,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Quantifier {
    /// The key has one value.
    One,
    All,
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Equals,
    Like,
    Null,
}

impl Context {
    pub fn with(mut self, key: &str, values: impl IntoIterator<Item = String>) -> Self {
        self.0.insert(key.to_lowercase(), values.into_iter().collect());
        self
    }

    fn get(&self, key: &str) -> Option<&[String]> {
        self.0.get(&key.to_lowercase()).map(Vec::as_slice)
    }
}

/// The statements of a policy document.
pub fn read(document: &Value) -> Result<Vec<Statement>, String> {
    list(&document["Statement"]).into_iter().map(Statement::read).collect()
}

/// Whether the statements allow it: one allows it and none denies it. Returns the one that allowed it.
pub fn allowing<'a>(
    statements: &'a [Statement],
    principal: Option<&str>,
    action: &str,
    resource: &str,
    context: &Context,
) -> Option<&'a Statement> {
    let applies = |statement: &&Statement| statement.applies(principal, action, resource, context);
    if statements.iter().filter(|statement| !statement.allow).any(|statement| applies(&statement)) {
        return None;
    }
    statements.iter().filter(|statement| statement.allow).find(applies)
}

impl Statement {
    fn read(value: &Value) -> Result<Self, String> {
        let object = value.as_object().ok_or("a statement is not an object")?;
        if let Some(unknown) =
            object.keys().find(|key| !["Sid", "Effect", "Principal", "Action", "Resource", "Condition"].contains(&key.as_str()))
        {
            return Err(format!("`{unknown}` in a statement is not understood here"));
        }
        let allow = match value["Effect"].as_str() {
            Some("Allow") => true,
            Some("Deny") => false,
            other => return Err(format!("the effect {other:?} is not understood here")),
        };
        let principals = value
            .get("Principal")
            .map(|principal| principal.as_object().into_iter().flat_map(|kinds| kinds.values()).flat_map(texts).collect());
        let mut conditions = vec![];
        for (name, keys) in value["Condition"].as_object().into_iter().flatten() {
            let (quantifier, operator) = match name.split_once(':') {
                None => (Quantifier::One, name.as_str()),
                Some(("ForAllValues", operator)) => (Quantifier::All, operator),
                Some(("ForAnyValue", operator)) => (Quantifier::Any, operator),
                Some(_) => return Err(format!("the condition {name} is not understood here")),
            };
            let operator = match operator {
                "StringEquals" => Operator::Equals,
                "StringLike" => Operator::Like,
                "Null" if quantifier == Quantifier::One => Operator::Null,
                _ => return Err(format!("the condition {name} is not understood here")),
            };
            for (key, values) in keys.as_object().into_iter().flatten() {
                conditions.push(Condition { quantifier, operator, key: key.clone(), values: texts(values) });
            }
        }
        Ok(Statement { allow, principals, actions: texts(&value["Action"]), resources: texts(&value["Resource"]), conditions })
    }

    fn applies(&self, principal: Option<&str>, action: &str, resource: &str, context: &Context) -> bool {
        let names = |names: &[String], name: &str| names.iter().any(|wanted| like(wanted, name, context));
        // A trust policy is about its own role and names no resource.
        let resources = match &self.principals {
            Some(principals) if !principals.iter().any(|wanted| Some(wanted.as_str()) == principal) => return false,
            Some(_) => self.resources.is_empty() || names(&self.resources, resource),
            None => names(&self.resources, resource),
        };
        let action = action.to_lowercase();
        resources
            && self.actions.iter().any(|wanted| like(&wanted.to_lowercase(), &action, context))
            && self.conditions.iter().all(|condition| condition.holds(context))
    }
}

impl Condition {
    fn holds(&self, context: &Context) -> bool {
        let known = context.get(&self.key);
        let fits = |value: &String| match self.operator {
            Operator::Like => self.values.iter().any(|wanted| like(wanted, value, context)),
            Operator::Equals | Operator::Null => {
                self.values.iter().any(|wanted| pattern(wanted, context, false).is_some_and(|pattern| matches(&pattern, value)))
            }
        };
        match (self.operator, self.quantifier, known) {
            (Operator::Null, _, known) => self.values.iter().all(|wanted| (wanted == "true") == known.is_none()),
            // Also true without values, so a Null condition is needed beside it.
            (_, Quantifier::All, known) => known.unwrap_or_default().iter().all(fits),
            (_, Quantifier::Any, known) => known.unwrap_or_default().iter().any(fits),
            (_, Quantifier::One, Some([value])) => fits(value),
            (_, Quantifier::One, _) => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Piece {
    Exactly(char),
    One,
    Many,
}

fn like(wanted: &str, value: &str, context: &Context) -> bool {
    pattern(wanted, context, true).is_some_and(|pattern| matches(&pattern, value))
}

/// Replaces variables by their values, which are plain text even if they contain a `*`. `None` if a variable has no value: then nothing
/// matches.
fn pattern(wanted: &str, context: &Context, wildcards: bool) -> Option<Vec<Piece>> {
    let mut pieces = vec![];
    let mut rest = wanted;
    while let Some(next) = rest.chars().next() {
        if let Some((name, after)) = rest.strip_prefix("${").and_then(|rest| rest.split_once('}')) {
            match (name, context.get(name)) {
                ("*" | "?" | "$", _) => pieces.extend(name.chars().map(Piece::Exactly)),
                (_, Some([value])) => pieces.extend(value.chars().map(Piece::Exactly)),
                _ => return None,
            }
            rest = after;
            continue;
        }
        pieces.push(match next {
            '*' if wildcards => Piece::Many,
            '?' if wildcards => Piece::One,
            other => Piece::Exactly(other),
        });
        rest = &rest[next.len_utf8()..];
    }
    Some(pieces)
}

fn matches(pattern: &[Piece], value: &str) -> bool {
    let value: Vec<char> = value.chars().collect();
    let (mut at, mut position) = (0, 0);
    // The position of the last `*`, and how much it has matched so far.
    let mut last_many: Option<(usize, usize)> = None;
    while position < value.len() {
        match pattern.get(at) {
            Some(Piece::Many) => {
                last_many = Some((at, position));
                at += 1;
            }
            Some(Piece::One) => (at, position) = (at + 1, position + 1),
            Some(Piece::Exactly(wanted)) if *wanted == value[position] => (at, position) = (at + 1, position + 1),
            _ => {
                let Some((many, taken)) = last_many else { return false };
                last_many = Some((many, taken + 1));
                (at, position) = (many + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|piece| *piece == Piece::Many)
}

fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Null => vec![],
        other => vec![other],
    }
}

fn texts(value: &Value) -> Vec<String> {
    list(value).into_iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect()
}
