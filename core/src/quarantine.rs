//! Quarantine: when HAProxy refuses what was rendered from an object, the object is withheld until
//! it changes, and everything else goes on.
//!
//! A refused runtime command names its key, and the key its owners. A refused configuration does
//! not, so a search halves the suspects: it has HAProxy check images without some of them, off the
//! serving path, until one is left.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::action::{MapId, RuntimeCommand};
use crate::annotations::{Registry, canary};
use crate::controller::{Controller, next_trouble};
use crate::desired::{Contribution, Image, Key, ServerFile};
use crate::digest::Digest;
use crate::plan::{Command, Phase};
use crate::project::{self, PieceKey, Projections, global, route};
use crate::render::crt_list;
use crate::world::lookup::Lookup;
use crate::world::object::{Kind, Name, Object, ObjectRef};
use crate::world::{Fact, World};

/// Whether entries of a map can be refused for what a tenant wrote: regular expressions.
#[must_use]
pub fn is_risky(map: MapId) -> bool {
    match map {
        MapId::Rewrite | MapId::HashKey => true,
        MapId::Route
        | MapId::Policy
        | MapId::Headers
        | MapId::Access
        | MapId::Check
        | MapId::Ledger
        | MapId::Tcp
        | MapId::Sni => false,
    }
}

impl Controller {
    /// Takes in that a command was refused.
    ///
    /// Deleting may be refused while connections or references remain, and is tried again later.
    /// Anything else is tried again after a read-back; refused again, its owner is quarantined if
    /// one can be named, else a reload repairs it.
    pub(crate) fn refused(
        &mut self,
        key: Key,
        command: &Command,
        why: Box<str>,
        changed: &mut BTreeSet<Fact>,
    ) {
        let old = self.trouble.remove(&key).unwrap_or_default();
        let retry = match command.phase {
            Phase::Collect => self.world.settings.delays.retry_ms,
            Phase::Urgent | Phase::Build | Phase::Switch | Phase::Unlink => 10,
        };
        let mut trouble = next_trouble(&old, why, self.now, retry);
        trouble.collects = command.phase == Phase::Collect;
        let again = trouble.refusals >= 2;
        let words = trouble.why.clone();
        self.trouble.insert(key.clone(), trouble);
        if command.phase == Phase::Collect {
            return;
        }
        let owners = owners(&self.world, &self.projections, &self.registry, command);
        if owners.is_empty() {
            self.doubt = true;
            if again {
                self.repairs.insert(key, words);
            }
            return;
        }
        for owner in owners {
            self.world.quarantine(owner, words.clone(), changed);
        }
    }
}

/// The objects a refused command can be laid to: those whose bytes HAProxy judged.
fn owners(
    world: &World,
    projections: &Projections,
    registry: &Registry,
    command: &Command,
) -> Vec<ObjectRef> {
    match &command.command {
        RuntimeCommand::InstallCertificate { digest, .. }
        | RuntimeCommand::InstallAuthority { digest, .. }
        | RuntimeCommand::ReplaceDefaultCertificate { digest: Some(digest) } => {
            secrets_with(world, digest)
        }
        RuntimeCommand::AddCrtListLine { file, .. } => {
            // The certificate was loaded before; what is new with the line are the authorities.
            let digest = crt_list::key_of(file).and_then(|key| crt_list::parts(&key));
            let digest =
                digest.map(|(certificate, check)| check.map_or(certificate, |c| c.authority));
            digest.map(|digest| secrets_with(world, &digest)).unwrap_or_default()
        }
        RuntimeCommand::AddMapEntry { map, key, value } if is_risky(*map) => {
            let entry = Contribution::Map(*map, key.clone(), value.clone());
            let mut owners = ingresses_with(world, projections, registry, &entry);
            let fallback = of_fallback(world, registry).into_iter();
            owners.extend(fallback.filter(|(risky, _)| *risky == entry).map(|(_, owner)| owner));
            owners
        }
        _ => Vec::new(),
    }
}

fn secrets_with(world: &World, wanted: &Digest) -> Vec<ObjectRef> {
    let has = |secret: &crate::world::object::Secret| {
        let certificate = secret.certificate.as_ref().and_then(|c| c.as_ref().ok());
        let authority = secret.authority.as_ref().and_then(|c| c.as_ref().ok());
        certificate.is_some_and(|c| c.digest == *wanted)
            || authority.is_some_and(|a| a.digest == *wanted)
    };
    let found = world.secrets.iter().filter(|(_, secret)| has(secret));
    found.map(|(name, _)| ObjectRef { kind: Kind::Secret, name: name.clone() }).collect()
}

