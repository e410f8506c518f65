//! Plan: from the keys that may differ to the next commands.
//!
//! The planner has no memory. Each time the lane is idle it looks at the dirty keys and gives the
//! commands of the earliest phase that has any; their answers move [`Running`], and the next call
//! sees what is left. So newer events always count, and on every prefix of every plan the order
//! holds: urgent endpoint changes, build, switch routes, unlink, collect.

pub mod backends;
pub mod clients;
pub mod files;
pub mod remedy;
pub mod routes;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::{MapId, RuntimeCommand};
use crate::applied::Running;
use crate::capability::Capabilities;
use crate::desired::{Desired, Image, Key, Owned, Skeleton, Table};
use crate::sabotage::{Mistake, is_planted, noise};
use crate::settings::Settings;
use crate::time::Time;
use remedy::ReloadReason;
use routes::Waiting;

/// The order of things: nothing of a later phase while an earlier one has work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Endpoints of backends that serve.
    Urgent,
    /// What nobody refers to yet.
    Build,
    /// Routes and certificates move to what was built.
    Switch,
    /// What is no longer wanted is no longer referred to.
    Unlink,
    /// What nobody refers to any more goes away.
    Collect,
}

/// A command with what it is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Command {
    /// The command.
    pub command: RuntimeCommand,
    /// The wanted name of the backend it is about, where the physical one may differ.
    pub backend: Option<Arc<str>>,
    /// The key it brings closer to what is wanted.
    pub key: Key,
    /// Its phase.
    pub phase: Phase,
}

/// What became of a key whose commands were refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Refusals in a row.
    pub refusals: u32,
    /// Not before then.
    pub retry_at: Time,
    /// Whether it was garbage that could not be collected: nothing else of the key is held up.
    pub collects: bool,
    /// HAProxy's words for the last one.
    pub why: Box<str>,
}

/// What to do next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Commands of one phase.
    pub commands: Vec<Command>,
    /// Why a reload is needed, if it is.
    pub reasons: BTreeSet<ReloadReason>,
    /// Whether anything but the static part waits, for a reload or for something else.
    pub waits: bool,
    /// Whether a route that is wanted waits, for the worker of a reload or for what it refers to.
    pub is_short: bool,
    /// Keys where running equals wanted.
    pub settled: Vec<Key>,
    /// Keys with nothing to do before a time.
    pub parked: Vec<(Key, Time)>,
    /// New routes that wait for endpoints, and until when.
    pub unserved: Vec<(Arc<str>, Time)>,
}

/// What planning looks at.
pub struct Inputs<'a> {
    /// What is wanted.
    pub desired: &'a Desired,
    /// What runs.
    pub running: &'a Running,
    /// Digest of the static part that is wanted.
    pub skeleton: &'a str,
    /// What HAProxy can do.
    pub capabilities: &'a Capabilities,
    /// Limits and delays.
    pub settings: &'a Settings,
    /// Keys whose commands were refused.
    pub trouble: &'a BTreeMap<Key, Trouble>,
    /// New routes that wait for endpoints, and until when.
    pub unserved: &'a BTreeMap<Arc<str>, Time>,
    /// What HAProxy is being reloaded with.
    pub loading: Option<&'a Image>,
    /// The static part of the last reload, if known.
    pub loaded: Option<&'a Skeleton>,
    /// Now.
    pub now: Time,
}

/// What one key needs next.
pub(crate) enum Next {
    /// Nothing: running equals wanted.
    Settled,
    /// Something else comes first, or nothing can be done.
    Wait,
    /// These commands.
    Commands(Phase, Vec<(RuntimeCommand, Option<Arc<str>>)>),
    /// Nothing before then.
    WaitUntil(Time),
    /// Nothing before then unless it gets endpoints: it is a new route that would answer 503.
    Unserved(Time),
    /// A reload.
    Reload(ReloadReason),
}

/// State kept while the keys of one plan are looked at.
#[derive(Default)]
pub(crate) struct Draft {
    claimed: BTreeMap<Arc<str>, u32>,
    new_backends: u32,
    /// The number that changes of owners get.
    epoch: Option<u64>,
}

