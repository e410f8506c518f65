//! Promises of the projections: what is wanted depends on the objects alone, and is computed
//! without looking at more than what changed.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::controller::{self, Controller};
use tidegate_core::event::Event;
use tidegate_core::project::{PieceKey, Projections};
use tidegate_core::settings::Role;
use tidegate_core::time::Time;
use tidegate_core::world::Fact;
use tidegate_core::world::object::ObjectRef;

use super::{same_image, same_problems, same_wishes};
use crate::arb::Case;
use crate::drive::{event_of, initial_events};
use crate::run::Verdict;

/// A controller that has been told how a case begins, and no more. Without a worker there are no
/// commands: these promises are about what is wanted.
#[must_use]
pub fn told(case: &Case) -> Controller {
    let mut controller = Controller::new(case.setup.settings(), Time(0));
    let _ = controller.step(Time(0), initial_events(case));
    controller
}

fn changes(case: &Case) -> impl Iterator<Item = Event> + '_ {
    case.acts.iter().filter_map(event_of)
}

/// After every step, what is wanted and what is wrong equal a computation from nothing.
///
/// # Errors
/// The first difference.
pub fn equivalence(case: &Case) -> Verdict {
    let mut controller = Controller::new(case.setup.settings(), Time(0));
    for event in initial_events(case).into_iter().rev() {
        // In any order, and one by one: what arrives before everything was listed counts too.
        let _ = controller.step(Time(0), vec![event]);
    }
    equals_scratch(&controller)?;
    for event in changes(case) {
        let _ = controller.step(Time(0), vec![event]);
        equals_scratch(&controller)?;
    }
    Ok(())
}

fn equals_scratch(controller: &Controller) -> Verdict {
    let (desired, projections) = controller::audit(controller);
    same_image(controller.desired().image(), desired.image())?;
    same_problems(controller.problems(), projections.problems())
}

/// What is wanted does not depend on how the events are split into steps.
///
/// # Errors
/// The first difference.
pub fn chunking(case: &Case) -> Verdict {
    let mut one_by_one = Controller::new(case.setup.settings(), Time(0));
    let mut at_once = one_by_one.clone();
    let mut in_threes = one_by_one.clone();
    let events: Vec<Event> = initial_events(case).into_iter().chain(changes(case)).collect();
    for event in &events {
        let _ = one_by_one.step(Time(0), vec![event.clone()]);
    }
    for chunk in events.chunks(3) {
        let _ = in_threes.step(Time(0), chunk.to_vec());
    }
    let _ = at_once.step(Time(0), events);
    same_wishes(&one_by_one, &at_once).map_err(|why| format!("one by one, at once: {why}"))?;
    same_wishes(&one_by_one, &in_threes).map_err(|why| format!("one by one, in threes: {why}"))
}

/// What is wanted does not depend on the order of events of different objects, nor on repetition.
///
/// # Errors
/// The first difference.
pub fn confluence(case: &Case) -> Verdict {
    let mut straight = told(case);
    let mut shuffled = straight.clone();
    let mut repeated = straight.clone();
    // Relisting speaks of many objects at once and so has one place in any order.
    let events: Vec<Event> =
        changes(case).filter(|e| !matches!(e, Event::Relisted { .. })).collect();
    for event in &events {
        let _ = straight.step(Time(0), vec![event.clone()]);
        let _ = repeated.step(Time(0), vec![event.clone(), event.clone()]);
        let _ = repeated.step(Time(0), vec![event.clone()]);
    }
    // By subject, the last subject first; each subject's own events stay in order.
    let mut subjects: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in &events {
        subjects.entry(subject(event)).or_default().push(event.clone());
    }
    for event in subjects.into_values().rev().flatten() {
        let _ = shuffled.step(Time(0), vec![event]);
    }
    same_wishes(&straight, &repeated).map_err(|why| format!("repeated: {why}"))?;
    same_wishes(&straight, &shuffled).map_err(|why| format!("in another order: {why}"))
}

fn subject(event: &Event) -> String {
    match event {
        Event::Upserted(object) => object.object_ref().to_string(),
        Event::Deleted(object) => object.to_string(),
        Event::Resolved { name, .. } => format!("name {name}"),
        Event::DateRead(_) => "date".into(),
        other => format!("{other:?}"),
    }
}

type Pieces = BTreeMap<PieceKey, tidegate_core::project::Piece>;

fn pieces(projections: &Projections) -> Pieces {
    projections.pieces().map(|(key, piece)| (key.clone(), piece.clone())).collect()
}

