//! End-to-end tests in one binary: HTTP-shaped events into the real functions, on the embedded AWS of `stack`.

mod accounts;
mod agency;
mod audit;
mod billing;
mod credentials;
mod current;
mod derived;
mod dns;
mod documented;
mod domains;
mod identity;
mod insights;
mod isolation;
mod keys;
mod lifecycle;
mod limits;
mod projects;
mod properties;
mod races;
mod samples;
mod second_wall;
mod secrets;
mod template;
mod tenants;
mod workers;
mod world;
