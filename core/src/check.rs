//! Invariants, as one sweep: for tests and simulation after every step.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::action::{MapId, RuntimeCommand};
use crate::controller::{Controller, FilesFlight, RuntimeFlight};
use crate::desired::{Key, Owned, Table};
use crate::plan::mark_differences;
use crate::render::maps;

/// Every invariant that does not hold, by number; empty when all is well.
#[must_use]
pub fn check(controller: &Controller) -> Vec<String> {
    let mut broken = Vec::new();
    routes_name_what_is_wanted(controller, &mut broken);
    if !controller.projections().reads_and_readers_agree() {
        broken.push("I3: reads and readers are not inverse relations".into());
    }
    running_routes_are_whole(controller, &mut broken);
    quiet_means_equal(controller, &mut broken);
    entries_are_writable(controller, &mut broken);
    what_was_added_stays(controller, &mut broken);
    broken
}

/// I2: each route names a backend and a policy that are wanted, or an answer.
fn routes_name_what_is_wanted(controller: &Controller, broken: &mut Vec<String>) {
    let image = controller.desired().image();
    for (map, key, record) in records(|map| image.map(map)) {
        let (backend, policy) = maps::parts(&record.value);
        let policy = policy.filter(|_| map == MapId::Route);
        if !maps::is_static(backend) && image.backends.get(backend).is_none() {
            broken.push(format!("I2: route {key} names backend {backend}, which nobody wants"));
        }
        let canary = maps::canary(&record.value).filter(|_| map == MapId::Route);
        if let Some(canary) = canary.filter(|canary| image.backends.get(canary).is_none()) {
            broken.push(format!("I2: route {key} names canary {canary}, which nobody wants"));
        }
        if let Some(policy) = policy.filter(|p| image.map(MapId::Policy).get(p).is_none()) {
            broken.push(format!("I2: route {key} names policy {policy}, which nobody wants"));
        }
    }
}

/// Everything that refers to backends.
fn records<'a>(
    of: impl Fn(MapId) -> &'a Table<Owned<Arc<str>>>,
) -> impl Iterator<Item = (MapId, &'a Arc<str>, &'a Owned<Arc<str>>)> {
    let maps = MapId::ALL.into_iter().filter(|map| map.has_records());
    maps.flat_map(move |map| of(map).iter().map(move |(key, record)| (map, key, record)))
}

/// I7: no running route names a backend or policy that is not there.
fn running_routes_are_whole(controller: &Controller, broken: &mut Vec<String>) {
    let Some(running) = controller.running() else { return };
    let mut there: alloc::collections::BTreeSet<&str> =
        running.backends.iter().map(|(_, b)| &*b.physical).collect();
    there.extend(running.spares.values().flatten().map(|s| &**s));
    for (map, key, record) in records(|map| running.map(map)) {
        let (backend, policy) = maps::parts(&record.value);
        let policy = policy.filter(|_| map == MapId::Route);
        if !maps::is_static(backend) && !there.contains(backend) {
            broken.push(format!("I7: running route {key} names missing backend {backend}"));
        }
        let canary = maps::canary(&record.value).filter(|_| map == MapId::Route);
        if let Some(canary) = canary.filter(|canary| !there.contains(canary)) {
            broken.push(format!("I7: running route {key} names missing canary {canary}"));
        }
        if let Some(policy) = policy.filter(|p| running.map(MapId::Policy).get(p).is_none()) {
            broken.push(format!("I7: running route {key} names missing policy {policy}"));
        }
    }
}

/// I10: what is not dirty is equal.
fn quiet_means_equal(controller: &Controller, broken: &mut Vec<String>) {
    let Some(running) = controller.running().filter(|_| controller.is_quiet()) else { return };
    let mut probe = controller.desired().clone();
    mark_differences(&mut probe, running);
    for key in probe.dirty() {
        // These are marked always, and settled by looking closer.
        let marked_always = match key {
            Key::Skeleton | Key::DefaultCertificate | Key::File(_) | Key::Certificate(_) => true,
            // A spare backend's check entry is under the spare's name; a deleted backend stays
            // where HAProxy deletes none.
            Key::Map(MapId::Check, _) => true,
            Key::Map(map, _) if map.has_records() => !running.spares.is_empty(),
            Key::Backend(name) => controller.desired().image().backends.get(name).is_none(),
            Key::Map(..) => false,
        };
        if !marked_always {
            broken.push(format!("I10: quiet, and {key:?} differs"));
        }
    }
}

/// I13: every entry keeps to the lexical context of a map file.
fn entries_are_writable(controller: &Controller, broken: &mut Vec<String>) {
    let image = controller.desired().image();
    for map in MapId::ALL {
        for (key, entry) in image.map(map).iter() {
            if !maps::is_writable(key, &entry.value) {
                broken.push(format!("I13: an entry of {} cannot be written: {key}", map.file()));
            }
        }
    }
}

/// I14: while a reload is under way, nothing is added that the worker it brings would not have.
fn what_was_added_stays(controller: &Controller, broken: &mut Vec<String>) {
    let Some(FilesFlight::Reload { id: reload, image }) = &controller.files else { return };
    let Some(RuntimeFlight::Commands { id, commands }) = &controller.runtime else { return };
    // One sent before was wanted when the reload was asked for, or is wanted no more.
    if id < reload {
        return;
    }
    for command in commands {
        if let RuntimeCommand::AddMapEntry { map, key, value: _ } = &command.command
            && map.has_records()
            && image.map(*map).get(key).is_none()
        {
            broken.push(format!("I14: {key} is added, and the next worker will not have it"));
        }
    }
}
