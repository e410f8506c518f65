//! What is known of the cluster, kept in the state folder: an API server that was emptied while
//! tidegate was not running must not empty HAProxy either.
//!
//! Inputs: the controller, now and then; at a start, the file. Outputs: the file; the first event of
//! a process ([`Event::Remembered`]), and the bytes of its Secrets, from HAProxy's files into the
//! vault. Not here: what absence means (`tidegate_core::world`). No byte of a Secret is in the file.
//!
//! The file is a few seconds old, and up to a minute in a very large cluster. That is enough: lists
//! tell what is new, and what the file is for is what they lack.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidegate_core::controller::Controller;
use tidegate_core::digest::Digest;
use tidegate_core::event::Event;
use tidegate_core::world::memory::Memory;
use tidegate_core::world::object::Object;
use tokio::time::Instant;

use crate::haproxy::files::Generations;
use crate::ports::Files;
use crate::vault::Vault;

/// Link in the state folder to the newest file.
const NAME: &str = "known-objects";

/// First bytes of the file: format, and the version whose types are in it.
const HEAD: &str = concat!("TIDEGATE KNOWN OBJECTS 1 ", env!("CARGO_PKG_VERSION"), "\n");

/// Only for us: it says what a journal says.
const OWNER_ONLY: u32 = 0o600;

/// Time between two writes, for each object in the file: what is written a second is the same in a
/// cluster of any size, a few hundred kilobytes.
const PAUSE_EACH: Duration = Duration::from_micros(1_500);

/// The longest of these times.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What one file may make the decoder allocate, in bytes.
const DECODE_BYTES_MAX: usize = 1 << 30;

/// Bytes written at once.
const PIECE: usize = 64 * 1024;

/// Holds the bytes of remembered Secrets in the vault until they are in force.
const OWNER: &str = "known-objects";

/// Keeps the file.
pub struct Keeper {
    files: Arc<dyn Files>,
    dir: PathBuf,
    /// Something is known that the file does not say; also after a write that failed.
    changed: Arc<AtomicBool>,
    /// No write before that.
    rest_until: Option<Instant>,
    number: u64,
    busy: Arc<AtomicBool>,
}

impl Keeper {
    /// A keeper of the file in a state folder.
    #[must_use]
    pub fn new(files: Arc<dyn Files>, dir: &Path) -> Keeper {
        let number = current(&*files, dir).map_or(0, |(number, _)| number);
        let (changed, busy) = (Arc::default(), Arc::default());
        Keeper { files, dir: dir.to_owned(), changed, rest_until: None, number, busy }
    }

    /// What the process before this one knew. The bytes of its Secrets are taken from the files
    /// that HAProxy has, as far as they are there.
    #[must_use]
    pub fn recall(&self, vault: &Vault) -> Option<Memory> {
        let (_, path) = current(&*self.files, &self.dir)?;
        let memory = match self.files.read(&path).map_err(|e| e.to_string()).and_then(|b| read(&b))
        {
            Ok(memory) => memory,
            Err(why) => {
                tracing::warn!(%why, "what was known before cannot be read; lists are believed");
                return None;
            }
        };
        let bytes = secret_files(&self.files, &self.dir);
        let admitted: Vec<Digest> = bytes.into_iter().map(|bytes| vault.admit(bytes)).collect();
        tracing::info!(objects = memory.len(), "remembered what was known before");
        vault.hold(OWNER, admitted);
        Some(memory)
    }

    /// Takes notice of what arrived.
    pub fn seen(&mut self, events: &[Event]) {
        let changes = events.iter().any(|event| {
            matches!(
                event,
                Event::Upserted(_)
                    | Event::Deleted(_)
                    | Event::Listed(_)
                    | Event::DeletionsAccepted
            )
        });
        if changes {
            self.changed.store(true, Ordering::Release);
        }
    }

    /// Writes when it is time, beside everything else.
    pub fn tidy(&mut self, controller: &Controller, vault: &Vault) {
        let due = self.rest_until.is_none_or(|until| until <= Instant::now());
        if !self.changed.load(Ordering::Acquire) || !due || self.busy.load(Ordering::Acquire) {
            return;
        }
        let Some(job) = self.job(controller) else { return };
        // What is in force is held by core from now on.
        vault.hold(OWNER, Vec::new());
        let files = Arc::clone(&self.files);
        tokio::spawn(async move { files.offload(job).await });
    }

    /// Writes for the last time.
    pub async fn finish(mut self, controller: &Controller) {
        if let Some(job) = self.job(controller) {
            self.files.offload(job).await;
        }
    }

    fn job(&mut self, controller: &Controller) -> Option<crate::ports::Job> {
        let memory = controller.world().memory()?;
        self.changed.store(false, Ordering::Release);
        self.rest_until = Some(Instant::now() + pause(memory.len()));
        self.number += 1;
        self.busy.store(true, Ordering::Release);
        let (files, dir, number) = (Arc::clone(&self.files), self.dir.clone(), self.number);
        let (changed, busy) = (Arc::clone(&self.changed), Arc::clone(&self.busy));
        Some(Box::new(move || {
            if let Err(error) = store(&*files, &dir, number, &memory) {
                tracing::warn!(%error, "what is known cannot be kept for the next start");
                changed.store(true, Ordering::Release);
            }
            busy.store(false, Ordering::Release);
        }))
    }
}

