//! What is the same for all states of the small world, and computed once: what is wanted in a view,
//! what a worker has that loads the files, and how a controller begins.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hash as _, Hasher as _};
use std::sync::{Arc, RwLock};

use tidegate_core::capability::Capabilities;
use tidegate_core::controller::Controller;
use tidegate_core::desired::Image;
use tidegate_core::digest::Digest;
use tidegate_core::event::{Event, Observed, Outcome, WorkerId};
use tidegate_core::render;
use tidegate_core::settings::Settings;
use tidegate_core::time::Time;

use super::explore::Place;
use super::stepped::Led;
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
    begun: RwLock<BTreeMap<(View, Time, Option<WorkerId>), Arc<Led>>>,
    executed: RwLock<Hashed<Executed>>,
    memories: RwLock<Hashed<Arc<Haproxy>>>,
    observed: RwLock<Hashed<Arc<Seen>>>,
}

/// By hash.
type Hashed<T> = HashMap<u128, T, BuildHasherDefault<Place>>;

/// What a worker has in memory after commands, and their outcomes.
type Executed = (Memory, Vec<Outcome>);

/// What a read-back shows.
pub(super) struct Seen {
    pub(super) state: Observed,
    pub(super) hash: u128,
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

impl Lab {
    /// For an HAProxy with these abilities.
    #[must_use]
    pub fn new(capabilities: Capabilities) -> Lab {
        Lab {
            settings: world::settings(),
            capabilities,
            wanted: RwLock::default(),
            loaded: RwLock::default(),
            begun: RwLock::default(),
            executed: RwLock::default(),
            memories: RwLock::default(),
            observed: RwLock::default(),
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

    /// A new controller that is told everything, and finds the worker if there is one.
    pub(super) fn begun(&self, view: &View, now: Time, worker: Option<WorkerId>) -> Arc<Led> {
        let key = (*view, now, worker);
        if let Some(known) = self.begun.read().ok().and_then(|all| all.get(&key).cloned()) {
            return known;
        }
        let mut events = vec![Event::ProxyFound(self.capabilities.clone())];
        events.extend(worker.map(Event::WorkerSeen));
        events.extend(world::lists(view));
        let controller = Controller::new(self.settings.clone(), now);
        let fresh = Arc::new(Led::by(controller, now, events, *view));
        if let Ok(mut all) = self.begun.write() {
            all.insert(key, fresh.clone());
        }
        fresh
    }

    /// A memory with its hash. Of equal ones there is one.
    pub(super) fn memory(&self, haproxy: Arc<Haproxy>) -> Memory {
        let mut hasher = Hash128::default();
        haproxy.fingerprint(&mut hasher);
        let hash = hasher.finish128();
        let haproxy = match self.memories.write() {
            Ok(mut all) => all.entry(hash).or_insert(haproxy).clone(),
            Err(_) => haproxy,
        };
        Memory { haproxy, hash }
    }

    /// What came of commands, by a hash of all that decides it, if they were executed before and
    /// kept every promise.
    pub(super) fn executed(&self, key: u128) -> Option<Executed> {
        self.executed.read().ok()?.get(&key).cloned()
    }

    pub(super) fn keep_executed(&self, key: u128, executed: Executed) {
        if let Ok(mut all) = self.executed.write() {
            all.insert(key, executed);
        }
    }

    /// What a read-back shows of a memory, with the digest of the files.
    pub(super) fn observed(&self, memory: &Memory, saved: Option<Digest>) -> Arc<Seen> {
        let mut hasher = Hash128::default();
        (memory.hash, saved).hash(&mut hasher);
        let key = hasher.finish128();
        if let Some(known) = self.observed.read().ok().and_then(|all| all.get(&key).cloned()) {
            return known;
        }
        let mut state = memory.haproxy.observed();
        state.saved = saved;
        let mut hasher = Hash128::default();
        hasher.write(format!("{state:?}").as_bytes());
        let fresh = Arc::new(Seen { state, hash: hasher.finish128() });
        if let Ok(mut all) = self.observed.write() {
            all.insert(key, fresh.clone());
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
        let memory = load::start(image, &self.capabilities);
        let memory = memory.map(|haproxy| self.memory(Arc::new(haproxy)));
        let fresh = (render::image_digest(image), memory);
        if let Ok(mut all) = self.loaded.write() {
            all.insert(hash, fresh.clone());
        }
        fresh
    }
}
