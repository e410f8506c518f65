//! Requests that last: a download, an upgraded connection.
//!
//! Inputs: when one begins and for how long its client goes on; commands; the ends of workers.
//! Outputs: whether a server still has one, and those that ended before their clients did. A stream
//! stays with the worker that took it and with its server, whatever becomes of the route, and the
//! worker stays with it (manual 3.1 "hard-stop-after", management guide 9.3 "del server").

use std::net::SocketAddr;

use super::process::{Site, Worker};
use crate::model::haproxy::{Answer, Haproxy};
use crate::swarm::cluster::asked;

/// A request under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The host that was asked for.
    pub host: String,
    /// The backend it went to.
    pub backend: String,
    /// The server of that.
    pub server: String,
    /// When its client has enough, in milliseconds since the beginning.
    pub until_ms: u64,
}

impl Worker {
    /// Whether a server has connections of streams.
    #[must_use]
    pub fn streams_on(&self, backend: &str, server: &str) -> bool {
        self.streams.iter().any(|stream| stream.backend == backend && stream.server == server)
    }

    /// Whether anything keeps an old worker.
    #[must_use]
    pub(super) fn is_needed(&self) -> bool {
        self.is_immortal || self.connections > 0 || !self.streams.is_empty()
    }
}

impl Site {
    /// A client begins a stream, if there is a server for it; the `turn`-th of several.
    pub fn begin_stream(&mut self, host: &str, until_ms: u64, turn: usize) -> bool {
        let Some(worker) = self.workers.iter_mut().rev().find(|worker| !worker.stopping) else {
            return false;
        };
        let Some((backend, server)) = server_of(&worker.memory, host, turn) else { return false };
        worker.streams.push(Stream { host: host.to_owned(), backend, server, until_ms });
        true
    }

    /// Clients that have enough go, and old workers with the last of them.
    pub fn end_streams(&mut self, now_ms: u64) {
        for worker in &mut self.workers {
            worker.streams.retain(|stream| stream.until_ms > now_ms);
        }
        self.workers.retain(|worker| !worker.stopping || worker.is_needed());
    }

    /// Old workers that took too long to finish end, and their streams with them. How many did.
    pub fn end_old_workers(&mut self, now_ms: u64) -> usize {
        let mut late = Vec::new();
        let ends = |worker: &&mut Worker| worker.stopping && !worker.is_immortal;
        for worker in self.workers.iter_mut().filter(ends) {
            let since = *worker.stopping_since_ms.get_or_insert(now_ms);
            if worker.hard_stop_ms.is_some_and(|most| now_ms >= since + most) {
                late.push(worker.pid);
                worker.gone.notify_waiters();
            }
        }
        self.workers.retain(|worker| !late.contains(&worker.pid));
        late.len()
    }

    /// The streams on a server are ended by a command.
    pub fn cut_streams(&mut self, pid: u32, backend: &str, server: &str) {
        let Some(worker) = self.worker(pid) else { return };
        let all = std::mem::take(&mut worker.streams);
        let (cut, kept): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|stream| stream.backend == backend && stream.server == server);
        worker.streams = kept;
        self.cut.extend(cut);
    }
}

/// The backend and server that a request to a host meets, the `turn`-th of those it may meet.
fn server_of(memory: &Haproxy, host: &str, turn: usize) -> Option<(String, String)> {
    let (host, path) = asked(host);
    let Answer::Servers(addresses) = memory.route(host, path) else { return None };
    let address: SocketAddr = addresses.iter().copied().nth(turn % addresses.len())?;
    let name = memory.backend_of(host, path)?;
    let servers = &memory.backends.get(name)?.servers;
    let server = servers.iter().find(|server| server.address == Some(address))?;
    Some((name.to_owned(), server.name.clone()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_core::action::{MapId, RuntimeCommand, ServerState};

    use super::*;
    use crate::network::files::Disk;
    use crate::network::proxy::Version;

    #[test]
    fn a_stream_stays_with_its_worker_and_its_server() {
        let version = Version::V34;
        let mut memory = Haproxy::empty(version.capabilities());
        memory.profiles = Arc::new(["p".to_owned()].into());
        let (backend, server): (Arc<str>, Arc<str>) = ("b".into(), "s".into());
        let mut done = |command| memory.execute(&command).unwrap();
        done(RuntimeCommand::AddBackend { backend: backend.clone(), profile: "p".into() });
        done(RuntimeCommand::AddServer {
            backend: backend.clone(),
            server: server.clone(),
            address: "10.0.0.1:80".parse().unwrap(),
            keywords: "".into(),
        });
        done(RuntimeCommand::SetServerState {
            backend: backend.clone(),
            server: server.clone(),
            state: ServerState::Ready,
        });
        done(RuntimeCommand::PublishBackend { backend });
        let (key, value) = ("a.example/".into(), "b".into());
        done(RuntimeCommand::AddMapEntry { map: MapId::Route, key, value });

        let mut site = Site::new(version, Disk::default());
        assert!(!site.begin_stream("a.example", 5_000, 0), "nobody serves");
        site.serve(memory.clone());
        assert!(!site.begin_stream("other.example", 5_000, 0), "no route");
        assert!(site.begin_stream("a.example", 5_000, 7));
        let old = site.serving().unwrap().pid;
        site.serve(memory);
        assert_eq!(site.workers.len(), 2, "the old worker stays with its stream");
        site.end_streams(4_999);
        assert!(site.worker(old).unwrap().streams_on("b", "s"));
        site.cut_streams(old, "b", "other");
        assert!(site.cut.is_empty());
        site.end_streams(5_000);
        assert_eq!((site.workers.len(), site.cut.len()), (1, 0), "its client had enough");
        assert!(site.begin_stream("a.example", 9_000, 0));
        site.cut_streams(old + 1, "b", "s");
        assert!(site.begin_stream("a.example", 9_000, 0));
        site.die();
        assert_eq!(site.cut.len(), 2);
    }

    #[test]
    fn an_old_worker_ends_when_its_time_is_over() {
        let version = Version::V34;
        let mut site = Site::new(version, Disk::default());
        site.serve(Haproxy::empty(version.capabilities()));
        for worker in &mut site.workers {
            worker.connections = 1;
            worker.hard_stop_ms = Some(5_000);
        }
        site.serve(Haproxy::empty(version.capabilities()));
        assert_eq!(site.end_old_workers(1_000), 0, "from here on it counts");
        assert_eq!((site.end_old_workers(5_999), site.workers.len()), (0, 2));
        assert_eq!((site.end_old_workers(6_000), site.workers.len()), (1, 1));
        assert!(site.serving().is_some());
    }
}
