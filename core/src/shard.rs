//! `ShardMap`: an ordered map split by a fixed hash of the key, so that a look-up touches a small
//! tree however many entries there are. The order of iteration is fixed: by shard, then by key.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::borrow::Borrow;

/// Number of shards: with 100,000 entries a shard is a tree of two levels.
const SHARDS: usize = 2048;

/// Shards that are shared, and copied for a write, together: a clone costs a pointer, and a write
/// after it the list of groups and one group. So simulations can branch. An empty group is not there
/// at all.
const TOGETHER: usize = 64;

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
    groups: Arc<[Option<Arc<Group<K, V>>>]>,
    len: usize,
}

type Group<K, V> = [BTreeMap<K, V>; TOGETHER];

impl<K, V> Default for ShardMap<K, V> {
    fn default() -> Self {
        ShardMap { groups: Arc::new([const { None }; SHARDS / TOGETHER]), len: 0 }
    }
}

fn empty_group<K, V>() -> Arc<Group<K, V>> {
    Arc::new([const { BTreeMap::new() }; TOGETHER])
}

impl<K: Ord + Clone + ShardKey, V: Clone> ShardMap<K, V> {
    fn shard_mut<Q: ShardKey + ?Sized>(&mut self, key: &Q) -> &mut BTreeMap<K, V> {
        let at = at(key) % SHARDS;
        let group = &mut Arc::make_mut(&mut self.groups)[at / TOGETHER];
        &mut Arc::make_mut(group.get_or_insert_with(empty_group))[at % TOGETHER]
    }

    /// The value under a key.
    pub fn get<Q: Ord + ShardKey + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let at = at(key);
        self.groups.get(at / TOGETHER)?.as_ref()?.get(at % TOGETHER)?.get(key)
    }

    /// The value under a key, to be changed.
    pub fn get_mut<Q: Ord + ShardKey + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        self.shard_mut(key).get_mut(key)
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
        let old = self.shard_mut(&key).insert(key, value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Removes a key; returns its value.
    pub fn remove<Q: Ord + ShardKey + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if !self.contains_key(key) {
            return None;
        }
        let old = self.shard_mut(key).remove(key);
        self.len -= usize::from(old.is_some());
        old
    }

    /// The value under a key, made by `default` if there is none.
    pub fn get_or_insert_with(&mut self, key: K, default: impl FnOnce() -> V) -> &mut V {
        self.len += usize::from(!self.contains_key(&key));
        self.shard_mut(&key).entry(key).or_insert_with(default)
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
        self.groups.iter().flatten().flat_map(|group| group.iter()).flatten()
    }

    /// All keys, by shard and then by key.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values, by shard and then by key.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

fn at<Q: ShardKey + ?Sized>(key: &Q) -> usize {
    let mut hash = Fnv(0x811c_9dc5);
    key.shard(&mut hash);
    (hash.0 ^ (hash.0 >> 15)) as usize % SHARDS
}
