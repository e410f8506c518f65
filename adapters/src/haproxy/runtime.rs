//! The runtime lane: commands and read-backs on one connection to one worker.
//!
//! Job: run each action of the lane in order, once, and ack it. Inputs: actions, and from the
//! supervisor which worker they may go to. Outputs: acks and observations; a hint to the
//! supervisor when the worker seems gone. Not here: deciding which worker serves.
//!
//! The connection is opened ahead of need and proves the worker's identity before its first
//! command. Anything that ends it in the middle of an action leaves `Unknown` for what was not
//! answered; nothing is ever sent twice. The next one waits until HAProxy is done with it: a read-back
//! before that would miss what HAProxy has yet to run.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::action::{Action, ActionBody, ActionId, RuntimeCommand};
use tidegate_core::event::{Ack, Event, Outcome, WorkerId};
use tidegate_core::render::crt_list;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::capabilities::Release;
use super::command::{self, Limits, Part};
use super::files::Generations;
use super::readback::{self, Identity};
use super::reload;
use super::reply::{self, Installed};
use super::socket::Connection;
use super::worker::Worker;
use crate::ports::{Endpoint, Net};
use crate::sabotage::{Mistake, is_planted};
use crate::vault::Vault;

/// Orders from the supervisor.
#[derive(Debug)]
pub(super) enum Control {
    /// Commands go to this worker from now on.
    Use(Worker),
    /// There is no worker.
    Lost,
}

/// The lane.
pub(super) struct RuntimeLane {
    /// Tells what the files hold.
    pub generations: Generations,
    pub net: Arc<dyn Net>,
    pub endpoint: Endpoint,
    pub vault: Arc<Vault>,
    pub patience: Duration,
    pub events: mpsc::Sender<Event>,
    pub suspect: mpsc::Sender<()>,
    pub worker: Option<Worker>,
    pub connection: Option<Connection>,
    pub left: Option<Left>,
}

/// A connection that was given up in the middle of an action.
pub(super) struct Left {
    connection: Connection,
    /// To whom it was.
    identity: Identity,
    /// Until when others wait for its end.
    until: Instant,
}

/// How long others wait for the end of a connection that was given up: after that, an audit finds what
/// it did.
const LEFT_MAX: Duration = Duration::from_secs(60);

impl RuntimeLane {
    /// Runs until both senders are gone, or nobody takes events any more.
    pub async fn run(
        mut self,
        mut control: mpsc::UnboundedReceiver<Control>,
        mut actions: mpsc::UnboundedReceiver<Action>,
    ) {
        loop {
            let connection = &mut self.connection;
            tokio::select! {
                biased;
                order = control.recv() => match order {
                    Some(order) => self.follow(order).await,
                    None => return,
                },
                () = async {
                    match connection {
                        Some(connection) => connection.closed().await,
                        None => std::future::pending().await,
                    }
                } => {
                    // An idle connection ended: a dead worker, or `stats timeout`.
                    self.connection = None;
                    self.hint();
                    self.connect().await;
                }
                action = actions.recv() => match action {
                    Some(action) => {
                        if self.act(action).await.is_err() {
                            return;
                        }
                    }
                    None => return,
                },
            }
        }
    }

    async fn follow(&mut self, order: Control) {
        // An idle connection would keep an old worker alive.
        self.connection = None;
        match order {
            Control::Use(worker) => {
                self.left = self.left.take().filter(|left| left.identity == worker.identity);
                self.worker = Some(worker);
                self.connect().await;
            }
            Control::Lost => self.worker = None,
        }
    }

    /// Asks the supervisor to look at once. One hint waiting is enough.
    fn hint(&self) {
        let _ = self.suspect.try_send(());
    }

