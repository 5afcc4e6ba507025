//! No code: a package that asks for the features which all packages of the workspace together ask for. Cargo unites features over the packages
//! that are built, so with this one below each of them, `cargo build -p projects` is made of the crates that a build of all has compiled.
