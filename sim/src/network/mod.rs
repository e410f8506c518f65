//! Tier 1: tidegate as it is, with its real adapters, on a simulated network with a simulated API
//! server, HAProxy, disk and clock.
//!
//! [`schedule`] is what happens, [`generate`] makes schedules from seeds, [`occasions`] those that seeds
//! seldom come upon, [`own`] those for manifests that somebody has. [`run`] goes through one and
//! [`faults`] does what it says, on the [`hosts`] of a network; what stays broken is [`forever`].
//! [`world`] has what is simulated: the API server ([`api`]) speaks the HTTP of lists and watches, and
//! for each [`replica`] HAProxy ([`proxy`]) its runtime and master CLI, the disk is [`files`], and what
//! a power loss leaves of it [`power`]. [`ports`] hands them to
//! tidegate through its seams. [`judge`] has the promises of each replica, [`reloads`] those about how
//! often it is reloaded, [`writers`] those about what is written to the API server, [`scrape`] that about metrics, [`versions`] that about
//! older versions of objects, [`load`] that about the load on the API server, [`cells`] which of
//! them must be judged under which fault, [`manifest`] the objects, [`outcomes`] what a run amounts to,
//! [`shrink`] makes a failing schedule small, [`cli`] its part of the command line.

pub mod api;
pub mod cells;
pub mod cli;
pub mod fault;
pub mod faults;
pub mod files;
pub mod forever;
pub mod generate;
pub mod hosts;
pub mod judge;
pub mod load;
pub mod manifest;
pub mod occasions;
pub mod outcomes;
pub mod own;
pub mod ports;
pub mod power;
pub mod proxy;
pub mod reloads;
pub mod replica;
pub mod run;
pub mod schedule;
pub mod scrape;
pub mod shrink;
pub mod versions;
pub mod world;
pub mod writers;

/// tidegate's state folder.
pub const STATE_DIR: &str = "/state";

/// The address that the status of Ingresses says.
pub const PUBLISHED: &str = "192.0.2.1";
