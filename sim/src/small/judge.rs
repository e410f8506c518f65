//! What must hold in every state of the small world. Each check is named after its promise in
//! `docs/guarantees.md`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_core::action::{Action, ActionBody, MapId, RuntimeCommand, ServerState};
use tidegate_core::applied::{Admin as Known, Published, Running};
use tidegate_core::capability::Tier;
use tidegate_core::check;
use tidegate_core::controller;
use tidegate_core::event::Outcome;
use tidegate_core::plan::remedy::ReloadReason;
use tidegate_core::render::crt_list;

use super::lab::{Lab, Memory};
use super::state::State;
use super::world::{self, PROBES, View, Wanted};
use crate::model::haproxy::{Admin, Answer, Haproxy};

/// A promise that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its name.
    pub property: &'static str,
    /// What was seen.
    pub why: String,
}

impl Broken {
    /// Of a promise, with what was seen.
    #[must_use]
    pub fn new(property: &'static str, why: String) -> Broken {
        Broken { property, why }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.why)
    }
}

type Verdict = Result<(), Broken>;

/// Services that an answer may come from, as bits; 4 for no pod at all.
#[must_use]
pub fn services(answer: &Answer) -> u8 {
    match answer {
        Answer::Servers(servers) => servers.iter().fold(0, |all, a| all | world::service_of(a)),
        Answer::NotFound | Answer::Unavailable => 4,
    }
}

/// Whether a worker of tier C lacks a backend that is wanted, which only a reload brings.
#[must_use]
pub fn awaits_reload(lab: &Lab, state: &State, memory: &Haproxy) -> bool {
    let has = |name: &str| memory.backends.contains_key(name);
    let image = state.controller().desired().image();
    lab.capabilities.tier() == Tier::C && image.backends.iter().any(|(name, _)| !has(name))
}

/// Every promise about what requests meet, while commands are carried out one by one.
pub struct Prefix {
    then: Arc<Wanted>,
    now: Arc<Wanted>,
    allowed: [u8; PROBES.len()],
    guarded: [bool; PROBES.len()],
    before: [Answer; PROBES.len()],
    presented: [String; PROBES.len()],
    /// Before HAProxy 3.0 neither backends nor servers are made at run time. Until the reload that
    /// brings a new backend, requests for it meet what is there.
    awaits_reload: bool,
}

impl Prefix {
    /// Before the first command of an action that was sent in view `then`, for a worker with this
    /// memory.
    #[must_use]
    pub fn new(
        lab: &Lab,
        state: &State,
        memory: &Haproxy,
        then: &View,
        awaits_reload: bool,
    ) -> Prefix {
        Prefix {
            then: lab.wanted(then),
            now: lab.wanted(&state.view),
            allowed: state.allowed,
            guarded: state.guarded,
            before: answers(memory),
            presented: presented(memory),
            awaits_reload,
        }
    }

    /// After one more command.
    ///
    /// # Errors
    /// A broken promise.
    pub fn after(&mut self, command: &RuntimeCommand, outcome: &Outcome, h: &Haproxy) -> Verdict {
        if let Outcome::Refused(why) = outcome {
            return Err(Broken::new("S24", format!("HAProxy refuses {command:?}: {why}")));
        }
        let answers = answers(h);
        let presented = presented(h);
        if !self.awaits_reload {
            self.requests(&answers, h).map_err(|b| b.with(command))?;
        }
        self.handshakes(&presented).map_err(|b| b.with(command))?;
        self.before = answers;
        self.presented = presented;
        Ok(())
    }

    fn requests(&self, answers: &[Answer; PROBES.len()], h: &Haproxy) -> Verdict {
        for (at, (host, path)) in PROBES.iter().enumerate() {
            let (after, before) = (&answers[at], &self.before[at]);
            let serves = |wanted: &Wanted| matches!(wanted.answers[at], Answer::Servers(_));
            let alive = match before {
                Answer::Servers(servers) => !servers.is_disjoint(&self.now.ready),
                Answer::NotFound | Answer::Unavailable => false,
            };
            let is_served = matches!(after, Answer::Servers(_));
            if alive && serves(&self.then) && serves(&self.now) && !is_served {
                let why = format!("{host}{path} meets {after:?}, was {before:?}");
                return Err(Broken::new("S7", why));
            }
            routed(at, after, self.allowed[at])?;
            guarded(at, after, self.guarded[at], h)?;
        }
        Ok(())
    }

    fn handshakes(&self, presented: &[String; PROBES.len()]) -> Verdict {
        for (at, (host, _)) in PROBES.iter().enumerate() {
            let digest = |file: &str| crt_list::digest_of(file).map(|d| d.to_string());
            let wanted = |wanted: &Wanted| wanted.certificates[at].map(|d| d.hex());
            let (then, now) = (wanted(&self.then), wanted(&self.now));
            let before = digest(&self.presented[at]);
            let after = digest(&presented[at]);
            if before.is_none() || then.is_none() || now.is_none() {
                continue;
            }
            if after.is_none() || ![&before, &then, &now].contains(&&after) {
                let why = format!("{host} is presented {}, was {before:?}", presented[at]);
                return Err(Broken::new("S19", why));
            }
        }
        Ok(())
    }
}

