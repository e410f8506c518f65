//! What the files of a folder say, and what changes when one of them does.
//!
//! In: decoded files. Out: events with the differences, object by object, and the problems of
//! all files. When two files hold the same object, the first in the order of paths wins. Does not
//! read files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tidegate_core::digest::Digest;
use tidegate_core::event::Event;
use tidegate_core::problem::{Problem, Reason, Severity};
use tidegate_core::world::object::{Kind, Object, ObjectRef};

use super::yaml::{Document, Fault};
use crate::vault::Vault;

/// All files and the objects in force.
#[derive(Default)]
pub(super) struct Store {
    files: BTreeMap<Arc<Path>, File>,
    /// The objects in force, and the file each comes from.
    in_force: BTreeMap<ObjectRef, (Arc<Path>, Object)>,
    /// Files that hold an object which another file holds too: all of them but the winner.
    rivals: BTreeMap<ObjectRef, BTreeSet<Arc<Path>>>,
    /// Problems of the folder as a whole.
    general: Vec<Problem>,
    /// The problems as last told.
    told: Vec<Problem>,
}

#[derive(Default)]
struct File {
    documents: Vec<Document>,
    /// Objects kept from a former version, as their documents cannot be used any more.
    kept: Vec<Object>,
    problems: Vec<Problem>,
    readable: bool,
}

impl File {
    /// Its objects; the first of several with the same name counts.
    fn objects(&self) -> BTreeMap<ObjectRef, &Object> {
        let mut objects = BTreeMap::new();
        for object in self.documents.iter().flat_map(|d| &d.objects).chain(&self.kept) {
            objects.entry(object.object_ref()).or_insert(object);
        }
        objects
    }

    fn digests(&self) -> Vec<Digest> {
        let mut digests = Vec::new();
        for object in self.documents.iter().flat_map(|d| &d.objects).chain(&self.kept) {
            if let Object::Secret(secret) = object {
                digests.extend(secret.certificate.iter().flatten().map(|facts| facts.digest));
                digests.extend(secret.authority.iter().flatten().map(|facts| facts.digest));
                digests.extend(secret.users.iter().flatten().map(|facts| facts.digest));
            }
        }
        digests
    }
}

impl Store {
    /// The documents of a file as last decoded.
    pub fn documents(&self, path: &Path) -> &[Document] {
        self.files.get(path).map_or(&[], |file| &file.documents)
    }

    /// Whether a file was read well the last time.
    pub fn is_readable(&self, path: &Path) -> bool {
        self.files.get(path).is_some_and(|file| file.readable)
    }

    /// Takes a new version of a file. A broken one leaves the former version in force; an object
    /// that became undecodable stays as it was.
    pub fn file_read(
        &mut self,
        path: &Arc<Path>,
        documents: Vec<Document>,
        vault: &Vault,
        events: &mut Vec<Event>,
    ) {
        let former = self.files.remove(path).unwrap_or_default();
        let faults: Vec<Fault> = documents.iter().flat_map(|d| d.faults.clone()).collect();
        let broken = faults.iter().any(|fault| fault.broken || is_nameless(fault));
        let old = former.objects();
        let kept_all = broken && !old.is_empty();
        let mut file = File { documents, readable: true, ..File::default() };
        if kept_all {
            file.documents = former.documents.clone();
            file.kept = former.kept.clone();
        } else if !faults.is_empty() {
            let now = file.objects();
            let lost = faults.iter().filter_map(|fault| fault.object.as_ref());
            let lost = lost.filter(|name| !now.contains_key(*name));
            file.kept = lost.filter_map(|name| old.get(name)).map(|o| (*o).clone()).collect();
        }
        let now = file.objects();
        let changes = changes(&old, &now);
        let problems = faults.into_iter().map(|fault| problem_of(path, fault, kept_all, &now));
        file.problems = problems.chain(repeated(path, &file.documents, now.len())).collect();
        vault.hold(&owner(path), file.digests());
        self.files.insert(Arc::clone(path), file);
        self.settle(path, changes, events);
    }

    /// A file could not be read: what it said stays in force.
    pub fn file_unreadable(&mut self, path: &Arc<Path>, why: &str) {
        let file = self.files.entry(Arc::clone(path)).or_default();
        file.readable = false;
        let instead = if file.documents.is_empty() {
            "nothing in it is used"
        } else {
            "what it said before stays in force"
        };
        let what = format!("{} cannot be read: {why}", path.display());
        let fix = "make it readable for tidegate";
        file.problems = vec![general_problem(path, what, instead, fix)];
    }

    /// A file is gone: a positive observation.
    pub fn file_removed(&mut self, path: &Arc<Path>, vault: &Vault, events: &mut Vec<Event>) {
        let Some(file) = self.files.remove(path) else { return };
        vault.hold(&owner(path), Vec::new());
        let changes = changes(&file.objects(), &BTreeMap::new());
        self.settle(path, changes, events);
    }

    /// Sets the problems of the folder as a whole: path, what, what was done instead, how to fix.
    pub fn set_general(&mut self, problems: Vec<(&Path, String, &str, &str)>) {
        self.general = problems
            .into_iter()
            .map(|(path, what, instead, fix)| general_problem(path, what, instead, fix))
            .collect();
    }

    /// Paths of all files.
    pub fn paths(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.files.keys()
    }

    /// The event with all problems, if they changed since the last call.
    pub fn changed_problems(&mut self) -> Option<Event> {
        let mut problems = self.general.clone();
        problems.extend(self.files.values().flat_map(|file| file.problems.iter().cloned()));
        for (name, losers) in &self.rivals {
            if let Some((winner, _)) = self.in_force.get(name) {
                problems.extend(losers.iter().map(|loser| duplicate(name, winner, loser)));
            }
        }
        problems.sort();
        if problems == self.told {
            return None;
        }
        self.told.clone_from(&problems);
        Some(Event::SourceProblems(problems))
    }

