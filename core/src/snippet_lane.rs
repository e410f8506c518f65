//! The lane of the controller on which HAProxy judges snippets, one at a time and beside everything
//! else.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;

use crate::action::{ActionBody, ActionId};
use crate::controller::{Controller, Step};
use crate::event::{Ack, Outcome};
use crate::sabotage::{Mistake, is_planted};
use crate::snippet::Snippet;
use crate::time::Time;
use crate::world::Fact;

/// A snippet that HAProxy judges just now.
#[derive(Clone, Debug)]
pub(crate) struct Judging {
    id: ActionId,
    pub(crate) snippet: Arc<Snippet>,
}

impl Controller {
    pub(crate) fn act_on_snippets(&mut self, changed: &mut BTreeSet<Fact>, step: &mut Step) {
        let ready = self.world.is_synced() && self.world.capabilities.is_some();
        if !ready || self.judging.is_some() || self.now < self.judge_at {
            return;
        }
        let Some(snippet) = self.world.snippets.unjudged().cloned() else { return };
        if is_planted(Mistake::UnjudgedSnippet) {
            self.world.judge_snippet(&snippet, Ok(()), changed);
            return;
        }
        let id = self.emit(ActionBody::CheckSnippet { snippet: snippet.clone() }, step);
        self.judging = Some(Judging { id, snippet });
    }

    /// When the next is judged, if it was put off.
    pub(crate) fn judged_at(&self) -> Option<Time> {
        (self.judging.is_none() && self.world.snippets.unjudged().is_some())
            .then_some(self.judge_at)
    }

    /// Takes the answer in, if it is one about a snippet.
    pub(crate) fn take_judged(&mut self, ack: &Ack, changed: &mut BTreeSet<Fact>) -> bool {
        let Some(Judging { id, snippet }) = self.judging.take() else { return false };
        if id != ack.id {
            self.judging = Some(Judging { id, snippet });
            return false;
        }
        match ack.outcomes.first() {
            Some(Outcome::Done) => self.world.judge_snippet(&snippet, Ok(()), changed),
            Some(Outcome::Refused(words)) => {
                self.world.judge_snippet(&snippet, Err(words), changed);
            }
            Some(Outcome::Unknown) | None => {
                self.judge_at = self.now.plus_ms(self.world.settings.delays.retry_ms);
            }
        }
        true
    }
}
