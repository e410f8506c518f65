//! Backends and servers: add, switch, drain, delete; on slots and spare backends where HAProxy
//! makes none at run time.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::remedy::{self, BackendRemedy, ReloadReason};
use super::{Draft, Inputs, Next, Phase};
use crate::action::{MapId, RuntimeCommand, ServerState};
use crate::applied::{Admin, LEDGER_SPARE, Published, RunningBackend, RunningServer};
use crate::desired::Backend;
use crate::desired::backend::{server_name, slot_name};
use crate::sabotage::{Mistake, is_planted};
use crate::settings::Delays;
use crate::time::Time;

/// Servers that go are deleted together, at times that are multiples of this: one batch of commands for
/// those of several changes.
const COLLECTED_EACH_MS: u64 = 250;

type Commands = Vec<(RuntimeCommand, Option<Arc<str>>)>;

/// What a backend needs next.
pub(crate) fn next(inputs: &Inputs<'_>, name: &Arc<str>, draft: &mut Draft) -> Next {
    let wanted = inputs.desired.image().backends.get(name);
    let running = inputs.running.backends.get(name);
    match (wanted, running) {
        (None, None) => Next::Settled,
        (Some(wanted), None) => create(inputs, wanted, draft),
        (Some(wanted), Some(running)) => change(inputs, wanted, running),
        (None, Some(running)) => remove(inputs, name, running),
    }
}

fn create(inputs: &Inputs<'_>, wanted: &Backend, draft: &mut Draft) -> Next {
    if !files_are_there(inputs, wanted) {
        return Next::Wait;
    }
    let name = &wanted.name;
    if !inputs.running.has_profile(&wanted.spec) {
        return Next::Reload(ReloadReason::NewSnippet((**name).into()));
    }
    let mut commands = Commands::new();
    match remedy::new_backend(inputs.capabilities, inputs.running, wanted, &draft.claimed) {
        BackendRemedy::Reload => return Next::Reload(ReloadReason::NewBackend((**name).into())),
        BackendRemedy::Add => {
            draft.new_backends += 1;
            let (backend, profile) = (name.clone(), wanted.spec.profile.clone());
            push(&mut commands, name, RuntimeCommand::AddBackend { backend, profile });
            push(&mut commands, name, RuntimeCommand::PublishBackend { backend: name.clone() });
            for address in &wanted.servers {
                add_server(inputs, &mut commands, wanted, name, address);
            }
        }
        BackendRemedy::Claim(spare) => {
            // Alone: were it refused, servers would wait in a backend that is nobody's, for
            // whoever claims it next.
            *draft.claimed.entry(wanted.spec.profile.clone()).or_insert(0) += 1;
            let key = alloc::format!("{LEDGER_SPARE}{spare}").into();
            let value = name.clone();
            let claim = RuntimeCommand::AddMapEntry { map: MapId::Ledger, key, value };
            push(&mut commands, name, claim);
        }
    }
    Next::Commands(Phase::Build, commands)
}

fn files_are_there(inputs: &Inputs<'_>, wanted: &Backend) -> bool {
    wanted.spec.files.iter().all(|file| inputs.running.files.contains(&file.file()))
}

fn push(commands: &mut Commands, name: &Arc<str>, command: RuntimeCommand) {
    commands.push((command, Some(name.clone())));
}

fn add_server(
    inputs: &Inputs<'_>,
    commands: &mut Commands,
    wanted: &Backend,
    physical: &Arc<str>,
    address: &SocketAddr,
) {
    let (backend, server) = (physical.clone(), server_name(address));
    let checks = inputs.desired.image().skeleton.checks;
    let keywords = match is_planted(Mistake::PlainAtRunTime) {
        true => "".into(),
        false => wanted.spec.server_keywords(checks),
    };
    let add = RuntimeCommand::AddServer {
        backend: backend.clone(),
        server: server.clone(),
        address: *address,
        keywords: keywords.clone(),
    };
    push(commands, &wanted.name, add);
    if checks && wanted.spec.is_checked() {
        let (backend, server) = (backend.clone(), server.clone());
        push(commands, &wanted.name, RuntimeCommand::EnableHealth { backend, server });
    }
    set_state(commands, wanted.name.clone(), physical, server, ServerState::Ready);
}

