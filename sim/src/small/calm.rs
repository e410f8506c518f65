//! L1 in the small world: from every state that was seen, answers and time alone lead to quiet.
//!
//! Inputs: the visited graph, and the states that a limit left unvisited, which are led by hand until
//! they meet one that was visited. Outputs: how many calm moves each state is from quiet. Not here:
//! what is judged on the way.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::RwLock;

use super::explore::{CALM_MOVES_MAX, NOBODY, Place, Seen, Visited, spread};
use super::judge::{self, Broken};
use super::lab::Lab;
use super::moves::Move;
use super::state::State;

/// The visited graph.
pub(super) struct Known<'a> {
    pub(super) visited: &'a [Visited],
    pub(super) seen: &'a Seen,
}

/// A state from which the calm moves do not lead to quiet.
pub(super) struct Astray {
    /// Its number.
    pub(super) number: u32,
    /// The moves from it.
    pub(super) moves: Vec<Move>,
    pub(super) broken: Broken,
}

/// Where calm moves lead: so many moves on there is this visited state, or quiet.
#[derive(Clone, Copy)]
struct End {
    moves: u32,
    visited: Option<u32>,
}

type Ends = RwLock<HashMap<u128, End, BuildHasherDefault<Place>>>;

/// How many calm moves each state is from quiet.
///
/// # Errors
/// The first from which they lead nowhere, or to a broken promise.
pub(super) fn led(
    lab: &Lab,
    known: &Known<'_>,
    unvisited: Vec<(u32, Box<State>)>,
    threads: usize,
) -> Result<Vec<u32>, Astray> {
    let ends = Ends::default();
    let ended =
        spread(unvisited, threads, |(number, state)| (number, lead(lab, known, &ends, *state)));
    let mut by_hand: HashMap<u32, End> = HashMap::new();
    for (number, end) in ended {
        match end {
            Ok(end) => by_hand.insert(number, end),
            Err((moves, broken)) => return Err(Astray { number, moves, broken }),
        };
    }
    let mut left: Vec<Option<u32>> = vec![None; known.visited.len()];
    for start in 0..known.visited.len() {
        let mut trail = Vec::new();
        let mut at = start;
        // Quiet is so many moves from the last of the trail.
        let mut base = loop {
            if let Some(Some(known)) = left.get(at) {
                break *known;
            }
            let calm = known.visited.get(at).map_or(NOBODY, |v| v.calm);
            let (moves, next) = match by_hand.get(&(at as u32)) {
                Some(End { moves, visited }) => (*moves, *visited),
                None if calm as usize == at => (0, None),
                None => (1, Some(calm)),
            };
            trail.push((at, moves));
            let Some(next) = next else { break 0 };
            if next == NOBODY || trail.len() > CALM_MOVES_MAX as usize * 2 {
                let why = "answers come and time passes, and it never ends".to_owned();
                let broken = Broken::new("L1", why);
                return Err(Astray { number: start as u32, moves: Vec::new(), broken });
            }
            at = next as usize;
        };
        for (at, moves) in trail.into_iter().rev() {
            base += moves;
            if let Some(place) = left.get_mut(at) {
                *place = Some(base);
            }
        }
    }
    Ok(left.into_iter().flatten().collect())
}

/// Leads a state until it meets one that was visited, or all is quiet.
fn lead(
    lab: &Lab,
    known: &Known<'_>,
    ends: &Ends,
    mut state: State,
) -> Result<End, (Vec<Move>, Broken)> {
    let visited = |hash: &u128| {
        let number = *known.seen.get(hash)?;
        known.visited.get(number as usize).is_some_and(|v| v.calm != NOBODY).then_some(number)
    };
    let (mut moves, mut hashes) = (Vec::new(), vec![state.hash()]);
    let end = loop {
        let Some(how) = state.calm_move() else {
            if !state.is_quiet() {
                let why = "nothing is left to happen, and it is not quiet".to_owned();
                return Err((moves, Broken::new("L1", why)));
            }
            break End { moves: 0, visited: None };
        };
        moves.push(how);
        if let Err(broken) = state.make(lab, how).and_then(|()| judge::state(lab, &state)) {
            return Err((moves, broken));
        }
        if moves.len() > CALM_MOVES_MAX as usize {
            return Err((moves, Broken::new("L1", "it never ends".to_owned())));
        }
        let hash = state.hash();
        // The rest is the business of a state that was visited, or of one that was led.
        if let Some(number) = visited(&hash) {
            break End { moves: 0, visited: Some(number) };
        }
        if let Some(end) = ends.read().ok().and_then(|ends| ends.get(&hash).copied()) {
            break end;
        }
        hashes.push(hash);
    };
    let led = moves.len() as u32;
    if let Ok(mut ends) = ends.write() {
        for (at, hash) in (0..).zip(hashes) {
            ends.insert(hash, End { moves: end.moves + led - at, ..end });
        }
    }
    Ok(End { moves: end.moves + led, ..end })
}