    /// Every object in force, as a complete list of each kind.
    pub fn relisted(&self) -> Vec<Event> {
        let mut lists: BTreeMap<Kind, Vec<Object>> =
            Kind::ALL.into_iter().map(|kind| (kind, Vec::new())).collect();
        for (name, (_, object)) in &self.in_force {
            lists.entry(name.kind).or_default().push(object.clone());
        }
        lists.into_iter().map(|(kind, objects)| Event::Relisted { kind, objects }).collect()
    }

    /// Decides anew which file each changed object of a file comes from.
    fn settle(&mut self, path: &Arc<Path>, changes: Changes, events: &mut Vec<Event>) {
        for (name, object) in changes.0 {
            self.settle_object(path, name, object, events);
        }
    }

    fn settle_object(
        &mut self,
        path: &Arc<Path>,
        name: ObjectRef,
        object: Option<Object>,
        events: &mut Vec<Event>,
    ) {
        let former = self.in_force.remove(&name);
        let mut holders = self.rivals.remove(&name).unwrap_or_default();
        holders.extend(former.as_ref().map(|(holder, _)| Arc::clone(holder)));
        holders.remove(path);
        if object.is_some() {
            holders.insert(Arc::clone(path));
        }
        let Some(winner) = holders.pop_first() else {
            events.extend(former.is_some().then_some(Event::Deleted(name)));
            return;
        };
        let object = match (object, &former) {
            (Some(object), _) if winner == *path => Some(object),
            (_, Some((holder, object))) if *holder == winner => Some(object.clone()),
            (Some(_) | None, _) => {
                self.files.get(&winner).and_then(|f| f.objects().remove(&name).cloned())
            }
        };
        if !holders.is_empty() {
            self.rivals.insert(name.clone(), holders);
        }
        // Every holder has the object, so the `None` arm cannot be reached.
        let Some(object) = object else { return };
        if former.as_ref().map(|(_, object)| object) != Some(&object) {
            events.push(Event::Upserted(object.clone()));
        }
        self.in_force.insert(name, (winner, object));
    }
}

/// Objects that are new or differ, and those that are gone.
struct Changes(Vec<(ObjectRef, Option<Object>)>);

fn changes(old: &BTreeMap<ObjectRef, &Object>, now: &BTreeMap<ObjectRef, &Object>) -> Changes {
    let gone = old.keys().filter(|name| !now.contains_key(*name));
    let new = now.iter().filter(|(name, object)| old.get(*name) != Some(*object));
    let new = new.map(|(name, object)| (name.clone(), Some((*object).clone())));
    Changes(new.chain(gone.map(|name| (name.clone(), None))).collect())
}

/// What the vault calls the holder of a file's secrets.
fn owner(path: &Path) -> String {
    format!("file {}", path.display())
}

fn is_nameless(fault: &Fault) -> bool {
    !fault.foreign && fault.object.as_ref().is_none_or(|object| object.name.name.is_empty())
}

fn problem_of(
    path: &Path,
    fault: Fault,
    kept_all: bool,
    served: &BTreeMap<ObjectRef, &Object>,
) -> Problem {
    let Fault { line, column, object, what, fix, broken: _, foreign } = fault;
    let place = if column > 0 {
        format!("{}:{line}:{column}", path.display())
    } else {
        format!("{}:{line}", path.display())
    };
    let kept = object.as_ref().is_some_and(|object| served.contains_key(object));
    let (severity, instead) = match (kept_all, kept) {
        (_, _) if foreign => (Severity::Warning, "it is left out"),
        (true, _) => (Severity::Warning, "the last good version of the whole file stays in force"),
        (false, true) => (Severity::Warning, "the last good version of the object stays in force"),
        (false, false) => (Severity::Error, "it is left out"),
    };
    Problem {
        object: object.unwrap_or_else(unknown_object),
        field: place.into(),
        reason: Reason::Source,
        severity,
        what,
        instead: instead.to_owned(),
        fix,
    }
}

/// Objects that one file holds more than once; `distinct` is the number of different ones.
fn repeated(path: &Path, documents: &[Document], distinct: usize) -> Vec<Problem> {
    if documents.iter().map(|d| d.objects.len()).sum::<usize>() <= distinct {
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let all = documents.iter().flat_map(|d| &d.objects).map(Object::object_ref);
    all.filter_map(|name| (!seen.insert(name.clone())).then(|| duplicate(&name, path, path)))
        .collect()
}

fn duplicate(name: &ObjectRef, winner: &Path, loser: &Path) -> Problem {
    let (winner, loser) = (winner.display(), loser.display());
    let what = if winner.to_string() == loser.to_string() {
        format!("{loser} holds this object more than once")
    } else {
        format!("{winner} and {loser} both hold this object")
    };
    Problem {
        object: name.clone(),
        field: loser.to_string().into(),
        reason: Reason::Conflict,
        severity: Severity::Warning,
        what,
        instead: format!("the first one, in {winner}, is used"),
        fix: "remove one of them".to_owned(),
    }
}

fn general_problem(path: &Path, what: String, instead: &str, fix: &str) -> Problem {
    Problem {
        object: unknown_object(),
        field: path.display().to_string().into(),
        reason: Reason::Source,
        severity: Severity::Warning,
        what,
        instead: instead.to_owned(),
        fix: fix.to_owned(),
    }
}

/// Stands for the object of a problem when the text does not tell which one it is about.
fn unknown_object() -> ObjectRef {
    ObjectRef::new(Kind::Namespace, "", "default")
}
