//! Promises about what is told to the API server.

use crate::cluster::{Case, Cluster, Happening, Way};
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

/// L9: a status whose write neither arrived nor was answered is written again within 20 s of being
/// cut off for some seconds, by who goes on leading. A minute later it would be anyway, as one that
/// the watch does not confirm, so only the time tells the two apart.
///
/// # Errors
/// The Ingress whose status is wrong.
pub fn lost_status_is_written_again() -> Verdict {
    let happenings = vec![
        Happening::Publish(Some(1)),
        Happening::Start(0),
        Happening::Pass(3_000),
        Happening::Put(1),
        // On its way, and told before the first write of its status is.
        Happening::Pass(400),
        Happening::Cut(0, true),
        Happening::Pass(5_500),
        Happening::Cut(0, false),
        Happening::Pass(20_000),
    ];
    let ways = vec![Way { there: 10, back: 10 }];
    let case = Case { skews: [0; 3], lags: [500; 3], ways, happenings };
    let mut cluster = Cluster::new(&case);
    for happening in &case.happenings {
        cluster.happen(happening)?;
    }
    cluster.is_right()
}
