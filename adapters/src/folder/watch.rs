//! The thread that follows a folder: inotify's events to changed files to batches of events.
//!
//! A file is read when its writer closes it or renames it into place, so a half-written file is
//! not seen. A file that disappears is waited for a moment, as editors replace files by removing
//! the old one first. Now and then the whole folder is compared with what is known, so that a
//! lost notification heals.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind, RenameMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tidegate_core::event::Event;

use super::FolderSettings;
use super::load;
use super::scan::{self, Stamp, is_manifest};
use super::store::Store;
use super::yaml::Reader;
use crate::vault::Vault;

/// Longest time for which changes that keep arriving are gathered into one batch. A batch is
/// never held back for more to come.
const BATCH_MAX: Duration = Duration::from_millis(2);
/// How long a file may be missing before it counts as removed.
const VANISH: Duration = Duration::from_millis(10);
/// Time between comparisons of the whole folder.
const RESCAN: Duration = Duration::from_secs(10);
/// The same while something needs another look.
const RESCAN_SOON: Duration = Duration::from_secs(1);

/// What wakes the thread.
#[derive(Debug)]
pub(super) enum Signal {
    /// From the operating system.
    Notified(notify::Result<notify::Event>),
    /// To end.
    Stop,
}

/// What a notification is about.
#[derive(Debug)]
enum Touched {
    /// A file has new content.
    Written(PathBuf),
    /// A file is not there any more.
    Gone(PathBuf),
    /// Anything may have changed.
    Anything,
    /// Nothing of interest.
    Nothing,
}

/// Changes that are handled together.
#[derive(Default)]
struct Batch {
    written: BTreeSet<PathBuf>,
    gone: BTreeSet<PathBuf>,
    rescan: bool,
}

/// The thread's state.
pub(super) struct Watch {
    settings: FolderSettings,
    vault: Arc<Vault>,
    events: tokio::sync::mpsc::Sender<Vec<Event>>,
    inbox: mpsc::Receiver<Signal>,
    watcher: RecommendedWatcher,
    /// Watched folders and their identities.
    folders: BTreeMap<PathBuf, (u64, u64)>,
    stamps: BTreeMap<Arc<Path>, Stamp>,
    store: Store,
    vanishing: BTreeMap<Arc<Path>, Instant>,
    /// Files that changed without a notification, as seen by the last comparison: perhaps they
    /// are still being written.
    unsettled: BTreeMap<Arc<Path>, Stamp>,
    rescan_at: Instant,
}

/// The receiver of the events is gone.
struct Closed;

impl Watch {
    pub fn new(
        settings: FolderSettings,
        vault: Arc<Vault>,
        events: tokio::sync::mpsc::Sender<Vec<Event>>,
        signals: mpsc::Sender<Signal>,
        inbox: mpsc::Receiver<Signal>,
    ) -> notify::Result<Watch> {
        let watcher = notify::recommended_watcher(move |notified| {
            // Nobody receives when the thread has ended; then there is nothing to tell.
            let _ = signals.send(Signal::Notified(notified));
        })?;
        Ok(Watch {
            settings,
            vault,
            events,
            inbox,
            watcher,
            folders: BTreeMap::new(),
            stamps: BTreeMap::new(),
            store: Store::default(),
            vanishing: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            rescan_at: Instant::now() + RESCAN,
        })
    }

    pub fn root(&self) -> &Path {
        &self.settings.path
    }

    /// Runs until told to stop or nobody takes the events.
    pub fn run(mut self) {
        let first = self.first();
        if self.send(first).is_err() {
            return;
        }
        while let Some(batch) = self.wait() {
            let events = self.changes(batch);
            if self.send(events).is_err() {
                return;
            }
        }
    }

    fn send(&self, events: Vec<Event>) -> Result<(), Closed> {
        if events.is_empty() {
            return Ok(());
        }
        self.events.blocking_send(events).map_err(|_| Closed)
    }

    /// Reads everything.
    fn first(&mut self) -> Vec<Event> {
        if let Some(found) = self.walk() {
            let by = Reader { vault: &self.vault, config_maps: &self.settings.config_maps };
            let stamps = load::all(&self.settings.path, found, &mut self.store, by);
            self.stamps = stamps.into_iter().collect();
        }
        let mut events = self.store.relisted();
        events.extend(self.store.changed_problems());
        events
    }

