//! Secrets: all of them are watched by their metadata only, the followed ones are read in full.
//!
//! Inputs: names to follow, the metadata watch. Outputs: `Upserted` and `Deleted` for every name
//! asked for, and after that for its changes; `Listed` with those that a complete list has, which core
//! judges. The bytes go to the vault while an answer is decoded, and
//! nowhere else. Secrets that nothing refers to cost their metadata on the wire, and no memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_core::event::{Event, Listing};
use tidegate_core::world::object::{Kind, Name, Object, ObjectRef, Secret};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::backoff::{Backoff, Bucket};
use super::client::Ask;
use super::failure::Failure;
use super::objects::{Head, head};
use super::resource;
use super::target::{Sink, Whole};
use super::watch::Shared;
use crate::decode::{self, Decoded, Refusal};
use crate::vault::Vault;

/// Secrets read at the same time.
const SIDE_BY_SIDE: usize = 32;

/// Reads a second, and how many may be saved up.
const RATE: (u32, u32) = (500, 2000);

/// Objects without their content, as in watches.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// Lists of them.
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// The followed Secrets, shared by the metadata watches and the reader. Their bytes are held in the
/// vault for as long as they are followed, also while nothing that is served needs them.
pub struct Followed {
    state: Mutex<BTreeMap<Name, Entry>>,
    wake: Notify,
    vault: Arc<Vault>,
}

/// A followed Secret.
#[derive(Default)]
struct Entry {
    /// Version of the last read.
    version: Option<Box<str>>,
    /// What was told last; `None` when it does not exist.
    told: Option<Object>,
    /// To be read.
    due: bool,
    /// Being read.
    reading: bool,
    /// Deleted while it was being read: the answer is void.
    void: bool,
    /// Whether it was in the list under way; `None` when it was not followed at its beginning.
    in_list: Option<bool>,
    /// Reads that failed since one that did not.
    failures: u32,
    /// Which following this is: an answer to an earlier one is void.
    epoch: u64,
    /// Not followed yet: a process before this one told it. Lists are held against it.
    remembered: bool,
}

impl Followed {
    /// None yet, but for what a process before this one has told.
    #[must_use]
    pub fn new(remembered: Vec<Object>, vault: Arc<Vault>) -> Followed {
        let entry = |told: Object| {
            let name = told.object_ref().name;
            (name, Entry { told: Some(told), remembered: true, ..Entry::default() })
        };
        let state = remembered.into_iter().map(entry).collect();
        Followed { state: Mutex::new(state), wake: Notify::new(), vault }
    }

    /// Holds the bytes of a Secret, or those of none.
    fn hold(&self, name: &Name, secret: Option<&Object>) {
        let mut digests = Vec::new();
        if let Some(Object::Secret(secret)) = secret {
            let Secret { meta: _, certificate, authority, users } = &**secret;
            digests.extend(certificate.iter().flatten().map(|facts| facts.digest));
            digests.extend(authority.iter().flatten().map(|facts| facts.digest));
            digests.extend(users.iter().flatten().map(|facts| facts.digest));
        }
        self.vault.hold(&format!("followed:{name}"), digests);
    }

    /// Follows names anew, and others no longer. Returns how many are followed.
    pub fn follow(&self, add: Vec<Name>, drop: Vec<Name>, epoch: u64) -> usize {
        let mut state = self.state.lock();
        for name in drop {
            self.hold(&name, None);
            state.remove(&name);
        }
        for name in add {
            // A remembered one stays what it was until it is read, or known to be gone.
            let before = state.remove(&name).filter(|entry| entry.remembered).unwrap_or_default();
            let Entry { told, in_list, .. } = before;
            state.insert(name, Entry { due: true, epoch, told, in_list, ..Entry::default() });
        }
        // Core has asked for all that it needs: the others are referred to no more.
        state.retain(|_, entry| !entry.remembered);
        self.wake.notify_one();
        state.len()
    }
}

/// The sink of a metadata watch.
pub struct SecretNames {
    followed: Arc<Followed>,
    namespace: Option<Box<str>>,
    count: usize,
    events: Vec<Event>,
}

