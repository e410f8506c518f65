//! Sample pods: small HTTP/1 servers in this process that answer with who they are.
//!
//! Each has an address of its own in 127.0.0.0/8 and the port that all pods share, as in a
//! cluster. A pod that stops finishes the request it is at and closes, as a good program does.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Longest request head that is read, in bytes.
const HEAD_MAX: usize = 16 * 1024;

/// Where pods get their addresses from.
pub struct Pods {
    runtime: Handle,
    port: u16,
    started: u16,
}

/// One pod. It stops when dropped.
pub struct Pod {
    /// The application.
    pub app: String,
    /// Its own name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    _alive: watch::Sender<()>,
}

impl Pods {
    /// Finds a port that is free on the first addresses.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn new(runtime: Handle) -> io::Result<Pods> {
        let probe = std::net::TcpListener::bind((address_of(1), 0))?;
        let port = probe.local_addr()?.port();
        Ok(Pods { runtime, port, started: 0 })
    }

    /// Starts a pod of an application on the next address.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn start(&mut self, app: &str) -> io::Result<Pod> {
        self.started += 1;
        let address = SocketAddr::from((address_of(self.started), self.port));
        let name = format!("{app}-{}", self.started);
        let listener = self.runtime.block_on(TcpListener::bind(address))?;
        let (alive, gone) = watch::channel(());
        let answer = answer(app, &name);
        self.runtime.spawn(serve(listener, answer, gone));
        Ok(Pod { app: app.to_owned(), name, address, _alive: alive })
    }
}

fn address_of(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}

fn answer(app: &str, pod: &str) -> String {
    let body = format!("{{\"app\":\"{app}\",\"pod\":\"{pod}\"}}\n");
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         x-app: {app}\r\nx-pod: {pod}\r\n\r\n{body}"
    )
}

async fn serve(listener: TcpListener, answer: String, mut gone: watch::Receiver<()>) {
    loop {
        tokio::select! {
            biased;
            _ = gone.changed() => return,
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                tokio::spawn(converse(stream, answer.clone(), gone.clone()));
            }
        }
    }
}

/// Answers the requests of one connection until either side ends it.
async fn converse(mut stream: TcpStream, answer: String, mut gone: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    loop {
        // Between two requests the connection may be closed; within one it is not.
        let read = if head.is_empty() {
            tokio::select! {
                biased;
                read = stream.read(&mut piece) => read,
                _ = gone.changed() => return,
            }
        } else {
            stream.read(&mut piece).await
        };
        match read {
            Ok(0) | Err(_) => return,
            Ok(count) => head.extend_from_slice(piece.get(..count).unwrap_or_default()),
        }
        while let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            head.drain(..end + 4);
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        if head.len() > HEAD_MAX {
            return;
        }
    }
}
