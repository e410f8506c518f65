//! What a run amounts to.

use std::collections::{BTreeMap, BTreeSet};

use crate::swarm::judge::Broken;

/// What a run amounts to.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    /// The first promise that does not hold.
    pub broken: Option<Broken>,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Runtime commands carried out.
    pub commands: u64,
    /// Reloads.
    pub reloads: u64,
    /// Writes to the API server: status, Events, Leases.
    pub writes: BTreeMap<&'static str, u64>,
    /// Lives of tidegate.
    pub lives: u64,
    /// Steps of the controller, as replayed from its journals.
    pub steps: u64,
    /// Hash over every step of every life: what went in and what came out.
    pub chain: u128,
    /// Host-milliseconds in which a request's fate was judged, and all.
    pub judged: (u64, u64),
    /// Situations that were reached, and how often.
    pub sometimes: BTreeMap<&'static str, u64>,
    /// (fault, phase, promise judged meanwhile).
    pub cells: BTreeSet<(&'static str, &'static str, &'static str)>,
    /// What happened, for people: time, row, words.
    pub trace: Vec<(u64, &'static str, String)>,
}
