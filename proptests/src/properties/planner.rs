//! Promises of the planner, kept against a model of HAProxy: what runs becomes what is wanted,
//! without a gap, with reloads for true reasons only, whatever answers are lost.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_core::action::MapId;
use tidegate_core::capability::Tier;
use tidegate_core::desired::Image;
use tidegate_core::plan::remedy::ReloadReason;
use tidegate_core::problem::Reason;
use tidegate_core::time::Time;

use crate::arb::{Act, Case};
use crate::drive::{Drive, Watch, answers, answers_of_image};
use crate::oracle::haproxy::{Admin, Answer, Backend, Haproxy};
use crate::oracle::load;
use crate::oracle::routing::{Facts, PORTS, PROBES};
use crate::properties::kept::Pages;
use crate::run::Verdict;

/// Longest time after which what is saved may still name a server that is gone: the bound of the
/// settings, and one more write that was under way.
const SAVED_LAG_MAX_MS: u64 = 5_000 + 600;

/// On every prefix of every action no request loses its servers, HAProxy refuses nothing, and in
/// the end it has what is wanted and sends each request where the Ingress rules say.
///
/// # Errors
/// What is broken.
pub fn plan_reaches_desired(case: &Case) -> Verdict {
    let watch = Watch { gaps: true, refusals: true, reasons: false };
    let mut drive = Drive::start(case, watch)?;
    for act in &case.acts {
        drive.act(act)?;
        if matches!(act, Act::Settle) {
            has_what_is_wanted(&drive)?;
            answers_by_the_rules(&drive, case)?;
        }
    }
    drive.settle()?;
    has_what_is_wanted(&drive)?;
    answers_by_the_rules(&drive, case)
}

/// Reloads happen for true reasons only; with full abilities these are the first start, options
/// of the static part, and what HAProxy refused.
///
/// # Errors
/// A reload without need.
pub fn reload_only_if_needed(case: &Case) -> Verdict {
    let watch = Watch { gaps: false, refusals: true, reasons: true };
    let mut drive = Drive::start(case, watch)?;
    drive.settle()?;
    for act in &case.acts {
        drive.act(act)?;
    }
    drive.settle()?;
    if case.setup.tier == Tier::A {
        for reasons in drive.reloads.iter().skip(1) {
            let allowed = reasons.iter().all(|reason| match reason {
                ReloadReason::Skeleton(_) | ReloadReason::FirstStart => true,
                ReloadReason::Refused(_) => !drive.refusals.is_empty(),
                ReloadReason::NewSnippet(_) => true,
                ReloadReason::NewBackend(_)
                | ReloadReason::SlotsExhausted(_)
                | ReloadReason::Bulk(_) => false,
            });
            if !allowed {
                return Err(format!("a reload for {reasons:?}"));
            }
        }
    }
    Ok(())
}

/// Whatever is refused, lost, late, twice or dead: once the proxy answers truthfully again, it
/// comes to what is wanted.
///
/// # Errors
/// What is broken.
pub fn unknown_ack_recovers(case: &Case) -> Verdict {
    let mut drive = Drive::start(case, Watch::default())?;
    for act in &case.acts {
        drive.act(act)?;
    }
    if drive.worker.is_none() && drive.saved.is_some() {
        drive.act(&Act::Return)?;
    }
    // Refusals delay what follows by up to a minute.
    drive.answer_all()?;
    drive.settle()?;
    has_what_is_wanted(&drive)
}

