//! The isolation tests alone, for working on them.

mod credentials;
mod derived;
mod isolation;
mod template;
mod world;
