//! A small disk that can be full or read-only.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small disk.
pub struct Disk {
    /// Where it is mounted.
    pub path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Disk {
    /// An empty disk of this size.
    pub fn mount(size: &str) -> Disk {
        let folder = tempfile::Builder::new()
            .prefix("disk-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        let (path, options) = (folder.path().to_owned(), format!("size={size}"));
        run("mount", &["-t", "tmpfs", "-o", &options, "tidegate-tests", &path.to_string_lossy()]);
        Disk { path, _folder: folder }
    }

    /// Lays a read-only view of the disk over it, for as long as the answer lives. Unlike a
    /// remount, that works while files are open.
    pub fn freeze(&self) -> Trouble {
        let path = self.path.to_string_lossy();
        run("mount", &["--bind", &path, &path]);
        run("mount", &["-o", "remount,bind,ro", &path]);
        Trouble::Frozen(self.path.clone())
    }

    /// Leaves no byte free, for as long as the answer lives.
    pub fn fill(&self) -> Trouble {
        let (path, piece) = (self.path.join("filler"), vec![0; 1 << 16]);
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&piece).is_ok() {}
        Trouble::Full(path)
    }
}

/// What is wrong with a disk until this is dropped.
pub enum Trouble {
    /// It is read-only, by a mount over it.
    Frozen(PathBuf),
    /// This file fills it.
    Full(PathBuf),
}

impl Drop for Trouble {
    fn drop(&mut self) {
        match self {
            Trouble::Frozen(path) => unmount(path),
            Trouble::Full(path) => drop(fs::remove_file(path)),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

/// Lazily, as HAProxy may still be at its end.
fn unmount(path: &Path) {
    let _ = Command::new("umount").arg("-l").arg(path).status();
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
}
