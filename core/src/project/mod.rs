//! Projections: Desired as keyed pieces, each a pure function of the facts it reads.
//!
//! [`Projections::refresh`] runs the pieces whose facts changed and no others;
//! [`from_scratch`] runs all of them. Both call the same functions, so they agree as long as every
//! read is recorded, which the type of [`Lookup`] enforces.

pub mod backend;
pub mod canary;
pub mod class;
pub mod client;
mod counts;
pub mod expiry;
pub mod global;
pub mod host;
pub mod list;
pub mod needs;
pub mod object;
pub mod passthrough;
pub mod route;
pub mod stream;
pub mod tcp;
pub mod tls;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::action::MapId;
use crate::annotations::draft::ListSpec;
use crate::annotations::{Registry, listener};
use crate::desired::{BackendSpec, Contribution, Desired, Skeleton, normalised};
use crate::problem::Problem;
use crate::sabotage::{Mistake, is_planted};
use crate::settings::Role;
use crate::shard::{ShardKey, ShardMap};
use crate::small::SmallSet;
use crate::world::custom::Part;
use crate::world::lookup::Lookup;
use crate::world::object::{Kind, ObjectRef};
use crate::world::{Fact, World};
pub(crate) use counts::cancel_out;
use counts::{count, count_references};

/// Which piece of Desired.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PieceKey {
    /// Options of the controller's ConfigMap, the default certificate, the source's problems.
    Global,
    /// What is wrong with one object by itself.
    Object(ObjectRef),
    /// The certificates presented for a host.
    Tls(Arc<str>),
    /// The routes of a host.
    Host(Arc<str>),
    /// The endpoints of a backend. Exists while a host or a TCP service refers to it.
    Backend(Arc<str>),
    /// The networks of a list with pattern files. Exists while a host refers to it.
    List(Arc<str>),
    /// The TCP services.
    Tcp,
}

impl ShardKey for PieceKey {
    fn shard(&self, hash: &mut crate::shard::Fnv) {
        match self {
            PieceKey::Global | PieceKey::Tcp => {}
            PieceKey::Object(object) => object.name.shard(hash),
            PieceKey::Tls(text)
            | PieceKey::Host(text)
            | PieceKey::Backend(text)
            | PieceKey::List(text) => text.shard(hash),
        }
    }
}

/// The value of one piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// What it wants, normalised.
    pub contributions: Vec<Contribution>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Backends its routes refer to.
    pub backends: Vec<(Arc<str>, Arc<BackendSpec>)>,
    /// Lists with pattern files that its routes refer to.
    pub lists: Vec<(Arc<str>, Arc<ListSpec>)>,
}

impl Piece {
    fn is_empty(&self) -> bool {
        let Piece { contributions, problems, backends, lists } = self;
        contributions.is_empty() && problems.is_empty() && backends.is_empty() && lists.is_empty()
    }
}

/// A piece with what it read.
#[derive(Clone, Debug)]
struct Stored {
    piece: Piece,
    reads: Vec<Fact>,
}

/// What a refresh did, for traces and for the property that little is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Pieces that were computed anew.
    pub pieces: Vec<PieceKey>,
    /// Problems that appeared.
    pub opened: Vec<Problem>,
    /// Problems that went away.
    pub closed: Vec<Problem>,
}

/// All pieces, who reads which fact, and who wants which backend.
#[derive(Clone, Debug, Default)]
pub struct Projections {
    pieces: ShardMap<PieceKey, Stored>,
    readers: ShardMap<Fact, SmallSet<PieceKey>>,
    backends: ShardMap<Arc<str>, (Arc<BackendSpec>, u32)>,
    lists: ShardMap<Arc<str>, (Arc<ListSpec>, u32)>,
    problems: BTreeMap<Problem, u32>,
    /// The problems of needs beyond what the machine has.
    excess: Vec<Problem>,
}

