//! An ordinary AWS SDK uses the embedded services. What was acknowledged is still there after a restart that looks like a kill.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{SendMessageBatchRequestEntry, builders::SendMessageBatchRequestEntryBuilder};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::*;

struct Clients {
    table: aws_sdk_dynamodb::Client,
    secrets: aws_sdk_secretsmanager::Client,
    queues: aws_sdk_sqs::Client,
    objects: Objects,
}

/// Signed requests to the embedded S3. Its SDK takes longer to compile than all others together, and no function has it.
struct Objects {
    url: String,
    credentials: Credentials,
}

impl Objects {
    async fn put(&self, path: &str, content: &[u8]) -> (u16, Vec<u8>) {
        self.ask("PUT", path, content).await
    }

    async fn get(&self, path: &str) -> (u16, Vec<u8>) {
        self.ask("GET", path, b"").await
    }

    async fn delete(&self, path: &str) -> (u16, Vec<u8>) {
        self.ask("DELETE", path, b"").await
    }

    /// Status and body of the answer.
    async fn ask(&self, method: &str, path: &str, content: &[u8]) -> (u16, Vec<u8>) {
        let url = format!("{}/{path}", self.url);
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder().identity(&identity).region(REGION).name("s3").time(SystemTime::now());
        let params = params.settings(settings).build().unwrap().into();
        let signable = SignableRequest::new(method, &url, std::iter::empty(), SignableBody::Bytes(content)).unwrap();
        let (signature, _) = sign(signable, &params).unwrap().into_parts();
        let body = Full::new(bytes::Bytes::copy_from_slice(content));
        let mut request = http::Request::builder().method(method).uri(&url).body(body).unwrap();
        signature.apply_to_request_http1x(&mut request);
        let answer = Client::builder(TokioExecutor::new()).build_http().request(request).await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
    }
}

fn template() -> Template {
    Template::parse(include_str!("../../testdata/template.yaml")).unwrap()
}

fn clients(aws: &Aws) -> Clients {
    clients_with(aws, Credentials::new("local", "local", None, None, "local"))
}

