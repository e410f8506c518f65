//! What lasts: answers that stream for seconds, and tunnels that echo. Each must come to its end
//! whatever happens to others meanwhile.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::client::{Connection, Request};

/// Streams and tunnels under way.
pub struct Long {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    streams: AtomicU64,
    echoes: AtomicU64,
    broken: Mutex<Vec<String>>,
}

impl Long {
    /// Keeps two streams of this length and one tunnel open at any time.
    pub fn start(port: u16, host: &str, length: Duration) -> Long {
        Long::several(port, host, length, 0)
    }

    /// Keeps two streams of this length open at any time.
    pub fn streams(port: u16, host: &str, length: Duration) -> Long {
        Long::several(port, host, length, 1)
    }

    fn several(port: u16, host: &str, length: Duration, first: usize) -> Long {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        for number in first..3 {
            let (shared, host) = (Arc::clone(&shared), host.to_owned());
            threads.push(std::thread::spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    let done = match number {
                        0 => shared.tunnel(port, &host),
                        _ => shared.stream(port, &host, length),
                    };
                    if let Err(error) = done {
                        let kind = if number == 0 { "tunnel" } else { "stream" };
                        shared.broken.lock().unwrap().push(format!("{kind}: {error}"));
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
            }));
        }
        Long { shared, threads }
    }

    /// What broke since this was asked last.
    pub fn broken(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.broken.lock().unwrap())
    }

    /// Fails if one broke since this was asked last.
    pub fn assert_whole(&self, during: &str) {
        let broken = self.broken();
        assert!(broken.is_empty(), "{during}: {} long ones broke: {broken:?}", broken.len());
    }

    /// Waits for the ends of all, and tells how many streams ended and how often was echoed.
    pub fn finish(mut self) -> (u64, u64) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        (self.shared.streams.load(Ordering::Relaxed), self.shared.echoes.load(Ordering::Relaxed))
    }
}

impl Drop for Long {
    fn drop(&mut self) {
        // Not joined: a stream may have long to go, and the test is over.
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn stream(&self, port: u16, host: &str, length: Duration) -> io::Result<()> {
        let mut connection = Connection::plain(port)?;
        let path = format!("/?stream={}", length.as_millis());
        // The client notices by the length when the end is missing.
        let answer = connection.ask(&Request::get(host, &path))?;
        if answer.status != 200 {
            return Err(io::Error::other(format!("{} at its begin", answer.status)));
        }
        let pod = answer.header("x-pod").unwrap_or("").to_owned();
        let whole = answer.body.split_whitespace().all(|word| word == pod);
        if !whole || pod.is_empty() {
            return Err(io::Error::other(format!("not what {pod} sent")));
        }
        self.streams.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn tunnel(&self, port: u16, host: &str) -> io::Result<()> {
        let mut connection = Connection::plain(port)?;
        let request = Request::get(host, "/").header("connection", "upgrade");
        let answer = connection.ask(&request.header("upgrade", "echo"))?;
        if answer.status != 101 {
            return Err(io::Error::other(format!("{} instead of a tunnel", answer.status)));
        }
        for number in 0_u32.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let word = number.to_be_bytes();
            connection.write(&word)?;
            let (mut back, mut got) = ([0; 4], 0);
            while got < back.len() {
                match connection.read(&mut back[got..])? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => got += count,
                }
            }
            if back != word {
                return Err(io::Error::other("another echo"));
            }
            self.echoes.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}
