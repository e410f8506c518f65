//! The wire between tidegate and the API server, which can be cut, deaf or slow.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They pass.
    Open,
    /// They pass, each piece this late.
    Slow(Duration),
    /// Connections stay, and new ones are accepted, but nothing passes any more.
    Deaf,
    /// There is no listener, and connections are reset.
    Cut,
}

/// A wire. It is cut when dropped.
pub struct Wire {
    /// Where it begins, on 127.0.0.1.
    pub port: u16,
    state: watch::Sender<State>,
    /// Counts up when all connections shall end.
    cuts: watch::Sender<u64>,
    shared: Arc<Shared>,
    listener: Mutex<Option<JoinHandle<()>>>,
    // Of its own, as its threads must live in the test's network namespace.
    runtime: Runtime,
}

#[derive(Default)]
struct Shared {
    accepted: AtomicU64,
    from_server: AtomicU64,
}

impl Wire {
    /// An open wire to a port of 127.0.0.1.
    pub fn to(upstream: u16) -> Wire {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let wire = Wire {
            port,
            state: watch::Sender::new(State::Open),
            cuts: watch::Sender::new(0),
            shared: Arc::default(),
            listener: Mutex::new(None),
            runtime,
        };
        wire.listen(listener, upstream);
        // The listener is made anew after a cut, by a task that knows where the wire ends.
        wire
    }

    fn listen(&self, listener: TcpListener, upstream: u16) {
        let (state, cuts, shared) =
            (self.state.subscribe(), self.cuts.subscribe(), Arc::clone(&self.shared));
        let port = self.port;
        let task = self.runtime.spawn(async move {
            let mut listener = Some(listener);
            let mut changes = state.clone();
            loop {
                if *changes.borrow_and_update() == State::Cut {
                    listener = None;
                    if changes.wait_for(|state| *state != State::Cut).await.is_err() {
                        return;
                    }
                }
                let open = match listener.take() {
                    Some(open) => open,
                    None => match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                        Ok(open) => open,
                        Err(_) => {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                            continue;
                        }
                    },
                };
                tokio::select! {
                    biased;
                    changed = changes.changed() => if changed.is_err() { return },
                    accepted = open.accept() => if let Ok((stream, _)) = accepted {
                        shared.accepted.fetch_add(1, Ordering::SeqCst);
                        tokio::spawn(carry(stream, upstream, state.clone(), cuts.clone(), Arc::clone(&shared)));
                    },
                }
                listener = Some(open);
            }
        });
        *self.listener.lock().unwrap() = Some(task);
    }

    /// Changes the state. Connections go on, but for [`State::Cut`].
    pub fn set(&self, state: State) {
        self.state.send_replace(state);
        if state == State::Cut {
            self.reset();
        }
    }

    /// Resets every connection; new ones are welcome.
    pub fn reset(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Bytes that came from the server so far.
    pub fn received(&self) -> u64 {
        self.shared.from_server.load(Ordering::SeqCst)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(task) = self.listener.lock().unwrap().take() {
            task.abort();
        }
        self.set(State::Cut);
    }
}

async fn carry(
    client: TcpStream,
    upstream: u16,
    state: watch::Receiver<State>,
    mut cuts: watch::Receiver<u64>,
    shared: Arc<Shared>,
) {
    cuts.mark_unchanged();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, upstream));
    let Ok(server) = TcpStream::connect(address).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let shared = &shared;
    let up = async {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from_client.read(&mut piece).await {
            pass(&mut state.clone()).await;
            if to_server.write_all(&piece[..count]).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from_server.read(&mut piece).await {
            pass(&mut state.clone()).await;
            shared.from_server.fetch_add(count as u64, Ordering::SeqCst);
            if to_client.write_all(&piece[..count]).await.is_err() {
                return;
            }
        }
    };
    let reset = tokio::select! {
        biased;
        _ = cuts.changed() => true,
        () = up => false,
        () = down => false,
    };
    if reset && let Ok(client) = from_client.reunite(to_client) {
        let _ = client.set_zero_linger();
    }
}

/// Waits until a piece may pass.
async fn pass(state: &mut watch::Receiver<State>) {
    let now = *state.borrow_and_update();
    match now {
        State::Open | State::Cut => {}
        State::Slow(late) => tokio::time::sleep(late).await,
        State::Deaf => {
            let _ = state.wait_for(|state| *state != State::Deaf).await;
        }
    }
}
