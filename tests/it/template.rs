//! Facts about template.yaml that a deployment's safety depends on, checked against the tree and the code.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};
use shared::config::{Config, Variables};

use crate::derived::{root, template};
use crate::world::World;

#[test]
fn every_folder_of_functions_is_a_function_and_nothing_else_is() {
    let folders = folders();
    let mut functions = BTreeSet::new();
    for (name, function) in of_type("AWS::Serverless::Function") {
        let folder =
            function["CodeUri"].as_str().and_then(|uri| uri.strip_prefix("functions/")).expect("CodeUri is functions/<folder>").to_owned();
        assert_eq!(name, format!("{}{}Function", folder[..1].to_uppercase(), &folder[1..]));
        let metadata = template().resources()[&name]["Metadata"].clone();
        assert_eq!(metadata, json!({"BuildMethod": "rust-cargolambda", "BuildProperties": {"Binary": folder}}), "{name}");
        assert!(root().join("functions").join(&folder).join("src/main.rs").is_file(), "{folder} has no binary");
        assert!(manifest(&folder).contains(&format!("name = \"{folder}\"")), "the crate in functions/{folder} has another name");
        assert!(functions.insert(folder), "{name} is there twice");
    }
    assert_eq!(functions, folders);
}

#[test]
fn functions_are_deployed_without_the_features_that_only_unite_builds() {
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(
        workspace.contains("[workspace.metadata.lambda.build]\nno_default_features = true\n"),
        "`sam build` takes this from Cargo.toml; without it, what the tests ask of the AWS SDK is deployed too"
    );
    for folder in folders() {
        let manifest = manifest(&folder);
        assert!(
            manifest.contains("[features]\ndefault = [\"united\"]\n"),
            "functions/{folder} is built of crates of its own: see tests/united"
        );
    }
}

#[test]
fn functions_reach_the_table_through_shared_alone() {
    for folder in folders() {
        let manifest = manifest(&folder);
        for forbidden in ["aws-sdk-dynamodb", "serde_dynamo", "dynoxide", "aws-config"] {
            assert!(
                !manifest.contains(forbidden),
                "functions/{folder} depends on {forbidden}: the table is reached through a door of shared"
            );
        }
        // Signing keys are read by shared. Only the rotator, which writes them, uses the client itself.
        assert!(folder == "rotator" || !manifest.contains("aws-sdk-secretsmanager"), "functions/{folder}");
        assert!(
            ["relay", "links", "fanout", "herald"].contains(&folder.as_str()) || !manifest.contains("aws-sdk-sqs"),
            "functions/{folder}"
        );
        assert!(!manifest.contains("aws-sdk-s3"), "functions/{folder}: an object is read by shared::aws::objects");
        assert!(["courier", "sender"].contains(&folder.as_str()) || !manifest.contains("carriers"), "functions/{folder}");
        assert!(
            ["fanout", "herald", "webhooks"].contains(&folder.as_str()) || !manifest.contains("net-guard"),
            "functions/{folder}: hosts of strangers are called by the herald alone"
        );
        assert!(!manifest.contains("aws-sdk-sesv2"), "functions/{folder} reaches SES around the check of shared/carriers");
        for other in folders().into_iter().filter(|other| *other != folder) {
            let depends =
                manifest.lines().any(|line| line.starts_with(&format!("{other}.workspace")) || line.starts_with(&format!("{other} =")));
            assert!(!depends, "functions/{folder} depends on functions/{other}");
        }
    }
}

#[test]
fn no_policy_grants_more_than_named_verbs_on_named_resources() {
    let mut statements_seen = 0;
    for (name, statement) in all_statements() {
        statements_seen += 1;
        assert_eq!(statement["Effect"], "Allow", "{name}");
        for key in ["NotAction", "NotResource", "NotPrincipal"] {
            assert!(statement.get(key).is_none(), "{name} uses {key}");
        }
        for action in texts(&statement["Action"]) {
            assert!(!action.contains('*'), "{name} allows {action}");
            assert!(!action.starts_with("kms:") && !action.starts_with("sns:"), "{name} allows {action}, which no function needs");
            let verb = action.split(':').nth(1).unwrap_or_default();
            let forbidden = ["Scan", "DeleteTable", "UpdateTable", "CreateTable", "BatchWriteItem"];
            assert!(!forbidden.contains(&verb) && !verb.starts_with("PartiQL"), "{name} allows {action}");
        }
        // Actions for which AWS has no resources. A batch of secrets only returns those that may be read one by one.
        let knows_none = |action: &String| action.starts_with("xray:") || action == "secretsmanager:BatchGetSecretValue";
        let for_all = texts(&statement["Action"]).iter().all(knows_none);
        for resource in list(&statement["Resource"]) {
            let text = resource.to_string();
            let only_lists_streams =
                statement["Action"] == "dynamodb:ListStreams" && resource == json!({"Fn::Sub": "${Table.Arn}/stream/*"});
            let only_mails = statement["Action"] == "s3:GetObject" && resource == json!({"Fn::Sub": "${InboundMails.Arn}/*"});
            // Which numbers of the account are lines, the directory says.
            let only_sends = statement["Action"] == "sms-voice:SendTextMessage" && text.contains(":${AWS::AccountId}:phone-number/*");
            let is_bounded = only_lists_streams || only_mails || only_sends || (for_all && resource == "*");
            assert!(!text.contains('*') || is_bounded, "{name} reaches {text}");
        }
    }
    assert!(statements_seen >= 18, "{statements_seen}");
}

/// Lambda drops lines below its own level, and the lines of requests are the metrics.
#[test]
fn lambda_drops_no_line_of_a_request() {
    let globals = template().globals()["Function"].clone();
    assert_eq!(globals["LoggingConfig"]["ApplicationLogLevel"], "TRACE");
    assert_eq!(globals["Environment"]["Variables"]["LOG_LEVEL"], json!({"Ref": "LogLevel"}));
}

#[test]
fn every_function_has_a_role_of_its_own_and_a_log_of_its_own() {
    for (name, function) in of_type("AWS::Serverless::Function") {
        let stem = name.trim_end_matches("Function");
        assert_eq!(function["Role"], json!({"Fn::GetAtt": [format!("{stem}Role"), "Arn"]}), "{name}");
        assert!(function.get("Policies").is_none(), "{name}: SAM would add account-wide policies");
        assert_eq!(function["LoggingConfig"]["LogGroup"], json!({"Ref": format!("{stem}Logs")}), "{name}");
        let logging: Vec<Value> = statements(&format!("{stem}Role"))
            .into_iter()
            .filter(|statement| texts(&statement["Action"]).iter().any(|action| action.starts_with("logs:")))
            .collect();
        let [own] = &logging[..] else { panic!("{name} has {logging:?}") };
        assert_eq!(texts(&own["Action"]), ["logs:CreateLogStream", "logs:PutLogEvents"], "{name}");
        assert_eq!(own["Resource"], json!({"Fn::GetAtt": [format!("{stem}Logs"), "Arn"]}), "{name} writes to another function's log");
        assert_eq!(function["AutoPublishAliasAllProperties"], true, "{name}");
        assert!(function["ReservedConcurrentExecutions"]["Fn::If"].is_array(), "{name}");
        let role = &template().resources()[&format!("{stem}Role")]["Properties"].clone();
        assert_eq!(role["ManagedPolicyArns"], json!([{"Ref": "Traces"}]), "{name}");
        let trusted = &role["AssumeRolePolicyDocument"]["Statement"]["Principal"];
        assert_eq!(*trusted, json!({"Service": "lambda.amazonaws.com"}), "{name}");
    }
    for (name, policy) in of_type("AWS::IAM::ManagedPolicy") {
        for statement in list(&policy["PolicyDocument"]["Statement"]) {
            assert!(texts(&statement["Action"]).iter().all(|action| action.starts_with("xray:")), "{name} is shared by all functions");
        }
    }
    for (name, group) in of_type("AWS::Logs::LogGroup") {
        assert!(!group["RetentionInDays"].is_null(), "{name} keeps everything for ever");
    }
}

