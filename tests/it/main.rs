//! End-to-end tests in one binary: HTTP-shaped events into the real functions, on the embedded AWS of `stack`.


mod derived;
mod documented;
mod projects;
mod world;
