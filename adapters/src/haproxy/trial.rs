//! The trial lane: HAProxy judges snippets, each by itself and beside what serves.
//!
//! Inputs: snippets. Outputs: acks. Each is written with its pattern files into a folder of its own
//! that only we can enter, HAProxy reads it without environment and within bounds, and the folder is
//! removed. Not here: what a snippet may contain (`tidegate_core::snippet`).

use std::path::PathBuf;

use tidegate_core::action::{Action, ActionBody};
use tidegate_core::event::{Ack, Event, Outcome};
use tidegate_core::snippet::{self, Snippet};
use tokio::sync::{mpsc, oneshot};

use super::{ProxyOptions, reload};
use crate::ports::Ports;

/// Mode of the folders and files of a trial.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The lane.
pub(super) struct TrialLane {
    pub ports: Ports,
    pub options: ProxyOptions,
    pub events: mpsc::Sender<Event>,
}

impl TrialLane {
    /// Runs until the sender is gone, or nobody takes events any more.
    pub async fn run(self, mut actions: mpsc::UnboundedReceiver<Action>) {
        while let Some(Action { id, body }) = actions.recv().await {
            let ActionBody::CheckSnippet { snippet } = body else { continue };
            let outcome = self.judge(&snippet).await;
            let ack = Ack { id, outcomes: vec![outcome], worker: None };
            if self.events.send(Event::Acked(ack)).await.is_err() {
                return;
            }
        }
    }

    async fn judge(&self, snippet: &Snippet) -> Outcome {
        let dir = self.options.state_dir.join("snippet");
        let config = match self.write(&dir, snippet.clone()).await {
            Ok(config) => config,
            Err(error) => {
                tracing::warn!(error, "a snippet could not be written for HAProxy to judge");
                return Outcome::Unknown;
            }
        };
        let judged = self.ports.processes.judge(&self.options.binary, &config).await;
        let _ = self.ports.files.remove_dir_all(&dir);
        match judged {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(words)) => {
                let words = reload::words(&words).replace(&*dir.to_string_lossy(), "");
                Outcome::Refused(words.into())
            }
            // What cannot be judged does not join.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Outcome::Refused(
                "there is no haproxy beside tidegate to judge it; name one by --haproxy".into(),
            ),
            Err(error) => {
                tracing::warn!(%error, "haproxy -c could not be run on a snippet");
                Outcome::Unknown
            }
        }
    }

    async fn write(&self, dir: &std::path::Path, snippet: Snippet) -> Result<PathBuf, String> {
        let (files, dir) = (std::sync::Arc::clone(&self.ports.files), dir.to_owned());
        let (sender, receiver) = oneshot::channel();
        let job = move || {
            let write = || -> Result<PathBuf, String> {
                let text = |error: std::io::Error| error.to_string();
                files.remove_dir_all(&dir).map_err(text)?;
                for dir in [dir.clone(), dir.join("patterns")] {
                    files.create_dir(&dir, DIR_MODE).map_err(text)?;
                }
                for (name, content) in &snippet.files {
                    files.jot(&dir.join(&**name), content.as_bytes(), FILE_MODE).map_err(text)?;
                }
                let path = dir.to_str().ok_or("the state folder's name is not UTF-8")?;
                let mut config = String::new();
                snippet::write_trial(&snippet, path, &mut config).map_err(|e| e.to_string())?;
                let file = dir.join("snippet.cfg");
                files.jot(&file, config.as_bytes(), FILE_MODE).map_err(text)?;
                Ok(file)
            };
            let _ = sender.send(write());
        };
        self.ports.files.offload(Box::new(job)).await;
        receiver.await.unwrap_or_else(|_| Err("the work was cut off".to_owned()))
    }
}