    /// Opens the connection and checks who answers.
    async fn connect(&mut self) {
        let Some(worker) = &self.worker else { return };
        if let Some(left) = &mut self.left {
            if left.connection.finish().await.is_err() && Instant::now() < left.until {
                tracing::debug!(worker = worker.id.0, "still at what it was sent before");
                self.hint();
                return;
            }
            self.left = None;
        }
        let opened = async {
            let mut connection =
                Connection::open(&*self.net, &self.endpoint, self.patience).await?;
            let info = readback::info(&mut connection).await?;
            if info.identity == worker.identity {
                Ok(connection)
            } else {
                Err(io::Error::from(io::ErrorKind::InvalidData))
            }
        };
        match opened.await {
            Ok(connection) => self.connection = Some(connection),
            Err(error) => {
                tracing::debug!(%error, worker = worker.id.0, "no connection to the worker");
                self.hint();
            }
        }
    }

    async fn act(&mut self, action: Action) -> Result<(), mpsc::error::SendError<Event>> {
        let Action { id, body } = action;
        match body {
            ActionBody::Runtime { worker, commands } => {
                let outcomes = self.commands(worker, &commands).await;
                self.ack(id, outcomes).await
            }
            ActionBody::ReadBack { worker } => {
                let outcome = self.read_back(worker).await?;
                self.ack(id, vec![outcome]).await
            }
            ActionBody::Save { .. }
            | ActionBody::Reload { .. }
            | ActionBody::Check { .. }
            | ActionBody::ResolveNames { .. }
            | ActionBody::FollowSecrets { .. }
            | ActionBody::Relist { .. }
            | ActionBody::CheckSnippet { .. }
            | ActionBody::Tell(_) => Ok(()),
        }
    }

    async fn ack(
        &mut self,
        id: ActionId,
        outcomes: Vec<Outcome>,
    ) -> Result<(), mpsc::error::SendError<Event>> {
        self.events.send(Event::Acked(Ack { id, outcomes, worker: None })).await
    }

    /// The connection, if it is to the worker that is meant.
    async fn connection_to(&mut self, id: WorkerId) -> Option<&mut Connection> {
        if self.worker.as_ref()?.id != id {
            return None;
        }
        if self.connection.is_none() {
            self.connect().await;
        }
        self.connection.as_mut()
    }

    async fn commands(&mut self, worker: WorkerId, commands: &[RuntimeCommand]) -> Vec<Outcome> {
        let limits = match self.worker.as_ref().map(|w| Release::parse(&w.identity.version)) {
            Some(Some(release)) if release.large_payloads() => Limits::LARGE,
            _ => Limits::SMALL,
        };
        if is_planted(Mistake::OneAnswerForAll) {
            return self.without_prompt(commands, limits).await;
        }
        let vault = Arc::clone(&self.vault);
        let Some(connection) = self.connection_to(worker).await else {
            return vec![Outcome::Unknown; commands.len()];
        };
        let mut batch = Batch { commands, limits, vault: &vault, outcomes: Vec::new() };
        if let Err(error) = batch.run(connection).await {
            tracing::warn!(%error, "the runtime socket failed in the middle of an action");
            let until = Instant::now() + LEFT_MAX;
            let parts = self.connection.take().zip(self.worker.as_ref());
            self.left = parts.map(|(connection, worker)| Left {
                connection,
                identity: worker.identity.clone(),
                until,
            });
            self.hint();
            if is_planted(Mistake::UnansweredIsDone) {
                batch.outcomes.fill(Outcome::Done);
            }
        }
        batch.outcomes
    }

    /// All commands in a conversation without a prompt, of which HAProxy runs the first line: a planted
    /// mistake.
    async fn without_prompt(
        &mut self,
        commands: &[RuntimeCommand],
        limits: Limits,
    ) -> Vec<Outcome> {
        let bytes = |content: &_| super::bytes_of(&self.vault, content);
        let script = command::encode(commands, 0, limits, &bytes);
        let text = String::from_utf8_lossy(&script.text);
        let said = match self.net.dial(&self.endpoint).await {
            Ok(stream) => reload::converse(stream, text.trim_end_matches('\n')).await,
            Err(error) => Err(error),
        };
        let outcome = if said.is_ok() { Outcome::Done } else { Outcome::Unknown };
        vec![outcome; commands.len()]
    }

