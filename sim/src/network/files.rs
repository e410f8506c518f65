//! The files that tidegate and HAProxy share, in memory.
//!
//! Job: what a file system keeps when a process dies: everything that was written until then, also
//! in the middle of a file. Inputs: verbs of [`Files`], and what goes wrong (a full disk, a death
//! after so many writes). Outputs: bytes. Not here: what a power loss leaves (`power`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate::ports::{Append, BoxFuture, Files, Job, Lock};

use super::power::{Content, failed};
use crate::dice::Dice;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Folder,
    /// The number of the content: a file may have several names.
    File(u64),
    Link(PathBuf),
}

#[derive(Default)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<PathBuf, Node>,
    /// Names as they are on the disk, whatever happens.
    pub(super) safe: BTreeMap<PathBuf, Node>,
    pub(super) contents: BTreeMap<u64, Content>,
    next: u64,
    locks: BTreeSet<PathBuf>,
    full: bool,
    /// Syncs fail.
    pub(super) is_unsafe: bool,
    /// Writes that the present process may still make.
    writes_left: Option<u64>,
    /// Who writes now: whoever came before is dead.
    life: u64,
    killed: bool,
    slow_ms: u64,
}

/// The disk. Cheap to clone.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files as the next process sees them; the one before can do nothing any more.
    #[must_use]
    pub fn mount(&self) -> Mounted {
        let mut state = self.state();
        state.life += 1;
        (state.killed, state.writes_left) = (false, None);
        state.locks.clear();
        Mounted { disk: self.clone(), life: state.life }
    }

    /// Whether the disk is full.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// Whether syncs fail.
    pub fn set_unsafe(&self, is_unsafe: bool) {
        self.state().is_unsafe = is_unsafe;
    }

    /// The process that has mounted it dies with its write after so many others.
    pub fn die_after(&self, writes: u64) {
        self.state().writes_left = Some(writes);
    }

    /// Whether it died so. It has no effect from then on.
    #[must_use]
    pub fn has_killed(&self) -> bool {
        self.state().killed
    }

    /// The next blocking work takes so many milliseconds more.
    pub fn slow(&self, ms: u64) {
        self.state().slow_ms = ms;
    }

    /// The content of a file, as HAProxy reads it.
    #[must_use]
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        self.state().read(path).ok()
    }

    /// Where a name leads to, links followed.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.state().resolve(path)
    }

    /// Names of the files directly in a folder.
    #[must_use]
    pub fn names(&self, folder: &Path) -> Vec<String> {
        self.state().list(folder).unwrap_or_default()
    }

    /// Every file with its content.
    #[must_use]
    pub fn all(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.state();
        let files = state.nodes.iter().filter_map(|(path, node)| match node {
            Node::File(number) => {
                Some((path.clone(), state.contents.get(number)?.bytes().to_vec()))
            }
            Node::Folder | Node::Link(_) => None,
        });
        files.collect()
    }

    /// Appends, as HAProxy does to its log.
    pub fn log(&self, path: &Path, text: &str) {
        let mut state = self.state();
        let number = state.file(path);
        state.contents.entry(number).or_default().append(text.as_bytes());
    }

    /// Puts a file there, for good.
    pub fn put(&self, path: &Path, content: &[u8]) {
        let mut state = self.state();
        let number = state.file(path);
        state.contents.insert(number, Content::safe(content));
        state.safe.insert(path.to_owned(), Node::File(number));
    }

    /// All names that there are stay, whatever happens.
    pub fn settle(&self) {
        let mut state = self.state();
        state.safe = state.nodes.clone();
    }

    /// The power fails: what was not synced is there or not, as the dice say.
    pub fn cut_power(&self, dice: &mut Dice) {
        self.state().cut_power(dice);
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl State {
    fn resolve(&self, path: &Path) -> PathBuf {
        match (self.nodes.get(path), path.parent()) {
            (Some(Node::Link(target)), Some(parent)) => parent.join(target),
            _ => path.to_owned(),
        }
    }

    fn number(&self, path: &Path) -> io::Result<u64> {
        match self.nodes.get(&self.resolve(path)) {
            Some(Node::File(number)) => Ok(*number),
            Some(Node::Folder | Node::Link(_)) => Err(io::ErrorKind::InvalidInput.into()),
            None => Err(missing()),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let number = self.number(path)?;
        self.contents.get(&number).map(|content| content.bytes().to_vec()).ok_or_else(missing)
    }

    /// The number of a file, which is made if it is missing.
    fn file(&mut self, path: &Path) -> u64 {
        if let Ok(number) = self.number(path) {
            return number;
        }
        self.fresh(path)
    }

    /// A new file under a name; whatever had the name loses it.
    fn fresh(&mut self, path: &Path) -> u64 {
        self.next += 1;
        self.nodes.insert(path.to_owned(), Node::File(self.next));
        self.contents.insert(self.next, Content::default());
        self.next
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        if !matches!(self.nodes.get(folder), Some(Node::Folder)) {
            return Err(missing());
        }
        let inside = self.nodes.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    /// Contents without a name are gone, unless a power loss may bring it back.
    pub(super) fn tidy(&mut self) {
        let named: BTreeSet<u64> = self
            .nodes
            .values()
            .chain(self.safe.values())
            .filter_map(|node| match node {
                Node::File(number) => Some(*number),
                Node::Folder | Node::Link(_) => None,
            })
            .collect();
        self.contents.retain(|number, _| named.contains(number));
    }
}

/// The files as one process sees them.
#[derive(Clone)]
pub struct Mounted {
    disk: Disk,
    life: u64,
}

impl Mounted {
    /// The state, if the process lives.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.life != self.life || state.killed {
            return Err(io::Error::other("this process is dead"));
        }
        Ok(state)
    }

    /// The state for a change, if there is room. The last change before death is done by half:
    /// `Some` says how much of so many bytes is written.
    fn change(&self, bytes: usize) -> io::Result<(MutexGuard<'_, State>, usize)> {
        let mut state = self.alive()?;
        if state.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        match &mut state.writes_left {
            Some(0) => {
                state.killed = true;
                Ok((state, bytes / 2))
            }
            Some(left) => {
                *left -= 1;
                Ok((state, bytes))
            }
            None => Ok((state, bytes)),
        }
    }
}

impl Files for Mounted {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.alive()?.read(path)
    }

    fn write(&self, path: &Path, content: &[u8], _: u32) -> io::Result<()> {
        let (mut state, room) = self.change(content.len())?;
        if state.killed && room < content.len() {
            // It died before the rename: what was there stays.
            return Err(io::Error::other("this process is dead"));
        }
        if state.is_unsafe {
            // Synced before the rename: what was there stays.
            return Err(failed());
        }
        let number = state.fresh(path);
        state.contents.entry(number).or_default().append(content);
        state.sync(path);
        state.tidy();
        Ok(())
    }

    fn create(&self, path: &Path, _: u32) -> io::Result<Box<dyn Write + Send>> {
        let (mut state, _) = self.change(0)?;
        let number = state.file(path);
        state.contents.entry(number).or_default().truncate(0);
        Ok(Box::new(Handle {
            mounted: self.clone(),
            number,
            gather: GATHERED,
            gathered: Vec::new(),
        }))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let (mut state, _) = self.change(0)?;
        if state.killed {
            return Err(io::Error::other("this process is dead"));
        }
        state.nodes.get(path).ok_or_else(missing)?;
        state.sync_or_fail(path)
    }

    fn append(&self, path: &Path, _: u32) -> io::Result<Box<dyn Append>> {
        let (mut state, _) = self.change(0)?;
        let number = state.file(path);
        Ok(Box::new(Handle { mounted: self.clone(), number, gather: 1, gathered: Vec::new() }))
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        let mut state = self.alive()?;
        let number = state.number(path)?;
        let content = state.contents.entry(number).or_default();
        content.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(())
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(self.alive()?.read(path)?.len() as u64)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.nodes.remove(path);
        state.tidy();
        Ok(())
    }

    fn create_dir(&self, path: &Path, _: u32) -> io::Result<()> {
        let mut state = self.alive()?;
        for folder in path.ancestors() {
            if state.nodes.insert(folder.to_owned(), Node::Folder).is_none() {
                // Another folder of that name had these.
                state.safe.retain(|name, _| name == folder || !name.starts_with(folder));
            }
        }
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.nodes.retain(|name, _| !name.starts_with(path));
        state.tidy();
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.alive()?.list(path)
    }

    fn point(&self, link: &Path, target: &Path) -> io::Result<()> {
        let (mut state, _) = self.change(0)?;
        if !state.killed {
            state.nodes.insert(link.to_owned(), Node::Link(target.to_owned()));
            state.sync_or_fail(link)?;
        }
        Ok(())
    }

    fn pointee(&self, link: &Path) -> io::Result<PathBuf> {
        match self.alive()?.nodes.get(link) {
            Some(Node::Link(target)) => Ok(target.clone()),
            Some(Node::File(_) | Node::Folder) => Err(io::ErrorKind::InvalidInput.into()),
            None => Err(missing()),
        }
    }

    fn share(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (mut state, _) = self.change(0)?;
        let number = state.number(from)?;
        state.nodes.insert(to.to_owned(), Node::File(number));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut state = self.alive()?;
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.file(path);
        Ok(Box::new(Held { mounted: self.clone(), path: path.to_owned() }))
    }

    fn offload(&self, job: Job) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let slow = std::mem::take(&mut self.disk.state().slow_ms);
            if slow > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(slow)).await;
            }
            job();
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        })
    }
}

