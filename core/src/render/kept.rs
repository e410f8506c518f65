//! What stands in a file already, so that the next one is copied from it but for what changed.
//!
//! A large table is written again and again, a little changed each time: the entries of its changed
//! keys are written, the text between them is copied. Inputs: a table, where the one before stands.
//! Outputs: the same text that writing all of it gives. Not here: files (the adapter has them).

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use crate::action::MapId;
use crate::desired::table::PerShard;
use crate::desired::{Backend, Owned, Skeleton, Table};
use crate::digest::Digest;

/// Changed keys, as a part of all, beyond which everything is written.
const CHANGED_MAX: usize = 8;

/// Text that goes where some of it may stand already.
pub trait Out: Write {
    /// Bytes so far.
    fn written(&self) -> u64;

    /// Adds what stands in the file before, from a byte on. Called with growing offsets.
    ///
    /// # Errors
    /// When it cannot be read or written.
    fn copy(&mut self, from: u64, bytes: u64) -> fmt::Result;
}

/// Text without anything before it.
pub struct Fresh<'a>(&'a mut dyn Write, u64);

impl<'a> Fresh<'a> {
    /// Goes to `out`.
    pub fn new(out: &'a mut dyn Write) -> Fresh<'a> {
        Fresh(out, 0)
    }
}

impl Write for Fresh<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.1 += text.len() as u64;
        self.0.write_str(text)
    }
}

impl Out for Fresh<'_> {
    fn written(&self) -> u64 {
        self.1
    }

    fn copy(&mut self, _: u64, _: u64) -> fmt::Result {
        Err(fmt::Error)
    }
}

/// Where everything stands in the files of one generation, and digests of its parts.
#[derive(Debug, Default)]
pub struct Layout {
    /// With the static part that says how they are written.
    pub(super) backends: Option<(Arc<Skeleton>, Kept<Arc<Backend>>)>,
    pub(super) maps: BTreeMap<MapId, Kept<Owned<Arc<str>>>>,
    pub(super) digests: Digests,
    /// The last static part, and what names it.
    skeleton: Option<(Arc<Skeleton>, Arc<str>)>,
}

impl Layout {
    /// What names a static part, remembered as long as it is the same.
    pub(super) fn skeleton_digest(&mut self, skeleton: &Arc<Skeleton>) -> Arc<str> {
        match &self.skeleton {
            Some((before, digest)) if Arc::ptr_eq(before, skeleton) => digest.clone(),
            _ => {
                let digest = super::skeleton_digest(skeleton);
                self.skeleton = Some((skeleton.clone(), digest.clone()));
                digest
            }
        }
    }
}

/// Digests of the shards of an image's large tables.
#[derive(Debug, Default)]
pub struct Digests {
    pub(super) backends: PerShard<Arc<Backend>, Digest>,
    pub(super) maps: BTreeMap<MapId, PerShard<Owned<Arc<str>>, Digest>>,
}

/// How a table stands in a file, sorted by key.
#[derive(Debug)]
pub struct Kept<V> {
    table: Table<V>,
    order: Vec<Arc<str>>,
    /// Bytes of each entry.
    lengths: Vec<u32>,
    /// Offset of the first.
    begin: u64,
}

/// Sum of lengths.
fn bytes_of(lengths: &[u32]) -> u64 {
    lengths.iter().map(|length| u64::from(*length)).sum()
}

