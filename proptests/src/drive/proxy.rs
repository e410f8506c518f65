//! What the model of HAProxy makes of actions, as fate has it: commands, files, reloads, deaths.
//!
//! Inputs: an action. Outputs: the events and the answer that an adapter would give.

use std::sync::Arc;

use tidegate_core::action::{Action, ActionBody, Lane, RuntimeCommand};
use tidegate_core::annotations::FAMILIES;
use tidegate_core::desired::Image;
use tidegate_core::event::{Ack, Event, Outcome, WorkerId};
use tidegate_core::snippet::Snippet;

use super::{Drive, Open, Worker, answers};
use crate::arb::Fate;
use crate::judge;
use crate::oracle::haproxy::{Answer, Haproxy};
use crate::oracle::load;
use crate::run::Verdict;

impl Drive {
    pub(super) fn perform(
        &mut self,
        action: &Action,
        then: &[Answer],
        fate: Fate,
    ) -> Result<(Vec<Event>, Ack), String> {
        let mut events = Vec::new();
        let mut worker = None;
        let outcomes = match &action.body {
            ActionBody::Runtime { commands, .. } => {
                if self.is_for_living(action) {
                    self.execute(commands, then, fate)?
                } else {
                    vec![Outcome::Unknown; commands.len()]
                }
            }
            ActionBody::ReadBack { worker: of } => match &self.worker {
                Some(running) if running.id == *of && !matches!(fate, Fate::Refused(_)) => {
                    let state = Box::new(running.memory.observed());
                    events.push(Event::Observed { worker: *of, state });
                    vec![Outcome::Done]
                }
                _ => vec![Outcome::Unknown],
            },
            ActionBody::Save { image } => vec![self.save(image, fate)],
            ActionBody::Check { image } => {
                vec![match load::start(image, &self.setup.capabilities()) {
                    Ok(_) => Outcome::Done,
                    Err(why) => Outcome::Refused(why.into()),
                }]
            }
            ActionBody::CheckSnippet { snippet } => vec![judged(snippet)],
            ActionBody::Reload { image, .. } => {
                let (outcome, started) = self.reload(image, fate)?;
                worker = started;
                vec![outcome]
            }
            ActionBody::ResolveNames { .. }
            | ActionBody::FollowSecrets { .. }
            | ActionBody::Relist { .. }
            | ActionBody::Tell(_) => vec![],
        };
        Ok((events, Ack { id: action.id, outcomes, worker }))
    }

    fn save(&mut self, image: &Arc<Image>, fate: Fate) -> Outcome {
        match fate {
            Fate::Refused(_) => Outcome::Refused("files: disk full".into()),
            Fate::Unknown(n) if n % 2 == 0 => Outcome::Unknown,
            Fate::Done | Fate::Unknown(_) | Fate::Twice => {
                self.saved = Some(image.clone());
                Outcome::Done
            }
        }
    }

    fn reload(
        &mut self,
        image: &Arc<Image>,
        fate: Fate,
    ) -> Result<(Outcome, Option<WorkerId>), String> {
        match fate {
            Fate::Refused(n) if n % 2 == 0 => {
                return Ok((Outcome::Refused("files: disk full".into()), None));
            }
            Fate::Refused(_) => return Ok((Outcome::Refused("cannot bind".into()), None)),
            Fate::Unknown(n) if n % 2 == 0 => return Ok((Outcome::Unknown, None)),
            Fate::Done | Fate::Unknown(_) | Fate::Twice => {}
        }
        match load::start(image, &self.setup.capabilities()) {
            Ok(memory) => {
                self.saved = Some(image.clone());
                Ok((Outcome::Done, Some(self.new_worker(memory))))
            }
            Err(why) => {
                self.refused(&why)?;
                Ok((Outcome::Refused(why.into()), None))
            }
        }
    }

    fn new_worker(&mut self, memory: Haproxy) -> WorkerId {
        let id = WorkerId(self.next_worker);
        self.next_worker += 1;
        self.worker = Some(Worker { id, memory });
        id
    }

    fn refused(&mut self, why: &str) -> Verdict {
        let planted = why.contains("regex")
            || why.contains("unable to load the certificate")
            || Haproxy::refuses_file(why);
        self.refusals.push(why.to_owned());
        if self.watch.refusals && !planted {
            return Err(format!("HAProxy refused: {why}"));
        }
        Ok(())
    }

    /// Sends commands to the worker, one after the other, as far as fate lets them come.
    fn execute(
        &mut self,
        commands: &[RuntimeCommand],
        then: &[Answer],
        fate: Fate,
    ) -> Result<Vec<Outcome>, String> {
        let count = commands.len().max(1);
        let mut outcomes = Vec::with_capacity(commands.len());
        let wanted = self.wanted();
        for (at, command) in commands.iter().enumerate() {
            let refused = matches!(fate, Fate::Refused(n) if usize::from(n) % count == at);
            let lost = matches!(fate, Fate::Unknown(n) if usize::from(n) % (count + 1) <= at);
            let Some(worker) = &mut self.worker else { break };
            if refused || lost {
                outcomes.push(if lost { Outcome::Unknown } else { Outcome::Refused("no".into()) });
                continue;
            }
            let before = self.watch.gaps.then(|| answers(&worker.memory));
            match worker.memory.execute(command) {
                Ok(()) => outcomes.push(Outcome::Done),
                Err(why) => {
                    outcomes.push(Outcome::Refused(why.as_str().into()));
                    self.refused(&format!("{why} ({command:?})"))?;
                    continue;
                }
            }
            if let (Some(before), Some(worker)) = (before, &self.worker) {
                let alive = judge::alive(self.controller.desired().image());
                judge::no_gap(&before, [then, &wanted], &answers(&worker.memory), &alive)
                    .map_err(|probe| format!("S7: after {command:?}, {probe} of {commands:#?}"))?;
            }
        }
        Ok(outcomes)
    }

    pub(super) fn die(&mut self) -> Verdict {
        // The adapter tells that a worker came before it tells that the worker went.
        if matches!(self.files.front(), Some(Open::Answered(..))) {
            self.answer(Lane::Files, Fate::Done)?;
        }
        let Some(worker) = self.worker.take() else { return Ok(()) };
        self.step(vec![Event::WorkerLost(worker.id)])
    }

    pub(super) fn come_back(&mut self) -> Verdict {
        if self.worker.is_some() {
            return Ok(());
        }
        let Some(image) = self.saved.clone() else { return Ok(()) };
        let memory = load::start(&image, &self.setup.capabilities())
            .map_err(|why| format!("what was saved does not load: {why}"))?;
        let id = self.new_worker(memory);
        self.step(vec![Event::WorkerSeen(id)])
    }
}

/// HAProxy's verdict on a snippet, as far as the model goes: the examples of the reference are fine,
/// and nothing else is.
fn judged(snippet: &Snippet) -> Outcome {
    let keys = FAMILIES.iter().flat_map(|family| family.keys);
    let mut examples = keys.filter(|row| row.key == snippet.place.key()).map(|row| row.example);
    match examples.any(|example| snippet.text.trim_end() == example) {
        true => Outcome::Done,
        false => Outcome::Refused("parsing [x:9] : refused by the model".into()),
    }
}
