//! The simulator of tidegate.
//!
//! [`model`] is a pure HAProxy, [`reference`] a second reading of the Ingress rules.
#![forbid(unsafe_code)]

pub mod model;
pub mod reference;
