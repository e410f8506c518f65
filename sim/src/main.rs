//! `tidegate-sim`: runs schedules of changes and faults, finds failures, makes them small.
//!
//! Exit code 0: every promise held. 1: one did not. 2: the command line or a file is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::{Parser, Subcommand, ValueEnum};
use tidegate_core::capability::Capabilities;
use tidegate_sim::cells::Covered;
use tidegate_sim::network;
use tidegate_sim::regressions;
use tidegate_sim::small::explore::{Plan, Report, explore};
use tidegate_sim::small::moves::Budget;
use tidegate_sim::swarm::run::{Outcomes, named_chain, run, try_alarm};
use tidegate_sim::swarm::scenario::SCENARIOS;
use tidegate_sim::swarm::schedule::{Entry, from_text, to_text};
use tidegate_sim::swarm::shrink::shrink;
use tidegate_sim::swarm::{cells, generate, tier, timeline};

#[derive(Parser)]
#[command(name = "tidegate-sim", about = "Runs tidegate's core through changes and faults")]
struct Arguments {
    /// How results are printed.
    #[arg(long, value_enum, default_value = "text", global = true)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs the schedule of one seed.
    Run {
        /// The seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// What HAProxy can do: A (3.4), B (3.0, 3.2) or C (2.6); or 1 for the real adapters on a
        /// simulated network.
        #[arg(long, default_value = "A")]
        tier: String,
        /// Print the schedule instead of running it.
        #[arg(long)]
        print: bool,
        #[command(flatten)]
        kept: network::cli::Kept,
    },
    /// Runs many seeds on all tiers; stores what fails, made small.
    Swarm {
        /// First seed.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// How many seeds.
        #[arg(long, default_value_t = 100)]
        seeds: u64,
        /// Threads, and on tier 1 processes; 0 for one per processor.
        #[arg(long, default_value_t = 0)]
        jobs: usize,
        /// Folder for failures.
        #[arg(long, default_value = "sim-failures")]
        failures: PathBuf,
        /// 0 for the core alone, 1 for the real adapters on a simulated network.
        #[arg(long, default_value = "0")]
        tier: String,
        /// Fail also where a promise was never judged under a fault, though it could be; it takes
        /// some 100 seeds.
        #[arg(long)]
        every_cell: bool,
    },
    /// Runs a schedule from a file: a failure, or your own.
    Replay {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        kept: network::cli::Kept,
    },
    /// Runs your own manifests through faults, with the real adapters on a simulated network. Each
    /// Service has two pods that are made up.
    Own {
        /// Folder of manifests (YAML or JSON), with all below it.
        folder: PathBuf,
        /// Faults and changes, as lines of a schedule; without, pods of each Service are replaced
        /// and every fault happens once.
        #[arg(long)]
        faults: Option<PathBuf>,
        /// HAProxy's version: 3.4, 3.2, 3.0 or 2.6; that of `--faults` if it says one.
        #[arg(long, default_value = "3.4")]
        haproxy: String,
        /// Seed of all chance.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Print the schedule instead of running it.
        #[arg(long)]
        print: bool,
        #[command(flatten)]
        kept: network::cli::Kept,
    },
    /// Makes a failing schedule small, and prints it.
    Shrink {
        /// The file.
        file: PathBuf,
        /// Most runs.
        #[arg(long, default_value_t = 5_000)]
        runs: u64,
    },
    /// Visits every state of the small world.
    Exhaust {
        /// What HAProxy can do: A, B or C.
        #[arg(long, default_value = "A")]
        tier: String,
        /// Objects that change.
        #[arg(long, default_value_t = 1)]
        changes: u8,
        /// Answers that are lost.
        #[arg(long, default_value_t = 1)]
        losses: u8,
        /// Crashes of the worker or the controller.
        #[arg(long, default_value_t = 1)]
        crashes: u8,
        /// No level is begun after so many states; 0 for no bound.
        #[arg(long, default_value_t = 0)]
        states: usize,
    },
    /// Runs known failures of other controllers; without name, all of them.
    Scenario {
        /// Which, as in the list.
        name: Option<String>,
        /// Print the names.
        #[arg(long)]
        list: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match act(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("tidegate-sim: {why}");
            ExitCode::from(2)
        }
    }
}

