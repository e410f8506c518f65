//! What the lines of a schedule do to the world: faults of hosts and links, of the API server, of
//! HAProxy and of the disk.
//!
//! Inputs: a line, and when. Outputs: a world in which something goes wrong, for how long that may
//! show, and what ends it later.

use std::path::Path;

use tidegate::run::order::ACCEPT_DELETIONS;
use tidegate_core::action::MapId;

use super::STATE_DIR;
use super::fault::{Fault, KINDS};
use super::proxy::serve;
use super::replica::{Replica, ReplicaId};
use super::run::{AUDIT_MS, COPY_MS, Due, Run};
use super::schedule::Happens;
use super::world::{Here, lock};
use crate::swarm::schedule::What;

/// From when a held link is let go to when the last that it held has arrived, in milliseconds.
const LATE_MS: u64 = 100;
/// How long most faults may show, in milliseconds.
const SHOWN_MS: u64 = 20_000;

/// From one crash of a loop to the next, in milliseconds: HAProxy has just come back.
const CRASHES_MS: u64 = 1_200;

/// For how long a fault may be noticed.
struct Shows {
    /// Until when it may show.
    until_ms: u64,
    /// Until when it is not certain what a replica was told; 0 where the fault keeps no news from it.
    blind_ms: u64,
}

impl Shows {
    /// A fault that keeps news from a replica.
    fn blind(until_ms: u64) -> Shows {
        Shows { until_ms, blind_ms: until_ms }
    }

    /// One that does not.
    fn plain(until_ms: u64) -> Shows {
        Shows { until_ms, blind_ms: 0 }
    }
}

impl Run {
    /// Does what a line says.
    pub(super) fn happens(&mut self, happens: &Happens, now: u64) {
        match happens {
            Happens::Change(What::Canary) => lock(&self.world).canary = true,
            Happens::Change(what) => lock(&self.world).change(what),
            Happens::Quiet => lock(&self.world).quiet(),
            Happens::Still => lock(&self.world).still = true,
            Happens::Stream(host, ms) => {
                lock(&self.world).begin_streams(host, now + u64::from(*ms))
            }
            Happens::Clock(s, id) => lock(&self.world).at(*id).clock_s += i64::from(*s),
            Happens::Accept => {
                for disk in &self.disks {
                    disk.put(&Path::new(STATE_DIR).join(ACCEPT_DELETIONS), b"");
                }
            }
            Happens::Forever(forever, id) => self.stays(forever, *id, now),
            Happens::Fault(fault, id) => {
                self.begins(*fault, *id, now);
            }
        }
    }

    /// A fault begins: of a replica, or of the API server, which all of them share.
    fn begins(&mut self, fault: Fault, id: ReplicaId, now: u64) {
        let (shows, ids) = if !fault.is_of_one() {
            (Some(self.at_api(fault, now)), lock(&self.world).ids().collect())
        } else if fault.is_of_host() {
            (self.at_host(fault, id, now), vec![id])
        } else {
            (Some(self.at_proxy(fault, id, now)), vec![id])
        };
        let Some(Shows { until_ms, blind_ms }) = shows else { return };
        let mut world = lock(&self.world);
        world.sometimes(fault.name());
        for id in ids {
            let replica = world.at(id);
            replica.shake(fault.name(), until_ms);
            if blind_ms > 0 {
                replica.hide(now, blind_ms);
            }
        }
    }

