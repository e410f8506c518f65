//! Why a reload: the one place that says what no runtime command can do.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

use crate::annotations::listener;
use crate::applied::Running;
use crate::capability::Capabilities;
use crate::desired::{Backend, Skeleton};
use crate::snippet::Place;

/// A reason that only a reload can meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReloadReason {
    /// No worker runs, and the source has told everything once.
    FirstStart,
    /// The static part differs; the text says in what.
    Skeleton(Box<str>),
    /// A backend is new and this HAProxy adds none at run time (or has no spare one left).
    NewBackend(Box<str>),
    /// A backend has more endpoints than slots.
    SlotsExhausted(Box<str>),
    /// So many backends are new that a reload disturbs traffic less.
    Bulk(u32),
    /// HAProxy refused a runtime command twice; its words.
    Refused(Box<str>),
    /// A backend has a snippet that the worker does not know: a named defaults section.
    NewSnippet(Box<str>),
}

impl ReloadReason {
    /// The label used in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            ReloadReason::FirstStart => "first-start",
            ReloadReason::Skeleton(_) => "static-part",
            ReloadReason::NewBackend(_) => "new-backend",
            ReloadReason::SlotsExhausted(_) => "slots-exhausted",
            ReloadReason::Bulk(_) => "bulk",
            ReloadReason::Refused(_) => "refused",
            ReloadReason::NewSnippet(_) => "new-snippet",
        }
    }
}

impl ReloadReason {
    /// Whose change it is: the namespace of a backend, which its name begins with; empty for what
    /// belongs to nobody or to all.
    #[must_use]
    pub fn owner(&self) -> &str {
        match self {
            ReloadReason::NewBackend(name)
            | ReloadReason::SlotsExhausted(name)
            | ReloadReason::NewSnippet(name) => name.split('_').next().unwrap_or_default(),
            ReloadReason::FirstStart
            | ReloadReason::Skeleton(_)
            | ReloadReason::Bulk(_)
            | ReloadReason::Refused(_) => "",
        }
    }
}

impl fmt::Display for ReloadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReloadReason::FirstStart => f.write_str("first start"),
            ReloadReason::Skeleton(what) => write!(f, "the static part changed: {what}"),
            ReloadReason::NewBackend(name) => {
                write!(f, "backend {name} is new and there is no way to add it at run time")
            }
            ReloadReason::SlotsExhausted(name) => {
                write!(f, "backend {name} has more endpoints than server slots")
            }
            ReloadReason::NewSnippet(name) => {
                write!(f, "the snippet of backend {name} is new, and defaults are read at a start")
            }
            ReloadReason::Bulk(count) => write!(f, "{count} backends are new at once"),
            ReloadReason::Refused(why) => write!(f, "HAProxy refused a runtime command: {why}"),
        }
    }
}

/// How a backend that HAProxy does not have comes to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendRemedy {
    /// `add backend`.
    Add,
    /// A spare one takes the role.
    Claim(Arc<str>),
    /// Nothing but a reload.
    Reload,
}

/// The remedy for a new backend. `claimed` are spare ones given away earlier in the same plan.
#[must_use]
pub fn new_backend(
    capabilities: &Capabilities,
    running: &Running,
    backend: &Backend,
    claimed: &BTreeMap<Arc<str>, u32>,
) -> BackendRemedy {
    if capabilities.dynamic_backends {
        return BackendRemedy::Add;
    }
    let profile = &backend.spec.profile;
    let skip = claimed.get(profile).copied().unwrap_or(0) as usize;
    let spare = running.spares.get(profile).and_then(|spares| spares.iter().nth(skip));
    match spare {
        Some(spare) if capabilities.dynamic_servers => BackendRemedy::Claim(spare.clone()),
        Some(_) | None => BackendRemedy::Reload,
    }
}

