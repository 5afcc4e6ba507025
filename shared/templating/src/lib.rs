//! Mails: links in their HTML, and the text part made of it. No I/O, no clock, no randomness.

mod links;
mod text;

pub use links::{Link, harmless, rewrite_links};
pub use text::html_to_text;
