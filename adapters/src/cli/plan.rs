//! `tidegate plan`: what a change would do to a running HAProxy: the exact commands in order, or
//! the reload and its reasons.
//!
//! Inputs: a folder as it is, or a running HAProxy, and a folder as it shall be. The plan is that of
//! the controller itself when every command succeeds; nothing is changed anywhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use tidegate_core::action::ActionBody;
use tidegate_core::plan::{Command, Phase};
use tidegate_core::problem::Problem;
use tidegate_core::render::FileContent;

use super::args::SettingsArgs;
use super::offline::{Assumed, Given, Offline};
use super::output::{self, End, Output};
use super::places;
use super::render::in_words;
use crate::haproxy::command::{self, Limits};
use crate::haproxy::readback;
use crate::haproxy::socket::Connection;
use crate::ports::Endpoint;
use crate::vault::Vault;

/// Longest silence of a running HAProxy.
const PATIENCE: Duration = Duration::from_secs(5);

/// `tidegate plan`.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// Folder with the manifests as they shall be
    #[arg(long, short = 'f', value_name = "DIR")]
    pub manifests: PathBuf,
    /// Folder with the manifests as they are; without it nothing runs yet
    #[arg(long, value_name = "DIR")]
    pub against: Option<PathBuf>,
    /// Compare with what HAProxy has in memory now: its worker is asked through the state folder's
    /// socket, and nothing is changed. Give the flags that `tidegate run` was given
    #[arg(long, conflicts_with_all = ["against", "haproxy_version", "tier"])]
    pub running: bool,
    /// With --running: HAProxy's executable [default: as for run]
    #[arg(long, value_name = "FILE", env = "TIDEGATE_HAPROXY")]
    pub haproxy: Option<PathBuf>,
    /// Exit with 1 if the change needs a reload
    #[arg(long)]
    pub expect_no_reload: bool,
    #[command(flatten)]
    /// Which HAProxy to assume.
    pub assumed: Assumed,
    #[command(flatten)]
    /// Settings of the core.
    pub settings: SettingsArgs,
}

/// One line of a plan.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Command { at_ms: u64, phase: &'static str, text: String },
    Reload { at_ms: u64, reasons: Vec<String> },
    Save { at_ms: u64 },
}

/// Prints the plan.
///
/// # Errors
/// When a folder cannot be read.
pub async fn plan(args: &PlanArgs, form: Output) -> anyhow::Result<End> {
    let PlanArgs { manifests, against, running, haproxy, expect_no_reload, assumed, settings } =
        args;
    let settings = settings.settings()?;
    let capabilities = if *running {
        let binary = haproxy.clone().or_else(places::haproxy);
        let binary = binary.context("no HAProxy found; name it with --haproxy")?;
        super::capabilities::discover(&binary).await?.capabilities
    } else {
        assumed.capabilities()?
    };
    let version = capabilities.version.to_string();
    let state_dir = PathBuf::from(&*settings.listen.state_dir);
    let mut offline = Offline::new(settings, capabilities);
    let mut before: Vec<Problem> = Vec::new();
    if *running {
        adopt(&mut offline, &state_dir).await?;
    } else if let Some(dir) = against {
        let events = offline.read(dir)?;
        offline.settle(events);
        before.extend(offline.controller.problems().cloned());
    }
    let events = offline.read(manifests)?;
    let lines: Vec<Line> = offline.settle(events).iter().flat_map(lines_of).collect();
    let new: Vec<&Problem> =
        offline.controller.problems().filter(|problem| !before.contains(problem)).collect();
    let reloads = lines.iter().any(|line| matches!(line, Line::Reload { .. }));
    match form {
        Output::Text => print(&lines, &new, &version),
        Output::Json => output::json(&json!({
            "haproxy": version,
            "reload": reloads,
            "steps": lines.iter().map(as_json).collect::<Vec<_>>(),
            "new_problems": output::problems_json(&new),
        })),
    }
    Ok(if *expect_no_reload && reloads { End::Found } else { End::Fine })
}

