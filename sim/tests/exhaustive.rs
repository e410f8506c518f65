//! Exhaustive in the small, on each tier.

use tidegate_core::capability::Capabilities;
use tidegate_sim::small::explore::{Plan, explore};
use tidegate_sim::small::state::Budget;

#[test]
fn t() {
    let n = |name: &str, or: usize| std::env::var(name).ok().and_then(|t| t.parse().ok()).unwrap_or(or);
    let plan = Plan {
        capabilities: match n("TIER", 0) { 0 => Capabilities::tier_a(), 1 => Capabilities::tier_b(), _ => Capabilities::tier_c() },
        budget: Budget { changes: n("CH", 1) as u8, losses: n("LO", 1) as u8, crashes: n("CR", 1) as u8 },
        states_max: n("MAX", 1_000_000),
        threads: n("TH", 1),
    };
    let begin = std::time::Instant::now();
    let out = explore(&plan, |r| eprintln!("{} {} {:?}", r.depth, r.states, begin.elapsed()));
    match out {
        Ok(r) => eprintln!("{r:?} {:?}", begin.elapsed()),
        Err(f) => panic!("{f}"),
    }
}
