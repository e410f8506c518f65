//! A request loop that never stops asking and checks every answer, on kept and on new connections.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::client::{Answer, Connection, Request};

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
    sent: AtomicU64,
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
        let shared =
            Arc::new(Shared { targets: Mutex::new(targets.collect()), ..Shared::default() });
        let threads = (0..kept + fresh).map(|number| {
            let shared = Arc::clone(&shared);
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

    /// Stops, and fails if a request was lost.
    pub fn finish(mut self, during: &str) -> u64 {
        self.end();
        self.assert_nothing_lost(during);
        let reconnected = self.shared.reconnected.load(Ordering::Relaxed);
        println!("{during}: {} requests, 0 lost, {reconnected} sent again", self.sent());
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
            let target = {
                let targets = self.targets.lock().unwrap();
                targets.get(turn % targets.len().max(1)).cloned()
            };
            turn += 1;
            let Some((host, path, service)) = target else { return };
            self.sent.fetch_add(1, Ordering::Relaxed);
            let request = Request::get(&host, &path);
            match self.ask(&mut connection, port, &request) {
                Ok(answer) => {
                    if answer.status != 200 || answer.service() != service {
                        let got = answer.service();
                        self.fail(
                            &request,
                            &format!("{} from '{got}' not '{service}'", answer.status),
                        );
                    }
                    if answer.closes() || !keeps {
                        connection = None;
                    }
                }
                Err(error) => {
                    connection = None;
                    self.fail(&request, &error.to_string());
                }
            }
            std::thread::sleep(pause);
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
