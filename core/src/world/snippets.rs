//! Which snippets are in force: what objects write, what HAProxy said of it, and what it accepted last.
//!
//! Inputs: objects as they come and go, pattern files, verdicts. Outputs: the next snippet to be
//! judged; per object and place the lines in force, and what is wrong. A snippet joins only after
//! HAProxy accepted it by itself. Until then, and when it is refused, the last good one of the same
//! object stays. Where there is none, an Ingress or Service that is new stays closed (its lines may
//! have been meant to protect it), and the controller's ConfigMap goes without.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::object::{Kind, Object, ObjectRef};
use super::{Fact, World};
use crate::annotations::{HAPROXY_PREFIXES, PREFIX, Refusal};
use crate::digest::Digest;
use crate::snippet::{Author, Place, Snippet, explain};

/// An object and a place.
type Spot = (ObjectRef, Place);

/// The snippets there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snippets {
    /// What is written now, read.
    wanted: BTreeMap<Spot, Wanted>,
    /// What HAProxy said: nothing, or why it refuses.
    verdicts: BTreeMap<Digest, Result<(), Box<str>>>,
    /// What was accepted last; `None` for an object that was there without a snippet.
    good: BTreeMap<Spot, Option<Arc<Snippet>>>,
    /// Written and not judged.
    open: BTreeMap<Digest, Arc<Snippet>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    text: Box<str>,
    read: Result<(Digest, Arc<Snippet>), Refusal>,
}

/// What a checkpoint keeps; the rest is a function of the objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptSnippets {
    verdicts: BTreeMap<Digest, Result<(), Box<str>>>,
    good: BTreeMap<Spot, Option<Arc<Snippet>>>,
}

/// What an object's snippet amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InForce<'w> {
    /// No lines.
    Nothing,
    /// These.
    Lines(&'w Arc<Snippet>),
    /// It is not known what would be right: the routes stay closed.
    Closed,
}