    /// Faults of the API server.
    fn at_api(&mut self, fault: Fault, now: u64) -> Shows {
        let after = |ms: u32| now + u64::from(ms);
        let mut guard = lock(&self.world);
        let world = &mut *guard;
        Shows::blind(match fault {
            Fault::ApiDies(ms) => {
                if self.sim.is_host_running("api") {
                    self.sim.crash("api");
                    self.due.push((after(ms), Due::ApiReturns));
                }
                after(ms) + 15_000
            }
            Fault::Cut => {
                world.api.cut();
                now + 10_000
            }
            Fault::CutLists(count) => {
                world.api.cut_lists += count;
                world.api.compact();
                world.api.cut();
                now + 30_000
            }
            Fault::Expire => {
                world.api.compact();
                world.api.cut();
                now + 15_000
            }
            Fault::Silent(ms) => {
                world.api.silent_until_ms = after(ms);
                after(ms) + 100_000
            }
            Fault::Throttle(ms) => {
                world.api.throttled_until_ms = after(ms);
                world.api.cut();
                after(ms) + 20_000
            }
            Fault::Unwell(ms) => {
                world.api.unwell_until_ms = after(ms);
                world.api.cut();
                after(ms) + 20_000
            }
            Fault::Deny(kind, ms) => {
                world.api.denied = KINDS.get(usize::from(kind)).copied();
                world.api.denied_until_ms = after(ms);
                world.api.cut();
                after(ms) + 20_000
            }
            Fault::Emptied(ms) | Fault::Stale(ms) | Fault::Back(_, ms) => {
                let since_ms = match fault {
                    Fault::Back(changes, _) => world.api.go_back_by(changes),
                    Fault::Stale(_) => {
                        world.api.go_back();
                        now.saturating_sub(4 * COPY_MS)
                    }
                    _ => {
                        world.api.empty();
                        now
                    }
                };
                for replica in &mut world.replicas {
                    // As if nothing had been told since then.
                    replica.hide(now, now);
                    replica.blind.0 = replica.blind.0.min(since_ms);
                }
                world.store_replaced();
                self.due.retain(|(_, due)| *due != Due::ComeBack);
                self.due.push((after(ms), Due::ComeBack));
                // What was deleted meanwhile is held until an operator says that it is gone.
                after(ms) + 180_000
            }
            Fault::Lag(kind, ms) => {
                world.api.lagging = KINDS.get(usize::from(kind)).copied();
                world.api.lagging_until_ms = after(ms);
                after(ms) + 10_000
            }
            Fault::ExpirePages(count) => {
                world.api.expire_pages += count;
                world.api.compact();
                world.api.cut();
                now + 30_000
            }
            Fault::WatchErrors => {
                world.api.fail_watches();
                now + 10_000
            }
            Fault::NoMarks(ms) => {
                world.api.no_marks_until_ms = after(ms);
                // A watch on which nothing comes is given up, and begun again.
                after(ms) + SHOWN_MS
            }
            Fault::Twice(count) => {
                world.api.twice += count;
                return Shows::plain(now + SHOWN_MS);
            }
            Fault::Conflicts(count) => {
                world.api.conflicts += count;
                return Shows::plain(now + SHOWN_MS);
            }
            Fault::LoseWrites(count) => {
                world.api.lose_writes += count;
                return Shows::plain(now + SHOWN_MS);
            }
            _ => return Shows::plain(now),
        })
    }