/// What is saved always loads, and never sends a request to a server that went longer ago than
/// the bound.
///
/// # Errors
/// What is broken.
pub fn saved_is_safe(case: &Case) -> Verdict {
    let mut drive = Drive::start(case, Watch::default())?;
    drive.answer_all()?;
    let mut gone: BTreeMap<(usize, SocketAddr), Time> = BTreeMap::new();
    let mut checked = (None, Pages::default());
    let mut held = false;
    for act in &case.acts {
        let holds = matches!(act, Act::Run(_) | Act::Answer(..)) && !held;
        held = holds;
        if holds {
            // A write of the files may begin, and is not answered before the next change.
            drive.pass(600)?;
            continue;
        }
        match act {
            Act::Put(_) | Act::Remove(_) | Act::Relist(..) | Act::Resolve(..) | Act::Date(_) => {
                drive.act(act)?
            }
            Act::Pass(ms) => {
                for _ in 0..=(*ms / 250).min(40) {
                    drive.pass(250)?;
                    drive.answer_all()?;
                    saved_is_recent(&drive, case, &mut gone, &mut checked)?;
                }
            }
            Act::Settle => drive.pass(6_000)?,
            Act::Run(_) | Act::Answer(..) | Act::Die | Act::Return => {}
        }
        drive.answer_all()?;
        saved_is_recent(&drive, case, &mut gone, &mut checked)?;
    }
    // A restart from the files at this very moment comes to what is wanted as well.
    drive.act(&Act::Die)?;
    drive.act(&Act::Return)?;
    drive.settle()?;
    has_what_is_wanted(&drive)
}

fn saved_is_recent(
    drive: &Drive,
    case: &Case,
    gone: &mut BTreeMap<(usize, SocketAddr), Time>,
    (checked, pages): &mut (Option<Arc<Image>>, Pages),
) -> Verdict {
    let Some(saved) = &drive.saved else { return Ok(()) };
    if !checked.as_ref().is_some_and(|checked| Arc::ptr_eq(checked, saved)) {
        load::start(saved, &case.setup.capabilities())
            .map_err(|why| format!("what was saved does not load: {why}"))?;
        pages.follow(saved)?;
        *checked = Some(saved.clone());
    }
    let (held, wanted) =
        (answers_of_image(saved), answers_of_image(drive.controller.desired().image()));
    let mut still = BTreeMap::new();
    for (at, (held, wanted)) in held.iter().zip(&wanted).enumerate() {
        let (Answer::Servers(held), wanted) = (held, wanted) else { continue };
        let none = BTreeSet::new();
        let wanted = if let Answer::Servers(wanted) = wanted { wanted } else { &none };
        for address in held.difference(wanted) {
            let since = gone.get(&(at, *address)).copied().unwrap_or(drive.now);
            still.insert((at, *address), since);
            if drive.now.since_ms(since) > SAVED_LAG_MAX_MS {
                return Err(format!(
                    "a restart would send {:?} to {address}, which went {} ms ago",
                    PROBES.get(at),
                    drive.now.since_ms(since)
                ));
            }
        }
    }
    *gone = still;
    Ok(())
}

/// Whether the worker has in memory what is wanted, no more of what matters and no less.
///
/// # Errors
/// The first difference.
pub fn has_what_is_wanted(drive: &Drive) -> Verdict {
    let image = drive.controller.desired().image();
    let Some(worker) = &drive.worker else { return Err("settled without a worker".to_owned()) };
    let memory = &worker.memory;
    let roles = roles(memory);
    for id in MapId::ALL.into_iter().filter(|id| *id != MapId::Ledger) {
        same_entries(id, image, memory, &roles)?;
    }
    let from_files = load::backends(image)?;
    let physical: BTreeMap<&str, &str> = roles.iter().map(|(p, l)| (&**l, &**p)).collect();
    for (name, backend) in image.backends.iter() {
        let physical = physical.get(&**name).copied().unwrap_or(name);
        let Some(found) = memory.backends.get(physical) else {
            return Err(format!("backend {name} is missing"));
        };
        let ready = found.servers.iter().filter(|s| s.admin == Admin::Ready);
        let ready: BTreeSet<SocketAddr> = ready.filter_map(|s| s.address).collect();
        let wanted: BTreeSet<SocketAddr> = backend.servers.iter().copied().collect();
        if ready != wanted || *found.profile != *backend.spec.profile {
            return Err(format!("backend {name} has {found:?}, wanted {backend:?}"));
        }
        let loaded = from_files.get(&**name).map(keywords);
        if loaded.as_ref() != Some(&keywords(found)) {
            return Err(format!("backend {name} has {found:?}, from files {loaded:?}"));
        }
    }
    let mut lines: Vec<(String, BTreeSet<String>)> = memory
        .crt_list
        .iter()
        .map(|(file, hosts)| (file.clone(), hosts.iter().cloned().collect()))
        .collect();
    lines.sort();
    let wanted: Vec<(String, BTreeSet<String>)> = tidegate_core::render::crt_list::all_lines(image)
        .into_iter()
        .map(|l| (l.file.to_string(), l.hosts.iter().map(|h| h.to_string()).collect()))
        .collect();
    if lines != wanted {
        return Err(format!("crt-list has {lines:?}, wanted {wanted:?}"));
    }
    if memory.default_certificate != Some(image.default_certificate) {
        return Err(format!("default certificate: {:?}", memory.default_certificate));
    }
    Ok(())
}