fn set_state(
    commands: &mut Commands,
    name: Arc<str>,
    physical: &Arc<str>,
    server: Arc<str>,
    state: ServerState,
) {
    let backend = physical.clone();
    commands.push((RuntimeCommand::SetServerState { backend, server, state }, Some(name)));
}

/// Endpoints that go leave at once, unless they are the last ones and others are to come: then
/// those come first. If these have slots for too few of them, one of the last stays for that long.
fn change(inputs: &Inputs<'_>, wanted: &Backend, running: &RunningBackend) -> Next {
    let is_wanted = |s: &RunningServer| wanted.servers.binary_search(&s.address).is_ok();
    let ready = |s: &RunningServer| s.state == Admin::Ready;
    let kept = running.servers.iter().filter(ready).filter(is_wanted).count();
    let leaving: Vec<_> = running.servers.iter().filter(ready).filter(|s| !is_wanted(s)).collect();
    let missing: Vec<&SocketAddr> = wanted
        .servers
        .iter()
        .filter(|a| running.servers.get(a).is_none_or(|s| s.state != Admin::Ready))
        .collect();
    let mut slots = free_slots(wanted, running);
    let stay = if kept > 0 || missing.is_empty() || is_planted(Mistake::BreakBeforeMake) {
        0
    } else if !inputs.capabilities.dynamic_servers && slots.len() < missing.len() {
        1
    } else {
        leaving.len()
    };
    let mut commands = Commands::new();
    let mut short_of_slots = false;
    let unpublished = running.published != Published::Yes;
    if unpublished && !wanted.servers.is_empty() && inputs.capabilities.dynamic_backends {
        // Alone, so that it is acknowledged before a server is ready: a read-back takes a backend
        // with a ready server for published.
        let backend = running.physical.clone();
        push(&mut commands, &wanted.name, RuntimeCommand::PublishBackend { backend });
        return Next::Commands(Phase::Urgent, commands);
    }
    if is_planted(Mistake::LeavesInRounds) && missing.is_empty() && !leaving.is_empty() {
        let round = Time(inputs.now.0.next_multiple_of(5_000));
        if round > inputs.now {
            return Next::WaitUntil(round);
        }
    }
    for server in leaving.iter().skip(stay) {
        let (physical, name) = (&running.physical, wanted.name.clone());
        set_state(&mut commands, name, physical, server.name(), ServerState::Maint);
    }
    for address in missing {
        if let Some(server) = running.servers.get(address) {
            let (physical, name) = (&running.physical, wanted.name.clone());
            set_state(&mut commands, name, physical, server.name(), ServerState::Ready);
        } else if inputs.capabilities.dynamic_servers {
            add_server(inputs, &mut commands, wanted, &running.physical, address);
        } else if let Some(slot) = slots.pop() {
            let (backend, server) = (running.physical.clone(), slot_name(slot));
            if is_planted(Mistake::StateBeforeAddress) {
                let name = wanted.name.clone();
                set_state(&mut commands, name, &backend, server.clone(), ServerState::Ready);
            }
            let set = RuntimeCommand::SetServerAddress { backend, server, address: *address };
            // Ready comes with the next plan, once the address was answered: were the address
            // refused and the state not, the one before would serve, by now perhaps a stranger's.
            push(&mut commands, &wanted.name, set);
        } else {
            short_of_slots = true;
        }
    }
    if short_of_slots && is_planted(Mistake::TooManyEmpties) {
        for server in running.servers.iter().filter(ready) {
            let (physical, name) = (&running.physical, wanted.name.clone());
            set_state(&mut commands, name, physical, server.name(), ServerState::Maint);
        }
    }
    if is_planted(Mistake::UnsortedSlots) && is_out_of_order(running) {
        for server in running.servers.iter().filter(ready) {
            let (physical, name) = (&running.physical, wanted.name.clone());
            set_state(&mut commands, name, physical, server.name(), ServerState::Ready);
        }
    }
    if !commands.is_empty() {
        return Next::Commands(Phase::Urgent, commands);
    }
    if short_of_slots {
        return Next::Reload(ReloadReason::SlotsExhausted((*wanted.name).into()));
    }
    if !leaving.is_empty() {
        return Next::Wait;
    }
    let spent = running.servers.iter().filter(|s| !is_wanted(s));
    delete_servers(inputs, &wanted.name, running, spent)
}

