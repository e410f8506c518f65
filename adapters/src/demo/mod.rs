//! `tidegate demo`: everything at work on one machine, under requests that are all checked.
//!
//! In a temporary folder it writes sample manifests, starts sample pods, starts the controller as a
//! process of its own (and that starts HAProxy), sends requests without pause, changes things one
//! by one and tells how long each change took to reach the users. Outputs: that story, a table, an
//! exit code. Not here: anything that `tidegate run` needs; the demo is a user of it.

pub mod child;
pub mod client;
pub mod cluster;
pub mod pods;
pub mod report;
pub mod story;

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::Args;
use tidegate_core::capability::Tier;

use crate::cli::output::{End, Output};
use crate::cli::places;
use crate::haproxy::capabilities;
use child::Places;
use pods::Pods;
use report::Report;
use story::{Length, Stage};

/// `tidegate demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// About 20 seconds instead of a minute
    #[arg(long)]
    pub quick: bool,
    /// Go on serving after the story, until Ctrl-C
    #[arg(long)]
    pub stay: bool,
    /// Keep the temporary folder: manifests, HAProxy's files, journal, log
    #[arg(long)]
    pub keep: bool,
    /// HAProxy's executable [default: the newest in ~/.cache/tidegate/haproxy, otherwise haproxy
    /// from PATH]
    #[arg(long, value_name = "FILE", env = "TIDEGATE_HAPROXY")]
    pub haproxy: Option<PathBuf>,
}

/// Runs the demo.
///
/// # Errors
/// When it cannot be set up.
pub async fn demo(args: DemoArgs, form: Output) -> anyhow::Result<End> {
    let DemoArgs { quick, stay, keep, haproxy } = args;
    let haproxy = haproxy.or_else(places::haproxy_for_demo);
    let haproxy = haproxy.context("no HAProxy found; run deploy/haproxy/install.sh")?;
    let ports = crate::os::ports()?;
    let text = ports.processes.version(&haproxy).await;
    let text = text.with_context(|| format!("cannot run {}", haproxy.display()))?;
    let version = capabilities::version_in(&text).context("that is not HAProxy")?.to_owned();
    let tier = capabilities::of_version(&version, (0, 0)).capabilities.tier();
    let root = std::env::temp_dir().join(format!("tidegate-demo-{}", std::process::id()));
    let [http, https, admin] = free_ports()?;
    let places = Places { root: root.clone(), haproxy, http, https, admin };
    let report = Report::new(form, version, tier == Tier::A);
    report.say(&format!("HAProxy {} ({})", report.haproxy, places.haproxy.display()));
    report.say(&format!("everything is in {}", root.display()));

    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let watch = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            flag.store(true, Ordering::Relaxed);
        }
    });
    let length = if quick { Length::QUICK } else { Length::FULL };
    let pods = Pods::new(tokio::runtime::Handle::current())?;
    let story = move || -> anyhow::Result<bool> {
        let stage = Stage::set(places, report, pods, interrupted);
        stage.map(|mut stage| play(&mut stage, length, stay))
    };
    let ended = tokio::task::spawn_blocking(story).await;
    watch.abort();
    child::end_orphan(&root.join("state"));
    let fine = ended??;
    if !keep && fine {
        let _ = std::fs::remove_dir_all(&root);
    } else if form == Output::Text {
        crate::cli::output::line(format_args!("kept: {}", root.display()));
    }
    Ok(if fine { End::Fine } else { End::Found })
}

/// Plays and tells; whether all went well.
fn play(stage: &mut Stage, length: Length, stay: bool) -> bool {
    if let Err(error) = stage.play(length) {
        stage.report.went_wrong(format!("{error:#}"));
    } else if stay {
        stage.stay();
    }
    if let Err(error) = stage.close() {
        stage.report.went_wrong(format!("{error:#}"));
    }
    stage.report.print();
    stage.report.is_fine()
}

/// Three ports of 127.0.0.1 that nobody listens on.
fn free_ports() -> anyhow::Result<[u16; 3]> {
    let mut held = Vec::new();
    let mut ports = [0; 3];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
