//! Properties of `tidegate-core`: promises that hold for any cluster, any order of events and any
//! conduct of the proxy, tried on generated cases.
//!
//! - [`arb`]: generators of objects, of values (hostile ones too) and of what happens.
//! - [`oracle`]: naive second readings: where a request should go, and a tiny HAProxy.
//! - [`cluster`]: replicas and a model of an API server.
//! - [`drive`]: runs a controller against the tiny HAProxy; [`judge`] says what was wrong.
//! - [`properties`]: the promises, each a function of one case.
//! - [`run`]: how many cases, from which seed, what a failure shows.
//!
//! `tests/` has one file per promise. `TIDEGATE_CASES=10 cargo test -p tidegate-proptests` runs ten
//! times as many cases; `TIDEGATE_SEED` picks others.

pub mod arb;
pub mod cluster;
pub mod drive;
pub mod judge;
pub mod oracle;
pub mod properties;
pub mod run;