/// Whether the order of slots is not that of addresses, which never matters.
fn is_out_of_order(running: &RunningBackend) -> bool {
    let servers = running.servers.iter().filter(|s| s.state == Admin::Ready);
    let mut slots: Vec<(u16, SocketAddr)> = servers.map(|s| (s.slot, s.address)).collect();
    slots.sort_unstable();
    !slots.is_sorted_by_key(|(_, address)| *address)
}

/// Slots without endpoint, and those whose endpoint is gone; the lowest is popped first.
fn free_slots(wanted: &Backend, running: &RunningBackend) -> Vec<u16> {
    let spent = running.servers.iter().filter(|s| {
        s.slot != 0 && s.state != Admin::Ready && wanted.servers.binary_search(&s.address).is_err()
    });
    let mut slots: Vec<u16> =
        running.free_slots.iter().copied().chain(spent.map(|s| s.slot)).collect();
    slots.sort_unstable_by(|a, b| b.cmp(a));
    slots
}

/// When a server that went into maintenance then is deleted.
pub(crate) fn deleted_at(since: Time, delays: &Delays) -> Time {
    Time(since.plus_ms(delays.drain_ms).0.next_multiple_of(COLLECTED_EACH_MS))
}

/// Deletes servers that have been in maintenance for long enough. Slots stay.
fn delete_servers(
    inputs: &Inputs<'_>,
    name: &Arc<str>,
    running: &RunningBackend,
    spent: impl Iterator<Item = RunningServer>,
) -> Next {
    let mut commands = Commands::new();
    let mut earliest: Option<Time> = None;
    for server in spent.filter(|s| s.slot == 0) {
        let Admin::Maint(since) = server.state else { continue };
        let due = deleted_at(since, &inputs.settings.delays);
        if due > inputs.now {
            earliest = Some(earliest.map_or(due, |e| e.min(due)));
            continue;
        }
        let (backend, server) = (running.physical.clone(), server.name());
        if is_planted(Mistake::CutsToDelete) {
            let (backend, server) = (backend.clone(), server.clone());
            push(&mut commands, name, RuntimeCommand::ShutdownSessions { backend, server });
        }
        push(&mut commands, name, RuntimeCommand::DeleteServer { backend, server });
    }
    match (commands.is_empty(), earliest) {
        (false, _) => Next::Commands(Phase::Collect, commands),
        (true, Some(at)) => Next::WaitUntil(at),
        (true, None) => Next::Settled,
    }
}

/// A backend nobody wants: emptied and unpublished once no route refers to it, then deleted, or
/// given back to the spare ones. Where HAProxy deletes no backends it stays, empty, until the next
/// reload.
fn remove(inputs: &Inputs<'_>, name: &Arc<str>, running: &RunningBackend) -> Next {
    let physical = &running.physical;
    if inputs.running.is_referred(physical) && !is_planted(Mistake::ServersBeforeRoutes) {
        return Next::Wait;
    }
    let early = is_planted(Mistake::ServersBeforeRoutes);
    let mut commands = Commands::new();
    for server in running.servers.iter().filter(|s| s.state == Admin::Ready) {
        set_state(&mut commands, name.clone(), physical, server.name(), ServerState::Maint);
    }
    // Last: a read-back takes a backend with a ready server for published.
    if running.published != Published::No && inputs.capabilities.dynamic_backends {
        let backend = physical.clone();
        push(&mut commands, name, RuntimeCommand::UnpublishBackend { backend });
        if is_planted(Mistake::UnpublishFirst) {
            commands.rotate_right(1);
        }
    }
    if !commands.is_empty() {
        return Next::Commands(if early { Phase::Urgent } else { Phase::Collect }, commands);
    }
    if inputs.capabilities.dynamic_servers && !running.servers.is_empty() {
        return delete_servers(inputs, name, running, running.servers.iter());
    }
    if inputs.capabilities.dynamic_backends {
        let backend = physical.clone();
        push(&mut commands, name, RuntimeCommand::DeleteBackend { backend });
        return Next::Commands(Phase::Collect, commands);
    }
    if crate::render::backend::spare_profile(physical).is_some() {
        let key = alloc::format!("{LEDGER_SPARE}{physical}").into();
        let release = RuntimeCommand::DeleteMapEntry { map: MapId::Ledger, key };
        push(&mut commands, name, release);
        return Next::Commands(Phase::Collect, commands);
    }
    Next::Settled
}