impl Projections {
    /// The problems there are, in order.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.keys()
    }

    /// The problems of one object, in order.
    pub fn problems_of<'a>(&'a self, object: &'a ObjectRef) -> impl Iterator<Item = &'a Problem> {
        let first = Problem::first_of(object.clone());
        self.problems.range(first..).map(|(p, _)| p).take_while(|p| p.object == *object)
    }

    /// The pieces that exist.
    pub fn pieces(&self) -> impl Iterator<Item = (&PieceKey, &Piece)> {
        self.pieces.iter().map(|(key, stored)| (key, &stored.piece))
    }

    /// What a piece read.
    #[must_use]
    pub fn reads(&self, key: &PieceKey) -> &[Fact] {
        self.pieces.get(key).map_or(&[], |stored| &stored.reads)
    }

    /// Whether `reads` and `readers` are inverse relations (I3).
    #[must_use]
    pub fn reads_and_readers_agree(&self) -> bool {
        let forward: usize = self.pieces.values().map(|s| s.reads.len()).sum();
        let backward: usize = self.readers.values().map(SmallSet::len).sum();
        forward == backward
            && self.pieces.iter().all(|(key, stored)| {
                stored
                    .reads
                    .iter()
                    .all(|fact| self.readers.get(fact).is_some_and(|r| r.contains(key)))
            })
    }

    /// Computes the pieces that read a changed fact, and those that come with a new fact, and
    /// hands the differences to `desired`.
    pub fn refresh(
        &mut self,
        world: &World,
        registry: &Registry,
        changed: &BTreeSet<Fact>,
        desired: &mut Desired,
    ) -> Refreshed {
        let mut report = Refreshed::default();
        let mut dirty = BTreeSet::new();
        for fact in changed {
            let readers = self.readers.get(fact).into_iter().flat_map(|set| set.iter());
            let one_hears = is_planted(Mistake::OneHears) && matches!(fact, Fact::Slices(_));
            dirty.extend(readers.take(if one_hears { 1 } else { usize::MAX }).cloned());
            dirty.extend(piece_of(fact));
        }
        // Those that exist while others refer to them come last.
        let mut referred = BTreeSet::new();
        for key in dirty {
            if matches!(key, PieceKey::Backend(_) | PieceKey::List(_)) {
                referred.insert(key);
                continue;
            }
            self.refresh_piece(world, registry, key, desired, &mut referred, &mut report);
        }
        let mut gone = 0;
        for key in referred {
            let is_gone =
                matches!(&key, PieceKey::Backend(name) if self.backends.get(name).is_none());
            gone += usize::from(is_gone);
            if gone > 1 && is_planted(Mistake::SeveralEndAll) {
                break;
            }
            self.refresh_piece(world, registry, key, desired, &mut BTreeSet::new(), &mut report);
        }
        self.refresh_skeleton(world, registry, desired, &mut report);
        cancel_out(&mut report.opened, &mut report.closed);
        report
    }

    fn refresh_piece(
        &mut self,
        world: &World,
        registry: &Registry,
        key: PieceKey,
        desired: &mut Desired,
        referred: &mut BTreeSet<PieceKey>,
        report: &mut Refreshed,
    ) {
        let (piece, reads) = self.compute(world, registry, &key);
        report.pieces.push(key.clone());
        let none = Piece::default();
        let old = self.pieces.get(&key);
        let old_piece = old.map_or(&none, |stored| &stored.piece);
        desired.replace(&old_piece.contributions, &piece.contributions);
        count(&mut self.problems, &old_piece.problems, &piece.problems, report);
        let (old_backends, old_lists) = (&old_piece.backends, &old_piece.lists);
        count_references(&mut self.backends, old_backends, &piece.backends, |name| {
            referred.insert(PieceKey::Backend(name.clone()));
        });
        count_references(&mut self.lists, old_lists, &piece.lists, |id| {
            referred.insert(PieceKey::List(id.clone()));
        });
        self.reindex(&key, old.map(|s| s.reads.clone()).unwrap_or_default(), &reads);
        if piece.is_empty() && self.drops_when_empty(&key, world) {
            for fact in &reads {
                unread(&mut self.readers, fact, &key);
            }
            self.pieces.remove(&key);
        } else {
            self.pieces.insert(key, Stored { piece, reads });
        }
    }

    /// The one place where a piece is computed.
    fn compute(&self, world: &World, registry: &Registry, key: &PieceKey) -> (Piece, Vec<Fact>) {
        let mut lookup = Lookup::new(world);
        let mut piece = match key {
            PieceKey::Global => {
                let held = world.absences.problems(&world.settings.scope.absence);
                let source: Vec<Problem> =
                    world.source_problems.iter().cloned().chain(held).collect();
                global::project(&mut lookup, registry, &source)
            }
            PieceKey::Object(ObjectRef { kind: Kind::Secret, name }) => {
                expiry::project(&mut lookup, name)
            }
            PieceKey::Object(object) => object::project(&mut lookup, registry, object),
            PieceKey::Tls(host) => tls::project(&mut lookup, registry, host),
            PieceKey::Tcp => tcp::project(&mut lookup, registry),
            PieceKey::Host(host) => host::project(&mut lookup, registry, host),
            PieceKey::Backend(name) => match self.backends.get(name) {
                Some((spec, _)) => backend::project(&mut lookup, name, spec),
                None => Piece::default(),
            },
            PieceKey::List(id) => match self.lists.get(id) {
                Some((spec, _)) => list::project(&mut lookup, id, spec),
                None => Piece::default(),
            },
        };
        piece.contributions = normalised(core::mem::take(&mut piece.contributions));
        piece.contributions.shrink_to_fit();
        piece.backends.sort_unstable();
        piece.backends.dedup();
        piece.backends.shrink_to_fit();
        piece.lists.sort_unstable();
        piece.lists.dedup();
        piece.problems.sort_unstable();
        piece.problems.dedup();
        (piece, lookup.into_reads())
    }

    /// An empty piece is kept as long as something could make it non-empty without naming it.
    fn drops_when_empty(&self, key: &PieceKey, world: &World) -> bool {
        match key {
            PieceKey::Global => false,
            PieceKey::Tcp => {
                let is_tcp = |kind: &Kind| matches!(kind, Kind::Custom(Part::Tcp, _));
                world.settings.tcp_services().is_none()
                    && !world.customs.keys().any(|object| is_tcp(&object.kind))
            }
            PieceKey::Host(host) => !host.is_empty() && !world.hosts.contains_key(host),
            PieceKey::Tls(host) => !world.tls_hosts.contains_key(host),
            PieceKey::Backend(name) => !self.backends.contains_key(name),
            PieceKey::List(id) => !self.lists.contains_key(id),
            PieceKey::Object(object) => match object.kind {
                Kind::Ingress => !world.ingresses.contains_key(&object.name),
                Kind::Service => !world.services.contains_key(&object.name),
                Kind::Namespace
                | Kind::ConfigMap
                | Kind::IngressClass
                | Kind::Secret
                | Kind::EndpointSlice
                | Kind::Node
                | Kind::Custom(..) => true,
            },
        }
    }

    fn reindex(&mut self, key: &PieceKey, old: Vec<Fact>, new: &[Fact]) {
        if old == new {
            return;
        }
        for fact in &old {
            if new.binary_search(fact).is_err() {
                unread(&mut self.readers, fact, key);
            }
        }
        for fact in new {
            if old.binary_search(fact).is_err() {
                self.readers
                    .get_or_insert_with(fact.clone(), SmallSet::default)
                    .insert(key.clone());
            }
        }
    }

    fn refresh_skeleton(
        &mut self,
        world: &World,
        registry: &Registry,
        desired: &mut Desired,
        report: &mut Refreshed,
    ) {
        let mut lookup = Lookup::new(world);
        let capabilities = lookup.capabilities();
        let header_names: Vec<Arc<str>> = if capabilities.headers_bin {
            Vec::new()
        } else {
            desired.header_names().cloned().collect()
        };
        let mut options = global::options(&mut lookup, registry);
        let isolated = capabilities.isolated_sessions || is_planted(Mistake::SessionsShared);
        if desired.client_checks().any(|check| check.direct || !isolated) {
            options.insert(listener::FULL_HANDSHAKES.into(), "1".into());
        }
        let errors = lookup.error_files();
        let peers = global::peers(&mut lookup);
        let snippets = global::snippets(&mut lookup);
        let (too_many_checks, excess) = needs::excess(&capabilities, desired, world);
        let checks = !too_many_checks;
        if self.excess != excess {
            count(&mut self.problems, &self.excess, &excess, report);
            self.excess = excess;
        }
        let image = desired.image();
        let ports = image.map(MapId::Tcp).iter().filter_map(|(port, _)| port.parse().ok());
        let mut tcp_ports: Vec<u16> =
            ports.filter(|port| !world.settings.listen.is_reserved(*port)).collect();
        tcp_ports.sort_unstable();
        let passthrough = world.settings.listen.https_port > 0 && !image.map(MapId::Sni).is_empty();
        let current = &image.skeleton;
        if *current.capabilities == *capabilities
            && current.header_names == header_names
            && current.checks == checks
            && current.options == options
            && current.errors == *errors
            && current.peers == peers
            && current.snippets == snippets
            && current.tcp_ports == tcp_ports
            && current.passthrough == passthrough
        {
            return;
        }
        desired.set_skeleton(Arc::new(Skeleton {
            listen: world.settings.listen.clone(),
            capabilities,
            header_names,
            checks,
            options,
            errors: errors.clone(),
            peers,
            snippets,
            tcp_ports,
            passthrough,
        }));
    }
}

