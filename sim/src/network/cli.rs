//! Tier 1 on the command line: one run, many runs, what they amount to.
//!
//! Inputs: seeds and schedules. Outputs: text or JSON for [`crate::network`]'s part of
//! `tidegate-sim`. Runs follow each other in one process, as the numbers of tokio's tasks count
//! through it; more processors are used by more processes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cells::covered;
use super::files::Disk;
use super::generate;
use super::hosts::JOURNAL_DIR;
use super::occasions;
use super::outcomes::Outcomes;
use super::run::{run, run_on_disks, try_alarm};
use super::schedule::Schedule;
use super::shrink::shrink;
use crate::regressions::{self, file};
use crate::swarm::timeline;

/// Runs that it may take at most to make a failure small.
const SHRINK_RUNS: u64 = 60;

/// What several runs amount to.
#[derive(Default, Serialize, Deserialize)]
pub struct Sum {
    /// Runs.
    pub runs: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Steps of controllers.
    pub steps: u64,
    /// Runtime commands.
    pub commands: u64,
    /// Reloads.
    pub reloads: u64,
    /// Host-milliseconds that were judged, and all.
    pub judged: (u64, u64),
    /// Situations that were reached.
    pub sometimes: BTreeMap<String, u64>,
    /// Fault, phase, promise.
    pub cells: BTreeSet<(String, String, String)>,
    /// Hash over the steps of each seed, in hex.
    pub chains: BTreeMap<u64, String>,
    /// What failed: name and schedule.
    pub failed: BTreeMap<String, String>,
}

impl Sum {
    /// Adds a run.
    pub fn add(&mut self, out: &Outcomes) {
        self.runs += 1;
        self.simulated_ms += out.simulated_ms;
        self.steps += out.steps;
        self.commands += out.commands;
        self.reloads += out.reloads;
        self.judged = (self.judged.0 + out.judged.0, self.judged.1 + out.judged.1);
        for (what, count) in &out.sometimes {
            *self.sometimes.entry((*what).to_owned()).or_insert(0) += count;
        }
        let cells = out.cells.iter();
        self.cells.extend(cells.map(|(a, b, c)| (a.to_string(), b.to_string(), c.to_string())));
    }

    /// Adds a run of a schedule that has this name; a failure is made small.
    fn judge(
        &mut self,
        name: &str,
        about: &str,
        schedule: &Schedule,
        out: &Outcomes,
        shrink_runs: u64,
    ) {
        if let Some(broken) = &out.broken {
            let cut = super::shrink::until(schedule, out.simulated_ms);
            let small = shrink(&cut, shrink_runs);
            let small = small.map_or_else(|| schedule.clone(), |(small, _)| small);
            self.failed.insert(name.to_owned(), small.to_text(&format!("{about}\n{broken}")));
        }
        self.add(out);
    }

    /// Stores what failed in that folder.
    fn store(&self, failures: &Path) -> Result<(), String> {
        let store = || -> std::io::Result<()> {
            std::fs::create_dir_all(failures)?;
            let mut failed = self.failed.iter();
            failed.try_for_each(|(name, text)| std::fs::write(file(failures, name), text))
        };
        store().map_err(|error| format!("{}: {error}", failures.display()))
    }

    /// Adds other runs.
    pub fn merge(&mut self, other: Sum) {
        self.runs += other.runs;
        self.simulated_ms += other.simulated_ms;
        self.steps += other.steps;
        self.commands += other.commands;
        self.reloads += other.reloads;
        self.judged = (self.judged.0 + other.judged.0, self.judged.1 + other.judged.1);
        for (what, count) in other.sometimes {
            *self.sometimes.entry(what).or_insert(0) += count;
        }
        self.cells.extend(other.cells);
        self.chains.extend(other.chains);
        self.failed.extend(other.failed);
    }

    /// Share of request-time whose fate was judged, in per cent.
    #[must_use]
    pub fn judged_percent(&self) -> f64 {
        100.0 * self.judged.0 as f64 / self.judged.1.max(1) as f64
    }
}

/// What is kept of a run.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Kept {
    /// Write a picture of the run.
    #[arg(long)]
    pub timeline: Option<PathBuf>,
    /// Write the journal of each replica into a folder of this one, as `tidegate replay` reads it;
    /// tier 1 only.
    #[arg(long)]
    pub journal: Option<PathBuf>,
}

