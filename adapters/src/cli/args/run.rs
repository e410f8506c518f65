//! The flags of `tidegate run`, and what they amount to.
//!
//! Inputs: flags and environment variables. Outputs: [`RunOptions`].

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::SettingsArgs;
use super::cluster::ClusterArgs;
use crate::cli::theirs::Note;
use crate::cli::value;
use crate::haproxy::{Mode, StopMode};
use crate::journal::Writing;
use crate::kube::server::Server;
use crate::options::{JournalOptions, RunOptions, Source};
use crate::ports::Endpoint;
use crate::telemetry::LogFormat;

/// `tidegate run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    /// Where objects come from.
    pub source: SourceArgs,
    /// With --kubeconfig: the context in it [default: the file's current one]
    #[arg(long, value_name = "NAME", env = "TIDEGATE_CONTEXT", requires = "kubeconfig")]
    pub context: Option<String>,
    /// HAProxy's executable [default: haproxy from PATH, otherwise the newest in
    /// ~/.cache/tidegate/haproxy, where deploy/haproxy/install.sh puts it]
    #[arg(long, value_name = "FILE", env = "TIDEGATE_HAPROXY")]
    pub haproxy: Option<PathBuf>,
    /// Attach to an HAProxy that somebody else starts from the state folder's haproxy.cfg: path of
    /// its worker's runtime socket, or HOST:PORT
    #[arg(long, value_name = "SOCKET", env = "TIDEGATE_ATTACH", value_parser = value::endpoint)]
    pub attach: Option<Endpoint>,
    /// With --attach: the master socket, without which nothing can be reloaded
    #[arg(long, value_name = "SOCKET", env = "TIDEGATE_MASTER", value_parser = value::endpoint,
          requires = "attach")]
    pub master: Option<Endpoint>,
    /// Leave HAProxy serving when tidegate stops; the next tidegate adopts it
    #[arg(long, env = "TIDEGATE_KEEP_HAPROXY")]
    pub keep_haproxy: bool,
    /// After SIGTERM: time between "not ready" and HAProxy's stop, for load balancers to notice
    #[arg(long, value_name = "DURATION", env = "TIDEGATE_DRAIN_DELAY",
          value_parser = value::duration, default_value = "0s")]
    pub drain_delay: Duration,
    /// After that: time for open connections to end
    #[arg(long, value_name = "DURATION", env = "TIDEGATE_STOP_WITHIN",
          value_parser = value::duration, default_value = "20s")]
    pub stop_within: Duration,
    /// Folder of the journal: everything that arrived, for `tidegate replay` [default: none]
    #[arg(long, value_name = "DIR", env = "TIDEGATE_JOURNAL_DIR")]
    pub journal_dir: Option<PathBuf>,
    /// Most disk space of the journal
    #[arg(long, value_name = "SIZE", env = "TIDEGATE_JOURNAL_MAX", value_parser = value::bytes,
          default_value = "256MiB")]
    pub journal_max: u64,
    /// Address of health, readiness, metrics and problems; "none" for nowhere
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "TIDEGATE_ADMIN_BIND",
        default_value = "127.0.0.1:8405"
    )]
    pub admin_bind: String,
    /// Form of log lines, on standard error
    #[arg(long, value_name = "FORM", env = "TIDEGATE_LOG_FORMAT", value_enum,
          default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or module=level pairs
    #[arg(long, value_name = "FILTER", env = "TIDEGATE_LOG", default_value = "info")]
    pub log: String,
    /// Arguments of haproxytech's controller that have no meaning here.
    #[arg(skip)]
    pub notes: Vec<Note>,
    #[command(flatten)]
    /// What is watched and told in a cluster.
    pub cluster: ClusterArgs,
    #[command(flatten)]
    /// Settings of the core.
    pub settings: SettingsArgs,
}

/// Where objects come from: exactly one.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SourceArgs {
    /// Folder with Kubernetes manifests (YAML or JSON), followed while running
    #[arg(long, short = 'f', value_name = "DIR", env = "TIDEGATE_MANIFESTS")]
    pub manifests: Option<PathBuf>,
    /// Serve the cluster of this kubeconfig
    #[arg(long, value_name = "FILE", env = "TIDEGATE_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Serve the cluster in which tidegate runs, as its pod's service account
    #[arg(long, alias = "kubernetes")]
    pub cluster: bool,
}

