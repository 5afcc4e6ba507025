//! End-to-end tests in one binary: HTTP-shaped events into the real functions, on the embedded AWS of `stack`.

mod credentials;
mod derived;
mod dns;
mod documented;
mod domains;
mod identity;
mod isolation;
mod limits;
mod projects;
mod properties;
mod races;
mod template;
mod workers;
mod world;