fn act(Arguments { output, verb }: &Arguments) -> Result<bool, String> {
    match verb {
        Verb::Run { seed, tier, print, kept } if tier == "1" => {
            let schedule = network::generate::schedule(*seed);
            let title = format!("seed {seed}");
            if *print {
                print!("{}", schedule.to_text(&title));
                return Ok(true);
            }
            network::cli::one(*output == Output::Json, &title, &schedule, kept)
        }
        Verb::Run { seed, tier: name, print, kept } => {
            let entries = generate::schedule(*seed);
            if *print {
                print!("{}", to_text(name, &format!("seed {seed}"), &entries));
                return Ok(true);
            }
            let title = format!("seed {seed}, tier {name}");
            one(*output, &title, &entries, &tier(name)?, kept.of_the_core()?)
        }
        Verb::Replay { file, kept } => {
            if let Some(schedule) = network_schedule(file)? {
                let title = file.display().to_string();
                let json = *output == Output::Json;
                return network::cli::one(json, &title, &schedule, kept);
            }
            let (name, entries) = read(file)?;
            let title = file.display().to_string();
            one(*output, &title, &entries, &tier(&name)?, kept.of_the_core()?)
        }
        Verb::Own { folder, faults, haproxy, seed, print, kept } => {
            let json = *output == Output::Json;
            let own = network::own::Own::read(folder)?;
            let schedule = own.schedule(faults.as_deref(), haproxy, *seed)?;
            if *print {
                print!("{}", schedule.to_text(&own.words()));
                return Ok(true);
            }
            if !json {
                print!("{}", own.words());
            }
            let title = folder.display().to_string();
            network::cli::one_with(json, &title, &schedule, own.objects(), kept)
        }
        Verb::Shrink { file, runs } => {
            if let Some(schedule) = network_schedule(file)? {
                return Ok(match network::shrink::shrink(&schedule, *runs) {
                    None => {
                        println!("# every promise holds");
                        true
                    }
                    Some((small, broken)) => {
                        print!("{}", small.to_text(&broken.to_string()));
                        false
                    }
                });
            }
            let (name, entries) = read(file)?;
            match shrink(&entries, &tier(&name)?, *runs) {
                None => {
                    println!("# every promise holds");
                    Ok(true)
                }
                Some(small) => {
                    print!("{}", to_text(&name, &small.broken.to_string(), &small.entries));
                    Ok(false)
                }
            }
        }
        Verb::Scenario { list: true, .. } => {
            for (name, about, _) in SCENARIOS {
                println!("{name}: {about}");
            }
            Ok(true)
        }
        Verb::Scenario { name, .. } => {
            let wanted = |n: &str| name.as_deref().is_none_or(|name| name == n);
            let chosen: Vec<_> = SCENARIOS.iter().filter(|(n, ..)| wanted(n)).collect();
            if chosen.is_empty() {
                return Err("no such scenario; see `scenario --list`".to_owned());
            }
            let mut good = true;
            for (name, _, text) in chosen {
                let (of, entries) = from_text(text)?;
                good &= one(*output, name, &entries, &tier(&of)?, None)?;
            }
            Ok(good)
        }
        Verb::Exhaust { tier: name, changes, losses, crashes, states } => {
            let budget = Budget { changes: *changes, losses: *losses, crashes: *crashes };
            let states_max = if *states == 0 { usize::MAX } else { *states };
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let plan = Plan { capabilities: tier(name)?, budget, states_max, threads };
            let told = |report: &Report| eprintln!("depth {}: {}", report.depth, report.states);
            match explore(&plan, told) {
                Ok(report) => {
                    println!("{report:?}");
                    Ok(true)
                }
                Err(found) => {
                    println!("{found}");
                    Ok(false)
                }
            }
        }
        Verb::Swarm { from, seeds, jobs, failures, tier, every_cell } if tier == "1" => {
            let (json, jobs) = (*output == Output::Json, processors(*jobs) as u64);
            network::cli::swarm(json, *from, *seeds, jobs, failures, *every_cell)
        }
        Verb::Swarm { from, seeds, jobs, failures, tier: _, every_cell } => {
            swarm(*output, *from, *seeds, *jobs, failures, *every_cell)
        }
    }
}

/// The schedule in a file, if it is one of tier 1.
fn network_schedule(file: &Path) -> Result<Option<network::schedule::Schedule>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    if !network::schedule::Schedule::is_one(&text) {
        return Ok(None);
    }
    network::schedule::Schedule::from_text(&text).map(Some)
}

fn read(file: &Path) -> Result<(String, Vec<Entry>), String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    from_text(&text)
}