impl RunArgs {
    /// The options of the run loop.
    ///
    /// # Errors
    /// When a folder or HAProxy's executable cannot be found, or an address cannot be read.
    pub fn options(&self) -> anyhow::Result<RunOptions> {
        let RunArgs {
            source,
            context,
            haproxy,
            attach,
            master,
            keep_haproxy,
            drain_delay,
            stop_within,
            journal_dir,
            journal_max,
            admin_bind,
            log_format: _,
            log: _,
            notes,
            cluster,
            settings,
        } = self.clone();
        let mut settings = settings.settings()?;
        let source = match (source.manifests, source.kubeconfig) {
            (Some(folder), _) => Source::Folder(folder),
            (None, Some(file)) => Source::Cluster(Server::Kubeconfig { file, context }),
            (None, None) => Source::Cluster(Server::InCluster),
        };
        if let Source::Cluster(_) = &source {
            cluster.apply(&mut settings)?;
        }
        let admin = match admin_bind.as_str() {
            "none" | "" => None,
            text => Some(value::endpoint(text).map_err(anyhow::Error::msg)?),
        };
        if let Some(Endpoint::Tcp(_, port)) = &admin {
            let is_reserved = settings.listen.is_reserved(*port);
            anyhow::ensure!(!is_reserved, "--tcp-ports has port {port} of --admin-bind");
        }
        let mode = match attach {
            None => Mode::Spawn,
            Some(worker) => Mode::Attach { master, worker },
        };
        let found = haproxy.or_else(crate::cli::places::haproxy);
        let haproxy = match (found, &mode) {
            // HAProxy works in the root folder, and executes itself again from there.
            (Some(path), _) if path.components().count() > 1 => std::path::absolute(path)?,
            (Some(name), _) => name,
            (None, Mode::Attach { .. }) => PathBuf::from("haproxy"),
            (None, Mode::Spawn) => anyhow::bail!(
                "no HAProxy found; install one (deploy/haproxy/install.sh) or name it with --haproxy"
            ),
        };
        Ok(RunOptions {
            source,
            haproxy,
            mode,
            // HAProxy itself writes nothing there; its log does, when the ConfigMap says so.
            inherit_stdout: true,
            journal: journal_dir.map(|dir| JournalOptions {
                dir,
                bytes_max: journal_max,
                writing: Writing::Thread,
            }),
            admin,
            drain_delay,
            stop: if keep_haproxy {
                StopMode::Leave
            } else {
                StopMode::Soft { within: stop_within }
            },
            notes: {
                let config_map = settings.config_map.as_ref();
                notes.iter().map(|note| note.problem(config_map)).collect()
            },
            settings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use tidegate_core::settings::{Quic, Settings};
    use tidegate_core::world::object::Name;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        run: RunArgs,
    }

    fn parse(flags: &[&str]) -> RunArgs {
        let all = ["tidegate", "-f", "manifests"].iter().chain(flags);
        Only::try_parse_from(all).unwrap().run
    }

    #[test]
    fn exactly_one_source_is_taken() {
        let parse = |flags: &[&str]| Only::try_parse_from(["tidegate"].iter().chain(flags));
        assert!(parse(&[]).is_err());
        assert!(parse(&["-f", "x", "--cluster"]).is_err());
        assert!(parse(&["--kubeconfig", "x", "--cluster"]).is_err());
        let args = parse(&["--kubeconfig", "x", "--context", "y", "--haproxy", "/h"]).unwrap();
        let options = args.run.options().unwrap();
        let Source::Cluster(Server::Kubeconfig { file, context }) = options.source else {
            panic!()
        };
        assert_eq!((file, context), ("x".into(), Some("y".to_owned())));
        assert!(options.settings.scope.secrets_on_demand && options.settings.telling.is_some());
    }

    #[test]
    fn defaults_are_the_documented_settings() {
        let settings = parse(&["--state-dir", "/s"]).settings.settings().unwrap();
        assert_eq!(settings, Settings::documented("/s"));
    }

    #[test]
    fn values_are_taken() {
        let flags = ["--default-backend", "a/b:81", "--bind", "127.0.0.1,::1", "--audit", "0s"];
        let rest = ["--state-dir", "/s", "--haproxy", "/h", "--attach", "/w", "--keep-haproxy"];
        let args = parse(&[&flags[..], &rest[..]].concat());
        let options = args.options().unwrap();
        let settings = &options.settings;
        assert_eq!(settings.default_backend, Some((Name::new("a", "b"), 81)));
        assert_eq!(settings.listen.addresses.len(), 2);
        assert_eq!(settings.delays.audit_ms, 0);
        let listen = ["--tcp-ports", "8000-9000", "--haproxy", "/h"];
        assert!(parse(&listen).options().is_err(), "ports of our own cannot be kept");
        let quic = ["--quic-port", "443", "--https-port", "0", "--haproxy", "/h"];
        assert!(parse(&quic).options().is_err(), "nobody would hear of it");
        let quic = parse(&["--quic-port", "8443", "--quic-announce-port", "443"]).settings;
        let quic = quic.settings().unwrap().listen.quic;
        assert_eq!(quic, Some(Quic { port: 8443, announced: 443 }));
        let same = ["--configmap", "a/b", "--configmap-tcp-services", "a/b", "--haproxy", "/h"];
        assert!(parse(&same).options().is_err());
        assert_eq!(options.stop, StopMode::Leave);
        let worker = Endpoint::Unix("/w".into());
        assert_eq!(options.mode, Mode::Attach { master: None, worker });
    }
}
