//! Flags, and what they amount to.
//!
//! Inputs: flags and environment variables. Outputs: [`Settings`], and the options of `tidegate
//! run` ([`run`]). Every field of the settings has a flag here or in [`cluster`]: both sides are
//! taken apart without `..`, so that the compiler notices a missing one. Not here: reading anything.

pub mod cluster;
pub mod run;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tidegate_core::settings::{Delays, Limits, Listen, Peers, Quic, Reach, Role, Scope, Settings};
use tidegate_core::snippet::{Place, Rights};
use tidegate_core::world::object::Name;

use super::value::{self, Backend};
pub use run::RunArgs;

/// What becomes of Ingresses and how HAProxy listens.
#[derive(Clone, Debug, Args)]
pub struct SettingsArgs {
    /// `spec.controller` of the IngressClasses that are ours
    #[arg(
        long,
        value_name = "TEXT",
        help_heading = "What is served",
        env = "TIDEGATE_CONTROLLER_NAME",
        default_value = "tidegate.io/ingress-controller"
    )]
    pub controller_name: String,
    /// Value of the legacy annotation kubernetes.io/ingress.class that is ours
    #[arg(
        long,
        value_name = "NAME",
        help_heading = "What is served",
        env = "TIDEGATE_INGRESS_CLASS",
        default_value = "tidegate"
    )]
    pub ingress_class: String,
    /// Also serve Ingresses that name no class
    #[arg(long, help_heading = "What is served", env = "TIDEGATE_WATCH_CLASSLESS")]
    pub watch_classless: bool,
    /// The controller's own ConfigMap, with defaults for annotations
    #[arg(long, value_name = "NAMESPACE/NAME", help_heading = "What is served",
          env = "TIDEGATE_CONFIGMAP", value_parser = value::name)]
    pub configmap: Option<Name>,
    /// ConfigMap with the answers that HAProxy makes itself: status code to a whole HTTP answer
    #[arg(long, value_name = "NAMESPACE/NAME", help_heading = "What is served",
          env = "TIDEGATE_CONFIGMAP_ERRORFILES", value_parser = value::name)]
    pub configmap_errorfiles: Option<Name>,
    /// ConfigMap with files that lists and snippets refer to as patterns/NAME; may be given several
    /// times
    #[arg(long, value_name = "NAMESPACE/NAME", help_heading = "What is served",
          value_delimiter = ',', env = "TIDEGATE_CONFIGMAP_PATTERNFILES",
          value_parser = value::name)]
    pub configmap_patternfiles: Vec<Name>,
    /// Namespaces whose Ingresses and Services may have configuration snippets; may be given several
    /// times [default: none]
    #[arg(
        long,
        value_name = "NAMESPACE",
        value_delimiter = ',',
        help_heading = "What is served",
        env = "TIDEGATE_SNIPPET_NAMESPACES"
    )]
    pub snippet_namespaces: Vec<String>,
    /// Places where nobody may have configuration snippets; may be given several times
    #[arg(
        long,
        value_name = "PLACE",
        value_delimiter = ',',
        help_heading = "What is served",
        env = "TIDEGATE_DISABLE_CONFIG_SNIPPETS",
        value_enum
    )]
    pub disable_config_snippets: Vec<SnippetPlace>,
    /// ConfigMap with TCP services: port as the key, NAMESPACE/SERVICE:PORT as the value, with :ssl
    /// behind it when TLS ends here
    #[arg(long, value_name = "NAMESPACE/NAME", help_heading = "What is served",
          env = "TIDEGATE_CONFIGMAP_TCP_SERVICES", value_parser = value::name)]
    pub configmap_tcp_services: Option<Name>,
    /// Service that answers what no rule matches; without it the answer is 404
    #[arg(long, value_name = "NAMESPACE/NAME:PORT", help_heading = "What is served",
          env = "TIDEGATE_DEFAULT_BACKEND", value_parser = value::backend)]
    pub default_backend: Option<Backend>,
    /// Secret with the certificate for hosts that have none; without it a self-signed one
    #[arg(long, value_name = "NAMESPACE/NAME", help_heading = "What is served",
          env = "TIDEGATE_DEFAULT_CERTIFICATE", value_parser = value::name)]
    pub default_certificate: Option<Name>,
    /// Serve Services of type ExternalName (they can reach into your network: CVE-2021-25740)
    #[arg(long, help_heading = "What is served", env = "TIDEGATE_EXTERNAL_NAMES")]
    pub external_names: bool,
    /// How pods are reached when no annotation says so: at their own addresses, or through the node
    /// ports of their Services
    #[arg(long, value_name = "WAY", help_heading = "What is served", env = "TIDEGATE_REACH",
          value_enum, default_value_t = Way::Pods)]
    pub reach: Way,
    #[command(flatten)]
    /// Where and how HAProxy listens.
    pub listen: ListenArgs,
    #[command(flatten)]
    /// Limits.
    pub limits: LimitArgs,
    #[command(flatten)]
    /// Delays.
    pub delays: DelayArgs,
}

