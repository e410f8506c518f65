//! Controller-wide options and every limit. There is no `Default`: the caller states them.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};

use crate::world::object::Name;

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
    /// Service that answers what no rule matches; else 404.
    pub default_backend: Option<(Name, u16)>,
    /// Secret with the certificate for hosts that have none; else a self-signed one.
    pub default_certificate: Option<Name>,
    /// Whether Services of type ExternalName are served (CVE-2021-25740 advises against it).
    pub external_names: bool,
    /// Where and how HAProxy listens.
    pub listen: Listen,
    /// Limits.
    pub limits: Limits,
    /// Delays.
    pub delays: Delays,
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
}

impl Settings {
    /// The settings that the documentation describes as defaults, for a state folder.
    #[must_use]
    pub fn documented(state_dir: &str) -> Settings {
        Settings {
            controller_name: "tidegate.io/ingress-controller".into(),
            legacy_class: "tidegate".into(),
            classless: false,
            config_map: None,
            default_backend: None,
            default_certificate: None,
            external_names: false,
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
            },
            limits: Limits {
                paths_per_ingress_max: 10_000,
                servers_per_backend_max: 5_000,
                annotation_bytes_max: 65_536,
                path_bytes_max: 4_096,
                commands_per_action_max: 2_000,
                backends_per_plan_max: 4_000,
            },
            delays: Delays {
                save_quiet_ms: 500,
                save_max_ms: 5_000,
                drain_ms: 1_000,
                retry_ms: 1_000,
                audit_ms: 60_000,
            },
        }
    }
}
