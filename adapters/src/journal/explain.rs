//! Why an action happened: event → fact → piece → key → command.
//!
//! In: replayed steps, in order. Out: for each action whose text contains a given one, the chain
//! of reasons. A command is often sent some steps after its cause (it waits for answers), so the
//! causes of every key that differs are remembered until it is settled. Not here: reading,
//! printing.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tidegate_core::action::{Action, ActionBody, MapId};
use tidegate_core::controller::Controller;
use tidegate_core::desired::Key;
use tidegate_core::plan::Phase;
use tidegate_core::project::PieceKey;
use tidegate_core::tell::Tell;
use tidegate_core::world::Fact;

use super::replay::Replayed;
use super::text;

/// Causes shown of one kind; more are counted.
const SHOWN_MAX: usize = 12;
/// Causes remembered of one key; the newest count.
const CAUSES_MAX: usize = 3;

/// Why an action happened.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Why {
    /// Step that asked for it.
    pub seq: u64,
    /// Time of the step, in milliseconds.
    pub now_ms: u64,
    /// Number of the action.
    pub action: u64,
    /// The part of the action whose text matched.
    pub what: String,
    /// The thing it brings closer to what is wanted, and the phase of the plan.
    pub purpose: String,
    /// What led to it, oldest first.
    pub causes: Vec<Because>,
}

/// A step that made something differ.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Because {
    /// Its number.
    pub seq: u64,
    /// Its events.
    pub events: Vec<String>,
    /// Facts that changed.
    pub facts: Vec<String>,
    /// Pieces of the configuration that were computed because of them.
    pub pieces: Vec<String>,
}

/// Remembers causes over the steps of a replay.
#[derive(Debug, Default)]
pub struct Explainer {
    causes: BTreeMap<Key, Vec<Rc<Cause>>>,
    dirty: BTreeSet<Key>,
}

#[derive(Debug)]
struct Cause {
    seq: u64,
    events: Vec<String>,
    facts: BTreeSet<Fact>,
    pieces: Vec<(PieceKey, Vec<Fact>)>,
}

impl Explainer {
    /// Looks at a step; tells why its actions that contain `wanted` happened.
    pub fn look(&mut self, replayed: &Replayed<'_>, wanted: &str) -> Vec<Why> {
        let cause = Rc::new(Cause::of(replayed));
        self.remember(replayed, &cause);
        let step = replayed.step;
        let mut found = Vec::new();
        for action in &step.actions {
            match &action.body {
                ActionBody::Runtime { .. } => {
                    let matching = step
                        .trace
                        .commands
                        .iter()
                        .filter(|c| text::command(&c.command).contains(wanted));
                    for command in matching {
                        let causes = self.because(&command.key, &cause);
                        let what = text::command(&command.command);
                        let of = text::key(&command.key);
                        let purpose = format!("{of}: {}", phase(command.phase));
                        found.push(why(replayed, action, what, purpose, causes));
                    }
                }
                ActionBody::ReadBack { .. }
                | ActionBody::Save { .. }
                | ActionBody::Reload { .. }
                | ActionBody::Check { .. }
                | ActionBody::CheckSnippet { .. }
                | ActionBody::ResolveNames { .. }
                | ActionBody::FollowSecrets { .. }
                | ActionBody::Relist { .. }
                | ActionBody::Tell(_) => {
                    let what = text::action(action);
                    if what.contains(wanted) {
                        let causes = vec![cause.shown(None)];
                        let purpose = purpose(&action.body).into();
                        found.push(why(replayed, action, what, purpose, causes));
                    }
                }
            }
        }
        found
    }

    /// Keys that began to differ in this step were made to by it.
    fn remember(&mut self, replayed: &Replayed<'_>, cause: &Rc<Cause>) {
        let dirty = replayed.controller.desired().dirty();
        for key in dirty.difference(&self.dirty) {
            self.causes.insert(key.clone(), vec![cause.clone()]);
        }
        // A key that differed already may have changed again: then a piece about it was computed.
        for key in dirty.intersection(&self.dirty).filter(|key| cause.concerns(key)) {
            let causes = self.causes.entry(key.clone()).or_default();
            causes.push(cause.clone());
            if causes.len() > CAUSES_MAX {
                causes.remove(0);
            }
        }
        self.causes.retain(|key, _| dirty.contains(key));
        self.dirty.clone_from(dirty);
    }

    fn because(&self, key: &Key, now: &Rc<Cause>) -> Vec<Because> {
        match self.causes.get(key) {
            Some(causes) => causes.iter().map(|cause| cause.shown(Some(key))).collect(),
            None => vec![now.shown(Some(key))],
        }
    }
}

impl Cause {
    fn of(replayed: &Replayed<'_>) -> Cause {
        let trace = &replayed.step.trace;
        Cause {
            seq: replayed.input.seq,
            events: shortened(replayed.input.events.iter().map(text::event)),
            facts: trace.facts.clone(),
            pieces: trace
                .pieces
                .iter()
                .map(|piece| (piece.clone(), read_facts(replayed.controller, piece, &trace.facts)))
                .collect(),
        }
    }

