//! Backends of TCP: for TCP services, and for hosts whose TLS is passed through.
//!
//! Inputs: the Service port, and the objects whose keys shape it. Outputs: the backend's name, which
//! goes into a record. Not here: which port or host has the record.

use alloc::sync::Arc;

use super::Piece;
use super::route::FoundPort;
use crate::annotations::Registry;
use crate::annotations::resolve::{self, Resolved, Source, Target};
use crate::desired::BackendSpec;
use crate::render::profile;
use crate::world::lookup::Lookup;
use crate::world::object::Name;

/// What became of a backend.
pub enum Stream {
    /// It is there; the second is false when the balancing algorithm needs HTTP, and the default
    /// one takes its place.
    Backend(Arc<str>, bool),
    /// It must not be spoken to: a key that protects the pods cannot be used.
    Closed,
}

/// The backend of a Service port under the keys of `sources`, from wide to narrow. Problems and the
/// backend go into `piece`.
pub(super) fn backend(
    lookup: &mut Lookup<'_>,
    registry: &Registry,
    sources: &[Source<'_>],
    target: Target,
    service: &Name,
    port: &FoundPort<'_>,
    piece: &mut Piece,
) -> Stream {
    let Resolved { route: _, backend, problems, closed } =
        resolve::apply(lookup, registry, sources, target);
    piece.problems.extend(problems);
    if closed.is_some() {
        return Stream::Closed;
    }
    let chosen = profile::stream(backend.balance);
    let fits = chosen.is_some();
    let Some(profile) = chosen.or_else(|| profile::stream("")) else { return Stream::Closed };
    let spec = Arc::new(BackendSpec {
        service: service.clone(),
        port_name: port.name.into(),
        port: port.number,
        profile,
        keywords: backend.keywords.join(" ").into(),
        files: backend.files.iter().copied().collect(),
        check: None,
        snippet: None,
        reach: backend.reach.filter(|reach| *reach != lookup.settings().reach),
    });
    let name = spec.name();
    piece.backends.push((name.clone(), spec));
    Stream::Backend(name, fits)
}