/// In what two static parts differ, in words.
#[must_use]
pub fn skeleton_difference(old: Option<&Skeleton>, new: &Skeleton) -> Box<str> {
    let Some(old) = old else {
        return "the running one is not what this tidegate renders".into();
    };
    let Skeleton {
        listen,
        capabilities,
        header_names,
        checks,
        options,
        errors,
        peers,
        snippets,
        tcp_ports,
        passthrough,
    } = old;
    let mut differences: Vec<String> = Vec::new();
    if *listen != new.listen {
        differences.push("addresses, ports or process options".into());
    }
    if *capabilities != new.capabilities {
        differences.push("what HAProxy can do".into());
    }
    if *checks != new.checks {
        let now = if new.checks { "on again" } else { "off, for want of descriptors" };
        differences.push(format!("active health checks are {now}"));
    }
    for name in &new.header_names {
        if header_names.binary_search(name).is_err() {
            differences.push(format!("header name {name} is new"));
        }
    }
    if header_names.iter().any(|name| new.header_names.binary_search(name).is_err()) {
        differences.push("header names that are no longer used".into());
    }
    for (directive, value) in &new.options {
        if **directive == *listener::FULL_HANDSHAKES && !options.contains_key(directive) {
            differences
                .push("TLS sessions are no longer resumed, as clients show certificates".into());
        } else if options.get(directive) != Some(value) {
            differences.push(format!("{directive} {value}"));
        }
    }
    for place in Place::STATIC {
        if snippets.get(&place) != new.snippets.get(&place) {
            differences.push(place.key().into());
        }
    }
    for peer in new.peers.iter().filter(|peer| !peers.contains(peer)) {
        differences.push(format!("peer {peer} is new"));
    }
    for peer in peers.iter().filter(|peer| !new.peers.contains(peer)) {
        differences.push(format!("peer {peer} is gone"));
    }
    if *errors != new.errors {
        let codes: BTreeSet<&u16> = errors.keys().chain(new.errors.keys()).collect();
        let other = codes.into_iter().filter(|code| errors.get(code) != new.errors.get(code));
        let other: Vec<String> = other.map(|code| format!("{code}")).collect();
        differences.push(format!("error file {}", other.join(", ")));
    }
    for directive in options.keys().filter(|d| !new.options.contains_key(*d)) {
        differences.push(format!("{directive} is the default again"));
    }
    for port in new.tcp_ports.iter().filter(|port| !tcp_ports.contains(port)) {
        differences.push(format!("TCP port {port} is bound, which is not in --tcp-ports"));
    }
    for port in tcp_ports.iter().filter(|port| !new.tcp_ports.contains(port)) {
        differences.push(format!("TCP port {port} is no longer bound"));
    }
    if *passthrough != new.passthrough {
        let what = if new.passthrough { "the first" } else { "no longer any" };
        differences.push(format!("{what} host whose TLS is passed through"));
    }
    differences.join(", ").into()
}

/// What reloads with these abilities, one line each; the text of `tidegate capabilities`.
#[must_use]
pub fn reload_list(capabilities: &Capabilities) -> Vec<&'static str> {
    let mut list = Vec::from([
        "listening addresses and ports, threads, maxconn, log target: HAProxy sets them up once",
        "keys of the ConfigMap for logs, for connections of clients and for timeouts that are no \
         route's: frontends and named defaults are static",
        "client-strict-sni, tls-alpn, tls-min-version, quic-alt-svc-max-age: what a listener offers is \
         static",
        "client-verify-depth, used first or no longer: whether TLS sessions resume is static",
        "snippets of global, defaults, frontend and stats; a backend snippet with lines not used yet",
        "error files, and replicas that share tables: HAProxy reads them once",
        "another version of tidegate with another static part",
        "an HAProxy upgrade",
        "repair, when HAProxy refuses the same runtime command twice",
        "thousands of new backends in one change: cheaper for the traffic than adding each",
        "a port of a TCP service outside of --tcp-ports: a port is bound once",
        "the first and the last host with tls-passthrough: the HTTPS port changes hands",
    ]);
    if !capabilities.isolated_sessions {
        list.push(
            "client-ca, used first or no longer: this HAProxy would resume a TLS session of one \
             host on another",
        );
    }
    if !capabilities.headers_bin {
        list.push("a header name no route used before: names are no data before HAProxy 3.4");
    }
    if !capabilities.dynamic_backends {
        list.push(if capabilities.dynamic_servers {
            "a new Service or new backend options, when the spare backends of the profile are used \
             up: no `add backend` before HAProxy 3.4"
        } else {
            "a new Service or new backend options: no way to add backends and servers at run time"
        });
    }
    if !capabilities.dynamic_servers {
        list.push(
            "more endpoints than the slots of a backend: servers made at run time would \
                   never reuse connections before HAProxy 3.0",
        );
    }
    list
}
