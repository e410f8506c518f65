//! `Table`: an ordered map that is cheap to snapshot. Split by a fixed hash of the key into shards
//! that are shared until written, in groups that are too: a copy costs one pointer, and a later write
//! copies the list of groups, one group and one shard. What is empty is not there at all, so that small
//! tables cost little. The order of iteration is fixed: by shard, then by key.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Number of shards: so many groups of as many. A write after a snapshot copies one.
const SHARDS: usize = GROUPS * GROUPS;
const GROUPS: usize = 16;

/// A map from text to `V` with cheap clones.
#[derive(Clone, Debug)]
pub struct Table<V> {
    groups: Option<Arc<[Option<Arc<Group<V>>>; GROUPS]>>,
    len: usize,
}

type Group<V> = [Option<Arc<Shard<V>>>; GROUPS];
type Shard<V> = BTreeMap<Arc<str>, V>;

impl<V> Default for Table<V> {
    fn default() -> Self {
        Table { groups: None, len: 0 }
    }
}

impl<V: Clone> Table<V> {
    fn shard(&self, at: usize) -> Option<&Arc<Shard<V>>> {
        self.groups.as_ref()?.get(at / GROUPS)?.as_ref()?.get(at % GROUPS)?.as_ref()
    }

    fn shard_mut(&mut self, at: usize) -> Option<&mut Option<Arc<Shard<V>>>> {
        let groups = self.groups.get_or_insert_with(|| Arc::new([const { None }; GROUPS]));
        let group = Arc::make_mut(groups).get_mut(at / GROUPS)?;
        let group = group.get_or_insert_with(|| Arc::new([const { None }; GROUPS]));
        Arc::make_mut(group).get_mut(at % GROUPS)
    }

    /// The value under a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&V> {
        self.shard(shard_of(key))?.get(key)
    }

    /// The key as stored, so that callers can share it.
    #[must_use]
    pub fn get_key_value(&self, key: &str) -> Option<(&Arc<str>, &V)> {
        self.shard(shard_of(key))?.get_key_value(key)
    }

    /// The value under a key, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        self.get(key)?;
        let shard = self.shard_mut(shard_of(key))?.as_mut()?;
        Arc::make_mut(shard).get_mut(key)
    }

    /// Sets the value under a key; returns the one it replaces.
    pub fn insert(&mut self, key: Arc<str>, value: V) -> Option<V> {
        let shard = self.shard_mut(shard_of(&key))?.get_or_insert_default();
        let old = Arc::make_mut(shard).insert(key, value);
        if old.is_none() {
            self.len += 1;
        }
        old
    }

    /// Removes a key; returns its value.
    pub fn remove(&mut self, key: &str) -> Option<V> {
        self.get(key)?;
        let place = self.shard_mut(shard_of(key))?;
        let shard = Arc::make_mut(place.as_mut()?);
        let old = shard.remove(key);
        if shard.is_empty() {
            *place = None;
        }
        if old.is_some() {
            self.len -= 1;
        }
        old
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, by shard and then by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        let groups = self.groups.iter().flat_map(|groups| groups.iter()).flatten();
        groups.flat_map(|group| group.iter()).flatten().flat_map(|shard| shard.iter())
    }

    /// Whether the two are the same in memory.
    fn is_shared(&self, other: &Table<V>) -> bool {
        match (&self.groups, &other.groups) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// The shards of both that are not shared.
    fn unshared<'a>(
        &'a self,
        other: &'a Table<V>,
    ) -> impl Iterator<Item = (Option<&'a Arc<Shard<V>>>, Option<&'a Arc<Shard<V>>>)> {
        let all = if self.is_shared(other) { 0..0 } else { 0..SHARDS };
        all.map(|at| (self.shard(at), other.shard(at))).filter(|shards| match shards {
            (Some(a), Some(b)) => !Arc::ptr_eq(a, b),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        })
    }

    /// Calls `f` for each key whose value is missing on one side or not `same`. Shards that are
    /// shared are skipped.
    pub fn differences(
        &self,
        other: &Table<V>,
        same: impl Fn(&V, &V) -> bool,
        mut f: impl FnMut(&Arc<str>),
    ) {
        for (a, b) in self.unshared(other) {
            for (key, value) in a.into_iter().flat_map(|a| a.iter()) {
                if b.and_then(|b| b.get(key)).is_none_or(|other| !same(value, other)) {
                    f(key);
                }
            }
            let only = |key: &&Arc<str>| a.is_none_or(|a| !a.contains_key(*key));
            b.into_iter().flat_map(|b| b.keys()).filter(only).for_each(&mut f);
        }
    }

    /// Calls `f` for each entry, with the value that another table has under its key. Keys that are
    /// shared are found without reading them.
    pub fn beside<'a, W: Clone>(
        &'a self,
        other: &Table<W>,
        mut f: impl FnMut(&'a Arc<str>, &'a V, Option<&W>),
    ) {
        for at in 0..SHARDS {
            let Some(a) = self.shard(at) else { continue };
            let mut rest = other.shard(at).into_iter().flat_map(|b| b.iter()).peekable();
            for (key, value) in a.iter() {
                let same = |other: &Arc<str>| Arc::ptr_eq(other, key) || *other == *key;
                while rest.next_if(|&(other, _)| !same(other) && *other < *key).is_some() {}
                f(key, value, rest.next_if(|(other, _)| same(other)).map(|(_, found)| found));
            }
        }
    }

    /// All entries sorted by key; costs a sort.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&Arc<str>, &V)> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_unstable_by(|a, b| a.0.cmp(b.0));
        all
    }
}

