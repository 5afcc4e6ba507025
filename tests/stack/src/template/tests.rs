//! The fixture contains every construct that is read. The real template is read too.

use serde_json::json;

use super::*;

fn fixture() -> Template {
    Template::parse(include_str!("../../testdata/template.yaml")).unwrap().with_parameter("PublicUrl", "http://127.0.0.1:9000")
}

#[test]
fn a_table_becomes_a_create_table_call() {
    let tables = fixture().tables().unwrap();
    let [table] = tables.as_slice() else { panic!("{tables:?}") };
    assert_eq!(table.name, "tenantry-local-Table");
    assert_eq!(table.hash_key, "pk");
    assert_eq!(table.ttl_attribute.as_deref(), Some("ttl"));
    assert_eq!(table.definition["StreamSpecification"], json!({ "StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES" }));
    assert_eq!(table.definition["GlobalSecondaryIndexes"][0]["IndexName"], "lists");
    for absent in ["PointInTimeRecoverySpecification", "TimeToLiveSpecification", "DeletionProtectionEnabled"] {
        assert!(table.definition.get(absent).is_none(), "{absent}");
    }
}

#[test]
fn dead_letter_queues_come_first_and_are_named_by_arn() {
    let queues = fixture().queues().unwrap();
    let mail = queues.last().unwrap();
    assert_eq!(mail.logical_id, "MailQueue");
    assert_eq!(mail.attributes["VisibilityTimeout"], "60");
    let redrive: Value = serde_json::from_str(&mail.attributes["RedrivePolicy"]).unwrap();
    assert_eq!(redrive["maxReceiveCount"], 3);
    assert_eq!(redrive["deadLetterTargetArn"], "arn:aws:sqs:us-east-1:123456789012:tenantry-local-MailDeadLetters");
    assert_eq!(queues.len(), 5);
}

