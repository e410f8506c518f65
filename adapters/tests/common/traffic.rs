//! A request loop that never stops asking and checks every answer, on kept and on new connections:
//! against a fixed list of targets, or against a [`Ledger`] of what is true at each moment.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::{Answer, Connection, Request};
use super::ledger::{Ledger, Verdict};

/// What is asked for, and which Service must answer.
pub type Target = (String, String, String);

/// The loop.
pub struct Traffic {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    targets: Mutex<Vec<Target>>,
    ledger: Option<Arc<Ledger>>,
    sent: AtomicU64,
    right: AtomicU64,
    failed: AtomicU64,
    reconnected: AtomicU64,
    words: Mutex<Vec<String>>,
}

impl Traffic {
    /// Starts `kept` threads that keep their connection and `fresh` ones that make a new one for
    /// each request. `pause` is between two requests of a thread.
    pub fn start(
        port: u16,
        kept: usize,
        fresh: usize,
        pause: Duration,
        targets: &[(&str, &str, &str)],
    ) -> Traffic {
        let targets = targets.iter().map(|(host, path, service)| {
            ((*host).to_owned(), (*path).to_owned(), (*service).to_owned())
        });
        let shared = Shared { targets: Mutex::new(targets.collect()), ..Shared::default() };
        Traffic::spawn(shared, &[port], kept, fresh, pause)
    }

    /// The same, but what is asked for and what is right comes from a ledger.
    pub fn by_ledger(
        ports: &[u16],
        kept: usize,
        fresh: usize,
        pause: Duration,
        ledger: &Arc<Ledger>,
    ) -> Traffic {
        let shared = Shared { ledger: Some(Arc::clone(ledger)), ..Shared::default() };
        Traffic::spawn(shared, ports, kept, fresh, pause)
    }

    fn spawn(shared: Shared, ports: &[u16], kept: usize, fresh: usize, pause: Duration) -> Traffic {
        let shared = Arc::new(shared);
        let threads = (0..kept + fresh).map(|number| {
            let shared = Arc::clone(&shared);
            let port = ports[number % ports.len()];
            std::thread::spawn(move || shared.repeat(port, number, number < kept, pause))
        });
        let threads = threads.collect();
        Traffic { shared, threads }
    }

    /// Requests sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Waits until so many more were sent.
    pub fn pass(&self, count: u64) {
        let until = self.sent() + count;
        super::eventually("the request loop goes on", || {
            super::ensure(self.sent() >= until, || format!("{} of {until}", self.sent()))
        });
    }

    /// Requests without the right answer so far.
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// The first failures in words.
    pub fn words(&self) -> Vec<String> {
        self.shared.words.lock().unwrap().clone()
    }

    /// Fails if a request was lost so far.
    pub fn assert_nothing_lost(&self, during: &str) {
        assert_eq!(
            self.failed(),
            0,
            "{during}: of {} requests were lost: {:?}",
            self.sent(),
            self.words()
        );
    }

    /// Fails if a request was lost since this was asked last. The end still counts all.
    pub fn assert_nothing_new_lost(&self, during: &str) {
        let words = std::mem::take(&mut *self.shared.words.lock().unwrap());
        assert!(words.is_empty(), "{during}: requests were lost: {words:?}");
    }

    /// Stops, and fails if a request was lost.
    pub fn finish(mut self, during: &str) -> u64 {
        self.end();
        self.assert_nothing_lost(during);
        let reconnected = self.shared.reconnected.load(Ordering::Relaxed);
        let right = self.shared.right.load(Ordering::Relaxed);
        println!(
            "{during}: {} requests, {right} right, 0 lost, {reconnected} sent again",
            self.sent()
        );
        self.sent()
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn repeat(&self, port: u16, first: usize, keeps: bool, pause: Duration) {
        let mut connection: Option<Connection> = None;
        let mut turn = first;
        while !self.stop.load(Ordering::Relaxed) {
            let target = match &self.ledger {
                Some(ledger) => ledger.target(turn),
                None => {
                    let targets = self.targets.lock().unwrap();
                    targets.get(turn % targets.len().max(1)).cloned()
                }
            };
            turn += 1;
            let Some((host, path, service)) = target else { return };
            self.sent.fetch_add(1, Ordering::Relaxed);
            let request = Request::get(&host, &path);
            let begin = Instant::now();
            let answer = self.ask(&mut connection, port, &request);
            match self.judge(&host, &service, begin, &answer) {
                Verdict::Right => _ = self.right.fetch_add(1, Ordering::Relaxed),
                Verdict::Excused => {}
                Verdict::Wrong(why) => self.fail(&request, &why),
            }
            if !keeps || answer.as_ref().map_or(true, Answer::closes) {
                connection = None;
            }
            std::thread::sleep(pause);
        }
    }

    fn judge(
        &self,
        host: &str,
        service: &str,
        begin: Instant,
        answer: &io::Result<Answer>,
    ) -> Verdict {
        if let Some(ledger) = &self.ledger {
            return ledger.judge(host, begin, Instant::now(), answer);
        }
        match answer {
            Ok(answer) if answer.status == 200 && answer.service() == service => Verdict::Right,
            Ok(answer) => {
                let got = answer.service();
                Verdict::Wrong(format!("{} from '{got}' not '{service}'", answer.status))
            }
            Err(error) => Verdict::Wrong(error.to_string()),
        }
    }

    /// An idle connection may be closed at any time (RFC 9112, 9.3.1); nothing was answered then,
    /// and every client asks again on a new one.
    fn ask(
        &self,
        connection: &mut Option<Connection>,
        port: u16,
        request: &Request,
    ) -> io::Result<Answer> {
        if let Some(open) = connection {
            match open.ask(request) {
                Err(error) if is_closed(&error) && open.is_clean() => {
                    self.reconnected.fetch_add(1, Ordering::Relaxed);
                }
                answered => return answered,
            }
        }
        connection.insert(Connection::plain(port)?).ask(request)
    }

    fn fail(&self, request: &Request, why: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut words = self.words.lock().unwrap();
        if words.len() < 10 {
            words.push(format!("http://{:?}{}: {why}", request.host, request.target));
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe | ConnectionAborted)
}
