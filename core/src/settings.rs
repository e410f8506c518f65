//! Controller-wide options and every limit. There is no `Default`: the caller states them.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use serde::{Deserialize, Serialize};

use crate::snippet::Rights;
use crate::world::object::{Address, Name};

/// Options fixed for the life of a controller. Part of every journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `spec.controller` of the IngressClasses that are ours.
    pub controller_name: Box<str>,
    /// Value of the legacy annotation `kubernetes.io/ingress.class` that is ours.
    pub legacy_class: Box<str>,
    /// Also serve Ingresses that name no class, as if they named ours.
    pub classless: bool,
    /// The controller's own ConfigMap, if it has one.
    pub config_map: Option<Name>,
    /// ConfigMaps with a role of their own, sorted.
    pub config_maps: Vec<(Role, Name)>,
    /// Who may write snippets.
    pub snippets: Rights,
    /// Service that answers what no rule matches; else 404. Port 0 is the Service's first one.
    pub default_backend: Option<(Name, u16)>,
    /// Secret with the certificate for hosts that have none; else a self-signed one.
    pub default_certificate: Option<Name>,
    /// Whether Services of type ExternalName are served (CVE-2021-25740 advises against it).
    pub external_names: bool,
    /// What is watched, and what is believed.
    pub scope: Scope,
    /// How pods are reached when nothing closer says so.
    pub reach: Reach,
    /// What is written to the API server; `None` for nothing (a folder has none).
    pub telling: Option<Telling>,
    /// Where and how HAProxy listens.
    pub listen: Listen,
    /// Limits.
    pub limits: Limits,
    /// Delays.
    pub delays: Delays,
}

/// What a ConfigMap besides the controller's own is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Answers that HAProxy makes itself: status code to a whole HTTP answer.
    ErrorFiles,
    /// Files that lists and snippets refer to as `patterns/NAME`.
    PatternFiles,
    /// Ports that lead to Services: port to `NAMESPACE/SERVICE:PORT[:ssl]`. One at most.
    TcpServices,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 3] = [Role::ErrorFiles, Role::PatternFiles, Role::TcpServices];

    /// The flag that names its ConfigMap.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Role::ErrorFiles => "--configmap-errorfiles",
            Role::PatternFiles => "--configmap-patternfiles",
            Role::TcpServices => "--configmap-tcp-services",
        }
    }
}

/// What is watched, and what is believed of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Namespaces that are watched; empty for all.
    pub namespaces: Vec<Box<str>>,
    /// Only Ingresses of Namespaces with all these labels are served; empty for all. Counts only
    /// while all namespaces are watched: Namespaces are cluster-scoped.
    pub namespace_labels: Vec<(Box<str>, Box<str>)>,
    /// Whether IngressClasses can be watched (they are cluster-scoped); if not, Ingresses are ours
    /// by the name of the class, which is then the value of `legacy_class`.
    pub ingress_classes: bool,
    /// Whether Nodes are watched.
    pub nodes: bool,
    /// Whether haproxytech's custom resources are read.
    pub custom_resources: bool,
    /// Whether Secrets arrive only after `FollowSecrets`; a folder brings all of them.
    pub secrets_on_demand: bool,
    /// When absence from a list is not believed at once.
    pub absence: Absence,
}

/// When absence from a complete list is not believed at once. A deletion told as such always is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// Per cent of the objects of a kind that may be absent and believed; above it they are held.
    pub percent_max: u8,
    /// As many absent objects are believed, whatever their share, while the store goes forward.
    pub count_max: u32,
    /// How long absent objects are held before they are given up, in milliseconds; 0 holds them
    /// until an operator says so.
    pub hold_ms: u64,
}

/// How pods are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reach {
    /// At their own addresses, from EndpointSlices.
    Pods,
    /// Through the node ports of their Service (types NodePort and LoadBalancer).
    NodePorts,
}

impl Reach {
    /// The word for it in flags and keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reach::Pods => "pods",
            Reach::NodePorts => "node-ports",
        }
    }
}

/// What is written to the API server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telling {
    /// What `status.loadBalancer` of our Ingresses says.
    pub publish: Publish,
    /// Whether Problems become Kubernetes Events.
    pub events: bool,
    /// Election among replicas; `None` when there is one replica only.
    pub election: Option<Election>,
}

/// What `status.loadBalancer` of our Ingresses says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Publish {
    /// Nothing is written.
    Nothing,
    /// These addresses.
    Addresses(Vec<Address>),
    /// The addresses of a Service: of its load balancer, else its external and cluster addresses.
    Service(Name),
    /// The external (else internal) addresses of the ready Nodes.
    Nodes,
}

/// Election among replicas by a Lease (`coordination.k8s.io/v1`): only its holder writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Election {
    /// Who we are: `holderIdentity`. Unique among the replicas.
    pub identity: Box<str>,
    /// The Lease.
    pub lease: Name,
    /// A Lease not renewed for so long is free, in milliseconds.
    pub duration_ms: u64,
    /// A holder that could not renew for so long stops writing, in milliseconds; less than the
    /// duration.
    pub renew_ms: u64,
    /// Time between tries, in milliseconds.
    pub retry_ms: u64,
}

