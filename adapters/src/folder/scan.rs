//! Which manifest files a folder holds at the moment: a walk with the identity of each file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Deepest folder below the root that is read.
const DEPTH_MAX: usize = 32;

/// What tells one version of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Device and inode.
    pub identity: (u64, u64),
    /// In bytes.
    pub size: u64,
    /// Seconds and nanoseconds of the last change of content.
    modified: (i64, i64),
}

impl Stamp {
    /// Of the file a path leads to.
    pub fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            identity: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// What a walk found.
#[derive(Default)]
pub(super) struct Found {
    /// Manifest files, by path from the root.
    pub files: BTreeMap<Arc<Path>, Stamp>,
    /// Folders that could not be read; nothing is known about what is below them.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// Whether a name is that of a manifest: `.yaml`, `.yml` or `.json`, not hidden.
pub(super) fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let known = path
        .extension()
        .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
    !hidden && known
}

/// Walks a folder; links are followed, hidden entries are not looked at. `enter` is called with
/// each folder before it is listed, so that a watch set there misses nothing.
///
/// # Errors
/// When the root cannot be listed.
pub(super) fn walk(root: &Path, enter: &mut dyn FnMut(&Path, (u64, u64))) -> io::Result<Found> {
    let mut found = Found::default();
    let mut visited = BTreeSet::new();
    let mut pending = vec![(PathBuf::new(), 0)];
    while let Some((folder, depth)) = pending.pop() {
        let listed = list(root, &folder, depth, &mut visited, &mut found, &mut pending, enter);
        match listed {
            Ok(()) => {}
            Err(error) if depth == 0 => return Err(error),
            // Gone since its parent was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => found.unreadable.push((folder, error)),
        }
    }
    Ok(found)
}

fn list(
    root: &Path,
    folder: &Path,
    depth: usize,
    visited: &mut BTreeSet<(u64, u64)>,
    found: &mut Found,
    pending: &mut Vec<(PathBuf, usize)>,
    enter: &mut dyn FnMut(&Path, (u64, u64)),
) -> io::Result<()> {
    let full = root.join(folder);
    let identity = Stamp::of(&std::fs::metadata(&full)?).identity;
    if !visited.insert(identity) {
        return Ok(());
    }
    enter(&full, identity);
    for entry in std::fs::read_dir(&full)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = folder.join(&name);
        let kind = entry.file_type()?;
        let maybe_folder = kind.is_dir() || kind.is_symlink();
        if !maybe_folder && !is_manifest(&path) {
            continue;
        }
        // A link that leads nowhere is a file that is not there.
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        if metadata.is_dir() && depth < DEPTH_MAX {
            pending.push((path, depth + 1));
        } else if metadata.is_file() && is_manifest(&path) {
            found.files.insert(path.into(), Stamp::of(&metadata));
        }
    }
    Ok(())
}
