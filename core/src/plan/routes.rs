//! Map entries. A route moves to a backend and policy that are there; what routes refer to goes
//! after them.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::{Command, Inputs, Next, Phase};
use crate::action::{MapId, RuntimeCommand};
use crate::applied::Published;
use crate::desired::Key;
use crate::render::maps;

/// What a map entry needs next.
pub(crate) fn map_entry(inputs: &Inputs<'_>, map: MapId, key: &Arc<str>) -> Next {
    let wanted = inputs.desired.image().map(map).get(key).map(|entry| &entry.value);
    let running = inputs.running.map(map).get(key).map(|entry| &entry.value);
    let (key, value) = match map {
        MapId::Check => {
            // The check map is keyed by the backend's name in HAProxy, which a spare backend has
            // only once it is claimed.
            let claimed = inputs.running.backends.get(key).is_some();
            if wanted.is_some() && !claimed && !inputs.capabilities.dynamic_backends {
                return Next::Wait;
            }
            let physical: Arc<str> = inputs.running.physical(key).into();
            let running = inputs.running.map(map).get(&physical).map(|entry| &entry.value);
            if running == wanted {
                return Next::Settled;
            }
            (physical, wanted.cloned())
        }
        MapId::Route => {
            let physical = wanted.map(|record| maps::physical_record(record, inputs.running));
            if physical.as_ref() == running {
                return Next::Settled;
            }
            (key.clone(), physical)
        }
        MapId::Policy
        | MapId::Headers
        | MapId::Access
        | MapId::Rewrite
        | MapId::HashKey
        | MapId::Ledger => {
            if wanted == running {
                return Next::Settled;
            }
            (key.clone(), wanted.cloned())
        }
    };
    let present = inputs.running.map(map).get(&key).is_some();
    let Some(value) = value else {
        return remove(inputs, map, &key);
    };
    let phase = if map == MapId::Route { Phase::Switch } else { Phase::Build };
    if map == MapId::Route && !can_switch(inputs, &value) {
        return Next::Wait;
    }
    let command = if present {
        RuntimeCommand::SetMapEntry { map, key, value }
    } else {
        RuntimeCommand::AddMapEntry { map, key, value }
    };
    Next::Commands(phase, Vec::from([(command, None)]))
}

fn remove(inputs: &Inputs<'_>, map: MapId, key: &Arc<str>) -> Next {
    let phase = match map {
        MapId::Route => Phase::Unlink,
        MapId::Policy if inputs.running.is_referred(key) => return Next::Wait,
        MapId::Check if inputs.running.is_referred(key) => return Next::Wait,
        MapId::Policy | MapId::Check => Phase::Collect,
        MapId::Headers | MapId::Access | MapId::Rewrite | MapId::HashKey => {
            // Policies refer to these entries and go first.
            let policies = Key::Map(MapId::Policy, "".into())..Key::Map(MapId::Headers, "".into());
            if inputs.desired.dirty().range(policies).next().is_some() {
                return Next::Wait;
            }
            Phase::Collect
        }
        MapId::Ledger => return Next::Settled,
    };
    let command = RuntimeCommand::DeleteMapEntry { map, key: key.clone() };
    Next::Commands(phase, Vec::from([(command, None)]))
}

/// Whether everything a record refers to is there: the policy, and the backend with a ready server
/// if it is to have one.
fn can_switch(inputs: &Inputs<'_>, physical_record: &str) -> bool {
    let (backend, policy) = maps::parts(physical_record);
    // Where header names are no data, a policy may need rules that only a reload brings.
    let rules_to_come =
        !inputs.capabilities.headers_bin && inputs.desired.dirty().contains(&Key::Skeleton);
    if policy.is_some() && rules_to_come {
        return false;
    }
    if policy.is_some_and(|policy| inputs.running.map(MapId::Policy).get(policy).is_none()) {
        return false;
    }
    if maps::is_static(backend) {
        return true;
    }
    let found = match inputs.running.backends.get(backend) {
        Some(found) => Some((backend, found)),
        None => inputs
            .running
            .backends
            .iter()
            .find(|(_, running)| *running.physical == *backend)
            .map(|(name, running)| (&**name, running)),
    };
    let Some((name, running)) = found else { return false };
    let wants_none = inputs.desired.image().backends.get(name).is_none_or(|b| b.servers.is_empty());
    let published = running.published == Published::Yes || !inputs.capabilities.dynamic_backends;
    wants_none || (published && running.has_ready())
}

/// Puts the route commands of a phase in order. What is more special comes into being before what
/// is more general, and goes after it: a host's own entries, then the wildcard's, then those
/// without host; longer paths before shorter ones. So no request falls through to something that
/// it would reach neither before nor after. For the same reason a route stays while one that is to
/// take over from it still waits.
pub(crate) fn arrange(commands: &mut Vec<Command>, phase: Phase, waiting: &[Arc<str>]) {
    match phase {
        Phase::Switch => commands.sort_by(|a, b| specificity(a).cmp(&specificity(b))),
        Phase::Unlink => {
            commands.retain(|command| match &command.key {
                Key::Map(MapId::Route, key) => !waiting.iter().any(|w| takes_over(w, key)),
                _ => true,
            });
            commands.sort_by(|a, b| specificity(b).cmp(&specificity(a)));
        }
        Phase::Urgent | Phase::Build | Phase::Collect => {}
    }
}

/// Most special first: kind of host, then the longer of two paths.
fn specificity(command: &Command) -> (u8, Reverse<&str>) {
    match &command.key {
        Key::Map(MapId::Route, key) => {
            let kind = match key.bytes().next() {
                Some(b'/') => 2,
                Some(b'*') => 1,
                _ => 0,
            };
            (kind, Reverse(key))
        }
        _ => (0, Reverse("")),
    }
}

/// Whether requests for a route that goes would be answered by one that waits.
fn takes_over(waits: &str, goes: &str) -> bool {
    let host = |key: &str| key.split('/').next().unwrap_or("").len();
    let (waits_host, goes_host) = (waits.get(..host(waits)), goes.get(..host(goes)));
    match (waits_host, goes_host) {
        (Some(""), _) => true,
        (Some(waits), Some(goes)) if waits == goes => true,
        (Some(waits), Some(goes)) => {
            waits.strip_prefix('*').is_some_and(|domain| goes.ends_with(domain))
        }
        _ => true,
    }
}