/// Where and how HAProxy listens.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "HAProxy")]
pub struct ListenArgs {
    /// Addresses that HAProxy listens on; may be given several times
    #[arg(
        long,
        value_name = "ADDRESS",
        value_delimiter = ',',
        env = "TIDEGATE_BIND",
        default_value = "0.0.0.0"
    )]
    pub bind: Vec<IpAddr>,
    /// Port for plain HTTP
    #[arg(long, value_name = "PORT", env = "TIDEGATE_HTTP_PORT", default_value_t = 8080)]
    pub http_port: u16,
    /// Port for HTTPS; 0 for none
    #[arg(long, value_name = "PORT", env = "TIDEGATE_HTTPS_PORT", default_value_t = 8443)]
    pub https_port: u16,
    /// UDP port for HTTP/3, which answers over HTTPS then announce; 0 for none. UDP must reach it
    #[arg(long, value_name = "PORT", env = "TIDEGATE_QUIC_PORT", default_value_t = 0)]
    pub quic_port: u16,
    /// Port that clients are told for HTTP/3, if it is another one where they are [default: that of
    /// --quic-port]
    #[arg(long, value_name = "PORT", env = "TIDEGATE_QUIC_ANNOUNCE_PORT",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub quic_announce_port: Option<u16>,
    /// Ports kept for TCP services: one of them is taken and left without a reload, any other port
    /// with one. Each costs HAProxy a descriptor per address of --bind [default: none]
    #[arg(long, value_name = "FIRST-LAST", env = "TIDEGATE_TCP_PORTS", value_parser = value::ports)]
    pub tcp_ports: Option<(u16, u16)>,
    /// Port on 127.0.0.1 for HAProxy's own metrics; 0 for none
    #[arg(long, value_name = "PORT", env = "TIDEGATE_STATS_PORT", default_value_t = 8404)]
    pub stats_port: u16,
    /// Folder for HAProxy's files and sockets [default: /var/lib/tidegate as root, otherwise
    /// tidegate in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "DIR", env = "TIDEGATE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Threads of HAProxy; 0 for one per processor
    #[arg(long, value_name = "COUNT", env = "TIDEGATE_THREADS", default_value_t = 0)]
    pub threads: u16,
    /// Most connections at once; 0 lets HAProxy compute it from its open-files limit
    #[arg(long, value_name = "COUNT", env = "TIDEGATE_MAXCONN", default_value_t = 0)]
    pub maxconn: u32,
    /// How long an old worker may finish its connections after a reload
    #[arg(long, value_name = "DURATION", env = "TIDEGATE_HARD_STOP_AFTER",
          value_parser = value::duration, default_value = "30m")]
    pub hard_stop_after: Duration,
    /// Where HAProxy logs requests: stdout or ADDRESS:PORT of a syslog server; empty for nowhere
    #[arg(
        long,
        value_name = "TARGET",
        env = "TIDEGATE_ACCESS_LOG",
        default_value = "",
        hide_default_value = true
    )]
    pub access_log: String,
    /// Where this replica listens for others that share the tables of rate limits (in clear text:
    /// for a network of their own)
    #[arg(long, value_name = "ADDRESS:PORT", env = "TIDEGATE_PEER_ADDRESS")]
    pub peer_address: Option<SocketAddr>,
    /// The other replicas, or all; may be given several times
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        value_delimiter = ',',
        env = "TIDEGATE_PEERS",
        requires = "peer_address"
    )]
    pub peers: Vec<SocketAddr>,
    /// Service (a headless one) whose endpoints are the replicas, at the port of --peer-address
    #[arg(long, value_name = "NAMESPACE/NAME", env = "TIDEGATE_PEERS_SERVICE",
          value_parser = value::name, requires = "peer_address")]
    pub peers_service: Option<Name>,
}

