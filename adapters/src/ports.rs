//! The seams between tidegate and the world: network, files, processes, clock and seed.
//!
//! Job: name everything the adapters need from outside in small object-safe traits, collected in
//! one [`Ports`] value, so that the simulator runs the adapters unchanged on a simulated world.
//! Inputs and outputs: bytes, paths and times only. Not here: any decision, any HAProxy or
//! Kubernetes knowledge. The production implementations are in [`crate::os`].
//!
//! Waiting is not a seam: adapters sleep with `tokio::time`, which simulated runtimes drive.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

/// A boxed future, for object-safe traits.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something bytes flow through both ways.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A boxed connection.
pub type BoxIo = Box<dyn Stream>;

/// Where to connect to or listen on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// A host (name or address) and a TCP port.
    Tcp(String, u16),
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
            Endpoint::Tcp(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// A listening socket.
pub trait Listener: Send {
    /// Waits for the next connection.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxIo>>;

    /// The TCP port that was bound, if it is a TCP socket.
    fn port(&self) -> Option<u16>;
}

/// The network.
pub trait Net: Send + Sync {
    /// Connects. The caller bounds the time.
    fn dial<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, io::Result<BoxIo>>;

    /// Listens. A Unix socket is its owner's only, and takes the place of a dead one.
    fn listen<'a>(&'a self, endpoint: &'a Endpoint)
    -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;
}

/// A file opened for appending.
pub trait Append: io::Write + Send {
    /// Makes what was written survive a power loss.
    ///
    /// # Errors
    /// Those of the operating system.
    fn sync(&mut self) -> io::Result<()>;
}

/// A held lock; released when dropped, at the latest when the process ends.
pub trait Lock: Send + Sync {}

/// A piece of work that blocks its thread.
pub type Job = Box<dyn FnOnce() + Send>;

/// Files. All verbs but [`Files::offload`] block: call them for small files only, or within
/// [`Files::offload`]. Errors are those of the operating system.
pub trait Files: Send + Sync {
    /// The whole content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Opens a file to be read from its beginning, piece by piece.
    fn open(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(io::Cursor::new(self.read(path)?)))
    }

    /// Replaces the content at once and for good (new file, sync, rename, sync): readers see the
    /// old or the new, also after a power loss.
    fn write(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()>;

    /// Creates or truncates a file to be written in pieces. Nobody else may look at it yet. A power
    /// loss leaves any part of it, until [`Files::sync`].
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn io::Write + Send>>;

    /// Writes a file that nobody misses after a power loss.
    fn jot(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        let mut out = self.create(path, mode)?;
        out.write_all(content)?;
        out.flush()
    }

    /// Makes a file, or a folder with everything in it, survive a power loss: contents and names, its
    /// own too. A file with a second name, by [`Files::share`], must have been synced under that one.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Opens for appending; creates it if needed.
    fn append(&self, path: &Path, mode: u32) -> io::Result<Box<dyn Append>>;

    /// Cuts a file to a length in bytes.
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()>;

    /// Length in bytes.
    fn length(&self, path: &Path) -> io::Result<u64>;

    /// Removes a file; that it is missing is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Creates a folder and its parents; that it exists is no error.
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()>;

    /// Removes a folder with everything in it; that it is missing is no error.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Names in a folder, sorted; names that are not UTF-8 are left out.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Makes `link` a symbolic link to `target`, replacing an old link at once and for good. After
    /// an error it may point to either.
    fn point(&self, link: &Path, target: &Path) -> io::Result<()>;

    /// The target of a symbolic link.
    fn pointee(&self, link: &Path) -> io::Result<PathBuf>;

    /// Gives a file a second name, or copies it where the file system has no hard links.
    fn share(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes an exclusive lock on a file, which is created if needed.
    /// Fails with [`io::ErrorKind::WouldBlock`] when another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;

    /// Runs blocking work where it does not hold up the runtime; resolves when it is done.
    fn offload(&self, job: Job) -> BoxFuture<'_, ()>;
}

/// How to start HAProxy's master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Executable: its absolute path, or a name that `PATH` leads to.
    pub binary: PathBuf,
    /// Configuration file; an absolute path, as HAProxy works in the root folder.
    pub config: PathBuf,
    /// Absolute path of the master socket.
    pub master_socket: PathBuf,
    /// Where standard error goes, appended; standard output too unless inherited.
    pub log: PathBuf,
    /// Whether HAProxy shares our standard output (a container's log).
    pub inherit_stdout: bool,
}

/// A request to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Finish the connections, then stop (`SIGUSR1`).
    SoftStop,
    /// Stop (`SIGTERM`).
    Stop,
    /// Stop at once (`SIGKILL`).
    Kill,
}

/// Processes: HAProxy's executable and its master.
pub trait Processes: Send + Sync {
    /// What `haproxy -vv` prints.
    fn version<'a>(&'a self, binary: &'a Path) -> BoxFuture<'a, io::Result<String>>;

    /// Runs `haproxy -c` on a configuration: accepted, or HAProxy's words. An `Err` says that
    /// it could not be run.
    fn validate<'a>(
        &'a self,
        binary: &'a Path,
        config: &'a Path,
    ) -> BoxFuture<'a, io::Result<Result<(), String>>>;

    /// Runs `haproxy -c` on a configuration that a stranger wrote: without environment, for a few
    /// seconds, with bounded memory, unable to write to files.
    fn judge<'a>(
        &'a self,
        binary: &'a Path,
        config: &'a Path,
    ) -> BoxFuture<'a, io::Result<Result<(), String>>>;

    /// Starts HAProxy in master-worker mode, detached: it outlives this process. Returns the
    /// master's process id without waiting for it to serve.
    fn start<'a>(&'a self, start: &'a Start) -> BoxFuture<'a, io::Result<u32>>;

    /// Whether a process exists and has not ended.
    fn alive(&self, pid: u32) -> bool;

    /// Sends a signal.
    ///
    /// # Errors
    /// Those of the operating system, such as a process that is gone.
    fn signal(&self, pid: u32, signal: Signal) -> io::Result<()>;

    /// How many descriptors a process may open at most: that of a running one, or of one that
    /// this process would start. 0 when unknown.
    fn descriptors(&self, pid: Option<u32>) -> u64;

    /// How many bytes of memory a process may use at most: that of a running one, or of one that
    /// this process starts. 0 when unknown.
    fn memory(&self, _pid: Option<u32>) -> u64 {
        0
    }
}

/// Clocks.
pub trait Clock: Send + Sync {
    /// Milliseconds since the start of this process; never goes back.
    fn now_ms(&self) -> u64;

    /// Seconds since 1970-01-01 00:00 UTC.
    fn unix_s(&self) -> u64;
}

/// All seams in one value.
#[derive(Clone)]
pub struct Ports {
    /// Network.
    pub net: Arc<dyn Net>,
    /// Files.
    pub files: Arc<dyn Files>,
    /// Processes.
    pub processes: Arc<dyn Processes>,
    /// Clocks.
    pub clock: Arc<dyn Clock>,
    /// Source of all jitter. Equal seeds give equal runs in the simulator.
    pub seed: u64,
}
