//! While we stop: which connections are left, for the metric and the log.
//!
//! Inputs: HAProxy's master socket, asked once a second. Outputs: `tidegate_draining_connections`,
//! and at the end a line of log for what is cut. Not here: the stop itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::haproxy::leftover;
use crate::metrics::Metrics;
use crate::ports::{Endpoint, Net};

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// A drain that is being watched. Dropping it ends the watching.
pub struct Drain {
    left: Arc<Mutex<BTreeMap<String, u64>>>,
    task: JoinHandle<()>,
}

impl Drain {
    /// Watches until it is told to end. Without a master socket nothing is known.
    #[must_use]
    pub fn begin(net: Arc<dyn Net>, master: Option<Endpoint>, metrics: Arc<Metrics>) -> Drain {
        let left: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
        let shared = Arc::clone(&left);
        let task = tokio::spawn(async move {
            let Some(master) = master else { return };
            loop {
                if let Ok(sessions) = leftover::sessions(&*net, &master).await {
                    metrics.draining(&sessions);
                    *shared.lock() = sessions;
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        Drain { left, task }
    }

    /// Ends it. Says what was left at the last look, if HAProxy had to be stopped with it.
    pub fn end(&self, was_cut: bool) {
        self.task.abort();
        let left = self.left.lock();
        let count: u64 = left.values().sum();
        if was_cut && count > 0 {
            let names: Vec<String> =
                left.iter().map(|(name, count)| format!("{name}: {count}")).collect();
            tracing::warn!(connections = count, backends = names.join(", "), "cut at the end");
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.task.abort();
    }
}