#[test]
fn secrets_follow_their_conditions() {
    let names = |template: Template| -> Vec<String> { template.secrets().unwrap().into_iter().map(|secret| secret.logical_id).collect() };
    assert!(names(fixture()).contains(&"DemoSecret".to_owned()));
    assert!(!names(fixture().with_parameter("Stage", "prod")).contains(&"DemoSecret".to_owned()));
    let secrets = fixture().secrets().unwrap();
    let find = |id: &str| secrets.iter().find(|secret| secret.logical_id == id).unwrap();
    assert_eq!(find("RootSecret").name, "tenantry-local/root");
    assert!(matches!(&find("RootSecret").initial, InitialSecret::Generated(how) if how.password_length == 64));
    assert_eq!(find("KeysSecret").initial, InitialSecret::Text(r#"{"keys":[]}"#.to_owned()));
    assert_eq!(find("EmptySecret").initial, InitialSecret::Empty);
}

#[test]
fn the_environment_of_a_function_is_globals_and_its_own() {
    let functions = fixture().with_queue_url_base("http://127.0.0.1:4566/").functions().unwrap();
    let relay = functions.iter().find(|function| function.name == "relay").unwrap();
    assert_eq!(relay.timeout_seconds, 30);
    let expected = [
        ("DEMO", "tenantry-local-DemoSecret"),
        ("FIRST", "a"),
        ("LABEL", "dev-7-${literal}"),
        ("MAIL_QUEUE_URL", "http://127.0.0.1:4566/123456789012/tenantry-local-MailQueue"),
        ("SENDER", "dev-sender"),
        ("STAGE", "dev"),
        ("TABLE_NAME", "tenantry-local-Table"),
    ];
    let expected = expected.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(relay.environment, expected);
    let courier = functions.iter().find(|function| function.name == "courier").unwrap();
    assert_eq!(courier.timeout_seconds, 10);
    let without_demo = fixture().with_parameter("WithDemo", "false").functions().unwrap();
    assert!(!without_demo.iter().any(|function| function.environment.contains_key("DEMO")));
}

#[test]
fn event_sources_are_read_with_their_limits() {
    let template = fixture();
    let [stream] = template.stream_sources().unwrap().try_into().unwrap();
    assert_eq!((stream.function.as_str(), stream.table.as_str()), ("relay", "tenantry-local-Table"));
    assert_eq!((stream.batch_size, stream.bisect, stream.retries), (8, true, Some(2)));
    assert_eq!(stream.maximum_age_seconds, Some(3600));
    assert!(stream.report_item_failures);
    assert!(stream.on_failure.unwrap().ends_with(":tenantry-local-RelayDeadLetters"));
    assert_eq!(stream.filters, [json!({ "eventName": ["INSERT", "MODIFY"] })]);
    let [queue] = template.queue_sources().unwrap().try_into().unwrap();
    assert_eq!((queue.function.as_str(), queue.queue.as_str(), queue.batch_size), ("courier", "tenantry-local-MailQueue", 4));
    let [schedule] = template.schedules().unwrap().try_into().unwrap();
    assert_eq!((schedule.name.as_str(), schedule.input), ("JanitorFunctionPurge", json!({ "task": "purge" })));
}

#[test]
fn reports_of_mails_go_from_the_configuration_set_over_the_topic_to_its_queue() {
    let reports = fixture().mail_reports().unwrap().unwrap();
    assert_eq!((reports.configuration_set.as_str(), reports.queue.as_str()), ("tenantry-local-Reports", "tenantry-local-ReportsQueue"));
    assert_eq!(reports.kinds.into_iter().collect::<Vec<_>>(), ["bounce", "complaint", "delivery"]);
    let text = include_str!("../../testdata/template.yaml");
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Template::parse(&text.replace(from, to)).unwrap().mail_reports()
    };
    assert_eq!(with("Enabled: true\n        Matching", "Enabled: false\n        Matching"), Ok(None));
    let enveloped = with("ReportsQueue.Arn, RawMessageDelivery: true", "ReportsQueue.Arn").unwrap_err().to_string();
    assert!(enveloped.contains("ReportsSubscription: messages in an envelope"), "{enveloped}");
    let alone = with("TopicArn: !Ref ReportsTopic", "TopicArn: !Ref OtherTopic").unwrap_err().to_string();
    assert!(alone.contains("ReportsDestination: no queue subscribes"), "{alone}");
    let elsewhere = with("!GetAtt ReportsQueue.Arn", "arn:aws:sqs:us-east-1:1:other").unwrap_err().to_string();
    assert!(elsewhere.contains("its queue is not part of the template"), "{elsewhere}");
    assert_eq!(Template::parse("Resources: {}").unwrap().mail_reports(), Ok(None));
}

#[test]
fn mails_to_the_deployment_go_into_the_bucket_and_their_notices_over_the_topic_to_its_queue() {
    let received = fixture().mail_reception().unwrap().unwrap();
    let expected = MailReception {
        recipients: vec!["in.example.org".to_owned()],
        bucket: "tenantry-local-mails".to_owned(),
        prefix: String::new(),
        topic: "arn:aws:sns:us-east-1:123456789012:tenantry-local-InboundTopic".to_owned(),
        queue: "tenantry-local-InboundQueue".to_owned(),
    };
    assert_eq!(received, expected);
    assert_eq!(fixture().buckets().unwrap(), ["tenantry-local-mails"]);
    let text = include_str!("../../testdata/template.yaml");
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Template::parse(&text.replace(from, to)).unwrap().mail_reception()
    };
    assert_eq!(with("Rule: { Enabled: true", "Rule: { Enabled: false"), Ok(None));
    let prefixed = with("BucketName: !Ref Mails", "BucketName: !Ref Mails, ObjectKeyPrefix: mails/").unwrap().unwrap();
    assert_eq!(prefixed.prefix, "mails/");
    let elsewhere = with("BucketName: !Ref Mails", "BucketName: other").unwrap_err().to_string();
    assert!(elsewhere.contains("InboundRule: its bucket is not part of the template"), "{elsewhere}");
    let bounced = with("Actions: [{ S3Action", "Actions: [{ BounceAction: {} }, { S3Action").unwrap_err().to_string();
    assert!(bounced.contains("one action that stores them"), "{bounced}");
    assert_eq!(Template::parse("Resources: {}").unwrap().mail_reception(), Ok(None));
}

#[test]
fn routes_are_listed() {
    let routes = fixture().routes().unwrap();
    let routes: Vec<(&str, &str, &str)> =
        routes.iter().map(|route| (route.function.as_str(), route.method.as_str(), route.path.as_str())).collect();
    assert_eq!(routes, [("courier", "GET", "/api/things/{id}"), ("web", "ANY", "$default"), ("web", "ANY", "/api/things/{proxy+}")]);
}

