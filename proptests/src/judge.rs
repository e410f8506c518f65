//! What the driver judges by: where requests go before and after a command, and whether a reload
//! was needed. Also the events that stand for the beginning of a case and for its acts.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use tidegate_core::desired::Image;
use tidegate_core::event::Event;
use tidegate_core::plan::remedy::ReloadReason;
use tidegate_core::world::object::{Kind, Object};

use crate::arb::{Act, Case};
use crate::drive::Drive;
use crate::oracle::haproxy::{Answer, Haproxy};
use crate::oracle::load;
use crate::oracle::routing::PROBES;
use crate::run::Verdict;

/// The events that begin a case: what the proxy can do, and a complete list of each kind.
#[must_use]
pub fn initial_events(case: &Case) -> Vec<Event> {
    let all = case.objects();
    let mut events = vec![Event::ProxyFound(case.setup.capabilities())];
    for kind in Kind::ALL {
        let objects: Vec<Object> = all.iter().filter(|o| o.kind() == kind).cloned().collect();
        events.push(Event::Relisted { kind, objects });
    }
    events
}

/// The event of an act that changes objects.
#[must_use]
pub fn event_of(act: &Act) -> Option<Event> {
    match act {
        Act::Put(object) => Some(Event::Upserted(object.clone())),
        Act::Remove(object) => Some(Event::Deleted(object.clone())),
        Act::Relist(kind, objects) => {
            Some(Event::Relisted { kind: *kind, objects: objects.clone() })
        }
        Act::Resolve(name, addresses) => {
            Some(Event::Resolved { name: (*name).into(), addresses: addresses.clone() })
        }
        Act::Date(unix_s) => Some(Event::DateRead(*unix_s)),
        Act::Run(_) | Act::Answer(..) | Act::Pass(_) | Act::Settle | Act::Die | Act::Return => None,
    }
}

/// Where each probe goes.
#[must_use]
pub fn answers(memory: &Haproxy) -> Vec<Answer> {
    PROBES.iter().map(|(host, path)| memory.route(host, path)).collect()
}

/// Where each probe is wanted to go.
#[must_use]
pub fn answers_of_image(image: &Image) -> Vec<Answer> {
    answers(&load::sketch(image))
}

/// Every endpoint there is, by what is wanted.
#[must_use]
pub fn alive(image: &Image) -> BTreeSet<SocketAddr> {
    image.backends.iter().flat_map(|(_, b)| b.servers.iter().copied()).collect()
}

/// What was wanted when the action was asked for, and what is wanted now, both count: an action
/// under way cannot be called back. Servers that are gone for good serve nobody.
///
/// # Errors
/// The request that meets nobody.
pub fn no_gap(
    before: &[Answer],
    wanted: [&[Answer]; 2],
    after: &[Answer],
    alive: &BTreeSet<SocketAddr>,
) -> Verdict {
    let serves = |answers: &[Answer], at| matches!(answers.get(at), Some(Answer::Servers(_)));
    for (at, probe) in PROBES.iter().enumerate() {
        let had = match before.get(at) {
            Some(Answer::Servers(servers)) => !servers.is_disjoint(alive),
            Some(Answer::NotFound | Answer::Unavailable) | None => false,
        };
        if had && wanted.iter().all(|answers| serves(answers, at)) && !serves(after, at) {
            let [before, after] = [before, after].map(|answers| answers.get(at));
            let wanted = wanted.map(|answers| answers.get(at));
            return Err(format!("{probe:?} meets {after:?}, was {before:?}, is to be {wanted:?}"));
        }
    }
    Ok(())
}

/// The reasons a reload gives must be true for the worker that runs.
///
/// # Errors
/// A reason that is not.
pub fn reasons_are_true(drive: &Drive, image: &Image, reasons: &[ReloadReason]) -> Verdict {
    if reasons.is_empty() {
        return Err("a reload without reason".to_owned());
    }
    let skeleton = tidegate_core::render::skeleton_digest(&image.skeleton);
    for reason in reasons {
        let memory = drive.worker.as_ref().map(|w| &w.memory);
        let is_true = match (reason, memory) {
            (ReloadReason::FirstStart, memory) => memory.is_none(),
            (_, None) => false,
            (ReloadReason::Skeleton(_), Some(m)) => m.skeleton != *skeleton,
            (ReloadReason::NewBackend(name), Some(m)) => {
                let profile = image.backends.get(name).map(|b| b.spec.profile.to_string());
                let exists = m.backends.contains_key(&**name);
                let spares = m.spares(&profile.unwrap_or_default());
                !drive.setup.capabilities().dynamic_backends
                    && !exists
                    && spares <= image.backends.len()
            }
            (ReloadReason::SlotsExhausted(name), Some(m)) => {
                let slots = m.backends.get(&**name).map_or(0, |b| b.servers.len());
                image.backends.get(name).is_some_and(|b| b.servers.len() > slots)
            }
            (ReloadReason::NewSnippet(name), Some(m)) => {
                let backend = image.backends.get(name);
                let profile = backend.map(|b| b.spec.profile.to_string()).unwrap_or_default();
                let known = m.profiles.contains(&profile);
                backend.is_some_and(|b| b.spec.snippet.is_some()) && !known
            }
            (ReloadReason::Bulk(_), Some(_)) => false,
            (ReloadReason::Refused(_), Some(_)) => drive.refusals.len() >= 2,
        };
        if !is_true {
            return Err(format!("not a true reason to reload: {reason}"));
        }
    }
    Ok(())
}
