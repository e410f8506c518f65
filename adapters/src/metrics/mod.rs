//! Metrics: what the operator can count, in the Prometheus text format.
//!
//! Inputs: small calls from the run loop, one per fact. Outputs: [`Metrics::text`] for a scrape,
//! [`reference`] for `docs/metrics.md`. Not here: when something counts; the run loop decides that.
//! HAProxy's own metrics (requests, sessions) come from HAProxy's exporter.

mod labels;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use tidegate_core::event::{Event, Outcome};
use tidegate_core::problem::{Problem, Severity};
use tidegate_core::world::object::Kind;

use crate::auth;
use crate::kube::Meters;
use crate::sabotage::{Mistake, is_planted};
pub use labels::{Asked, command_label};
use labels::{event_label, outcome_label};

/// Bounds of the propagation histogram, in seconds.
const PROPAGATION: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Bounds of the histogram of steps, in seconds.
const STEP: [f64; 12] = [1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0, 5.0];

/// Labels of the reasons for reloads: those of [`ReloadReason::label`].
const RELOAD_REASONS: [&str; 7] = [
    "first-start",
    "static-part",
    "new-backend",
    "slots-exhausted",
    "bulk",
    "refused",
    "new-snippet",
];

/// Backends with connections left that are named while we stop.
const DRAINING_MAX: usize = 50;

/// Label names with their values.
pub(crate) type Labels<const N: usize> = [(&'static str, &'static str); N];

