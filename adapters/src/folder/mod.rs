//! The folder source: Kubernetes manifests in a folder, live on change, no cluster needed.
//!
//! In: `*.yaml`, `*.yml` and `*.json` below a folder (links followed, hidden entries left out;
//! several documents, `kind: List`). Out: batches of [`Event`]s. First a complete list of every
//! kind, then only what differs, object by object, and the problems of the files. A file counts
//! when its writer closes it or renames it into place. A file that cannot be parsed or read
//! leaves its last good version in force; only a file that is gone takes its objects with it.
//! Does not look at what the objects mean.
//!
//! It runs on a thread of its own and uses the operating system directly: inotify has no
//! counterpart in the simulator, which feeds events instead.

mod block;
mod load;
mod scalar;
mod scan;
mod store;
mod watch;
mod yaml;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tidegate_core::event::Event;
use tidegate_core::world::object::Name;

use crate::vault::Vault;
use store::Store;
use watch::{Signal, Watch};
use yaml::Reader;

/// Options of a folder source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderSettings {
    /// The folder.
    pub path: PathBuf,
    /// The controller's own ConfigMap and those that flags name; all others are left out.
    pub config_maps: BTreeSet<Name>,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It is missing, not a folder, or not readable.
    #[error("cannot read the folder {}", path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Changes in it cannot be followed.
    #[error("cannot follow changes in the folder {}", path.display())]
    Unwatchable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: notify::Error,
    },
}

/// A running folder source. Dropping it stops it.
#[derive(Debug)]
pub struct Folder {
    signals: mpsc::Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Folder {
    /// Starts to follow a folder. The first batch has [`Event::Relisted`] for every kind, also
    /// the empty ones, and the problems found. It ends when `events` is closed.
    ///
    /// # Errors
    /// When the folder is missing or cannot be watched.
    pub fn start(
        settings: FolderSettings,
        vault: Arc<Vault>,
        events: tokio::sync::mpsc::Sender<Vec<Event>>,
    ) -> Result<Folder, FolderError> {
        check(&settings.path)?;
        // Notifications name absolute paths.
        let absolute = std::path::absolute(&settings.path);
        let settings =
            FolderSettings { path: absolute.unwrap_or_else(|_| settings.path.clone()), ..settings };
        let path = settings.path.clone();
        let (signals, inbox) = mpsc::channel();
        let unwatchable = |source| FolderError::Unwatchable { path, source };
        let watch = Watch::new(settings, vault, events, signals.clone(), inbox);
        let watch = watch.map_err(unwatchable)?;
        let path = watch.root().to_owned();
        let thread = std::thread::Builder::new().name("folder".to_owned());
        let thread = thread.spawn(move || watch.run());
        let thread = thread.map_err(|source| FolderError::Unreadable { path, source })?;
        Ok(Folder { signals, thread: Some(thread) })
    }

    /// Whether it still runs. It ends by itself only when nobody takes its events any more.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops it and waits for its end. Blocks for some milliseconds, or, when the channel of
    /// events is full, until there is room in it.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It may have ended already; then nobody receives, and there is nothing to stop.
        let _ = self.signals.send(Signal::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = self.signals.send(Signal::Stop);
    }
}

/// Reads a folder once, for the verbs that do not follow it: the same events as the first batch
/// of [`Folder::start`].
///
/// # Errors
/// When the folder is missing or not readable.
pub fn read(settings: &FolderSettings, vault: &Vault) -> Result<Vec<Event>, FolderError> {
    check(&settings.path)?;
    let scan::Found { files, unreadable } = scan::walk(&settings.path, &mut |_, _| {})
        .map_err(|source| FolderError::Unreadable { path: settings.path.clone(), source })?;
    let mut store = Store::default();
    let by = Reader { vault, config_maps: &settings.config_maps };
    load::all(&settings.path, files, &mut store, by);
    let unreadable = unreadable.iter().map(|(path, error)| watch::unreadable(path, error));
    store.set_general(unreadable.collect());
    let mut events = store.relisted();
    events.extend(store.changed_problems());
    Ok(events)
}

/// Reads texts as if they were the files of a folder: the same events as the first batch of
/// [`Folder::start`].
pub(crate) fn read_texts<'t>(
    texts: impl Iterator<Item = (&'t Path, &'t str)>,
    config_maps: &BTreeSet<Name>,
    vault: &Vault,
) -> Vec<Event> {
    let by = Reader { vault, config_maps };
    let mut store = Store::default();
    for (path, text) in texts {
        let documents = yaml::documents(&yaml::pieces(text), &[], by);
        store.file_read(&path.into(), documents, vault, &mut Vec::new());
    }
    let mut events = store.relisted();
    events.extend(store.changed_problems());
    events
}

/// The manifests of a folder as they are: path from the folder, and text.
///
/// # Errors
/// When the folder is missing, or something in it cannot be read: half of it would be misleading.
pub(crate) fn texts(folder: &Path) -> Result<Vec<(PathBuf, String)>, FolderError> {
    check(folder)?;
    let unreadable = |path: PathBuf| move |source| FolderError::Unreadable { path, source };
    let found = scan::walk(folder, &mut |_, _| {}).map_err(unreadable(folder.to_owned()))?;
    if let Some((path, source)) = found.unreadable.into_iter().next() {
        return Err(FolderError::Unreadable { path: folder.join(path), source });
    }
    let mut texts = Vec::new();
    for path in found.files.into_keys() {
        let (text, _) = load::text(&folder.join(&path)).map_err(unreadable(folder.join(&path)))?;
        texts.push((path.to_path_buf(), text));
    }
    Ok(texts)
}

fn check(path: &Path) -> Result<(), FolderError> {
    let not_folder = || io::Error::new(io::ErrorKind::NotADirectory, "not a folder");
    std::fs::metadata(path)
        .and_then(|metadata| if metadata.is_dir() { Ok(()) } else { Err(not_folder()) })
        .map_err(|source| FolderError::Unreadable { path: path.to_owned(), source })
}
