//! `tidegate capabilities`: what the HAProxy at hand can do, and so what reloads and why.
//!
//! Everything printed comes from the tables and functions that the controller itself decides with.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tidegate_core::annotations::{Annotation, FAMILIES, Mechanism};
use tidegate_core::capability::{Capabilities, Tier};
use tidegate_core::plan::remedy;

use super::offline::Assumed;
use super::output::{self, End, Output};
use super::places;
use crate::haproxy::capabilities::{self, Discovery};

/// `tidegate capabilities`.
#[derive(Clone, Debug, Args)]
pub struct CapabilitiesArgs {
    /// HAProxy's executable [default: haproxy from PATH, otherwise the newest in
    /// ~/.cache/tidegate/haproxy]
    #[arg(long, value_name = "FILE", env = "TIDEGATE_HAPROXY",
          conflicts_with_all = ["haproxy_version", "tier"])]
    pub haproxy: Option<PathBuf>,
    #[command(flatten)]
    /// Which HAProxy to assume instead.
    pub assumed: Assumed,
}

/// Prints what was found.
///
/// # Errors
/// When no HAProxy is found or it cannot be run.
pub async fn capabilities(args: &CapabilitiesArgs, form: Output) -> anyhow::Result<End> {
    let CapabilitiesArgs { haproxy, assumed } = args;
    let is_assumed = assumed.haproxy_version.is_some() || assumed.tier.is_some();
    let (binary, discovery) = if is_assumed {
        let capabilities = assumed.capabilities()?;
        (None, Discovery { capabilities, findings: Vec::new() })
    } else {
        let binary = haproxy.clone().or_else(places::haproxy);
        let binary = binary.context("no HAProxy found; name it with --haproxy")?;
        let discovery = discover(&binary).await?;
        (Some(binary), discovery)
    };
    match form {
        Output::Text => print(binary.as_deref(), &discovery),
        Output::Json => print_json(binary.as_deref(), &discovery),
    }
    Ok(End::Fine)
}

/// What a binary can do, found by trying.
///
/// # Errors
/// When it cannot be run.
pub async fn discover(binary: &std::path::Path) -> anyhow::Result<Discovery> {
    let ports = crate::os::ports()?;
    let scratch = std::env::temp_dir().join(format!("tidegate-trial-{}", std::process::id()));
    ports.files.create_dir(&scratch, 0o700)?;
    let found = capabilities::of_binary(&ports, binary, &scratch).await;
    ports.files.remove_dir_all(&scratch)?;
    found.with_context(|| format!("cannot use {}", binary.display()))
}

fn tier_in_words(capabilities: &Capabilities) -> &'static str {
    match capabilities.tier() {
        Tier::A => "A: backends and servers at run time",
        Tier::B => "B: servers at run time, spare backends",
        Tier::C => "C: server slots, new backends by reload",
    }
}

fn print(binary: Option<&std::path::Path>, discovery: &Discovery) {
    let Discovery { capabilities, findings } = discovery;
    let place = binary.map_or("assumed".into(), |path| path.display().to_string());
    output::line(format_args!("HAProxy {} ({place})", capabilities.version));
    output::line(format_args!("tier {}\n", tier_in_words(capabilities)));
    if !findings.is_empty() {
        let rows: Vec<Vec<String>> = findings
            .iter()
            .map(|f| vec![f.ability.to_owned(), yes_no(f.present).into(), f.reason.clone()])
            .collect();
        output::line(output::table(&["ability", "", "how it is known"], &rows));
        output::line("");
    }
    output::line("What reloads:");
    for reason in remedy::reload_list(capabilities) {
        output::line(format_args!("  - {reason}"));
    }
    output::line("");
    let rows: Vec<Vec<String>> = annotations(capabilities)
        .map(|(row, reloads)| vec![row.key.to_owned(), reloads.to_owned()])
        .collect();
    output::line(output::table(&["annotation", "a change of it reloads"], &rows));
}

fn print_json(binary: Option<&std::path::Path>, discovery: &Discovery) {
    let Discovery { capabilities, findings } = discovery;
    let findings: Vec<_> = findings
        .iter()
        .map(|f| json!({ "ability": f.ability, "present": f.present, "reason": f.reason }))
        .collect();
    let keys: Vec<_> = annotations(capabilities)
        .map(|(row, reloads)| json!({ "key": row.key, "reloads": reloads }))
        .collect();
    output::json(&json!({
        "binary": binary,
        "capabilities": capabilities,
        "tier": format!("{:?}", capabilities.tier()),
        "findings": findings,
        "reloads": remedy::reload_list(capabilities),
        "annotations": keys,
    }));
}

fn annotations(
    capabilities: &Capabilities,
) -> impl Iterator<Item = (&'static Annotation, &'static str)> {
    let rows = FAMILIES.iter().flat_map(|family| family.keys);
    rows.map(|row| (row, reloads(row, capabilities)))
}

/// When changing a key reloads; by the same facts that `tidegate_core::plan::remedy` decides on.
fn reloads(row: &Annotation, capabilities: &Capabilities) -> &'static str {
    match row.mechanism {
        Mechanism::Skeleton => "always",
        Mechanism::Snippet => "for lines that nobody uses yet",
        Mechanism::Resource => "as the keys that its fields say",
        Mechanism::Profile | Mechanism::ServerKeyword => {
            if capabilities.dynamic_backends {
                "never"
            } else if capabilities.dynamic_servers {
                "when the spare backends are used up"
            } else {
                "always"
            }
        }
        Mechanism::Record if row.key.ends_with("-header") && !capabilities.headers_bin => {
            "for a header name that no route used before"
        }
        Mechanism::Record | Mechanism::Map | Mechanism::List | Mechanism::Nothing => "never",
    }
}

fn yes_no(present: bool) -> &'static str {
    if present { "yes" } else { "no" }
}
