//! What is stored, one file per record: the struct, its key, its states and its pure rules. No I/O, no clock, no randomness.

pub mod answer;
pub mod api_key;
pub mod audit;
pub mod collections;
pub mod deletion;
pub mod demo;
pub mod domain;
pub mod edge;
pub mod edge_config;
pub mod invitation;
pub mod link;
pub mod mail;
pub mod member;
pub mod period;
pub mod plan;
pub mod project;
pub mod session;
pub mod setting;
pub mod subaccount;
pub mod task;
pub mod tenant;
pub mod text;
pub mod time;
pub mod usage;
pub mod user;
pub mod web;
