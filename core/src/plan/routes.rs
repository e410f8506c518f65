//! Map entries. A route moves to a backend and policy that are there; what routes refer to goes
//! after them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Inputs, Next, Phase};
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