fn clients_with(aws: &Aws, credentials: Credentials) -> Clients {
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
        .http_client(http)
        .endpoint_url(aws.sqs_url())
        .build();
    Clients {
        table: aws_sdk_dynamodb::Client::from_conf(table),
        secrets: aws_sdk_secretsmanager::Client::from_conf(secrets),
        queues: aws_sdk_sqs::Client::from_conf(queues),
        objects: Objects { url: aws.s3_url(), credentials: credentials() },
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
async fn stock_clients_drive_all_four() {
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
    let path = format!("{BUCKET}/mails/a%20b%2Bc~%C3%A9.eml");
    assert_eq!(clients.objects.put(&path, &content).await.0, 200);
    assert!(clients.objects.get(&path).await == (200, content.clone()));
    assert_eq!((aws.objects().keys(BUCKET).unwrap(), aws.objects().get(BUCKET, key).unwrap()), (vec![key.to_owned()], Some(content)));
    assert_eq!(clients.objects.delete(&path).await.0, 204);
    let says = |(status, body): (u16, Vec<u8>), code: &str| {
        let body = String::from_utf8(body).unwrap();
        assert!(status >= 400 && body.contains(&format!("<Code>{code}</Code>")), "{status} {body}");
    };
    says(clients.objects.get(&path).await, "NoSuchKey");
    assert_eq!(aws.objects().get(BUCKET, key).unwrap(), None);
    says(clients.objects.put("another/a", b"1").await, "NoSuchBucket");
    // What is not played here says so.
    let (status, body) = clients.objects.put(&format!("{BUCKET}?versioning"), b"<VersioningConfiguration/>").await;
    assert!(status >= 400, "{status} {}", String::from_utf8_lossy(&body));
}

#[tokio::test]
async fn messages_of_a_batch_are_taken_or_refused_each_by_itself() {
    let aws = Aws::start(Storage::Memory).unwrap();
    aws.create(&template()).await.unwrap();
    let (queues, url) = (clients(&aws).queues, queue_url(&aws));
    let entry = |id: &str, body: &str| SendMessageBatchRequestEntry::builder().id(id).message_body(body);
    let sending = |entries: Vec<SendMessageBatchRequestEntryBuilder>| {
        let entries = entries.into_iter().map(|entry| entry.build().unwrap()).collect();
        queues.send_message_batch().queue_url(&url).set_entries(Some(entries)).send()
    };
    aws.queues().refuse("two", 1);
    let entries = vec![
        entry("a", "one").message_group_id("tenant"),
        entry("b", "two"),
        entry("c", "three").delay_seconds(901),
        entry("d", ""),
        entry("e", "\u{1}"),
        entry("f", "later").delay_seconds(900),
    ];
    let answer = sending(entries).await.unwrap();
    let taken: Vec<&str> = answer.successful().iter().map(|taken| taken.id()).collect();
    let mut failed: Vec<(&str, &str, bool)> =
        answer.failed().iter().map(|failed| (failed.id(), failed.code(), failed.sender_fault())).collect();
    failed.sort_unstable();
    let expected = [
        ("b", "InternalError", false),
        ("c", "InvalidParameterValue", true),
        ("d", "MissingParameter", true),
        ("e", "InvalidMessageContents", true),
    ];
    assert_eq!((taken, failed), (vec!["a", "f"], expected.to_vec()));
    let kept: Vec<(String, Option<String>)> =
        aws.queues().peek(QUEUE).unwrap().into_iter().map(|message| (message.body, message.group)).collect();
    assert_eq!(kept, [("one".to_owned(), Some("tenant".to_owned())), ("later".to_owned(), None)]);
    assert_eq!(aws.queues().depth(QUEUE).unwrap(), queues::Depth { visible: 1, hidden: 1 });
    // Asked again, it is taken.
    assert!(sending(vec![entry("b", "two")]).await.unwrap().failed().is_empty());

    let many = (0..11).map(|number| entry(&number.to_string(), "x")).collect();
    let large = (0..2).map(|number| entry(&number.to_string(), &"x".repeat(600 * 1024))).collect();
    let refused = [
        (vec![], "AWS.SimpleQueueService.EmptyBatchRequest"),
        (many, "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"),
        (vec![entry("a", "x"), entry("a", "y")], "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"),
        (vec![entry("a b", "x")], "AWS.SimpleQueueService.InvalidBatchEntryId"),
        (large, "AWS.SimpleQueueService.BatchRequestTooLong"),
    ];
    for (entries, code) in refused {
        assert_eq!(sending(entries).await.unwrap_err().code(), Some(code));
    }
    assert_eq!(aws.queues().peek(QUEUE).unwrap().len(), 3);
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
    let (kept, gone) = (format!("{BUCKET}/a/b"), format!("{BUCKET}/c"));
    assert_eq!((before.objects.put(&kept, b"one").await.0, before.objects.put(&gone, b"two").await.0), (200, 200));
    assert_eq!(before.objects.delete(&gone).await.0, 204);
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
    assert_eq!(clients(&again).objects.get(&kept).await, (200, b"one".to_vec()));
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
    assert_eq!(strangers.objects.get("").await.0, 403);
    let environment = aws.environment();
    let secret = |changed: bool| if changed { "another".to_owned() } else { environment["AWS_SECRET_ACCESS_KEY"].clone() };
    for changed in [true, false] {
        let token = Some(environment["AWS_SESSION_TOKEN"].clone());
        let credentials = Credentials::new(&environment["AWS_ACCESS_KEY_ID"], secret(changed), token, None, "local");
        let known = clients_with(&aws, credentials);
        assert_eq!(known.table.list_tables().send().await.is_err(), changed);
        assert_eq!(known.secrets.list_secrets().send().await.is_err(), changed);
        assert_eq!(known.queues.list_queues().send().await.is_err(), changed);
        let path = format!("{BUCKET}/a%20b/c");
        let expected = if changed { 403 } else { 200 };
        assert_eq!((known.objects.put(&path, b"x").await.0, known.objects.get(&path).await.0), (expected, expected));
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