    fn concerns(&self, key: &Key) -> bool {
        self.pieces.iter().any(|(piece, _)| is_about(piece, key))
    }

    /// The cause, narrowed to the pieces about a key if there are any.
    fn shown(&self, key: Option<&Key>) -> Because {
        let about = |piece: &PieceKey| key.is_none_or(|key| is_about(piece, key));
        let narrow = self.pieces.iter().any(|(piece, _)| about(piece));
        let chosen = || self.pieces.iter().filter(|(piece, _)| !narrow || about(piece));
        let read: BTreeSet<&Fact> = chosen().flat_map(|(_, facts)| facts).collect();
        let facts = shortened(self.facts.iter().filter(|f| read.contains(f)).map(text::fact));
        Because {
            seq: self.seq,
            events: self.events.clone(),
            facts,
            pieces: shortened(chosen().map(|(piece, _)| piece_text(piece))),
        }
    }
}

fn why(
    replayed: &Replayed<'_>,
    action: &Action,
    what: String,
    purpose: String,
    causes: Vec<Because>,
) -> Why {
    let input = replayed.input;
    Why { seq: input.seq, now_ms: input.now.0, action: action.id.0, what, purpose, causes }
}

fn read_facts(controller: &Controller, piece: &PieceKey, changed: &BTreeSet<Fact>) -> Vec<Fact> {
    let reads = controller.projections().reads(piece);
    reads.iter().filter(|fact| changed.contains(fact)).cloned().collect()
}

/// Whether a piece is the one that wants a key. Certificates and files do not tell whose they
/// are.
fn is_about(piece: &PieceKey, key: &Key) -> bool {
    match (piece, key) {
        (PieceKey::Backend(piece), Key::Backend(name)) => piece == name,
        (PieceKey::Tcp, Key::Map(MapId::Tcp, _)) => true,
        (PieceKey::Host(host), Key::Map(MapId::Sni, key)) => host == key,
        (PieceKey::Host(host), Key::Map(_, key)) => {
            key.strip_prefix(&**host).is_some_and(|rest| rest.starts_with('/'))
        }
        (PieceKey::List(list), Key::Map(_, key)) => {
            key.strip_prefix(&**list).is_some_and(|rest| rest.starts_with(':'))
        }
        (PieceKey::Tls(_), Key::Certificate(_)) => true,
        (PieceKey::Host(_), Key::File(_)) => true,
        (PieceKey::Global, Key::Skeleton | Key::DefaultCertificate) => true,
        (
            PieceKey::Global
            | PieceKey::Object(_)
            | PieceKey::Tls(_)
            | PieceKey::Host(_)
            | PieceKey::Tcp
            | PieceKey::Backend(_)
            | PieceKey::List(_),
            Key::Skeleton
            | Key::DefaultCertificate
            | Key::File(_)
            | Key::Certificate(_)
            | Key::Backend(_)
            | Key::Map(..),
        ) => false,
    }
}

fn piece_text(piece: &PieceKey) -> String {
    match piece {
        PieceKey::Global => "options of all".into(),
        PieceKey::Object(object) => format!("what is wrong with {object}"),
        PieceKey::Tls(host) => format!("certificates of {host:?}"),
        PieceKey::Host(host) => format!("routes of {host:?}"),
        PieceKey::Backend(name) => format!("servers of {name}"),
        PieceKey::List(id) => format!("networks of list {id}"),
        PieceKey::Tcp => "TCP services".into(),
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Urgent => "endpoints of a backend that serves",
        Phase::Build => "built before anything refers to it",
        Phase::Switch => "switched to what was built",
        Phase::Unlink => "no longer wanted, so no longer referred to",
        Phase::Collect => "nobody refers to it any more",
    }
}

fn purpose(body: &ActionBody) -> &'static str {
    match body {
        ActionBody::Runtime { .. } => "commands",
        ActionBody::ReadBack { .. } => "what the worker has is in doubt, or an audit is due",
        ActionBody::Save { .. } => "the files are behind what runs",
        ActionBody::Reload { .. } => "no runtime command will do",
        ActionBody::Check { .. } => "HAProxy refused a configuration: the culprit is searched",
        ActionBody::CheckSnippet { .. } => "a snippet joins after HAProxy accepted it",
        ActionBody::ResolveNames { .. } => "Services of type ExternalName changed",
        ActionBody::FollowSecrets { .. } => "other Secrets are referred to",
        ActionBody::Relist { .. } => "objects are held that a list did not have",
        ActionBody::Tell(Tell::Status { .. }) => "the status differs from where we are reached",
        ActionBody::Tell(Tell::Event(_)) => "a problem is told to its owner",
        ActionBody::Tell(Tell::ReadLease | Tell::WriteLease { .. }) => "one replica writes",
    }
}

fn shortened(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut shown: Vec<String> = Vec::new();
    let mut more = 0;
    for one in all {
        if shown.len() < SHOWN_MAX {
            shown.push(one);
        } else {
            more += 1;
        }
    }
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown
}