/// Time until the next write after one of so many objects.
fn pause(objects: usize) -> Duration {
    PAUSE_EACH.saturating_mul(u32::try_from(objects).unwrap_or(u32::MAX)).min(PAUSE_MAX)
}

/// The newest file and its number.
fn current(files: &dyn Files, dir: &Path) -> Option<(u64, PathBuf)> {
    let target = files.pointee(&dir.join(NAME)).ok()?;
    let number = target.to_str()?.strip_prefix(NAME)?.strip_prefix('-')?.parse().ok()?;
    Some((number, dir.join(target)))
}

/// Writes a file beside the newest one, and makes it the newest.
fn store(files: &dyn Files, dir: &Path, number: u64, memory: &Memory) -> io::Result<()> {
    let before = current(files, dir);
    let name = format!("{NAME}-{number}");
    let path = dir.join(&name);
    let written = write(files.create(&path, OWNER_ONLY)?, memory)
        .and_then(|()| files.sync(&path))
        .and_then(|()| files.point(&dir.join(NAME), Path::new(&name)));
    if written.is_err() {
        if current(files, dir).is_none_or(|(newest, _)| newest != number) {
            let _ = files.remove(&path);
        }
        return written;
    }
    match before {
        Some((old, path)) if old != number => files.remove(&path),
        _ => Ok(()),
    }
}

fn write(out: Box<dyn Write + Send>, memory: &Memory) -> io::Result<()> {
    // The encoder writes a few bytes at a time.
    let mut out = BufWriter::with_capacity(PIECE, Summed { out, sum: 0 });
    out.write_all(HEAD.as_bytes())?;
    let config = bincode::config::standard();
    bincode::serde::encode_into_std_write(memory, &mut out, config).map_err(io::Error::other)?;
    let mut out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    let sum = out.sum.to_le_bytes();
    out.out.write_all(&sum)?;
    out.out.flush()
}

fn read(bytes: &[u8]) -> Result<Memory, String> {
    let (body, sum) = bytes.split_last_chunk::<4>().ok_or("it is cut short")?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
        return Err("its checksum does not match".to_owned());
    }
    let payload = body.strip_prefix(HEAD.as_bytes()).ok_or("another version wrote it")?;
    let config = bincode::config::standard().with_limit::<DECODE_BYTES_MAX>();
    let decoded = bincode::serde::decode_from_slice::<Memory, _>(payload, config);
    match decoded {
        Ok((memory, used)) if used == payload.len() => Ok(memory),
        Ok(_) => Err("another version wrote it".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The bytes of all secret files of the generation that HAProxy starts with: of everything but its
/// maps and its configuration.
fn secret_files(files: &Arc<dyn Files>, dir: &Path) -> Vec<Vec<u8>> {
    let generations = Generations::new(Arc::clone(files), dir);
    let Some(generation) = generations.current() else { return Vec::new() };
    let config = generations.config_of(generation);
    let Some(root) = config.parent() else { return Vec::new() };
    let folders = files.list(root).unwrap_or_default();
    let folders = folders.iter().filter(|name| *name != "maps").map(|name| root.join(name));
    folders
        .flat_map(|folder| {
            let names = files.list(&folder).unwrap_or_default();
            names.into_iter().map(move |name| folder.join(name))
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "pem"))
        .filter_map(|path| files.read(&path).ok())
        .collect()
}

/// The Secrets of a memory, for the source.
#[must_use]
pub fn secrets(memory: &Memory) -> Vec<Object> {
    memory.secrets().cloned().collect()
}

/// Sums up what is written.
struct Summed {
    out: Box<dyn Write + Send>,
    sum: u32,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.sum = crc32c::crc32c_append(self.sum, bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::files::OsFiles;

    #[test]
    fn a_small_cluster_is_written_often_and_a_large_one_once_a_minute() {
        assert!(pause(1_000) < Duration::from_secs(2));
        assert_eq!((pause(30_000), pause(usize::MAX)), (Duration::from_secs(45), PAUSE_MAX));
    }

    #[test]
    fn what_is_kept_is_read_again_and_what_is_torn_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let files: Arc<dyn Files> = Arc::new(OsFiles);
        let (dir, vault) = (folder.path(), Vault::new([7; 32]));
        assert!(Keeper::new(Arc::clone(&files), dir).recall(&vault).is_none(), "there is none");
        for number in 1..4 {
            store(&*files, dir, number, &Memory::default()).unwrap();
            assert_eq!(files.list(dir).unwrap().len(), 2, "the newest, and the link");
        }
        let keeper = Keeper::new(Arc::clone(&files), dir);
        assert_eq!(keeper.number, 3);
        assert_eq!(keeper.recall(&vault), Some(Memory::default()));
        let (_, path) = current(&*files, dir).unwrap();
        let bytes = files.read(&path).unwrap();
        for torn in [&bytes[..bytes.len() - 1], &bytes[1..], &[]] {
            files.write(&path, torn, OWNER_ONLY).unwrap();
            assert!(keeper.recall(&vault).is_none());
        }
    }
}
