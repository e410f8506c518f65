//! Tier 1: tidegate as it is, with its real adapters, on a simulated network with a simulated API
//! server, HAProxy, disk and clock.
//!
//! [`schedule`] is what happens, [`generate`] makes schedules from seeds, [`run`] goes through one.
//! [`world`] has what is simulated: the API server ([`api`]) speaks the HTTP of lists and watches,
//! HAProxy ([`proxy`]) its runtime and master CLI, the disk is [`files`], and what
//! a power loss leaves of it [`power`]. [`ports`] hands them to
//! tidegate through its seams. [`judge`] has the promises, [`manifest`] the objects, [`shrink`] makes
//! a failing schedule small, [`cli`] its part of the command line.

pub mod api;
pub mod cli;
pub mod files;
pub mod generate;
pub mod judge;
pub mod manifest;
pub mod ports;
pub mod power;
pub mod proxy;
pub mod run;
pub mod schedule;
pub mod shrink;
pub mod world;

/// tidegate's state folder.
pub const STATE_DIR: &str = "/state";

/// The address that the status of Ingresses says.
pub const PUBLISHED: &str = "192.0.2.1";