impl SecretNames {
    /// The sink of the watch of a namespace, or of all.
    #[must_use]
    pub fn new(followed: Arc<Followed>, namespace: Option<Box<str>>) -> SecretNames {
        SecretNames { followed, namespace, count: 0, events: Vec::new() }
    }

    fn is_ours(namespace: Option<&str>, name: &Name) -> bool {
        namespace.is_none_or(|namespace| namespace == &*name.namespace)
    }
}

impl Sink for SecretNames {
    fn form(&self, list: bool) -> &'static str {
        if list { METADATA_LIST } else { METADATA }
    }

    fn begin(&mut self) {
        self.count = 0;
        for (name, entry) in self.followed.state.lock().iter_mut() {
            if SecretNames::is_ours(self.namespace.as_deref(), name) {
                entry.in_list = Some(false);
            }
        }
    }

    fn item(&mut self, json: &[u8]) {
        self.count += 1;
        let Head { namespace, name, resource_version, .. } = head(json);
        let mut state = self.followed.state.lock();
        let Some(entry) = state.get_mut(&Name::new(&namespace, &name)) else { return };
        if entry.in_list.is_some() {
            entry.in_list = Some(true);
        }
        if !entry.remembered && entry.version.as_ref() != Some(&resource_version) {
            entry.due = true;
            self.followed.wake.notify_one();
        }
    }

    fn complete(&mut self, list: Whole<'_>) -> usize {
        let Whole { version, watched, cluster } = list;
        let state = self.followed.state.lock();
        let namespace = self.namespace.as_deref();
        let ours = state.iter().filter(|(name, _)| SecretNames::is_ours(namespace, name));
        let mut objects = Vec::new();
        for (_, entry) in ours {
            match (&entry.told, entry.in_list) {
                (Some(_), Some(false)) | (None, _) => {}
                (Some(object), _) => objects.push(object.clone()),
            }
        }
        // Also when nothing is missing: core then knows which store it was.
        self.events.push(Event::Listed(Listing {
            kind: Kind::Secret,
            namespace: self.namespace.clone(),
            name: None,
            cluster,
            revision: version.parse().unwrap_or(0),
            watched,
            objects,
        }));
        self.count
    }

    fn changed(&mut self, json: &[u8]) -> Option<Box<str>> {
        let Head { namespace, name, resource_version, .. } = head(json);
        let mut state = self.followed.state.lock();
        if let Some(entry) = state.get_mut(&Name::new(&namespace, &name))
            && !entry.remembered
            && entry.version.as_ref() != Some(&resource_version)
        {
            entry.due = true;
            self.followed.wake.notify_one();
        }
        Some(resource_version).filter(|version| !version.is_empty())
    }

    fn deleted(&mut self, json: &[u8]) -> Option<Box<str>> {
        let Head { namespace, name, resource_version, .. } = head(json);
        let mut state = self.followed.state.lock();
        if let Some(entry) = state.get_mut(&Name::new(&namespace, &name)) {
            (entry.version, entry.told, entry.void) = (None, None, entry.reading);
            self.followed.hold(&Name::new(&namespace, &name), None);
            self.events.push(Event::Deleted(ObjectRef::new(Kind::Secret, &namespace, &name)));
        }
        Some(resource_version).filter(|version| !version.is_empty())
    }

    fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

/// Reads followed Secrets that are due, until nobody takes events any more.
pub async fn read(shared: Shared, followed: Arc<Followed>, vault: Arc<Vault>) {
    let mut reads: JoinSet<Read> = JoinSet::new();
    let bucket = Arc::new(Bucket::new(RATE.0, RATE.1));
    loop {
        let room = SIDE_BY_SIDE.saturating_sub(reads.len());
        for (name, epoch, failures) in due(&followed, room) {
            let (shared, vault, bucket) = (shared.clone(), Arc::clone(&vault), Arc::clone(&bucket));
            reads.spawn(async move {
                let mut backoff =
                    Backoff::new(shared.seed, &name.to_string(), Duration::from_millis(100));
                if failures > 0 {
                    let wait = Duration::from_millis(100) * (1 << failures.min(6));
                    tokio::time::sleep(wait + backoff.jitter(wait / 2)).await;
                }
                bucket.take().await;
                let answer = fetch(&shared, &name, &vault, &mut backoff).await;
                Read { name, epoch, answer }
            });
        }
        let mut events = Vec::new();
        tokio::select! {
            biased;
            Some(read) = reads.join_next() => {
                // A read that panicked is tried again by the next change; others go on.
                let Ok(read) = read else { continue };
                events.extend(settle(&shared, &followed, read));
            }
            () = followed.wake.notified() => continue,
        }
        while let Some(Ok(read)) = reads.try_join_next() {
            events.extend(settle(&shared, &followed, read));
        }
        if !events.is_empty() && shared.events.send(events).await.is_err() {
            return;
        }
    }
}

