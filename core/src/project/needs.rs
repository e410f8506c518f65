//! What HAProxy needs of the machine for what is wanted: descriptors for checked servers, and
//! memory. Needs beyond what there is are Problems before HAProxy meets them; nobody is refused for
//! them here, since whom to refuse would be arbitrary.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::capability::Capabilities;
use crate::desired::Desired;
use crate::problem::{Problem, Reason, Severity};
use crate::world::World;
use crate::world::object::{Kind, Name, ObjectRef};

/// Bytes of a worker that serves nobody: code, buffers and a few thousand connections.
const BASE: u64 = 96 << 20;
/// Bytes of a backend, of a server, of a certificate, and of a map entry, as measured on HAProxy 3.4
/// with a few threads, rounded up; older ones need a little more for backends and less for servers.
const BACKEND: u64 = 5_000;
const SERVER: u64 = 6_500;
const CERTIFICATE: u64 = 27_000;
const ENTRY: u64 = 400;
/// Bytes of a certificate for the listener of HTTP/3, as each listener has its own.
const CERTIFICATE_QUIC: u64 = 18_000;
/// Needs are told in steps of so many bytes, so that one more server is not another Problem.
const STEP: u64 = 64 << 20;

/// Whether checks have to be off for want of descriptors, and the Problems.
pub fn excess(
    capabilities: &Capabilities,
    desired: &Desired,
    world: &World,
) -> (bool, Vec<Problem>) {
    let config = world.settings().config_map.clone();
    let name = config.unwrap_or_else(|| Name::new("", "tidegate"));
    let object = ObjectRef { kind: Kind::ConfigMap, name };
    let checks = too_many_checks(capabilities, desired.checked_servers(), &object);
    let too_many = checks.is_some();
    let memory = too_little_memory(capabilities, memory(desired), &object);
    (too_many, checks.into_iter().chain(memory).collect())
}

/// Bytes that one worker needs for what is wanted, about.
fn memory(desired: &Desired) -> u64 {
    let image = desired.image();
    let count = |n: usize| n as u64;
    let certificate = match image.skeleton.quic() {
        Some(_) => CERTIFICATE + CERTIFICATE_QUIC,
        None => CERTIFICATE,
    };
    BASE + count(image.backends.len()) * BACKEND
        + desired.servers() * SERVER
        + count(image.certificates.len()) * certificate
        + count(image.map_entries()) * ENTRY
}

/// The Problem of more checked servers than descriptors for them. Half of what HAProxy may open is
/// left to connections. Checks are then off for all: which ones to drop would be arbitrary, and a
/// start that fails serves nobody.
fn too_many_checks(
    capabilities: &Capabilities,
    checked: u64,
    object: &ObjectRef,
) -> Option<Problem> {
    let budget = capabilities.descriptors / 2;
    if capabilities.descriptors == 0 || checked <= budget {
        return None;
    }
    Some(problem(
        object,
        "data.check",
        format!(
            "{checked} servers ask for active checks, and HAProxy may open {} descriptors",
            capabilities.descriptors
        ),
        "active checks are off; readiness comes from Kubernetes alone".to_string(),
        format!("ask for at most {budget} checked servers, or raise HAProxy's limit"),
    ))
}

/// The Problem of less memory than two workers need: during a reload there are two.
fn too_little_memory(
    capabilities: &Capabilities,
    need: u64,
    object: &ObjectRef,
) -> Option<Problem> {
    let steps = need.div_ceil(STEP).saturating_mul(STEP);
    let two = steps.saturating_mul(2);
    if capabilities.memory == 0 || two <= capabilities.memory {
        return None;
    }
    let mib = |bytes: u64| bytes >> 20;
    let (what, instead) = if steps > capabilities.memory {
        ("more than there is", "all is served for as long as HAProxy is not killed for it")
    } else {
        ("not twice that", "all is served; the system may kill HAProxy at the next reload")
    };
    Some(problem(
        object,
        "",
        format!(
            "HAProxy needs about {} MiB for what is wanted, twice that during a reload, and may use \
             {} MiB: {what}",
            mib(steps),
            mib(capabilities.memory)
        ),
        instead.to_string(),
        format!("give it at least {} MiB, or serve some of the Ingresses elsewhere", mib(two)),
    ))
}

fn problem(object: &ObjectRef, field: &str, what: String, instead: String, fix: String) -> Problem {
    Problem {
        object: object.clone(),
        field: field.into(),
        reason: Reason::LimitExceeded,
        severity: Severity::Warning,
        what,
        instead,
        fix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One more server is not another Problem, and the unknown is none.
    #[test]
    fn memory_is_told_in_steps_and_only_when_it_is_short() {
        let object = ObjectRef { kind: Kind::ConfigMap, name: Name::new("a", "b") };
        let with = |memory| Capabilities { memory, ..Capabilities::tier_a() };
        let told = |memory, need| too_little_memory(&with(memory), need, &object);
        assert_eq!(told(0, u64::MAX), None);
        assert_eq!(told(1 << 30, 400 << 20), None);
        let one = told(1 << 30, 600 << 20).unwrap();
        assert_eq!(Some(one.clone()), told(1 << 30, (600 << 20) + SERVER));
        assert!(one.what.contains("640 MiB") && one.fix.contains("1280 MiB"), "{one:?}");
        assert!(told(512 << 20, 600 << 20).unwrap().what.contains("more than there is"));
    }
}
