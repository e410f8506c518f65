//! ConfigMaps with a role: error files, pattern files, TCP services, and what they amount to.
//!
//! Inputs: these ConfigMaps as they come and go. Outputs: usable error files by status code, pattern
//! files by name, the TCP services as they are, the problems of each role. An entry that cannot be used is left out and told;
//! the others go on. What an entry amounts to is computed once, when its ConfigMap changes.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Fact;
use super::object::{ConfigMap, Kind, Name, ObjectRef};
use crate::annotations::Refusal;
use crate::annotations::value::{self, Network, quoted};
use crate::problem::{Problem, Reason, Severity};
use crate::render::answer;
use crate::settings::{Role, Settings};

/// Whole answers by status code.
pub type ErrorFiles = BTreeMap<u16, Arc<str>>;

/// A file that lists and snippets refer to.
#[derive(Debug, PartialEq, Eq)]
pub struct PatternFile {
    /// Its content.
    pub text: Arc<str>,
    /// The networks in it, or why it is no list of networks.
    pub networks: Result<Vec<Network>, Refusal>,
}

/// The ConfigMaps with a role.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    maps: BTreeMap<Name, Arc<ConfigMap>>,
    errors: Arc<ErrorFiles>,
    patterns: BTreeMap<Box<str>, Arc<PatternFile>>,
    tcp_services: Option<Arc<ConfigMap>>,
    problems: BTreeMap<Role, Vec<Problem>>,
    /// Said of a pattern file that is not there.
    missing: Refusal,
}

impl Named {
    /// None of them is there yet.
    pub(super) fn new(settings: &Settings) -> Named {
        let mut named = Named {
            maps: BTreeMap::new(),
            errors: Arc::default(),
            patterns: BTreeMap::new(),
            tcp_services: None,
            problems: BTreeMap::new(),
            missing: Refusal::new(
                "there is no such pattern file",
                "add it to a ConfigMap named by --configmap-patternfiles",
            ),
        };
        named.derive(settings, &mut BTreeSet::new());
        named
    }

    pub(super) fn len(&self) -> usize {
        self.maps.len()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.maps.keys()
    }

    pub(crate) fn maps(&self) -> impl Iterator<Item = &Arc<ConfigMap>> {
        self.maps.values()
    }

    pub(crate) fn get(&self, name: &Name) -> Option<&Arc<ConfigMap>> {
        self.maps.get(name)
    }

    /// Takes one in, if it has a role. Whether it is the same as before.
    pub(super) fn put(
        &mut self,
        settings: &Settings,
        new: Arc<ConfigMap>,
        changed: &mut BTreeSet<Fact>,
    ) -> bool {
        let has_role = settings.config_maps.iter().any(|(_, name)| *name == new.meta.name);
        if !has_role || self.maps.get(&new.meta.name) == Some(&new) {
            return true;
        }
        self.maps.insert(new.meta.name.clone(), new);
        self.derive(settings, changed);
        false
    }

    /// Removes one. Whether it was there.
    pub(super) fn remove(
        &mut self,
        settings: &Settings,
        name: &Name,
        changed: &mut BTreeSet<Fact>,
    ) -> bool {
        let existed = self.maps.remove(name).is_some();
        if existed {
            self.derive(settings, changed);
        }
        existed
    }

    pub(super) fn problems(&self, role: Role) -> &[Problem] {
        self.problems.get(&role).map_or(&[], |problems| problems)
    }

    pub(super) fn errors(&self) -> &Arc<ErrorFiles> {
        &self.errors
    }

    pub(super) fn tcp_services(&self) -> Option<&ConfigMap> {
        self.tcp_services.as_deref()
    }

    pub(super) fn pattern(&self, file: &str) -> Option<&PatternFile> {
        self.patterns.get(file).map(|file| &**file)
    }

    pub(super) fn pattern_state(&self, file: &str) -> Result<(), &Refusal> {
        match self.patterns.get(file) {
            Some(file) => file.networks.as_ref().map(|_| ()),
            None => Err(&self.missing),
        }
    }

    fn derive(&mut self, settings: &Settings, changed: &mut BTreeSet<Fact>) {
        for role in Role::ALL {
            let mut problems = Vec::new();
            let known = self.maps.clone();
            let maps = settings.with_role(role).filter_map(|name| {
                let found = known.get(name);
                if found.is_none() {
                    problems.push(absent(role, name));
                }
                found.map(|map| &**map)
            });
            let maps: Vec<&ConfigMap> = maps.collect();
            let same = match role {
                Role::ErrorFiles => self.derive_errors(&maps, &mut problems),
                Role::PatternFiles => self.derive_patterns(&maps, &mut problems, changed),
                Role::TcpServices => {
                    let now = settings.tcp_services().and_then(|name| known.get(name)).cloned();
                    let before = core::mem::replace(&mut self.tcp_services, now);
                    before == self.tcp_services
                }
            };
            let old = self.problems.insert(role, problems);
            if !same || old.as_ref() != self.problems.get(&role) {
                changed.insert(Fact::Role(role));
            }
        }
    }

