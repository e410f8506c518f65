//! A load balancer of connections in front of several tidegates, as a cloud or a node has it: each
//! new connection goes to one that its probes find ready; open ones stay where they are.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::common::client::{Connection, Request};

/// Time between two probes. One that fails is enough.
pub const PROBE: Duration = Duration::from_millis(200);

/// One behind it.
struct Backend {
    http: u16,
    admin: u16,
    ready: AtomicBool,
}

/// A running balancer. It ends when dropped.
pub struct Balancer {
    /// Where clients connect, on 127.0.0.1.
    pub port: u16,
    backends: Arc<Vec<Backend>>,
    stop: Arc<AtomicBool>,
    _runtime: Runtime,
}

impl Balancer {
    /// In front of those with these ports: traffic and admin.
    pub fn before(ports: &[(u16, u16)]) -> Balancer {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let backend = |(http, admin): &(u16, u16)| {
            let ready = AtomicBool::new(false);
            Backend { http: *http, admin: *admin, ready }
        };
        let backends: Arc<Vec<Backend>> = Arc::new(ports.iter().map(backend).collect());
        let stop = Arc::new(AtomicBool::new(false));
        for number in 0..backends.len() {
            let (backends, stop) = (Arc::clone(&backends), Arc::clone(&stop));
            std::thread::spawn(move || {
                let Some(backend) = backends.get(number) else { return };
                while !stop.load(Ordering::Relaxed) {
                    backend.ready.store(probe(backend.admin), Ordering::Relaxed);
                    std::thread::sleep(PROBE);
                }
            });
        }
        runtime.spawn(accept(listener, Arc::clone(&backends)));
        Balancer { port, backends, stop, _runtime: runtime }
    }

    /// How many are ready.
    pub fn ready(&self) -> usize {
        self.backends.iter().filter(|backend| backend.ready.load(Ordering::Relaxed)).count()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn probe(admin: u16) -> bool {
    let ask = || Connection::plain(admin)?.ask(&Request::get("localhost", "/readyz"));
    ask().is_ok_and(|answer| answer.status == 200)
}

async fn accept(listener: TcpListener, backends: Arc<Vec<Backend>>) {
    let turn = AtomicUsize::new(0);
    loop {
        let Ok((mut client, _)) = listener.accept().await else { continue };
        let ready: Vec<u16> = backends
            .iter()
            .filter(|backend| backend.ready.load(Ordering::Relaxed))
            .map(|backend| backend.http)
            .collect();
        let next = turn.fetch_add(1, Ordering::Relaxed) % ready.len().max(1);
        let Some(port) = ready.get(next).copied() else { continue };
        tokio::spawn(async move {
            // No second try: what it is told is what it believes.
            let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
                return;
            };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let _ = copy_bidirectional(&mut client, &mut server).await;
        });
    }
}
