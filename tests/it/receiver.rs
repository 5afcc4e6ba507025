//! How mails come in, as far as the worker that is told of them: by the bucket and the queue that Amazon SES fills.

use serde_json::{Value, json};
use stack::mailbox::{Envelope, Verdicts};

use crate::template::events;
use crate::workers::{drain, workers};
use crate::world::World;

const QUEUE: &str = "tenantry-local-InboundQueue";
const LETTERS: &str = "tenantry-local-InboundDeadLetters";
const RAW: &[u8] = b"From: Grace <grace@example.org>\r\nTo: <reply+abc@in.example.com>\r\nSubject: Re: Hello\r\n\r\nHello Ada\r\n";

/// What is in a queue, seen or not.
fn depth(world: &World, queue: &str) -> usize {
    let depth = world.aws.queues().depth(queue).expect("the queue");
    depth.visible + depth.hidden
}

/// Puts a mail in, and returns the key of its object.
fn mail(world: &World) -> String {
    let recipients = ["reply+abc@in.example.com"];
    let envelope = Envelope { source: "grace@example.org", recipients: &recipients, verdicts: Verdicts::default() };
    world.aws.mailbox().receive(RAW, &envelope, world.auth.clock().now()).expect("it is received")
}

#[tokio::test]
async fn a_mail_is_fetched_and_its_notice_settled() {
    let (world, workers) = workers().await;
    let bucket = &world.environment("receiver")["INBOUND_BUCKET"];
    let key = mail(&world);
    let stored = world.aws.objects().get(bucket, &key).expect("the bucket").expect("the mail");
    assert!(stored.ends_with(RAW) && stored.starts_with(b"Return-Path: <grace@example.org>\r\n"));
    drain(&world, &workers).await;
    assert_eq!((depth(&world, QUEUE), depth(&world, LETTERS)), (0, 0));
    // One that expired before its notice was read is no work any more.
    let key = mail(&world);
    world.aws.objects().expire(bucket, &key).await.expect("it expires");
    world.aws.queues().send(QUEUE, "Successfully validated SNS topic for Amazon SES event publishing.", None).expect("it is queued");
    drain(&world, &workers).await;
    assert_eq!((depth(&world, QUEUE), depth(&world, LETTERS)), (0, 0));
}

#[tokio::test]
async fn what_is_no_notice_of_our_rule_is_given_up_and_harms_no_other() {
    let (world, workers) = workers().await;
    mail(&world);
    let notice = world.aws.queues().peek(QUEUE).expect("the queue").remove(0).body;
    let mut elsewhere: Value = serde_json::from_str(&notice).expect("JSON");
    elsewhere["receipt"]["action"]["bucketName"] = "another".into();
    for body in [elsewhere.to_string(), "{}".into()] {
        world.aws.queues().send(QUEUE, &body, None).expect("it is queued");
    }
    drain(&world, &workers).await;
    assert_eq!((depth(&world, QUEUE), depth(&world, LETTERS)), (0, 2));
}

#[tokio::test]
async fn batches_of_other_queues_are_refused() {
    let (_world, workers) = workers().await;
    let (_, _, mut event) = events().into_iter().find(|(function, ..)| function == "receiver").expect("a sample");
    assert_eq!(workers.run("receiver", event.clone()).await.expect("it is settled"), json!({"batchItemFailures": []}));
    let empty = workers.run("receiver", json!({"Records": []})).await;
    assert_eq!(empty.expect("it wakes up"), json!({"batchItemFailures": []}));
    event["Records"][0]["eventSourceARN"] = "arn:aws:sqs:us-east-1:123456789012:tenantry-local-SendQueue".into();
    assert!(workers.run("receiver", event).await.is_err());
}
