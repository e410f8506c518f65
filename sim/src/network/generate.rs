//! Schedules from seeds: phases that grow, churn, churn hard, shrink, each followed by rest; a random
//! part of all faults. At the end tidegate starts again and everything is listed anew, and nothing may
//! be changed by that. One seed of four has two replicas; then one leads after the other at the end.
//! In one of four, after the first phases, something breaks for good, and the rest is owed all the same.

use super::fault::Fault;
use super::forever::Forever;
use super::hosts::TERM_MS;
use super::proxy::Version;
use super::replica::ReplicaId;
use super::schedule::{Entry, Happens, Schedule};
use crate::dice::Dice;
use crate::swarm::changes::{Changes, HOSTS};
use crate::swarm::schedule::What;

/// An address is not given away again for so long, in milliseconds.
const REUSE_MS: u64 = 1_500;
/// All is quiet after so long without changes or faults: retries come at most a minute apart, and a
/// connection on which nothing comes is given up after 75 seconds.
pub(super) const REST_MS: u64 = 220_000;
/// An operator accepts deletions so long after the last fault, when all lists are made again.
pub(super) const ACCEPT_MS: u64 = 150_000;
/// The same when no fault was near.
pub(super) const CALM_MS: u64 = 70_000;

/// What breaks for good has settled after so long, in milliseconds.
pub(super) const SETTLED_MS: u64 = 25_000;

/// By how much a clock is set at most, forward or back, in seconds.
const CLOCK_S: u64 = 7_200;

/// A request lasts for so long at most, in milliseconds: it ends, and what waited for it is deleted,
/// before all is to be quiet.
const STREAM_MS: u64 = 120_000;

/// Longer than the term of a Lease, in milliseconds.
const LONG_MS: u32 = 20_000;

struct Plan {
    now: u64,
    entries: Vec<Entry>,
}

impl Plan {
    fn put(&mut self, what: Happens) {
        self.entries.push(Entry { at_ms: self.now, what });
    }

    /// Something breaks for good, and the cluster goes on changing.
    fn goes_on(&mut self, dice: &mut Dice, replicas: usize, changes: &mut Changes) {
        let all = Forever::all();
        let fair: Vec<&Forever> =
            all.iter().filter(|one| replicas > 1 || !one.needs_two()).collect();
        let Some(forever) = dice.pick(&fair).map(|forever| (*forever).clone()) else { return };
        let at = if forever.is_of_one() { dice.below(replicas as u64) } else { 0 };
        if let Forever::RefuseStatus(name) = &forever {
            // Its status is owed again when it is back.
            self.put(Happens::Change(What::NoIngress(name.clone())));
        }
        let id = ReplicaId(at as usize);
        self.put(Happens::Forever(forever, id));
        self.now += SETTLED_MS;
        for number in 0..24 {
            self.now += dice.between(1, 1_600);
            if number % 8 == 4 {
                self.put(Happens::Fault(Fault::ForeignReload, id));
            }
            self.put(Happens::Change(changes.any(self.now, false)));
        }
        self.rest(REST_MS);
    }

    fn rest(&mut self, ms: u64) {
        self.now += ms;
        self.put(Happens::Quiet);
    }
}

/// A fault with numbers.
pub(super) fn fault(dice: &mut Dice, kind: Fault) -> Fault {
    let ms = |dice: &mut Dice, low, high| dice.between(low, high) as u32;
    match kind {
        Fault::Partition(_) | Fault::Deaf(_) | Fault::Silent(_) => {
            kind.with(ms(dice, 100, 30_000), 0)
        }
        Fault::Delay(_) | Fault::ApiDies(_) => kind.with(ms(dice, 10, 15_000), 0),
        Fault::Deny(..) | Fault::Lag(..) => kind.with(dice.below(4) as u32, ms(dice, 100, 20_000)),
        // Longer than without bookmarks a watch is believed in.
        Fault::NoMarks(_) => kind.with(ms(dice, 60_000, 150_000), 0),
        Fault::Back(..) => kind.with(dice.between(1, 12) as u32, ms(dice, 100, 20_000)),
        Fault::Throttle(_) | Fault::Unwell(_) | Fault::Emptied(_) | Fault::Stale(_) => {
            kind.with(ms(dice, 100, 20_000), 0)
        }
        Fault::CutLists(_)
        | Fault::ExpirePages(_)
        | Fault::LoseWrites(_)
        | Fault::Conflicts(_)
        | Fault::Busy(_) => kind.with(dice.between(1, 4) as u32, 0),
        Fault::CrashLoop(_) => kind.with(dice.between(2, 8) as u32, 0),
        Fault::Twice(_) => kind.with(dice.between(1, 30) as u32, 0),
        Fault::LoseCommands(_) => kind.with(dice.below(6) as u32, 0),
        Fault::DiesWriting(_) => kind.with(dice.below(30) as u32, 0),
        Fault::Hang(_) | Fault::MuteMaster(_) | Fault::SlowReload(_) | Fault::SlowDisk(_) => {
            kind.with(ms(dice, 10, 8_000), 0)
        }
        Fault::DiskFull(_) | Fault::SyncFails(_) => kind.with(ms(dice, 100, 15_000), 0),
        Fault::ControllerDies(_) => kind.with(ms(dice, 10, 5_000), 0),
        Fault::PowerCut(_) => kind.with(ms(dice, 500, 15_000), 0),
        other => other,
    }
}