/// A histogram with fixed bounds, for families.
#[derive(Clone)]
pub(crate) struct Bounds(pub(crate) &'static [f64]);

impl MetricConstructor<Histogram> for Bounds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// One line of the reference.
struct Row {
    name: String,
    kind: &'static str,
    labels: &'static str,
    about: &'static str,
}

/// Every metric.
pub struct Metrics {
    registry: Registry,
    rows: Vec<Row>,
    reloads: Family<Labels<2>, Counter>,
    reloads_held: Counter,
    propagation: Family<Labels<1>, Histogram, Bounds>,
    actions: Family<Labels<2>, Counter>,
    problems: Family<Labels<2>, Gauge>,
    events: Family<Labels<1>, Counter>,
    step: Histogram,
    journal_bytes: Gauge,
    journal_segments: Gauge,
    journal_lossy: Gauge,
    journal_stopped: Gauge,
    objects: Family<Labels<1>, Gauge>,
    routes: Gauge,
    backends: Gauge,
    servers: Gauge,
    ready: Gauge,
    draining: Family<[(&'static str, String); 1], Gauge>,
    worker_changes: Counter,
    unsaved: Gauge<f64, AtomicU64>,
    audits: Counter,
    audit_differences: Counter,
    resident: Gauge,
    started: Gauge<f64, AtomicU64>,
    cluster: Meters,
    passwords: auth::Meters,
}

/// What the journal says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalState {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Number of segments.
    pub segments: u64,
    /// Whether entries were lost, as the disk did not keep up.
    pub lossy: bool,
    /// Whether it stopped, such as for a full disk.
    pub stopped: bool,
}

/// How much there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sizes {
    /// Objects by kind.
    pub objects: BTreeMap<&'static str, u64>,
    /// Entries of the route table.
    pub routes: u64,
    /// Backends.
    pub backends: u64,
    /// Servers of all backends.
    pub servers: u64,
    /// Certificates in use.
    pub certificates: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// Every metric at zero. The build information is that of this package.
    #[must_use]
    pub fn new() -> Metrics {
        let propagation = Family::new_with_constructor(Bounds(&PROPAGATION));
        let mut metrics = Metrics {
            registry: Registry::with_prefix("tidegate"),
            rows: Vec::new(),
            reloads: Family::default(),
            reloads_held: Counter::default(),
            propagation,
            actions: Family::default(),
            problems: Family::default(),
            events: Family::default(),
            step: Histogram::new(STEP),
            journal_bytes: Gauge::default(),
            journal_segments: Gauge::default(),
            journal_lossy: Gauge::default(),
            journal_stopped: Gauge::default(),
            objects: Family::default(),
            routes: Gauge::default(),
            backends: Gauge::default(),
            servers: Gauge::default(),
            ready: Gauge::default(),
            draining: Family::default(),
            worker_changes: Counter::default(),
            unsaved: Gauge::default(),
            audits: Counter::default(),
            audit_differences: Counter::default(),
            resident: Gauge::default(),
            started: Gauge::default(),
            cluster: Meters::default(),
            passwords: auth::Meters::default(),
        };
        metrics.register_changes();
        metrics.register_state();
        metrics.cluster.clone().register(&mut metrics);
        metrics.passwords.clone().register(&mut metrics);
        metrics.register_process();
        // A counter that appears with its first reload would hide it from `increase()`.
        for reason in RELOAD_REASONS {
            drop(metrics.reloads.get_or_create(&[("reason", reason), ("outcome", "done")]));
        }
        metrics
    }

    fn register_changes(&mut self) {
        let reloads = "Reloads of HAProxy, and its start with the first files. A reload with several \
                       reasons counts once, under the first. Everything but first-start should stay at 0 on 3.4";
        self.add("reloads", "counter", "reason, outcome", reloads, self.reloads.clone());
        let held = "Reloads that had to wait for their turn, as changes caused too many in a minute \
                    (--reloads-per-minute)";
        self.add("reloads_held", "counter", "", held, self.reloads_held.clone());
        let propagation = "Seconds from the moment an object's change was seen to the moment \
                           HAProxy positively confirmed the last command for it, by kind";
        let family = self.propagation.clone();
        self.add("propagation_seconds", "histogram", "kind", propagation, family);
        let actions = "What HAProxy was asked for, by runtime command or action and by outcome \
                       (done, refused, unknown)";
        self.add("actions", "counter", "action, outcome", actions, self.actions.clone());
        let events = "Facts that arrived, by kind";
        self.add("events", "counter", "kind", events, self.events.clone());
        let step = "Seconds that one step of the core took";
        self.add("step_seconds", "histogram", "", step, self.step.clone());
        let changes = "Workers of HAProxy that came without a reload of ours: a crash, or somebody \
                       else's reload. The first one counts";
        self.add("worker_changes", "counter", "", changes, self.worker_changes.clone());
    }

    fn register_state(&mut self) {
        let problems = "Problems there are now: what is wrong with objects; /problems has them";
        self.add("problems", "gauge", "reason, severity", problems, self.problems.clone());
        self.add("objects", "gauge", "kind", "Objects known, by kind", self.objects.clone());
        self.add("routes", "gauge", "", "Entries of the route table", self.routes.clone());
        self.add("backends", "gauge", "", "Backends wanted", self.backends.clone());
        self.add("servers", "gauge", "", "Servers wanted, over all backends", self.servers.clone());
        let ready = "1 while /readyz says yes";
        self.add("ready", "gauge", "", ready, self.ready.clone());
        let draining = "Connections open in each backend while this instance is being stopped, the \
                        others summed up as others; looked at once a second";
        self.add("draining_connections", "gauge", "backend", draining, self.draining.clone());
        let unsaved = "Seconds for which the files, which a restarted HAProxy loads, have been \
                       behind what runs; 0 when they are not";
        self.add("unsaved_seconds", "gauge", "", unsaved, self.unsaved.clone());
        let audits = "Times that HAProxy's memory was read back and compared with what is wanted";
        self.add("audits", "counter", "", audits, self.audits.clone());
        let differences = "Differences that audits found without anybody having changed HAProxy \
                           from outside. Must stay at 0";
        self.add("audit_differences", "counter", "", differences, self.audit_differences.clone());
        let bytes = "Bytes of the journal on disk";
        self.add("journal_bytes", "gauge", "", bytes, self.journal_bytes.clone());
        let segments = "Segments of the journal on disk";
        self.add("journal_segments", "gauge", "", segments, self.journal_segments.clone());
        let lossy = "1 when the journal has a gap, as the disk did not keep up";
        self.add("journal_lossy", "gauge", "", lossy, self.journal_lossy.clone());
        let stopped = "1 when the journal stopped, such as for a full disk; serving goes on";
        self.add("journal_stopped", "gauge", "", stopped, self.journal_stopped.clone());
    }

    fn register_process(&mut self) {
        let build: Family<Labels<1>, Gauge> = Family::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        self.add("build_info", "gauge", "version", "Always 1; the label says which build", build);
        let resident = "Resident memory of this process, in bytes; HAProxy's is not in it";
        self.add("process_resident_memory_bytes", "gauge", "", resident, self.resident.clone());
        let started = "Start of this process, in seconds since 1970";
        self.add("process_start_time_seconds", "gauge", "", started, self.started.clone());
    }

    /// The counters of the verifier.
    #[must_use]
    pub fn passwords(&self) -> auth::Meters {
        self.passwords.clone()
    }

    /// The counters of the cluster adapter.
    #[must_use]
    pub fn cluster(&self) -> Meters {
        self.cluster.clone()
    }

    /// Shows a metric.
    pub(crate) fn add(
        &mut self,
        name: &'static str,
        kind: &'static str,
        labels: &'static str,
        about: &'static str,
        metric: impl Metric,
    ) {
        self.registry.register(name, about, metric);
        // The encoder adds the suffix that the format wants for counters.
        let suffix = if kind == "counter" { "_total" } else { "" };
        self.rows.push(Row { name: format!("tidegate_{name}{suffix}"), kind, labels, about });
    }

    /// The text of a scrape.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Events arrived.
    pub fn events_arrived(&self, events: &[Event]) {
        for event in events {
            self.events.get_or_create(&[("kind", event_label(event))]).inc();
        }
    }

    /// A step took so many seconds.
    pub fn stepped(&self, seconds: f64) {
        self.step.observe(seconds);
    }

    /// An action was answered. Runtime actions count by command.
    pub fn answered(&self, asked: &Asked, outcomes: &[Outcome]) {
        let count = |action, outcome, times| {
            let labels = [("action", action), ("outcome", outcome)];
            self.actions.get_or_create(&labels).inc_by(times);
        };
        let first = outcome_label(outcomes.first().unwrap_or(&Outcome::Unknown));
        match asked {
            Asked::Commands(commands) => {
                let outcomes = outcomes.iter().chain(std::iter::repeat(&Outcome::Unknown));
                let mut all = commands.iter().zip(outcomes.map(outcome_label)).peekable();
                // Most are like the one before them.
                while let Some(one) = all.next() {
                    let mut times = 1;
                    while all.next_if_eq(&one).is_some() {
                        times += 1;
                    }
                    count(one.0, one.1, times);
                }
            }
            Asked::Reload(reason) => {
                let first = if is_planted(Mistake::CountedAsDone) { "done" } else { first };
                count("reload", first, 1);
                let labels = [("reason", *reason), ("outcome", first)];
                self.reloads.get_or_create(&labels).inc();
            }
            Asked::Other(action) => count(action, first, 1),
        }
    }

    /// A change of an object of this kind took effect so many seconds after it was seen.
    pub fn propagated(&self, kind: Kind, seconds: f64) {
        self.propagation.get_or_create(&[("kind", kind.name())]).observe(seconds);
    }

    /// Problems appeared and went away.
    pub fn problems_changed(&self, opened: &[Problem], closed: &[Problem]) {
        let labels = |problem: &Problem| {
            let severity = match problem.severity {
                Severity::Warning => "warning",
                Severity::Error => "error",
                Severity::Info => "info",
            };
            [("reason", problem.reason.as_str()), ("severity", severity)]
        };
        for problem in opened {
            self.problems.get_or_create(&labels(problem)).inc();
        }
        for problem in closed {
            self.problems.get_or_create(&labels(problem)).dec();
        }
    }

    /// How much there is.
    pub fn sized(&self, sizes: &Sizes) {
        let Sizes { objects, routes, backends, servers, certificates: _ } = sizes;
        for (kind, count) in objects {
            self.objects.get_or_create(&[("kind", *kind)]).set(signed(*count));
        }
        self.routes.set(signed(*routes));
        self.backends.set(signed(*backends));
        self.servers.set(signed(*servers));
    }

    /// A reload has to wait for its turn.
    pub fn reload_held(&self) {
        self.reloads_held.inc();
    }

    /// A worker came that no reload of ours brought.
    pub fn worker_changed(&self) {
        self.worker_changes.inc();
    }

    /// The files have been behind what runs for so many seconds; 0 when they are not.
    pub fn unsaved_for(&self, seconds: f64) {
        self.unsaved.set(seconds);
    }

    /// An audit found so many differences that nobody else made.
    pub fn audited(&self, differences: u64) {
        self.audits.inc();
        self.audit_differences.inc_by(differences);
    }

    /// What the journal says of itself.
    pub fn journaled(&self, state: JournalState) {
        let JournalState { bytes, segments, lossy, stopped } = state;
        self.journal_bytes.set(signed(bytes));
        self.journal_segments.set(signed(segments));
        self.journal_lossy.set(i64::from(lossy));
        self.journal_stopped.set(i64::from(stopped));
    }

    /// While we stop: connections that are left, by backend.
    pub fn draining(&self, sessions: &BTreeMap<String, u64>) {
        let mut most: Vec<(&String, u64)> = sessions.iter().map(|(n, count)| (n, *count)).collect();
        most.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
        let others: u64 = most.iter().skip(DRAINING_MAX).map(|(_, count)| count).sum();
        self.draining.clear();
        for (name, count) in most.into_iter().take(DRAINING_MAX) {
            self.draining.get_or_create(&[("backend", name.clone())]).set(signed(count));
        }
        self.draining.get_or_create(&[("backend", "others".to_owned())]).set(signed(others));
    }

    /// Whether `/readyz` says yes.
    pub fn ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    /// The process was started so many seconds after 1970.
    pub fn started_at(&self, unix_s: u64) {
        #[expect(clippy::cast_precision_loss, reason = "seconds fit for millions of years")]
        self.started.set(unix_s as f64);
    }

    /// Takes the resident memory from the text of `/proc/self/status`.
    pub fn resident_from(&self, status: &str) {
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<i64>().ok());
        if let Some(kib) = kib {
            self.resident.set(kib.saturating_mul(1024));
        }
    }
}

