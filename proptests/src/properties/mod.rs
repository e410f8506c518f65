//! The promises, each a function from a case to a verdict, so that the tests and the planted
//! mistakes share them.

pub mod extremes;
pub mod history;
pub mod kept;
pub mod planner;
pub mod projections;
pub mod render;
pub mod snippets;
pub mod telling;

use std::fmt::Write as _;

use tidegate_core::action::{Action, ActionBody, MapId};
use tidegate_core::controller::Controller;
use tidegate_core::desired::Image;
use tidegate_core::problem::Problem;

use crate::run::Verdict;

/// Whether two images have the same content; says the first difference.
///
/// # Errors
/// The first difference.
pub fn same_image(a: &Image, b: &Image) -> Verdict {
    if a == b {
        return Ok(());
    }
    for id in MapId::ALL {
        let (left, right) = (a.map(id).sorted(), b.map(id).sorted());
        if left != right {
            let left_only = left.iter().find(|e| !right.contains(e));
            let right_only = right.iter().find(|e| !left.contains(e));
            return Err(format!("map {}: {left_only:?} against {right_only:?}", id.file()));
        }
    }
    let (left, right) = (a.backends.sorted(), b.backends.sorted());
    if left != right {
        return Err(format!("backends: {left:#?} against {right:#?}"));
    }
    let (left, right) = (a.certificates.sorted(), b.certificates.sorted());
    if left != right {
        return Err(format!("certificates: {left:?} against {right:?}"));
    }
    if a.skeleton != b.skeleton {
        return Err(format!("skeleton: {:?} against {:?}", a.skeleton, b.skeleton));
    }
    Err(format!(
        "files: {:?} against {:?}; default certificates {:?} against {:?}",
        a.files, b.files, a.default_certificate, b.default_certificate
    ))
}

/// Whether two controllers want the same and see the same problems.
///
/// # Errors
/// The first difference.
pub fn same_wishes(a: &Controller, b: &Controller) -> Verdict {
    same_image(a.desired().image(), b.desired().image())?;
    same_problems(a.problems(), b.problems())
}

/// Whether there are the same problems.
///
/// # Errors
/// The first that only one side has.
pub fn same_problems<'a>(
    a: impl Iterator<Item = &'a Problem>,
    b: impl Iterator<Item = &'a Problem>,
) -> Verdict {
    let (a, b): (Vec<_>, Vec<_>) = (a.collect(), b.collect());
    match a.iter().find(|p| !b.contains(p)).or_else(|| b.iter().find(|p| !a.contains(p))) {
        Some(problem) => Err(format!("a problem on one side only: {problem}")),
        None => Ok(()),
    }
}

/// Whether two lists of actions are the same, images compared by content.
///
/// # Errors
/// The first difference.
pub fn same_actions(a: &[Action], b: &[Action]) -> Verdict {
    if a.len() != b.len() {
        return Err(format!("{} against {}", told(a), told(b)));
    }
    for (a, b) in a.iter().zip(b) {
        if a.id != b.id {
            return Err(format!("number {:?} against {:?}", a.id, b.id));
        }
        let same = match (&a.body, &b.body) {
            (ActionBody::Save { image: a }, ActionBody::Save { image: b })
            | (ActionBody::Check { image: a }, ActionBody::Check { image: b }) => same_image(a, b),
            (
                ActionBody::Reload { image: a, reasons: why_a },
                ActionBody::Reload { image: b, reasons: why_b },
            ) => {
                if why_a != why_b {
                    return Err(format!("reasons {why_a:?} against {why_b:?}"));
                }
                same_image(a, b)
            }
            (a, b) => {
                let (a, b) = (body(a), body(b));
                if a == b { Ok(()) } else { Err(format!("{a} against {b}")) }
            }
        };
        same?;
    }
    Ok(())
}

/// Actions in words, without images.
#[must_use]
pub fn told(actions: &[Action]) -> String {
    let mut text = String::new();
    for action in actions {
        let _ = writeln!(text, "{:?} {}", action.id, body(&action.body));
    }
    text
}

fn body(body: &ActionBody) -> String {
    match body {
        ActionBody::Save { .. } => "Save".to_owned(),
        ActionBody::Check { .. } => "Check".to_owned(),
        ActionBody::Reload { reasons, .. } => format!("Reload for {reasons:?}"),
        ActionBody::Runtime { .. }
        | ActionBody::ReadBack { .. }
        | ActionBody::ResolveNames { .. }
        | ActionBody::FollowSecrets { .. }
        | ActionBody::Relist { .. }
        | ActionBody::CheckSnippet { .. }
        | ActionBody::Tell(_) => {
            format!("{body:?}")
        }
    }
}
