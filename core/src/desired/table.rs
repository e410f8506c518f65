//! `Table`: an ordered map that is cheap to snapshot. Split by a fixed hash of the key into shards
//! that are shared until written, so a copy costs one pointer, and a later write copies the list of
//! shards and one shard. An empty shard is not there at all, so that small tables cost little. The
//! order of iteration is fixed: by shard, then by key.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Number of shards. A write after a snapshot copies 1/SHARDS of the table.
const SHARDS: usize = 256;

/// A map from text to `V` with cheap clones.
#[derive(Clone, Debug)]
pub struct Table<V> {
    /// None at all before the first entry.
    shards: Arc<[Option<Arc<Shard<V>>>]>,
    len: usize,
}

type Shard<V> = BTreeMap<Arc<str>, V>;

impl<V> Default for Table<V> {
    fn default() -> Self {
        Table { shards: Arc::from([]), len: 0 }
    }
}

impl<V: Clone> Table<V> {
    fn shard(&self, at: usize) -> Option<&Arc<Shard<V>>> {
        self.shards.get(at)?.as_ref()
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
        let shard = Arc::make_mut(&mut self.shards).get_mut(shard_of(key))?;
        Arc::make_mut(shard.as_mut()?).get_mut(key)
    }

    /// Sets the value under a key; returns the one it replaces.
    pub fn insert(&mut self, key: Arc<str>, value: V) -> Option<V> {
        if self.shards.is_empty() {
            self.shards = (0..SHARDS).map(|_| None).collect();
        }
        let shard = Arc::make_mut(&mut self.shards).get_mut(shard_of(&key))?;
        let old = Arc::make_mut(shard.get_or_insert_default()).insert(key, value);
        if old.is_none() {
            self.len += 1;
        }
        old
    }

    /// Removes a key; returns its value.
    pub fn remove(&mut self, key: &str) -> Option<V> {
        self.get(key)?;
        let place = Arc::make_mut(&mut self.shards).get_mut(shard_of(key))?;
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
        self.shards.iter().flatten().flat_map(|shard| shard.iter())
    }

    /// Calls `f` for each key whose value is missing on one side or not `same`. Shards that are
    /// shared are skipped.
    pub fn differences(
        &self,
        other: &Table<V>,
        same: impl Fn(&V, &V) -> bool,
        mut f: impl FnMut(&Arc<str>),
    ) {
        if Arc::ptr_eq(&self.shards, &other.shards) {
            return;
        }
        for at in 0..self.shards.len().max(other.shards.len()) {
            let (a, b) = (self.shard(at), other.shard(at));
            if are_shared(a, b) {
                continue;
            }
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
        for (at, a) in self.shards.iter().enumerate() {
            let mut rest = other.shard(at).into_iter().flat_map(|b| b.iter()).peekable();
            for (key, value) in a.iter().flat_map(|a| a.iter()) {
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

impl<V: Clone + PartialEq> PartialEq for Table<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len
            && (self.len == 0
                || Arc::ptr_eq(&self.shards, &other.shards)
                || self.shards.iter().zip(other.shards.iter()).all(|(a, b)| {
                    let (a, b) = (a.as_ref(), b.as_ref());
                    are_shared(a, b) || a == b
                }))
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

/// Whether two shards are the same one, or none.
fn are_shared<V>(a: Option<&Arc<Shard<V>>>, b: Option<&Arc<Shard<V>>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
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
