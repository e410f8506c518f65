//! `SmallSet`: an ordered set that costs little while it is small, as most are. A tree of one
//! element takes as much memory as one of eleven.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Elements beyond which it becomes a tree.
const FEW: usize = 16;

/// An ordered set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SmallSet<T> {
    /// Sorted.
    Few(Vec<T>),
    /// Once large, it stays a tree.
    Many(BTreeSet<T>),
}

impl<T> Default for SmallSet<T> {
    fn default() -> Self {
        SmallSet::Few(Vec::new())
    }
}

impl<T: Ord> SmallSet<T> {
    /// Adds an element; that it is there already is fine.
    pub fn insert(&mut self, element: T) {
        match self {
            SmallSet::Few(few) => {
                let Err(at) = few.binary_search(&element) else { return };
                if few.len() < FEW {
                    if few.len() == few.capacity() {
                        // A `Vec` would begin with room for four, and most have one.
                        few.reserve_exact(few.len().max(1));
                    }
                    few.insert(at, element);
                } else {
                    let mut many: BTreeSet<T> = core::mem::take(few).into_iter().collect();
                    many.insert(element);
                    *self = SmallSet::Many(many);
                }
            }
            SmallSet::Many(many) => {
                many.insert(element);
            }
        }
    }

    /// Removes an element; that it is not there is fine.
    pub fn remove(&mut self, element: &T) {
        match self {
            SmallSet::Few(few) => {
                if let Ok(at) = few.binary_search(element) {
                    few.remove(at);
                }
            }
            SmallSet::Many(many) => {
                many.remove(element);
            }
        }
    }

    /// Whether an element is there.
    pub fn contains(&self, element: &T) -> bool {
        match self {
            SmallSet::Few(few) => few.binary_search(element).is_ok(),
            SmallSet::Many(many) => many.contains(element),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            SmallSet::Few(few) => few.len(),
            SmallSet::Many(many) => many.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let (few, many) = match self {
            SmallSet::Few(few) => (Some(few), None),
            SmallSet::Many(many) => (None, Some(many)),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten())
    }
}
