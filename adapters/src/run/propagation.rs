//! How long changes take from being seen to verified effect.

use std::time::Instant;

use tidegate_core::event::Event;
use tidegate_core::world::object::Kind;

use crate::metrics::Metrics;

/// Changes seen and not yet in effect at most; beyond, the oldest count for the rest.
const PENDING_MAX: usize = 4096;

/// Changes that have been seen and are not in effect yet.
#[derive(Default)]
pub struct Propagation {
    pending: Vec<(Kind, Instant)>,
}

impl Propagation {
    /// Notes the changes of single objects; complete lists are starts, not changes.
    pub fn seen(&mut self, events: &[Event]) {
        let now = Instant::now();
        for event in events {
            let kind = match event {
                Event::Upserted(object) => object.kind(),
                Event::Deleted(object) => object.kind,
                _ => continue,
            };
            if self.pending.len() < PENDING_MAX {
                self.pending.push((kind, now));
            }
        }
    }

    /// Everything seen so far is in effect but what may be of the static part, which the controller's
    /// ConfigMap alone is by then.
    pub fn effective_but_static(&mut self, metrics: &Metrics) {
        self.pending.retain(|(kind, seen)| {
            let may_be_static = *kind == Kind::ConfigMap;
            if !may_be_static {
                metrics.propagated(*kind, seen.elapsed().as_secs_f64());
            }
            may_be_static
        });
    }

    /// Everything seen so far is in effect.
    pub fn effective(&mut self, metrics: &Metrics) {
        for (kind, seen) in self.pending.drain(..) {
            metrics.propagated(kind, seen.elapsed().as_secs_f64());
        }
    }
}
