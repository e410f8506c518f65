//! Where tools of the tests are.

use std::path::PathBuf;

/// A folder in tidegate's cache, or the one that a variable names.
fn cached(variable: &str, name: &str) -> PathBuf {
    if let Some(dir) = std::env::var_os(variable) {
        return PathBuf::from(dir);
    }
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    cache.unwrap_or_else(|| home.join(".cache")).join("tidegate").join(name)
}

/// helm. Fails the test when it is missing.
pub fn helm() -> PathBuf {
    let binary = cached("TIDEGATE_HELM_DIR", "helm").join("helm");
    assert!(
        binary.is_file(),
        "there is no helm at {}: run deploy/chart/install-helm.sh, or name its folder in \
         TIDEGATE_HELM_DIR",
        binary.display()
    );
    binary
}