/// A fault at one of the replicas. Where there are two, half of the deaths last longer than a term.
fn somewhere(dice: &mut Dice, replicas: usize, fault: Fault) -> Happens {
    if replicas == 1 || !fault.is_of_one() {
        return Happens::Fault(fault, ReplicaId::default());
    }
    let is_death = matches!(fault, Fault::ControllerDies(_) | Fault::PowerCut(_));
    let fault = if is_death && dice.percent(50) {
        fault.with(dice.between(TERM_MS, 2 * TERM_MS) as u32, 0)
    } else {
        fault
    };
    Happens::Fault(fault, ReplicaId(dice.below(replicas as u64) as usize))
}

/// A schedule of about a quarter of an hour.
#[must_use]
pub fn schedule(seed: u64) -> Schedule {
    let mut choices = Dice::new(seed, "network");
    let version = Version::ALL[(seed % 4) as usize];
    let chosen: Vec<Fault> = Fault::ALL.into_iter().filter(|_| choices.percent(30)).collect();
    let mut schedule = Schedule::new(version, seed);
    schedule.page_max = *choices.pick(&[1, 2, 3, 500]).unwrap_or(&500);
    schedule.streaming = choices.percent(60);
    schedule.tick_ms = *choices.pick(&[2, 5]).unwrap_or(&2);
    let mut changes = Changes::new(seed, choices.percent(60), REUSE_MS);
    let mut plan = Plan { now: 0, entries: Vec::new() };
    let mut faults = Dice::new(seed, "faults");
    let mut replicas = Dice::new(seed, "replicas");
    let mut streams = Dice::new(seed, "streams");
    let mut clocks = Dice::new(seed, "clocks");
    let mut stops = Dice::new(seed, "stops");
    if stops.percent(40) {
        // Streams last for longer than old workers may.
        schedule.hard_stop_s = stops.between(5, 60) as u32;
    }
    if replicas.percent(25) {
        schedule.replicas = 2;
        // Each costs as much as one alone.
        schedule.tick_ms = 5;
    }
    for what in changes.first(0) {
        plan.put(Happens::Change(what));
    }
    plan.rest(CALM_MS);
    let mut lasting = Dice::new(seed, "forever");
    let is_lasting = lasting.percent(25);
    for phase in if is_lasting { 0..2 } else { 0..4 } {
        // Grow, churn, churn hard, shrink.
        let (count, gap_ms, shrink) = match phase {
            0 => (12, 1_500, false),
            1 => (25, 800, false),
            2 => (50, 60, false),
            _ => (12, 1_200, true),
        };
        let begin = plan.entries.len();
        for _ in 0..count {
            plan.now += changes.dice.between(1, gap_ms * 2);
            if let Some(kind) = faults.pick(&chosen).copied()
                && faults.percent(if phase == 2 { 6 } else { 15 })
            {
                let what = fault(&mut faults, kind);
                plan.put(somewhere(&mut replicas, schedule.replicas, what));
                plan.now += faults.below(20);
            }
            if streams.percent(25) {
                let host = streams.pick(HOSTS).copied().unwrap_or("a.example");
                let most = streams.pick(&[1_000, 10_000, STREAM_MS]).copied().unwrap_or(STREAM_MS);
                plan.put(Happens::Stream(host.to_owned(), streams.between(1, most) as u32));
            }
            if clocks.percent(2) {
                let seconds = clocks.between(1, 2 * CLOCK_S) as i32 - CLOCK_S as i32;
                let id = ReplicaId(clocks.below(schedule.replicas as u64) as usize);
                plan.put(Happens::Clock(seconds, id));
            }
            plan.put(Happens::Change(changes.any(plan.now, shrink)));
        }
        // What is deleted while another store answers is held.
        let replaced = |entry: &Entry| matches!(entry.what, Happens::Fault(fault, _) if fault.replaces_store());
        let accepted = if plan.entries.iter().skip(begin).any(replaced) {
            plan.now += ACCEPT_MS;
            plan.put(Happens::Accept);
            ACCEPT_MS
        } else {
            0
        };
        plan.rest(REST_MS - accepted);
    }
    if is_lasting {
        plan.goes_on(&mut lasting, schedule.replicas, &mut changes);
        schedule.entries = plan.entries;
        return schedule;
    }
    let first = ReplicaId::default();
    let mut last = vec![(Fault::Expire, first)];
    if schedule.replicas == 1 {
        last.push((Fault::ControllerDies(200), first));
    } else {
        // Whoever leads is gone for longer than its term.
        last.extend([first, ReplicaId(1)].map(|id| (Fault::ControllerDies(LONG_MS), id)));
    }
    for (fault, id) in last {
        plan.put(Happens::Still);
        plan.put(Happens::Fault(fault, id));
        plan.rest(CALM_MS);
    }
    schedule.entries = plan.entries;
    schedule
}
