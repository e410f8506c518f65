//! Names of outcomes, facts and commands in metrics.

use tidegate_core::action::{ActionBody, RuntimeCommand};
use tidegate_core::event::{Event, Outcome};
use tidegate_core::plan::remedy::ReloadReason;
use tidegate_core::tell::Tell;

/// What was asked for, as far as it is counted.
pub enum Asked {
    /// These commands.
    Commands(Vec<&'static str>),
    /// A reload, under its first reason.
    Reload(&'static str),
    /// Anything else.
    Other(&'static str),
}

impl Asked {
    /// What an action asks for.
    #[must_use]
    pub fn of(body: &ActionBody) -> Asked {
        Asked::Other(match body {
            ActionBody::Runtime { worker: _, commands } => {
                return Asked::Commands(commands.iter().map(command_label).collect());
            }
            ActionBody::Reload { image: _, reasons } => {
                return Asked::Reload(reasons.first().map_or("none", ReloadReason::label));
            }
            ActionBody::ReadBack { worker: _ } => "read-back",
            ActionBody::Save { image: _ } => "save",
            ActionBody::Check { image: _ } => "check",
            ActionBody::CheckSnippet { snippet: _ } => "check-snippet",
            ActionBody::ResolveNames { names: _ } => "resolve-names",
            ActionBody::FollowSecrets { add: _, drop: _ } => "follow-secrets",
            ActionBody::Relist { kind: _ } => "relist",
            ActionBody::Tell(tell) => tell_label(tell),
        })
    }
}

/// The name of an outcome in metrics.
pub(super) fn outcome_label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Refused(_) => "refused",
        Outcome::Unknown => "unknown",
    }
}

/// The name of a fact in metrics.
pub(super) fn event_label(event: &Event) -> &'static str {
    match event {
        Event::Upserted(_) => "upserted",
        Event::Deleted(_) => "deleted",
        Event::Relisted { .. } => "relisted",
        Event::SourceProblems(_) => "source-problems",
        Event::Resolved { .. } => "resolved",
        Event::ProxyFound(_) => "proxy-found",
        Event::WorkerSeen(_) => "worker-seen",
        Event::WorkerLost(_) => "worker-lost",
        Event::Observed { .. } => "observed",
        Event::Acked(_) => "acked",
        Event::Ticked => "ticked",
        Event::Restored(_) => "restored",
        Event::Listed(_) => "listed",
        Event::LeaseSeen(_) => "lease-seen",
        Event::DeletionsAccepted => "deletions-accepted",
        Event::Stopping => "stopping",
        Event::Remembered(_) => "remembered",
        Event::DateRead(_) => "date-read",
    }
}

/// The name of a write to the API server in metrics.
fn tell_label(tell: &Tell) -> &'static str {
    match tell {
        Tell::Status { .. } => "write-status",
        Tell::Event(_) => "write-event",
        Tell::ReadLease => "read-lease",
        Tell::WriteLease { .. } => "write-lease",
    }
}

/// The name of a command in metrics and reports.
#[must_use]
pub fn command_label(command: &RuntimeCommand) -> &'static str {
    match command {
        RuntimeCommand::AddBackend { .. } => "add-backend",
        RuntimeCommand::PublishBackend { .. } => "publish-backend",
        RuntimeCommand::UnpublishBackend { .. } => "unpublish-backend",
        RuntimeCommand::DeleteBackend { .. } => "delete-backend",
        RuntimeCommand::AddServer { .. } => "add-server",
        RuntimeCommand::SetServerAddress { .. } => "set-server-address",
        RuntimeCommand::SetServerState { .. } => "set-server-state",
        RuntimeCommand::EnableHealth { .. } => "enable-health",
        RuntimeCommand::ShutdownSessions { .. } => "shutdown-sessions",
        RuntimeCommand::DeleteServer { .. } => "delete-server",
        RuntimeCommand::AddMapEntry { .. } => "add-map-entry",
        RuntimeCommand::SetMapEntry { .. } => "set-map-entry",
        RuntimeCommand::DeleteMapEntry { .. } => "delete-map-entry",
        RuntimeCommand::InstallCertificate { .. } => "install-certificate",
        RuntimeCommand::DeleteCertificate { .. } => "delete-certificate",
        RuntimeCommand::ReplaceDefaultCertificate { .. } => "replace-default-certificate",
        RuntimeCommand::AddCrtListLine { .. } => "add-crt-list-line",
        RuntimeCommand::DeleteCrtListLine { .. } => "delete-crt-list-line",
        RuntimeCommand::InstallAuthority { .. } => "install-authority",
        RuntimeCommand::DeleteAuthority { .. } => "delete-authority",
    }
}
