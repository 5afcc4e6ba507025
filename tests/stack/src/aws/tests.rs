//! An ordinary AWS SDK uses the embedded services. What was acknowledged is still there after a restart that looks like a kill.

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;

use super::*;

struct Clients {
    table: aws_sdk_dynamodb::Client,
    secrets: aws_sdk_secretsmanager::Client,
    queues: aws_sdk_sqs::Client,
    objects: aws_sdk_s3::Client,
}

fn template() -> Template {
    Template::parse(include_str!("../../testdata/template.yaml")).unwrap()
}

fn clients(aws: &Aws) -> Clients {
    clients_with(aws, aws_credential_types::Credentials::new("local", "local", None, None, "local"))
}

fn clients_with(aws: &Aws, credentials: aws_credential_types::Credentials) -> Clients {
    let credentials = || credentials.clone();
    let http = aws_smithy_http_client::Builder::new().build_http();
    let table = aws_sdk_dynamodb::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_dynamodb::config::Region::new(REGION))
        .credentials_provider(credentials())
        .http_client(http.clone())
        .endpoint_url(aws.dynamodb_url())
        .build();
    let secrets = aws_sdk_secretsmanager::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_secretsmanager::config::Region::new(REGION))
        .credentials_provider(credentials())
        .http_client(http.clone())
        .endpoint_url(aws.secrets_manager_url())
        .build();
    let queues = aws_sdk_sqs::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_sqs::config::Region::new(REGION))
        .credentials_provider(credentials())
        .http_client(http.clone())
        .endpoint_url(aws.sqs_url())
        .build();
    let objects = aws_sdk_s3::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_s3::config::Region::new(REGION))
        .credentials_provider(credentials())
        .http_client(http)
        .endpoint_url(aws.s3_url())
        .force_path_style(true)
        .build();
    Clients {
        table: aws_sdk_dynamodb::Client::from_conf(table),
        secrets: aws_sdk_secretsmanager::Client::from_conf(secrets),
        queues: aws_sdk_sqs::Client::from_conf(queues),
        objects: aws_sdk_s3::Client::from_conf(objects),
    }
}

fn queue_url(aws: &Aws) -> String {
    let template = template().with_queue_url_base(&aws.sqs_url());
    template.queues().unwrap().into_iter().find(|queue| queue.logical_id == "MailQueue").unwrap().url
}

const TABLE: &str = "tenantry-local-Table";
const QUEUE: &str = "tenantry-local-MailQueue";
const BUCKET: &str = "tenantry-local-mails";

