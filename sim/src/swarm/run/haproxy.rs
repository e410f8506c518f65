//! HAProxy and the disk: what becomes of an action, with the faults that are armed for it.

use std::sync::Arc;

use tidegate_core::action::{Action, ActionBody, RuntimeCommand};
use tidegate_core::event::{Ack, Event, Outcome, WorkerId};
use tidegate_core::render;

use super::{RELOAD_MS, Run, Worker};
use crate::model::haproxy::{Haproxy, Reply};
use crate::model::load;
use crate::swarm::judge::{self, Broken};
use crate::swarm::schedule::Fault;

impl Run<'_> {
    pub(super) fn carry_out(&mut self, action: &Action) -> Result<(Vec<Event>, Ack), Broken> {
        let mut ack = Ack { id: action.id, outcomes: vec![Outcome::Done], worker: None };
        let mut events = Vec::new();
        match &action.body {
            ActionBody::Runtime { worker, commands } => {
                ack.outcomes = self.commands(*worker, commands)?;
            }
            ActionBody::ReadBack { worker } => {
                let lost = self.take_armed(|f| matches!(f, Fault::LoseCommands(_)).then_some(()));
                match &self.worker {
                    Some(running) if running.id == *worker && lost.is_none() => {
                        let mut state = Box::new(running.memory.observed());
                        state.saved = self.files.as_ref().map(|image| render::image_digest(image));
                        events.push(Event::Observed { worker: *worker, state });
                    }
                    _ => ack.outcomes = vec![Outcome::Unknown],
                }
            }
            ActionBody::Save { image } => {
                ack.outcomes = vec![self.files(|run| {
                    run.files = Some(image.clone());
                    Ok(Outcome::Done)
                })?];
            }
            ActionBody::Reload { image, .. } => {
                let (mut started, armed) = (None, self.armed.len());
                let outcome = self.files(|run| match load::start(image, &run.capabilities) {
                    Ok(memory) => {
                        run.files = Some(image.clone());
                        started = Some(run.start(memory));
                        Ok(Outcome::Done)
                    }
                    Err(why) => Ok(Outcome::Refused(why.into())),
                })?;
                self.out.reloads += 1;
                if self.armed.len() < armed {
                    self.hold_up(self.now.saturating_sub(RELOAD_MS), self.now);
                }
                if outcome == Outcome::Done {
                    ack.worker = started;
                } else {
                    events.extend(started.map(Event::WorkerSeen));
                }
                ack.outcomes = vec![outcome];
            }
            ActionBody::Check { image } => {
                if let Err(why) = load::start(image, &self.capabilities) {
                    ack.outcomes = vec![Outcome::Refused(why.into())];
                }
            }
            ActionBody::ResolveNames { .. }
            | ActionBody::CheckSnippet { .. }
            | ActionBody::FollowSecrets { .. }
            | ActionBody::Relist { .. }
            | ActionBody::Tell(_) => {}
        }
        Ok((events, ack))
    }

    /// Writes files, unless something is in the way.
    fn files(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<Outcome, Broken>,
    ) -> Result<Outcome, Broken> {
        if self.take_armed(|f| (*f == Fault::DiskFull).then_some(())).is_some() {
            self.sometimes("the disk was full");
            return Ok(Outcome::Refused("files: no space left on device".into()));
        }
        let lost = self.take_armed(|f| match f {
            Fault::LoseFiles(done) => Some(*done),
            _ => None,
        });
        match lost {
            None => write(self),
            Some(done) => {
                self.sometimes("the answer to a save or reload was lost");
                if done {
                    write(self)?;
                }
                Ok(Outcome::Unknown)
            }
        }
    }

    fn commands(
        &mut self,
        to: WorkerId,
        commands: &[RuntimeCommand],
    ) -> Result<Vec<Outcome>, Broken> {
        let mut outcomes = vec![Outcome::Unknown; commands.len()];
        if self.worker.as_ref().is_none_or(|worker| worker.id != to) {
            self.sometimes("commands for a worker that was gone");
            return Ok(outcomes);
        }
        let lost = self.take_armed(|f| match f {
            Fault::LoseCommands(done) => Some(usize::from(*done)),
            _ => None,
        });
        let refused = self.take_armed(|f| (*f == Fault::RefuseCommand).then_some(())).is_some();
        for (at, command) in commands.iter().enumerate().take(lost.unwrap_or(usize::MAX)) {
            if at == 0 && refused && may_be_refused(command) {
                self.sometimes("a command was refused without reason");
                outcomes[at] = Outcome::Refused("no".into());
                continue;
            }
            let Some(worker) = &mut self.worker else { break };
            outcomes[at] = match Arc::make_mut(&mut worker.memory).answer(command) {
                Reply::Done | Reply::Needless(_) => Outcome::Done,
                Reply::Refused(why) => Outcome::Refused(why.into()),
            };
            self.out.commands += 1;
            judge::after(self, command)?;
        }
        if let Some(done) = lost {
            self.sometimes(if done < commands.len() {
                "commands were carried out in part, and the answer was lost"
            } else {
                "commands were carried out, and the answer was lost"
            });
            outcomes.fill(Outcome::Unknown);
        }
        Ok(outcomes)
    }

    fn start(&mut self, memory: Haproxy) -> WorkerId {
        let id = WorkerId(self.next_worker);
        self.next_worker += 1;
        self.worker = Some(Worker { id, memory: Arc::new(memory) });
        self.note("workers", || format!("worker {} serves", id.0));
        id
    }

    pub(super) fn worker_returns(&mut self) -> Result<(), Broken> {
        let Some(image) = self.files.clone().filter(|_| self.worker.is_none()) else {
            return Ok(());
        };
        let memory = load::start(&image, &self.capabilities)
            .map_err(|why| Broken::new("S6", format!("the files do not load: {why}")))?;
        let id = self.start(memory);
        self.step(vec![Event::WorkerSeen(id)])
    }
}

/// What HAProxy judges by its bytes makes its owner withheld when it is refused; that is right,
/// and not what an unfounded refusal is to show.
fn may_be_refused(command: &RuntimeCommand) -> bool {
    !matches!(
        command,
        RuntimeCommand::InstallCertificate { .. }
            | RuntimeCommand::InstallAuthority { .. }
            | RuntimeCommand::ReplaceDefaultCertificate { .. }
            | RuntimeCommand::AddCrtListLine { .. }
    )
}
