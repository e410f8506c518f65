//! Promises about what is told to the API server.

use crate::cluster::{Case, Cluster};
use crate::run::Verdict;

/// S17, S18, L9 and S13 for any history of replicas and their API server:
///
/// - what arrives at the API server comes from whoever holds the Lease then;
/// - no foreign Ingress is written;
/// - once faults end, every status becomes right, though one is refused for good;
/// - no status is changed more often than something happened that asked for it;
/// - once all is right, nothing is written.
///
/// # Errors
/// The promise that was broken.
pub fn one_writer(case: &Case) -> Verdict {
    let mut cluster = Cluster::new(case);
    for happening in &case.happenings {
        cluster.happen(happening)?;
    }
    cluster.heal()?;
    // The term of whoever had it, and the pauses of the last failures.
    cluster.pass(40_000)?;
    cluster.is_right()?;
    if cluster.leaders() != 1 {
        return Err(format!("S17: {} leaders in the end", cluster.leaders()));
    }
    if cluster.effective_writes > cluster.changes {
        let (writes, changes) = (cluster.effective_writes, cluster.changes);
        return Err(format!("S18: {writes} writes for {changes} changes"));
    }
    let before = cluster.asked;
    cluster.pass(600_000)?;
    if cluster.asked > before {
        return Err(format!("S13: {} statuses for nothing", cluster.asked - before));
    }
    Ok(())
}