#[tokio::test]
async fn a_stock_sdk_drives_all_four() {
    let aws = Aws::start(Storage::Memory).unwrap();
    aws.create(&template()).await.unwrap();
    let clients = clients(&aws);

    let item = |key: &str| AttributeValue::S(key.to_owned());
    clients.table.put_item().table_name(TABLE).item("pk", item("T#1")).item("sk", item("a")).send().await.unwrap();
    let got = clients.table.get_item().table_name(TABLE).key("pk", item("T#1")).key("sk", item("a")).send().await.unwrap();
    assert!(got.item.is_some());

    let root = clients.secrets.get_secret_value().secret_id("tenantry-local/root").send().await.unwrap();
    assert_eq!(root.secret_string.unwrap().len(), 64);
    let empty = clients.secrets.get_secret_value().secret_id("tenantry-local-EmptySecret").send().await.unwrap_err();
    assert_eq!(empty.code(), Some("ResourceNotFoundException"));
    let put = |stage: &'static str, value: &'static str| {
        let call = clients.secrets.put_secret_value().secret_id("tenantry-local-EmptySecret");
        call.version_stages(stage).secret_string(value).send()
    };
    put("AWSCURRENT", "one").await.unwrap();
    put("AWSPENDING", "two").await.unwrap();
    let at = |stage: &'static str| clients.secrets.get_secret_value().secret_id("tenantry-local-EmptySecret").version_stage(stage).send();
    assert_eq!(at("AWSCURRENT").await.unwrap().secret_string.as_deref(), Some("one"));
    assert_eq!(at("AWSPENDING").await.unwrap().secret_string.as_deref(), Some("two"));

    let url = queue_url(&aws);
    clients.queues.send_message().queue_url(&url).message_body("hello").message_group_id("tenant").send().await.unwrap();
    let received = clients.queues.receive_message().queue_url(&url).send().await.unwrap();
    let [message] = received.messages() else { panic!("{received:?}") };
    assert_eq!(message.body(), Some("hello"));
    clients.queues.delete_message().queue_url(&url).receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
    assert_eq!(aws.queues().depth(QUEUE).unwrap(), queues::Depth::default());

    // Larger than what other services take, and with a key that is written otherwise in an address.
    let (key, content) = ("mails/a b+c~é.eml", vec![7u8; 3 * 1024 * 1024]);
    let put = clients.objects.put_object().bucket(BUCKET).key(key).content_type("message/rfc822");
    put.body(content.clone().into()).send().await.unwrap();
    let got = clients.objects.get_object().bucket(BUCKET).key(key).send().await.unwrap();
    assert_eq!((got.content_type(), got.content_length()), (Some("message/rfc822"), Some(content.len() as i64)));
    assert!(got.body.collect().await.unwrap().to_vec() == content);
    assert_eq!((aws.objects().keys(BUCKET).unwrap(), aws.objects().get(BUCKET, key).unwrap()), (vec![key.to_owned()], Some(content)));
    clients.objects.delete_object().bucket(BUCKET).key(key).send().await.unwrap();
    let gone = clients.objects.get_object().bucket(BUCKET).key(key).send().await.unwrap_err();
    assert!(gone.as_service_error().unwrap().is_no_such_key(), "{gone:?}");
    assert_eq!(aws.objects().get(BUCKET, key).unwrap(), None);
    let elsewhere = clients.objects.put_object().bucket("another").key("a").body(vec![1].into()).send().await.unwrap_err();
    assert_eq!(elsewhere.code(), Some("NoSuchBucket"));
    // What is not played here says so.
    let tagged = clients.objects.put_bucket_versioning().bucket(BUCKET);
    assert!(tagged.versioning_configuration(aws_sdk_s3::types::VersioningConfiguration::builder().build()).send().await.is_err());
}

#[tokio::test]
async fn everything_acknowledged_is_there_again() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::Disk(directory.path().join("data"));
    // Forgotten, not dropped, so that nothing can clean up, as with SIGKILL.
    let aws = std::mem::ManuallyDrop::new(Aws::start(storage.clone()).unwrap());
    aws.create(&template()).await.unwrap();
    let before = clients(&aws);
    let item = |key: &str| AttributeValue::S(key.to_owned());
    before.table.put_item().table_name(TABLE).item("pk", item("T#1")).item("sk", item("a")).send().await.unwrap();
    before.secrets.put_secret_value().secret_id("tenantry-local-EmptySecret").secret_string("kept").send().await.unwrap();
    let url = queue_url(&aws);
    for body in ["one", "two", "three"] {
        before.queues.send_message().queue_url(&url).message_body(body).message_group_id("tenant-1").send().await.unwrap();
    }
    before.objects.put_object().bucket(BUCKET).key("a/b").body(b"one".to_vec().into()).send().await.unwrap();
    before.objects.put_object().bucket(BUCKET).key("c").body(b"two".to_vec().into()).send().await.unwrap();
    before.objects.delete_object().bucket(BUCKET).key("c").send().await.unwrap();
    // One message is done, one was received, and one is untouched.
    let received = aws.queues().receive(QUEUE, 2).unwrap();
    aws.queues().delete(QUEUE, &received[0].receipt_handle).unwrap();
    let root = aws.secret_values().await["tenantry-local/root"].clone();

    let again = Aws::start(storage).unwrap();
    again.create(&template()).await.unwrap();
    assert_eq!(again.items(TABLE).unwrap().len(), 1);
    let values = again.secret_values().await;
    assert_eq!(values["tenantry-local-EmptySecret"].as_deref(), Some("kept"));
    assert_eq!(values["tenantry-local/root"], root);
    let object = clients(&again).objects.get_object().bucket(BUCKET).key("a/b").send().await.unwrap();
    assert_eq!(object.body.collect().await.unwrap().to_vec(), b"one");
    assert_eq!(again.objects().keys(BUCKET).unwrap(), ["a/b"]);
    let left = again.queues().receive(QUEUE, 10).unwrap();
    let left: Vec<(&str, u32, Option<&str>)> =
        left.iter().map(|message| (message.body.as_str(), message.receive_count, message.group.as_deref())).collect();
    assert_eq!(left, [("two", 2, Some("tenant-1")), ("three", 1, Some("tenant-1"))]);
}

