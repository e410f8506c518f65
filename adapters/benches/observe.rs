//! The surroundings of the fleet: pods that answer, clients that watch, histograms from metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::PATIENCE;
use crate::common::{Client, get, ms};

/// Answers every request on every connection with the address that was asked.
pub fn serve_pods(port: u16) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("0.0.0.0", port)).await.unwrap();
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { continue };
            let Ok(local) = stream.local_addr() else { continue };
            let body = local.ip().to_string();
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
            tokio::spawn(async move {
                let mut piece = vec![0; 4096];
                let mut held = 0;
                while let Ok(count @ 1..) = stream.read(&mut piece[held..]).await {
                    held += count;
                    if piece[..held].ends_with(b"\r\n\r\n") {
                        held = 0;
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
}

/// A change that requests look for.
pub struct Probe {
    /// Which host to ask.
    pub host: String,
    /// The body of the right answer.
    pub wanted: String,
    /// When the change was written.
    pub written: Instant,
}

/// Asks for each change, on connections of its own, until the right answer comes: when the change
/// was written, and after how many milliseconds it was seen.
pub fn prober(port: u16) -> (mpsc::Sender<Probe>, thread::JoinHandle<Vec<(Instant, f64)>>) {
    let (sender, probes) = mpsc::channel::<Probe>();
    let seen = thread::spawn(move || {
        let mut seen = Vec::new();
        for Probe { host, wanted, written } in probes {
            loop {
                let answer = get(port, &host, "/").unwrap();
                if answer.status == 200 && answer.body == wanted {
                    break;
                }
                if written.elapsed() > PATIENCE {
                    eprintln!("{host} says {answer:?} instead of {wanted}");
                    break;
                }
            }
            seen.push((written, ms(written.elapsed())));
        }
        seen
    });
    (sender, seen)
}

/// Requests on one kept connection until told to stop; counts the answers other than 200.
pub fn keep_asking(port: u16, stop: &AtomicBool, good: &AtomicU64) -> BTreeMap<String, u64> {
    let mut other = BTreeMap::new();
    let mut client = Client::connect(port).unwrap();
    while !stop.load(Ordering::Relaxed) {
        match client.get("move.example.com", "/") {
            Ok(answer) if answer.status == 200 => {
                good.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => *other.entry(answer.status.to_string()).or_insert(0) += 1,
            Err(error) => {
                *other.entry(error.kind().to_string()).or_insert(0) += 1;
                client = Client::connect(port).unwrap();
            }
        }
    }
    other
}

/// Counts up to a bound in seconds, cumulative, by the bound's text.
#[derive(Clone, Debug, Default)]
pub struct Histogram(pub BTreeMap<String, u64>);

impl Histogram {
    /// What came after an earlier reading.
    pub fn since(&self, before: &Histogram) -> Histogram {
        let less = |(bound, count): (&String, &u64)| {
            (bound.clone(), count - before.0.get(bound).unwrap_or(&0))
        };
        Histogram(self.0.iter().map(less).collect())
    }

    /// Takes the counts of another in.
    pub fn add(&mut self, other: &Histogram) {
        for (bound, count) in &other.0 {
            *self.0.entry(bound.clone()).or_insert(0) += count;
        }
    }

    /// In milliseconds. A histogram only knows between which bounds a value is: these are the
    /// upper ones.
    pub fn figures(&self) -> Value {
        let bound = |text: &String| text.parse::<f64>().unwrap_or(f64::INFINITY);
        let mut buckets: Vec<(f64, u64)> = self.0.iter().map(|(le, n)| (bound(le), *n)).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let count = buckets.last().map_or(0, |last| last.1);
        let upper = |share: f64| {
            let wanted = (count as f64 * share).ceil() as u64;
            let found = buckets.iter().find(|(_, seen)| *seen >= wanted);
            format!("<= {}", found.map_or(0.0, |(bound, _)| bound * 1000.0))
        };
        json!({"p50": upper(0.5), "p99": upper(0.99), "max": upper(1.0), "count": count})
    }
}
