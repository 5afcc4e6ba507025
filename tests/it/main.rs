//! End-to-end tests in one binary: HTTP-shaped events into the real functions, on the embedded AWS of `stack`.

mod credentials;
mod current;
mod derived;
mod documented;
mod identity;
mod isolation;
mod keys;
mod lifecycle;
mod limits;
mod projects;
mod properties;
mod races;
mod template;
mod workers;
mod world;