/// Older data was sealed with the text of the one secret from which the others were split.
#[tokio::test]
async fn a_secret_that_was_split_off_starts_with_the_text_of_the_former_one() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::Disk(directory.path().join("data"));
    let of = |secrets: &str| Template::parse(&format!("Resources: {{ {secrets} }}")).unwrap();
    let secret = |name: &str, metadata: &str| {
        format!("{name}: {{ Type: 'AWS::SecretsManager::Secret', {metadata} Properties: {{ GenerateSecretString: {{}} }} }}")
    };
    let split = format!("{}, {}", secret("One", "Metadata: { SplitFrom: Root },"), secret("Two", "Metadata: { SplitFrom: Root },"));
    let root = {
        let aws = Aws::start(storage.clone()).unwrap();
        aws.create(&of(&secret("Root", ""))).await.unwrap();
        aws.secret_values().await["tenantry-local-Root"].clone().unwrap()
    };
    let aws = Aws::start(storage).unwrap();
    aws.create(&of(&split)).await.unwrap();
    let values = aws.secret_values().await;
    for name in ["tenantry-local-One", "tenantry-local-Two", "tenantry-local-Root"] {
        assert_eq!(values[name].as_ref(), Some(&root), "{name}");
    }
    // Without older data, each is a separate secret.
    let fresh = Aws::start(Storage::Memory).unwrap();
    fresh.create(&of(&split)).await.unwrap();
    let values = fresh.secret_values().await;
    assert!(values["tenantry-local-One"].is_some() && values["tenantry-local-One"] != values["tenantry-local-Two"]);
}

#[tokio::test]
async fn another_definition_of_a_table_on_disk_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::Disk(directory.path().to_owned());
    Aws::start(storage.clone()).unwrap().create(&template()).await.unwrap();
    let other = include_str!("../../testdata/template.yaml").replace("IndexName: lists", "IndexName: others");
    let error = Aws::start(storage).unwrap().create(&Template::parse(&other).unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("another definition"), "{error}");
}

#[tokio::test]
async fn dead_letters_are_moved_back_by_a_move_task() {
    let aws = Aws::start(Storage::Memory).unwrap();
    aws.create(&template()).await.unwrap();
    aws.queues().send(QUEUE, "poison", Some("t")).unwrap();
    for _ in 0..4 {
        aws.queues().receive(QUEUE, 1).unwrap();
        aws.queues().skip_waiting(QUEUE);
    }
    let letters = "tenantry-local-MailDeadLetters";
    assert_eq!(aws.queues().depth(letters).unwrap().visible, 1);
    let source = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{letters}");
    clients(&aws).queues.start_message_move_task().source_arn(source).send().await.unwrap();
    assert_eq!(aws.queues().depth(letters).unwrap().visible, 0);
    let back = aws.queues().receive(QUEUE, 1).unwrap();
    assert_eq!((back[0].receive_count, back[0].group.as_deref()), (1, Some("t")));
}