#[test]
fn session_keys_are_replaced_by_the_rotator_which_does_nothing_else() {
    assert_eq!(may("secretsmanager:GetSecretValue", &json!({"Ref": "SigningSecret"})), ["AuthRole"]);
    for verb in ["PutSecretValue", "UpdateSecretVersionStage", "DescribeSecret"] {
        assert_eq!(may(&format!("secretsmanager:{verb}"), &json!({"Ref": "SigningSecret"})), ["RotatorRole"]);
    }
    assert_eq!(may("secretsmanager:PutSecretValue", &json!({"Ref": "JwksSecret"})), ["RotatorRole"]);
    assert_eq!(
        may("secretsmanager:GetSecretValue", &json!({"Ref": "JwksSecret"})),
        [
            "AgencyRole",
            "AudienceRole",
            "AuthRole",
            "CampaignsRole",
            "ComplianceRole",
            "ContactsRole",
            "InboxRole",
            "InsightsRole",
            "KeysRole",
            "MessagesRole",
            "ProjectsRole",
            "RotatorRole",
            "TemplatesRole",
            "TenantsRole",
            "WebhooksRole",
            "WorkspacesRole"
        ]
    );
    assert_eq!(with_variable("SIGNING_SECRET_ID"), ["auth", "rotator"]);
    assert_eq!(with_variable("DEMO_SECRET_ID"), ["auth"]);
    // Only these two secrets, nothing of the table, no queue. Only its own schedule invokes it.
    let all: BTreeSet<String> = statements("RotatorRole").iter().flat_map(|statement| texts(&statement["Action"])).collect();
    assert!(all.iter().all(|action| action.starts_with("secretsmanager:") || action.starts_with("logs:")), "{all:?}");
    let events = template().resources()["RotatorFunction"]["Properties"]["Events"].clone();
    assert!(events.as_object().expect("events").values().all(|event| event["Type"] == "ScheduleV2"), "{events}");
}

/// A function that is taken over can open only what it needs itself.
#[test]
fn derived_keys_are_for_those_who_use_them() {
    let uses: [(&str, &[&str]); 6] = [
        ("Vault", &["FanoutRole", "OperatorRole", "TenantsRole", "WebhooksRole"]),
        ("Links", &["AuthRole", "CourierRole"]),
        (
            "Cursors",
            &[
                "AgencyRole",
                "AudienceRole",
                "AuthRole",
                "CampaignsRole",
                "ComplianceRole",
                "ContactsRole",
                "InboxRole",
                "InsightsRole",
                "KeysRole",
                "MessagesRole",
                "ProjectsRole",
                "TemplatesRole",
                "TenantsRole",
                "WebhooksRole",
                "WorkspacesRole",
            ],
        ),
        ("Lines", &["MessagesRole", "OperatorRole", "SwitchboardRole"]),
        ("Receipts", &["JanitorRole", "OperatorRole"]),
        ("MailRefs", &["LinksRole", "ReceiverRole", "SenderRole"]),
    ];
    for (purpose, roles) in uses {
        let secret = json!({"Ref": format!("{purpose}Secret")});
        assert_eq!(may("secretsmanager:GetSecretValue", &secret), roles, "{purpose}");
        assert!(may("secretsmanager:PutSecretValue", &secret).is_empty(), "{purpose}");
        let functions: Vec<String> = roles.iter().map(|role| role.trim_end_matches("Role").to_lowercase()).collect();
        let variable = if purpose == "MailRefs" { "MAIL_REFS".to_owned() } else { purpose.to_uppercase() };
        assert_eq!(with_variable(&format!("{variable}_SECRET_ID")), functions, "{purpose}");
        // They also use them: the accessors of these keys are in their code, or in the code for every route.
        let accessors: &[&str] = match purpose {
            "Vault" => &["keys().vault()", ".fingerprints()"],
            "Links" => &["keys().links()"],
            "Lines" => &["keys().lines()", "doors::GatewayCaller"],
            "Receipts" => &["keys().receipts()"],
            // The door and the worker's context read them.
            "MailRefs" => &["keys().mail_refs()", "doors::Recipient", "context.reported(", "context.engaged("],
            // Lists and recorded answers, in shared.
            _ => continue,
        };
        for folder in folders() {
            let uses = sources_of(&format!("functions/{folder}")).iter().any(|text| accessors.iter().any(|name| text.contains(name)));
            assert_eq!(uses, functions.contains(&folder), "{folder} and {purpose}");
        }
    }
    assert!(template().resources().get("RootSecret").is_none());
}

#[test]
fn a_role_reads_exactly_the_secrets_its_function_is_configured_with() {
    for (name, function) in of_type("AWS::Serverless::Function") {
        let role = format!("{}Role", name.trim_end_matches("Function"));
        let mut configured: BTreeSet<String> = BTreeSet::new();
        for (variable, value) in function["Environment"]["Variables"].as_object().into_iter().flatten() {
            if variable.ends_with("_SECRET_ID") && !(role == "RotatorRole" && variable == "SIGNING_SECRET_ID") {
                configured.insert(value.to_string());
            }
        }
        let readable: BTreeSet<String> = statements(&role)
            .iter()
            .filter(|statement| texts(&statement["Action"]).contains(&"secretsmanager:GetSecretValue".to_owned()))
            .flat_map(|statement| list(&statement["Resource"]))
            .map(|resource| resource.to_string())
            .collect();
        assert_eq!(readable, configured, "{role}");
        let together = actions(&role, "secretsmanager:").contains(&"BatchGetSecretValue".to_owned());
        assert_eq!(together, readable.len() > 1, "{role} reads {readable:?}");
    }
}