impl Kept {
    /// The picture, of a run that has no journal.
    ///
    /// # Errors
    /// When a journal is asked for.
    pub fn of_the_core(&self) -> Result<Option<&Path>, String> {
        match self.journal {
            Some(_) => Err("--journal: only runs of tier 1 have one".to_owned()),
            None => Ok(self.timeline.as_deref()),
        }
    }
}

/// Goes through a schedule, and prints what comes of it.
///
/// # Errors
/// When something cannot be written.
pub fn one(json: bool, title: &str, schedule: &Schedule, kept: &Kept) -> Result<bool, String> {
    one_with(json, title, schedule, &[], kept)
}

/// The same in a cluster that has these objects from the beginning.
///
/// # Errors
/// When something cannot be written.
pub fn one_with(
    json: bool,
    title: &str,
    schedule: &Schedule,
    objects: &[Value],
    kept: &Kept,
) -> Result<bool, String> {
    let begin = Instant::now();
    let (out, disks) = run_on_disks(schedule, objects, kept.timeline.is_some());
    let seconds = begin.elapsed().as_secs_f64();
    for (disk, number) in disks.iter().zip(0..) {
        let Some(folder) = kept.journal.as_ref().map(|folder| folder.join(format!("{number}")))
        else {
            break;
        };
        store_journal(disk, &folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    if let Some(path) = &kept.timeline {
        let page = timeline::html_of(title, &out.trace, out.broken.as_ref());
        std::fs::write(path, page).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let verdict = out.broken.as_ref().map(ToString::to_string);
    if json {
        println!(
            "{}",
            json!({
                "run": title, "broken": verdict, "simulated_ms": out.simulated_ms,
                "steps": out.steps, "commands": out.commands, "reloads": out.reloads,
                "chain": format!("{:032x}", out.chain), "seconds": seconds,
            })
        );
    } else {
        println!(
            "{title}: {}; HAProxy {}, {} entries, {:.1} simulated minutes in {seconds:.1} s, {} \
             lives of tidegate, {} steps, {} commands, {} reloads, chain {:032x}",
            verdict.as_deref().unwrap_or("every promise holds"),
            schedule.version.name(),
            schedule.entries.len(),
            out.simulated_ms as f64 / 60_000.0,
            out.lives,
            out.steps,
            out.commands,
            out.reloads,
            out.chain,
        );
    }
    Ok(verdict.is_none())
}

/// Writes the journal that is on a simulated disk into a folder.
fn store_journal(disk: &Disk, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (path, content) in disk.all() {
        if let Ok(name) = path.strip_prefix(JOURNAL_DIR) {
            std::fs::write(folder.join(name), content)?;
        }
    }
    Ok(())
}

/// Runs seeds, one after the other; a failure is made small.
fn many(from: u64, seeds: u64, shrink_runs: u64, mut told: impl FnMut(&Sum)) -> Sum {
    let mut sum = Sum::default();
    for seed in from..from + seeds {
        let schedule = generate::schedule(seed);
        let out = run(&schedule, false);
        sum.judge(
            &format!("network-{seed}"),
            &format!("seed {seed}"),
            &schedule,
            &out,
            shrink_runs,
        );
        sum.chains.insert(seed, format!("{:032x}", out.chain));
        told(&sum);
    }
    sum
}

/// Runs seeds in that many processes of `program`, which is `tidegate-sim`, and meanwhile in this one
/// occasions, if they are wanted too. Failures are stored.
///
/// # Errors
/// When a process does not come to its end.
pub fn apart(
    program: &Path,
    from: u64,
    seeds: u64,
    jobs: u64,
    failures: &Path,
    occasions: bool,
) -> Result<Sum, String> {
    let jobs = jobs.clamp(1, seeds.max(1));
    let first = |job: u64| from + seeds * job / jobs;
    let mut running = Vec::new();
    for job in 0..jobs {
        let share = first(job + 1) - first(job);
        let child = Command::new(program)
            .args(["swarm", "--tier", "1", "--output", "json", "--jobs", "1"])
            .args(["--from", &first(job).to_string(), "--seeds", &share.to_string()])
            .arg("--failures")
            .arg(failures)
            .stdout(Stdio::piped())
            .spawn();
        running.push(child.map_err(|error| format!("{}: {error}", program.display()))?);
    }
    let mut sum = if occasions { on_occasions(failures)? } else { Sum::default() };
    for child in running {
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let told = serde_json::from_slice::<Told>(&output.stdout);
        sum.merge(told.map_err(|error| format!("{error}: {}", output.status))?.sum);
    }
    Ok(sum)
}

/// What is told as JSON, as far as it is read again.
#[derive(Deserialize)]
struct Told {
    sum: Sum,
}

/// Runs many seeds, stores failures and prints the sum. Whether none failed, and, where that is asked
/// for, whether all was judged under each fault.
///
/// # Errors
/// When a failure cannot be stored.
pub fn swarm(
    json: bool,
    from: u64,
    seeds: u64,
    jobs: u64,
    failures: &Path,
    every_cell: bool,
) -> Result<bool, String> {
    let begin = Instant::now();
    let sum = if jobs > 1 {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        apart(&program, from, seeds, jobs, failures, every_cell)?
    } else {
        let mut sum = here(json, from, seeds, failures)?;
        if every_cell {
            sum.merge(on_occasions(failures)?);
        }
        sum
    };
    let seconds = begin.elapsed().as_secs_f64();
    let covered = covered(&sum.cells);
    if json {
        println!(
            "{}",
            json!({
                "runs": sum.runs, "failed": sum.failed.len(),
                "simulated_hours": sum.simulated_ms as f64 / 3_600_000.0,
                "steps": sum.steps, "commands": sum.commands, "reloads": sum.reloads,
                "judged_percent": sum.judged_percent(), "cells": covered.reached(), "fair_cells": covered.fair,
                "seconds": seconds, "sum": sum,
            })
        );
    } else {
        print!("{}", words(&sum, failures, seconds));
        print!("{}", if every_cell { covered.words() } else { String::new() });
    }
    Ok(sum.failed.is_empty() && (covered.is_whole() || !every_cell))
}

/// Runs many seeds in this process, and stores failures.
fn here(quiet: bool, from: u64, seeds: u64, failures: &Path) -> Result<Sum, String> {
    let begin = Instant::now();
    try_alarm(&generate::schedule(from))?;
    let sum = many(from, seeds, SHRINK_RUNS, |sum| {
        if sum.runs % 5 == 0 && !quiet {
            eprintln!(
                "{} of {seeds} runs, {} failed, {:.0?}",
                sum.runs,
                sum.failed.len(),
                begin.elapsed()
            );
        }
    });
    sum.store(failures)?;
    Ok(sum)
}

/// Goes through the schedules that seeds seldom come upon, and stores failures.
///
/// # Errors
/// When a failure cannot be stored.
fn on_occasions(failures: &Path) -> Result<Sum, String> {
    let mut sum = Sum::default();
    for (name, schedule) in occasions::all() {
        let about = format!("occasion: {name}");
        let out = run(&schedule, false);
        sum.judge(&format!("occasion-{name}"), &about, &schedule, &out, SHRINK_RUNS);
    }
    sum.store(failures)?;
    Ok(sum)
}

/// The sum for people; failures were stored in that folder.
#[must_use]
pub fn words(sum: &Sum, failures: &Path, seconds: f64) -> String {
    let covered = covered(&sum.cells);
    let mut text = String::new();
    for (name, schedule) in &sum.failed {
        let stored = regressions::stored(&file(failures, name));
        text.push_str(&format!("{name}:\n{schedule}{stored}\n"));
    }
    text.push_str(&format!(
        "{:>8} runs, {} failed\n{:>8.1} simulated hours in {seconds:.1} s: {:.0} simulated seconds \
         per second\n{:>8} steps, {} commands, {} reloads\n{:>8.1} % of request time judged\n{:>8} \
         of {} fair cells of fault, phase and promise judged\n",
        sum.runs,
        sum.failed.len(),
        sum.simulated_ms as f64 / 3_600_000.0,
        sum.simulated_ms as f64 / 1_000.0 / seconds.max(0.001),
        sum.steps,
        sum.commands,
        sum.reloads,
        sum.judged_percent(),
        covered.reached(),
        covered.fair,
    ));
    for (what, count) in &sum.sometimes {
        text.push_str(&format!("{count:>8} times {what}\n"));
    }
    text
}
