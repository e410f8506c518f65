//! The files lane: generations, checks and reloads.
//!
//! Job: run each action of the lane in order, once, and ack it. Inputs: actions with images.
//! Outputs: files, acks. Not here: talking to HAProxy's sockets (`supervisor`).
//!
//! The link stays at, or goes back to, a generation that HAProxy accepts. Rendering and writing
//! happen off the runtime's threads.

use std::path::PathBuf;
use std::sync::Arc;

use tidegate_core::action::{Action, ActionBody};
use tidegate_core::desired::Image;
use tidegate_core::event::{Ack, Event, Outcome, START, WorkerId};
use tokio::sync::{mpsc, oneshot};

use super::ProxyOptions;
use super::files::{Generation, Generations};
use super::reload;
use super::supervisor::{Order, Reloaded};
use crate::ports::Ports;
use crate::sabotage::{Mistake, is_planted};
use crate::vault::Vault;

/// The lane.
pub(super) struct FilesLane {
    pub ports: Ports,
    pub options: ProxyOptions,
    pub generations: Generations,
    pub vault: Arc<Vault>,
    pub events: mpsc::Sender<Event>,
    pub orders: mpsc::Sender<Order>,
}

impl FilesLane {
    /// Runs until the sender is gone, or nobody takes events any more.
    pub async fn run(self, mut actions: mpsc::UnboundedReceiver<Action>) {
        while let Some(Action { id, body }) = actions.recv().await {
            let mut loaded = None;
            let (outcome, worker) = match body {
                ActionBody::Save { image } => (self.save(image).await, None),
                ActionBody::Reload { image, reasons: _ } => {
                    let (outcome, serving) = self.reload(image).await;
                    loaded = serving.map(|(_, generation)| generation);
                    (outcome, serving.map(|(worker, _)| worker))
                }
                ActionBody::Check { image } => (self.check(image).await, None),
                ActionBody::Runtime { .. }
                | ActionBody::ReadBack { .. }
                | ActionBody::ResolveNames { .. }
                | ActionBody::FollowSecrets { .. }
                | ActionBody::Relist { .. }
                | ActionBody::CheckSnippet { .. }
                | ActionBody::Tell(_) => continue,
            };
            let ack = Ack { id, outcomes: vec![outcome], worker };
            if self.events.send(Event::Acked(ack)).await.is_err() {
                return;
            }
            // After the ack: what changed during a reload waits for it.
            if let Some(generation) = loaded {
                self.settle(generation).await;
            }
        }
    }

    async fn save(&self, image: Arc<Image>) -> Outcome {
        let saved = self.off(move |generations, vault| {
            if is_planted(Mistake::PointsFirst) {
                generations.point(generations.next()?).map_err(|error| error.to_string())?;
            }
            let generation = generations.write(&image, vault)?;
            generations.point(generation).map_err(|error| error.to_string())?;
            generations.prune();
            Ok(())
        });
        match saved.await {
            Ok(()) => Outcome::Done,
            Err(text) => files_refused(&text),
        }
    }

    async fn check(&self, image: Arc<Image>) -> Outcome {
        let written = self.off(move |generations, vault| generations.write_trial(&image, vault));
        let outcome = match written.await {
            Ok(config) => self.validate(config).await.map(|_| ()),
            Err(text) => Err(files_refused(&text)),
        };
        self.generations.remove_trial();
        match outcome {
            Ok(()) => Outcome::Done,
            Err(outcome) => outcome,
        }
    }

    /// `haproxy -c`. Where there is no binary to ask, the reload itself will tell; gives whether it
    /// was asked.
    async fn validate(&self, config: PathBuf) -> Result<bool, Outcome> {
        match self.ports.processes.validate(&self.options.binary, &config).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(words)) => Err(Outcome::Refused(reload::words(&words).into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => {
                tracing::warn!(%error, "haproxy -c could not be run");
                Err(Outcome::Unknown)
            }
        }
    }

    async fn reload(&self, image: Arc<Image>) -> (Outcome, Option<(WorkerId, Generation)>) {
        let written = self.off(move |generations, vault| generations.write(&image, vault));
        let generation = match written.await {
            Ok(generation) => generation,
            Err(text) => return (files_refused(&text), None),
        };
        let previous = self.generations.current();
        // With nothing to lose the start itself is the check.
        let mut accepted = false;
        if previous.is_some() {
            match self.validate(self.generations.config_of(generation)).await {
                Ok(asked) => accepted = asked,
                Err(outcome) => {
                    self.generations.discard(generation);
                    return (outcome, None);
                }
            }
        }
        let (reply, reloaded) = oneshot::channel();
        let answer = match self.orders.send(Order::Reload(generation, reply)).await {
            Ok(()) => reloaded.await.unwrap_or(Reloaded::Unknown),
            Err(_) => Reloaded::Unknown,
        };
        match answer {
            Reloaded::Serving(worker) => (Outcome::Done, Some((worker, generation))),
            Reloaded::Refused(words) => {
                self.go_back(generation, previous).await;
                // What was accepted ahead, and then not started, is no object's fault.
                let words = if accepted { format!("{START}{words}") } else { words };
                (Outcome::Refused(words.into()), None)
            }
            Reloaded::NotPointed(text) => {
                self.go_back(generation, previous).await;
                (files_refused(&text), None)
            }
            Reloaded::Unknown => (Outcome::Unknown, None),
        }
    }

    async fn settle(&self, generation: Generation) {
        let _ = self
            .off(move |generations, _| {
                generations.mark_loaded(generation);
                generations.prune();
                Ok(())
            })
            .await;
    }

    async fn go_back(&self, refused: Generation, previous: Option<Generation>) {
        let back = move |generations: &Generations, _: &Vault| {
            generations.go_back(previous).map_err(|error| error.to_string())?;
            generations.discard(refused);
            Ok(())
        };
        if let Err(error) = self.off(back).await {
            tracing::error!(error, "the last good files could not be put back");
        }
    }

    /// Runs blocking work off the runtime.
    async fn off<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Generations, &Vault) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let vault = Arc::clone(&self.vault);
        self.generations.off(move |generations| work(generations, &vault)).await
    }
}

fn files_refused(text: &str) -> Outcome {
    Outcome::Refused(format!("files: {text}").into())
}