    /// The next batch of changes; `None` to end.
    fn wait(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut until: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let wake = match until {
                Some(until) if until > now => now,
                Some(_) => return Some(batch),
                None => {
                    let vanish = self.vanishing.values().min().map(|since| *since + VANISH);
                    vanish.map_or(self.rescan_at, |at| at.min(self.rescan_at))
                }
            };
            match self.inbox.recv_timeout(wake.saturating_duration_since(now)) {
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
                Ok(Signal::Notified(notified)) => {
                    for touched in self.touched(notified) {
                        match touched {
                            Touched::Written(path) => {
                                batch.gone.remove(&path);
                                batch.written.insert(path);
                            }
                            Touched::Gone(path) => {
                                batch.written.remove(&path);
                                batch.gone.insert(path);
                            }
                            Touched::Anything => batch.rescan = true,
                            Touched::Nothing => continue,
                        }
                        until = until.or_else(|| Some(Instant::now() + BATCH_MAX));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    batch.rescan |= Instant::now() >= self.rescan_at;
                    return Some(batch);
                }
            }
        }
    }

    fn touched(&self, notified: notify::Result<notify::Event>) -> Vec<Touched> {
        let Ok(event) = notified else { return vec![Touched::Anything] };
        if event.need_rescan() {
            return vec![Touched::Anything];
        }
        let kind = event.kind;
        event.paths.into_iter().map(|path| self.touched_path(kind, path)).collect()
    }

