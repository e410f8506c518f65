//! The API server: the store that answers, and what is wrong with it.
//!
//! Inputs: faults. Outputs: which store answers, and whether and how. Not here: HTTP, connections.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

use super::store::Store;

/// The API server and what is wrong with it.
pub struct Api {
    pub(in crate::network) store: Store,
    /// Another store that answers meanwhile.
    other: Option<Store>,
    /// Told of every change.
    pub changed: Arc<Notify>,
    /// Counts cuts of all connections.
    pub epoch: u64,
    /// Objects of a page at most.
    pub page_max: usize,
    /// Whether streaming lists are known.
    pub streaming: bool,
    /// Until when nothing is said.
    pub silent_until_ms: u64,
    /// Until when everything is 429.
    pub throttled_until_ms: u64,
    /// Until when everything is 500.
    pub unwell_until_ms: u64,
    /// The kind that is denied.
    pub denied: Option<&'static str>,
    /// Until when it is.
    pub denied_until_ms: u64,
    /// The kind of which nothing is said.
    pub lagging: Option<&'static str>,
    /// Until when nothing is.
    pub lagging_until_ms: u64,
    /// Lines of watches that come twice.
    pub twice: u32,
    /// Lists that are forgotten between two pages.
    pub expire_pages: u32,
    /// Until when there are no bookmarks.
    pub no_marks_until_ms: u64,
    /// Counts the ends of all watches by an error.
    pub watch_errors: u64,
    /// Writes that are refused, as somebody else wrote.
    pub conflicts: u32,
    /// Writes whose answers are lost.
    pub lose_writes: u32,
    /// The Ingress whose status is refused each time.
    pub refused_status: Option<(String, String)>,
    /// Lists that are cut.
    pub cut_lists: u32,
    /// Copies from some seconds ago, oldest first.
    copies: Vec<Store>,
    /// The store before each of the last changes, oldest first, and when that was.
    before: VecDeque<(u64, Store)>,
}

/// Changes that a copy can lack at most.
const CHANGES_MAX: usize = 16;

impl Api {
    /// One with an empty store.
    #[must_use]
    pub fn new(seed: u64, page_max: usize, streaming: bool) -> Api {
        Api {
            store: Store::new(seed & 0xfff, 100_000),
            other: None,
            changed: Arc::new(Notify::new()),
            epoch: 0,
            page_max,
            streaming,
            silent_until_ms: 0,
            throttled_until_ms: 0,
            unwell_until_ms: 0,
            denied: None,
            denied_until_ms: 0,
            lagging: None,
            lagging_until_ms: 0,
            twice: 0,
            expire_pages: 0,
            no_marks_until_ms: 0,
            watch_errors: 0,
            conflicts: 0,
            lose_writes: 0,
            refused_status: None,
            cut_lists: 0,
            copies: Vec::new(),
            before: VecDeque::new(),
        }
    }

    /// The store that answers.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.other.as_ref().unwrap_or(&self.store)
    }

    /// The store that answers, for a change.
    pub fn store_mut(&mut self) -> &mut Store {
        self.other.as_mut().unwrap_or(&mut self.store)
    }

    /// The store that the truth is in.
    #[must_use]
    pub fn true_store(&self) -> &Store {
        &self.store
    }

    /// Whether another store answers than the one that the truth is in.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.other.is_some()
    }

    /// Ends all connections.
    pub fn cut(&mut self) {
        self.epoch += 1;
        self.changed.notify_waiters();
    }

    /// Ends all watches with an error.
    pub fn fail_watches(&mut self) {
        self.watch_errors += 1;
        self.changed.notify_waiters();
    }

    /// Until when nothing is said about a resource.
    #[must_use]
    pub fn silent_about(&self, plural: &str) -> u64 {
        let lags = self.lagging == Some(plural);
        self.silent_until_ms.max(if lags { self.lagging_until_ms } else { 0 })
    }

    /// Forgets all changes.
    pub fn compact(&mut self) {
        self.store_mut().compact();
    }

    /// An empty store answers from now on.
    pub fn empty(&mut self) {
        self.other = Some(Store::new(0xeee, 500));
        self.cut();
    }

    /// A copy from some seconds ago answers from now on.
    pub fn go_back(&mut self) {
        self.other = self.copies.first().cloned();
        self.cut();
    }

    /// Somebody is about to change something.
    pub fn is_to_change(&mut self, now_ms: u64) {
        self.before.push_back((now_ms, self.store.clone()));
        if self.before.len() > CHANGES_MAX {
            self.before.pop_front();
        }
    }

    /// A copy that lacks the last so many changes answers from now on. Since when it is old.
    pub fn go_back_by(&mut self, changes: u32) -> u64 {
        let at = self.before.len().saturating_sub(changes.max(1) as usize);
        let (since_ms, copy) = self.before.get(at).cloned().unzip();
        self.other = copy;
        self.cut();
        since_ms.unwrap_or_default()
    }

    /// The true store answers again.
    pub fn come_back(&mut self) {
        self.other = None;
        self.cut();
    }

    /// Copies the store now and then.
    pub fn copy(&mut self) {
        self.copies.push(self.store.clone());
        if self.copies.len() > 3 {
            self.copies.remove(0);
        }
    }
}
