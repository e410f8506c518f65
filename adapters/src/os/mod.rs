//! The operating system behind [`crate::ports`]: the production implementations.
//!
//! Job: the only place that uses `tokio::net`, `tokio::process`, `std::fs` and the system clock.
//! Not here: any policy; each method does what its trait says and nothing else.

pub mod clock;
pub mod files;
pub mod net;
pub mod processes;

use std::sync::Arc;

use crate::ports::Ports;

/// The ports of a real machine.
///
/// # Errors
/// When the system gives no random seed.
pub fn ports() -> std::io::Result<Ports> {
    let mut seed = [0; 8];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut seed)?;
    Ok(Ports {
        net: Arc::new(net::OsNet),
        files: Arc::new(files::OsFiles),
        processes: Arc::new(processes::OsProcesses),
        clock: Arc::new(clock::OsClock::default()),
        seed: u64::from_le_bytes(seed),
    })
}
