//! Kubernetes Events: one per object and reason (a *topic*), its note made of all its problems.
//!
//! A topic is told when a problem of it has stood for a second, so that what comes and goes is
//! never told; again when the note changes, ever later the more often it does; and every half an
//! hour while a problem stands, as the API server forgets Events after an hour. Nothing is told
//! when problems go. Errors are told first. What is told is bounded in flight and in rate.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::pace::{Pace, pause_ms};
use super::{Notice, Tell};
use crate::digest::Digest;
use crate::event::Outcome;
use crate::problem::{Problem, Reason, Severity};
use crate::project::Projections;
use crate::time::Time;
use crate::world::World;
use crate::world::object::{Kind, Meta, ObjectRef};

/// How long a problem must stand before it is told, in milliseconds.
const STANDS_MS: u64 = 1_000;

/// Time between two tellings of the same note, in milliseconds.
const REFRESH_MS: u64 = 1_800_000;

/// Shortest time between two notes of a topic, in milliseconds; doubles.
const CHANGE_MS: u64 = 10_000;

/// Longest time between two notes of a topic, in milliseconds.
const CHANGE_MAX_MS: u64 = 300_000;

/// Longest pause after a request that failed, in milliseconds.
const FAILED_MAX_MS: u64 = 300_000;

/// Requests open at a time at most.
const OPEN_MAX: u32 = 8;

/// Time between two requests in the long run, in milliseconds.
const SPACING_MS: u64 = 100;

/// Requests that may come at once.
const BURST: u64 = 50;

/// Topics looked at in one step at most.
const LOOKS_PER_STEP: usize = 64;

/// Longest note, in bytes (`events.k8s.io/v1` Event.note).
const NOTE_BYTES_MAX: usize = 1_024;

/// What is told together: an object and a reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Topic {
    /// The object.
    pub about: ObjectRef,
    /// The reason.
    pub reason: Reason,
}

