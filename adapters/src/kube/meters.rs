//! What the cluster adapter counts. [`crate::metrics`] shows it.
//!
//! Inputs: small calls from the client, the watches and the writes. Outputs: samples.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tidegate_core::world::object::Kind;

use crate::metrics::{Bounds, Labels, Metrics};

/// Bounds of request and list times, in seconds.
const REQUEST: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// The counters; clones share them.
#[derive(Clone)]
pub struct Meters {
    requests: Family<Labels<2>, Counter>,
    seconds: Family<Labels<1>, Histogram, Bounds>,
    retries: Family<Labels<1>, Counter>,
    wanted: Family<Labels<1>, Gauge>,
    connected: Family<Labels<1>, Gauge>,
    heard: Family<Labels<1>, Gauge>,
    lists: Family<Labels<2>, Counter>,
    list_seconds: Family<Labels<1>, Histogram, Bounds>,
    listed: Family<Labels<1>, Gauge>,
    undecodable: Gauge,
    secrets: Gauge,
    synced: Gauge,
    held: Family<Labels<1>, Gauge>,
    leader: Gauge,
    holder: Family<[(&'static str, String); 1], Gauge>,
    statuses: Gauge,
}

/// What core says about the cluster, as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether the first complete lists were there.
    pub synced: bool,
    /// Objects that lists did not have and that are served on, by kind.
    pub held: BTreeMap<Kind, usize>,
    /// Whether this replica writes to the API server.
    pub leader: bool,
    /// Who holds the Lease, as last seen; `None` without an election, or while nobody does.
    pub holder: Option<String>,
    /// Ingresses of ours whose status is not what it should be.
    pub statuses_pending: usize,
}

impl Default for Meters {
    fn default() -> Self {
        Meters {
            requests: Family::default(),
            seconds: Family::new_with_constructor(Bounds(&REQUEST)),
            retries: Family::default(),
            wanted: Family::default(),
            connected: Family::default(),
            heard: Family::default(),
            lists: Family::default(),
            list_seconds: Family::new_with_constructor(Bounds(&REQUEST)),
            listed: Family::default(),
            undecodable: Gauge::default(),
            secrets: Gauge::default(),
            synced: Gauge::default(),
            held: Family::default(),
            leader: Gauge::default(),
            holder: Family::default(),
            statuses: Gauge::default(),
        }
    }
}

impl Meters {
    /// Shows them.
    pub(crate) fn register(&self, metrics: &mut Metrics) {
        let about = "Requests to the API server, by verb and outcome (ok, the status, unreachable, \
                     broken, silent)";
        metrics.add("api_requests", "counter", "verb, outcome", about, self.requests.clone());
        let about = "Seconds from a request to the API server to the head of its answer";
        metrics.add("api_request_seconds", "histogram", "verb", about, self.seconds.clone());
        let about = "Requests that were sent again, by verb; watches and lists are not among them";
        metrics.add("api_retries", "counter", "verb", about, self.retries.clone());
        let about = "Watches there should be, by kind: one for each namespace, or one for all";
        metrics.add("watch_wanted", "gauge", "kind", about, self.wanted.clone());
        let about = "Watches that are open, by kind. Less than tidegate_watch_wanted for long means \
                     that changes are not seen";
        metrics.add("watch_connected", "gauge", "kind", about, self.connected.clone());
        let about = "When a watch of the kind last said anything, bookmarks included, in seconds \
                     since 1970; they come about once a minute";
        metrics.add("watch_heard_timestamp_seconds", "gauge", "kind", about, self.heard.clone());
        let about = "Complete lists, by kind and reason (start; gone: the version was too old; \
                     went-back: the store was restored or replaced; asked: objects are held)";
        metrics.add("lists", "counter", "kind, reason", about, self.lists.clone());
        let about = "Seconds that a complete list took";
        metrics.add("list_seconds", "histogram", "kind", about, self.list_seconds.clone());
        let about = "Objects of the last complete list, by kind; of Secrets, all that there are";
        metrics.add("list_objects", "gauge", "kind", about, self.listed.clone());
        let about =
            "Objects of the API server that cannot be decoded and so keep their last version";
        metrics.add("undecodable_objects", "gauge", "", about, self.undecodable.clone());
        let about = "Secrets that are followed because something refers to them";
        metrics.add("followed_secrets", "gauge", "", about, self.secrets.clone());
        self.register_standing(metrics);
    }