/// Takes the HAProxy of a state folder for what runs.
async fn adopt(offline: &mut Offline, state_dir: &Path) -> anyhow::Result<()> {
    let ports = crate::os::ports()?;
    let worker = Endpoint::Unix(state_dir.join("run/worker.sock"));
    let asked = async {
        let mut connection = Connection::open(&*ports.net, &worker, PATIENCE).await?;
        readback::read(&mut connection).await
    };
    let (_, observed) = asked.await.with_context(|| format!("no HAProxy answers at {worker}"))?;
    let vault = Vault::open(&*ports.files, state_dir)
        .with_context(|| format!("cannot use the state folder {}", state_dir.display()))?;
    offline.adopt(vault, observed);
    Ok(())
}

fn lines_of(given: &Given) -> Vec<Line> {
    let Given { at_ms, action, commands } = given;
    let at_ms = *at_ms;
    match &action.body {
        ActionBody::Runtime { .. } => {
            let line = |command: &Command| Line::Command {
                at_ms,
                phase: phase_name(command.phase),
                text: command_text(command),
            };
            commands.iter().map(line).collect()
        }
        ActionBody::Reload { image: _, reasons } => {
            vec![Line::Reload { at_ms, reasons: reasons.iter().map(ToString::to_string).collect() }]
        }
        ActionBody::Save { image: _ } => vec![Line::Save { at_ms }],
        ActionBody::ReadBack { worker: _ }
        | ActionBody::Check { image: _ }
        | ActionBody::CheckSnippet { snippet: _ }
        | ActionBody::ResolveNames { names: _ }
        | ActionBody::FollowSecrets { add: _, drop: _ }
        | ActionBody::Relist { kind: _ }
        | ActionBody::Tell(_) => Vec::new(),
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Urgent => "endpoints",
        Phase::Build => "build",
        Phase::Switch => "switch",
        Phase::Unlink => "unlink",
        Phase::Collect => "collect",
    }
}

/// The lines that would be sent, with secrets described instead of shown.
fn command_text(command: &Command) -> String {
    let bytes = |content: &FileContent| -> Option<Arc<[u8]>> {
        Some(format!("[{}]", in_words(content)).into_bytes().into())
    };
    let script = command::encode(std::slice::from_ref(&command.command), 0, Limits::LARGE, &bytes);
    if let Some((_, outcome)) = script.refused.first() {
        return format!("cannot be sent: {outcome:?}");
    }
    String::from_utf8_lossy(&script.text).trim_end().to_owned()
}

fn as_json(line: &Line) -> Value {
    match line {
        Line::Command { at_ms, phase, text } => {
            json!({ "do": "command", "at_ms": at_ms, "phase": phase, "text": text })
        }
        Line::Reload { at_ms, reasons } => {
            json!({ "do": "reload", "at_ms": at_ms, "reasons": reasons })
        }
        Line::Save { at_ms } => json!({ "do": "save", "at_ms": at_ms }),
    }
}

fn print(lines: &[Line], problems: &[&Problem], version: &str) {
    if !problems.is_empty() {
        output::problems_text(problems);
        output::line("");
    }
    let mut last: Option<(u64, &str)> = None;
    let (mut commands, mut reloads) = (0, 0);
    for line in lines {
        match line {
            Line::Command { at_ms, phase, text } => {
                if last != Some((*at_ms, phase)) {
                    output::line(format_args!("{phase}{}", after(*at_ms)));
                    last = Some((*at_ms, phase));
                }
                commands += 1;
                output::line(format_args!("  {}", text.replace('\n', "\n  ")));
            }
            Line::Reload { at_ms, reasons } => {
                reloads += 1;
                output::line(format_args!("RELOAD{}, because", after(*at_ms)));
                for reason in reasons {
                    output::line(format_args!("  {reason}"));
                }
                last = None;
            }
            Line::Save { at_ms } => {
                output::line(format_args!("write the files for the next start{}", after(*at_ms)));
                last = None;
            }
        }
    }
    if lines.is_empty() {
        output::line("nothing to do");
    }
    output::line("");
    output::line(format_args!(
        "on HAProxy {version}: {commands} runtime commands, {reloads} reloads, {} new problems",
        problems.len()
    ));
}

fn after(at_ms: u64) -> String {
    if at_ms == 0 { String::new() } else { format!(", {at_ms} ms later") }
}