/// The topics there are problems about, and those told lately.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Notices {
    topics: BTreeMap<Topic, State>,
    /// Topics with an error that are not being told, by when to look at them.
    errors: BTreeSet<(Time, Topic)>,
    /// The same for topics with warnings only.
    warnings: BTreeSet<(Time, Topic)>,
    /// Topics without problems that were told, by when they are forgotten.
    over: BTreeSet<(Time, Topic)>,
    pace: Pace,
    /// When the next request would come if all came evenly spaced (generic cell rate algorithm).
    even: Time,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct State {
    problems: u32,
    errors: u32,
    /// Problems that came within the last second, or so.
    young: Vec<(Digest, Time)>,
    /// The note last told, and when.
    told: Option<(Digest, Time)>,
    /// Notes told since there was a pause of half an hour.
    notes: u32,
    /// Requests that failed in a row.
    failures: u32,
    /// When the next may be tried.
    retry_at: Time,
    stage: Stage,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Stage {
    /// In none of the queues.
    #[default]
    New,
    /// In `errors`, until then.
    Error(Time),
    /// In `warnings`, until then.
    Warning(Time),
    /// In `over`, until then.
    Over(Time),
    /// Being told this note.
    Open(Digest),
}

impl Default for Notices {
    fn default() -> Self {
        Notices {
            topics: BTreeMap::new(),
            errors: BTreeSet::new(),
            warnings: BTreeSet::new(),
            over: BTreeSet::new(),
            pace: Pace::new(OPEN_MAX),
            even: Time(0),
        }
    }
}

impl State {
    fn at(&self) -> Option<Time> {
        match self.stage {
            Stage::Error(at) | Stage::Warning(at) => Some(at),
            Stage::New | Stage::Over(_) | Stage::Open(_) => None,
        }
    }

    /// When another note than the one told may be told.
    fn change_at(&self) -> Time {
        let pause = CHANGE_MS.saturating_mul(1 << self.notes.saturating_sub(1).min(8));
        let next = self.told.map_or(Time(0), |(_, at)| at.plus_ms(pause.min(CHANGE_MAX_MS)));
        next.max(self.retry_at)
    }

    /// When the youngest problem will have stood long enough; `None` when all have.
    fn grown_up_at(&self) -> Option<Time> {
        self.young.iter().map(|(_, since)| since.plus_ms(STANDS_MS)).min()
    }
}

impl Notices {
    /// Topics there are problems about.
    pub fn topics(&self) -> usize {
        self.topics.len() - self.over.len()
    }

    /// Takes in problems that came and went.
    pub fn learn(&mut self, opened: &[Problem], closed: &[Problem], now: Time) {
        while let Some((at, topic)) = self.over.first().cloned().filter(|(at, _)| *at <= now) {
            self.topics.remove(&topic);
            self.over.remove(&(at, topic));
        }
        for problem in opened {
            let topic = topic_of(problem);
            let state = self.topics.entry(topic.clone()).or_default();
            state.problems += 1;
            state.errors += u32::from(problem.severity == Severity::Error);
            state.young.push((digest_of(problem), now));
            self.changed(&topic, now);
        }
        for problem in closed {
            let topic = topic_of(problem);
            let Some(state) = self.topics.get_mut(&topic) else { continue };
            state.problems = state.problems.saturating_sub(1);
            state.errors -= u32::from(problem.severity == Severity::Error).min(state.errors);
            if !state.young.is_empty() {
                let gone = digest_of(problem);
                state.young.retain(|(digest, _)| *digest != gone);
            }
            self.changed(&topic, now);
        }
    }

    /// A topic has other problems: its note may be another in a second, or as soon as it may be.
    fn changed(&mut self, topic: &Topic, now: Time) {
        let Some(state) = self.topics.get(topic) else { return };
        let soon = now.plus_ms(STANDS_MS).max(state.change_at());
        let at = state.at().map_or(soon, |at| at.min(soon));
        self.list(topic, at);
    }

    /// Puts a topic where it belongs, to be looked at then.
    fn list(&mut self, topic: &Topic, at: Time) {
        self.unlist(topic);
        let Some(state) = self.topics.get_mut(topic) else { return };
        if let Stage::Open(_) = state.stage {
            return;
        }
        if state.problems > 0 {
            let (stage, queue) = match state.errors {
                0 => (Stage::Warning(at), &mut self.warnings),
                _ => (Stage::Error(at), &mut self.errors),
            };
            state.stage = stage;
            queue.insert((at, topic.clone()));
            return;
        }
        let Some((_, told_at)) = state.told else {
            self.topics.remove(topic);
            return;
        };
        // Should it come back, it is not told as if it were new.
        let until = told_at.plus_ms(REFRESH_MS);
        state.stage = Stage::Over(until);
        state.young = Vec::new();
        self.over.insert((until, topic.clone()));
    }

    fn unlist(&mut self, topic: &Topic) {
        match self.topics.get(topic).map(|state| &state.stage) {
            Some(Stage::Error(at)) => self.errors.remove(&(*at, topic.clone())),
            Some(Stage::Warning(at)) => self.warnings.remove(&(*at, topic.clone())),
            Some(Stage::Over(at)) => self.over.remove(&(*at, topic.clone())),
            Some(Stage::New | Stage::Open(_)) | None => false,
        };
    }

    /// The Events that are due. Looks at a bounded number of topics.
    pub fn next(
        &mut self,
        world: &World,
        projections: &Projections,
        now: Time,
    ) -> Vec<(Topic, Tell)> {
        let mut tells = Vec::new();
        for _ in 0..LOOKS_PER_STEP {
            if !self.pace.admits(now) || self.spaced_at() > now {
                break;
            }
            let due = |queue: &BTreeSet<(Time, Topic)>| {
                queue.first().filter(|(at, _)| *at <= now).map(|(_, topic)| topic.clone())
            };
            let Some(topic) = due(&self.errors).or_else(|| due(&self.warnings)) else { break };
            if let Some(tell) = self.look(world, projections, &topic, now) {
                tells.push((topic, tell));
            }
        }
        tells
    }

    /// Looks at a topic: says what to tell about it, or when to look again.
    fn look(
        &mut self,
        world: &World,
        projections: &Projections,
        topic: &Topic,
        now: Time,
    ) -> Option<Tell> {
        let state = self.topics.get_mut(topic)?;
        state.young.retain(|(_, since)| since.plus_ms(STANDS_MS) > now);
        let grown_up_at = state.grown_up_at();
        let refresh_at = |since: Time| since.plus_ms(REFRESH_MS);
        let Some((about, uid)) = subject(world, &topic.about) else {
            self.list(topic, refresh_at(now));
            return None;
        };
        let Some((severity, note)) = note(projections, topic, &state.young) else {
            self.list(topic, grown_up_at.unwrap_or(refresh_at(now)));
            return None;
        };
        let digest = Digest::of(note.as_bytes());
        let put_off = match state.told {
            Some((told, at)) if told == digest && now < refresh_at(at) => {
                Some(grown_up_at.map_or(refresh_at(at), |at_| at_.min(refresh_at(at))))
            }
            _ => Some(state.change_at()).filter(|at| now < *at),
        };
        if let Some(at) = put_off {
            self.list(topic, at);
            return None;
        }
        self.unlist(topic);
        self.topics.get_mut(topic)?.stage = Stage::Open(digest);
        self.pace.begin();
        self.even = self.even.max(now).plus_ms(SPACING_MS);
        let Topic { about: of, reason } = topic.clone();
        Some(Tell::Event(Notice { about, uid, reason, severity, note, of }))
    }

    /// When the rate admits one more.
    fn spaced_at(&self) -> Time {
        Time(self.even.0.saturating_sub((BURST - 1) * SPACING_MS))
    }

    /// When the next may be told; `None` when an answer or an event must come first.
    pub fn wake_at(&self) -> Option<Time> {
        let firsts = [self.errors.first(), self.warnings.first()];
        let first = firsts.into_iter().flatten().map(|(at, _)| *at).min()?;
        Some(first.max(self.spaced_at()).max(self.pace.admits_at()?))
    }

    /// Takes the outcome of a request in.
    pub fn take(&mut self, topic: &Topic, outcome: &Outcome, now: Time) {
        self.pace.end(outcome, now);
        let Some(state) = self.topics.get_mut(topic) else { return };
        let Stage::Open(digest) = state.stage else { return };
        state.stage = Stage::New;
        let at = match outcome {
            Outcome::Done => {
                let quiet = state.told.is_none_or(|(_, at)| now >= at.plus_ms(REFRESH_MS));
                state.notes = if quiet { 1 } else { state.notes.saturating_add(1) };
                state.told = Some((digest, now));
                state.failures = 0;
                state.retry_at = Time(0);
                // What came meanwhile is seen then; if nothing did, it is put off once more.
                state.change_at()
            }
            Outcome::Refused(_) | Outcome::Unknown => {
                state.failures = state.failures.saturating_add(1);
                state.retry_at = now.plus_ms(pause_ms(state.failures, FAILED_MAX_MS));
                state.retry_at
            }
        };
        self.list(topic, at);
    }
}

/// What a topic is told about, with its UID: the object, if it exists. Where the problem is of a kind
/// as a whole, what people look at first: our ConfigMap, or else the oldest of our classes.
fn subject(world: &World, object: &ObjectRef) -> Option<(ObjectRef, Box<str>)> {
    let of = |kind, meta: &Meta| (ObjectRef { kind, name: meta.name.clone() }, meta.uid.clone());
    if !matches!(&*object.name.name, "" | "*") {
        return meta(world, object).map(|meta| of(object.kind, meta));
    }
    let ours = &world.settings.controller_name;
    let classes = world.classes.values().filter(|class| class.controller == *ours);
    let oldest = classes.map(|class| &class.meta).min_by(|a, b| a.seniority().cmp(&b.seniority()));
    let config_map = world.config_map.as_ref().map(|map| of(Kind::ConfigMap, &map.meta));
    config_map.or_else(|| oldest.map(|meta| of(Kind::IngressClass, meta)))
}

/// The metadata of an object that exists.
fn meta<'w>(world: &'w World, object: &ObjectRef) -> Option<&'w Meta> {
    let name = &object.name;
    match object.kind {
        Kind::Namespace => world.namespaces.get(name).map(|o| &o.meta),
        Kind::ConfigMap => {
            let own = world.config_map.as_ref().filter(|own| own.meta.name == *name);
            own.or_else(|| world.named.get(name)).map(|o| &o.meta)
        }
        Kind::IngressClass => world.classes.get(name).map(|o| &o.meta),
        Kind::Secret => world.secrets.get(name).map(|o| &o.meta),
        Kind::Service => world.services.get(name).map(|o| &o.meta),
        Kind::EndpointSlice => world.slices.get(name).map(|o| &o.meta),
        Kind::Ingress => world.ingresses.get(name).map(|o| &o.meta),
        Kind::Node => world.nodes.get(name).map(|o| &o.meta),
        Kind::Custom(..) => world.customs.get(object).map(|o| &o.meta),
    }
}