    fn register_standing(&self, metrics: &mut Metrics) {
        let about = "1 once the first complete lists were there; 0 while HAProxy serves the files of \
                     before, or nothing";
        metrics.add("synced", "gauge", "", about, self.synced.clone());
        let about = "Objects that a complete list did not have and that are served on (see \
                     --absence-hold and accept-deletions), by kind";
        metrics.add("held_objects", "gauge", "kind", about, self.held.clone());
        let about = "1 while this replica is the one that writes to the API server";
        metrics.add("leader", "gauge", "", about, self.leader.clone());
        let about = "Always 1; the label says who holds the Lease, as this replica last saw it";
        metrics.add("lease_holder", "gauge", "holder", about, self.holder.clone());
        let about = "Ingresses whose status is not what it should be; the leader writes it";
        metrics.add("statuses_pending", "gauge", "", about, self.statuses.clone());
    }

    /// What core says now.
    pub fn stands(&self, standing: &Standing) {
        let Standing { synced, held, leader, holder, statuses_pending } = standing;
        self.synced.set(i64::from(*synced));
        // Two versions of an API have kinds of one name.
        let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
        for kind in Kind::ALL {
            *counts.entry(kind.name()).or_default() += held.get(&kind).copied().unwrap_or(0);
        }
        for (kind, count) in counts {
            let gauge = self.held.get_or_create(&[("kind", kind)]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.leader.set(i64::from(*leader));
        self.holder.clear();
        if let Some(holder) = holder {
            self.holder.get_or_create(&[("holder", holder.clone())]).set(1);
        }
        self.statuses.set(i64::try_from(*statuses_pending).unwrap_or(i64::MAX));
    }

    /// A request was answered or not.
    pub fn requested(&self, verb: &'static str, outcome: &'static str, took: Duration) {
        self.requests.get_or_create(&[("verb", verb), ("outcome", outcome)]).inc();
        self.seconds.get_or_create(&[("verb", verb)]).observe(took.as_secs_f64());
    }

    /// A request is sent again.
    pub fn retried(&self, verb: &'static str) {
        self.retries.get_or_create(&[("verb", verb)]).inc();
    }

    /// There is to be one more watch of a kind, or one less.
    pub fn wanted(&self, kind: Kind, more: bool) {
        let gauge = self.wanted.get_or_create(&[("kind", kind.name())]);
        if more {
            gauge.inc()
        } else {
            gauge.dec()
        };
        drop(self.connected.get_or_create(&[("kind", kind.name())]));
    }

    /// A watch of a kind opened or ended.
    pub fn connected(&self, kind: Kind, open: bool) {
        let gauge = self.connected.get_or_create(&[("kind", kind.name())]);
        if open {
            gauge.inc()
        } else {
            gauge.dec()
        };
    }

    /// A watch said something.
    pub fn heard(&self, kind: Kind, unix_s: u64) {
        let at = i64::try_from(unix_s).unwrap_or(i64::MAX);
        self.heard.get_or_create(&[("kind", kind.name())]).set(at);
    }

    /// A list is complete.
    pub fn listed(&self, kind: Kind, reason: &'static str, objects: usize, took: Duration) {
        self.lists.get_or_create(&[("kind", kind.name()), ("reason", reason)]).inc();
        self.list_seconds.get_or_create(&[("kind", kind.name())]).observe(took.as_secs_f64());
        let objects = i64::try_from(objects).unwrap_or(i64::MAX);
        self.listed.get_or_create(&[("kind", kind.name())]).set(objects);
    }

    /// So many objects cannot be decoded.
    pub fn undecodable(&self, count: usize) {
        self.undecodable.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// So many Secrets are followed.
    pub fn following(&self, count: usize) {
        self.secrets.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
