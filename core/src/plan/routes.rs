//! Map entries. A route moves to a backend and policy that are there; what routes refer to goes
//! after them.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::ops::Bound;

use super::{Command, Inputs, Next, Phase};
use crate::action::{MapId, RuntimeCommand};
use crate::annotations::draft::LIVING;
use crate::applied::{Published, RunningBackend};
use crate::desired::{Key, Owned, Table};
use crate::project::route::UNAVAILABLE;
use crate::render::backend::spare_profile;
use crate::render::maps;
use crate::sabotage::{Mistake, is_planted};
use crate::time::Time;

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
        MapId::Route | MapId::Tcp | MapId::Sni => {
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
    let early = map.has_records() && is_planted(Mistake::RouteBeforeServer);
    let phase = match map {
        _ if early => Phase::Urgent,
        _ if map.has_records() => Phase::Switch,
        _ => Phase::Build,
    };
    if map.has_records() && !early && !can_switch(inputs, map, &key, &value) {
        return Next::Wait;
    }
    if map.has_records() && !present && is_unknown_to_next(inputs, map, &key) {
        return Next::Wait;
    }
    if map == MapId::Route
        && !present
        && !is_planted(Mistake::RouteBeforeServer)
        && let Some(until) = unserved_until(inputs, &key, &value)
    {
        return Next::Unserved(until);
    }
    if present && is_planted(Mistake::ClearedThenFilled) {
        let delete = RuntimeCommand::DeleteMapEntry { map, key: key.clone() };
        let add = RuntimeCommand::AddMapEntry { map, key, value };
        return Next::Commands(phase, Vec::from([(delete, None), (add, None)]));
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
        MapId::Route | MapId::Tcp | MapId::Sni => Phase::Unlink,
        MapId::Policy if inputs.running.is_referred(key) => return Next::Wait,
        MapId::Check if inputs.running.is_referred(key) => return Next::Wait,
        MapId::Policy | MapId::Check => Phase::Collect,
        MapId::Headers | MapId::Access | MapId::Rewrite | MapId::HashKey => {
            // Policies refer to these entries and go first.
            let policies = Key::Map(MapId::Policy, "".into())..Key::Map(MapId::Headers, "".into());
            if inputs.desired.dirty().range(policies).next().is_some() {
                return Next::Wait;
            }
            // Of a list that lives on: no garbage, but a change.
            if map == MapId::Access && key.starts_with(LIVING) {
                Phase::Unlink
            } else {
                Phase::Collect
            }
        }
        MapId::Ledger => return Next::Settled,
    };
    let command = RuntimeCommand::DeleteMapEntry { map, key: key.clone() };
    Next::Commands(phase, Vec::from([(command, None)]))
}

/// Whether a reload is under way that brings a worker without this route: added now, it would be gone
/// for the moment between the first request to that worker and the first command.
fn is_unknown_to_next(inputs: &Inputs<'_>, map: MapId, key: &str) -> bool {
    inputs.loading.is_some_and(|image| image.map(map).get(key).is_none())
        && !is_planted(Mistake::AddedForMoments)
}

/// Until when a new route waits, if it would answer 503: an Ingress and what it refers to come by
/// watches of their own, in any order, so that the first answers of an application whose endpoints
/// were there before its Ingress would be refusals.
fn unserved_until(inputs: &Inputs<'_>, key: &Arc<str>, physical_record: &str) -> Option<Time> {
    let (backend, _) = maps::parts(physical_record);
    let serves = match maps::is_static(backend) {
        true => backend != UNAVAILABLE,
        false => backend_of(inputs, backend).is_some_and(|(_, running)| running.has_ready()),
    };
    let wait = inputs.settings.delays.unserved_ms;
    let until = inputs.unserved.get(key).copied().unwrap_or_else(|| inputs.now.plus_ms(wait));
    (!serves && until > inputs.now).then_some(until)
}

/// Whether everything a record refers to is there: the policy, and the backend with a ready server
/// if it is to have one.
fn can_switch(inputs: &Inputs<'_>, map: MapId, key: &str, physical_record: &str) -> bool {
    let (backend, rest) = maps::parts(physical_record);
    let policy = rest.filter(|_| map == MapId::Route);
    if map == MapId::Route && is_passed_later(inputs, key) {
        return false;
    }
    // Where header names are no data, a policy may need rules that only a reload brings.
    let rules_to_come =
        !inputs.capabilities.headers_bin && inputs.desired.dirty().contains(&Key::Skeleton);
    if policy.is_some() && rules_to_come {
        return false;
    }
    if policy.is_some_and(|policy| inputs.running.map(MapId::Policy).get(policy).is_none()) {
        return false;
    }
    let canary = maps::canary(physical_record).filter(|_| map == MapId::Route);
    is_built(inputs, backend) && canary.is_none_or(|canary| is_built(inputs, canary))
}

/// Whether a backend, by its name in HAProxy, has a server that is ready, if it is to have one, and
/// none that is to go: the address of that one may be a stranger's by now.
fn is_built(inputs: &Inputs<'_>, backend: &str) -> bool {
    if maps::is_static(backend) {
        return true;
    }
    let Some((name, running)) = backend_of(inputs, backend) else { return false };
    let Some(wanted) = inputs.desired.image().backends.get(name) else { return true };
    let published = running.published == Published::Yes || !inputs.capabilities.dynamic_backends;
    !running.has_strangers(wanted)
        && (wanted.servers.is_empty() || (published && running.has_ready()))
}