/// The reference page: `docs/metrics.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         <!-- Generated from adapters/src/metrics/mod.rs by `BLESS=1 cargo test`. Do not edit. -->\n\n\
         At `/metrics` of the admin address, in the Prometheus text format. Requests, sessions and\n\
         response times are HAProxy's own: its exporter is at `/metrics` of the stats port, and at\n\
         `/metrics/haproxy` of the admin address.\n\n\
         | Name | Type | Labels | What it says |\n|---|---|---|---|\n",
    );
    for Row { name, kind, labels, about } in &Metrics::new().rows {
        let labels = if labels.is_empty() { "–" } else { labels };
        page.push_str(&format!("| `{name}` | {kind} | {labels} | {about} |\n"));
    }
    page
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::action::{ActionBody, RuntimeCommand};
    use tidegate_core::plan::remedy::ReloadReason;

    #[test]
    fn reference_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == reference(), "docs/metrics.md is stale: run with BLESS=1");
    }

    #[test]
    fn every_documented_name_is_scraped() {
        let metrics = Metrics::new();
        let text = metrics.text();
        // The others appear with their first sample.
        let always = |row: &&Row| row.labels.is_empty() || row.name == "tidegate_reloads_total";
        for row in metrics.rows.iter().filter(always) {
            let name = row.name.strip_suffix("_total").unwrap_or(&row.name);
            assert!(text.contains(&format!("# TYPE {name} {}\n", row.kind)), "{name}\n{text}");
        }
    }

    #[test]
    fn reload_reasons_are_the_cores() {
        let name = || Box::<str>::from("x");
        let all = [
            ReloadReason::FirstStart,
            ReloadReason::Skeleton(name()),
            ReloadReason::NewBackend(name()),
            ReloadReason::SlotsExhausted(name()),
            ReloadReason::Bulk(1),
            ReloadReason::Refused(name()),
            ReloadReason::NewSnippet(name()),
        ];
        assert_eq!(all.map(|reason| reason.label()), RELOAD_REASONS);
    }

    #[test]
    fn answers_count_by_command_and_outcome() {
        let metrics = Metrics::new();
        let worker = tidegate_core::event::WorkerId(1);
        let publish = || RuntimeCommand::PublishBackend { backend: "b".into() };
        let body = ActionBody::Runtime { worker, commands: vec![publish(), publish()] };
        metrics.answered(&Asked::of(&body), &[Outcome::Done]);
        let text = metrics.text();
        for outcome in ["done", "unknown"] {
            let labels = format!("{{action=\"publish-backend\",outcome=\"{outcome}\"}} 1");
            assert!(text.contains(&format!("tidegate_actions_total{labels}")), "{text}");
        }
    }
}
