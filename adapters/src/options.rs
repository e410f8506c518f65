//! Options of `tidegate run`, as the run loop takes them: what the command line's flags amount to.
//!
//! Not here: flags, their names and defaults; those are in [`crate::cli::args`].

use std::path::PathBuf;
use std::time::Duration;

use tidegate_core::problem::Problem;
use tidegate_core::settings::Settings;

use crate::haproxy::{Mode, ProxyOptions, StopMode};
use crate::journal::Writing;
use crate::kube::server::Server;
use crate::ports::Endpoint;

/// Options of one run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Settings of the core.
    pub settings: Settings,
    /// Where objects come from.
    pub source: Source,
    /// HAProxy's executable.
    pub haproxy: PathBuf,
    /// Who starts HAProxy.
    pub mode: Mode,
    /// Whether HAProxy shares our standard output.
    pub inherit_stdout: bool,
    /// Where the journal is; `None` for no journal.
    pub journal: Option<JournalOptions>,
    /// Where the admin address listens; `None` for nowhere.
    pub admin: Option<Endpoint>,
    /// Time between "not ready" and the stop of HAProxy.
    pub drain_delay: Duration,
    /// What becomes of HAProxy at a clean stop.
    pub stop: StopMode,
    /// What is to be told of the command line.
    pub notes: Vec<Problem>,
}

/// Where objects come from, and whom what became of them is told.
#[derive(Clone, Debug)]
pub enum Source {
    /// A folder with manifests.
    Folder(PathBuf),
    /// A Kubernetes API server.
    Cluster(Server),
}

/// Options of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// Its folder.
    pub dir: PathBuf,
    /// Most bytes of all segments.
    pub bytes_max: u64,
    /// Who writes it.
    pub writing: Writing,
}

impl RunOptions {
    /// The options of the HAProxy adapter.
    #[must_use]
    pub fn proxy(&self) -> ProxyOptions {
        let state_dir = PathBuf::from(&*self.settings.listen.state_dir);
        let base = ProxyOptions::spawn(state_dir, self.haproxy.clone());
        ProxyOptions { mode: self.mode.clone(), inherit_stdout: self.inherit_stdout, ..base }
    }
}