/// A change of a fact that a piece did not record does not change the piece.
///
/// # Errors
/// The piece that changed.
pub fn reads_are_complete(case: &Case) -> Verdict {
    let mut controller = told(case);
    for event in changes(case) {
        let (_, before) = controller::audit(&controller);
        let step = controller.step(Time(0), vec![event]);
        let facts = step.trace.facts;
        let (_, after) = controller::audit(&controller);
        let new = pieces(&after);
        for (key, old) in pieces(&before) {
            if before.reads(&key).iter().any(|fact| facts.contains(fact)) {
                continue;
            }
            let new = new.get(&key);
            // A backend or list comes and goes with the routes that name it.
            let is_named = matches!(key, PieceKey::Backend(_) | PieceKey::List(_));
            if new.is_none() && (is_named || is_gone(&key, &facts)) {
                continue;
            }
            let empty = old.contributions.is_empty() && old.problems.is_empty();
            if new != Some(&old) && !(empty && new.is_none()) {
                return Err(format!(
                    "{key:?} read none of {facts:?} and changed: {old:?} became {new:?}"
                ));
            }
        }
    }
    Ok(())
}

/// Whether a piece went because the fact that it is about did.
fn is_gone(key: &PieceKey, facts: &BTreeSet<Fact>) -> bool {
    owns(facts).contains(key)
}

/// Pieces that are about a fact, whether they read it before or not.
fn owns(facts: &BTreeSet<Fact>) -> BTreeSet<PieceKey> {
    let mut own = BTreeSet::new();
    for fact in facts {
        let object = |kind, name: &tidegate_core::world::object::Name| {
            PieceKey::Object(ObjectRef { kind, name: name.clone() })
        };
        match fact {
            Fact::ConfigMap | Fact::Source | Fact::Capabilities => {
                own.insert(PieceKey::Global);
            }
            // Their problems are told with the global ones.
            Fact::Role(role) => {
                own.insert(PieceKey::Global);
                if *role == Role::TcpServices {
                    own.insert(PieceKey::Tcp);
                }
            }
            Fact::Host(host) => {
                own.insert(PieceKey::Host(host.clone()));
            }
            Fact::TlsHost(host) => {
                own.insert(PieceKey::Tls(host.clone()));
            }
            Fact::Ingress(name) => {
                own.insert(object(tidegate_core::world::object::Kind::Ingress, name));
            }
            Fact::Service(name) => {
                own.insert(object(tidegate_core::world::object::Kind::Service, name));
            }
            Fact::Secret(name) => {
                own.insert(object(tidegate_core::world::object::Kind::Secret, name));
            }
            _ => {}
        }
    }
    own
}

/// A step computes the pieces that read a changed fact, those that are about one, and backends
/// that routes of those name; all others stay where they are in memory.
///
/// # Errors
/// A piece that was computed without need, or twice, or moved.
pub fn locality(case: &Case) -> Verdict {
    let mut controller = told(case);
    for event in changes(case) {
        let before = controller.projections();
        let mut readers: BTreeMap<PieceKey, Vec<Fact>> = BTreeMap::new();
        let mut places = BTreeMap::new();
        for (key, piece) in before.pieces() {
            readers.insert(key.clone(), before.reads(key).to_vec());
            places.insert(key.clone(), piece.contributions.as_ptr() as usize);
        }
        let step = controller.step(Time(0), vec![event]);
        let facts = &step.trace.facts;
        let own = owns(facts);
        let computed: BTreeSet<&PieceKey> = step.trace.pieces.iter().collect();
        if computed.len() != step.trace.pieces.len() {
            return Err(format!("computed twice: {:?}", step.trace.pieces));
        }
        for key in &computed {
            let read = readers.get(key).is_some_and(|r| r.iter().any(|f| facts.contains(f)));
            let is_named = match key {
                // The piece that names it may be gone by now.
                PieceKey::Backend(_) | PieceKey::List(_) => {
                    step.trace.pieces.iter().any(|k| matches!(k, PieceKey::Host(_) | PieceKey::Tcp))
                }
                _ => false,
            };
            if !read && !own.contains(*key) && !is_named {
                return Err(format!("{key:?} was computed though only {facts:?} changed"));
            }
        }
        for (key, piece) in controller.projections().pieces() {
            let moved =
                places.get(key).is_some_and(|at| *at != piece.contributions.as_ptr() as usize);
            if !computed.contains(key) && moved {
                return Err(format!("{key:?} was not computed and moved"));
            }
        }
    }
    Ok(())
}