    fn derive_errors(&mut self, maps: &[&ConfigMap], problems: &mut Vec<Problem>) -> bool {
        let mut errors = ErrorFiles::new();
        for (map, key, value) in entries(maps) {
            match answer::parse(key, value) {
                Ok((code, text)) => {
                    errors.entry(code).or_insert_with(|| text.as_str().into());
                }
                Err(refusal) => problems.push(entry_problem(map, key, &refusal)),
            }
        }
        let same = *self.errors == errors;
        if !same {
            self.errors = Arc::new(errors);
        }
        same
    }

    fn derive_patterns(
        &mut self,
        maps: &[&ConfigMap],
        problems: &mut Vec<Problem>,
        changed: &mut BTreeSet<Fact>,
    ) -> bool {
        let mut patterns = BTreeMap::new();
        for (map, key, value) in entries(maps) {
            if !is_file_name(key) {
                let fix = "use letters, digits, -, _ and .";
                let what = format!("{} cannot be the name of a file", quoted(key));
                problems.push(entry_problem(map, key, &Refusal::new(what, fix)));
                continue;
            }
            if patterns.contains_key(key) {
                let what = format!("another ConfigMap has a pattern file {} too", quoted(key));
                let fix = "give one of them another name";
                problems.push(entry_problem(map, key, &Refusal::new(what, fix)));
                continue;
            }
            let file = match self.patterns.get(key).filter(|old| *old.text == *value) {
                Some(old) => old.clone(),
                None => Arc::new(PatternFile { text: value.into(), networks: networks(value) }),
            };
            patterns.insert(Box::from(key), file);
        }
        let old = core::mem::replace(&mut self.patterns, patterns);
        let names: BTreeSet<&Box<str>> = old.keys().chain(self.patterns.keys()).collect();
        for name in names {
            let (old, new) = (old.get(name), self.patterns.get(name));
            if old == new {
                continue;
            }
            changed.insert(Fact::Pattern(name.clone()));
            let state = |file: Option<&Arc<PatternFile>>| {
                file.map(|file| file.networks.as_ref().err().cloned())
            };
            if state(old) != state(new) {
                changed.insert(Fact::PatternState(name.clone()));
            }
        }
        true
    }
}

fn entries<'a>(
    maps: &'a [&'a ConfigMap],
) -> impl Iterator<Item = (&'a ConfigMap, &'a str, &'a str)> {
    maps.iter().flat_map(|map| map.data.iter().map(|(key, value)| (*map, &**key, &**value)))
}

/// Whether a name can be that of a file, and of a file named in a list.
fn is_file_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    !name.is_empty() && name.len() <= 253 && !name.starts_with('.') && name.bytes().all(plain)
}

/// The networks of a file: one or more in a line; what follows `#` is a comment.
fn networks(text: &str) -> Result<Vec<Network>, Refusal> {
    let mut list = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.split_once('#').map_or(line, |(before, _)| before).trim();
        if !line.is_empty() {
            list.push_str(line);
            list.push('\n');
        }
    }
    value::networks(&list)
}

fn absent(role: Role, name: &Name) -> Problem {
    let instead = match role {
        Role::ErrorFiles => "HAProxy's own answers are used",
        Role::PatternFiles => "routes with lists in its files answer 503",
        Role::TcpServices => "there are no TCP services",
    };
    Problem {
        object: ObjectRef { kind: Kind::ConfigMap, name: name.clone() },
        field: "".into(),
        reason: Reason::NotFound,
        severity: Severity::Error,
        what: format!("it is named by {} and does not exist", role.flag()),
        instead: instead.to_string(),
        fix: "create it, or drop the flag".to_string(),
    }
}

fn entry_problem(map: &ConfigMap, key: &str, refusal: &Refusal) -> Problem {
    Problem {
        object: ObjectRef { kind: Kind::ConfigMap, name: map.meta.name.clone() },
        field: format!("data.{key}").into(),
        reason: Reason::BadValue,
        severity: Severity::Error,
        what: refusal.what.clone(),
        instead: "the entry is left out".to_string(),
        fix: refusal.fix.clone(),
    }
}