    /// Faults of a replica's hosts, its disk, and its link to the API server; nothing if the link is
    /// down already.
    fn at_host(&mut self, fault: Fault, id: ReplicaId, now: u64) -> Option<Shows> {
        let after = |ms: u32| now + u64::from(ms);
        let is_down = self
            .due
            .iter()
            .any(|(_, due)| matches!(due, Due::Repair(of) | Due::Hears(of) | Due::Release(of) if *of == id));
        Some(match fault {
            Fault::Partition(_) | Fault::Deaf(_) | Fault::Delay(_) if is_down => return None,
            Fault::Partition(ms) => {
                lock(&self.world).at(id).partitioned = true;
                self.sim.partition("api", id.host());
                self.due.push((after(ms), Due::Repair(id)));
                // What was lost is noticed when nothing has come for long.
                Shows::blind(after(ms) + 100_000)
            }
            Fault::Deaf(ms) => {
                self.sim.partition_oneway("api", id.host());
                self.due.push((after(ms), Due::Hears(id)));
                Shows::blind(after(ms) + 100_000)
            }
            Fault::Delay(ms) => {
                self.sim.hold("api", id.host());
                lock(&self.world).at(id).late_until_ms = after(ms) + LATE_MS;
                self.due.push((after(ms), Due::Release(id)));
                Shows::blind(after(ms) + 40_000)
            }
            Fault::ControllerDies(ms) => {
                if !self.sim.is_host_running(id.host()) {
                    return None;
                }
                self.kill(id, now, u64::from(ms));
                Shows::plain(after(ms) + 25_000)
            }
            Fault::PowerCut(ms) => {
                lock(&self.world).at(id).site.die();
                self.kill(id, now, u64::from(ms));
                let disk = self.disk(id).clone();
                let before = disk.all();
                disk.cut_power(&mut self.power);
                lock(&self.world).survived(id, &before);
                Shows::plain(after(ms) + 25_000)
            }
            Fault::DiskFull(ms) => {
                self.disk(id).set_full(true);
                self.due.push((after(ms), Due::DiskIsFree(id)));
                Shows::plain(after(ms) + 30_000)
            }
            Fault::SyncFails(ms) => {
                self.disk(id).set_unsafe(true);
                self.due.push((after(ms), Due::DiskIsWell(id)));
                Shows::plain(after(ms) + 30_000)
            }
            Fault::SlowDisk(ms) => {
                self.disk(id).slow(u64::from(ms));
                Shows::plain(after(ms) + SHOWN_MS)
            }
            Fault::DiesWriting(count) => {
                self.disk(id).die_after(u64::from(count));
                Shows::plain(now + SHOWN_MS)
            }
            _ => return None,
        })
    }

    /// HAProxy dies, and so many times less one again.
    pub(super) fn crash(&mut self, id: ReplicaId, count: u32, now: u64) {
        let mut world = lock(&self.world);
        world.at(id).site.die();
        world.note_at(id, "workers", || "HAProxy died".to_owned());
        if let Some(left) = count.checked_sub(1).filter(|left| *left > 0) {
            self.due.push((now + CRASHES_MS, Due::Crash(id, left)));
        }
    }

    /// Faults of a replica's HAProxy.
    fn at_proxy(&mut self, fault: Fault, id: ReplicaId, now: u64) -> Shows {
        if fault == Fault::ForeignReload {
            serve::reloaded_by_others(&Here { world: self.world.clone(), id });
            return Shows::plain(now + SHOWN_MS);
        }
        if fault == Fault::WorkerDies {
            self.crash(id, 1, now);
            return Shows::plain(now + SHOWN_MS);
        }
        if let Fault::CrashLoop(count) = fault {
            self.crash(id, count, now);
            return Shows::plain(now + u64::from(count) * CRASHES_MS + SHOWN_MS);
        }
        let mut world = lock(&self.world);
        let Replica { armed, site, .. } = world.at(id);
        let mut until_ms = now + SHOWN_MS;
        match fault {
            Fault::LoseCommands(count) => armed.lose_commands = Some(count),
            Fault::CutAnswer => armed.cut_answer = true,
            Fault::Hang(ms) => {
                armed.hang_until_ms = now + u64::from(ms);
                until_ms += u64::from(ms);
            }
            Fault::RefuseCommand => armed.refuse_command = true,
            Fault::Busy(count) => armed.busy = count,
            Fault::LoseReload => {
                armed.lose_reload = true;
                until_ms += 60_000;
            }
            Fault::SlowReload(ms) => {
                armed.slow_files_ms = u64::from(ms);
                until_ms += u64::from(ms);
            }
            Fault::RefuseLoad => armed.refuse_load = true,
            Fault::MuteMaster(ms) => {
                armed.mute_until_ms = now + u64::from(ms);
                until_ms += u64::from(ms) + 60_000;
            }
            Fault::Tamper => {
                let worker = site.workers.iter_mut().rev().find(|worker| !worker.stopping);
                let routes = worker.and_then(|worker| worker.memory.maps.get_mut(&MapId::Route));
                routes.and_then(Vec::pop);
                until_ms = now + AUDIT_MS;
            }
            _ => {}
        }
        Shows::plain(until_ms)
    }
}
