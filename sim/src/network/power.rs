//! What a power loss leaves on the disk.
//!
//! Inputs: what was synced, of contents and of names, and what was done since. Outputs: what a
//! machine finds that is switched on again. Of what was not synced anything may be there, each file
//! and each name for itself, as POSIX promises no order: a name without its content, a content cut at
//! any byte, or as long as it was with zeros at the end (as ext4 and XFS leave it), a rename that did
//! not happen, a folder that was removed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::files::{Node, State};
use crate::dice::Dice;

/// What is in a file.
#[derive(Clone, Debug, Default)]
pub struct Content {
    bytes: Vec<u8>,
    /// So many bytes from the beginning are on the disk, whatever happens.
    synced: usize,
    /// What is on the disk of a file that was cut since.
    before: Option<Vec<u8>>,
    /// A sync failed: the system takes what it was for as written, and does not try again.
    lost: bool,
}

impl Content {
    /// A content that is on the disk, whatever happens.
    #[must_use]
    pub fn safe(bytes: &[u8]) -> Content {
        Content { bytes: bytes.to_vec(), synced: bytes.len(), before: None, lost: false }
    }

    /// As processes see it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// More of it.
    pub fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Another length; what is new is zeros.
    pub fn truncate(&mut self, length: usize) {
        if length < self.synced {
            let safe = self.bytes.get(..self.synced).unwrap_or_default();
            self.before.get_or_insert_with(|| safe.to_vec());
            self.synced = length;
        }
        self.bytes.resize(length, 0);
        self.lost &= length > 0;
    }

    /// It is on the disk from now on, unless it was to be before, in vain.
    pub fn sync(&mut self) {
        if !self.lost {
            self.settle();
        }
    }

    /// It was to be on the disk from now on, and is not.
    pub fn lose(&mut self) {
        self.lost |= self.synced < self.bytes.len() || self.before.is_some();
    }

    fn settle(&mut self) {
        self.lost = false;
        self.before = None;
        self.synced = self.bytes.len();
    }

    /// What a power loss leaves of it. What was not synced is lost so many times in a hundred.
    fn cut_power(&mut self, dice: &mut Dice, chance: u64) {
        let is_safe = self.before.is_none() && self.synced == self.bytes.len();
        if is_safe || !dice.percent(chance) {
            return self.settle();
        }
        let between = |dice: &mut Dice, low: usize, high: usize| {
            usize::try_from(dice.between(low as u64, high as u64)).unwrap_or(low)
        };
        let end = self.bytes.len();
        match (self.before.take(), dice.below(4)) {
            (Some(before), 0 | 1) => self.bytes = before,
            (_, 0) => self.bytes.truncate(self.synced),
            (_, 1 | 2) => self.bytes.truncate(between(dice, self.synced, end)),
            _ => {
                let from = between(dice, self.synced, end);
                self.bytes.get_mut(from..).unwrap_or_default().fill(0);
            }
        }
        self.settle();
    }
}

/// What a sync says that fails.
pub(super) fn failed() -> io::Error {
    io::Error::other("input/output error")
}

impl State {
    /// Syncs as long as the disk is well.
    pub(super) fn sync_or_fail(&mut self, path: &Path) -> io::Result<()> {
        if self.is_unsafe {
            self.lose(path);
            return Err(failed());
        }
        self.sync(path);
        Ok(())
    }

    /// A file, or a folder with everything in it, survives from now on, and so do all names beside it.
    /// Files with a second name are passed over: they were to be synced under that one.
    pub(super) fn sync(&mut self, path: &Path) {
        let mut names: BTreeMap<u64, u32> = BTreeMap::new();
        for node in self.nodes.values() {
            if let Node::File(number) = node {
                *names.entry(*number).or_default() += 1;
            }
        }
        let mut folders: BTreeSet<&Path> = path.parent().into_iter().collect();
        for (name, node) in self.nodes.iter().filter(|(name, _)| name.starts_with(path)) {
            match node {
                Node::File(number) if names.get(number) == Some(&1) => {
                    self.contents.entry(*number).or_default().sync();
                }
                Node::Folder => {
                    folders.insert(name);
                }
                Node::File(_) | Node::Link(_) => {}
            }
        }
        let is_in = |name: &Path| name.parent().is_some_and(|folder| folders.contains(folder));
        self.safe.retain(|name, _| !is_in(name));
        let now = self.nodes.iter().filter(|(name, _)| is_in(name));
        self.safe.extend(now.map(|(name, node)| (name.clone(), node.clone())));
    }

    /// A sync of a file, or of a folder with everything in it, fails.
    pub(super) fn lose(&mut self, path: &Path) {
        for (name, node) in &self.nodes {
            if let (Node::File(number), true) = (node, name.starts_with(path)) {
                self.contents.entry(*number).or_default().lose();
            }
        }
    }

    /// The power fails. How much of what was not synced is lost differs from time to time.
    pub(super) fn cut_power(&mut self, dice: &mut Dice) {
        let chance = *dice.pick(&[10, 30, 60, 100]).unwrap_or(&100);
        let names: BTreeSet<PathBuf> = self.nodes.keys().chain(self.safe.keys()).cloned().collect();
        let mut left = BTreeMap::new();
        for name in names {
            let (now, safe) = (self.nodes.get(&name), self.safe.get(&name));
            let node = if now != safe && dice.percent(chance) { safe } else { now };
            let is_reached =
                name.parent().is_none_or(|folder| left.get(folder) == Some(&Node::Folder));
            if let (Some(node), true) = (node, is_reached) {
                left.insert(name, node.clone());
            }
        }
        (self.nodes, self.safe) = (left.clone(), left);
        self.tidy();
        for content in self.contents.values_mut() {
            content.cut_power(dice, chance);
        }
    }
}
