//! Reading and decoding files, many at once on all processors.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::scan::Stamp;
use super::store::Store;
use super::yaml::{self, Document, Piece, Reader};

/// Longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 512 << 20;
/// Files from this size on are decoded document by document on all processors.
const BIG_FILE_BYTES: u64 = 2 << 20;
/// Most threads; beyond, reading is bound by memory.
const THREADS_MAX: usize = 8;

/// The text of a file and which version of the file it is.
pub(super) fn text(path: &Path) -> io::Result<(String, Stamp)> {
    let mut file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.len() > FILE_BYTES_MAX {
        let what = format!("longer than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))?;
    Ok((text, Stamp::of(&metadata)))
}

/// Reads files into a store and returns the version of each that was readable.
pub(super) fn all(
    root: &Path,
    files: BTreeMap<Arc<Path>, Stamp>,
    store: &mut Store,
    by: Reader<'_>,
) -> Vec<(Arc<Path>, Stamp)> {
    let paths: Vec<(Arc<Path>, Stamp)> = files.into_iter().collect();
    let former = &*store;
    let read = |(path, stamp): &(Arc<Path>, Stamp)| {
        if stamp.size >= BIG_FILE_BYTES {
            // Left for later, so that all processors work on it.
            return Ok((None, *stamp));
        }
        let (text, stamp) = text(&root.join(path))?;
        let pieces = yaml::pieces(&text);
        Ok((Some(yaml::documents(&pieces, former.documents(path), by)), stamp))
    };
    let results = in_parallel(paths.len(), |at| paths.get(at).map_or_else(|| Err(gone()), read));
    let mut stamps = Vec::with_capacity(paths.len());
    let mut events = Vec::new();
    for ((path, _), result) in paths.into_iter().zip(results) {
        let result = result.and_then(|(documents, stamp)| match documents {
            Some(documents) => Ok((documents, stamp)),
            None => one(root, &path, store, by),
        });
        match result {
            Ok((documents, stamp)) => {
                store.file_read(&path, documents, by.vault, &mut events);
                stamps.push((path, stamp));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => store.file_unreadable(&path, &error.to_string()),
        }
        events.clear();
    }
    stamps
}

/// Reads one file, on all processors if it is big.
pub(super) fn one(
    root: &Path,
    path: &Arc<Path>,
    store: &Store,
    by: Reader<'_>,
) -> io::Result<(Vec<Document>, Stamp)> {
    let (text, stamp) = text(&root.join(path))?;
    let pieces = yaml::pieces(&text);
    let former = store.documents(path);
    if (text.len() as u64) < BIG_FILE_BYTES || !former.is_empty() || pieces.len() < 2 {
        return Ok((yaml::documents(&pieces, former, by), stamp));
    }
    let decode = |piece: &Piece<'_>| yaml::document(*piece, by);
    let documents = in_parallel(pieces.len(), |at| pieces.get(at).map(decode));
    Ok((documents.into_iter().flatten().collect(), stamp))
}

fn gone() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

/// The results of `work` for 0 to `count`, in order.
fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = threads.min(THREADS_MAX).min(count);
    if threads <= 1 {
        return (0..count).map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let run = || {
        let mut results = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return results;
            }
            results.push((at, work(at)));
        }
    };
    let mut results = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut results = run();
        for other in others {
            match other.join() {
                Ok(more) => results.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}
