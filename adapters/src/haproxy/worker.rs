//! Which worker answers now.
//!
//! Job: find the process behind the runtime socket. Inputs: the socket. Outputs: its identity or
//! why there is none. Not here: what a change of worker means (`supervisor`).

use std::io;
use std::time::Duration;

use tidegate_core::event::WorkerId;

use super::files::BOOTSTRAP;
use super::readback::{self, Identity};
use super::socket::Connection;
use crate::ports::{Endpoint, Net};

/// Longest wait for an answer that says who is there.
const PATIENCE: Duration = Duration::from_secs(2);

/// A worker that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its number in events.
    pub id: WorkerId,
    /// The process.
    pub identity: Identity,
}

/// What was found behind the runtime socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A worker that takes traffic.
    Serving(Identity),
    /// A worker that has loaded nothing but the way to reach it ([`super::files::Generations`]'
    /// bootstrap): it takes no traffic, and waits for a reload.
    Waiting(Identity),
    /// Nothing listens, or only a worker on its way out.
    Absent,
    /// Something is there but gives no answer in time, or none that makes sense.
    Mute,
}

/// Whether a worker is of a build with QUIC, by a command that only such builds have; `None` without
/// an answer.
pub async fn speaks_quic(net: &dyn Net, endpoint: &Endpoint) -> Option<bool> {
    let mut connection = Connection::open(net, endpoint, PATIENCE).await.ok()?;
    let answer = connection.ask("help show quic").await.ok()?;
    Some(answer.lines().any(|line| line.trim_start().starts_with("show quic")))
}

/// Looks who answers, on a connection of its own: an older one stays with the process that
/// accepted it, whoever serves by now.
pub async fn look(net: &dyn Net, endpoint: &Endpoint) -> Presence {
    let asked = async {
        let mut connection = Connection::open(net, endpoint, PATIENCE).await?;
        readback::info(&mut connection).await
    };
    match asked.await {
        Ok(info) if info.stopping => Presence::Absent,
        Ok(info) if info.description == BOOTSTRAP => Presence::Waiting(info.identity),
        Ok(info) => Presence::Serving(info.identity),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::NotFound => Presence::Absent,
            _ => Presence::Mute,
        },
    }
}
