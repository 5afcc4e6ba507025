//! The decisions are those of the IAM user guide. A mistake here would make the tests of the second wall worthless.

use serde_json::json;

use super::{ask::Keys, policy::*, *};

fn keys(keys: &[&str]) -> Context {
    Context::default().with("dynamodb:LeadingKeys", keys.iter().map(|key| (*key).to_owned()))
}

fn decide(statements: Value, action: &str, resource: &str, context: &Context) -> bool {
    let statements = policy::read(&json!({ "Statement": statements })).unwrap();
    allowing(&statements, None, action, resource, context).is_some()
}

fn tenant(condition: Value) -> Value {
    json!([{ "Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:Query"], "Resource": "arn:table/t", "Condition": condition }])
}

#[test]
fn what_nobody_allows_is_refused_and_a_denial_wins() {
    let allow = json!({ "Effect": "Allow", "Action": "dynamodb:*", "Resource": "arn:table/t*" });
    let deny = json!({ "Effect": "Deny", "Action": "dynamodb:Scan", "Resource": "*" });
    let none = Context::default();
    assert!(decide(json!([allow]), "dynamodb:Scan", "arn:table/t", &none));
    assert!(decide(json!(allow), "DYNAMODB:scan", "arn:table/t/index/x", &none));
    assert!(!decide(json!([allow, deny]), "dynamodb:Scan", "arn:table/t", &none));
    assert!(!decide(json!([allow]), "dynamodb:Scan", "arn:table/other", &none));
    assert!(!decide(json!([allow]), "sqs:SendMessage", "arn:table/t", &none));
    assert!(!decide(json!([]), "dynamodb:Scan", "arn:table/t", &none));
}

#[test]
fn all_keys_must_fit_and_without_keys_only_the_null_guard_refuses() {
    let like = json!({ "ForAllValues:StringLike": { "dynamodb:LeadingKeys": ["T#${aws:PrincipalTag/tenant}#*"] } });
    let guarded = json!({
        "ForAllValues:StringLike": { "dynamodb:LeadingKeys": ["T#${aws:PrincipalTag/tenant}#*"] },
        "Null": { "dynamodb:LeadingKeys": "false" },
    });
    let may = |condition: &Value, context: Context| {
        decide(tenant(condition.clone()), "dynamodb:GetItem", "arn:table/t", &context.with("aws:PrincipalTag/tenant", ["abc".to_owned()]))
    };
    for condition in [&like, &guarded] {
        assert!(may(condition, keys(&["T#abc#x"])));
        assert!(may(condition, keys(&["T#abc#x", "T#abc#"])));
        for foreign in [&["T#abc"][..], &["T#abcd#x"], &["T#ab#x"], &["T#abc#x", "T#b#x"], &["T#*#x"], &["G#T#abc#x"], &["t#abc#x"], &[""]]
        {
            assert!(!may(condition, keys(foreign)), "{foreign:?}");
        }
    }
    assert!(may(&like, Context::default()), "ForAllValues is true of a request without the key");
    assert!(!may(&guarded, Context::default()));
}

#[test]
fn a_variable_is_plain_text_and_one_without_a_value_fits_nothing() {
    let condition = json!({ "ForAllValues:StringLike": { "dynamodb:LeadingKeys": ["T#${aws:PrincipalTag/tenant}#*"] } });
    let may = |tag: Option<&str>, key: &str| {
        let context = keys(&[key]);
        let context = match tag {
            Some(tag) => context.with("AWS:principaltag/Tenant", [tag.to_owned()]),
            None => context,
        };
        decide(tenant(condition.clone()), "dynamodb:Query", "arn:table/t", &context)
    };
    assert!(may(Some("a"), "T#a#x"));
    assert!(!may(Some("*"), "T#a#x"));
    assert!(may(Some("*"), "T#*#x"));
    assert!(!may(Some("?"), "T#a#x"));
    for key in ["T##x", "T#${aws:PrincipalTag/tenant}#x", "T#"] {
        assert!(!may(None, key), "{key}");
    }
}

#[test]
fn plain_conditions_want_their_key() {
    let may = |condition: Value, context: &Context| decide(tenant(condition), "dynamodb:Query", "arn:table/t", context);
    let inside = Context::default().with("dynamodb:EnclosingOperation", ["TransactWriteItems".to_owned()]);
    let equals = json!({ "StringEquals": { "dynamodb:EnclosingOperation": "TransactWriteItems" } });
    assert!(may(equals.clone(), &inside));
    assert!(!may(equals, &Context::default()));
    assert!(!may(json!({ "StringEquals": { "dynamodb:EnclosingOperation": "Transact*" } }), &inside));
    assert!(may(json!({ "StringLike": { "dynamodb:EnclosingOperation": ["x", "Transact?rite*"] } }), &inside));
    assert!(may(json!({ "Null": { "other": "true" } }), &inside));
    let any = json!({ "ForAnyValue:StringEquals": { "dynamodb:LeadingKeys": ["a"] } });
    assert!(may(any.clone(), &keys(&["a", "b"])));
    assert!(!may(any, &Context::default()));
}