    fn touched_path(&self, kind: EventKind, path: PathBuf) -> Touched {
        let manifest = is_manifest(&path);
        let known_folder = self.folders.contains_key(&path);
        match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) if manifest => {
                Touched::Written(path)
            }
            EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder) => {
                Touched::Anything
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => arrived(path, manifest, false),
            EventKind::Create(_) => arrived(path, manifest, true),
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => {
                match (manifest, known_folder) {
                    (_, true) => Touched::Anything,
                    (true, false) => Touched::Gone(path),
                    (false, false) => Touched::Nothing,
                }
            }
            EventKind::Modify(ModifyKind::Metadata(_)) if manifest => {
                // Permissions may have been given.
                match path.strip_prefix(&self.settings.path) {
                    Ok(path_in) if !self.store.is_readable(path_in) => Touched::Written(path),
                    Ok(_) | Err(_) => Touched::Nothing,
                }
            }
            _ => Touched::Nothing,
        }
    }

    /// Works off a batch.
    fn changes(&mut self, batch: Batch) -> Vec<Event> {
        let mut events = Vec::new();
        let now = Instant::now();
        for path in batch.written {
            if let Ok(path) = path.strip_prefix(&self.settings.path) {
                self.read(&path.into(), &mut events);
            }
        }
        for path in batch.gone {
            if let Ok(path_in) = path.strip_prefix(&self.settings.path)
                && std::fs::metadata(&path).is_err()
                && self.stamps.contains_key(path_in)
            {
                self.vanishing.entry(path_in.into()).or_insert(now);
            }
        }
        if batch.rescan {
            self.rescan(&mut events);
        }
        self.remove_vanished(&mut events);
        // A file that is being renamed is there twice for a moment: no reason to complain.
        if self.vanishing.is_empty() {
            events.extend(self.store.changed_problems());
        }
        events
    }

    fn read(&mut self, path: &Arc<Path>, events: &mut Vec<Event>) {
        let root = &self.settings.path;
        let by = Reader { vault: &self.vault, config_maps: &self.settings.config_maps };
        match load::one(root, path, &self.store, by) {
            Ok((documents, stamp)) => {
                self.vanishing.remove(path);
                self.unsettled.remove(path);
                self.stamps.insert(Arc::clone(path), stamp);
                self.store.file_read(path, documents, &self.vault, events);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.stamps.contains_key(path) {
                    self.vanishing.entry(Arc::clone(path)).or_insert_with(Instant::now);
                }
            }
            Err(error) => self.store.file_unreadable(path, &error.to_string()),
        }
    }

    /// Removes the files that have been missing for long enough.
    fn remove_vanished(&mut self, events: &mut Vec<Event>) {
        let now = Instant::now();
        let due = self.vanishing.iter().filter(|(_, since)| now >= **since + VANISH);
        let due: Vec<Arc<Path>> = due.map(|(path, _)| Arc::clone(path)).collect();
        for path in due {
            self.vanishing.remove(&path);
            match std::fs::symlink_metadata(self.settings.path.join(&path)) {
                // Back again: its writer will close it, or the next comparison finds it.
                Ok(_) => self.rescan_at = self.rescan_at.min(now + RESCAN_SOON),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if self.settings.path.exists() {
                        self.stamps.remove(&path);
                        self.store.file_removed(&path, &self.vault, events);
                    }
                }
                Err(error) => self.store.file_unreadable(&path, &error.to_string()),
            }
        }
    }

    /// Compares the whole folder with what is known.
    fn rescan(&mut self, events: &mut Vec<Event>) {
        self.rescan_at = Instant::now() + RESCAN;
        let Some(found) = self.walk() else {
            self.rescan_at = Instant::now() + RESCAN_SOON;
            return;
        };
        for (path, stamp) in &found {
            let known = self.stamps.get(path).copied();
            if known == Some(*stamp) && self.store.is_readable(path) {
                self.unsettled.remove(path);
                continue;
            }
            let replaced = known.is_none_or(|known| known.identity != stamp.identity);
            if replaced || self.unsettled.get(path) == Some(stamp) {
                self.read(path, events);
            } else {
                self.unsettled.insert(Arc::clone(path), *stamp);
                self.rescan_at = Instant::now() + RESCAN_SOON;
            }
        }
        let now = Instant::now();
        for path in self.store.paths().filter(|path| !found.contains_key(*path)) {
            self.vanishing.entry(Arc::clone(path)).or_insert(now);
        }
    }

    /// Lists the files and watches every folder. `None` when the root cannot be listed.
    fn walk(&mut self) -> Option<BTreeMap<Arc<Path>, Stamp>> {
        let (watcher, folders) = (&mut self.watcher, &mut self.folders);
        let mut seen = BTreeSet::new();
        let mut unwatched = None;
        let result = scan::walk(&self.settings.path, &mut |folder, identity| {
            seen.insert(folder.to_owned());
            if folders.get(folder) == Some(&identity) {
                return;
            }
            if folders.remove(folder).is_some() {
                // The watch may have ended with the folder it was set on.
                let _ = watcher.unwatch(folder);
            }
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(folders.insert(folder.to_owned(), identity)),
                Err(error) => unwatched = Some(error.to_string()),
            }
        });
        folders.retain(|folder, _| {
            let keep = seen.contains(folder);
            if !keep {
                let _ = watcher.unwatch(folder);
            }
            keep
        });
        let root = &self.settings.path;
        let found = match result {
            Ok(found) => found,
            Err(error) => {
                let what = format!("the folder cannot be read: {error}");
                let instead = "what it said before stays in force";
                self.store.set_general(vec![(root, what, instead, "bring the folder back")]);
                return None;
            }
        };
        let mut general: Vec<_> =
            found.unreadable.iter().map(|(path, error)| unreadable(path, error)).collect();
        if let Some(why) = unwatched {
            let what = format!("changes cannot be followed: {why}");
            let instead = "the folder is compared every 10 seconds";
            general.push((root, what, instead, "raise fs.inotify.max_user_watches"));
        }
        self.store.set_general(general);
        let mut files = found.files;
        // Nothing is known about what is below a folder that cannot be read.
        for path in self.store.paths() {
            if found.unreadable.iter().any(|(folder, _)| path.starts_with(folder))
                && let Some(stamp) = self.stamps.get(path)
            {
                files.insert(Arc::clone(path), *stamp);
            }
        }
        Some(files)
    }
}

/// The problem of a folder that cannot be read.
pub(super) fn unreadable<'a>(
    path: &'a Path,
    error: &io::Error,
) -> (&'a Path, String, &'static str, &'static str) {
    let what = format!("the folder {} cannot be read: {error}", path.display());
    let instead = "what the files in it said before stays in force";
    (path, what, instead, "make it readable for tidegate")
}

/// Something has a new name. `unfinished`: it may be a file whose writer has yet to close it.
fn arrived(path: PathBuf, manifest: bool, unfinished: bool) -> Touched {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(metadata) = std::fs::symlink_metadata(&path) else { return Touched::Nothing };
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    // Volumes of ConfigMaps are switched by renaming the link `..data`.
    let volume = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
    if metadata.is_symlink() && manifest {
        return Touched::Written(path);
    }
    if (metadata.is_dir() && !hidden) || (metadata.is_symlink() && (volume || !hidden)) {
        return Touched::Anything;
    }
    let complete = !unfinished || metadata.nlink() > 1;
    if manifest && metadata.is_file() && complete {
        return Touched::Written(path);
    }
    Touched::Nothing
}