/// Desired and problems computed from nothing: cold start, audit, and the oracle of the tests.
#[must_use]
pub fn from_scratch(world: &World, registry: &Registry) -> (Desired, Projections) {
    let mut desired = Desired::new(Arc::new(Skeleton::initial(world)));
    let mut projections = Projections::default();
    let mut facts = BTreeSet::from([
        Fact::Capabilities,
        Fact::ConfigMap,
        Fact::Source,
        Fact::Role(Role::TcpServices),
        Fact::TcpResources,
    ]);
    facts.extend(world.hosts.keys().cloned().map(Fact::Host));
    facts.insert(Fact::Host("".into()));
    facts.extend(world.tls_hosts.keys().cloned().map(Fact::TlsHost));
    facts.extend(world.ingresses.keys().cloned().map(Fact::Ingress));
    facts.extend(world.services.keys().cloned().map(Fact::Service));
    facts.extend(world.secrets.keys().cloned().map(Fact::Secret));
    facts.extend(world.classes.keys().map(|c| Fact::Class(c.name.clone())));
    projections.refresh(world, registry, &facts, &mut desired);
    (desired, projections)
}

/// The piece that comes into being with a fact, whoever read it before.
fn piece_of(fact: &Fact) -> Option<PieceKey> {
    let object = |kind, name: &_| {
        Some(PieceKey::Object(ObjectRef { kind, name: crate::world::object::Name::clone(name) }))
    };
    match fact {
        // The problems of every role are global too, but that piece is always there to read them.
        Fact::Role(Role::TcpServices) | Fact::TcpResources => Some(PieceKey::Tcp),
        Fact::Role(Role::ErrorFiles | Role::PatternFiles)
        | Fact::ConfigMap
        | Fact::Source
        | Fact::Capabilities => Some(PieceKey::Global),
        Fact::Host(host) => Some(PieceKey::Host(host.clone())),
        Fact::TlsHost(host) => Some(PieceKey::Tls(host.clone())),
        Fact::Ingress(name) => object(Kind::Ingress, name),
        Fact::Service(name) => object(Kind::Service, name),
        Fact::Secret(name) => object(Kind::Secret, name),
        Fact::Defaults
        | Fact::DefaultClass
        | Fact::Class(_)
        | Fact::Slices(_)
        | Fact::Resolved(_)
        | Fact::Quarantined(_)
        | Fact::Status(_)
        | Fact::Nodes
        | Fact::Pattern(_)
        | Fact::PatternState(_)
        | Fact::Snippet(_)
        | Fact::Custom(..)
        | Fact::Namespace(_) => None,
    }
}

fn unread(readers: &mut ShardMap<Fact, SmallSet<PieceKey>>, fact: &Fact, key: &PieceKey) {
    if let Some(keys) = readers.get_mut(fact) {
        keys.remove(key);
        if keys.is_empty() {
            readers.remove(fact);
        }
    }
}
