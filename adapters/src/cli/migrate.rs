//! `tidegate migrate`: what becomes of each key of another controller, and manifests with ours.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tidegate_core::annotations::dialect::Dialect;
use tidegate_core::world::object::Name;

use super::offline::Assumed;
use super::output::{self, End, Output};
use super::value;
use crate::kube::server::Server;
use crate::kube::survey;
use crate::migrate::{self, Options, Report, Text};
use crate::{folder, os};

/// `tidegate migrate`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER)]
pub struct MigrateArgs {
    #[command(flatten)]
    /// Where the objects are.
    pub source: SourceArgs,
    /// With --kubeconfig: the context in it [default: the file's current one]
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    pub context: Option<String>,
    /// The controller they were for, where neither keys nor classes tell
    #[arg(long, value_enum, value_name = "CONTROLLER")]
    pub from: Option<Origin>,
    /// ConfigMap of the other controller; may be given several times [default: in a folder,
    /// recognised by its name or keys]
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = value::name)]
    pub configmap: Vec<Name>,
    /// Write the manifests with our keys into this folder, which must be empty or missing
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
    /// With --write: the class of the Ingresses there [default: as it was]
    #[arg(long, value_name = "NAME", requires = "write")]
    pub class: Option<String>,
    #[command(flatten)]
    /// Which HAProxy to assume.
    pub assumed: Assumed,
}

const AFTER: &str = "\
Exit codes: 0 nothing is left to do but what --write does; 1 something needs a human; 2 wrong use;
3 it could not be done.

In a cluster nothing is written. Needed: list on ingresses and ingressclasses.networking.k8s.io,
services, and on backends, defaults, frontends, globals, tcps and validationrules of
ingress.v3.haproxy.org and ingress.v1.haproxy.org (where they are installed); get on the configmaps
named with --configmap. Secrets are not read.";

/// Where the objects are: exactly one.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SourceArgs {
    /// Folder with Kubernetes manifests (YAML or JSON)
    #[arg(long, short = 'f', value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// The cluster of this kubeconfig
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The cluster in which tidegate runs, as its pod's service account
    #[arg(long)]
    pub cluster: bool,
}

/// Another controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Origin {
    /// haproxytech/kubernetes-ingress
    Haproxytech,
    /// jcmoraisjr/haproxy-ingress
    HaproxyIngress,
    /// kubernetes/ingress-nginx
    IngressNginx,
}

impl From<Origin> for Dialect {
    fn from(from: Origin) -> Dialect {
        match from {
            Origin::Haproxytech => Dialect::Haproxytech,
            Origin::HaproxyIngress => Dialect::HaproxyIngress,
            Origin::IngressNginx => Dialect::IngressNginx,
        }
    }
}

/// Prints the report, and writes the manifests if asked to.
///
/// # Errors
/// When the source cannot be read, or the manifests cannot be written.
pub async fn migrate(args: MigrateArgs, form: Output) -> anyhow::Result<End> {
    let MigrateArgs { source, context, from, configmap, write, class, assumed } = args;
    if let Some(dir) = &write {
        must_be_empty(dir)?;
    }
    let mut notes = Vec::new();
    let without_secrets = source.manifests.is_none();
    let texts: Vec<Text> = match (&source.manifests, source.kubeconfig) {
        (Some(folder), _) => {
            let texts = folder::texts(folder)?;
            texts.into_iter().map(|(path, text)| Text { path, text }).collect()
        }
        (None, Some(file)) => {
            let server = Server::Kubeconfig { file, context };
            survey::manifests(server, &os::ports()?, &configmap, &mut notes).await?
        }
        (None, None) => {
            survey::manifests(Server::InCluster, &os::ports()?, &configmap, &mut notes).await?
        }
    };
    let options =
        Options { from: from.map(Into::into), configs: configmap, class, without_secrets };
    let mut report = migrate::migrate(texts, &options, &assumed.capabilities()?);
    report.notes.extend(notes);
    if let Some(dir) = &write {
        write_all(dir, &report)?;
        report.notes.push(format!("{} manifests are in {}", report.texts.len(), dir.display()));
    }
    match form {
        Output::Text => output::line(report.text()),
        Output::Json => output::json(&report.json()),
    }
    let counts = report.counts();
    Ok(if counts.open + counts.human > 0 { End::Found } else { End::Fine })
}

/// What is there already is never written over.
fn must_be_empty(dir: &Path) -> anyhow::Result<()> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => {
            anyhow::ensure!(entries.next().is_none(), "{} is not empty", dir.display());
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot use {}", dir.display())),
    }
}

fn write_all(dir: &Path, report: &Report) -> anyhow::Result<()> {
    for Text { path, text } in &report.texts {
        let path = dir.join(path);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = written.and_then(|()| {
            use std::io::Write as _;
            std::fs::File::create_new(&path)?.write_all(text.as_bytes())
        });
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