impl Broken {
    fn with(mut self, command: &RuntimeCommand) -> Broken {
        self.why = format!("{} after {command:?}", self.why);
        self
    }
}

fn routed(at: usize, answer: &Answer, allowed: u8) -> Verdict {
    let met = services(answer);
    // An error where a Service was allowed is for S7 to judge.
    let wrong = met & 3 & !allowed != 0;
    if wrong || met & 3 == 3 {
        return Err(Broken::new("S4", format!("{:?} meets {answer:?}", PROBES[at])));
    }
    Ok(())
}

fn guarded(at: usize, answer: &Answer, must: bool, h: &Haproxy) -> Verdict {
    let (host, path) = PROBES[at];
    if must && matches!(answer, Answer::Servers(_)) && !h.is_guarded(host, path) {
        return Err(Broken::new("S29", format!("{host}{path} is open without its allow list")));
    }
    Ok(())
}

fn answers(h: &Haproxy) -> [Answer; PROBES.len()] {
    PROBES.map(|(host, path)| h.route(host, path))
}

fn presented(h: &Haproxy) -> [String; PROBES.len()] {
    PROBES.map(|(host, _)| h.presented(host).to_owned())
}

/// What a worker that has just loaded files must not do, and what a reload must not take away.
///
/// # Errors
/// A broken promise.
pub fn reload(lab: &Lab, state: &State, before: Option<Memory>, then: &View) -> Verdict {
    let Some((_, memory)) = &state.memory else { return Ok(()) };
    let answers = answers(&memory.haproxy);
    for (at, answer) in answers.iter().enumerate() {
        routed(at, answer, state.allowed[at])?;
        guarded(at, answer, state.guarded[at], &memory.haproxy)?;
    }
    let Some(before) = before else { return Ok(()) };
    let (then, now) = (lab.wanted(then), lab.wanted(&state.view));
    for (at, after) in answers.iter().enumerate() {
        let (host, path) = PROBES[at];
        let serves = |wanted: &Wanted| matches!(wanted.answers[at], Answer::Servers(_));
        let had = matches!(before.haproxy.route(host, path), Answer::Servers(_));
        if had && serves(&then) && serves(&now) && !matches!(after, Answer::Servers(_)) {
            return Err(Broken::new("S7", format!("after a reload {host}{path} meets {after:?}")));
        }
    }
    Ok(())
}

/// An action that was just sent.
///
/// # Errors
/// A broken promise.
pub fn action(lab: &Lab, state: &State, action: &Action) -> Verdict {
    match &action.body {
        ActionBody::Runtime { worker, commands } => {
            // Those for a worker that is gone reach nobody.
            if state.memory.as_ref().is_none_or(|(id, _)| id != worker) {
                return Ok(());
            }
            let wanted = lab.wanted(&state.view);
            commands.iter().try_for_each(|command| destroys_nothing(state, &wanted, command))
        }
        ActionBody::Reload { reasons, .. } => {
            let needless = match lab.capabilities.tier() {
                Tier::A => reasons.iter().any(|r| !matches!(r, ReloadReason::FirstStart)),
                Tier::B | Tier::C => false,
            };
            if reasons.is_empty() || needless {
                return Err(Broken::new("S12", format!("a reload for {reasons:?}")));
            }
            Ok(())
        }
        ActionBody::ReadBack { .. }
        | ActionBody::Save { .. }
        | ActionBody::Check { .. }
        | ActionBody::CheckSnippet { .. }
        | ActionBody::ResolveNames { .. }
        | ActionBody::FollowSecrets { .. }
        | ActionBody::Relist { .. }
        | ActionBody::Tell(_) => Ok(()),
    }
}

/// S8: nothing that is wanted in the newest view is taken away.
fn destroys_nothing(state: &State, wanted: &Wanted, command: &RuntimeCommand) -> Verdict {
    let (backend, server) = match command {
        RuntimeCommand::SetServerState {
            backend,
            server,
            state: ServerState::Maint | ServerState::Drain,
        }
        | RuntimeCommand::DeleteServer { backend, server } => (backend, server),
        _ => return Ok(()),
    };
    let Some((_, memory)) = &state.memory else { return Ok(()) };
    let Some(found) = memory.haproxy.backends.get(&**backend) else { return Ok(()) };
    let address = found.servers.iter().find(|s| s.name == **server).and_then(|s| s.address);
    let Some(address) = address else { return Ok(()) };
    let is_wanted = |answer: &Answer| match answer {
        Answer::Servers(servers) => servers.contains(&address),
        Answer::NotFound | Answer::Unavailable => false,
    };
    if wanted.answers.iter().any(is_wanted) {
        return Err(Broken::new("S8", format!("{address} is wanted, and gets {command:?}")));
    }
    Ok(())
}