#[test]
fn queues_and_mail_are_for_those_who_use_them() {
    let stream = ["DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"];
    let counting = ["BatchGetItem", "ConditionCheckItem", "GetItem", "PutItem", "Query", "UpdateItem"];
    assert_eq!(actions("RelayRole", "dynamodb:"), {
        let mut all = [&stream[..], &counting[..]].concat();
        all.sort();
        all
    });
    assert_eq!(with_variable("INGEST_SECRET_ID"), ["insights"]);
    assert_eq!(actions("CourierRole", "dynamodb:"), ["GetItem", "PutItem"]);
    let index = json!({"Fn::Sub": "${Table.Arn}/index/lists"});
    for (role, statement) in all_statements() {
        if list(&statement["Resource"]).contains(&index) {
            assert!(
                [
                    "AudienceRole",
                    "CampaignsRole",
                    "ComplianceRole",
                    "ContactsRole",
                    "FanoutRole",
                    "MessagesRole",
                    "ProjectsRole",
                    "ReceiverRole",
                    "SwitchboardRole",
                    "TemplatesRole",
                    "TenantDataRole"
                ]
                .contains(&role.as_str()),
                "{role}"
            );
            assert_eq!(statement["Action"], "dynamodb:Query");
        }
        if texts(&statement["Action"]).contains(&"sqs:SendMessage".to_owned()) {
            let queues: &[&str] = match role.as_str() {
                "RelayRole" => &[
                    "MailQueue",
                    "CleanupQueue",
                    "CampaignQueue",
                    "SendQueue",
                    "EventQueue",
                    "OtpQueue",
                    "MessageQueue",
                    "BulkQueue",
                    "RelayDeadLetters",
                ],
                "FanoutRole" => &["DeliveryQueue", "SlowDeliveryQueue"],
                "HeraldRole" => &["ResultQueue"],
                "LinksRole" => &["MailEventsQueue"],
                other => panic!("{other} writes to a queue"),
            };
            let queues: Vec<Value> = queues.iter().map(|queue| json!({"Fn::GetAtt": [queue, "Arn"]})).collect();
            assert_eq!(list(&statement["Resource"]), queues);
        }
        if texts(&statement["Action"]).iter().any(|action| action.starts_with("ses:")) {
            assert!(["CourierRole", "SenderRole"].contains(&role.as_str()), "{role}");
            assert_eq!(statement["Action"], "ses:SendEmail");
            assert_eq!(statement["Condition"], json!({"StringEquals": {"ses:FromAddress": {"Ref": "MailFrom"}}}));
        }
        assert!(role == "ReceiverRole" || !texts(&statement["Action"]).iter().any(|action| action.starts_with("s3:")), "{role}");
    }
}

/// It calls whom strangers name.
#[test]
fn the_herald_has_its_two_queues_and_nothing_else() {
    let all: BTreeSet<String> = statements("HeraldRole").iter().flat_map(|statement| texts(&statement["Action"])).collect();
    let logs = ["logs:CreateLogStream", "logs:PutLogEvents"];
    let queues = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"];
    assert_eq!(all, logs.iter().chain(&queues).map(|action| (*action).to_owned()).collect());
    assert_eq!(may("sqs:SendMessage", &json!({"Fn::GetAtt": ["ResultQueue", "Arn"]})), ["HeraldRole"]);
    for queue in ["DeliveryQueue", "SlowDeliveryQueue"] {
        assert_eq!(may("sqs:SendMessage", &json!({"Fn::GetAtt": [queue, "Arn"]})), ["FanoutRole"]);
    }
}

