//! tidegate's seams on the simulated world: network, files, processes, clock, seed.
//!
//! Sockets of the state folder are ports of HAProxy's host, as there are no Unix sockets on this
//! network; that nothing listens is known at once, as on a real machine. A connection through a
//! partition waits, as packets are only lost. Processes are HAProxy's, simulated.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tidegate::ports::{
    BoxFuture, BoxIo, Clock, Endpoint, Listener, Net, Ports, Processes, Signal, Start,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use turmoil::net::{TcpListener, TcpStream};

use super::files::{Disk, Mounted};
use super::proxy::process;
use super::proxy::serve::{self, Started};
use super::replica::Replica;
use super::world::Here;

/// The ports of one life of a replica.
#[must_use]
pub fn ports(
    here: &Here,
    files: Mounted,
    starts: mpsc::UnboundedSender<Started>,
    seed: u64,
) -> Ports {
    Ports {
        net: Arc::new(SimulatedNet(here.clone())),
        files: Arc::new(files),
        processes: Arc::new(SimulatedProcesses { here: here.clone(), starts }),
        clock: Arc::new(SimulatedClock(here.clone())),
        seed,
    }
}

/// Port of the socket that tidegate listens on in its state folder.
const OWN_PORT: u16 = 3;

struct SimulatedNet(Here);

impl Net for SimulatedNet {
    fn dial<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let stream = match endpoint {
                Endpoint::Tcp(host, port) => {
                    while self.0.with(|replica| replica.partitioned) {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    TcpStream::connect((host.as_str(), *port)).await?
                }
                Endpoint::Unix(path) => {
                    let port = serve::port_of(path).ok_or(io::ErrorKind::NotFound)?;
                    if !self.0.with(|replica| replica.listens(port)) {
                        return Err(io::ErrorKind::ConnectionRefused.into());
                    }
                    TcpStream::connect((self.0.id.proxy(), port)).await?
                }
            };
            let disk = self.0.with(|replica| replica.site.disk.clone());
            Ok(Box::new(Living { stream, disk }) as BoxIo)
        })
    }

    fn listen<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let port = match endpoint {
                Endpoint::Tcp(_, port) => *port,
                // What HAProxy asks there is simulated by nobody.
                Endpoint::Unix(_) => OWN_PORT,
            };
            let listener = TcpListener::bind(("0.0.0.0", port)).await?;
            Ok(Box::new(Listening(listener, port)) as Box<dyn Listener>)
        })
    }
}

/// A connection of a process that may die in the middle of a write to its disk: nothing that it would
/// say after that is said.
struct Living {
    stream: TcpStream,
    disk: Disk,
}

impl AsyncRead for Living {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Living {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.disk.has_killed() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

struct Listening(TcpListener, u16);

impl Listener for Listening {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxIo>> {
        Box::pin(async move {
            let (stream, _) = self.0.accept().await?;
            Ok(Box::new(stream) as BoxIo)
        })
    }

    fn port(&self) -> Option<u16> {
        Some(self.1)
    }
}

struct SimulatedClock(Here);

impl Clock for SimulatedClock {
    fn now_ms(&self) -> u64 {
        self.0.lock().now_ms()
    }

    fn unix_s(&self) -> u64 {
        self.0.lock().unix_s(self.0.id)
    }
}

struct SimulatedProcesses {
    here: Here,
    starts: mpsc::UnboundedSender<Started>,
}

/// Time that `haproxy -c` takes, in milliseconds.
const CHECK_MS: u64 = 30;

impl Processes for SimulatedProcesses {
    fn version<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, io::Result<String>> {
        Box::pin(async move {
            let version = self.here.with(|replica| replica.site.version);
            let quic = if version.capabilities().quic { '+' } else { '-' };
            Ok(format!(
                "HAProxy version {} 2026/01/01 - https://haproxy.org/\n\
                 Feature list : +OPENSSL {quic}QUIC\n",
                version.full()
            ))
        })
    }

    fn validate<'a>(
        &'a self,
        _: &'a Path,
        config: &'a Path,
    ) -> BoxFuture<'a, io::Result<Result<(), String>>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(CHECK_MS)).await;
            let verdict = self.here.with(|replica| process::read(&replica.site, config));
            Ok(match verdict {
                Ok(_) => Ok(()),
                Err(words) => {
                    // What a version does not know is tried on purpose.
                    if !words.contains("unknown '") {
                        self.here.lock().refused_files(self.here.id, &words);
                    }
                    Err(format!("[ALERT]    (1) : config : {words}\n"))
                }
            })
        })
    }

    /// No schedule has snippets: what would be judged is refused.
    fn judge<'a>(
        &'a self,
        _: &'a Path,
        _: &'a Path,
    ) -> BoxFuture<'a, io::Result<Result<(), String>>> {
        Box::pin(async { Ok(Err("[ALERT]    (1) : config : snippets are not simulated\n".into())) })
    }

    fn start<'a>(&'a self, start: &'a Start) -> BoxFuture<'a, io::Result<u32>> {
        Box::pin(async move {
            let pid = self.here.with(|replica| replica.site.begin(&start.config, &start.log));
            // HAProxy's host lives as long as the world.
            let _ = self.starts.send(Started(pid));
            Ok(pid)
        })
    }

    fn alive(&self, pid: u32) -> bool {
        let is_it = |replica: &mut Replica| {
            replica.site.master.as_ref().is_some_and(|master| master.pid == pid)
        };
        self.here.with(is_it)
    }

    fn signal(&self, pid: u32, _: Signal) -> io::Result<()> {
        if !self.alive(pid) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.here.with(|replica| replica.site.die());
        Ok(())
    }

    fn descriptors(&self, _: Option<u32>) -> u64 {
        20_000
    }
}