/// Why a snippet is not in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why<'w> {
    /// A line may not stand there.
    Allowed(&'w Refusal),
    /// HAProxy's words.
    Haproxy(&'w str),
}

impl Snippets {
    /// The next one to be judged, if any: that with the least digest.
    pub(crate) fn unjudged(&self) -> Option<&Arc<Snippet>> {
        self.open.values().next()
    }

    /// What is in force, and why not what is written.
    pub(super) fn of(&self, spot: &Spot) -> (InForce<'_>, Option<Why<'_>>) {
        let Some(wanted) = self.wanted.get(spot) else { return (InForce::Nothing, None) };
        let last = match self.good.get(spot) {
            Some(Some(snippet)) => InForce::Lines(snippet),
            Some(None) => InForce::Nothing,
            None if spot.0.kind == Kind::ConfigMap => InForce::Nothing,
            None => InForce::Closed,
        };
        match &wanted.read {
            Err(refusal) => (last, Some(Why::Allowed(refusal))),
            Ok((digest, snippet)) => match self.verdicts.get(digest) {
                Some(Ok(())) => (InForce::Lines(snippet), None),
                Some(Err(words)) => (last, Some(Why::Haproxy(words))),
                None => (last, None),
            },
        }
    }

    /// Objects with lines in force.
    pub(crate) fn owners(&self) -> BTreeSet<&ObjectRef> {
        let lines = |spot: &&Spot| matches!(self.of(spot).0, InForce::Lines(_));
        self.wanted.keys().filter(lines).map(|(object, _)| object).collect()
    }

    /// Feeds what decides what comes next.
    pub(crate) fn fingerprint(&self, hasher: &mut impl core::hash::Hasher) {
        use core::hash::Hash;
        (&self.verdicts, &self.good).hash(hasher);
    }

    fn put(&mut self, spot: Spot, wanted: Option<Wanted>, existed: bool) -> bool {
        let Some(wanted) = wanted else {
            self.good.remove(&spot);
            return self.wanted.remove(&spot).is_some();
        };
        let old = self.wanted.get(&spot);
        if old == Some(&wanted) {
            return false;
        }
        if old.is_none() && existed {
            self.good.insert(spot.clone(), None);
        }
        if let Ok((digest, snippet)) = &wanted.read
            && self.verdicts.get(digest) == Some(&Ok(()))
        {
            self.good.insert(spot.clone(), Some(snippet.clone()));
        }
        self.wanted.insert(spot, wanted);
        true
    }

    /// Verdicts on what nobody writes any more go; what has none is open.
    fn settle(&mut self) {
        let read = self.wanted.values().filter_map(|wanted| wanted.read.as_ref().ok());
        self.open = read.cloned().collect();
        self.verdicts.retain(|digest, _| self.open.contains_key(digest));
        self.open.retain(|digest, _| !self.verdicts.contains_key(digest));
    }
}

impl World {
    /// Reads the snippets of an object that comes into force, before it does.
    pub(super) fn read_snippets(&mut self, object: &Object, changed: &mut BTreeSet<Fact>) {
        let object_ref = object.object_ref();
        let (places, author): (&[Place], _) = match object {
            Object::Ingress(_) | Object::Service(_) => (&[Place::Backend], Author::Tenant),
            Object::ConfigMap(map) if self.settings.config_map.as_ref() == Some(&map.meta.name) => {
                (&Place::ALL, Author::Operator)
            }
            _ => return,
        };
        let existed = self.is_there(&object_ref);
        for place in places {
            let text = text_of(object, *place)
                .filter(|_| self.settings.snippets.refuses(&object_ref, *place).is_none());
            let wanted = text.map(|text| self.read_snippet(*place, author, text));
            let wanted = wanted.filter(|wanted| match &wanted.read {
                Ok((_, snippet)) => !snippet.is_empty(),
                Err(_) => true,
            });
            if self.snippets.put((object_ref.clone(), *place), wanted, existed) {
                changed.insert(Fact::Snippet(object_ref.clone()));
                self.snippets.settle();
            }
        }
    }

    /// Forgets the snippets of an object that is gone.
    pub(super) fn forget_snippets(&mut self, object: &ObjectRef, changed: &mut BTreeSet<Fact>) {
        for place in Place::ALL {
            if self.snippets.put((object.clone(), place), None, false) {
                changed.insert(Fact::Snippet(object.clone()));
                self.snippets.settle();
            }
        }
    }

    /// Reads all snippets again: pattern files changed.
    pub(super) fn reread_snippets(&mut self, changed: &mut BTreeSet<Fact>) {
        let all: Vec<(Spot, Box<str>)> = self
            .snippets
            .wanted
            .iter()
            .map(|(spot, wanted)| (spot.clone(), wanted.text.clone()))
            .collect();
        for (spot, text) in all {
            let author = match spot.0.kind {
                Kind::ConfigMap => Author::Operator,
                _ => Author::Tenant,
            };
            let wanted = self.read_snippet(spot.1, author, &text);
            if self.snippets.put(spot.clone(), Some(wanted), true) {
                changed.insert(Fact::Snippet(spot.0));
            }
        }
        self.snippets.settle();
    }

    fn read_snippet(&self, place: Place, author: Author, text: &str) -> Wanted {
        let pattern = |name: &str| self.named.pattern(name).map(|file| file.text.clone());
        let read = Snippet::read(place, author, text, &pattern);
        let read = read.map(|snippet| (snippet.digest(), Arc::new(snippet)));
        Wanted { text: text.into(), read }
    }

    /// Takes HAProxy's verdict in.
    pub(crate) fn judge_snippet(
        &mut self,
        snippet: &Arc<Snippet>,
        verdict: Result<(), &str>,
        changed: &mut BTreeSet<Fact>,
    ) {
        let digest = snippet.digest();
        let spots: Vec<Spot> = self
            .snippets
            .wanted
            .iter()
            .filter(|(_, wanted)| wanted.read.as_ref().is_ok_and(|(of, _)| *of == digest))
            .map(|(spot, _)| spot.clone())
            .collect();
        if spots.is_empty() {
            return;
        }
        let verdict = verdict.map_err(|words| explain(snippet, words).as_str().into());
        for spot in spots {
            changed.insert(Fact::Snippet(spot.0.clone()));
            if verdict.is_ok() {
                self.snippets.good.insert(spot, Some(snippet.clone()));
            }
        }
        self.snippets.verdicts.insert(digest, verdict);
        self.snippets.settle();
    }

    /// Another HAProxy may judge otherwise.
    pub(super) fn forget_verdicts(&mut self, changed: &mut BTreeSet<Fact>) {
        self.snippets.verdicts.clear();
        self.snippets.settle();
        changed.extend(self.snippets.wanted.keys().map(|(o, _)| Fact::Snippet(o.clone())));
    }

    fn is_there(&self, object: &ObjectRef) -> bool {
        match object.kind {
            Kind::Ingress => self.ingresses.contains_key(&object.name),
            Kind::Service => self.services.contains_key(&object.name),
            _ => false,
        }
    }

    /// What a checkpoint keeps.
    pub(crate) fn kept_snippets(&self) -> KeptSnippets {
        let Snippets { wanted: _, open: _, verdicts, good } = &self.snippets;
        KeptSnippets { verdicts: verdicts.clone(), good: good.clone() }
    }

    /// Goes on from a checkpoint, once the objects in force are there.
    pub(crate) fn restore_snippets(&mut self, kept: KeptSnippets) {
        self.snippets.verdicts = kept.verdicts;
        self.snippets.good = kept.good;
        self.snippets.settle();
    }
}

/// What an object writes for a place. Our own spelling comes before others'.
fn text_of(object: &Object, place: Place) -> Option<&str> {
    let meta = match object {
        Object::ConfigMap(map) => return map.data.get(place.key()).map(|text| &**text),
        Object::Ingress(ingress) => &ingress.meta,
        Object::Service(service) => &service.meta,
        _ => return None,
    };
    let mut spellings = core::iter::once(PREFIX).chain(HAPROXY_PREFIXES);
    spellings.find_map(|prefix| {
        let is_key = |full: &str| full.strip_prefix(prefix) == Some(place.key());
        let found = meta.annotations.iter().find(|(full, _)| is_key(full));
        found.map(|(_, text)| &**text)
    })
}
