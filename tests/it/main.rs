//! End-to-end tests in one binary: HTTP-shaped events into the real functions, on the embedded AWS of `stack`.

mod agency;
mod audit;
mod credentials;
mod derived;
mod documented;
mod identity;
mod insights;
mod isolation;
mod keys;
mod limits;
mod projects;
mod properties;
mod races;
mod template;
mod workers;
mod world;
