//! Breadth first through every state of the small world: each state once, each judged, and each
//! led to quiet.
//!
//! The calm move of a state (answers come, time passes) is one of its moves, so the calm moves
//! make a forest inside the visited graph, and one pass over it tells from every state whether
//! and in how many moves all is quiet (L1; see `calm`). The order of states is fixed, so counts are
//! equal with any number of threads.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::mpsc;

use super::calm::{self, Astray, Known};
use super::judge::{self, Broken};
use super::lab::Lab;
use super::moves::{Budget, Move};
use super::state::State;
use tidegate_core::capability::Capabilities;

/// Most calm moves from any state until all is quiet.
pub const CALM_MOVES_MAX: u32 = 120;

/// States handed to a thread at a time.
const PORTION: usize = 256;

/// What is explored.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What HAProxy can do.
    pub capabilities: Capabilities,
    /// What may happen.
    pub budget: Budget,
    /// States beyond which no further level is begun.
    pub states_max: usize,
    /// Threads.
    pub threads: usize,
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Distinct states.
    pub states: usize,
    /// Moves made and judged.
    pub moves: u64,
    /// Distinct states in which all is quiet.
    pub quiet: usize,
    /// Moves from the first state to the last visited.
    pub depth: usize,
    /// Whether no state was left unvisited.
    pub complete: bool,
    /// Most calm moves from any state until all was quiet.
    pub calm_moves: u32,
    /// States by depth.
    pub by_depth: Vec<usize>,
}

/// A promise that does not hold, with everything that happened from the first state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The promise.
    pub broken: Broken,
    /// What happened, in order.
    pub moves: Vec<Move>,
    /// Distinct states seen so far.
    pub states: usize,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (depth {}, {} states)", self.broken, self.moves.len(), self.states)?;
        for (number, step) in self.moves.iter().enumerate() {
            writeln!(f, "  {:>2}. {step}", number + 1)?;
        }
        Ok(())
    }
}

/// The hash of a state is its place in the table.
#[derive(Default)]
pub(super) struct Place(u64);

impl Hasher for Place {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u128(&mut self, n: u128) {
        self.0 = n as u64;
    }
}

/// The number of each state that was seen, by its hash.
pub(super) type Seen = HashMap<u128, u32, BuildHasherDefault<Place>>;

/// What is kept of a state that was seen.
pub(super) struct Visited {
    parent: u32,
    how: Move,
    /// The state that the calm move leads to; itself when all is quiet, nobody before it is visited.
    pub(super) calm: u32,
}

/// A move's outcome.
struct Made {
    parent: u32,
    how: Move,
    calm: bool,
    hash: u128,
    /// Nothing when it was visited before this level.
    state: Option<Box<State>>,
}

/// What one state led to.
struct Expanded {
    parent: u32,
    made: Vec<Made>,
    broken: Option<(Move, Broken)>,
}

pub(super) const NOBODY: u32 = u32::MAX;

/// Explores.
///
/// # Errors
/// The first broken promise at the smallest depth.
pub fn explore(plan: &Plan, mut progress: impl FnMut(&Report)) -> Result<Report, Box<Found>> {
    let lab = Lab::new(plan.capabilities.clone());
    let mut report = Report::default();
    let fail = |broken, moves, states| Box::new(Found { broken, moves, states });
    let first = State::first(&lab, plan.budget);
    let first = first.and_then(|first| judge::state(&lab, &first).map(|()| first));
    let first = first.map_err(|b| fail(b, vec![], 1))?;
    let mut seen = Seen::default();
    seen.insert(first.hash(), 0);
    let mut visited = vec![Visited { parent: NOBODY, how: Move::Wake, calm: NOBODY }];
    let mut frontier: Vec<(u32, Box<State>)> = vec![(0, Box::new(first))];
    report.by_depth.push(1);
    while !frontier.is_empty() && seen.len() < plan.states_max {
        let mut next: Vec<(u32, Box<State>)> = Vec::new();
        let mut failed: Option<(u32, Move, Broken)> = None;
        let mut rest = std::mem::take(&mut frontier).into_iter();
        loop {
            // A stretch at a time, so that not all children of a level are alive at once.
            let stretch: Vec<_> = rest.by_ref().take(PORTION * plan.threads * 4).collect();
            if stretch.is_empty() {
                break;
            }
            let expand = |(at, state): (u32, Box<State>)| expand_one(&lab, at, &state, &seen);
            for Expanded { parent, made, broken } in spread(stretch, plan.threads, expand) {
                if failed.is_none()
                    && let Some((how, broken)) = broken
                {
                    failed = Some((parent, how, broken));
                }
                for Made { parent, how, calm, hash, state } in made {
                    report.moves += 1;
                    let number = seen.len() as u32;
                    let number = match seen.entry(hash) {
                        Entry::Occupied(known) => *known.get(),
                        Entry::Vacant(free) => {
                            free.insert(number);
                            visited.push(Visited { parent, how, calm: NOBODY });
                            next.extend(state.map(|state| (number, state)));
                            number
                        }
                    };
                    if calm && let Some(from) = visited.get_mut(parent as usize) {
                        from.calm = number;
                    }
                }
            }
            if failed.is_some() {
                break;
            }
        }
        if let Some((parent, how, broken)) = failed {
            let mut moves = path(&visited, parent);
            moves.push(how);
            return Err(fail(broken, moves, seen.len()));
        }
        frontier = next;
        report.depth += 1;
        report.states = seen.len();
        report.by_depth.push(frontier.len());
        progress(&report);
    }
    report.states = seen.len();
    report.complete = frontier.is_empty();
    let known = Known { visited: &visited, seen: &seen };
    let left = calm::led(&lab, &known, frontier, plan.threads);
    let left = left.map_err(|Astray { number, moves, broken }| {
        fail(broken, [path(&visited, number), moves].concat(), report.states)
    })?;
    report.quiet = visited.iter().enumerate().filter(|(at, v)| v.calm as usize == *at).count();
    report.calm_moves = left.iter().copied().max().unwrap_or(0);
    if report.calm_moves > CALM_MOVES_MAX {
        let worst = left.iter().position(|l| *l == report.calm_moves).unwrap_or(0);
        let why = format!("{} moves until all is quiet", report.calm_moves);
        return Err(fail(Broken::new("L1", why), path(&visited, worst as u32), report.states));
    }
    Ok(report)
}

