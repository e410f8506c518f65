//! Where tools of the tests are.

use std::path::PathBuf;

/// The module file that says which kube-apiserver the tests want.
const KUBE: &str = include_str!("../../../deploy/kube/apiserver/go.mod");

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

/// kube-apiserver or etcd. Fails the test when it is missing.
pub fn kube(name: &str) -> PathBuf {
    let version = KUBE.lines().find_map(|line| line.split_once("k8s.io/kubernetes v"));
    let version = version.and_then(|(_, rest)| rest.split_whitespace().next());
    let version = version.expect("go.mod names the version");
    let binary = cached("TIDEGATE_KUBE_DIR", "kube").join(version).join(name);
    assert!(
        binary.is_file(),
        "there is no {name} at {}: run deploy/kube/build.sh (it needs Go), or name its folder in \
         TIDEGATE_KUBE_DIR",
        binary.display()
    );
    binary
}