/// An answer.
struct Read {
    name: Name,
    epoch: u64,
    answer: Result<Option<(Object, Box<str>)>, Refused>,
}

/// Why there is none.
enum Refused {
    /// The request failed.
    Failure(Failure),
    /// The object cannot be used.
    Refusal(Refusal),
}

/// Takes names that are to be read.
fn due(followed: &Followed, room: usize) -> Vec<(Name, u64, u32)> {
    let mut state = followed.state.lock();
    let waiting = state.iter_mut().filter(|(_, entry)| entry.due && !entry.reading);
    let taken = waiting.take(room).map(|(name, entry)| {
        (entry.due, entry.reading, entry.void) = (false, true, false);
        (name.clone(), entry.epoch, entry.failures)
    });
    taken.collect()
}

async fn fetch(
    shared: &Shared,
    name: &Name,
    vault: &Vault,
    backoff: &mut Backoff,
) -> Result<Option<(Object, Box<str>)>, Refused> {
    let ask = Ask::get("get", resource::of(Kind::Secret).object(&name.namespace, &name.name));
    let body = match shared.client.call(&ask, backoff).await {
        Ok(body) => body,
        Err(failure) if failure.code() == Some(404) => return Ok(None),
        Err(failure) => return Err(Refused::Failure(failure)),
    };
    let garbled = |error: &serde_json::Error| Failure::Garbled(super::frame::position_of(error));
    let mut text = serde_json::Deserializer::from_slice(&body);
    match decode::object_from(Kind::Secret, &mut text, vault) {
        Ok(Decoded::Object(object)) => Ok(Some((object, head(&body).resource_version))),
        Ok(Decoded::Refused(refusal)) => Err(Refused::Refusal(refusal)),
        Ok(Decoded::Foreign) => Err(Refused::Failure(Failure::Garbled("no Secret".to_owned()))),
        Err(error) => Err(Refused::Failure(garbled(&error))),
    }
}

/// Notes an answer; returns what is to be told.
fn settle(shared: &Shared, followed: &Followed, read: Read) -> Option<Event> {
    let Read { name, epoch, answer } = read;
    let object = ObjectRef { kind: Kind::Secret, name: name.clone() };
    let mut state = followed.state.lock();
    let entry = state.get_mut(&name).filter(|entry| entry.epoch == epoch)?;
    entry.reading = false;
    if entry.due {
        followed.wake.notify_one();
    }
    if entry.void {
        return None;
    }
    match answer {
        Ok(Some((secret, version))) => {
            shared.health.settled(&object);
            (entry.failures, entry.version) = (0, Some(version));
            entry.told = Some(secret.clone());
            followed.hold(&name, Some(&secret));
            Some(Event::Upserted(secret))
        }
        Ok(None) => {
            shared.health.settled(&object);
            entry.failures = 0;
            // One that is known is deleted by the watch's word, or judged after a list.
            entry.told.is_none().then_some(Event::Deleted(object))
        }
        Err(Refused::Refusal(refusal)) => {
            shared.health.refused(refusal);
            None
        }
        Err(Refused::Failure(failure)) => {
            (entry.failures, entry.due) = (entry.failures.saturating_add(1), true);
            followed.wake.notify_one();
            if entry.failures > 3 {
                let fix = "look at the API server; `tidegate rbac` prints what tidegate must be \
                           allowed to";
                let what = format!("it cannot be read: {failure}");
                shared.health.refused(Refusal { object, what, fix: fix.to_owned() });
            }
            None
        }
    }
}
