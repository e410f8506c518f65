//! Stories of a cluster: what is listed, what is absent, which Secrets are asked for.

mod common;

#[path = "cluster/absence.rs"]
mod absence;
#[path = "cluster/lists.rs"]
mod lists;
#[path = "cluster/memory.rs"]
mod memory;
#[path = "cluster/nodes.rs"]
mod nodes;
#[path = "cluster/secrets.rs"]
mod secrets;
