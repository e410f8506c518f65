//! `tidegate check`: the problems of a folder of manifests, without any HAProxy.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use tidegate_core::action::MapId;
use tidegate_core::controller::Controller;
use tidegate_core::event::Event;
use tidegate_core::problem::{Problem, Severity};

use super::args::SettingsArgs;
use super::offline::{Assumed, Offline};
use super::output::{self, End, Output};
use crate::metrics::Sizes;
use crate::os::clock::OsClock;
use crate::ports::Clock as _;

/// `tidegate check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Folder with Kubernetes manifests (YAML or JSON)
    #[arg(long, short = 'f', value_name = "DIR")]
    pub manifests: PathBuf,
    /// Exit with 1 for warnings too
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    /// Which HAProxy to assume.
    pub assumed: Assumed,
    #[command(flatten)]
    /// Settings of the core.
    pub settings: SettingsArgs,
}

/// Prints the problems.
///
/// # Errors
/// When the folder cannot be read.
pub fn check(args: &CheckArgs, form: Output) -> anyhow::Result<End> {
    let CheckArgs { manifests, strict, assumed, settings } = args;
    let mut offline = Offline::new(settings.settings()?, assumed.capabilities()?);
    let mut events = offline.read(manifests)?;
    let date = i64::try_from(OsClock::default().unix_s()).unwrap_or(i64::MAX);
    events.push(Event::DateRead(date));
    offline.settle(events);
    let problems: Vec<&Problem> = offline.controller.problems().collect();
    let count = |wanted| problems.iter().filter(|p| p.severity == wanted).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let sizes = sizes(&offline.controller);
    match form {
        Output::Text => {
            output::problems_text(&problems);
            if !problems.is_empty() {
                output::line("");
            }
            let Sizes { objects, routes, backends, servers, certificates } = &sizes;
            let kinds: Vec<String> =
                objects.iter().filter(|(_, n)| **n > 0).map(|(k, n)| format!("{n} {k}")).collect();
            output::line(format_args!("read:   {}", kinds.join(", ")));
            output::line(format_args!(
                "gives:  {routes} routes, {backends} backends, {servers} servers, \
                 {certificates} certificates"
            ));
            output::line(format_args!("result: {errors} errors, {warnings} warnings"));
        }
        Output::Json => output::json(&serde_json::json!({
            "errors": errors,
            "warnings": warnings,
            "sizes": sizes,
            "problems": output::problems_json(&problems),
        })),
    }
    let found = errors > 0 || (*strict && warnings > 0);
    Ok(if found { End::Found } else { End::Fine })
}

/// How much a controller knows and wants.
#[must_use]
pub fn sizes(controller: &Controller) -> Sizes {
    let mut objects = BTreeMap::new();
    for object in controller.world().objects() {
        *objects.entry(object.kind().name()).or_insert(0) += 1;
    }
    let image = controller.desired().image();
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    Sizes {
        objects,
        routes: count(image.map(MapId::Route).len()),
        backends: count(image.backends.len()),
        servers: count(image.backends.iter().map(|(_, backend)| backend.servers.len()).sum()),
        certificates: count(image.certificates.len()),
    }
}
