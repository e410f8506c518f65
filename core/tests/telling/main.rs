//! Stories of telling: what is written to the API server, when, and how often.

#[path = "../common/mod.rs"]
mod common;
mod drive;
mod notices;
mod replicas;
mod status;