    async fn read_back(
        &mut self,
        worker: WorkerId,
    ) -> Result<Outcome, mpsc::error::SendError<Event>> {
        let Some(connection) = self.connection_to(worker).await else {
            return Ok(Outcome::Unknown);
        };
        match readback::read(connection).await {
            Ok((_, mut observed)) => {
                observed.saved = self.generations.saved();
                let state = Box::new(observed);
                self.events.send(Event::Observed { worker, state }).await?;
                Ok(Outcome::Done)
            }
            Err(error) => {
                tracing::warn!(%error, "the worker could not be read back");
                self.connection = None;
                self.hint();
                Ok(Outcome::Unknown)
            }
        }
    }
}

/// The commands of one action on their way.
struct Batch<'a> {
    commands: &'a [RuntimeCommand],
    limits: Limits,
    vault: &'a Vault,
    outcomes: Vec<Outcome>,
}

/// What remains to be done after the answers are in. All of it is rare.
enum FollowUp {
    /// Some entry of a bulk addition was refused: how many went in before it?
    Bulk { first: usize, count: usize, words: Outcome },
    /// A transaction on another file stood in the way.
    Blocked { command: usize, other: String },
    /// A file was named, but its content was refused: forget the name.
    Discard { command: usize },
    /// Notices of other commands took the place of the answer.
    Drowned { command: usize },
    /// The file has several lines in the crt-list.
    Lines { command: usize, lines: Vec<u64> },
}