/// What is true of a state however it came about.
///
/// # Errors
/// A broken promise.
pub fn state(lab: &Lab, state: &State) -> Verdict {
    if state.is_quiet() {
        quiet(state, &lab.wanted(&state.view))?;
    }
    belief(state)
}

/// S24: unless it doubts, and while nothing is under way, the controller's belief about the
/// worker is true.
fn belief(state: &State) -> Verdict {
    let controller = state.controller();
    let (Some(running), Some((id, memory))) = (controller.running(), &state.memory) else {
        return Ok(());
    };
    if controller.is_in_doubt() || !state.is_idle() || running.worker != *id {
        return Ok(());
    }
    match difference(running, &memory.haproxy) {
        None => Ok(()),
        Some(why) => Err(Broken::new("S24", format!("the controller believes otherwise: {why}"))),
    }
}

fn difference(running: &Running, h: &Haproxy) -> Option<String> {
    let none = Vec::new();
    for map in MapId::ALL {
        let (known, has) = (running.map(map), h.maps.get(&map).unwrap_or(&none));
        let same = |(key, value): &(String, String)| {
            known.get(key).is_some_and(|entry| *entry.value == **value)
        };
        if known.len() != has.len() || !has.iter().all(same) {
            return Some(format!("{} has {has:?}", map.file()));
        }
    }
    let tenants = h.backends.keys().filter(|name| !Haproxy::is_static(name)).count();
    let spares: usize = running.spares.values().map(BTreeSet::len).sum();
    if running.backends.len() + spares != tenants {
        return Some(format!("{tenants} backends"));
    }
    for (name, known) in running.backends.iter() {
        let Some(has) = h.backends.get(&*known.physical) else {
            return Some(format!("no backend {name}"));
        };
        let published = match known.published {
            Published::Yes => has.published,
            Published::No => !has.published,
            Published::Unknown => true,
        };
        let given = || has.servers.iter().filter(|s| s.address.is_some());
        let same = |address: &SocketAddr, ready: bool| {
            known.servers.get(address).is_some_and(|s| (s.state == Known::Ready) == ready)
        };
        let servers = given().all(|s| s.address.is_some_and(|a| same(&a, s.admin == Admin::Ready)));
        if !published || !servers || given().count() != known.servers.len() {
            return Some(format!("{name} is {has:?}"));
        }
    }
    let known: BTreeSet<&str> = running
        .certificates
        .values()
        .flat_map(|files| files.keys())
        .chain(&running.files)
        .map(|file| &**file)
        .chain([Haproxy::DEFAULT_CERTIFICATE])
        .collect();
    if !known.iter().copied().eq(h.files.iter().map(String::as_str)) {
        return Some(format!("files {:?}", h.files));
    }
    let lines = running.certificates.values().flatten().filter(|(_, line)| line.listed);
    (lines.count() != h.crt_list.len()).then(|| format!("crt-list {:?}", h.crt_list))
}

/// L1: when all is quiet, requests and handshakes meet what the rules say.
fn quiet(state: &State, wanted: &Wanted) -> Verdict {
    let Some((_, memory)) = &state.memory else {
        return Err(Broken::new("L1", "quiet without a worker".to_owned()));
    };
    for (at, (host, path)) in PROBES.iter().enumerate() {
        let (has, wants) = (memory.haproxy.route(host, path), &wanted.answers[at]);
        if has != *wants {
            let why = format!("quiet, and {host}{path} meets {has:?}, by the rules {wants:?}");
            return Err(Broken::new("L1", why));
        }
        guarded(at, &has, wanted.guarded[at], &memory.haproxy)?;
        if !wanted.guarded[at] && memory.haproxy.is_guarded(host, path) {
            return Err(Broken::new("L1", format!("quiet, and {host}{path} is still guarded")));
        }
        let presented = crt_list::digest_of(memory.haproxy.presented(host));
        let wants = wanted.certificates[at].map(|digest| digest.hex());
        if presented.as_deref() != wants.as_deref() {
            let why = format!("quiet, and {host} is presented {presented:?}, not {wants:?}");
            return Err(Broken::new("S19", why));
        }
    }
    Ok(())
}

/// Costly checks of a quiet state: what files hold, a list told again, everything from scratch,
/// the invariants.
///
/// # Errors
/// A broken promise.
pub fn quiet_in_depth(state: &State) -> Verdict {
    let image = state.controller().desired().image();
    let saved = state.files.as_ref().is_some_and(|files| *files.image == *image);
    if !saved {
        let why = "quiet, and a restart would load something else".to_owned();
        return Err(Broken::new("S28", why));
    }
    let (scratch, _) = controller::audit(state.controller());
    if scratch.image() != image {
        return Err(Broken::new("S15", "from scratch something else is wanted".to_owned()));
    }
    let actions = state.actions_of_a_relist();
    if actions > 0 {
        return Err(Broken::new("S13", format!("a list told again leads to {actions} actions")));
    }
    let broken = check::check(state.controller());
    if broken.is_empty() { Ok(()) } else { Err(Broken::new("invariants", broken.join("; "))) }
}
