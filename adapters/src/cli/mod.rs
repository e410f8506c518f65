//! The command line: verbs, flags, output, exit codes.
//!
//! Inputs: arguments and environment. Outputs: text or JSON on standard output, logs and errors on
//! standard error, an exit code. Not here: the work itself; each verb calls one function.

pub mod accept;
pub mod args;
pub mod capabilities;
pub mod check;
pub mod migrate;
pub mod offline;
pub mod output;
pub mod places;
pub mod plan;
pub mod rbac;
pub mod render;
pub mod theirs;
pub mod value;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::demo;
use crate::journal::print::{self, ReplayArgs, run_replay};
use crate::telemetry;
use output::{CANNOT, End, Output};

/// A Kubernetes ingress controller for HAProxy. Manifests become routes; edits arrive in
/// milliseconds, without reloads.
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// Form of the output
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    #[command(subcommand)]
    /// What to do.
    pub verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 all is well; 1 problems or differences were found; \
                          2 wrong use; 3 it could not be done.\n\n\
                          Start with `tidegate demo`: it shows everything on this machine.";

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Serve a cluster, or the manifests of a folder, through HAProxy, and follow their changes
    Run(Box<args::RunArgs>),
    /// Show everything at work on this machine: sample pods, HAProxy, changes under load
    Demo(demo::DemoArgs),
    /// Show what is wrong with the manifests of a folder
    Check(Box<check::CheckArgs>),
    /// Show the files that HAProxy would load for the manifests of a folder
    Render(Box<render::RenderArgs>),
    /// Show what a change would do: the runtime commands, or the reload and its reasons
    Plan(Box<plan::PlanArgs>),
    /// Show what becomes of the keys of another controller, and write manifests with ours
    Migrate(Box<migrate::MigrateArgs>),
    /// Run a journal again: prove that the same input gives the same actions, or show where not
    Replay(ReplayArgs),
    /// Show what tidegate must be allowed to do in a cluster, under the same flags as `run`
    Rbac(Box<rbac::RbacArgs>),
    /// Give up what is held because the API server no longer lists it (Problem DeletionsHeld)
    AcceptDeletions(accept::AcceptArgs),
    /// Show what the HAProxy at hand can do, and what reloads on it
    Capabilities(capabilities::CapabilitiesArgs),
}

/// Reads the process's arguments, in our words or in those of haproxytech's controller. What is
/// no command line ends the process, as clap does.
#[must_use]
pub fn parse() -> Cli {
    let arguments: Vec<String> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let has_ipv6 = std::path::Path::new("/proc/net/if_inet6").exists();
    let home = std::env::var("HOME").ok();
    match theirs::read(&arguments, has_ipv6, home.as_deref()) {
        theirs::Reading::Ours => Cli::parse(),
        theirs::Reading::Theirs(arguments, notes) => {
            let mut cli = Cli::parse_from(arguments);
            if let Verb::Run(run) = &mut cli.verb {
                run.notes = notes;
            }
            cli
        }
        theirs::Reading::Done(why) => {
            eprintln!("tidegate: {why}");
            std::process::exit(0);
        }
        theirs::Reading::Refused(why) => {
            eprintln!("tidegate: {why}");
            std::process::exit(2);
        }
    }
}

/// Runs a command line.
#[must_use]
pub fn execute(cli: Cli) -> ExitCode {
    let Cli { output: form, verb } = cli;
    // The loop has a thread while it works out a large step; others are served meanwhile.
    let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = match runtime.worker_threads(threads).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tidegate: cannot start: {error}");
            return ExitCode::from(CANNOT);
        }
    };
    let ended = runtime.block_on(perform(verb, form));
    // What still blocks a thread (a file being read) shall not hold up the end.
    runtime.shutdown_background();
    match ended {
        Ok(end) => end.into(),
        Err(error) => {
            eprintln!("tidegate: {error:#}");
            ExitCode::from(CANNOT)
        }
    }
}

async fn perform(verb: Verb, form: Output) -> anyhow::Result<End> {
    match verb {
        Verb::Run(args) => {
            telemetry::start(args.log_format, &args.log)?;
            let (options, ports, stop) = (args.options()?, crate::os::ports()?, stop_signal()?);
            // A task among those it talks to: what arrives is passed on within a thread, where this
            // future of the main thread would be woken on another one, twice for each change.
            tokio::spawn(crate::run::run(options, ports, stop))
                .await
                .context("the loop panicked")??;
            Ok(End::Fine)
        }
        Verb::Demo(args) => demo::demo(args, form).await,
        Verb::Check(args) => check::check(&args, form),
        Verb::Render(args) => render::render(&args, form),
        Verb::Plan(args) => plan::plan(&args, form).await,
        Verb::Migrate(args) => migrate::migrate(*args, form).await,
        Verb::Replay(args) => replay(args, form),
        Verb::Rbac(args) => rbac::rbac(*args, form),
        Verb::AcceptDeletions(args) => {
            accept::accept(args, form, &*crate::os::ports()?.files, accept::WITHIN).await
        }
        Verb::Capabilities(args) => capabilities::capabilities(&args, form).await,
    }
}

fn replay(mut args: ReplayArgs, form: Output) -> anyhow::Result<End> {
    args.output = match form {
        Output::Text => print::Output::Text,
        Output::Json => print::Output::Json,
    };
    let code = run_replay(&args, &mut std::io::stdout().lock())?;
    Ok(if code == ExitCode::SUCCESS { End::Fine } else { End::Found })
}

/// Becomes true at the first SIGTERM or SIGINT. A second one ends the process at once, leaving
/// HAProxy serving.
fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        for seen in 0_u8.. {
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if seen > 0 {
                tracing::warn!("second signal: stopping at once, HAProxy goes on");
                std::process::exit(i32::from(CANNOT));
            }
            tracing::info!("stopping");
            let _ = stop.send(true);
        }
    });
    Ok(stopped)
}
