//! What replay compares: the digest of a step's actions, and the chain over all steps.
//!
//! In: actions. Out: 128 bits. Everything that the adapters act on counts, except the content of
//! images, of which only sizes and the static part count: hashing a whole image would hold up
//! every save of a large fleet. What an image holds follows from the events and is sent as
//! commands, which do count in full.

use std::sync::Arc;

use serde::Serialize;
use tidegate_core::action::{Action, ActionBody, ActionId, Lane, MapId, RuntimeCommand};
use tidegate_core::controller::Step;
use tidegate_core::desired::{Image, Skeleton};
use tidegate_core::digest::Digest;
use tidegate_core::event::WorkerId;
use tidegate_core::plan::remedy::ReloadReason;
use tidegate_core::render;
use tidegate_core::snippet::Snippet;
use tidegate_core::tell::Tell;
use tidegate_core::world::object::{Kind, Name};

use super::codec::OutputV1;

/// The chain before the first step.
pub const CHAIN_START: Digest = Digest([0; 16]);

/// The chain after one more step.
#[must_use]
pub fn chained(chain: Digest, output: &OutputV1) -> Digest {
    let OutputV1 { actions, opened, closed, digest } = output;
    let mut counts = [0; 12];
    let bytes = [actions, opened, closed].into_iter().flat_map(|n| n.to_le_bytes());
    for (to, from) in counts.iter_mut().zip(bytes) {
        *to = from;
    }
    Digest::of_parts([chain.0.as_slice(), digest.0.as_slice(), counts.as_slice()])
}

/// Computes digests of steps; keeps a buffer and the digest of the last static part.
#[derive(Debug, Default)]
pub struct ActionDigest {
    buffer: Vec<u8>,
    skeleton: Option<(Arc<Skeleton>, Arc<str>)>,
}

/// The form that is hashed. Grows at the end only, as journals are compared with it.
#[derive(Serialize)]
enum Canonical<'a> {
    Runtime { worker: WorkerId, commands: &'a [RuntimeCommand] },
    ReadBack { worker: WorkerId },
    Save { image: Summary },
    Reload { image: Summary, reasons: &'a [ReloadReason] },
    Check { image: Summary },
    ResolveNames { names: Vec<&'a str> },
    FollowSecrets { add: &'a [Name], drop: &'a [Name] },
    Tell { tell: &'a Tell },
    Relist { kind: Kind },
    CheckSnippet { snippet: &'a Snippet },
}

/// An image in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Digest of the static part, in hex.
    pub skeleton: Arc<str>,
    /// Entries of each map, in the order of [`MapId::ALL`].
    pub maps: Vec<usize>,
    /// Backends.
    pub backends: usize,
    /// Certificates.
    pub certificates: usize,
    /// Files named by server keywords.
    pub files: usize,
    /// Content of the default certificate.
    pub default_certificate: Option<Digest>,
}

impl ActionDigest {
    /// What replay compares of a step.
    pub fn output(&mut self, step: &Step) -> OutputV1 {
        OutputV1 {
            actions: count(step.actions.len()),
            opened: count(step.opened.len()),
            closed: count(step.closed.len()),
            digest: self.of(&step.actions),
        }
    }

    /// The digest of the actions of one step.
    pub fn of(&mut self, actions: &[Action]) -> Digest {
        if actions.is_empty() {
            return Digest::of(&[]);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        for action in actions {
            let Action { id, body } = action;
            let canonical = self.canonical(body);
            let whole: (ActionId, Lane, Canonical<'_>) = (*id, body.lane(), canonical);
            let config = bincode::config::standard();
            let encoded = bincode::serde::encode_into_std_write(&whole, &mut buffer, config);
            // Memory takes all bytes, and every sequence here knows its length.
            debug_assert!(encoded.is_ok(), "actions are encodable");
        }
        let digest = Digest::of(&buffer);
        buffer.shrink_to(1 << 20);
        self.buffer = buffer;
        digest
    }

    fn canonical<'a>(&mut self, body: &'a ActionBody) -> Canonical<'a> {
        match body {
            ActionBody::Runtime { worker, commands } => {
                Canonical::Runtime { worker: *worker, commands }
            }
            ActionBody::ReadBack { worker } => Canonical::ReadBack { worker: *worker },
            ActionBody::Save { image } => Canonical::Save { image: self.summary(image) },
            ActionBody::Reload { image, reasons } => {
                Canonical::Reload { image: self.summary(image), reasons }
            }
            ActionBody::Check { image } => Canonical::Check { image: self.summary(image) },
            ActionBody::ResolveNames { names } => {
                Canonical::ResolveNames { names: names.iter().map(|name| &**name).collect() }
            }
            ActionBody::FollowSecrets { add, drop } => Canonical::FollowSecrets { add, drop },
            ActionBody::Tell(tell) => Canonical::Tell { tell },
            ActionBody::Relist { kind } => Canonical::Relist { kind: *kind },
            ActionBody::CheckSnippet { snippet } => Canonical::CheckSnippet { snippet },
        }
    }

    /// An image in short. Its version does not count: it numbers changes since the controller was
    /// made, and one made from a checkpoint counts anew.
    pub fn summary(&mut self, image: &Image) -> Summary {
        Summary {
            skeleton: self.skeleton(&image.skeleton),
            maps: MapId::ALL.iter().map(|id| image.map(*id).len()).collect(),
            backends: image.backends.len(),
            certificates: image.certificates.len(),
            files: image.files.len(),
            default_certificate: image.default_certificate,
        }
    }

    fn skeleton(&mut self, skeleton: &Arc<Skeleton>) -> Arc<str> {
        match &self.skeleton {
            Some((known, digest)) if known == skeleton => digest.clone(),
            _ => {
                let digest = render::skeleton_digest(skeleton);
                self.skeleton = Some((skeleton.clone(), digest.clone()));
                digest
            }
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
