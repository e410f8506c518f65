//! Exhaustive in the small: every interleaving of changes, answers, lost answers and a crash in a
//! world of two hosts, two Services with two endpoints each, and one certificate.
//!
//! [`world`] says what there is, [`lab`] what is the same for all states, [`moves`] what can happen,
//! [`state`] how it goes on (with `stepped` and `flight`, which states share), [`judge`] what must
//! hold; [`explore`] goes everywhere, and `calm` from there to quiet.

mod calm;
pub mod explore;
mod flight;
pub mod judge;
pub mod lab;
pub mod moves;
pub mod state;
mod stepped;
pub mod world;
