//! The system's clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::ports::Clock;

/// Monotonic time since its own creation, and the wall clock.
#[derive(Debug)]
pub struct OsClock {
    start: Instant,
}

impl Default for OsClock {
    fn default() -> Self {
        OsClock { start: Instant::now() }
    }
}

impl Clock for OsClock {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn unix_s(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}