#[test]
fn what_is_not_understood_is_refused_when_it_is_read() {
    for statement in [
        json!({ "Effect": "Allow", "NotAction": "x", "Resource": "*" }),
        json!({ "Effect": "Perhaps", "Action": "x", "Resource": "*" }),
        json!({ "Effect": "Allow", "Action": "x", "Resource": "*", "Condition": { "DateLessThan": { "aws:CurrentTime": "x" } } }),
        json!({ "Effect": "Allow", "Action": "x", "Resource": "*", "Condition": { "StringLikeIfExists": { "x": "x" } } }),
    ] {
        assert!(policy::read(&json!({ "Statement": statement })).is_err(), "{statement}");
    }
}

#[test]
fn every_request_tells_its_keys() {
    let mut known = Keys { prefix: "arn:".into(), ..Keys::default() };
    known.attributes.insert(("t".into(), None), "pk".into());
    known.attributes.insert(("t".into(), Some("lists".into())), "lpk".into());
    let told = |operation: &str, body: Value| -> Vec<(String, String, Option<Vec<String>>)> {
        asks(operation, &body, &known)
            .into_iter()
            .map(|ask| (ask.action.replace("dynamodb:", ""), ask.resource, ask.leading_keys))
            .collect()
    };
    let one = |action: &str, resource: &str, keys: &[&str]| {
        (action.to_owned(), resource.to_owned(), Some(keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>()))
    };
    let key = |pk: &str| json!({ "pk": { "S": pk }, "sk": { "S": "s" } });
    assert_eq!(told("GetItem", json!({ "TableName": "t", "Key": key("a") })), [one("GetItem", "arn:table/t", &["a"])]);
    let by_arn = json!({ "TableName": "arn:table/t", "Item": key("a") });
    assert_eq!(told("PutItem", by_arn), [one("PutItem", "arn:table/t", &["a"])]);
    for condition in ["#k = :k", "( #k=:k ) and begins_with(sk, :p)", "sk BETWEEN :p AND :p AND :k = #k"] {
        let body = json!({
            "TableName": "t", "IndexName": "lists", "KeyConditionExpression": condition,
            "ExpressionAttributeNames": { "#k": "lpk" }, "ExpressionAttributeValues": { ":k": { "S": "a" }, ":p": { "S": "b" } },
        });
        assert_eq!(told("Query", body), [one("Query", "arn:table/t/index/lists", &["a"])], "{condition}");
    }
    let batch = json!({ "RequestItems": { "t": { "Keys": [key("a"), key("b")] } } });
    assert_eq!(told("BatchGetItem", batch), [one("BatchGetItem", "arn:table/t", &["a", "b"])]);
    let batch = json!({ "RequestItems": { "t": [{ "PutRequest": { "Item": key("a") } }, { "DeleteRequest": { "Key": key("b") } }] } });
    assert_eq!(told("BatchWriteItem", batch), [one("BatchWriteItem", "arn:table/t", &["a", "b"])]);
    let transaction = json!({ "TransactItems": [
        { "Put": { "TableName": "t", "Item": key("a") } },
        { "ConditionCheck": { "TableName": "t", "Key": key("b") } },
    ] });
    let both = [one("PutItem", "arn:table/t", &["a"]), one("ConditionCheckItem", "arn:table/t", &["b"])];
    assert_eq!(told("TransactWriteItems", transaction), both);
    assert_eq!(told("Scan", json!({ "TableName": "t" })), [("Scan".to_owned(), "arn:table/t".to_owned(), None)]);
    let statement = json!({ "Statement": "delete from \"t\" where pk = 'a'" });
    assert_eq!(told("ExecuteStatement", statement), [("PartiQLDelete".to_owned(), "arn:table/t".to_owned(), None)]);
    // A request without a visible key has none.
    for body in [json!({ "TableName": "t" }), json!({ "TableName": "unknown", "Key": key("a") })] {
        assert_eq!(told("GetItem", body)[0].2, None);
    }
}

#[test]
fn the_real_template_is_understood_in_both_forms() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../template.yaml");
    let given = [("PublicUrl", "http://127.0.0.1:9000"), ("MailFrom", "a@example.com"), ("MailIdentity", "example.com")];
    let template = given.iter().fold(Template::load(path).unwrap(), |template, (name, value)| template.with_parameter(name, value));
    let roles = |guard: &Guard| guard.grants().into_iter().map(|grant| grant.role).collect::<BTreeSet<_>>();
    let function = Guard::new(&template, String::new()).unwrap();
    assert!(!roles(&function).contains("TenantDataRole"));
    assert!(!function.grants().iter().any(|grant| grant.action.starts_with("sts:")));
    let session = Guard::new(&template.with_parameter("TenantCredentials", "session"), String::new()).unwrap();
    assert!(roles(&session).contains("TenantDataRole"));
    assert!(session.grants().iter().any(|grant| grant.role == "ProjectsRole" && grant.action == "sts:AssumeRole"));
}