/// Bytes gathered before they are on the disk, as a real writer does.
const GATHERED: usize = 4096;

struct Handle {
    mounted: Mounted,
    number: u64,
    gather: usize,
    gathered: Vec<u8>,
}

impl Handle {
    fn store(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let (mut state, room) = self.mounted.change(self.gathered.len())?;
        let kept = self.gathered.get(..room).unwrap_or_default();
        state.contents.entry(self.number).or_default().append(kept);
        self.gathered.clear();
        Ok(())
    }
}

impl Write for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= self.gather {
            self.store()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.store()
    }
}

impl Append for Handle {
    fn sync(&mut self) -> io::Result<()> {
        self.store()?;
        let mut state = self.mounted.alive()?;
        let is_unsafe = state.is_unsafe;
        let Some(content) = state.contents.get_mut(&self.number) else { return Ok(()) };
        if is_unsafe {
            content.lose();
            return Err(failed());
        }
        content.sync();
        Ok(())
    }
}

struct Held {
    mounted: Mounted,
    path: PathBuf,
}

impl Lock for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.mounted.disk.state();
        // Who mounted it since has locks of its own.
        if state.life == self.mounted.life {
            state.locks.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_leaves_half_a_write_and_nothing_after_it() {
        let disk = Disk::default();
        let files = disk.mount();
        files.create_dir(Path::new("/s"), 0).unwrap();
        files.write(Path::new("/s/a"), b"old", 0).unwrap();
        disk.die_after(1);
        let mut file = files.create(Path::new("/s/b"), 0).unwrap();
        file.write_all(b"0123456789").unwrap();
        file.flush().unwrap();
        assert!(disk.has_killed());
        assert!(files.write(Path::new("/s/a"), b"new", 0).is_err());
        assert_eq!(disk.read(Path::new("/s/b")).unwrap(), b"01234");
        let next = disk.mount();
        assert_eq!(next.read(Path::new("/s/a")).unwrap(), b"old");
        assert!(files.read(Path::new("/s/a")).is_err());
    }

    #[test]
    fn a_lock_is_of_the_process_that_took_it() {
        let disk = Disk::default();
        let (first, path) = (disk.mount(), Path::new("/l"));
        let held = first.lock(path).unwrap();
        assert!(first.lock(path).is_err());
        let second = disk.mount();
        let other = second.lock(path).unwrap();
        drop(held);
        assert!(second.lock(path).is_err());
        drop(other);
        assert!(second.lock(path).is_ok());
    }
}
