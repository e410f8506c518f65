//! A controller as a step left it, shared by all states in which it has not been stepped since.

use std::hash::Hash as _;
use std::sync::Arc;

use tidegate_core::action::Lane;
use tidegate_core::controller::{Controller, Step};
use tidegate_core::event::Event;
use tidegate_core::time::{Time, WakeAt};

use super::flight::Flight;
use super::world::View;
use crate::hash::Hash128;

/// A controller as its last step left it.
pub(super) struct Stepped {
    pub(super) controller: Controller,
    pub(super) now: Time,
    pub(super) wake: Option<WakeAt>,
    /// Whether nothing is open or waited for, as far as it knows.
    pub(super) is_quiet: bool,
    /// Hash of what decides what it does next.
    pub(super) hash: u128,
}

impl Stepped {
    pub(super) fn new(controller: Controller, now: Time, wake: Option<WakeAt>) -> Stepped {
        let mut hasher = Hash128::default();
        controller.fingerprint(&mut hasher);
        wake.map(|w| (w.at.since_ms(now), w.reason as u8)).hash(&mut hasher);
        let is_quiet = wake.is_none() && controller.is_quiet();
        Stepped { controller, now, wake, is_quiet, hash: hasher.finish128() }
    }
}

/// What a step leads to: the controller after it, and what it sent to HAProxy and the disk.
pub(super) struct Led {
    pub(super) to: Arc<Stepped>,
    pub(super) sent: Vec<(Lane, Arc<Flight>)>,
}

impl Led {
    /// Steps a controller that then was told everything of a view.
    pub(super) fn by(mut controller: Controller, now: Time, events: Vec<Event>, view: View) -> Led {
        let Step { actions, wake_at, .. } = controller.step(now, events);
        let sent = actions.into_iter().filter_map(|action| {
            let lane = action.body.lane();
            let counts = matches!(lane, Lane::Runtime | Lane::Files);
            counts.then(|| (lane, Arc::new(Flight::sent(action, view))))
        });
        let sent = sent.collect();
        Led { to: Arc::new(Stepped::new(controller, now, wake_at)), sent }
    }
}