#[test]
fn under_tenant_sessions_no_role_reaches_another_tenant() {
    let keys = |pattern: &str| json!({"dynamodb:LeadingKeys": [pattern]});
    let directory_alone = json!({"Fn::If": [
        "TenantSessions",
        {"ForAllValues:StringLike": keys("G#*"), "Null": {"dynamodb:LeadingKeys": "false"}},
        {"Ref": "AWS::NoValue"},
    ]});
    let table = [json!({"Fn::GetAtt": ["Table", "Arn"]}), json!({"Fn::Sub": "${Table.Arn}/index/lists"})];
    let (mut own, mut tenant_wide) = (BTreeSet::new(), vec![]);
    for (role, statement) in all_statements() {
        if !list(&statement["Resource"]).iter().any(|resource| table.contains(resource)) {
            continue;
        }
        if role != "TenantDataRole" {
            assert_eq!(statement["Condition"], directory_alone, "{role}");
            own.insert(role);
            continue;
        }
        assert_eq!(statement["Condition"]["Null"]["dynamodb:LeadingKeys"], "false", "ForAllValues is true of a request without keys");
        let pattern = statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"][0].as_str().expect("a pattern");
        let reads = texts(&statement["Action"]).iter().any(|action| !action.ends_with("Item") || action.contains("Get"));
        match pattern {
            "T#${aws:PrincipalTag/tenant}#*" => {}
            "G#*" | "T#${aws:PrincipalTag/partner}#*" => {
                assert!(!reads, "{statement}");
                assert_eq!(
                    statement["Condition"]["ForAnyValue:StringEquals"],
                    json!({"dynamodb:EnclosingOperation": ["TransactWriteItems"]})
                );
            }
            other => panic!("{other} is no tenant's"),
        }
        tenant_wide.push(pattern.to_owned());
    }
    assert_eq!(tenant_wide.len(), 4);
    // Functions with a door to tenants' data may assume the tenants' role and tag the session, and no others: mails are in the directory.
    let doors: BTreeSet<String> = own.iter().filter(|role| *role != "CourierRole").cloned().collect();
    let trusted = &template().resources()["TenantDataRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"].clone();
    let trusted: BTreeSet<String> =
        list(&trusted["Principal"]["AWS"]).iter().map(|role| role["Fn::GetAtt"][0].as_str().unwrap_or_default().to_owned()).collect();
    let attached = &template().resources()["AssumeTenantData"]["Properties"]["Roles"].clone();
    let attached: BTreeSet<String> = list(attached).iter().map(|role| role["Ref"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!((&trusted, &attached), (&doors, &doors));
    assert!(own.contains("CourierRole") && !own.contains("RotatorRole"));
    for (role, statement) in all_statements() {
        let assumes = texts(&statement["Action"]).iter().any(|action| action.starts_with("sts:"));
        assert!(!assumes || role == "AssumeTenantData", "{role} assumes a role by a policy of its own");
    }
}

#[test]
fn every_queue_that_is_read_has_dead_letters_and_time_to_be_worked_on() {
    let template = template();
    let queues: HashMap<String, _> = template.queues().expect("queues").into_iter().map(|queue| (queue.arn.clone(), queue)).collect();
    let functions: HashMap<String, _> =
        template.functions().expect("functions").into_iter().map(|function| (function.name.clone(), function)).collect();
    let sources = template.queue_sources().expect("sources");
    assert_eq!(sources.len(), 14);
    let seconds = |arn: &str, name: &str| queues[arn].attributes.get(name).and_then(|value| value.parse::<i64>().ok()).expect("a number");
    for source in &sources {
        assert!(source.report_item_failures, "{} does not report single failures", source.queue);
        let timeout = functions[&source.function].timeout_seconds;
        assert!(seconds(&source.arn, "VisibilityTimeout") >= 6 * timeout, "{}: a message would be handed to two readers", source.queue);
        let dead = queues[&source.arn].dead_letters.as_deref().expect("a dead-letter queue");
        assert!(queues[dead].dead_letters.is_none(), "{} has dead letters of its own", queues[dead].name);
        assert_eq!(seconds(dead, "MessageRetentionPeriod"), 14 * 86_400);
        assert!(seconds(dead, "MessageRetentionPeriod") > seconds(&source.arn, "MessageRetentionPeriod"));
        let policy: Value = serde_json::from_str(&queues[&source.arn].attributes["RedrivePolicy"]).expect("JSON");
        assert_eq!(policy["maxReceiveCount"].to_string().trim_matches('"'), "5", "{}", source.queue);
    }
    // An answer that the carrier does not take is given up at its last delivery.
    let replies = queues.values().find(|queue| queue.logical_id == "SendQueue").expect("a queue");
    assert!(4 * seconds(&replies.arn, "VisibilityTimeout") >= records::message::Message::PATIENCE.as_secs());
    let read: BTreeSet<&str> = sources.iter().map(|source| source.arn.as_str()).collect();
    let dead: BTreeSet<&str> = queues.values().filter_map(|queue| queue.dead_letters.as_deref()).collect();
    let streams = template.stream_sources().expect("streams");
    let set_aside: BTreeSet<&str> = streams.iter().filter_map(|source| source.on_failure.as_deref()).collect();
    for queue in queues.values() {
        let arn = queue.arn.as_str();
        assert!(read.contains(arn) || dead.contains(arn) || set_aside.contains(arn), "nobody reads {}", queue.name);
    }
    for (name, queue) in of_type("AWS::SQS::Queue") {
        assert_eq!(queue["SqsManagedSseEnabled"], true, "{name}");
        let is_dead_letters = queue.get("RedrivePolicy").is_none();
        let alarmed = of_type("AWS::CloudWatch::Alarm").into_iter().any(|(_, alarm)| {
            alarm["Dimensions"][0]["Value"] == json!({"Fn::GetAtt": [name, "QueueName"]})
                && alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
                && alarm["Threshold"] == 0
        });
        assert!(!is_dead_letters || alarmed, "messages in {name} alarm nobody");
    }
}

#[test]
fn queues_and_alarms_are_encrypted_at_rest_and_on_the_way() {
    let plain = json!({"Bool": {"aws:SecureTransport": "false"}});
    let denies_plain = |policy: &Value, action: &str| {
        let statements = list(&policy["PolicyDocument"]["Statement"]);
        let denied = statements.into_iter().find(|statement| statement["Effect"] == "Deny").expect("a refusal");
        assert_eq!((&denied["Principal"], &denied["Action"], &denied["Condition"]), (&json!("*"), &json!(action), &plain));
    };
    // A queue has one policy: the last one that is set.
    let mut covered: Vec<String> = vec![];
    for (_, policy) in of_type("AWS::SQS::QueuePolicy") {
        denies_plain(&policy, "sqs:*");
        covered.extend(list(&policy["Queues"]).iter().map(|queue| queue["Ref"].as_str().unwrap_or_default().to_owned()));
    }
    covered.sort();
    let mut queues: Vec<String> = of_type("AWS::SQS::Queue").into_iter().map(|(name, _)| name).collect();
    queues.sort();
    assert_eq!(covered, queues);

    let publishers = [
        ("Alarm", "AlarmKey", "cloudwatch.amazonaws.com"),
        ("MailEvents", "MailEventsKey", "ses.amazonaws.com"),
        ("Inbound", "MailEventsKey", "ses.amazonaws.com"),
        ("MessageNotices", "MailEventsKey", "sms-voice.amazonaws.com"),
    ];
    let topics: BTreeSet<String> = of_type("AWS::SNS::Topic").into_iter().map(|(name, _)| name).collect();
    assert_eq!(topics, publishers.iter().map(|(stem, ..)| format!("{stem}Topic")).collect());
    for (stem, key, service) in publishers {
        let properties = |name: &str| template().resources()[&format!("{stem}{name}")]["Properties"].clone();
        let own_key = json!({"Ref": key});
        assert_eq!(properties("Topic")["KmsMasterKeyId"], own_key, "{stem}: with a key of AWS's own {service} could not publish");
        let policy = properties("TopicPolicy");
        assert_eq!(policy["Topics"], json!([{"Ref": format!("{stem}Topic")}]));
        denies_plain(&policy, "sns:Publish");
        let this_account = json!({"Ref": "AWS::AccountId"});
        let publishing = &policy["PolicyDocument"]["Statement"][0];
        assert_eq!((&publishing["Principal"], &publishing["Action"]), (&json!({"Service": service}), &json!("sns:Publish")));
        assert_eq!(publishing["Condition"]["StringEquals"]["aws:SourceAccount"], this_account);
        assert!(publishing["Condition"].to_string().contains("aws:SourceArn"), "{stem}");
        let key = template().resources()[key]["Properties"].clone();
        assert_eq!(key["EnableKeyRotation"], true);
        let using = list(&key["KeyPolicy"]["Statement"]);
        let using = using.iter().find(|statement| statement["Principal"]["Service"] == service).expect("the publisher uses the key");
        assert_eq!(texts(&using["Action"]), ["kms:Decrypt", "kms:GenerateDataKey*"]);
        assert_eq!(using["Condition"], json!({"StringEquals": {"aws:SourceAccount": this_account}}));
    }
    for name in ["AlarmKey", "AlarmTopic", "AlarmTopicPolicy"] {
        assert_eq!(template().resources()[name]["Condition"], "HasAlarmEmail", "{name}");
    }
}

#[test]
fn reports_of_ses_reach_their_queue_and_nobody_else_puts_anything_there() {
    let reports = template().mail_reports().expect("a configuration set with a destination").expect("it is on");
    assert_eq!(reports.queue, "tenantry-local-MailEventsQueue");
    assert_eq!(reports.kinds, ["bounce", "complaint", "delivery", "deliveryDelay", "reject"].map(str::to_owned).into());
    let policy = template().resources()["MailEventsQueuePolicy"]["Properties"].clone();
    let statements = list(&policy["PolicyDocument"]["Statement"]);
    let allowing: Vec<&Value> = statements.iter().filter(|statement| statement["Effect"] == "Allow").collect();
    let [topic] = allowing[..] else { panic!("one statement that allows: {allowing:?}") };
    assert_eq!((&topic["Principal"], &topic["Action"]), (&json!({"Service": "sns.amazonaws.com"}), &json!("sqs:SendMessage")));
    assert_eq!(topic["Condition"], json!({"ArnEquals": {"aws:SourceArn": {"Ref": "MailEventsTopic"}}}));
    // SES tries to publish when the destination is made, which the policy must already allow.
    assert_eq!(template().resources()["MailEventsDestination"]["DependsOn"], "MailEventsTopicPolicy");
    let publishing = template().resources()["MailEventsTopicPolicy"]["Properties"]["PolicyDocument"]["Statement"][0].clone();
    let set = publishing["Condition"]["StringEquals"]["aws:SourceArn"]["Fn::Sub"].as_str().expect("an ARN").to_owned();
    assert!(set.ends_with(":configuration-set/${MailConfigurationSet}"), "{set}");
}

#[test]
fn notices_of_aws_end_user_messaging_reach_their_queue_and_nobody_else_puts_anything_there() {
    let notices = template().message_notices().expect("a configuration set with a destination").expect("it is on");
    assert_eq!(notices.queue, "tenantry-local-MessageNoticesQueue");
    let policy = template().resources()["MessageNoticesQueuePolicy"]["Properties"].clone();
    let statements = list(&policy["PolicyDocument"]["Statement"]);
    let allowing: Vec<&Value> = statements.iter().filter(|statement| statement["Effect"] == "Allow").collect();
    let [topic] = allowing[..] else { panic!("one statement that allows: {allowing:?}") };
    assert_eq!((&topic["Principal"], &topic["Action"]), (&json!({"Service": "sns.amazonaws.com"}), &json!("sqs:SendMessage")));
    assert_eq!(topic["Condition"], json!({"ArnEquals": {"aws:SourceArn": {"Ref": "MessageNoticesTopic"}}}));
    assert_eq!(template().resources()["MessageConfigurationSet"]["DependsOn"], "MessageNoticesTopicPolicy");
    assert_eq!(actions("SwitchboardRole", "sms-voice:"), ["SendTextMessage"]);
    assert_eq!(with_variable("MESSAGE_CONFIGURATION_SET"), ["switchboard"]);
}

#[test]
fn inbound_mails_are_stored_where_the_receiver_alone_reads_them() {
    assert_eq!(template().mail_reception().expect("no rule"), None, "without a domain nothing is received");
    let received = template().with_parameter("InboundDomain", "in.example.com").mail_reception().expect("a rule").expect("it is on");
    assert_eq!(received.recipients, ["in.example.com"]);
    let place = (received.bucket.as_str(), received.prefix.as_str(), received.queue.as_str());
    assert_eq!(place, ("tenantry-local-inboundmails", "", "tenantry-local-InboundQueue"));
    let properties = |name: &str| template().resources()[name]["Properties"].clone();

    let bucket = properties("InboundMails");
    let closed = bucket["PublicAccessBlockConfiguration"].as_object().expect("a block of public access").clone();
    assert!(closed.len() == 4 && closed.values().all(|closed| *closed == true), "{closed:?}");
    assert_eq!(bucket["OwnershipControls"]["Rules"][0]["ObjectOwnership"], "BucketOwnerEnforced");
    assert_eq!(bucket["LifecycleConfiguration"]["Rules"][0]["ExpirationInDays"], 90);
    let encryption = &bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]["ServerSideEncryptionByDefault"];
    assert_eq!(encryption["SSEAlgorithm"], "AES256");
    let resource = template().resources()["InboundMails"].clone();
    assert_eq!((&resource["DeletionPolicy"], &resource["UpdateReplacePolicy"]), (&json!("Retain"), &json!("Retain")));

    // Only the rule of this stack stores, publishes and queues.
    let rule = "arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}:receipt-rule-set/${AWS::StackName}-inbound:receipt-rule/store";
    let by_the_rule = json!({"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}, "aws:SourceArn": {"Fn::Sub": rule}}});
    assert_eq!(properties("ReceiptRuleSet")["RuleSetName"], json!({"Fn::Sub": "${AWS::StackName}-inbound"}));
    assert_eq!(properties("ReceiptRule")["Rule"]["Name"], "store");
    for (policy, action) in [("InboundMailsPolicy", "s3:PutObject"), ("InboundTopicPolicy", "sns:Publish")] {
        let statements = list(&properties(policy)["PolicyDocument"]["Statement"]);
        let allowing: Vec<&Value> = statements.iter().filter(|statement| statement["Effect"] == "Allow").collect();
        let [one] = allowing[..] else { panic!("{policy}: {allowing:?}") };
        assert_eq!((&one["Principal"], &one["Action"]), (&json!({"Service": "ses.amazonaws.com"}), &json!(action)));
        assert_eq!(one["Condition"], by_the_rule, "{policy}");
        let refusing = statements.iter().find(|statement| statement["Effect"] == "Deny").expect("a refusal");
        assert_eq!(refusing["Condition"], json!({"Bool": {"aws:SecureTransport": "false"}}), "{policy}");
    }
    let queueing = list(&properties("InboundQueuePolicy")["PolicyDocument"]["Statement"])[0].clone();
    assert_eq!(queueing["Condition"], json!({"ArnEquals": {"aws:SourceArn": {"Ref": "InboundTopic"}}}));
    // SES tries both when the rule is made.
    assert_eq!(template().resources()["ReceiptRule"]["DependsOn"], json!(["InboundMailsPolicy", "InboundTopicPolicy"]));
    for name in ["ReceiptRule", "ReceiptRuleSet"] {
        assert_eq!(template().resources()[name]["Condition"], "HasInboundDomain");
    }
    assert_eq!(properties("ReceiptRule")["Rule"]["ScanEnabled"], true);

    assert_eq!(may("s3:GetObject", &json!({"Fn::Sub": "${InboundMails.Arn}/*"})), ["ReceiverRole"]);
    assert_eq!(actions("ReceiverRole", "s3:"), ["GetObject", "ListBucket"]);
    assert_eq!(with_variable("INBOUND_BUCKET"), ["receiver"]);
}

#[test]
fn a_poisoned_stream_record_is_set_aside() {
    let sources = template().stream_sources().expect("streams");
    let [source] = &sources[..] else { panic!("one reader of the stream") };
    assert_eq!(source.function, "relay");
    assert!(source.report_item_failures && source.bisect);
    assert_eq!((source.retries, source.maximum_age_seconds), (Some(5), Some(3600)));
    assert!(source.on_failure.as_deref().is_some_and(|arn| arn.contains("RelayDeadLetters")), "{:?}", source.on_failure);
    let written = &template().resources()["RelayFunction"]["Properties"]["Events"]["Stream"]["Properties"].clone();
    assert_eq!(written["StartingPosition"], "TRIM_HORIZON");
}

#[test]
fn the_table_survives_mistakes() {
    let resources = template();
    let table = &resources.resources()["Table"];
    let properties = &table["Properties"];
    assert_eq!(properties["DeletionProtectionEnabled"], true);
    assert_eq!(properties["PointInTimeRecoverySpecification"], json!({"PointInTimeRecoveryEnabled": true}));
    assert_eq!(properties["SSESpecification"], json!({"SSEEnabled": true}));
    assert_eq!(properties["BillingMode"], "PAY_PER_REQUEST");
    assert_eq!(properties["TimeToLiveSpecification"], json!({"AttributeName": "ttl", "Enabled": true}));
    assert_eq!(properties["StreamSpecification"], json!({"StreamViewType": "NEW_AND_OLD_IMAGES"}));
    let derived_from = ["VaultSecret", "LinksSecret", "CursorsSecret", "ReceiptsSecret"];
    for name in ["Table", "SigningSecret", "JwksSecret", "IngestSecret", "MailRefsSecret"].into_iter().chain(derived_from) {
        let resource = &resources.resources()[name];
        assert_eq!((&resource["DeletionPolicy"], &resource["UpdateReplacePolicy"]), (&json!("Retain"), &json!("Retain")), "{name}");
    }
    for name in derived_from {
        let secret = &resources.resources()[name];
        assert_eq!(secret["Properties"]["GenerateSecretString"]["PasswordLength"], 64);
        // Data from before the four secrets opens with the text of the earlier one.
        assert_eq!(secret["Metadata"]["SplitFrom"], "RootSecret");
    }
    assert_eq!(resources.resources()["MailRefsSecret"]["Properties"]["GenerateSecretString"]["PasswordLength"], 64);
    assert_eq!(resources.resources()["SigningSecret"]["Properties"]["SecretString"], "{}");
    assert_eq!(resources.resources()["JwksSecret"]["Properties"]["SecretString"], "{\"keys\":[]}");
}

#[test]
fn the_index_holds_what_lists_sort_and_filter_by_and_no_more() {
    let table = template().resources()["Table"]["Properties"].clone();
    let indexes = table["GlobalSecondaryIndexes"].as_array().expect("indexes");
    let [index] = &indexes[..] else { panic!("one index") };
    assert_eq!(index["IndexName"], "lists");
    assert_eq!(index["KeySchema"], json!([{"AttributeName": "lpk", "KeyType": "HASH"}, {"AttributeName": "lsk", "KeyType": "RANGE"}]));
    assert_eq!(index["Projection"]["ProjectionType"], "INCLUDE");
    assert_eq!(index["Projection"]["NonKeyAttributes"], json!(["list_entry"]), "the attribute in which a record keeps its line");
}

#[tokio::test]
async fn an_index_item_lies_in_its_own_tenants_partition() {
    let world = World::new().await;
    let mut indexed = 0;
    for name in ["acme", "globex"] {
        let own = world.tenant(name).await;
        let project = world.project(&own.owner, "One").await;
        world.task(&own.owner, &project, json!({"title": "One"})).await;
    }
    for item in world.items().iter().filter(|item| item.get("lpk").is_some()) {
        assert_eq!((&item["lpk"], &item["lsk"]), (&item["pk"], &item["sk"]));
        let tenant = item["tenant"]["S"].as_str().expect("a tenant's record");
        assert!(item["lpk"]["S"].as_str().is_some_and(|pk| pk.starts_with(&format!("T#{tenant}#"))), "{item}");
        indexed += 1;
    }
    assert!(indexed >= 4, "{indexed}");
}

#[test]
fn every_variable_of_a_function_is_one_the_code_knows() {
    let known: BTreeMap<&str, &[&str]> = BTreeMap::from([
        (
            "auth",
            &[
                "LINKS_SECRET_ID",
                "CURSORS_SECRET_ID",
                "SIGNING_SECRET_ID",
                "JWKS_SECRET_ID",
                "DEMO_SECRET_ID",
                "DEMO_ENABLED",
                "DEMO_PER_HOUR",
                "DEMO_MAX_ACTIVE",
                "DEMO_HOURS",
                "SESSION_DAYS",
                "TENANT_URL",
                "RATE_LIMITS",
                "OIDC_ISSUERS",
            ] as &[&str],
        ),
        ("projects", &["CURSORS_SECRET_ID", "JWKS_SECRET_ID", "RATE_LIMITS", "OIDC_ISSUERS"]),
        ("audience", &["CURSORS_SECRET_ID", "JWKS_SECRET_ID", "RATE_LIMITS", "OIDC_ISSUERS"]),
        ("campaigns", &["CURSORS_SECRET_ID", "JWKS_SECRET_ID", "RATE_LIMITS", "OIDC_ISSUERS"]),
        ("inbox", &["CURSORS_SECRET_ID", "JWKS_SECRET_ID", "RATE_LIMITS", "OIDC_ISSUERS"]),
        ("messages", &["CURSORS_SECRET_ID", "JWKS_SECRET_ID", "LINES_SECRET_ID", "RATE_LIMITS", "OIDC_ISSUERS"]),
        ("contacts", &["CURSORS_SECRET_ID", "JWKS_SECRET_ID", "RATE_LIMITS", "OIDC_ISSUERS"]),
        ("compliance", &["CURSORS_SECRET_ID", "JWKS_SECRET_ID", "RATE_LIMITS", "OIDC_ISSUERS"]),
        ("templates", &["CURSORS_SECRET_ID", "JWKS_SECRET_ID", "RATE_LIMITS", "OIDC_ISSUERS"]),
        ("workspaces", &["CURSORS_SECRET_ID", "JWKS_SECRET_ID", "RATE_LIMITS", "OIDC_ISSUERS"]),
        (
            "tenants",
            &[
                "VAULT_SECRET_ID",
                "CURSORS_SECRET_ID",
                "JWKS_SECRET_ID",
                "RATE_LIMITS",
                "OIDC_ISSUERS",
                "EDGE_DOMAIN",
                "DOMAIN_TARGET",
                "DNS_RESOLVERS",
            ],
        ),
        ("keys", &["CURSORS_SECRET_ID", "JWKS_SECRET_ID", "RATE_LIMITS", "OIDC_ISSUERS"]),
        ("insights", &["CURSORS_SECRET_ID", "JWKS_SECRET_ID", "INGEST_SECRET_ID", "PRICES", "RATE_LIMITS", "OIDC_ISSUERS"]),
        ("agency", &["CURSORS_SECRET_ID", "JWKS_SECRET_ID", "RATE_LIMITS", "OIDC_ISSUERS"]),
        ("links", &["MAIL_REFS_SECRET_ID", "MAIL_EVENTS_QUEUE_URL", "RATE_LIMITS"]),
        (
            "relay",
            &[
                "MAIL_QUEUE_URL",
                "CLEANUP_QUEUE_URL",
                "CAMPAIGN_QUEUE_URL",
                "SEND_QUEUE_URL",
                "OTP_QUEUE_URL",
                "MESSAGE_QUEUE_URL",
                "BULK_QUEUE_URL",
                "EVENT_QUEUE_URL",
            ],
        ),
        ("switchboard", &["LINES_SECRET_ID", "MESSAGE_CONFIGURATION_SET", "MESSAGE_NOTICES_QUEUE_ARN"]),
        ("webhooks", &["VAULT_SECRET_ID", "CURSORS_SECRET_ID", "JWKS_SECRET_ID", "RATE_LIMITS", "OIDC_ISSUERS", "WEBHOOK_ALLOWED_HOSTS"]),
        ("fanout", &["VAULT_SECRET_ID", "DELIVERY_QUEUE_URL", "SLOW_DELIVERY_QUEUE_URL", "RESULT_QUEUE_ARN", "WEBHOOK_ALLOWED_HOSTS"]),
        ("herald", &["RESULT_QUEUE_URL", "WEBHOOK_ALLOWED_HOSTS"]),
        (
            "sender",
            &[
                "MAIL_REFS_SECRET_ID",
                "MAIL_FROM",
                "SES_PER_SECOND",
                "NEW_TENANT_DAILY",
                "MAIL_CONFIGURATION_SET",
                "MAIL_EVENTS_QUEUE_ARN",
                "INBOUND_DOMAIN",
            ],
        ),
        ("receiver", &["MAIL_REFS_SECRET_ID", "INBOUND_DOMAIN", "INBOUND_BUCKET", "INBOUND_QUEUE_ARN"]),
        ("courier", &["LINKS_SECRET_ID", "MAIL_FROM"]),
        (
            "janitor",
            &[
                "RECEIPTS_SECRET_ID",
                "DEMO_ENABLED",
                "DEMO_PER_HOUR",
                "DEMO_MAX_ACTIVE",
                "DEMO_HOURS",
                "EDGE_DOMAIN",
                "DOMAIN_TARGET",
                "DNS_RESOLVERS",
            ],
        ),
        ("rotator", &["SIGNING_SECRET_ID", "JWKS_SECRET_ID", "SESSION_DAYS"]),
        ("operator", &["VAULT_SECRET_ID", "RECEIPTS_SECRET_ID", "LINES_SECRET_ID"]),
    ]);
    let source: String = sources_of("shared").into_iter().chain(sources_of("functions")).collect();
    let functions = template().functions().expect("functions");
    assert_eq!(functions.iter().map(|function| function.name.clone()).collect::<BTreeSet<_>>(), folders());
    for function in functions {
        let mut expected: BTreeSet<String> = known[function.name.as_str()].iter().map(|name| (*name).to_owned()).collect();
        expected.extend(["TABLE_NAME", "STAGE", "PUBLIC_URL", "LOG_LEVEL"].map(str::to_owned));
        let given: BTreeSet<String> = function.environment.keys().cloned().collect();
        assert_eq!(given, expected, "{}", function.name);
        for name in &given {
            assert!(source.contains(&format!("\"{name}\"")), "nothing reads {name}, which {} is given", function.name);
        }
        if let Some(limits) = function.environment.get("RATE_LIMITS") {
            assert_eq!(limits, "enforce", "{}", function.name);
        }
        // The deployed environment is a valid configuration, in every stage that the template allows and in no other.
        for stage in ["dev", "prod"] {
            let mut variables: HashMap<String, String> = function.environment.clone().into_iter().collect();
            variables.insert("STAGE".into(), stage.into());
            let config = Config::read(&Variables(variables)).unwrap_or_else(|error| panic!("{} in {stage}: {error}", function.name));
            assert!(config.limits.enforce);
            assert_eq!(
                (config.session_days, config.demo.hours, config.demo.max_active, config.limits.demo),
                (7, 48, 100, 3),
                "{}",
                function.name
            );
        }
    }
}

#[test]
fn http_functions_end_before_the_gateway_gives_up() {
    for function in template().functions().expect("functions") {
        let is_http = template().routes().expect("routes").iter().any(|route| route.function == function.name);
        assert!(!is_http || function.timeout_seconds < 30, "{}", function.name);
    }
    let globals = template().globals()["Function"].clone();
    assert_eq!((&globals["Runtime"], &globals["Handler"]), (&json!("provided.al2023"), &json!("bootstrap")));
}

#[test]
fn access_logs_hold_no_query_and_no_header() {
    let api = template().resources()["HttpApi"]["Properties"].clone();
    let format = api["AccessLogSettings"]["Format"].as_str().expect("a format").to_owned();
    for leaking in ["$context.path", "$context.requestOverride", "queryString", "header", "authorizer", "$input", "authorization"] {
        assert!(!format.to_lowercase().contains(&leaking.to_lowercase()), "access logs hold {leaking}");
    }
    let line: Value = serde_json::from_str(&format).expect("a line of the access log is JSON");
    assert_eq!(line["request_id"], "$context.requestId");
}

#[test]
fn pages_of_other_origins_are_named_by_the_deployment_or_there_are_none() {
    assert_eq!(template().cors().expect("cors"), None);
    let origins = "https://app.example.com,http://localhost:5173";
    let cors = template().with_parameter("CorsOrigins", origins).cors().expect("cors").expect("origins were given");
    assert_eq!(cors.allow_origins, ["https://app.example.com", "http://localhost:5173"]);
    assert_eq!(cors.allow_methods, ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]);
    assert!(!cors.allow_credentials, "no cookie is a credential");
    assert_eq!(cors.max_age, Some(7200));
    let allowed = BTreeSet::from([
        "accept",
        "authorization",
        "content-type",
        "idempotency-key",
        "if-match",
        "if-none-match",
        "x-api-key",
        "x-subaccount-id",
        "x-tenant-id",
        "x-workspace-id",
    ]);
    assert_eq!(cors.allow_headers.iter().map(String::as_str).collect::<BTreeSet<_>>(), allowed);
    let exposed = BTreeSet::from([
        "ETag",
        "Idempotency-Replayed",
        "Link",
        "RateLimit",
        "RateLimit-Policy",
        "Retry-After",
        "X-RateLimit-Limit",
        "X-RateLimit-Remaining",
        "X-RateLimit-Reset",
        "x-request-id",
        "x-workspace-id",
    ]);
    assert_eq!(cors.expose_headers.iter().map(String::as_str).collect::<BTreeSet<_>>(), exposed);
}

#[test]
fn what_strangers_may_ask_at_most_cost_has_a_throttle_of_its_own() {
    let throttles = template().throttles().expect("throttles");
    let all = throttles.default.expect("a throttle of the whole API");
    assert_eq!((all.rate, all.burst), (500, 1000));
    assert_eq!(throttles.routes.keys().collect::<Vec<_>>(), ["ANY /api/v1/auth/{proxy+}", "ANY /api/v1/demo"]);
    for (key, own) in &throttles.routes {
        assert!(own.rate < all.rate && own.burst < all.burst, "{key}");
        let known = template().routes().expect("routes").into_iter().any(|route| format!("{} {}", route.method, route.path) == *key);
        assert!(known, "{key} is no route: API Gateway would refuse the stage");
    }
    let changed = template().with_parameter("AuthThrottlingRate", "7").with_parameter("DemoThrottlingBurst", "8").throttles();
    let changed = changed.expect("throttles").routes;
    assert_eq!((changed["ANY /api/v1/auth/{proxy+}"].rate, changed["ANY /api/v1/demo"].burst), (7, 8));
    // Not throttled separately by default: a route with its own settings does not use those of the API.
    for settings in template().resources()["HttpApi"]["Properties"]["RouteSettings"].as_object().expect("settings").values() {
        assert_eq!(settings["DetailedMetricsEnabled"], true);
    }
}

#[test]
fn each_function_of_the_api_has_one_permission_and_no_other_function_has_any() {
    let routed: BTreeSet<String> = template().routes().expect("routes").into_iter().map(|route| route.function).collect();
    let mut permitted = BTreeSet::new();
    for (name, permission) in of_type("AWS::Lambda::Permission") {
        let function = permission["FunctionName"]["Ref"].as_str().and_then(|name| name.strip_suffix("Function.Alias")).expect("an alias");
        assert_eq!(name, format!("{function}Permission"));
        assert_eq!(permission["Principal"], "apigateway.amazonaws.com");
        let source = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${HttpApi}/*";
        assert_eq!(permission["SourceArn"], json!({"Fn::Sub": source}), "{name}");
        assert!(permitted.insert(function.to_lowercase()), "{name} is there twice");
    }
    assert_eq!(permitted, routed);
}

#[test]
fn samconfig_gives_parameters_that_there_are_and_production_the_second_wall() {
    let config = std::fs::read_to_string(root().join("samconfig.toml")).expect("samconfig.toml");
    let source = std::fs::read_to_string(root().join("template.yaml")).expect("template.yaml");
    let parameters = source.split("\nParameters:\n").nth(1).and_then(|rest| rest.split("\nConditions:\n").next()).expect("parameters");
    let (dev, prod) = config.split_once("[prod.").expect("two environments");
    for environment in [dev, prod] {
        let overrides = environment.split("parameter_overrides = [").nth(1).and_then(|rest| rest.split("\n]").next()).expect("overrides");
        for line in overrides.lines().map(str::trim).filter(|line| line.starts_with('"')) {
            let (name, _) = line.trim_matches(['"', ',']).split_once('=').expect("name and value");
            assert!(
                parameters.contains(&format!("\n  {name}:")) || parameters.starts_with(&format!("  {name}:")),
                "there is no parameter {name}"
            );
        }
    }
    assert!(prod.contains("\"TenantCredentials=session\"") && prod.contains("\"Stage=prod\""));
    assert!(prod.contains("\"AuthConcurrency="), "logins have their share of the concurrency, and no more");
}

#[test]
fn beside_a_domain_the_api_has_no_second_address() {
    let api = template().resources()["HttpApi"]["Properties"].clone();
    assert_eq!(api["DisableExecuteApiEndpoint"], json!({"Fn::If": ["HasDomain", true, false]}));
    for resource in ["ApiDomain", "ApiDomainMapping"] {
        assert_eq!(template().resources()[resource]["Condition"], "HasDomain");
    }
}

#[test]
fn alarms_reach_somebody_and_schedules_bear_the_stacks_name() {
    let alarms = of_type("AWS::CloudWatch::Alarm");
    // An alarm on a sum pays for each metric of it.
    let metrics: usize = alarms.iter().map(|(_, alarm)| alarm.to_string().matches("\"MetricName\"").count()).sum();
    let cents = metrics * 10;
    let row = format!("| {} alarms, which watch {metrics} metrics | 0.10 a metric | {}.{:02} |", alarms.len(), cents / 100, cents % 100);
    let cost = std::fs::read_to_string("../docs/cost.md").expect("docs/cost.md");
    assert!(cost.contains(&row), "docs/cost.md says otherwise than {row}");
    for (name, alarm) in alarms {
        assert!(alarm.to_string().matches("\"MetricName\"").count() <= 10, "{name}: an alarm on a sum takes at most ten metrics");
        assert_eq!(alarm["AlarmActions"]["Fn::If"][0], "HasAlarmEmail", "{name}");
        assert_eq!(alarm["TreatMissingData"], "notBreaching", "{name}");
    }
    for (name, function) in of_type("AWS::Serverless::Function") {
        for (event, declared) in function["Events"].as_object().into_iter().flatten().filter(|(_, event)| event["Type"] == "ScheduleV2") {
            let text = declared["Properties"]["Name"]["Fn::Sub"].as_str().unwrap_or_default();
            assert!(text.starts_with("${AWS::StackName}-"), "{name}.{event}");
        }
    }
}

#[test]
fn every_sample_event_belongs_to_a_function_and_the_samples_are_complete() {
    let mut per_function: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (function, name, event) in events() {
        assert!(folders().contains(&function), "{name} belongs to no function");
        per_function.entry(function).or_default().push(event);
    }
    assert_eq!(per_function.keys().cloned().collect::<BTreeSet<_>>(), folders(), "a function without a sample event");
    let commands: BTreeSet<&str> = per_function["operator"].iter().filter_map(|event| event["command"].as_str()).collect();
    let source = std::fs::read_to_string(root().join("functions/operator/src/lib.rs")).expect("the operator");
    let variants = source.split("enum Command {").nth(1).and_then(|rest| rest.split("\n}").next()).expect("its commands");
    let variants = variants.lines().map(str::trim).filter(|line| line.chars().next().is_some_and(char::is_uppercase)).count();
    assert_eq!(commands.len(), variants, "{commands:?}");
    let scheduled = template().schedules().expect("schedules");
    for schedule in &scheduled {
        assert!(per_function[&schedule.function].contains(&schedule.input), "no sample event is {}", schedule.input);
    }
    for function in ["janitor", "rotator"] {
        for event in &per_function[function] {
            let known = scheduled.iter().any(|schedule| schedule.function == function && schedule.input == *event);
            assert!(event.get("Records").is_some() || known, "no schedule sends {event} to {function}");
        }
    }
}

fn folders() -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join("functions")).expect("functions/");
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn manifest(function: &str) -> String {
    std::fs::read_to_string(root().join("functions").join(function).join("Cargo.toml")).expect("a manifest")
}

/// All Rust source below a folder.
fn sources_of(folder: &str) -> Vec<String> {
    let (mut found, mut folders) = (vec![], vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(std::fs::read_to_string(path).expect("a source file"));
            }
        }
    }
    found
}

/// Function, file and content of each sample event.
pub fn events() -> Vec<(String, String, Value)> {
    let mut found = vec![];
    for folder in std::fs::read_dir(root().join("events")).expect("events/").filter_map(Result::ok) {
        for file in std::fs::read_dir(folder.path()).expect("a folder").filter_map(Result::ok) {
            let name = format!("events/{}/{}", folder.file_name().to_string_lossy(), file.file_name().to_string_lossy());
            let text = std::fs::read_to_string(file.path()).expect("an event");
            let event = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            found.push((folder.file_name().to_string_lossy().into_owned(), name, event));
        }
    }
    found
}

/// Names and properties of the resources of a type, as written.
fn of_type(kind: &str) -> Vec<(String, Value)> {
    let template = template();
    let found = template.resources().iter().filter(|(_, resource)| resource["Type"] == kind);
    found.map(|(name, resource)| (name.clone(), resource["Properties"].clone())).collect()
}

fn statements(role: &str) -> Vec<Value> {
    let template = template();
    let policies = list(&template.resources()[role]["Properties"]["Policies"]);
    policies.iter().flat_map(|policy| list(&policy["PolicyDocument"]["Statement"])).collect()
}

/// Every statement that grants something to a function, with the name of its role or policy.
fn all_statements() -> Vec<(String, Value)> {
    let of_roles = of_type("AWS::IAM::Role")
        .into_iter()
        .flat_map(|(role, _)| statements(&role).into_iter().map(move |statement| (role.clone(), statement)));
    let of_policies = of_type("AWS::IAM::ManagedPolicy").into_iter().flat_map(|(name, policy)| {
        list(&policy["PolicyDocument"]["Statement"]).into_iter().map(move |statement| (name.clone(), statement))
    });
    let of_attached = of_type("AWS::IAM::Policy").into_iter().flat_map(|(name, policy)| {
        list(&policy["PolicyDocument"]["Statement"]).into_iter().map(move |statement| (name.clone(), statement))
    });
    of_roles.chain(of_policies).chain(of_attached).collect()
}

/// The roles that may perform an action on a resource.
fn may(action: &str, resource: &Value) -> Vec<String> {
    let allowed: BTreeSet<String> = all_statements()
        .into_iter()
        .filter(|(_, statement)| {
            texts(&statement["Action"]).iter().any(|allowed| allowed == action) && list(&statement["Resource"]).contains(resource)
        })
        .map(|(role, _)| role)
        .collect();
    allowed.into_iter().collect()
}

fn actions(role: &str, service: &str) -> Vec<String> {
    let verbs: BTreeSet<String> = statements(role)
        .iter()
        .flat_map(|statement| texts(&statement["Action"]))
        .filter_map(|action| action.strip_prefix(service).map(str::to_owned))
        .collect();
    verbs.into_iter().collect()
}

fn with_variable(name: &str) -> Vec<String> {
    let functions = template().functions().expect("functions");
    let with = functions.into_iter().filter(|function| function.environment.contains_key(name)).map(|function| function.name);
    with.collect::<BTreeSet<_>>().into_iter().collect()
}

fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.clone(),
        Value::Null => vec![],
        other => vec![other.clone()],
    }
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}
