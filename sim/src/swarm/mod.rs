//! Tier 0: the controller and the model of HAProxy through schedules of changes and faults, many
//! simulated hours in a minute.
//!
//! [`schedule`] is what happens, [`generate`] makes schedules from seeds, [`run`] goes through
//! one, [`cluster`] knows what is true and what is wanted, [`judge`] has the promises, [`shrink`]
//! makes a failing schedule small, [`cells`] what must be judged under which fault, [`timeline`] draws it, [`scenario`] has those of known failures.

pub mod cells;
pub mod changes;
pub mod cluster;
pub mod generate;
pub mod judge;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod shrink;
pub mod timeline;

use tidegate_core::capability::Capabilities;

/// The abilities of a tier by its letter.
///
/// # Errors
/// Another letter.
pub fn tier(name: &str) -> Result<Capabilities, String> {
    match name {
        "A" => Ok(Capabilities::tier_a()),
        "B" => Ok(Capabilities::tier_b()),
        "C" => Ok(Capabilities::tier_c()),
        _ => Err(format!("no tier {name}; there are A, B and C")),
    }
}