#[test]
fn a_route_at_a_function_or_without_one_is_refused() {
    let text = include_str!("../../testdata/template.yaml");
    let at_a_function = text.replace("Purge:", "Route: { Type: HttpApi, Properties: { Path: /x, Method: GET } }\n        Purge:");
    let error = Template::parse(&at_a_function).unwrap().schedules().unwrap_err().to_string();
    assert!(error.contains("JanitorFunction.Events.Route: routes stand in the DefinitionBody"), "{error}");
    let nobodys = Template::parse(&text.replace("integrations/web\" } }", "integrations/nobody\" } }")).unwrap();
    let error = nobodys.with_parameter("PublicUrl", "x").routes().unwrap_err().to_string();
    assert!(error.contains("/api/things/{proxy+}") && error.contains("not integrated"), "{error}");
}

#[test]
fn cors_and_throttles_follow_their_conditions() {
    assert_eq!(fixture().cors().unwrap(), None);
    let cors = fixture().with_parameter("Origins", "https://a.example.com, https://b.example.com").cors().unwrap().unwrap();
    assert_eq!(cors.allow_origins, ["https://a.example.com", "https://b.example.com"]);
    assert_eq!((cors.max_age, cors.allow_credentials, cors.expose_headers), (Some(60), false, vec!["etag".to_owned()]));
    let throttles = fixture().throttles().unwrap();
    assert_eq!(throttles.default, Some(Throttle { rate: 10, burst: 20 }));
    assert_eq!(throttles.routes.into_iter().collect::<Vec<_>>(), [("GET /api/things/{id}".to_owned(), Throttle { rate: 1, burst: 2 })]);
    assert_eq!(fixture().with_parameter("Stage", "prod").throttles().unwrap().routes.len(), 2);
}

#[test]
fn what_is_not_understood_is_named() {
    let problem = |text: &str| Template::parse(text).unwrap().tables().unwrap_err().to_string();
    let unknown = "Resources: { Table: { Type: 'AWS::DynamoDB::Table', Properties: { BillingMode: !Cidr [a, 1, 2] } } }";
    assert_eq!(problem(unknown), "template: Table.BillingMode: the intrinsic `Fn::Cidr` is not known here");
    let missing = "Resources: { Table: { Type: 'AWS::DynamoDB::Table', Properties: { BillingMode: !Ref Nobody } } }";
    assert_eq!(problem(missing), "template: Table.BillingMode: there is no parameter or resource `Nobody`");
    let unplayed = "Resources: { Source: { Type: 'AWS::Lambda::EventSourceMapping' } }";
    assert!(problem(unplayed).starts_with("template: Source: resources of this type are not played here"));
    assert!(matches!(Template::parse("a: [").unwrap_err(), TemplateError::Yaml(_)));
    assert!(Template::load("/nowhere/template.yaml").unwrap_err().to_string().contains("/nowhere/template.yaml"));
}

#[test]
fn a_parameter_without_a_value_is_named() {
    let template = Template::parse(include_str!("../../testdata/template.yaml")).unwrap();
    let error = template.functions().unwrap_err().to_string();
    assert_eq!(error, "template: WebFunction.Environment.Variables.PUBLIC_URL: there is no parameter or resource `PublicUrl`");
}

#[test]
fn the_real_template_is_understood() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../template.yaml");
    let template = Template::load(path)
        .unwrap()
        .with_parameter("PublicUrl", "http://127.0.0.1:9000")
        .with_parameter("MailFrom", "no-reply@example.com");
    assert_eq!(template.tables().unwrap().len(), 1);
    assert!(!template.queues().unwrap().is_empty());
    assert!(!template.secrets().unwrap().is_empty());
    assert!(!template.functions().unwrap().is_empty());
    assert!(!template.stream_sources().unwrap().is_empty());
    assert!(!template.queue_sources().unwrap().is_empty());
    assert!(!template.routes().unwrap().is_empty());
    assert!(template.mail_reports().unwrap().is_some());
    assert_eq!(
        crate::sources::instances(&template).unwrap(),
        [("herald".to_owned(), 3)].into(),
        "all others handle one event after the other"
    );
    for schedule in template.schedules().unwrap() {
        assert!(crate::sources::period(&schedule.expression).is_some(), "{}", schedule.expression);
    }
}
