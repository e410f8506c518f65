//! Where things are when no flag says: the state folder, HAProxy's executable.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::haproxy::capabilities::Release;

/// The folder for state: `/var/lib/tidegate` for root, otherwise below the user's home.
///
/// # Errors
/// When there is no home folder.
pub fn state_dir() -> anyhow::Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/tidegate"));
    }
    let base = match env::var_os("XDG_STATE_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => home().context("no home folder; give --state-dir")?.join(".local/state"),
    };
    Ok(base.join("tidegate"))
}

/// HAProxy's executable: from `PATH`, otherwise the newest that `install.sh` fetched.
#[must_use]
pub fn haproxy() -> Option<PathBuf> {
    haproxy_on_path().or_else(|| newest_fetched(None))
}

/// HAProxy's executable for the demo: the newest that `install.sh` fetched, otherwise from `PATH`.
#[must_use]
pub fn haproxy_for_demo() -> Option<PathBuf> {
    newest_fetched(None).or_else(haproxy_on_path)
}

fn haproxy_on_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join("haproxy")).find(|file| file.is_file())
}

/// The newest HAProxy that `deploy/haproxy/install.sh` fetched, or the one of a branch (`3.2`).
#[must_use]
pub fn newest_fetched(branch: Option<&str>) -> Option<PathBuf> {
    let dir = fetched_dir()?;
    let mut found: Vec<(Release, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(dir).ok()?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let binary = entry.path().join("haproxy");
        if branch.is_none_or(|branch| branch == name)
            && let Some(release) = Release::parse(name)
            && binary.is_file()
        {
            found.push((release, binary));
        }
    }
    found.into_iter().max().map(|(_, binary)| binary)
}

fn fetched_dir() -> Option<PathBuf> {
    if let Some(dir) = env::var_os("TIDEGATE_HAPROXY_DIR") {
        return Some(PathBuf::from(dir));
    }
    let cache = match env::var_os("XDG_CACHE_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => home()?.join(".cache"),
    };
    Some(cache.join("tidegate/haproxy"))
}

/// The name of this host; in a pod, that of the pod.
///
/// # Errors
/// When it has none.
pub fn host_name() -> anyhow::Result<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    anyhow::ensure!(!name.is_empty(), "the host has no name; give --identity");
    Ok(name)
}

fn home() -> Option<PathBuf> {
    env::var_os("HOME").filter(|home| Path::new(home).is_absolute()).map(PathBuf::from)
}
