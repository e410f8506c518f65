//! Actions under way between the controller and HAProxy in the small world, and their part of a
//! state's hash. One is hashed once, when it is sent or answered.

use std::hash::{Hash, Hasher};

use tidegate_core::action::{Action, ActionBody};
use tidegate_core::event::{Ack, Event, Outcome, WorkerId};

use super::world::View;
use crate::hash::Hash128;

/// An action under way.
#[derive(Clone, Debug)]
pub(super) enum Open {
    /// With what was known when it was sent.
    Sent(Action, View),
    Answered(Vec<Event>, Ack),
}

/// An action under way, with its hash.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) open: Open,
    /// Hash of everything but the numbers of workers.
    pub(super) content: u128,
    /// The workers it is about: whether they are still there is for the state to say.
    about: [Option<WorkerId>; 2],
}

impl Flight {
    /// An action that was just sent, in a view.
    pub(super) fn sent(action: Action, view: View) -> Flight {
        let mut hasher = Hash128::default();
        (1_u8, view).hash(&mut hasher);
        let mut about = None;
        match &action.body {
            ActionBody::Runtime { worker, commands } => {
                about = Some(*worker);
                (1_u8, commands).hash(&mut hasher);
            }
            ActionBody::ReadBack { worker } => {
                about = Some(*worker);
                hasher.write_u8(2);
            }
            ActionBody::Save { .. } => hasher.write_u8(3),
            ActionBody::Reload { .. } => hasher.write_u8(4),
            ActionBody::Check { .. } => hasher.write_u8(5),
            ActionBody::ResolveNames { .. }
            | ActionBody::FollowSecrets { .. }
            | ActionBody::Relist { .. }
            | ActionBody::CheckSnippet { .. }
            | ActionBody::Tell(_) => hasher.write_u8(6),
        }
        let content = hasher.finish128();
        Flight { open: Open::Sent(action, view), content, about: [about, None] }
    }

    /// An answer under way, after these events; with a hash of what was read back.
    pub(super) fn answered(events: Vec<Event>, ack: Ack, observed: Option<u128>) -> Flight {
        let mut hasher = Hash128::default();
        let Ack { id: _, outcomes, worker } = &ack;
        (2_u8, outcomes.len()).hash(&mut hasher);
        for outcome in outcomes {
            match outcome {
                Outcome::Done => hasher.write_u8(1),
                Outcome::Refused(why) => why.hash(&mut hasher),
                Outcome::Unknown => hasher.write_u8(3),
            }
        }
        // What was read back is the memory of some moment: its content counts.
        observed.hash(&mut hasher);
        let seen = events.iter().find_map(|event| match event {
            Event::Observed { worker, .. } => Some(*worker),
            _ => None,
        });
        let about = [*worker, seen];
        Flight { content: hasher.finish128(), about, open: Open::Answered(events, ack) }
    }

    /// Feeds what decides what comes of it, given the worker that is there.
    pub(super) fn hash(&self, current: Option<WorkerId>, hasher: &mut Hash128) {
        self.content.hash(hasher);
        self.about.map(|worker| worker.map(|worker| current == Some(worker))).hash(hasher);
    }

    /// In how many parts it can be carried out, if it was not.
    pub(super) fn parts(&self) -> u8 {
        let Open::Sent(action, _) = &self.open else { return 0 };
        match &action.body {
            ActionBody::Runtime { commands, .. } => commands.len().min(250) as u8,
            ActionBody::Save { .. } | ActionBody::Reload { .. } => 1,
            ActionBody::ReadBack { .. }
            | ActionBody::Check { .. }
            | ActionBody::CheckSnippet { .. }
            | ActionBody::ResolveNames { .. }
            | ActionBody::FollowSecrets { .. }
            | ActionBody::Relist { .. }
            | ActionBody::Tell(_) => 0,
        }
    }

    /// Whether it was sent and is not carried out.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.open, Open::Sent(..))
    }
}