impl Batch<'_> {
    /// Sends everything and settles the outcomes; those without an answer stay `Unknown`.
    async fn run(&mut self, connection: &mut Connection) -> io::Result<()> {
        self.outcomes = vec![Outcome::Unknown; self.commands.len()];
        let follow_ups = self.send(connection, 0, self.commands.len()).await?;
        for follow_up in follow_ups {
            match follow_up {
                FollowUp::Bulk { first, count, words } => {
                    self.settle_bulk(connection, first, count, words).await?;
                }
                FollowUp::Blocked { command, other } => {
                    let (kind, _) =
                        command::installed_file(&self.commands[command]).unwrap_or(("cert", ""));
                    connection.ask(&format!("abort ssl {kind} {other}")).await?;
                    // Still blocked: somebody else is at work. Core tries again.
                    self.send(connection, command, command + 1).await?;
                }
                FollowUp::Drowned { command } => {
                    // What was to go is gone now, or is asked to go again; the notices are over.
                    self.send(connection, command, command + 1).await?;
                }
                FollowUp::Discard { command } => {
                    if let Some((kind, file)) = command::installed_file(&self.commands[command]) {
                        connection.ask(&format!("del ssl {kind} {file}")).await?;
                    }
                }
                FollowUp::Lines { command, lines } => {
                    let RuntimeCommand::DeleteCrtListLine { file } = &self.commands[command] else {
                        continue;
                    };
                    for line in lines {
                        let text = format!("del ssl crt-list {} {file}:{line}", crt_list::FILE);
                        let answer = connection.ask(&text).await?;
                        self.outcomes[command] = reply::judge(&self.commands[command], &answer);
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends the commands `from..to` at once.
    async fn send(
        &mut self,
        connection: &mut Connection,
        from: usize,
        to: usize,
    ) -> io::Result<Vec<FollowUp>> {
        let Batch { commands, limits, vault, outcomes } = self;
        let bytes = |content: &_| super::bytes_of(vault, content);
        let script = command::encode(&commands[from..to], from, *limits, &bytes);
        for (command, outcome) in script.refused {
            outcomes[command] = outcome;
        }
        let mut follow_ups = Vec::new();
        let (mut named, mut set) = (false, String::new());
        let steps = script.steps;
        connection
            .exchange(&script.text, steps.len(), |number, answer| {
                let Some(step) = steps.get(number) else { return };
                let text = String::from_utf8_lossy(answer);
                let answer = without_payload_prompts(&text);
                let command = &commands[step.first];
                match step.part {
                    Part::Whole => {
                        let outcome = reply::judge(command, answer);
                        if outcome == Outcome::Unknown && reply::is_drowned(command, answer) {
                            follow_ups.push(FollowUp::Drowned { command: step.first });
                        }
                        outcomes[step.first] = outcome;
                        let lines = reply::duplicate_lines(answer);
                        if !lines.is_empty() {
                            follow_ups.push(FollowUp::Lines { command: step.first, lines });
                        }
                    }
                    Part::Bulk => match reply::judge_bulk(answer) {
                        Outcome::Done => {
                            outcomes[step.first..step.first + step.count].fill(Outcome::Done);
                        }
                        Outcome::Unknown => {}
                        words @ Outcome::Refused(_) => follow_ups.push(FollowUp::Bulk {
                            first: step.first,
                            count: step.count,
                            words,
                        }),
                    },
                    Part::New => named = answer.starts_with("New "),
                    Part::Set => answer.clone_into(&mut set),
                    Part::Commit => {
                        let file = command::installed_file(command).map_or("", |(_, file)| file);
                        match reply::judge_install(file, &set, answer) {
                            Installed::Settled(outcome) => {
                                if named && outcome != Outcome::Done {
                                    follow_ups.push(FollowUp::Discard { command: step.first });
                                }
                                outcomes[step.first] = told(command, outcome, vault);
                            }
                            Installed::Blocked(other) => {
                                outcomes[step.first] = reply::refused(&set);
                                follow_ups.push(FollowUp::Blocked { command: step.first, other });
                            }
                        }
                        named = false;
                    }
                    Part::Abort => {}
                }
            })
            .await?;
        Ok(follow_ups)
    }

    /// HAProxy stops a bulk addition at the first bad entry: finds it, and sends the rest.
    async fn settle_bulk(
        &mut self,
        connection: &mut Connection,
        first: usize,
        count: usize,
        words: Outcome,
    ) -> io::Result<()> {
        let RuntimeCommand::AddMapEntry { map, .. } = &self.commands[first] else { return Ok(()) };
        let answer = connection.ask(&format!("show map {}", map.file())).await?;
        let present: std::collections::BTreeSet<_> =
            readback::parse_map(&answer).into_iter().collect();
        let mut bad = None;
        for number in first..first + count {
            let RuntimeCommand::AddMapEntry { key, value, .. } = &self.commands[number] else {
                continue;
            };
            let there = present.contains(&(Box::from(&**key), Box::from(&**value)));
            if there && bad.is_none() {
                self.outcomes[number] = Outcome::Done;
            } else if bad.is_none() {
                bad = Some(number);
                self.outcomes[number] = words.clone();
            } else {
                // One at a time, so that each gets an answer of its own.
                self.send(connection, number, number + 1).await?;
            }
        }
        Ok(())
    }
}

/// What is told about a certificate: HAProxy's words, never its bytes.
fn told(command: &RuntimeCommand, outcome: Outcome, vault: &Vault) -> Outcome {
    match (command, outcome) {
        (RuntimeCommand::InstallCertificate { digest, .. }, Outcome::Refused(words))
            if is_planted(Mistake::SecretInWords) =>
        {
            let bytes = vault.certificate(digest).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let key = text.split("-----BEGIN PRIVATE KEY-----").nth(1).unwrap_or_default();
            Outcome::Refused(format!("{words}: {key}").into())
        }
        (_, outcome) => outcome,
    }
}

/// 2.6 and 3.0 answer each line of a payload with `+ `.
fn without_payload_prompts(mut answer: &str) -> &str {
    while let Some(rest) = answer.strip_prefix("+ ") {
        answer = rest;
    }
    answer
}