/// Where and how HAProxy listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// Addresses of the HTTP and HTTPS binds.
    pub addresses: Vec<IpAddr>,
    /// Port for plain HTTP.
    pub http_port: u16,
    /// Port for HTTPS; 0 for none.
    pub https_port: u16,
    /// Port on 127.0.0.1 for HAProxy's own metrics and health; 0 for none.
    pub stats_port: u16,
    /// Absolute path of the state folder: generations, sockets.
    pub state_dir: Box<str>,
    /// `nbthread`; 0 leaves it to HAProxy.
    pub threads: u16,
    /// `maxconn`; 0 computes it from the descriptors available.
    pub maxconn: u32,
    /// `hard-stop-after` in seconds: how long an old worker may finish its connections.
    pub hard_stop_after_s: u32,
    /// Log target of HAProxy (`stdout`, `address:port`); empty for none.
    pub log_target: Box<str>,
    /// First and last port that is bound from the beginning for TCP services, so that none of them
    /// needs a reload; `None` for no such ports. Each costs HAProxy a descriptor per address.
    pub tcp_ports: Option<(u16, u16)>,
    /// Other replicas that share the tables of rate limits.
    pub peers: Peers,
    /// HTTP/3 beside HTTPS; `None` for none.
    pub quic: Option<Quic>,
}

/// Where HTTP/3 is served: over QUIC, so on ports of UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quic {
    /// Port that HAProxy listens on, at every address of HTTPS.
    pub port: u16,
    /// Port that clients are told, as they see it.
    pub announced: u16,
}

impl Listen {
    /// Whether a port is bound for TCP services from the beginning.
    #[must_use]
    pub fn is_reserved(&self, port: u16) -> bool {
        self.tcp_ports.is_some_and(|(first, last)| (first..=last).contains(&port))
    }
}

/// Replicas that share the tables of rate limits, by HAProxy's peers protocol: in clear text and
/// without a password, so for a network that others cannot reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// Where this replica listens for the others; `None` shares nothing.
    pub address: Option<SocketAddr>,
    /// The others, or all.
    pub addresses: Vec<SocketAddr>,
    /// A Service whose endpoints are the others, or all, at the port of `address`.
    pub service: Option<Name>,
}

/// Limits. Beyond one, a Problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Paths of one Ingress.
    pub paths_per_ingress_max: u32,
    /// Servers of one backend.
    pub servers_per_backend_max: u32,
    /// Bytes of one annotation value.
    pub annotation_bytes_max: u32,
    /// Bytes of a path or rewritten path.
    pub path_bytes_max: u32,
    /// Commands of one runtime action.
    pub commands_per_action_max: u32,
    /// New backends in one plan beyond which a reload is cheaper for the traffic.
    pub backends_per_plan_max: u32,
    /// Reloads in a minute, of which a namespace may cause a third; 0 for no bound.
    pub reloads_per_minute: u32,
}

/// Delays, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delays {
    /// Quiet time after a runtime change before the files are written.
    pub save_quiet_ms: u64,
    /// Longest time running state may be ahead of the files.
    pub save_max_ms: u64,
    /// Time between a server's maintenance and the first try to delete it.
    pub drain_ms: u64,
    /// First retry after a refusal; doubles up to 60 s.
    pub retry_ms: u64,
    /// Time between audits of the running state; 0 for none.
    pub audit_ms: u64,
    /// Time a new route that would answer 503 waits for its Service and endpoints, which may be told
    /// later than their Ingress. Requests are answered as before meanwhile.
    pub unserved_ms: u64,
}

impl Settings {
    /// The ConfigMaps with a role, in order.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &Name> {
        self.config_maps.iter().filter(move |(of, _)| *of == role).map(|(_, name)| name)
    }

    /// The ConfigMap of TCP services, if there is one.
    #[must_use]
    pub fn tcp_services(&self) -> Option<&Name> {
        self.with_role(Role::TcpServices).next()
    }

    /// Every ConfigMap that is read, once each.
    #[must_use]
    pub fn all_config_maps(&self) -> BTreeSet<&Name> {
        let of_roles = self.config_maps.iter().map(|(_, name)| name);
        self.config_map.iter().chain(of_roles).collect()
    }

    /// The settings that the documentation describes as defaults, for a state folder.
    #[must_use]
    pub fn documented(state_dir: &str) -> Settings {
        Settings {
            controller_name: "tidegate.io/ingress-controller".into(),
            legacy_class: "tidegate".into(),
            classless: false,
            config_map: None,
            config_maps: Vec::new(),
            snippets: Rights::default(),
            default_backend: None,
            default_certificate: None,
            external_names: false,
            scope: Scope::folder(),
            reach: Reach::Pods,
            telling: None,
            listen: Listen {
                addresses: Vec::from([IpAddr::from([0, 0, 0, 0])]),
                http_port: 8080,
                https_port: 8443,
                stats_port: 8404,
                state_dir: state_dir.into(),
                threads: 0,
                maxconn: 0,
                hard_stop_after_s: 1800,
                log_target: "".into(),
                peers: Peers::default(),
                tcp_ports: None,
                quic: None,
            },
            limits: Limits {
                paths_per_ingress_max: 10_000,
                servers_per_backend_max: 5_000,
                annotation_bytes_max: 65_536,
                path_bytes_max: 4_096,
                commands_per_action_max: 2_000,
                backends_per_plan_max: 4_000,
                reloads_per_minute: 60,
            },
            delays: Delays {
                save_quiet_ms: 500,
                save_max_ms: 5_000,
                drain_ms: 1_000,
                retry_ms: 1_000,
                audit_ms: 60_000,
                unserved_ms: 500,
            },
        }
    }
}

impl Absence {
    /// What the documentation describes as defaults.
    #[must_use]
    pub fn documented() -> Absence {
        Absence { percent_max: 10, count_max: 10, hold_ms: 600_000 }
    }
}

impl Scope {
    /// Everything, and all of it believed: a folder.
    #[must_use]
    pub fn folder() -> Scope {
        Scope {
            namespaces: Vec::new(),
            namespace_labels: Vec::new(),
            ingress_classes: true,
            nodes: true,
            custom_resources: true,
            secrets_on_demand: false,
            absence: Absence::documented(),
        }
    }
}