/// Whether TLS of a route's host is to be passed through, and is not yet: until then the host is
/// answered as before.
fn is_passed_later(inputs: &Inputs<'_>, route: &str) -> bool {
    let (host, _) = split(route);
    let sni = |entries: &Table<Owned<Arc<str>>>| entries.get(host).is_some();
    sni(inputs.desired.image().map(MapId::Sni))
        && (!sni(inputs.running.map(MapId::Sni)) || inputs.desired.dirty().contains(&Key::Skeleton))
}

/// The wanted name and the memory of the backend with a name in HAProxy.
fn backend_of<'a>(
    inputs: &'a Inputs<'_>,
    physical: &'a str,
) -> Option<(&'a str, &'a RunningBackend)> {
    if let Some(found) = inputs.running.backends.get(physical) {
        return Some((physical, found));
    }
    // Only a spare backend has another name in HAProxy than the one it is known by.
    spare_profile(physical)?;
    let mut backends = inputs.running.backends.iter();
    let (name, running) = backends.find(|(_, running)| *running.physical == *physical)?;
    Some((name, running))
}

/// Routes that are wanted and cannot be had yet.
#[derive(Default)]
pub(crate) struct Waiting {
    all: BTreeSet<Arc<str>>,
    /// Those of which the worker has not even a former version.
    absent: BTreeSet<Arc<str>>,
}

impl Waiting {
    pub(crate) fn insert(&mut self, inputs: &Inputs<'_>, route: &Arc<str>) {
        self.all.insert(route.clone());
        if inputs.running.map(MapId::Route).get(route).is_none() {
            self.absent.insert(route.clone());
        }
    }

    /// Whether a command for a route would keep requests that are to go to one that waits, and is
    /// not there at all, from what answers them until then. On the route's own host it must not do
    /// so in any case. On another host, whose owner may be somebody else, it may if it answers by
    /// servers.
    fn is_shadowed_by(&self, inputs: &Inputs<'_>, command: &Command, route: &str) -> bool {
        let (host, path) = split(route);
        begins(&self.absent, route)
            || (is_general(host)
                && !answers_by_servers(inputs, command)
                && self.absent.iter().map(|waits| split(waits)).any(|(waits_host, waits_path)| {
                    covers(host, waits_host)
                        && (path.starts_with(waits_path) || waits_path.starts_with(path))
                }))
    }

    /// Whether requests for a route that goes would be answered by one that waits: now, if that is
    /// more general or on the same host, or as soon as that is there.
    fn takes_over(&self, route: &str) -> bool {
        let (host, _) = split(route);
        let of_host = |host: &str| begins(&self.all, &format!("{host}/"));
        of_host(host)
            || of_host("")
            || host.split_once('.').is_some_and(|(_, domain)| of_host(&format!("*.{domain}")))
            || (is_general(host) && self.absent.iter().any(|waits| covers(host, split(waits).0)))
    }
}

/// Puts the route commands of a phase in order, and holds back those that must not go before a route
/// that waits; in the phase *switch* those wait too then.
///
/// What is more special comes into being before what is more general, and goes after it: a host's own
/// entries, then the wildcard's, then those without host; longer paths before shorter ones. So no
/// request falls through to something that it would reach neither before nor after.
pub(crate) fn arrange(
    inputs: &Inputs<'_>,
    commands: &mut Vec<Command>,
    phase: Phase,
    waiting: &mut Waiting,
) {
    match phase {
        Phase::Switch => {
            commands.sort_by(|a, b| specificity(a).cmp(&specificity(b)));
            commands.retain(|command| {
                let Key::Map(MapId::Route, route) = &command.key else { return true };
                let held = waiting.is_shadowed_by(inputs, command, route);
                if held {
                    waiting.insert(inputs, route);
                }
                !held
            });
        }
        Phase::Unlink => {
            commands.retain(|command| match &command.key {
                Key::Map(MapId::Route, route) => !waiting.takes_over(route),
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

fn answers_by_servers(inputs: &Inputs<'_>, command: &Command) -> bool {
    let (RuntimeCommand::AddMapEntry { value, .. } | RuntimeCommand::SetMapEntry { value, .. }) =
        &command.command
    else {
        return false;
    };
    let (backend, _) = maps::parts(value);
    !maps::is_static(backend)
        && backend_of(inputs, backend).is_some_and(|(_, running)| running.has_ready())
}

/// Host and path of a route's key. Without host it begins with the path.
fn split(key: &str) -> (&str, &str) {
    key.split_at(key.find('/').unwrap_or(key.len()))
}

/// Whether a host stands for others: a wildcard, or none.
fn is_general(host: &str) -> bool {
    host.is_empty() || host.starts_with('*')
}

/// Whether requests for a host may be answered by the routes of another, more general one.
fn covers(general: &str, host: &str) -> bool {
    if general.is_empty() {
        return !host.is_empty();
    }
    let domain = host.split_once('.').map(|(_, domain)| domain);
    !host.starts_with('*') && general.strip_prefix("*.").is_some_and(|of| domain == Some(of))
}

/// Whether any of the routes begins with a text.
fn begins(routes: &BTreeSet<Arc<str>>, text: &str) -> bool {
    let from = (Bound::Included(text), Bound::Unbounded);
    routes.range::<str, _>(from).next().is_some_and(|route| route.starts_with(text))
}
