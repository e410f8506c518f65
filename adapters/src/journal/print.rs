//! `tidegate replay`: arguments, and the outcome of a replay as text or JSON.
//!
//! In: arguments. Out: lines on a writer and an exit code: 0 when every outcome was the recorded
//! one, 1 at a difference. JSON is one object per line, the report last.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context as _;
use serde_json::json;

use super::explain::{Because, Explainer, Why};
use super::reader::StartAt;
use super::replay::{AfterDifference, Differs, ReplayOptions, Replayed, Report, replay};
use super::text;
use crate::os::files::OsFiles;

/// Run a journal again and prove that it gives the same actions, byte for byte.
///
/// The journal of `tidegate run` holds every input of the controller, without secrets. Replay
/// feeds it to a new controller, compares the actions of each step with those recorded, and stops
/// at the first difference. It talks to nobody.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// A journal folder, or one segment of it
    pub path: PathBuf,
    /// Where to start: `oldest`, `newest`, or the number of a segment
    #[arg(long, value_name = "SEGMENT", default_value = "oldest")]
    pub from: StartAt,
    /// Stop after this step
    #[arg(long, value_name = "STEP")]
    pub until: Option<u64>,
    /// Print events and actions of these steps: `7`, `7..9`, `7..` or `..` for all
    #[arg(long, value_name = "STEPS")]
    pub steps: Option<Steps>,
    /// Explain every action whose text contains this
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
    /// Go on after a difference: for journals of another version
    #[arg(long)]
    pub keep_going: bool,
    /// How to print; set by the program's own flag.
    #[arg(skip)]
    pub output: Output,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// A range of steps, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// First.
    pub first: u64,
    /// Last.
    pub last: u64,
}

impl FromStr for Steps {
    type Err = String;

    fn from_str(text: &str) -> Result<Steps, String> {
        let number = |text: &str, open: u64| match text {
            "" => Ok(open),
            digits => digits.parse().map_err(|_| format!("{digits:?} is not the number of a step")),
        };
        let (first, last) = match text.split_once("..") {
            Some((first, last)) => (number(first, 0)?, number(last, u64::MAX)?),
            None if text.is_empty() => return Err("expected `7`, `7..9`, `7..` or `..`".into()),
            None => (number(text, 0)?, number(text, 0)?),
        };
        Ok(Steps { first, last })
    }
}

/// Replays a journal and prints what was asked for, and the report.
///
/// # Errors
/// When the journal is unreadable or damaged, or `out` fails.
pub fn run_replay(args: &ReplayArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let options = ReplayOptions {
        from: args.from,
        until: args.until,
        after_difference: match args.keep_going {
            true => AfterDifference::GoOn,
            false => AfterDifference::Stop,
        },
    };
    let mut explainer = Explainer::default();
    let mut watch = |replayed: &Replayed<'_>| -> io::Result<()> {
        let seq = replayed.input.seq;
        if args.steps.is_some_and(|steps| (steps.first..=steps.last).contains(&seq)) {
            print_step(args.output, replayed, out)?;
        }
        if let Some(wanted) = &args.why {
            for why in explainer.look(replayed, wanted) {
                print_why(args.output, &why, out)?;
            }
        }
        Ok(())
    };
    let report = replay(&OsFiles, &args.path, &options, &mut watch)
        .with_context(|| format!("replay of {} failed", args.path.display()))?;
    print_report(args.output, &report, out)?;
    Ok(match report.is_identical() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    })
}

fn print_step(output: Output, replayed: &Replayed<'_>, out: &mut dyn Write) -> io::Result<()> {
    let input = replayed.input;
    let step = replayed.step;
    match output {
        Output::Json => {
            let line = json!({
                "step": input.seq,
                "now_ms": input.now.0,
                "wall_unix_ms": input.wall_unix_ms,
                "events": input.events.iter().map(text::event_json).collect::<Vec<_>>(),
                "actions": step.actions.iter().map(text::action_json).collect::<Vec<_>>(),
                "wake_at": step.wake_at,
                "opened": step.opened,
                "closed": step.closed,
            });
            writeln!(out, "{line}")
        }
        Output::Text => {
            writeln!(out, "step {} at {} ms", input.seq, input.now.0)?;
            for event in &input.events {
                writeln!(out, "  event: {}", text::event(event))?;
            }
            for action in &step.actions {
                writeln!(out, "  {}", text::action(action).replace('\n', "\n  "))?;
            }
            for problem in &step.opened {
                writeln!(out, "  problem: {problem}")?;
            }
            for problem in &step.closed {
                writeln!(out, "  no longer: {problem}")?;
            }
            Ok(())
        }
    }
}

fn print_why(output: Output, why: &Why, out: &mut dyn Write) -> io::Result<()> {
    if output == Output::Json {
        return writeln!(out, "{}", json!({ "why": why }));
    }
    let Why { seq, now_ms, action, what, purpose, causes } = why;
    writeln!(out, "step {seq} at {now_ms} ms, action {action}: {what}")?;
    writeln!(out, "  for {purpose}")?;
    for Because { seq, events, facts, pieces } in causes {
        writeln!(out, "  because of step {seq}:")?;
        for (label, lines) in [("event", events), ("fact", facts), ("computed", pieces)] {
            for line in lines {
                writeln!(out, "    {label}: {line}")?;
            }
        }
    }
    Ok(())
}

fn print_report(output: Output, report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if output == Output::Json {
        let identical = report.is_identical();
        return writeln!(out, "{}", json!({ "identical": identical, "report": report }));
    }
    for torn in &report.torn {
        let (path, bytes, offset) = (torn.path.display(), torn.bytes, torn.offset);
        writeln!(out, "torn tail: {path}: the last {bytes} bytes, from {offset}, are no entry")?;
    }
    if report.gaps > 0 {
        writeln!(out, "gaps: {} (steps that were not recorded)", report.gaps)?;
    }
    if report.steps_unfinished > 0 {
        let count = report.steps_unfinished;
        writeln!(out, "unfinished: {count} steps, within which the process ended")?;
    }
    if let Some(difference) = &report.difference {
        writeln!(out, "DIFFERENT at step {} ({} ms)", difference.seq, difference.now.0)?;
        match &difference.what {
            Differs::State => writeln!(out, "  the state recorded there is not the replayed one")?,
            Differs::Output { recorded, computed, actions } => {
                for (label, o) in [("recorded", recorded), ("computed", computed)] {
                    let counts = format!(
                        "{} actions, {} problems opened, {} closed",
                        o.actions, o.opened, o.closed
                    );
                    writeln!(out, "  {label}: {} ({counts})", o.digest)?;
                }
                for action in actions {
                    writeln!(out, "  computed {}", action.replace('\n', "\n  "))?;
                }
            }
        }
        if report.version != env!("CARGO_PKG_VERSION") {
            let (wrote, here) = (&report.version, env!("CARGO_PKG_VERSION"));
            writeln!(out, "  written by version {wrote}; this is {here}, which may differ")?;
        }
    }
    writeln!(
        out,
        "{} steps, {} events, {} actions in {} segments; {} states compared",
        report.steps, report.events, report.actions, report.segments, report.states_equal
    )?;
    match report.is_identical() {
        true => writeln!(out, "identical: chain {}", report.chain_computed),
        false => writeln!(
            out,
            "not identical: chain {} recorded, {} computed",
            report.chain_recorded, report.chain_computed
        ),
    }
}