fn topic_of(problem: &Problem) -> Topic {
    Topic { about: problem.object.clone(), reason: problem.reason }
}

/// Tells problems of a topic apart.
fn digest_of(problem: &Problem) -> Digest {
    let Problem { object: _, field, reason: _, severity, what, instead, fix } = problem;
    let severity: &[u8] = match severity {
        Severity::Warning => b"w",
        Severity::Error => b"e",
        Severity::Info => b"i",
    };
    let texts = [field.as_bytes(), what.as_bytes(), instead.as_bytes(), fix.as_bytes()];
    Digest::of_parts([severity].into_iter().chain(texts))
}

/// The note of a topic, from its problems that are not young; `None` if there are none.
fn note(
    projections: &Projections,
    topic: &Topic,
    young: &[(Digest, Time)],
) -> Option<(Severity, String)> {
    let young: BTreeSet<Digest> = young.iter().map(|(digest, _)| *digest).collect();
    let stands = |p: &&Problem| {
        p.reason == topic.reason && (young.is_empty() || !young.contains(&digest_of(p)))
    };
    let mut problems: Vec<&Problem> =
        projections.problems_of(&topic.about).filter(stands).collect();
    problems.sort_by_key(|p| match p.severity {
        Severity::Error => 0,
        Severity::Warning => 1,
        Severity::Info => 2,
    });
    let severity = problems.first()?.severity;
    Some((severity, joined(&problems)))
}

/// Texts of problems, as many as there is room for.
fn joined(problems: &[&Problem]) -> String {
    /// Room for the number of those left out.
    const REST_BYTES: usize = 24;
    let mut note = String::new();
    for (told, problem) in problems.iter().enumerate() {
        let Problem { object: _, field, reason: _, severity: _, what, instead, fix } = problem;
        let mut text = if field.is_empty() { String::new() } else { format!("{field}: ") };
        text.push_str(&format!("{what}; {instead}; {fix}"));
        if told == 0 {
            cut(&mut text, NOTE_BYTES_MAX - REST_BYTES);
        } else if note.len() + text.len() + 2 > NOTE_BYTES_MAX - REST_BYTES {
            note.push_str(&format!(" (and {} more)", problems.len() - told));
            break;
        } else {
            note.push_str(". ");
        }
        note.push_str(&text);
    }
    note
}

/// Shortens a text to a number of bytes, at a character.
fn cut(text: &mut String, bytes_max: usize) {
    const CUT: &str = "...";
    if text.len() <= bytes_max {
        return;
    }
    let mut end = bytes_max - CUT.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(CUT);
}