fn one(
    output: Output,
    title: &str,
    entries: &[Entry],
    capabilities: &Capabilities,
    picture: Option<&Path>,
) -> Result<bool, String> {
    let out = run(entries, capabilities, picture.is_some());
    if let Some(path) = picture {
        std::fs::write(path, timeline::html(title, &out))
            .map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let verdict = out.broken.as_ref().map(ToString::to_string);
    match output {
        Output::Text => println!(
            "{title}: {}; {} entries, {:.1} simulated minutes, {} steps, {} commands, {} reloads",
            verdict.as_deref().unwrap_or("every promise holds"),
            entries.len(),
            out.simulated_ms as f64 / 60_000.0,
            out.steps,
            out.commands,
            out.reloads
        ),
        Output::Json => println!(
            "{{\"run\":{},\"broken\":{},\"simulated_ms\":{},\"steps\":{},\"commands\":{},\
             \"reloads\":{},\"chain\":\"{:032x}\"}}",
            json(title),
            verdict.as_deref().map_or("null".to_owned(), json),
            out.simulated_ms,
            out.steps,
            out.commands,
            out.reloads,
            out.chain
        ),
    }
    Ok(out.broken.is_none())
}

/// A text as JSON.
fn json(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}

/// What all runs amount to.
#[derive(Default)]
struct Sum {
    runs: u64,
    /// One number for the steps of all runs, whatever their order.
    chain: u128,
    simulated_ms: u64,
    steps: u64,
    commands: u64,
    judged: (u64, u64),
    sometimes: BTreeMap<&'static str, u64>,
    cells: BTreeSet<(&'static str, &'static str, &'static str)>,
    failed: BTreeMap<(u64, char), String>,
}

impl Sum {
    fn add(&mut self, out: &Outcomes) {
        self.runs += 1;
        self.simulated_ms += out.simulated_ms;
        self.steps += out.steps;
        self.commands += out.commands;
        self.judged = (self.judged.0 + out.judged.0, self.judged.1 + out.judged.1);
        for (what, count) in &out.sometimes {
            *self.sometimes.entry(what).or_insert(0) += count;
        }
        self.cells.extend(&out.cells);
    }
}

/// How many there are, unless somebody said how many.
fn processors(said: usize) -> usize {
    match said {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        said => said,
    }
}

fn swarm(
    output: Output,
    from: u64,
    seeds: u64,
    jobs: usize,
    failures: &Path,
    every_cell: bool,
) -> Result<bool, String> {
    let begin = Instant::now();
    let jobs = processors(jobs);
    try_alarm(&generate::schedule(from), &tier("A")?)?;
    let next = AtomicU64::new(0);
    let sum = std::sync::Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= seeds * 3 {
                        break;
                    }
                    let (seed, name) = (from + number / 3, ['A', 'B', 'C'][(number % 3) as usize]);
                    let Ok(capabilities) = tier(&name.to_string()) else { break };
                    let entries = generate::schedule(seed);
                    let out = run(&entries, &capabilities, false);
                    let found = out.broken.as_ref().map(|broken| {
                        let small = shrink(&entries, &capabilities, 300);
                        let small = small.map_or(entries.clone(), |small| small.entries);
                        let about = format!("seed {seed}\n{broken}");
                        to_text(&name.to_string(), &about, &small)
                    });
                    if let Ok(mut sum) = sum.lock() {
                        sum.add(&out);
                        let run = named_chain(&format!("{seed} {name}"), out.chain);
                        sum.chain = sum.chain.wrapping_add(run);
                        if let Some(text) = found {
                            sum.failed.insert((seed, name), text);
                        }
                        if sum.runs % 50 == 0 {
                            eprintln!(
                                "{} of {} runs, {} failed, {:.0?}",
                                sum.runs,
                                seeds * 3,
                                sum.failed.len(),
                                begin.elapsed()
                            );
                        }
                    }
                }
            });
        }
    });
    let sum = sum.into_inner().map_err(|_| "a run has panicked")?;
    for ((seed, name), text) in &sum.failed {
        let store = || -> std::io::Result<()> {
            std::fs::create_dir_all(failures)?;
            let file = regressions::file(failures, &format!("seed-{seed}-{name}"));
            std::fs::write(&file, text)?;
            if let (Ok((of, entries)), Ok(capabilities)) =
                (from_text(text), tier(&name.to_string()))
            {
                let out = run(&entries, &capabilities, true);
                let page = timeline::html(&format!("seed {seed}, tier {of}"), &out);
                std::fs::write(file.with_extension("html"), page)?;
            }
            Ok(())
        };
        store().map_err(|e| format!("{}: {e}", failures.display()))?;
    }
    let covered = cells::table().covered(sum.cells.iter().copied());
    tell(output, &sum, &covered, failures, begin.elapsed().as_secs_f64());
    if every_cell && output == Output::Text {
        print!("{}", covered.words());
    }
    Ok(sum.failed.is_empty() && (covered.is_whole() || !every_cell))
}

fn tell(output: Output, sum: &Sum, covered: &Covered, failures: &Path, seconds: f64) {
    let hours = sum.simulated_ms as f64 / 3_600_000.0;
    let judged = 100.0 * sum.judged.0 as f64 / sum.judged.1.max(1) as f64;
    if output == Output::Json {
        println!(
            "{{\"runs\":{},\"chain\":\"{:032x}\",\"failed\":{},\"simulated_hours\":{hours:.1},\"steps\":{},\
             \"commands\":{},\"judged_percent\":{judged:.1},\"cells\":{},\"fair_cells\":{},\"seconds\":{seconds:.1}}}",
            sum.runs,
            sum.chain,
            sum.failed.len(),
            sum.steps,
            sum.commands,
            covered.reached(),
            covered.fair
        );
        return;
    }
    for ((seed, name), text) in &sum.failed {
        let file = regressions::file(failures, &format!("seed-{seed}-{name}"));
        println!("seed {seed}, tier {name}:\n{text}{}\n", regressions::stored(&file));
    }
    println!("{:>8} runs, {} failed", sum.runs, sum.failed.len());
    println!("{hours:>8.1} simulated hours in {seconds:.1} s");
    println!("{:>8} steps, {} commands", sum.steps, sum.commands);
    println!("{judged:>8.1} % of request time judged");
    println!(
        "{:>8} of {} fair cells of fault, phase and promise judged",
        covered.reached(),
        covered.fair
    );
    for (what, count) in &sum.sometimes {
        println!("{count:>8} times {what}");
    }
}
