//! The Ingress conformance suite on a folder of manifests, by real requests to each HAProxy.

#[path = "../common/mod.rs"]
mod common;
mod suite;

use common::rig::Rig;

on_each_haproxy!(conformance);

fn conformance(version: &'static str) {
    suite::run(Rig::new(version), |_| {});
}