#[tokio::test]
async fn items_past_their_ttl_are_swept() {
    let aws = Aws::start(Storage::Memory).unwrap();
    aws.create(&template()).await.unwrap();
    let clients = clients(&aws);
    let item = |key: &str| AttributeValue::S(key.to_owned());
    for (key, ttl) in [("old", "1000"), ("new", "99999999999")] {
        let put = clients.table.put_item().table_name(TABLE).item("pk", item("T#1")).item("sk", item(key));
        put.item("ttl", AttributeValue::N(ttl.to_owned())).send().await.unwrap();
    }
    assert_eq!(aws.sweep_ttl().unwrap(), 1);
    assert_eq!(aws.items(TABLE).unwrap().len(), 1);
}

#[test]
fn a_write_does_not_read_the_whole_stream() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table.sqlite3");
    for path in [path.to_str().unwrap(), "file:a-stream?mode=memory&cache=shared"] {
        let _open = open_table(path).unwrap();
        let beside = rusqlite::Connection::open(path).unwrap();
        for asked in ["MAX(CAST(sequence_number AS INTEGER))", "id"] {
            let sql = format!(
                "EXPLAIN QUERY PLAN SELECT {asked} FROM _stream_records WHERE table_name = 'T' AND CAST(sequence_number AS INTEGER) > 7 \
                 ORDER BY CAST(sequence_number AS INTEGER) ASC LIMIT 9"
            );
            let plan: String = beside.query_row(&sql, [], |row| row.get("detail")).unwrap();
            assert!(plan.contains("stream_sequence"), "{plan}");
        }
        let sql =
            "EXPLAIN QUERY PLAN SELECT COALESCE(MAX(CAST(sequence_number AS INTEGER)), 0) + 1 FROM _stream_records WHERE table_name = ?1";
        let plan: String = beside.query_row(sql, ["T"], |row| row.get("detail")).unwrap();
        assert!(plan.contains("stream_sequence"), "{plan}");
    }
}

#[tokio::test]
async fn no_web_page_and_no_guessed_key_gets_an_answer() {
    let aws = Aws::start(Storage::Memory).unwrap();
    aws.require_signatures();
    aws.create(&template()).await.unwrap();
    let strangers = clients(&aws);
    assert!(strangers.table.list_tables().send().await.is_err());
    assert!(strangers.secrets.list_secrets().send().await.is_err());
    assert!(strangers.queues.list_queues().send().await.is_err());
    assert!(strangers.objects.list_buckets().send().await.is_err());
    let environment = aws.environment();
    let secret = |changed: bool| if changed { "another".to_owned() } else { environment["AWS_SECRET_ACCESS_KEY"].clone() };
    for changed in [true, false] {
        let token = Some(environment["AWS_SESSION_TOKEN"].clone());
        let credentials = aws_credential_types::Credentials::new(&environment["AWS_ACCESS_KEY_ID"], secret(changed), token, None, "local");
        let known = clients_with(&aws, credentials);
        assert_eq!(known.table.list_tables().send().await.is_err(), changed);
        assert_eq!(known.secrets.list_secrets().send().await.is_err(), changed);
        assert_eq!(known.queues.list_queues().send().await.is_err(), changed);
        let put = known.objects.put_object().bucket(BUCKET).key("a b/c").body(b"x".to_vec().into()).send().await;
        assert_eq!(put.is_err(), changed, "{put:?}");
        assert_eq!(known.objects.get_object().bucket(BUCKET).key("a b/c").send().await.is_err(), changed);
    }
    // What a page can send by itself: with its origin, or with a host name that resolves to this machine.
    for url in [aws.dynamodb_url(), aws.secrets_manager_url()] {
        for headers in
            ["origin: https://evil.example\r\nhost: 127.0.0.1", "sec-fetch-site: cross-site\r\nhost: 127.0.0.1", "host: evil.example"]
        {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut stream = tokio::net::TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
            let request = format!("POST / HTTP/1.1\r\n{headers}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut heard = String::new();
            stream.read_to_string(&mut heard).await.unwrap();
            let status: u16 = heard.split(' ').nth(1).unwrap().parse().unwrap();
            assert!(matches!(status, 403 | 421), "{heard}");
            assert!(!heard.to_lowercase().contains("access-control"), "{heard}");
        }
    }
}
