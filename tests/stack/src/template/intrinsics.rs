//! Resolves CloudFormation intrinsics as CloudFormation does, but to names of the local stack. An unknown intrinsic is an error that names
//! the resource and the property.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{StackLocation, TemplateError};

/// The parts of a template that intrinsics refer to.
pub struct Resolver<'a> {
    pub parameters: &'a BTreeMap<String, Value>,
    pub conditions: &'a Map<String, Value>,
    pub mappings: &'a Map<String, Value>,
    pub resources: &'a Map<String, Value>,
    pub place: &'a StackLocation,
}

impl Resolver<'_> {
    /// `at` is the dotted path of the value, only for errors.
    pub fn resolve(&self, at: &str, value: &Value) -> Result<Value, TemplateError> {
        Ok(self.resolve_optional(at, value)?.unwrap_or(Value::Object(Map::new())))
    }

    /// `None` is `AWS::NoValue`: the property is left out.
    fn resolve_optional(&self, at: &str, value: &Value) -> Result<Option<Value>, TemplateError> {
        match value {
            Value::Object(object) => {
                if let Some((function, argument)) = intrinsic(object) {
                    return self.call(at, function, argument);
                }
                let mut resolved = Map::new();
                for (key, value) in object {
                    if let Some(value) = self.resolve_optional(&format!("{at}.{key}"), value)? {
                        resolved.insert(key.clone(), value);
                    }
                }
                Ok(Some(Value::Object(resolved)))
            }
            Value::Array(items) => {
                let mut resolved = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    resolved.extend(self.resolve_optional(&format!("{at}.{index}"), item)?);
                }
                Ok(Some(Value::Array(resolved)))
            }
            scalar => Ok(Some(scalar.clone())),
        }
    }

    pub fn condition(&self, at: &str, name: &str) -> Result<bool, TemplateError> {
        let expression = self.conditions.get(name).ok_or_else(|| problem(at, format!("there is no condition `{name}`")))?;
        self.truth(&format!("Conditions.{name}"), expression)
    }

    fn call(&self, at: &str, function: &str, argument: &Value) -> Result<Option<Value>, TemplateError> {
        let value = match function {
            "Ref" => return self.reference(at, argument),
            "Fn::GetAtt" => {
                let argument = self.resolve(at, argument)?;
                let parts = texts(at, function, &argument)?;
                match parts.as_slice() {
                    [resource, attribute @ ..] => self.attribute(at, resource, &attribute.join("."))?,
                    [] => return Err(problem(at, "`Fn::GetAtt` without arguments".into())),
                }
            }
            "Fn::Sub" => self.substitute(at, argument)?,
            "Fn::If" => {
                let [condition, yes, no] = elements(at, function, argument)?;
                let name = condition.as_str().ok_or_else(|| problem(at, "`Fn::If` without a condition name".into()))?;
                let chosen = if self.condition(at, name)? { yes } else { no };
                return self.resolve_optional(at, chosen);
            }
            "Fn::Join" => {
                let [separator, parts] = elements(at, function, argument)?;
                let separator = self.text(at, separator)?;
                let parts = self.resolve(at, parts)?;
                Value::String(texts(at, function, &parts)?.join(&separator))
            }
            "Fn::Split" => {
                let [separator, source] = elements(at, function, argument)?;
                let (separator, source) = (self.text(at, separator)?, self.text(at, source)?);
                Value::Array(source.split(&separator).map(Value::from).collect())
            }
            "Fn::Select" => {
                let [index, items] = elements(at, function, argument)?;
                let index = self.text(at, index)?;
                let items = self.resolve(at, items)?;
                index
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index).cloned())
                    .ok_or_else(|| problem(at, format!("`Fn::Select` has no element {index}")))?
            }
            "Fn::FindInMap" => {
                let argument = self.resolve(at, argument)?;
                let path = texts(at, function, &argument)?;
                path.iter()
                    .try_fold(None::<&Value>, |found, key| match found {
                        None => self.mappings.get(key).map(Some),
                        Some(found) => found.get(key).map(Some),
                    })
                    .flatten()
                    .cloned()
                    .ok_or_else(|| problem(at, format!("no mapping for {}", path.join("."))))?
            }
            "Fn::Equals" | "Fn::Not" | "Fn::And" | "Fn::Or" | "Condition" => {
                let whole = Map::from_iter([(function.to_owned(), argument.clone())]);
                Value::Bool(self.truth(at, &Value::Object(whole))?)
            }
            other => {
                return Err(problem(at, format!("the intrinsic `{other}` is not known here")));
            }
        };
        Ok(Some(value))
    }

    fn truth(&self, at: &str, expression: &Value) -> Result<bool, TemplateError> {
        let unclear = || problem(at, "this is not a condition".to_owned());
        let object = expression.as_object().ok_or_else(unclear)?;
        let (function, argument) = intrinsic(object).ok_or_else(unclear)?;
        match function {
            "Fn::Equals" => {
                let [left, right] = elements(at, function, argument)?;
                Ok(self.text(at, left)? == self.text(at, right)?)
            }
            "Fn::Not" => {
                let [inner] = elements(at, function, argument)?;
                Ok(!self.truth(at, inner)?)
            }
            "Fn::And" | "Fn::Or" => {
                let parts = argument.as_array().ok_or_else(unclear)?;
                for part in parts {
                    let part = self.truth(at, part)?;
                    if part != (function == "Fn::And") {
                        return Ok(part);
                    }
                }
                Ok(function == "Fn::And")
            }
            "Condition" => self.condition(at, argument.as_str().ok_or_else(unclear)?),
            _ => Err(unclear()),
        }
    }

    fn reference(&self, at: &str, argument: &Value) -> Result<Option<Value>, TemplateError> {
        let name = argument.as_str().ok_or_else(|| problem(at, "`Ref` without a name".into()))?;
        if name == "AWS::NoValue" {
            return Ok(None);
        }
        self.named(at, name).map(Some)
    }

    fn named(&self, at: &str, name: &str) -> Result<Value, TemplateError> {
        let place = self.place;
        Ok(match name {
            "AWS::Region" => place.region.clone().into(),
            "AWS::AccountId" => place.account.clone().into(),
            "AWS::StackName" => place.stack.clone().into(),
            "AWS::Partition" => "aws".into(),
            "AWS::URLSuffix" => "amazonaws.com".into(),
            _ => match self.parameters.get(name) {
                Some(value) => value.clone(),
                // SAM's name for the alias that it creates for a function.
                None => match name.split_once('.') {
                    Some((function, "Alias")) if self.kind(at, function)? == "AWS::Serverless::Function" => self.alias(function)?.into(),
                    _ => self.physical(at, name)?.into(),
                },
            },
        })
    }

    /// The value of `Ref` for a resource.
    fn physical(&self, at: &str, logical: &str) -> Result<String, TemplateError> {
        let kind = self.kind(at, logical)?;
        let name = self.physical_name(logical)?;
        Ok(match kind {
            "AWS::SQS::Queue" => format!("{}/{}/{name}", self.place.queue_url_base, self.place.account),
            "AWS::SNS::Topic" => format!("arn:aws:sns:{}:{}:{name}", self.place.region, self.place.account),
            _ => name,
        })
    }

    /// The ARN of the alias of a function.
    pub fn alias(&self, logical: &str) -> Result<String, TemplateError> {
        let (place, name) = (self.place, self.physical_name(logical)?);
        Ok(format!("arn:aws:lambda:{}:{}:function:{name}:live", place.region, place.account))
    }

    fn attribute(&self, at: &str, logical: &str, attribute: &str) -> Result<Value, TemplateError> {
        let place = self.place;
        let kind = self.kind(at, logical)?;
        let name = self.physical_name(logical)?;
        let arn = |service: &str, rest: String| Value::from(format!("arn:aws:{service}:{}:{}:{rest}", place.region, place.account));
        match (kind, attribute) {
            ("AWS::SQS::Queue", "Arn") => Ok(arn("sqs", name)),
            ("AWS::S3::Bucket", "Arn") => Ok(format!("arn:aws:s3:::{name}").into()),
            ("AWS::SQS::Queue", "QueueName") => Ok(name.into()),
            ("AWS::SQS::Queue", "QueueUrl") => self.physical(at, logical).map(Value::from),
            ("AWS::DynamoDB::Table", "Arn") => Ok(arn("dynamodb", format!("table/{name}"))),
            ("AWS::DynamoDB::Table", "StreamArn") => Ok(arn("dynamodb", format!("table/{name}/stream/local"))),
            ("AWS::IAM::Role", "Arn") => Ok(format!("arn:aws:iam::{}:role/{name}", place.account).into()),
            ("AWS::Logs::LogGroup", "Arn") => Ok(arn("logs", format!("log-group:{name}:*"))),
            ("AWS::SecretsManager::Secret", "Id") => Ok(name.into()),
            ("AWS::Serverless::Function" | "AWS::Lambda::Function", "Arn") => Ok(arn("lambda", format!("function:{name}"))),
            _ => Err(problem(at, format!("the attribute `{attribute}` of `{logical}` ({kind}) is not known here"))),
        }
    }

    fn kind(&self, at: &str, logical: &str) -> Result<&str, TemplateError> {
        self.resources
            .get(logical)
            .and_then(|resource| resource["Type"].as_str())
            .ok_or_else(|| problem(at, format!("there is no parameter or resource `{logical}`")))
    }

    /// The name of a resource, or the one CloudFormation would generate from stack and logical id.
    pub fn physical_name(&self, logical: &str) -> Result<String, TemplateError> {
        let properties = &self.resources[logical]["Properties"];
        let given = ["TableName", "QueueName", "TopicName", "Name", "FunctionName", "LogGroupName", "RuleSetName"]
            .into_iter()
            .find_map(|key| properties.get(key).map(|name| (key, name)));
        match given {
            Some((key, name)) => self.text(&format!("{logical}.{key}"), name),
            // A bucket's name has no capital letters.
            None if self.resources[logical]["Type"] == "AWS::S3::Bucket" => Ok(format!("{}-{logical}", self.place.stack).to_lowercase()),
            None => Ok(format!("{}-{logical}", self.place.stack)),
        }
    }

    fn substitute(&self, at: &str, argument: &Value) -> Result<Value, TemplateError> {
        let (pattern, own) = match argument {
            Value::String(pattern) => (pattern.as_str(), None),
            Value::Array(parts) => match parts.as_slice() {
                [Value::String(pattern), Value::Object(own)] => (pattern.as_str(), Some(own)),
                _ => return Err(problem(at, "`Fn::Sub` takes a text and a map".into())),
            },
            _ => return Err(problem(at, "`Fn::Sub` takes a text".into())),
        };
        let mut text = String::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once("${") {
            text.push_str(before);
            let (name, after) = after.split_once('}').ok_or_else(|| problem(at, "`Fn::Sub` with an open `${`".into()))?;
            rest = after;
            if let Some(literal) = name.strip_prefix('!') {
                text.push_str("${");
                text.push_str(literal);
                text.push('}');
            } else if let Some(value) = own.and_then(|own| own.get(name)) {
                text.push_str(&self.text(at, value)?);
            } else if let Some((resource, attribute)) = name.split_once('.') {
                text.push_str(&scalar_text(at, &self.attribute(at, resource, attribute)?)?);
            } else {
                text.push_str(&scalar_text(at, &self.named(at, name)?)?);
            }
        }
        text.push_str(rest);
        Ok(text.into())
    }

    fn text(&self, at: &str, value: &Value) -> Result<String, TemplateError> {
        scalar_text(at, &self.resolve(at, value)?)
    }
}

/// Scalars as CloudFormation writes them into a text.
pub fn scalar_text(at: &str, value: &Value) -> Result<String, TemplateError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(problem(at, "a text was expected".into())),
    }
}

fn intrinsic(object: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (key, value) = object.iter().next().filter(|_| object.len() == 1)?;
    // `Condition` with other keys is an ordinary property (IAM statements). Alone and with a text it is the intrinsic.
    let known = key == "Ref" || key.starts_with("Fn::") || (key == "Condition" && value.is_string());
    known.then_some((key.as_str(), value))
}

fn elements<'a, const N: usize>(at: &str, function: &str, argument: &'a Value) -> Result<&'a [Value; N], TemplateError> {
    argument
        .as_array()
        .and_then(|items| items.as_slice().try_into().ok())
        .ok_or_else(|| problem(at, format!("`{function}` takes {N} arguments")))
}

fn texts(at: &str, function: &str, argument: &Value) -> Result<Vec<String>, TemplateError> {
    argument.as_array().ok_or_else(|| problem(at, format!("`{function}` takes a list")))?.iter().map(|item| scalar_text(at, item)).collect()
}

fn problem(at: &str, problem: String) -> TemplateError {
    TemplateError::At { at: at.to_owned(), problem }
}