/// The Ingresses without which nobody would want the entry: found by leaving each out.
fn ingresses_with(
    world: &World,
    projections: &Projections,
    registry: &Registry,
    entry: &Contribution,
) -> Vec<ObjectRef> {
    let mut candidates: BTreeSet<Name> = BTreeSet::new();
    for (key, piece) in projections.pieces() {
        if let PieceKey::Host(host) = key
            && piece.contributions.binary_search(entry).is_ok()
        {
            candidates
                .extend(world.hosts.get(host).into_iter().flat_map(|set| set.iter()).cloned());
        }
    }
    let wants = |names: &mut dyn Iterator<Item = &Name>| {
        let mut few = World::new(world.settings.clone());
        few.capabilities = world.capabilities.clone();
        few.services = world.services.clone();
        few.slices = world.slices.clone();
        few.slices_of = world.slices_of.clone();
        few.nodes = world.nodes.clone();
        few.resolved = world.resolved.clone();
        few.classes = world.classes.clone();
        few.config_map = world.config_map.clone();
        few.named = world.named.clone();
        few.snippets = world.snippets.clone();
        few.customs = world.customs.clone();
        for ingress in names.filter_map(|name| world.ingresses.get(name)) {
            few.upsert(Object::Ingress(ingress.clone()), &mut BTreeSet::new());
        }
        let (_, pieces) = project::from_scratch(&few, registry);
        pieces.pieces().any(|(_, piece)| piece.contributions.binary_search(entry).is_ok())
    };
    let (canaries, owners): (BTreeSet<&Name>, BTreeSet<&Name>) =
        candidates.iter().partition(|name| {
            let ingress = world.ingresses.get(name);
            ingress.is_some_and(|ingress| canary::is_marked(&ingress.meta))
        });
    let mut found: Vec<&Name> =
        owners.iter().copied().filter(|name| wants(&mut [*name].into_iter())).collect();
    if found.is_empty() {
        // A canary wants something only beside the Ingresses that it may join.
        let beside = |name: &&Name| wants(&mut owners.iter().copied().chain([*name]));
        found = canaries.iter().copied().filter(beside).collect();
    }
    let object = |name: &Name| ObjectRef { kind: Kind::Ingress, name: name.clone() };
    found.into_iter().map(object).collect()
}

/// What the controller's default backend asks for that HAProxy may refuse, with whom it comes from:
/// the Service by its annotations, else the controller's ConfigMap.
fn of_fallback(world: &World, registry: &Registry) -> BTreeMap<Contribution, ObjectRef> {
    let mut owned = BTreeMap::new();
    let chosen = route::default_backend(&mut Lookup::new(world), registry);
    let Some((service, _)) = chosen else { return owned };
    let mut alone = World::new(world.settings.clone());
    alone.capabilities = world.capabilities.clone();
    alone.services = world.services.clone();
    alone.named = world.named.clone();
    alone.snippets = world.snippets.clone();
    alone.customs = world.customs.clone();
    let config_map = world.config_map.as_ref().map(|config| config.meta.name.clone());
    let owners = [Some((Kind::Service, service)), config_map.map(|name| (Kind::ConfigMap, name))];
    for (kind, name) in owners.into_iter().flatten() {
        if kind == Kind::ConfigMap {
            alone.config_map = world.config_map.clone();
        }
        let (_, pieces) = project::from_scratch(&alone, registry);
        for contribution in pieces.pieces().flat_map(|(_, piece)| &piece.contributions) {
            if matches!(contribution, Contribution::Map(map, ..) if is_risky(*map)) {
                let owner = ObjectRef { kind, name: name.clone() };
                owned.entry(contribution.clone()).or_insert(owner);
            }
        }
    }
    owned
}

/// Ports of TCP services that HAProxy's words say cannot be bound (`[0.0.0.0:5432]`). Reserved ports
/// are the operator's, and nobody can be without them.
pub(crate) fn ports_named(world: &World, projections: &Projections, why: &str) -> Vec<ObjectRef> {
    let pieces = projections.pieces().filter(|(key, _)| **key == PieceKey::Tcp);
    let entries = pieces.flat_map(|(_, piece)| &piece.contributions);
    let ports = entries.filter_map(|contribution| match contribution {
        Contribution::Map(MapId::Tcp, port, _) => port.parse::<u16>().ok(),
        _ => None,
    });
    let named = ports.filter(|port| {
        !world.settings.listen.is_reserved(*port) && why.contains(&format!(":{port}]"))
    });
    named.map(|port| project::tcp::one_port(&world.settings, port)).collect()
}

