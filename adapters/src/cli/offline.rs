//! A controller without a proxy: what `check`, `render` and `plan` share.
//!
//! Inputs: a folder of manifests, settings, the abilities of an HAProxy that is only assumed.
//! Outputs: a controller that has read the folder, and its actions when every one succeeds at
//! once. Not here: printing.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use tidegate_core::action::{Action, ActionBody};
use tidegate_core::capability::Capabilities;
use tidegate_core::controller::{Controller, Step};
use tidegate_core::event::{Ack, Event, Observed, Outcome, WorkerId};
use tidegate_core::settings::Settings;
use tidegate_core::time::Time;

use super::args::Tier;
use crate::folder::{self, FolderSettings};
use crate::haproxy::capabilities;
use crate::vault::Vault;

/// Most steps until a controller whose every action succeeds must be quiet.
const STEPS_MAX: usize = 100_000;

/// Which HAProxy to assume.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "HAProxy assumed")]
pub struct Assumed {
    /// Version, such as 3.2 or 2.6.12
    #[arg(long, value_name = "VERSION", conflicts_with = "tier")]
    pub haproxy_version: Option<String>,
    /// Abilities: a (3.4), b (3.0, 3.2) or c (2.6)
    #[arg(long, value_enum, value_name = "TIER")]
    pub tier: Option<Tier>,
}

impl Assumed {
    /// The abilities; those of 3.4 when nothing is said.
    ///
    /// # Errors
    /// When the version cannot be read.
    pub fn capabilities(&self) -> anyhow::Result<Capabilities> {
        let Assumed { haproxy_version, tier } = self;
        if let Some(version) = haproxy_version {
            let known = capabilities::Release::parse(version);
            anyhow::ensure!(known.is_some(), "{version} is not a version such as 3.2");
            // A branch without a patch level means its newest release.
            let full = match version.split('.').count() {
                2 => format!("{version}.99"),
                _ => version.clone(),
            };
            let found = capabilities::of_version(&full, (0, 0)).capabilities;
            return Ok(Capabilities { version: version.as_str().into(), ..found });
        }
        Ok(match tier {
            None | Some(Tier::A) => Capabilities::tier_a(),
            Some(Tier::B) => Capabilities::tier_b(),
            Some(Tier::C) => Capabilities::tier_c(),
        })
    }
}

/// A controller whose every action succeeds at once, in a time of its own.
pub struct Offline {
    /// The controller.
    pub controller: Controller,
    /// Secret bytes.
    pub vault: Arc<Vault>,
    now: Time,
    worker: u64,
}

/// One action and when it was given.
pub struct Given {
    /// Milliseconds since the change.
    pub at_ms: u64,
    /// The action.
    pub action: Action,
    /// The commands with what they are for, when it is a runtime action.
    pub commands: Vec<tidegate_core::plan::Command>,
}

impl Offline {
    /// A controller that knows which HAProxy it has to do with and nothing else.
    #[must_use]
    pub fn new(settings: Settings, capabilities: Capabilities) -> Offline {
        let mut settings = settings;
        // An audit would ask again for ever.
        settings.delays.audit_ms = 0;
        let mut controller = Controller::new(settings, Time(0));
        let _ = controller.step(Time(0), vec![Event::ProxyFound(capabilities)]);
        // Nothing leaves this process, so the key of the digests need not be secret.
        Offline { controller, vault: Arc::new(Vault::new([7; 32])), now: Time(0), worker: 0 }
    }

    /// Takes what a running worker has in memory for what runs. `vault` is that of its state
    /// folder, as certificates are compared by its digests. To be called before anything is read.
    pub fn adopt(&mut self, vault: Vault, state: Observed) {
        self.vault = Arc::new(vault);
        self.worker += 1;
        let worker = WorkerId(self.worker);
        let step = self.controller.step(self.now, vec![Event::WorkerSeen(worker)]);
        let mut events = vec![Event::Observed { worker, state: Box::new(state) }];
        events.extend(step.actions.iter().filter_map(|a| self.succeed(a)).map(Event::Acked));
        let _ = self.controller.step(self.now, events);
    }

    /// Reads a folder: the events of a first reading.
    ///
    /// # Errors
    /// When it is missing or not readable.
    pub fn read(&self, dir: &Path) -> anyhow::Result<Vec<Event>> {
        let settings = self.controller.world().settings();
        let config_maps = settings.config_maps().cloned().collect();
        let settings = FolderSettings { path: dir.to_owned(), config_maps };
        let events = folder::read(&settings, &self.vault);
        events.with_context(|| format!("cannot read manifests from {}", dir.display()))
    }

    /// Takes events in, and lets every action succeed until nothing is left to do. Returns the
    /// actions in order.
    pub fn settle(&mut self, events: Vec<Event>) -> Vec<Given> {
        let start = self.now;
        let mut given = Vec::new();
        let mut step = self.controller.step(self.now, events);
        for _ in 0..STEPS_MAX {
            let Step {
                actions,
                wake_at,
                opened: _,
                closed: _,
                effective: _,
                effective_but_static: _,
                audit: _,
                trace,
            } = step;
            let mut acks = Vec::new();
            for action in actions {
                acks.extend(self.succeed(&action).map(Event::Acked));
                let commands = match action.body {
                    ActionBody::Runtime { .. } => trace.commands.clone(),
                    _ => Vec::new(),
                };
                given.push(Given { at_ms: self.now.since_ms(start), action, commands });
            }
            if acks.is_empty() {
                match wake_at {
                    Some(wake) => self.now = self.now.max(wake.at),
                    None => return given,
                }
                acks.push(Event::Ticked);
            }
            step = self.controller.step(self.now, acks);
        }
        given
    }

    fn succeed(&mut self, action: &Action) -> Option<Ack> {
        let (count, worker) = match &action.body {
            ActionBody::Runtime { worker: _, commands } => (commands.len(), None),
            ActionBody::Reload { image: _, reasons: _ } => {
                self.worker += 1;
                (1, Some(WorkerId(self.worker)))
            }
            ActionBody::ReadBack { worker: _ }
            | ActionBody::Save { image: _ }
            | ActionBody::Check { image: _ }
            | ActionBody::Tell(_) => (1, None),
            ActionBody::ResolveNames { names: _ }
            | ActionBody::FollowSecrets { add: _, drop: _ }
            | ActionBody::Relist { kind: _ } => return None,
        };
        Some(Ack { id: action.id, outcomes: vec![Outcome::Done; count], worker })
    }
}
