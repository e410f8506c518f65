//! What is the same for all states of the small world, and computed once: what is wanted in a view,
//! and what a worker has that loads the files.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use tidegate_core::capability::Capabilities;
use tidegate_core::desired::Image;
use tidegate_core::digest::Digest;
use tidegate_core::render;
use tidegate_core::settings::Settings;

use super::world::{self, View, Wanted};
use crate::hash::Hash128;
use crate::model::haproxy::Haproxy;
use crate::model::load;

/// What never changes, and what is computed once for all states.
pub struct Lab {
    /// Settings.
    pub settings: Settings,
    /// What HAProxy can do.
    pub capabilities: Capabilities,
    wanted: RwLock<BTreeMap<View, Arc<Wanted>>>,
    loaded: RwLock<BTreeMap<u128, Loaded>>,
}

/// What files with a hash hold: the digest that the adapter names them by, and a worker that loads
/// them.
type Loaded = (Digest, Result<Memory, String>);

/// A worker's memory with its hash.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The memory.
    pub haproxy: Arc<Haproxy>,
    pub(super) hash: u128,
}

/// Files on disk.
#[derive(Clone, Debug)]
pub struct Files {
    /// What they were rendered from.
    pub image: Arc<Image>,
    pub(super) digest: Digest,
    pub(super) hash: u128,
}

impl Memory {
    pub(super) fn new(haproxy: Haproxy) -> Memory {
        let mut memory = Memory { haproxy: Arc::new(haproxy), hash: 0 };
        memory.rehash();
        memory
    }

    pub(super) fn rehash(&mut self) {
        let mut hasher = Hash128::default();
        self.haproxy.fingerprint(&mut hasher);
        self.hash = hasher.finish128();
    }
}

impl Lab {
    /// For an HAProxy with these abilities.
    #[must_use]
    pub fn new(capabilities: Capabilities) -> Lab {
        Lab {
            settings: world::settings(),
            capabilities,
            wanted: RwLock::default(),
            loaded: RwLock::default(),
        }
    }

    /// What is wanted in a view.
    #[must_use]
    pub fn wanted(&self, view: &View) -> Arc<Wanted> {
        if let Some(known) = self.wanted.read().ok().and_then(|all| all.get(view).cloned()) {
            return known;
        }
        let fresh = Arc::new(world::wanted(view, &self.settings));
        if let Ok(mut all) = self.wanted.write() {
            all.insert(*view, fresh.clone());
        }
        fresh
    }

    pub(super) fn files(&self, image: &Arc<Image>) -> Files {
        let mut hasher = Hash128::default();
        image.fingerprint(&mut hasher);
        let hash = hasher.finish128();
        let (digest, _) = self.loaded(image, hash);
        Files { image: image.clone(), digest, hash }
    }

    /// A worker that loads the files.
    pub(super) fn start(&self, files: &Files) -> Result<Memory, String> {
        self.loaded(&files.image, files.hash).1
    }

    fn loaded(&self, image: &Image, hash: u128) -> Loaded {
        if let Some(known) = self.loaded.read().ok().and_then(|all| all.get(&hash).cloned()) {
            return known;
        }
        let memory = load::start(image, &self.capabilities).map(Memory::new);
        let fresh = (render::image_digest(image), memory);
        if let Ok(mut all) = self.loaded.write() {
            all.insert(hash, fresh.clone());
        }
        fresh
    }
}