/// Something that follows from the entries of each shard, found anew only for shards that changed.
#[derive(Clone, Debug)]
pub struct PerShard<V, T> {
    table: Table<V>,
    found: Vec<Option<T>>,
}

impl<V, T> Default for PerShard<V, T> {
    fn default() -> Self {
        PerShard { table: Table::default(), found: Vec::new() }
    }
}

impl<V: Clone, T> PerShard<V, T> {
    /// Takes in a table; gives what was found of each shard that is not empty, in order.
    pub fn update(
        &mut self,
        table: &Table<V>,
        find: impl Fn(&BTreeMap<Arc<str>, V>) -> T,
    ) -> impl Iterator<Item = &T> {
        self.found.resize_with(SHARDS, || None);
        if !table.is_shared(&self.table) {
            for (at, found) in self.found.iter_mut().enumerate() {
                match (table.shard(at), self.table.shard(at)) {
                    (Some(now), Some(before)) if Arc::ptr_eq(now, before) => {}
                    (now, _) => *found = now.map(|shard| find(shard)),
                }
            }
            self.table = table.clone();
        }
        self.found.iter().flatten()
    }
}

impl<V: Clone + PartialEq> PartialEq for Table<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.unshared(other).all(|(a, b)| a == b)
    }
}

impl<V: Clone + Eq> Eq for Table<V> {}

impl<V: Clone + Serialize> Serialize for Table<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Formats without terminators need the length first.
        let mut entries = serializer.serialize_seq(Some(self.len))?;
        for entry in self.iter() {
            entries.serialize_element(&entry)?;
        }
        entries.end()
    }
}

impl<'de, V: Clone + Deserialize<'de>> Deserialize<'de> for Table<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries: Vec<(Arc<str>, V)> = Vec::deserialize(deserializer)?;
        let mut table = Table::default();
        for (key, value) in entries {
            table.insert(key, value);
        }
        Ok(table)
    }
}

/// FNV-1a: fixed, quick, and no defence is needed as shards only trade copying for depth.
fn shard_of(key: &str) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in key.as_bytes() {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    (hash ^ (hash >> 16)) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_snapshot_does_not_see_later_writes() {
        let mut table = Table::default();
        for n in 0..1000 {
            table.insert(format!("k{n}").into(), n);
        }
        let before = table.clone();
        table.insert("k7".into(), 70);
        table.remove("k8");
        assert_eq!(before.get("k7"), Some(&7));
        assert_eq!(before.get("k8"), Some(&8));
        assert_eq!(table.len(), 999);
        assert_ne!(before, table);
        assert_eq!(before.sorted().len(), 1000);
        let mut beside = Vec::new();
        table.beside(&before, |key, now, then| beside.push((key.clone(), *now, then.copied())));
        assert_eq!(beside.len(), 999);
        assert!(beside.contains(&("k7".into(), 70, Some(7))));
        beside.clear();
        before.beside(&table, |key, then, now| beside.push((key.clone(), *then, now.copied())));
        assert!(beside.contains(&("k8".into(), 8, None)));
        assert_eq!(beside.iter().filter(|(_, then, now)| Some(*then) == *now).count(), 998);
    }
}
