//! What happens to the replicas and their API server, drawn at random.

use proptest::prelude::*;

use super::REPLICAS;

/// What becomes of one request, in milliseconds; beyond `GIVE_UP_MS` it is lost.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Until it arrives.
    pub there: u16,
    /// Until the answer arrives.
    pub back: u16,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Happening {
    /// Time passes.
    Pass(u16),
    /// A replica starts, if it does not run.
    Start(usize),
    /// It is killed.
    Kill(usize),
    /// It is asked to end.
    Stop(usize),
    /// It no longer reaches the API server, or does again.
    Cut(usize, bool),
    /// It is not scheduled, or is again.
    Freeze(usize, bool),
    /// It goes on from its checkpoint.
    Restore(usize),
    /// An Ingress is made, or its spec changes.
    Put(u8),
    /// An Ingress is deleted.
    Delete(u8),
    /// Somebody else writes the status of an Ingress.
    Overwrite(u8, u8),
    /// The Service that is published gets another address, or none.
    Publish(Option<u8>),
}

/// A history.
#[derive(Clone, Debug)]
pub struct Case {
    /// What each replica's clock is ahead of the first one's, in milliseconds.
    pub skews: [u32; REPLICAS],
    /// How late the watch of each is, in milliseconds.
    pub lags: [u16; REPLICAS],
    /// What becomes of requests, one after the other and over again.
    pub ways: Vec<Way>,
    /// What happens.
    pub happenings: Vec<Happening>,
}

/// Histories.
pub fn case() -> impl Strategy<Value = Case> {
    let replica = 0..REPLICAS;
    let way = prop_oneof![
        6 => (0_u16..300, 0_u16..300),
        2 => (0_u16..5_000, 0_u16..5_000),
        1 => (5_000_u16..9_000, Just(0_u16)),
        1 => (0_u16..100, 5_000_u16..9_000),
    ];
    let way = way.prop_map(|(there, back)| Way { there, back });
    let happening = prop_oneof![
        6 => (1_u16..6_000).prop_map(Happening::Pass),
        2 => (10_000_u16..40_000).prop_map(Happening::Pass),
        3 => replica.clone().prop_map(Happening::Start),
        1 => replica.clone().prop_map(Happening::Kill),
        1 => replica.clone().prop_map(Happening::Stop),
        2 => (replica.clone(), any::<bool>()).prop_map(|(r, on)| Happening::Cut(r, on)),
        2 => (replica.clone(), any::<bool>()).prop_map(|(r, on)| Happening::Freeze(r, on)),
        1 => replica.prop_map(Happening::Restore),
        4 => (0_u8..8).prop_map(Happening::Put),
        1 => (0_u8..8).prop_map(Happening::Delete),
        2 => (0_u8..8, 0_u8..4).prop_map(|(n, a)| Happening::Overwrite(n, a)),
        2 => proptest::option::weighted(0.8, 0_u8..4).prop_map(Happening::Publish),
    ];
    let skews = prop::array::uniform3(0_u32..3_600_000);
    let lags = prop::array::uniform3(0_u16..2_000);
    let ways = prop::collection::vec(way, 1..24);
    (skews, lags, ways, prop::collection::vec(happening, 5..60))
        .prop_map(|(skews, lags, ways, happenings)| Case { skews, lags, ways, happenings })
}
