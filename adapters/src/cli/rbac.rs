//! `tidegate rbac`: what must be granted for the watches and writes of these flags.

use clap::{Args, ValueEnum};

use super::args::SettingsArgs;
use super::args::cluster::ClusterArgs;
use super::output::{self, End, Output};
use crate::kube::access;

/// `tidegate rbac`.
#[derive(Clone, Debug, Args)]
pub struct RbacArgs {
    /// Form of the text: sentences, or objects for `kubectl apply`
    #[arg(long, value_enum, default_value_t = Form::Text)]
    pub form: Form,
    /// Name of the ClusterRole and Roles
    #[arg(long, value_name = "NAME", default_value = "tidegate")]
    pub name: String,
    #[command(flatten)]
    /// What is watched and told.
    pub cluster: ClusterArgs,
    #[command(flatten)]
    /// Settings of the core.
    pub settings: SettingsArgs,
}

/// Form of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// One line for each rule.
    Text,
    /// A ClusterRole, and Roles.
    Yaml,
}

/// Prints the rules.
///
/// # Errors
/// When the flags contradict each other.
pub fn rbac(args: RbacArgs, form: Output) -> anyhow::Result<End> {
    let RbacArgs { form: text, name, cluster, settings } = args;
    let mut settings = settings.settings()?;
    cluster.apply(&mut settings)?;
    let rules = access::rules(&settings);
    match (form, text) {
        (Output::Json, _) => output::json(&serde_json::json!({ "rules": rules })),
        (Output::Text, Form::Text) => output::line(access::text(&rules).trim_end()),
        (Output::Text, Form::Yaml) => output::line(access::yaml(&rules, &name).trim_end()),
    }
    Ok(End::Fine)
}
