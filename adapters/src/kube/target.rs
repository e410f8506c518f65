//! What a watch is of, and what becomes of the objects it sees.

use tidegate_core::event::Event;
use tidegate_core::world::object::Kind;

use super::resource;

/// What is watched.
#[derive(Clone, Debug)]
pub struct Target {
    /// Kind.
    pub kind: Kind,
    /// Namespace; `None` for all.
    pub namespace: Option<Box<str>>,
    /// The only object; `None` for all.
    pub name: Option<Box<str>>,
}

impl Target {
    /// The target in logs and for the seed.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}/{}", self.kind.name(), self.namespace.as_deref().unwrap_or("*"))
    }

    /// Path of the collection with a query.
    #[must_use]
    pub fn path(&self, query: &str) -> String {
        let path = resource::of(self.kind).collection(self.namespace.as_deref());
        match &self.name {
            Some(name) => {
                format!("{path}?{query}&fieldSelector=metadata.name%3D{}", resource::segment(name))
            }
            None => format!("{path}?{query}"),
        }
    }
}

/// A complete list, besides its objects.
pub struct Whole<'a> {
    /// Its version.
    pub version: &'a str,
    /// The highest revision that this watch has seen before; 0 for none.
    pub watched: u64,
    /// The store.
    pub cluster: Box<str>,
}

/// What becomes of the objects of a watch.
pub trait Sink: Send {
    /// The form (`Accept`) in which lists are wanted, or single objects, as in watches.
    fn form(&self, list: bool) -> &'static str;
    /// A list begins; one under way is void.
    fn begin(&mut self);
    /// An item of the list under way.
    fn item(&mut self, json: &[u8]);
    /// The list is complete. Returns its number of objects.
    fn complete(&mut self, list: Whole<'_>) -> usize;
    /// An object was created or changed. Returns its version, if it can be read.
    fn changed(&mut self, json: &[u8]) -> Option<Box<str>>;
    /// An object was deleted; this is its last version.
    fn deleted(&mut self, json: &[u8]) -> Option<Box<str>>;
    /// The events since the last call.
    fn take(&mut self) -> Vec<Event>;
}
