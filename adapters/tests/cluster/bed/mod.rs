//! The bed: a cluster of the test's own, and tidegate in it.

#![allow(dead_code, reason = "a bed has more than every test needs")]

pub mod api;
pub mod balancer;
pub mod crowd;
pub mod disk;
pub mod namespace;
pub mod plane;
pub mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use self::api::{Access, Api};
use self::plane::{ADMIN, PORT, Plane};
use self::wire::Wire;
use crate::common::rig::{Rig, Source};

/// The objects of a [`Rig`], kept in a cluster: what a folder calls a file is a set of objects
/// that come and go together.
pub struct Objects {
    access: Access,
    kubeconfig: PathBuf,
    files: Mutex<BTreeMap<String, Vec<(String, String, String)>>>,
}

impl Source for Objects {
    fn arguments(&self) -> Vec<String> {
        vec!["--kubeconfig".into(), self.kubeconfig.display().to_string()]
    }

    fn put(&self, file: &str, objects: &[Value]) {
        let mut api = Api::new(&self.access);
        let names: Vec<_> = objects.iter().map(api::identity).collect();
        let before = self.files.lock().unwrap().insert(file.to_owned(), names.clone());
        for age in ages(objects) {
            for object in age {
                api.apply(object);
            }
        }
        for (kind, namespace, name) in before.unwrap_or_default() {
            if !names.contains(&(kind.clone(), namespace.clone(), name.clone())) {
                api.delete(&kind, &namespace, &name);
            }
        }
    }

    fn remove(&self, file: &str) {
        let mut api = Api::new(&self.access);
        let before = self.files.lock().unwrap().remove(file);
        for (kind, namespace, name) in before.unwrap_or_else(|| panic!("{file} was never put")) {
            api.delete(&kind, &namespace, &name);
        }
    }
}

/// Objects by the age they ask for, oldest first. The server sets the time of creation, to the
/// second: whoever shall be younger has to wait.
fn ages(objects: &[Value]) -> impl Iterator<Item = Vec<&Value>> {
    let mut ages: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for object in objects {
        let age = object["metadata"]["creationTimestamp"].as_str().unwrap_or("");
        ages.entry(age.to_owned()).or_default().push(object);
    }
    ages.into_values().enumerate().map(|(number, age)| {
        if number > 0 {
            std::thread::sleep(Duration::from_millis(1_050));
        }
        age
    })
}

/// A control plane, a wire to it, and where tidegate finds it.
pub struct Bed {
    /// etcd and kube-apiserver.
    pub plane: Plane,
    /// What tidegate talks to it through.
    pub wire: Wire,
    folder: tempfile::TempDir,
    // Last, so that everything else has ended when the next test begins.
    _alone: MutexGuard<'static, ()>,
}

/// Tests with a bed run one after the other: two control planes and two HAProxies on two cores
/// would say more about the machine than about tidegate.
static ALONE: Mutex<()> = Mutex::new(());

impl Bed {
    /// Enters a network namespace and starts a control plane in it.
    pub fn start() -> Bed {
        Bed::with(&[], false)
    }

    /// The same, with more arguments of the API server, and perhaps an audit log.
    pub fn with(arguments: &[&str], audit: bool) -> Bed {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        namespace::enter();
        let plane = Plane::with(arguments, audit);
        let folder = tempfile::Builder::new()
            .prefix("bed-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        Bed { plane, wire: Wire::to(PORT), folder, _alone: alone }
    }

    /// A client that may do everything, and does not use the wire.
    pub fn api(&self) -> Api {
        self.plane.admin()
    }

    /// The file that tidegate's token is read from.
    pub fn token_file(&self, user: &str) -> PathBuf {
        self.folder.path().join(format!("{user}.token"))
    }

    /// A kubeconfig of a user with this token, through a port.
    pub fn kubeconfig(&self, user: &str, port: u16, token: &str) -> PathBuf {
        let token_file = self.token_file(user);
        fs::write(&token_file, token).unwrap();
        let file = self.folder.path().join(format!("{user}.kubeconfig"));
        self.plane.kubeconfig(&file, port, &token_file);
        file
    }

    /// Makes a ServiceAccount that may do everything, and gives a token of it.
    pub fn account(&self, name: &str) -> String {
        let mut api = self.api();
        api.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": "test"}}));
        api.apply(&json!({"apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "test"}]}));
        api.token("test", name)
    }

    /// A tidegate that follows this cluster over the wire, and may do everything.
    pub fn rig(&self, version: &'static str) -> Rig {
        let kubeconfig = self.kubeconfig("tidegate", self.wire.port, ADMIN);
        self.rig_with(version, kubeconfig)
    }

    /// A tidegate that follows this cluster with this kubeconfig.
    pub fn rig_with(&self, version: &'static str, kubeconfig: PathBuf) -> Rig {
        let access = self.plane.access(PORT, ADMIN);
        let objects = Objects { access, kubeconfig, files: Mutex::default() };
        Rig::on(version, Arc::new(objects))
    }
}
