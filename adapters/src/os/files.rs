//! Files through `std::fs`, with blocking work on tokio's blocking threads.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock, syncfs};

use crate::ports::{Append, BoxFuture, Files, Job, Lock};

/// Bytes gathered before each write of a file that is written in pieces.
const BUFFER_BYTES: usize = 64 * 1024;

/// More files than these are synced together with all of their file system, as one after the other
/// each waits for the disk. Few are not, as what others wrote is none of our business.
const SYNCED_ALONE_MAX: usize = 100;

/// The machine's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFiles;

impl Files for OsFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(File::open(path)?))
    }

    fn write(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        let temporary = beside(path);
        let written = open_new(&temporary, mode)
            .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written.and_then(|()| sync_names(folder_of(path)))
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(BufWriter::with_capacity(BUFFER_BYTES, open_new(path, mode)?)))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        gather(path, &mut files, &mut folders)?;
        if files.len() > SYNCED_ALONE_MAX {
            return Ok(syncfs(File::open(path)?)?);
        }
        files.iter().try_for_each(|file| File::open(file)?.sync_all())?;
        folders.iter().try_for_each(|folder| sync_names(folder))?;
        sync_names(folder_of(path))
    }

    fn append(&self, path: &Path, mode: u32) -> io::Result<Box<dyn Append>> {
        let file = OpenOptions::new().append(true).create(true).mode(mode).open(path)?;
        Ok(Box::new(Appended(file)))
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(length)
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        missing_is_fine(fs::remove_file(path))
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(mode).create(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        missing_is_fine(fs::remove_dir_all(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn point(&self, link: &Path, target: &Path) -> io::Result<()> {
        let temporary = beside(link);
        let pointed = std::os::unix::fs::symlink(target, &temporary)
            .and_then(|()| fs::rename(&temporary, link));
        if pointed.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        pointed.and_then(|()| sync_names(folder_of(link)))
    }

    fn pointee(&self, link: &Path) -> io::Result<PathBuf> {
        fs::read_link(link)
    }

    fn share(&self, from: &Path, to: &Path) -> io::Result<()> {
        match fs::hard_link(from, to) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            Err(_) => fs::copy(from, to).map(|_| ()),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(Held { _file: file }))
    }

    fn offload(&self, job: Job) -> BoxFuture<'_, ()> {
        let done = tokio::task::spawn_blocking(job);
        Box::pin(async move {
            // A job that panicked has dropped its result channel: its caller sees that.
            let _ = done.await;
        })
    }
}

struct Appended(File);

impl Write for Appended {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Append for Appended {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

struct Held {
    _file: File,
}

impl Lock for Held {}

fn open_new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)
}

/// The folder that a name is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Files below a path that have no second name, and folders, from the inside to the outside.
fn gather(path: &Path, files: &mut Vec<PathBuf>, folders: &mut Vec<PathBuf>) -> io::Result<()> {
    let about = fs::symlink_metadata(path)?;
    if about.is_dir() {
        for entry in fs::read_dir(path)? {
            gather(&entry?.path(), files, folders)?;
        }
        folders.push(path.to_owned());
    } else if about.is_file() && about.nlink() == 1 {
        files.push(path.to_owned());
    }
    Ok(())
}

/// Makes the names in a folder survive a power loss, where the file system knows of that.
fn sync_names(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A name in the same folder, unique within this process.
fn beside(path: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{number}", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("lock");
        let first = OsFiles.lock(&path)?;
        let second = OsFiles.lock(&path).map(|_| ());
        assert_eq!(second.map_err(|e| e.kind()), Err(io::ErrorKind::WouldBlock));
        drop(first);
        OsFiles.lock(&path)?;
        Ok(())
    }

    #[test]
    fn few_files_and_many_can_be_synced_and_what_is_not_there_cannot() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let inside = folder.path().join("a/b");
        OsFiles.create_dir(&inside, 0o700)?;
        for number in 0..=SYNCED_ALONE_MAX {
            OsFiles.jot(&inside.join(format!("{number}")), b"x", 0o600)?;
            if number == 2 {
                OsFiles.share(&inside.join("0"), &folder.path().join("second"))?;
                OsFiles.sync(folder.path())?;
            }
        }
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        gather(folder.path(), &mut files, &mut folders)?;
        assert_eq!((files.len(), folders.len()), (SYNCED_ALONE_MAX, 3), "but the shared one");
        OsFiles.jot(&inside.join("more"), b"x", 0o600)?;
        OsFiles.sync(folder.path())?;
        let missing = OsFiles.sync(&inside.join("nothing"));
        assert_eq!(missing.map_err(|error| error.kind()), Err(io::ErrorKind::NotFound));
        Ok(())
    }

    #[test]
    fn a_pointer_is_replaced_at_once_and_nothing_is_left_beside() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let link = folder.path().join("now");
        for target in ["a", "b"] {
            OsFiles.point(&link, Path::new(target))?;
            assert_eq!(OsFiles.pointee(&link)?, Path::new(target));
        }
        OsFiles.write(&folder.path().join("f"), b"x", 0o600)?;
        assert_eq!(OsFiles.list(folder.path())?, ["f", "now"]);
        Ok(())
    }
}
