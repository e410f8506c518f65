//! Waiting between tries: doubling times with jitter from a seed, and a bucket of permits.
//!
//! Inputs: a seed, the monotonic time of tokio. Outputs: durations. Not here: what is tried.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Doubling waits with jitter. Equal seeds give equal waits.
#[derive(Clone, Debug)]
pub struct Backoff {
    state: u64,
    tries: u32,
    first: Duration,
}

impl Backoff {
    /// Waits that begin at `first`; `name` makes tasks of one seed differ.
    #[must_use]
    pub fn new(seed: u64, name: &str, first: Duration) -> Backoff {
        let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
        for byte in name.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Backoff { state, tries: 0, first }
    }

    /// The next wait: between half and the whole of the doubled time, at most `cap`.
    pub fn next(&mut self, cap: Duration) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.tries.min(16));
        self.tries = self.tries.saturating_add(1);
        let whole = doubled.min(cap);
        whole / 2 + self.jitter(whole / 2)
    }

    /// A time between zero and `max`.
    pub fn jitter(&mut self, max: Duration) -> Duration {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = (z ^ (z >> 31)) % 1024;
        max.mul_f64(share as f64 / 1024.0)
    }

    /// It worked: the next wait is a first one.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

/// Permits that come at a rate and can be saved up to a burst.
#[derive(Debug)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Bucket {
        let (per_second, burst) = (f64::from(per_second), f64::from(burst));
        Bucket { per_second, burst, state: Mutex::new((burst, Instant::now())) }
    }

    /// Waits for a permit. Those who ask first get it first, as every asker takes its turn on the
    /// account at once.
    pub async fn take(&self) {
        let debt = {
            let mut state = self.state.lock();
            let now = Instant::now();
            let gained = now.duration_since(state.1).as_secs_f64() * self.per_second;
            *state = ((state.0 + gained).min(self.burst) - 1.0, now);
            -state.0
        };
        if debt > 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(debt / self.per_second)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_are_seeded() {
        let cap = Duration::from_secs(1);
        let waits = |seed| {
            let mut backoff = Backoff::new(seed, "x", Duration::from_millis(50));
            (0..10).map(|_| backoff.next(cap)).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
        let waits = waits(3);
        assert!(waits[0] >= Duration::from_millis(25) && waits[0] <= Duration::from_millis(50));
        assert!(waits[9] >= cap / 2 && waits[9] <= cap);
    }

    #[tokio::test]
    async fn a_bucket_lets_a_burst_through_and_then_keeps_the_rate() {
        let bucket = Bucket::new(100, 5);
        let start = Instant::now();
        for _ in 0..25 {
            bucket.take().await;
        }
        assert!(start.elapsed() >= Duration::from_millis(190), "{:?}", start.elapsed());
    }
}
