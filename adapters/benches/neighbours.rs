//! One bad object of each kind, among which the changes of others are measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::{Report, at, rounded, spread};
use crate::manifests::{ingress, service, slice};
use crate::observe::{keep_asking, prober};
use crate::{Fleet, wait_until};

/// Rounds without and with them, in turn.
const ROUNDS: usize = 3;

/// Names of their files, and what they hold. `good` is a Service that works.
fn bad(good: &str) -> Vec<(&'static str, String)> {
    let with = |name: &str, key: &str, value: &str| {
        ingress(name, &format!("{name}.example.com"), good, &[(key, value)])
    };
    let tls = |name: &str| {
        let text = ingress(name, &format!("{name}.example.com"), good, &[]);
        let hosts = format!("  tls:\n  - hosts: [{name}.example.com]\n    secretName: {name}\n");
        text.replace("  rules:\n", &format!("{hosts}  rules:\n"))
    };
    let torn = "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: torn\n  namespace: fleet\n\
                type: kubernetes.io/tls\nstringData:\n  tls.crt: none\n  tls.key: none\n";
    let long = "x".repeat(60_000);
    vec![
        ("bad-regex", with("bad-regex", "path-rewrite", "/[z-a]/(.*) /\\1")),
        ("bad-value", with("bad-value", "allow-list", "203.0.113.1 not-a-network")),
        ("bad-key", with("bad-key", "no-such-key", "1")),
        ("bad-users", with("bad-users", "auth-secret", "no-such-secret")),
        ("bad-length", with("bad-length", "request-set-header", &format!("X-Long {long}"))),
        ("no-service", ingress("no-service", "no-service.example.com", "nobody", &[])),
        ("torn", tls("torn") + torn),
        ("no-secret", tls("no-secret")),
        ("thief", ingress("z-thief", "move.example.com", good, &[])),
        ("empty", service("empty", &[]) + &slice("empty", &[], 80)),
        ("to-empty", ingress("to-empty", "to-empty.example.com", "empty", &[])),
        ("torn-file", "apiVersion: v1\nkind: [Service\n  metadata: }\n".to_owned()),
    ]
}

/// Changes of endpoints and of a route under load, `changes` in each round, without and with a bad
/// object of each kind; what was lost, and the ratio of the 99th percentiles.
pub fn measure(fleet: &mut Fleet, changes: usize, report: &mut Report) {
    let bad = bad(&crate::small_name(crate::PROBES + 2));
    let (mut without, mut with, mut lost) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        without.extend(round(fleet, changes, &mut lost));
        for (name, text) in &bad {
            fleet.folder.put(name, text);
        }
        thread::sleep(Duration::from_secs(2));
        with.extend(round(fleet, changes, &mut lost));
        for (name, _) in &bad {
            fleet.folder.remove(name);
        }
        thread::sleep(Duration::from_secs(2));
    }
    let p99 = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        at(&values, 0.99)
    };
    let ratio = p99(&with) / p99(&without);
    let mut figures = spread(with);
    figures["p99, of that without"] = json!(rounded(ratio));
    figures["answers other than 200"] = json!(lost);
    figures["bad objects"] = json!(bad.len());
    report.add("endpoint change beside bad objects, file to first right answer, ms", figures);
    report.add("endpoint change in turn without them, ms", spread(without));
}

fn round(fleet: &mut Fleet, changes: usize, lost: &mut u64) -> Vec<f64> {
    let (stop, good) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (is_over, answered, port) = (stop.clone(), good.clone(), fleet.http);
    let load = thread::spawn(move || keep_asking(port, &is_over, &answered));
    let (sender, seen) = prober(fleet.http);
    let begin = Instant::now();
    for change in 0..changes {
        wait_until(begin + Duration::from_millis(change as u64 * 20));
        if change % 5 == 0 {
            fleet.move_route();
        }
        let _ = sender.send(fleet.change_probe(change));
    }
    drop(sender);
    let seen = seen.join().unwrap().into_iter().map(|(_, took)| took).collect();
    stop.store(true, Ordering::Relaxed);
    *lost += load.join().unwrap().values().sum::<u64>();
    assert!(good.load(Ordering::Relaxed) > 0, "nothing was asked");
    seen
}
