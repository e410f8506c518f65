//! Promises about repetition and time: the same events give the same actions, undone changes cost
//! nothing, and what is settled stays settled.

use tidegate_core::controller::{Controller, Step};
use tidegate_core::event::Event;
use tidegate_core::problem::Reason;
use tidegate_core::time::Time;
use tidegate_core::world::object::Kind;

use super::{same_actions, same_wishes, told};
use crate::arb::{Act, Case};
use crate::drive::{Drive, Given, Watch, event_of};
use crate::run::Verdict;

/// A change that is undone within one step causes no action.
///
/// # Errors
/// The actions.
pub fn roundtrip(case: &Case) -> Verdict {
    let mut drive = Drive::start(case, Watch::default())?;
    drive.settle()?;
    for act in &case.acts {
        let Some(there) = event_of(act) else { continue };
        let Some(back) = undo(&drive.controller, &there) else { continue };
        let mut controller = drive.controller.clone();
        let step = controller.step(drive.now, vec![there.clone(), back]);
        // A changed object that is withheld gets another chance, and so another try.
        if !withholds(&drive.controller) {
            nothing_to_do(&step, act)?;
            if !step.opened.is_empty() || !step.closed.is_empty() {
                return Err(format!("problems came and went: {:?} {:?}", step.opened, step.closed));
            }
            same_wishes(&controller, &drive.controller)?;
        }
        drive.act(act)?;
        drive.settle()?;
    }
    Ok(())
}

/// Whether something is withheld since HAProxy refused it.
fn withholds(controller: &Controller) -> bool {
    controller.problems().any(|p| p.reason == Reason::Refused || p.what.contains("HAProxy refused"))
}

/// The event that takes back what another one did to an object.
fn undo(controller: &Controller, event: &Event) -> Option<Event> {
    let object = match event {
        Event::Upserted(object) => object.object_ref(),
        Event::Deleted(object) => object.clone(),
        _ => return None,
    };
    let now = controller.world().objects().into_iter().find(|o| o.object_ref() == object);
    Some(match now {
        Some(present) => Event::Upserted(present),
        None => Event::Deleted(object),
    })
}

fn nothing_to_do(step: &Step, after: &Act) -> Verdict {
    if step.actions.is_empty() {
        return Ok(());
    }
    Err(format!("after {after:?}: {}", told(&step.actions)))
}

/// Repeating any event when all is settled does nothing; nor does a full list of what is known.
///
/// # Errors
/// The actions.
pub fn idempotence(case: &Case) -> Verdict {
    let mut drive = Drive::start(case, Watch::default())?;
    drive.settle()?;
    for act in &case.acts {
        drive.act(act)?;
        drive.settle()?;
        let mut controller = drive.controller.clone();
        if let Some(event) = event_of(act) {
            nothing_to_do(&controller.step(drive.now, vec![event]), act)?;
        }
        nothing_to_do(&controller.step(drive.now, vec![Event::Ticked]), act)?;
        let mut relists = Vec::new();
        for kind in Kind::ALL {
            let all = controller.world().objects();
            let objects = all.into_iter().filter(|o| o.kind() == kind).collect();
            relists.push(Event::Relisted { kind, objects });
        }
        nothing_to_do(&controller.step(drive.now, relists), act)?;
        let acks = drive.log.iter().flat_map(|(_, events)| events);
        let old: Vec<Event> = acks
            .filter(|e| matches!(e, Event::Acked(_) | Event::Observed { .. }))
            .cloned()
            .collect();
        nothing_to_do(&controller.step(drive.now, old), act)?;
        if !controller.is_quiet() {
            return Err(format!("not quiet after repetitions of {act:?}"));
        }
    }
    Ok(())
}

/// The same events at the same times give the same steps.
///
/// # Errors
/// The first difference.
pub fn replay_is_identical(case: &Case) -> Verdict {
    let mut drive = Drive::start(case, Watch::default())?;
    for act in &case.acts {
        drive.act(act)?;
    }
    let mut again = Controller::new(case.setup.settings(), Time(0));
    for ((now, events), given) in drive.log.iter().zip(&drive.steps) {
        let step = again.step(*now, events.clone());
        same_step(given, &step, Exact::Yes)?;
    }
    same_wishes(&drive.controller, &again)
}

/// A controller made from a checkpoint goes on exactly as the one that gave it.
///
/// # Errors
/// The first difference.
pub fn checkpoint_is_lossless(case: &Case) -> Verdict {
    let mut drive = Drive::start(case, Watch::default())?;
    let mut restored: Vec<(usize, Controller)> = Vec::new();
    for act in &case.acts {
        drive.act(act)?;
        for (seen, controller) in &mut restored {
            catch_up(&drive, seen, controller)?;
        }
        // Two at a time are enough to catch what is lost, and quick.
        if let Some(checkpoint) = drive.controller.checkpoint().filter(|_| restored.len() < 2) {
            let again = checkpoint.clone().restore();
            match again.checkpoint() {
                Some(same) if same == checkpoint => {}
                other => return Err(format!("{checkpoint:?} became {other:?}")),
            }
            same_wishes(&drive.controller, &again)?;
            restored.push((drive.log.len(), again));
        }
    }
    Ok(())
}

fn catch_up(drive: &Drive, seen: &mut usize, controller: &mut Controller) -> Verdict {
    let log = drive.log.iter().zip(&drive.steps).skip(*seen);
    for ((now, events), given) in log {
        let step = controller.step(*now, events.clone());
        same_step(given, &step, Exact::No)?;
    }
    *seen = drive.log.len();
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Exact {
    /// Actions, problems, wake-up and trace.
    Yes,
    /// Actions.
    No,
}

fn same_step(given: &Given, step: &Step, exact: Exact) -> Verdict {
    same_actions(&given.actions, &step.actions)?;
    let Step { wake_at, opened, closed, effective, trace, .. } = step;
    let rest = format!("{wake_at:?} {opened:?} {closed:?} {effective} {trace:?}");
    if exact == Exact::Yes && given.rest != rest {
        return Err(format!("{} against {rest}", given.rest));
    }
    Ok(())
}
