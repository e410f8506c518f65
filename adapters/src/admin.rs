//! The admin address: health, readiness, metrics, problems and counts over HTTP, for probes,
//! Prometheus and people.
//!
//! Inputs: a [`Status`] that the run loop keeps current, the metrics. Outputs: answers to `GET`.
//! Not here: anything that changes something; there is no way to give an order over HTTP.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use parking_lot::Mutex;
use serde::Serialize;
use tidegate_core::problem::{Problem, Severity};

use crate::metrics::{Metrics, Sizes};
use crate::ports::{BoxIo, Files, Listener};
use crate::relay::Relay;

/// Whether traffic should be sent here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet, and why.
    Waiting(String),
    /// Yes: HAProxy serves a complete table.
    Serving,
    /// Yes: HAProxy serves the complete table that a process before this one saved, and why not a
    /// newer one.
    ServingFiles(String),
    /// No longer: we are stopping, and what arrives is still served for a while.
    Draining,
}

/// What the admin address tells, kept current by the run loop. All methods are cheap.
#[derive(Debug)]
pub struct Status {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    readiness: Readiness,
    problems: BTreeSet<Problem>,
    counts: Counts,
}

/// Counts for `/debug/state`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// How much there is.
    pub sizes: Sizes,
    /// Version of HAProxy; empty before it was found.
    pub haproxy: String,
    /// Number of the worker that serves, counted since our start.
    pub worker: Option<u64>,
    /// Whether what runs is what is wanted and nothing is under way.
    pub quiet: bool,
    /// What may differ between wanted and running.
    pub unsettled: u64,
    /// Milliseconds since our start at the last step.
    pub stepped_at_ms: u64,
}

impl Default for Status {
    fn default() -> Self {
        Status::new()
    }
}

impl Status {
    /// Waiting, without problems.
    #[must_use]
    pub fn new() -> Status {
        let readiness = Readiness::Waiting("starting".to_owned());
        let inner = Inner { readiness, problems: BTreeSet::new(), counts: Counts::default() };
        Status { inner: Mutex::new(inner) }
    }

    /// Whether traffic should be sent here.
    pub fn set_readiness(&self, readiness: Readiness) {
        self.inner.lock().readiness = readiness;
    }

    /// What was last set.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.inner.lock().readiness.clone()
    }

    /// Problems appeared and went away.
    pub fn problems_changed(&self, opened: &[Problem], closed: &[Problem]) {
        let mut inner = self.inner.lock();
        for problem in closed {
            inner.problems.remove(problem);
        }
        inner.problems.extend(opened.iter().cloned());
    }

    /// The counts of `/debug/state`.
    pub fn set_counts(&self, counts: Counts) {
        self.inner.lock().counts = counts;
    }
}

/// A problem for machines; also what `--output json` prints.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ProblemView {
    kind: &'static str,
    namespace: String,
    name: String,
    field: String,
    reason: &'static str,
    severity: &'static str,
    what: String,
    instead: String,
    fix: String,
}

impl From<&Problem> for ProblemView {
    fn from(problem: &Problem) -> ProblemView {
        let Problem { object, field, reason, severity, what, instead, fix } = problem;
        ProblemView {
            kind: object.kind.name(),
            namespace: object.name.namespace.to_string(),
            name: object.name.name.to_string(),
            field: field.to_string(),
            reason: reason.as_str(),
            severity: match severity {
                Severity::Warning => "warning",
                Severity::Error => "error",
                Severity::Info => "info",
            },
            what: what.clone(),
            instead: instead.clone(),
            fix: fix.clone(),
        }
    }
}

#[derive(Clone)]
struct Shared {
    status: Arc<Status>,
    metrics: Arc<Metrics>,
    files: Arc<dyn Files>,
    haproxy: Relay,
}

/// Answers on a listener; ends only with an error of the runtime.
///
/// # Errors
/// Those of the HTTP server.
pub async fn serve(
    listener: Box<dyn Listener>,
    status: Arc<Status>,
    metrics: Arc<Metrics>,
    files: Arc<dyn Files>,
    haproxy: Relay,
) -> io::Result<()> {
    axum::serve(Accept(listener), router(Shared { status, metrics, files, haproxy })).await
}