/// The next commands and reload reasons.
#[must_use]
pub fn next(inputs: &Inputs<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut draft = Draft::default();
    let mut phases: BTreeMap<Phase, Vec<Command>> = BTreeMap::new();
    let mut waiting = Waiting::default();
    inputs.desired.parked_routes().for_each(|route| waiting.insert(inputs, route));
    for key in inputs.desired.dirty() {
        let next = match (next_of(inputs, key, &mut draft), inputs.trouble.get(key)) {
            (Next::Commands(of, _), Some(trouble))
                if trouble.retry_at > inputs.now && (of == Phase::Collect || !trouble.collects) =>
            {
                Next::WaitUntil(trouble.retry_at)
            }
            (next, _) => next,
        };
        if let (
            Next::Wait | Next::WaitUntil(_) | Next::Unserved(_),
            Key::Map(MapId::Route, route),
        ) = (&next, key)
        {
            if let Next::Unserved(until) = next {
                plan.unserved.push((route.clone(), until));
            }
            waiting.insert(inputs, route);
        }
        if let (Next::Wait, Key::Map(map, route)) = (&next, key) {
            let is_wanted = inputs.desired.image().map(*map).get(route).is_some();
            plan.is_short |= map.has_records() && is_wanted;
        }
        match next {
            Next::Settled => plan.settled.push(key.clone()),
            // What ends the wait of a new route may come at any time, so it is looked at each time.
            Next::Wait | Next::Unserved(_) => plan.waits = true,
            Next::WaitUntil(at) => plan.parked.push((key.clone(), at)),
            Next::Reload(reason) => {
                plan.waits |= *key != Key::Skeleton;
                plan.reasons.insert(reason);
            }
            Next::Commands(phase, commands) => {
                let of_phase = phases.entry(phase).or_default();
                of_phase.extend(commands.into_iter().map(|(command, backend)| Command {
                    command,
                    backend,
                    key: key.clone(),
                    phase,
                }));
            }
        }
    }
    // What is held back gives way to later phases.
    for (phase, mut commands) in phases {
        routes::arrange(inputs, &mut commands, phase, &mut waiting);
        if !commands.is_empty() {
            plan.commands = commands;
            break;
        }
    }
    if draft.new_backends > inputs.settings.limits.backends_per_plan_max {
        plan.reasons.insert(ReloadReason::Bulk(draft.new_backends));
        plan.commands.retain(|c| c.phase == Phase::Urgent);
    }
    if is_planted(Mistake::HashOrder) && noise().is_multiple_of(3) {
        plan.commands.sort_by(|a, b| b.key.cmp(&a.key));
    }
    limit(&mut plan.commands, inputs.settings.limits.commands_per_action_max as usize);
    plan
}

/// Cuts at the boundary between two keys, as the commands of one key belong together.
fn limit(commands: &mut Vec<Command>, max: usize) {
    if commands.len() <= max {
        return;
    }
    let mut end = max;
    while end > 0 && commands.get(end).map(|c| &c.key) == commands.get(end - 1).map(|c| &c.key) {
        end -= 1;
    }
    if end > 0 {
        commands.truncate(end);
    }
}

fn next_of(inputs: &Inputs<'_>, key: &Key, draft: &mut Draft) -> Next {
    match key {
        Key::Skeleton => {
            let wanted = &inputs.desired.image().skeleton;
            if *inputs.skeleton == *inputs.running.skeleton {
                Next::Settled
            } else {
                let what = remedy::skeleton_difference(inputs.loaded, wanted);
                Next::Reload(ReloadReason::Skeleton(what))
            }
        }
        Key::DefaultCertificate => files::default_certificate(inputs),
        Key::File(name) => files::server_file(inputs, name),
        Key::Certificate(digest) => files::certificate(inputs, digest),
        Key::Backend(name) => backends::next(inputs, name, draft),
        Key::Map(MapId::Ledger, key) => clients::owner(inputs, key, draft),
        Key::Map(map, key) => routes::map_entry(inputs, *map, key),
    }
}

/// Marks every key in which a worker's memory differs from what is wanted.
pub fn mark_differences(desired: &mut Desired, running: &Running) {
    let mut keys = Vec::from([Key::Skeleton, Key::DefaultCertificate]);
    let image = desired.image();
    for map in MapId::ALL {
        different_entries(map, image.map(map), running.map(map), &mut keys);
    }
    for (name, backend) in image.backends.iter() {
        let as_wanted =
            running.backends.get(name).is_some_and(|running| running.is_as_wanted(backend));
        if !as_wanted {
            keys.push(Key::Backend(name.clone()));
        }
    }
    let unwanted = running.backends.iter().filter(|(name, _)| image.backends.get(name).is_none());
    keys.extend(unwanted.map(|(name, _)| Key::Backend(name.clone())));
    keys.extend(image.certificates.iter().map(|(digest, _)| Key::Certificate(digest.clone())));
    keys.extend(running.certificates.keys().map(|digest| Key::Certificate(digest.clone())));
    keys.extend(image.files.keys().chain(&running.files).map(|file| Key::File(file.clone())));
    for key in keys {
        desired.mark(key);
    }
}

/// Marks every key in which the memory of a worker that has just loaded `image` differs from what is
/// wanted by now. The two share what did not change, so this costs what did.
pub fn mark_changes(desired: &mut Desired, image: &Image) {
    let mut keys = Vec::from([Key::Skeleton, Key::DefaultCertificate]);
    let now = desired.image();
    for map in MapId::ALL {
        different_entries(map, now.map(map), image.map(map), &mut keys);
    }
    now.backends.differences(
        &image.backends,
        |a, b| a == b,
        |name| {
            keys.push(Key::Backend(name.clone()));
        },
    );
    now.certificates.differences(
        &image.certificates,
        |a, b| a == b,
        |digest| {
            keys.push(Key::Certificate(digest.clone()));
        },
    );
    let files = now.files.keys().filter(|file| !image.files.contains_key(*file));
    let files = files.chain(image.files.keys().filter(|file| !now.files.contains_key(*file)));
    keys.extend(files.map(|file| Key::File(file.clone())));
    for key in keys {
        desired.mark(key);
    }
}

fn different_entries(
    map: MapId,
    a: &Table<Owned<Arc<str>>>,
    b: &Table<Owned<Arc<str>>>,
    keys: &mut Vec<Key>,
) {
    if map == MapId::Ledger {
        clients::different_owners(a, b, keys);
    } else {
        let same = |a: &Owned<Arc<str>>, b: &Owned<Arc<str>>| a.value == b.value;
        a.differences(b, same, |key| keys.push(Key::Map(map, key.clone())));
    }
}