/// A search for what makes HAProxy refuse a configuration.
#[derive(Clone, Debug, Hash)]
pub struct Search {
    /// HAProxy's words for the refused reload.
    why: Box<str>,
    /// Objects one of which is at fault: without them and the withheld ones all is well.
    suspects: Vec<ObjectRef>,
    /// How many of the first suspects the present probe leaves out; all of them at first.
    left_out: usize,
    /// Objects that every probe leaves out, as one of them may be at fault too.
    withheld: Vec<ObjectRef>,
    /// Every suspect, should those that HAProxy's words name not be all.
    others: Vec<ObjectRef>,
}

/// What a probe's outcome led to.
pub(crate) enum Narrowed {
    /// One more probe.
    Again(Search),
    /// These are at fault; HAProxy's words.
    Found(Vec<ObjectRef>, Box<str>),
    /// No object is: the fault is elsewhere.
    Nobody,
}

impl Search {
    /// Begins a search, if any object can be at fault. Objects that HAProxy's words name by a
    /// content address come first and alone.
    pub(crate) fn begin(
        world: &World,
        projections: &Projections,
        registry: &Registry,
        why: &str,
    ) -> Option<Search> {
        let mut suspects: BTreeSet<ObjectRef> =
            of_fallback(world, registry).into_values().collect();
        suspects.extend(world.snippets.owners().into_iter().cloned());
        let mut named = BTreeSet::new();
        for port in ports_named(world, projections, why) {
            named.insert(port);
        }
        for (key, piece) in projections.pieces() {
            for contribution in &piece.contributions {
                let digest =
                    match contribution {
                        Contribution::Certificate(digest, _)
                        | Contribution::CheckedCertificate(digest, ..)
                        | Contribution::DefaultCertificate(digest)
                        | Contribution::File(
                            ServerFile::Authority(digest) | ServerFile::ClientCertificate(digest),
                        ) => digest,
                        Contribution::Map(map, ..) if is_risky(*map) => {
                            if let PieceKey::Host(host) = key {
                                let names =
                                    world.hosts.get(host).into_iter().flat_map(|set| set.iter());
                                suspects.extend(names.map(|name| ObjectRef {
                                    kind: Kind::Ingress,
                                    name: name.clone(),
                                }));
                            }
                            continue;
                        }
                        Contribution::Map(..)
                        | Contribution::Backend(_)
                        | Contribution::HeaderName(_)
                        | Contribution::ResolveName(_) => continue,
                    };
                let owners = secrets_with(world, digest);
                if why.contains(&digest.hex()) {
                    named.extend(owners.iter().cloned());
                }
                suspects.extend(owners);
            }
        }
        suspects.extend(global::risky_parts(&mut Lookup::new(world), registry));
        let free = |object: &ObjectRef| !world.quarantined.contains_key(object);
        let others: Vec<ObjectRef> = suspects.into_iter().filter(free).collect();
        let named: Vec<ObjectRef> = named.into_iter().filter(free).collect();
        let (suspects, others) =
            if named.is_empty() { (others, Vec::new()) } else { (named, others) };
        let left_out = suspects.len();
        let search = Search { why: why.into(), suspects, left_out, withheld: Vec::new(), others };
        (left_out > 0).then_some(search)
    }

    /// The image without the objects that the present probe leaves out.
    pub(crate) fn probe(&self, world: &World, registry: &Registry) -> Arc<Image> {
        let mut world = world.clone();
        for object in self.suspects.iter().take(self.left_out).chain(&self.withheld) {
            world.quarantine(object.clone(), "left out".into(), &mut BTreeSet::new());
        }
        let (desired, _) = project::from_scratch(&world, registry);
        Arc::new(desired.image().clone())
    }

    /// Takes the outcome of the present probe in. Finds one culprit; the next reload finds the
    /// next.
    pub(crate) fn narrow(self, accepted: bool) -> Narrowed {
        let Search { why, mut suspects, left_out, mut withheld, others } = self;
        let whole = left_out == suspects.len();
        if whole && !accepted {
            if others.is_empty() {
                return Narrowed::Nobody;
            }
            let (left_out, suspects) = (others.len(), others);
            let others = Vec::new();
            return Narrowed::Again(Search { why, suspects, left_out, withheld, others });
        }
        if !whole {
            let rest = suspects.split_off(left_out);
            if !accepted {
                withheld.extend(core::mem::replace(&mut suspects, rest));
            }
        }
        if suspects.len() <= 1 {
            return Narrowed::Found(suspects, why);
        }
        let left_out = suspects.len().div_ceil(2);
        Narrowed::Again(Search { why, suspects, left_out, withheld, others })
    }
}
