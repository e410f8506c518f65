//! Exhaustive in the small: every interleaving of changes, answers, lost answers and a crash in a
//! world of two hosts, two Services with two endpoints each, and one certificate.
//!
//! [`world`] says what there is, [`state`] what can happen, [`judge`] what must hold, [`explore`]
//! goes everywhere.

pub mod explore;
pub mod judge;
pub mod state;
pub mod world;
