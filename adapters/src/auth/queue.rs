//! The hashes that wait to be computed.
//!
//! Inputs: jobs, each with the list it is of. Outputs: verdicts, to everybody who asked for the
//! same. Lists take turns, and each may have so many waiting: whoever guesses at one route keeps
//! nobody else's users waiting. Threads of the lowest priority compute, so that serving comes
//! first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use parking_lot::{Condvar, Mutex};
use tidegate_core::digest::Digest;
use tokio::sync::oneshot;

use super::crypt;

/// Hashes that wait, over all lists and for one of them.
const WAITING_MAX: usize = 256;
const WAITING_OF_LIST_MAX: usize = 64;
/// Threads at most.
const THREADS_MAX: usize = 4;
/// Priority of the threads: the lowest.
const NICE: i32 = 19;

/// A hash to be computed.
pub(super) struct Job {
    /// The list of users it is of.
    pub(super) list: Digest,
    /// Hash and password together.
    pub(super) key: Digest,
    /// The hash to compare with.
    pub(super) hash: String,
    /// The password.
    pub(super) password: Vec<u8>,
}

/// Told after each hash: what was computed, the verdict, the time it took.
pub(super) type Computed = Box<dyn Fn(&Job, bool, Duration) + Send + Sync>;

#[derive(Default)]
struct Waiting {
    lists: BTreeMap<Digest, VecDeque<Job>>,
    turns: VecDeque<Digest>,
    count: usize,
    askers: BTreeMap<Digest, Vec<oneshot::Sender<bool>>>,
    stopped: bool,
}

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    computed: Computed,
}

/// The queue with its threads. Dropping it ends them after the hash they are at.
pub(super) struct Queue {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Queue {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives none.
    pub(super) fn start(computed: Computed) -> io::Result<Queue> {
        let shared =
            Arc::new(Shared { waiting: Mutex::default(), changed: Condvar::new(), computed });
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut queue = Queue { shared, threads: Vec::new() };
        for _ in 0..cores.min(THREADS_MAX) {
            let shared = Arc::clone(&queue.shared);
            let thread = thread::Builder::new().name("passwords".to_owned());
            queue.threads.push(thread.spawn(move || work(&shared))?);
        }
        Ok(queue)
    }

    /// Queues a job. The same one is computed once, however many ask. `None` when too many wait.
    pub(super) fn push(&self, job: Job) -> Option<oneshot::Receiver<bool>> {
        let (asker, verdict) = oneshot::channel();
        let mut waiting = self.shared.waiting.lock();
        let Waiting { lists, turns, count, askers, stopped } = &mut *waiting;
        if let Some(askers) = askers.get_mut(&job.key) {
            askers.push(asker);
            return Some(verdict);
        }
        let of_list = lists.get(&job.list).map_or(0, VecDeque::len);
        if *stopped || *count >= WAITING_MAX || of_list >= WAITING_OF_LIST_MAX {
            return None;
        }
        if of_list == 0 {
            turns.push_back(job.list);
        }
        askers.insert(job.key, vec![asker]);
        lists.entry(job.list).or_default().push_back(job);
        *count += 1;
        drop(waiting);
        self.shared.changed.notify_one();
        Some(verdict)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.shared.waiting.lock().count
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.waiting.lock().stopped = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that computes passwords panicked");
            }
        }
    }
}

fn work(shared: &Shared) {
    // Best effort: without it serving and hashing share the cores evenly.
    let this = rustix::thread::gettid();
    let _ = rustix::process::setpriority_process(Some(this), NICE);
    while let Some(job) = next(shared) {
        let begin = Instant::now();
        let right = crypt::fits(&job.password, &job.hash);
        (shared.computed)(&job, right, begin.elapsed());
        let askers = shared.waiting.lock().askers.remove(&job.key);
        for asker in askers.unwrap_or_default() {
            // Who does not wait any more needs no answer.
            let _ = asker.send(right);
        }
    }
}

/// The job whose list's turn it is; `None` at the end.
fn next(shared: &Shared) -> Option<Job> {
    let mut waiting = shared.waiting.lock();
    loop {
        let Waiting { lists, turns, count, askers: _, stopped } = &mut *waiting;
        if *stopped {
            return None;
        }
        if let Some(list) = turns.pop_front()
            && let Some(jobs) = lists.get_mut(&list)
        {
            let job = jobs.pop_front();
            if jobs.is_empty() {
                lists.remove(&list);
            } else {
                turns.push_back(list);
            }
            if let Some(job) = job {
                *count -= 1;
                return Some(job);
            }
        } else {
            shared.changed.wait(&mut waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Takes about a tenth of a second in a build without optimisation.
    const SLOW: &str = "$6$rounds=20000$x$";

    fn job(list: u8, number: u32) -> Job {
        let key = Digest::of(&[&[list][..], &number.to_le_bytes()].concat());
        let hash = format!("{SLOW}{}", "a".repeat(86));
        Job { list: Digest([list; 16]), key, hash, password: number.to_string().into_bytes() }
    }

    #[tokio::test]
    async fn one_list_keeps_nobody_waiting_and_the_same_is_computed_once() {
        let computed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&computed);
        let queue = Queue::start(Box::new(move |_, _, _| {
            count.fetch_add(1, Ordering::SeqCst);
        }))
        .unwrap();
        let flood: Vec<_> = (1..200).filter_map(|n| queue.push(job(1, n))).collect();
        let most = WAITING_OF_LIST_MAX + THREADS_MAX;
        assert!((WAITING_OF_LIST_MAX..=most).contains(&flood.len()), "{}", flood.len());
        let mine: Vec<_> = (0..5).map(|_| queue.push(job(2, 1)).unwrap()).collect();
        for verdict in mine {
            assert!(!verdict.await.unwrap());
        }
        let before = computed.load(Ordering::SeqCst);
        assert!(before < 20, "{before} others came first");
        assert!(queue.len() > 30, "the flood still waits");
        drop(queue);
        for verdict in flood {
            let _ = verdict.await;
        }
        let all = computed.load(Ordering::SeqCst);
        assert!(all < 60, "{all} were computed after the end");
    }
}