/// Does work in portions on several threads; the order of what comes of it is that of the items.
pub(super) fn spread<T: Send, R: Send>(
    items: Vec<T>,
    threads: usize,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    if threads <= 1 {
        return items.into_iter().map(work).collect();
    }
    let mut portions: Vec<(usize, Vec<T>)> = Vec::new();
    let mut items = items.into_iter();
    loop {
        let portion: Vec<_> = items.by_ref().take(PORTION).collect();
        if portion.is_empty() {
            break;
        }
        portions.push((portions.len(), portion));
    }
    let count = portions.len();
    let queue = std::sync::Mutex::new(portions);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (queue, sender, work) = (&queue, sender.clone(), &work);
            scope.spawn(move || {
                while let Some((number, portion)) =
                    queue.lock().ok().and_then(|mut queue| queue.pop())
                {
                    let done: Vec<R> = portion.into_iter().map(work).collect();
                    if sender.send((number, done)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
    });
    let mut done: Vec<Vec<R>> = (0..count).map(|_| Vec::new()).collect();
    for (number, portion) in receiver {
        if let Some(place) = done.get_mut(number) {
            *place = portion;
        }
    }
    done.into_iter().flatten().collect()
}

/// Makes every move of a state.
fn expand_one(lab: &Lab, parent: u32, state: &State, seen: &Seen) -> Expanded {
    let mut out = Expanded { parent, made: Vec::new(), broken: None };
    let calm = state.calm_move();
    for how in state.moves() {
        let mut child = Box::new(state.clone());
        if let Err(broken) = child.make(lab, how) {
            out.broken = Some((how, broken));
            return out;
        }
        let hash = child.hash();
        let is_new = !seen.contains_key(&hash);
        if is_new && let Err(broken) = judged(lab, &child) {
            out.broken = Some((how, broken));
            return out;
        }
        let state = is_new.then_some(child);
        out.made.push(Made { parent, how, calm: calm == Some(how), hash, state });
    }
    if calm.is_none() {
        // Quiet: nothing calm is left to happen.
        out.made.push(Made {
            parent,
            how: Move::Wake,
            calm: true,
            hash: state.hash(),
            state: None,
        });
    }
    out
}

/// Judges a state that was not seen before.
fn judged(lab: &Lab, state: &State) -> Result<(), Broken> {
    judge::state(lab, state)?;
    if state.is_quiet() { judge::quiet_in_depth(state) } else { Ok(()) }
}

/// What happened from the first state to this one.
fn path(visited: &[Visited], mut at: u32) -> Vec<Move> {
    let mut moves = Vec::new();
    while let Some(Visited { parent, how, .. }) = visited.get(at as usize) {
        if *parent == NOBODY {
            break;
        }
        moves.push(*how);
        at = *parent;
    }
    moves.reverse();
    moves
}

/// Makes moves one after the other, as far as they are possible.
///
/// # Errors
/// The first broken promise, with the moves up to it.
pub fn replay(
    capabilities: Capabilities,
    budget: Budget,
    moves: &[Move],
) -> Result<(), Box<Found>> {
    let lab = Lab::new(capabilities);
    let fail = |broken, done: usize| {
        let moves = moves.iter().take(done).copied().collect();
        Box::new(Found { broken, moves, states: 0 })
    };
    let mut state = State::first(&lab, budget).map_err(|b| fail(b, 0))?;
    for (at, how) in moves.iter().enumerate() {
        if state.moves().contains(how) {
            let made = state.make(&lab, *how).and_then(|()| judged(&lab, &state));
            made.map_err(|b| fail(b, at + 1))?;
        }
    }
    Ok(())
}