/// Limits.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits (beyond one, a Problem)")]
pub struct LimitArgs {
    /// Paths of one Ingress
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    pub paths_per_ingress_max: u32,
    /// Servers of one backend
    #[arg(long, value_name = "COUNT", default_value_t = 5_000)]
    pub servers_per_backend_max: u32,
    /// Bytes of one annotation value
    #[arg(long, value_name = "BYTES", default_value_t = 65_536)]
    pub annotation_bytes_max: u32,
    /// Bytes of a path
    #[arg(long, value_name = "BYTES", default_value_t = 4_096)]
    pub path_bytes_max: u32,
    /// Runtime commands sent to HAProxy in one go
    #[arg(long, value_name = "COUNT", default_value_t = 2_000)]
    pub commands_per_action_max: u32,
    /// New backends in one change beyond which a reload disturbs traffic less
    #[arg(long, value_name = "COUNT", default_value_t = 4_000)]
    pub backends_per_plan_max: u32,
    /// Reloads of HAProxy that changes cause in a minute, of which one namespace may cause a third: so
    /// many at once, and then one after the other; 0 for no bound
    #[arg(long, value_name = "COUNT", env = "TIDEGATE_RELOADS_PER_MINUTE", default_value_t = 60)]
    pub reloads_per_minute: u32,
}

/// Delays.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Delays")]
pub struct DelayArgs {
    /// Quiet time after a change before the files for HAProxy's next start are written; longer after
    /// files that took more than a fiftieth of it
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "500ms")]
    pub save_quiet: Duration,
    /// Longest time what runs may be ahead of those files
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "5s")]
    pub save_max: Duration,
    /// Time a removed endpoint gets to finish before its server is first tried to be deleted
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "1s")]
    pub drain: Duration,
    /// First retry of what HAProxy refused; doubles up to a minute
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "1s")]
    pub retry: Duration,
    /// Time between comparisons of HAProxy's memory with what is wanted; 0s for none
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "60s")]
    pub audit: Duration,
    /// Time a new route that would answer 503 waits for its Service and endpoints
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "500ms")]
    pub unserved: Duration,
}

/// A place of configuration snippets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SnippetPlace {
    /// Every place.
    All,
    /// The section `global`.
    Global,
    /// The defaults of the frontends.
    Defaults,
    /// The frontend that serves.
    Frontend,
    /// The frontend with health and metrics.
    Stats,
    /// Backends.
    Backend,
}

/// How pods are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// At their own addresses.
    Pods,
    /// Through node ports.
    NodePorts,
}

/// The kind of HAProxy assumed where none is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// 3.4: backends and servers at run time.
    A,
    /// 3.0 and 3.2: servers at run time, spare backends.
    B,
    /// 2.6 and 2.8: server slots, new backends by reload.
    C,
}

impl SettingsArgs {
    /// The settings of the core for a folder.
    ///
    /// # Errors
    /// When the state folder is not given and there is no home folder.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let SettingsArgs {
            controller_name,
            ingress_class,
            watch_classless,
            configmap,
            configmap_errorfiles,
            configmap_patternfiles,
            snippet_namespaces,
            disable_config_snippets,
            configmap_tcp_services,
            default_backend,
            default_certificate,
            external_names,
            reach,
            listen,
            limits,
            delays,
        } = self.clone();
        let errors = configmap_errorfiles.into_iter().map(|name| (Role::ErrorFiles, name));
        let patterns = configmap_patternfiles.into_iter().map(|name| (Role::PatternFiles, name));
        let tcp = configmap_tcp_services.into_iter().map(|name| (Role::TcpServices, name));
        let config_maps: BTreeSet<(Role, Name)> = errors.chain(patterns).chain(tcp).collect();
        let config_maps: Vec<(Role, Name)> = config_maps.into_iter().collect();
        for (role, name) in &config_maps {
            let flag = role.flag();
            anyhow::ensure!(configmap.as_ref() != Some(name), "{flag} names --configmap itself");
        }
        Ok(Settings {
            controller_name: controller_name.into(),
            legacy_class: ingress_class.into(),
            classless: watch_classless,
            config_map: configmap,
            config_maps,
            snippets: rights(snippet_namespaces, &disable_config_snippets),
            default_backend: default_backend.map(|Backend(name, port)| (name, port)),
            default_certificate,
            external_names,
            scope: Scope::folder(),
            reach: match reach {
                Way::Pods => Reach::Pods,
                Way::NodePorts => Reach::NodePorts,
            },
            telling: None,
            listen: listen.listen()?,
            limits: limits.limits(),
            delays: delays.delays(),
        })
    }
}