/// The keywords of each server that takes traffic.
fn keywords(backend: &Backend) -> BTreeMap<SocketAddr, &[String]> {
    let ready = backend.servers.iter().filter(|server| server.admin == Admin::Ready);
    ready.filter_map(|server| Some((server.address?, &*server.keywords))).collect()
}

/// Backends that spare ones stand for, by the spare one's name.
fn roles(memory: &Haproxy) -> BTreeMap<String, String> {
    let entries = memory.maps.get(&MapId::Ledger).into_iter().flatten();
    let spare = |(key, value): &(String, String)| {
        Some((key.strip_prefix("spare:")?.to_owned(), value.clone()))
    };
    entries.filter_map(spare).collect()
}

fn same_entries(
    id: MapId,
    image: &Image,
    memory: &Haproxy,
    roles: &BTreeMap<String, String>,
) -> Verdict {
    let logical = |text: &str| match id.has_records() {
        true => {
            let fields = text.split('|');
            let names = fields.map(|field| roles.get(field).map_or(field, |role| role.as_str()));
            names.collect::<Vec<_>>().join("|")
        }
        false => text.to_owned(),
    };
    let key_of = |key: &str| match id {
        MapId::Check => roles.get(key).cloned().unwrap_or_else(|| key.to_owned()),
        _ => key.to_owned(),
    };
    let mut has: Vec<(String, String)> = memory
        .maps
        .get(&id)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key_of(key), logical(value)))
        .collect();
    has.sort();
    let mut wanted: Vec<(String, String)> =
        image.map(id).iter().map(|(k, e)| (k.to_string(), e.value.to_string())).collect();
    wanted.sort();
    if has == wanted {
        return Ok(());
    }
    let surplus: Vec<_> = has.iter().filter(|e| !wanted.contains(e)).collect();
    let missing: Vec<_> = wanted.iter().filter(|e| !has.contains(e)).collect();
    Err(format!("{}: surplus {surplus:?}, missing {missing:?}", id.file()))
}

/// Whether each probe goes where the Ingress rules say.
fn answers_by_the_rules(drive: &Drive, case: &Case) -> Verdict {
    let refused = |p: &tidegate_core::problem::Problem| p.reason == Reason::Refused;
    if drive.controller.problems().any(|p| refused(p) || p.what.contains("HAProxy refused")) {
        // What is withheld is for the property about quarantine to judge.
        return Ok(());
    }
    let Some(worker) = &drive.worker else { return Ok(()) };
    let (objects, settings) = (drive.controller.world().objects(), case.setup.settings());
    let facts = Facts::new(&objects, &settings, &drive.resolved);
    let has = answers(&worker.memory);
    for ((host, path), has) in PROBES.iter().zip(has) {
        if let Some(wanted) = facts.answer(host, path).filter(|wanted| *wanted != has) {
            return Err(format!("{host}{path} meets {has:?}, and by the rules {wanted:?}"));
        }
        let (held, rules) = (worker.memory.users(host, path), facts.users(host, path));
        if matches!(has, Answer::Servers(_)) && rules.is_some_and(|rules| rules != held) {
            return Err(format!("{host}{path} is for users {held:?}, and by the rules {rules:?}"));
        }
        let (has, wanted) = (worker.memory.sni(host), facts.sni(host));
        if has != wanted {
            return Err(format!("TLS of {host} meets {has:?}, and by the rules {wanted:?}"));
        }
    }
    for port in PORTS {
        let (has, wanted) = (worker.memory.tcp(*port), facts.tcp(*port));
        if has != wanted {
            return Err(format!("port {port} meets {has:?}, and by the rules {wanted:?}"));
        }
    }
    Ok(())
}
