//! The local stack: AWS services embedded on loopback, the event sources of `template.yaml` played as AWS does, a mailbox, phones, a
//! catcher of webhooks, and a console.
//! `cargo local` and the tests use the same parts.

pub mod aws;
pub mod catcher;
pub mod client;
pub mod console;
pub mod demo;
pub mod gateway;
pub mod iam;
pub mod journal;
// The same file, and no dependency: what is edited in `shared` shall not compile the stack again.
#[path = "../../../shared/src/lock.rs"]
pub mod lock;
pub mod mailbox;
pub mod phone_lines;
pub mod phones;
pub mod samples;
pub mod sources;
pub mod template;
mod webhook_signature;