impl<V: Clone> Kept<V> {
    /// Writes a table after the one that `before` tells of; each entry by `entry`.
    ///
    /// # Errors
    /// Those of `out`.
    pub(super) fn write(
        before: Option<Kept<V>>,
        table: &Table<V>,
        same: impl Fn(&V, &V) -> bool,
        out: &mut dyn Out,
        mut entry: impl FnMut(&Arc<str>, &V, &mut dyn Write) -> fmt::Result,
    ) -> Result<Kept<V>, fmt::Error> {
        let begin = out.written();
        let mut write = |key: &Arc<str>, value: &V, out: &mut dyn Out| {
            let at = out.written();
            entry(key, value, out)?;
            u32::try_from(out.written() - at).map_err(|_| fmt::Error)
        };
        let mut changed = Vec::new();
        if let Some(before) = &before {
            before.table.differences(table, same, |key| changed.push(key.clone()));
            changed.sort_unstable();
        }
        let Some(before) = before.filter(|b| changed.len() <= b.order.len() / CHANGED_MAX) else {
            let sorted = table.sorted();
            let order = sorted.iter().map(|(key, _)| Arc::clone(key)).collect();
            let lengths = sorted.iter().map(|(key, value)| write(key, value, out));
            let lengths = lengths.collect::<Result<_, _>>()?;
            return Ok(Kept { table: table.clone(), order, lengths, begin });
        };
        let Kept { table: _, mut order, mut lengths, begin: mut from } = before;
        // Everything before `at` is as it is now, everything from there on as it was.
        let mut at = 0;
        for key in changed {
            let rest = order.get(at..).unwrap_or_default();
            let place = at + rest.partition_point(|other| *other < key);
            copy_some(&mut from, lengths.get(at..place), out)?;
            at = place;
            let old = order.get(at).is_some_and(|other| *other == key).then(|| lengths.get(at));
            let old = old.flatten().copied();
            from += old.map_or(0, u64::from);
            match (table.get(&key), old) {
                (Some(value), Some(_)) => {
                    let length = write(&key, value, out)?;
                    lengths.iter_mut().skip(at).take(1).for_each(|old| *old = length);
                    at += 1;
                }
                (Some(value), None) => {
                    lengths.insert(at, write(&key, value, out)?);
                    order.insert(at, key);
                    at += 1;
                }
                (None, Some(_)) => {
                    lengths.remove(at);
                    order.remove(at);
                }
                (None, None) => {}
            }
        }
        copy_some(&mut from, lengths.get(at..), out)?;
        Ok(Kept { table: table.clone(), order, lengths, begin })
    }
}

/// Copies entries of these lengths, which stand from `from` on.
fn copy_some(from: &mut u64, lengths: Option<&[u32]>, out: &mut dyn Out) -> fmt::Result {
    let bytes = bytes_of(lengths.unwrap_or_default());
    if bytes > 0 {
        out.copy(*from, bytes)?;
        *from += bytes;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;

    /// Text with the text before it, and how much of it was copied.
    #[derive(Default)]
    struct Page {
        before: String,
        text: String,
        copied: u64,
    }

    impl Write for Page {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.text.push_str(text);
            Ok(())
        }
    }

    impl Out for Page {
        fn written(&self) -> u64 {
            self.text.len() as u64
        }

        fn copy(&mut self, from: u64, bytes: u64) -> fmt::Result {
            let (from, bytes) = (from as usize, bytes as usize);
            self.text.push_str(&self.before[from..from + bytes]);
            self.copied += bytes as u64;
            Ok(())
        }
    }

    fn write(kept: Option<Kept<u32>>, table: &Table<u32>, page: &mut Page) -> Kept<u32> {
        page.write_str("head\n").unwrap();
        let entry = |key: &Arc<str>, value: &u32, out: &mut dyn Write| {
            // Some entries have no text.
            if value.is_multiple_of(7) { Ok(()) } else { writeln!(out, "{key} {value}") }
        };
        let kept = Kept::write(kept, table, |a, b| a == b, page, entry).unwrap();
        page.write_str("tail\n").unwrap();
        kept
    }

    #[test]
    fn what_is_copied_is_what_would_be_written() {
        let mut table = Table::default();
        for n in 0..500_u32 {
            table.insert(format!("k{n}").into(), n);
        }
        let mut page = Page::default();
        let mut kept = write(None, &table, &mut page);
        // Changed, removed and added, at both ends and next to each other.
        let mut dice = 7_u32;
        for round in 0..200 {
            for _ in 0..round % 12 {
                dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let key: Arc<str> = format!("k{}", (dice >> 16) % 600).into();
                match dice % 3 {
                    0 => table.remove(&key),
                    _ => table.insert(key, dice >> 8),
                };
            }
            if round == 50 {
                table.insert("a".into(), 1);
                table.insert("z".into(), 1);
            }
            if round == 51 {
                table.remove("a");
                table.remove("z");
            }
            let mut next = Page { before: page.text, ..Page::default() };
            kept = write(Some(kept), &table, &mut next);
            let mut whole = Page::default();
            write(None, &table, &mut whole);
            assert_eq!(next.text, whole.text, "round {round}");
            assert!(next.copied > whole.written() / 2, "round {round}: {} bytes", next.copied);
            page = next;
        }
    }

    #[test]
    fn what_changed_much_is_written() {
        let mut table = Table::default();
        for n in 0..100_u32 {
            table.insert(format!("k{n}").into(), n);
        }
        let mut page = Page::default();
        let kept = write(None, &table, &mut page);
        for n in 0..50_u32 {
            table.insert(format!("k{n}").into(), n + 1);
        }
        let mut next = Page { before: page.text, ..Page::default() };
        write(Some(kept), &table, &mut next);
        assert_eq!(next.copied, 0);
    }
}