fn rights(namespaces: Vec<String>, disabled: &[SnippetPlace]) -> Rights {
    let mut namespaces: Vec<Box<str>> = namespaces.into_iter().map(Into::into).collect();
    namespaces.sort();
    namespaces.dedup();
    let places: BTreeSet<Place> = disabled.iter().flat_map(|place| place.places()).collect();
    Rights { namespaces, disabled: places.into_iter().collect() }
}

impl SnippetPlace {
    fn places(self) -> Vec<Place> {
        match self {
            SnippetPlace::All => Place::ALL.to_vec(),
            SnippetPlace::Global => vec![Place::Global],
            SnippetPlace::Defaults => vec![Place::Defaults],
            SnippetPlace::Frontend => vec![Place::Frontend],
            SnippetPlace::Stats => vec![Place::Stats],
            SnippetPlace::Backend => vec![Place::Backend],
        }
    }
}

impl ListenArgs {
    fn listen(self) -> anyhow::Result<Listen> {
        let ListenArgs {
            bind,
            http_port,
            https_port,
            quic_port,
            quic_announce_port,
            tcp_ports,
            stats_port,
            state_dir,
            threads,
            maxconn,
            hard_stop_after,
            access_log,
            peer_address,
            peers,
            peers_service,
        } = self;
        if let Some((first, last)) = tcp_ports {
            let own = [http_port, https_port, stats_port];
            if let Some(port) = own.into_iter().find(|port| (first..=last).contains(port)) {
                anyhow::bail!(
                    "--tcp-ports has port {port}, which is HTTP's, HTTPS's or the metrics'"
                );
            }
        }
        anyhow::ensure!(
            quic_port == 0 || https_port > 0,
            "--quic-port needs --https-port: answers over HTTPS are what tells of HTTP/3"
        );
        let announced = quic_announce_port.unwrap_or(quic_port);
        let quic = (quic_port > 0).then_some(Quic { port: quic_port, announced });
        let state_dir = std::path::absolute(match state_dir {
            Some(dir) => dir,
            None => super::places::state_dir()?,
        })?;
        let Some(state_dir) = state_dir.to_str() else {
            anyhow::bail!("the name of the state folder is not UTF-8: {}", state_dir.display());
        };
        Ok(Listen {
            addresses: bind,
            http_port,
            https_port,
            stats_port,
            state_dir: state_dir.into(),
            threads,
            maxconn,
            hard_stop_after_s: u32::try_from(hard_stop_after.as_secs()).unwrap_or(u32::MAX),
            log_target: access_log.into(),
            peers: Peers { address: peer_address, addresses: peers, service: peers_service },
            tcp_ports,
            quic,
        })
    }
}

impl LimitArgs {
    fn limits(self) -> Limits {
        let LimitArgs {
            paths_per_ingress_max,
            servers_per_backend_max,
            annotation_bytes_max,
            path_bytes_max,
            commands_per_action_max,
            backends_per_plan_max,
            reloads_per_minute,
        } = self;
        Limits {
            paths_per_ingress_max,
            servers_per_backend_max,
            annotation_bytes_max,
            path_bytes_max,
            commands_per_action_max,
            backends_per_plan_max,
            reloads_per_minute,
        }
    }
}

impl DelayArgs {
    fn delays(self) -> Delays {
        let DelayArgs { save_quiet, save_max, drain, retry, audit, unserved } = self;
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Delays {
            save_quiet_ms: ms(save_quiet),
            save_max_ms: ms(save_max),
            drain_ms: ms(drain),
            retry_ms: ms(retry),
            audit_ms: ms(audit),
            unserved_ms: ms(unserved),
        }
    }
}
