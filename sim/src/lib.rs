//! The simulator of tidegate.
//!
//! [`model`] is a pure HAProxy, [`reference`] a second reading of the Ingress rules. [`small`] visits
//! every state of a small world; [`swarm`] runs schedules of changes and faults for hours; [`network`]
//! runs tidegate as it is, with its adapters, on a simulated network. [`regressions`] are the schedules
//! that failed once, [`cells`] what is judged under which fault.
#![forbid(unsafe_code)]

pub mod build;
pub mod cells;
pub mod dice;
pub mod hash;
pub mod model;
pub mod network;
pub mod reference;
pub mod regressions;
pub mod small;
pub mod swarm;
