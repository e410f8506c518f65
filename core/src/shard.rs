//! `ShardMap`: an ordered map split by a fixed hash of the key, so that a look-up touches a small
//! tree however many entries there are. The order of iteration is fixed: by shard, then by key.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;
use core::borrow::Borrow;

/// Number of shards: with 100,000 entries a shard is a tree of two levels.
const SHARDS: usize = 2048;

/// A key that can be sharded. Equal keys, in owned or borrowed form, give equal values.
pub trait ShardKey {
    /// Feeds the bytes that tell keys apart into `hash`.
    fn shard(&self, hash: &mut Fnv);
}

/// FNV-1a, 32 bits: fixed and quick. No defence against chosen keys is needed, as a shard is an
/// ordered tree.
pub struct Fnv(u32);

impl Fnv {
    /// Takes bytes in.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}

impl ShardKey for str {
    fn shard(&self, hash: &mut Fnv) {
        hash.bytes(self.as_bytes());
    }
}

impl ShardKey for alloc::sync::Arc<str> {
    fn shard(&self, hash: &mut Fnv) {
        hash.bytes(self.as_bytes());
    }
}

impl ShardKey for crate::world::object::Name {
    fn shard(&self, hash: &mut Fnv) {
        hash.bytes(self.name.as_bytes());
        hash.bytes(self.namespace.as_bytes());
    }
}

/// An ordered map in shards.
#[derive(Clone, Debug)]
pub struct ShardMap<K, V> {
    shards: Vec<BTreeMap<K, V>>,
    len: usize,
}

impl<K, V> Default for ShardMap<K, V> {
    fn default() -> Self {
        ShardMap { shards: (0..SHARDS).map(|_| BTreeMap::new()).collect(), len: 0 }
    }
}

impl<K: Ord + ShardKey, V> ShardMap<K, V> {
    /// The value under a key.
    pub fn get<Q: Ord + ShardKey + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.shards.get(at(key))?.get(key)
    }

    /// The value under a key, to be changed.
    pub fn get_mut<Q: Ord + ShardKey + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.shards.get_mut(at(key))?.get_mut(key)
    }

    /// Whether there is a value under a key.
    pub fn contains_key<Q: Ord + ShardKey + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Sets the value under a key; returns the one it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let shard = self.shards.get_mut(at(&key))?;
        let old = shard.insert(key, value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Removes a key; returns its value.
    pub fn remove<Q: Ord + ShardKey + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let old = self.shards.get_mut(at(key))?.remove(key);
        self.len -= usize::from(old.is_some());
        old
    }

    /// The value under a key, made by `default` if there is none.
    pub fn get_or_insert_with(&mut self, key: K, default: impl FnOnce() -> V) -> &mut V {
        let at = at(&key) % SHARDS;
        match self.shards[at].entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.len += 1;
                entry.insert(default())
            }
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, by shard and then by key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flatten()
    }

    /// All keys, by shard and then by key.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.shards.iter().flat_map(BTreeMap::keys)
    }

    /// All values, by shard and then by key.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(BTreeMap::values)
    }
}

fn at<Q: ShardKey + ?Sized>(key: &Q) -> usize {
    let mut hash = Fnv(0x811c_9dc5);
    key.shard(&mut hash);
    (hash.0 ^ (hash.0 >> 15)) as usize % SHARDS
}
