//! tidegate on a real cluster: etcd and kube-apiserver in a network namespace of the test's own.
//!
//! Needs root, `ip`, and what `deploy/kube/build.sh` builds; fails without them, and says so. Each
//! test has a control plane for itself.

mod bed;
#[path = "../common/mod.rs"]
mod common;
mod conformance;
mod custom;
mod emptied;
mod faults;
mod moving;
mod recorded;
mod replicas;
mod rights;
mod rolling;
mod scopes;
#[path = "../conformance/suite/mod.rs"]
mod suite;
mod the_bed;
mod town;
mod transcript;
mod upgrade;
mod watching;
