//! The image: everything HAProxy is to have, as tables that are cheap to copy.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::{Backend, ServerFile, Skeleton, Table};
use crate::action::MapId;
use crate::digest::Digest;

/// A value with the number of those who want it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned<V> {
    /// The value.
    pub value: V,
    /// How many contribute it.
    pub owners: u32,
}

/// Everything HAProxy is to have: the input of rendering and planning.
#[derive(Clone, Debug)]
pub struct Image {
    /// Counts changes; a larger version is newer.
    pub version: u64,
    /// What only a reload can change.
    pub skeleton: Arc<Skeleton>,
    /// Every map, in the order of [`MapId::ALL`].
    pub(super) maps: Vec<Table<Owned<Arc<str>>>>,
    /// Backends by name.
    pub backends: Table<Arc<Backend>>,
    /// How many of them have lines of a snippet.
    pub(super) snippets: usize,
    /// Hosts by certificate and what clients are held to ([`crate::render::crt_list::key`]).
    pub certificates: Table<Arc<BTreeSet<Arc<str>>>>,
    /// Files named by server keywords, by file name.
    pub files: BTreeMap<Arc<str>, Owned<ServerFile>>,
    /// Content of the default certificate; `None` for the self-signed one.
    pub default_certificate: Option<Digest>,
}

impl Image {
    /// An empty one.
    pub(super) fn new(skeleton: Arc<Skeleton>) -> Image {
        Image {
            version: 0,
            skeleton,
            maps: MapId::ALL.iter().map(|_| Table::default()).collect(),
            backends: Table::default(),
            snippets: 0,
            certificates: Table::default(),
            files: BTreeMap::new(),
            default_certificate: None,
        }
    }

    /// Whether any backend has lines of a snippet.
    #[must_use]
    pub fn has_snippets(&self) -> bool {
        self.snippets > 0
    }

    /// One of the maps.
    #[must_use]
    pub fn map(&self, id: MapId) -> &Table<Owned<Arc<str>>> {
        // `MapId::ALL` has every id once, in declaration order.
        &self.maps[id as usize]
    }

    /// Entries of all maps together.
    #[must_use]
    pub fn map_entries(&self) -> usize {
        self.maps.iter().map(Table::len).sum()
    }

    pub(super) fn map_mut(&mut self, id: MapId) -> &mut Table<Owned<Arc<str>>> {
        &mut self.maps[id as usize]
    }
}

impl PartialEq for Image {
    /// Equal content; the version does not count.
    fn eq(&self, other: &Self) -> bool {
        let Image {
            version: _,
            skeleton,
            maps,
            backends,
            snippets: _,
            certificates,
            files,
            default_certificate,
        } = self;
        *skeleton == other.skeleton
            && *maps == other.maps
            && *backends == other.backends
            && *certificates == other.certificates
            && *files == other.files
            && *default_certificate == other.default_certificate
    }
}
