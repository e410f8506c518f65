//! What the verifier counts. [`crate::metrics`] shows it. No list, user or route is a label.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::Answer;
use super::crypt::Kind;
use crate::metrics::{Bounds, Labels, Metrics};

/// Bounds of the time of one hash, in seconds.
const HASH: [f64; 10] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0];

/// The counters; clones share them.
#[derive(Clone)]
pub struct Meters {
    answers: Family<Labels<1>, Counter>,
    hash_seconds: Family<Labels<1>, Histogram, Bounds>,
    waiting: Gauge,
}

impl Default for Meters {
    fn default() -> Self {
        Meters {
            answers: Family::default(),
            hash_seconds: Family::new_with_constructor(Bounds(&HASH)),
            waiting: Gauge::default(),
        }
    }
}

impl Meters {
    /// Shows them.
    pub(crate) fn register(&self, metrics: &mut Metrics) {
        let about = "Users that HAProxy did not remember and asked about, by answer (yes; no: wrong \
                     password or no such user; busy: too many hashes wait; unknown: the Secret has \
                     not been read yet). Each busy and unknown was a 503";
        metrics.add("auth_answers", "counter", "answer", about, self.answers.clone());
        let about = "Seconds that a hash of a password took, by its kind";
        metrics.add("auth_hash_seconds", "histogram", "kind", about, self.hash_seconds.clone());
        let about = "Hashes of passwords that wait to be computed; at 256 users are turned away";
        metrics.add("auth_waiting", "gauge", "", about, self.waiting.clone());
    }

    pub(super) fn answered(&self, answer: Answer) {
        self.answers.get_or_create(&[("answer", answer.word())]).inc();
    }

    pub(super) fn computed(&self, kind: Kind, took: Duration) {
        self.hash_seconds.get_or_create(&[("kind", kind.name())]).observe(took.as_secs_f64());
    }

    pub(super) fn waiting(&self, count: usize) {
        self.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