const INDEX: &str = "/healthz /readyz /metrics /metrics/haproxy /problems /debug/state\n";

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/metrics/haproxy", get(haproxy))
        .route("/problems", get(problems))
        .route("/debug/state", get(state))
        .route("/", get(|| async { INDEX }))
        .with_state(shared)
}

async fn ready(State(shared): State<Shared>) -> impl IntoResponse {
    match shared.status.readiness() {
        Readiness::Serving => (StatusCode::OK, "ok\n".to_owned()),
        Readiness::ServingFiles(why) => (StatusCode::OK, format!("ok, but {why}\n")),
        Readiness::Waiting(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
    }
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    if let Ok(text) = shared.files.read(Path::new("/proc/self/status")) {
        shared.metrics.resident_from(&String::from_utf8_lossy(&text));
    }
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, form)], shared.metrics.text())
}

/// HAProxy listens for scrapers on loopback only; here they reach it with one port for everything.
async fn haproxy(State(shared): State<Shared>, RawQuery(query): RawQuery) -> impl IntoResponse {
    match shared.haproxy.metrics(query.as_deref()).await {
        Ok(text) => {
            let form = "text/plain; version=0.0.4";
            (StatusCode::OK, [(header::CONTENT_TYPE, form)], text)
        }
        Err(error) => {
            let words = format!("HAProxy's metrics cannot be had: {error}\n");
            let form = "text/plain; charset=utf-8";
            (StatusCode::BAD_GATEWAY, [(header::CONTENT_TYPE, form)], words.into_bytes())
        }
    }
}

async fn problems(State(shared): State<Shared>) -> impl IntoResponse {
    let problems = shared.status.inner.lock().problems.clone();
    Json(problems.iter().map(ProblemView::from).collect::<Vec<_>>())
}

async fn state(State(shared): State<Shared>) -> impl IntoResponse {
    let (counts, problems) = {
        let inner = shared.status.inner.lock();
        (inner.counts.clone(), inner.problems.len())
    };
    Json(serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "readiness": format!("{:?}", shared.status.readiness()),
        "problems": problems,
        "counts": counts,
    }))
}

/// Our listener as the HTTP server wants it.
struct Accept(Box<dyn Listener>);

impl axum::serve::Listener for Accept {
    type Io = BoxIo;
    type Addr = ();

    async fn accept(&mut self) -> (BoxIo, ()) {
        loop {
            match self.0.accept().await {
                Ok(io) => return (io, ()),
                Err(error) => {
                    // Out of descriptors, or the peer is gone: neither is repaired by haste.
                    tracing::warn!(%error, "admin address cannot accept");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{Endpoint, Net as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn ask(port: u16, path: &str) -> String {
        let net = crate::os::net::OsNet;
        let mut io = net.dial(&Endpoint::Tcp("127.0.0.1".into(), port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        io.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_is_honest() {
        let net = crate::os::net::OsNet;
        let listener = net.listen(&Endpoint::Tcp("127.0.0.1".into(), 0)).await.unwrap();
        let port = listener.port().unwrap();
        let status = Arc::new(Status::new());
        let files = Arc::new(crate::os::files::OsFiles);
        let haproxy = Relay::new(Arc::new(net), Path::new("/nonexistent"));
        let server = serve(listener, status.clone(), Arc::new(Metrics::new()), files, haproxy);
        let server = tokio::spawn(server);
        assert!(ask(port, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(ask(port, "/readyz").await.starts_with("HTTP/1.1 503"));
        status.set_readiness(Readiness::Serving);
        assert!(ask(port, "/readyz").await.starts_with("HTTP/1.1 200"));
        status.set_readiness(Readiness::Draining);
        assert!(ask(port, "/readyz").await.starts_with("HTTP/1.1 503"));
        assert!(ask(port, "/problems").await.ends_with("[]"));
        assert!(ask(port, "/debug/state").await.contains("\"sizes\""));
        let metrics = ask(port, "/metrics").await;
        assert!(metrics.contains("tidegate_process_resident_memory_bytes "), "{metrics}");
        assert!(ask(port, "/metrics/haproxy").await.starts_with("HTTP/1.1 502"));
        server.abort();
    }
}
