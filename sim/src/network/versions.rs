//! S9: of no object a version is taken in that is older than one before. From the journals, by the
//! generations that the API server gave; a store that is restored or replaced begins anew.

use std::collections::BTreeMap;

use tidegate_core::event::Event;
use tidegate_core::world::object::Object;

/// The newest version of each object that was taken in, by UID.
#[derive(Default)]
pub struct Versions {
    newest: BTreeMap<Box<str>, i64>,
    /// The first that was older, in words.
    pub older: Option<String>,
}

impl Versions {
    /// A step takes in these events.
    pub fn take_in(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Upserted(object) => self.one(object),
                Event::Listed(listing) => listing.objects.iter().for_each(|one| self.one(one)),
                _ => {}
            }
        }
    }

    fn one(&mut self, object: &Object) {
        let meta = object.meta();
        let newest = self.newest.entry(meta.uid.clone()).or_insert(meta.generation);
        if meta.generation < *newest && self.older.is_none() {
            let words = format!(
                "version {} of {} {}/{} after version {newest}",
                meta.generation,
                object.kind().name(),
                meta.name.namespace,
                meta.name.name
            );
            self.older = Some(words);
        }
        *newest = meta.generation.max(*newest);
    }
}
