//! The promises, judged after each command and each event of a run. One function per promise or
//! pair, named after `docs/guarantees.md`.
//!
//! Whether a promise can be judged is decided from the truth and the schedule, never from what the
//! controller says of itself, so that a broken one cannot excuse itself.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use tidegate_core::action::{Action, ActionBody, Lane, RuntimeCommand};
use tidegate_core::capability::Tier;
use tidegate_core::plan::remedy::ReloadReason;
use tidegate_core::render::crt_list;
use tidegate_core::{check, controller};

use super::cluster::{Cluster, Wanted, asked};
use super::run::Run;
use crate::model::haproxy::{Answer, Haproxy};

/// From being told to having effect, when nothing is in the way, in milliseconds.
const BOUND_MS: u64 = 300;
/// The same after a fault, which a delay of retries may follow.
const SHAKEN_MS: u64 = 15_000;
/// Faults that may delay what is told from having effect.
pub(super) const DELAYING: &[&str] = &[
    "lose-commands",
    "lose-files",
    "refuse-command",
    "disk-full",
    "slow-commands",
    "slow-files",
    "worker-dies",
    "controller-dies",
    "tamper",
];
/// Faults that may take away what a request needs.
pub(super) const DESTROYING: &[&str] = &["worker-dies", "tamper"];
/// Phase: nothing is under way.
pub(super) const IDLE: &str = "idle";
/// Phase: runtime commands are under way.
pub(super) const COMMANDS: &str = "commands";
/// Phase: a save, check or reload is under way.
pub(super) const FILES: &str = "files";
/// Phase: both.
pub(super) const WORK: &str = "commands and files";
/// Phase: all must be quiet.
pub(super) const AT_REST: &str = "at rest";
/// Promises that are judged at rest.
pub(super) const REST: &[&str] = &["L1", "S13", "S15", "S28"];

/// Who is to blame, by what a controller that did nothing would have done (frozen), and one that
/// knows everything at once (ideal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Without the controller's actions the request would have been answered.
    Action,
    /// It would have been answered by one that knows everything at once.
    Delay,
    /// Nobody could have answered it.
    Environment,
    /// Not about a request.
    State,
}

/// A promise that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its name.
    pub property: &'static str,
    /// Who is to blame.
    pub blame: Blame,
    /// What was seen.
    pub why: String,
}

impl Broken {
    /// Of a promise that is not about a request.
    #[must_use]
    pub fn new(property: &'static str, why: String) -> Broken {
        Broken { property, blame: Blame::State, why }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blame = match self.blame {
            Blame::Action => " (harm by action)",
            Blame::Delay => " (harm by delay)",
            Blame::Environment => " (environment)",
            Blame::State => "",
        };
        write!(f, "{}{blame}: {}", self.property, self.why)
    }
}

type Verdict = Result<(), Broken>;

/// Whether the path from being told to having effect is free.
fn is_calm(run: &Run<'_>) -> bool {
    !run.is_shaken(DELAYING) && !run.is_busy(Lane::Files) && run.held_up_ms().is_none()
}

/// Time passes until then: counts the request-time that was judged.
pub fn pass(run: &mut Run<'_>, until: u64) {
    let span = until.saturating_sub(run.now);
    let hosts: Vec<String> = run.cluster.hosts().cloned().collect();
    let judged = !run.is_shaken(DESTROYING) && run.worker.is_some();
    for _ in hosts {
        run.out.judged.0 += if judged { span } else { 0 };
        run.out.judged.1 += span;
    }
}

/// After one more runtime command.
///
/// # Errors
/// A broken promise.
pub fn after(run: &mut Run<'_>, command: &RuntimeCommand) -> Verdict {
    look(run)
        .map_err(|broken| Broken { why: format!("{} after {command:?}", broken.why), ..broken })
}

/// One moment of a world, whoever runs it: what there is, what was wanted, and how soon what was
/// told must have had effect.
pub struct Scene<'a> {
    /// Now, in milliseconds.
    pub now: u64,
    /// What is true and what was wanted.
    pub cluster: &'a Cluster,
    /// The memory of the worker that takes new connections.
    pub memory: &'a Haproxy,
    /// What a controller that did nothing since the last quiet moment would still have.
    pub frozen: Option<&'a Haproxy>,
    /// Whether the path from being told to having effect is free.
    pub is_calm: bool,
    /// Whether it is not certain what was told.
    pub is_blind: bool,
    /// Whether something may have taken away what a request needs.
    pub is_destroyed: bool,
    /// Whether a worker has just come back from files.
    pub has_returned: bool,
    /// From being told to having effect, when nothing is in the way, in milliseconds.
    pub bound_ms: u64,
    /// The same after a fault, which a delay of retries may follow.
    pub shaken_ms: u64,
    /// The same where a row of reloads was held up by faults, one after the other.
    pub delayed_ms: u64,
    /// When the last life ended whose successor began while nothing was told, and has not had the
    /// time yet to bring about what it heard then.
    pub bereft_at: Option<u64>,
    /// Hosts whose changes may wait for the next reload for longer, up to a minute.
    pub may_wait: BTreeSet<String>,
    /// Hosts whose changes may have no effect for good, and those since when.
    pub held: Option<(u64, BTreeSet<String>)>,
}

/// A turn at reloads comes after a minute at the latest, in milliseconds.
const TURN_MS: u64 = 60_000;

impl Scene<'_> {
    /// What was told about a host before then must have had effect by now.
    fn since(&self, host: &str) -> u64 {
        if let Some((since, _)) = self.held.as_ref().filter(|(_, held)| held.contains(host)) {
            return *since;
        }
        if self.may_wait.contains(host) {
            return self.now.saturating_sub(TURN_MS + self.delayed_ms.max(self.bound_ms));
        }
        let (from, span) = match (self.bereft_at, self.is_calm && !self.is_blind) {
            // What a life was told died with it, and who knows what was in its way.
            (Some(at), _) => (at.min(self.now), self.delayed_ms),
            (None, true) => (self.now, self.bound_ms),
            (None, false) => (self.now, self.delayed_ms),
        };
        from.saturating_sub(span)
    }

    /// The promises that are judged now.
    #[must_use]
    pub fn promises(&self) -> Vec<&'static str> {
        let is_known = !(self.has_returned || self.cluster.stale || self.is_blind);
        let all = [
            ("S1", !self.is_destroyed),
            ("S2", self.is_calm),
            ("S4", is_known),
            ("S19", !self.is_destroyed),
            ("S29", true),
        ];
        all.into_iter().filter(|(_, is_judged)| *is_judged).map(|(promise, _)| promise).collect()
    }
}

/// What every host's requests and handshakes meet now. Gives situations worth counting.
///
/// # Errors
/// A broken promise.
pub fn judge(scene: &Scene<'_>) -> Result<Vec<&'static str>, Broken> {
    let alive = scene.cluster.alive();
    let mut seen = Vec::new();
    for host in scene.cluster.hosts() {
        let (name, path) = asked(host);
        let answer = scene.memory.route(name, path);
        served(scene, host, &answer, &alive)?;
        drained(scene, host, &answer, &alive)?;
        seen.extend(routed(scene, host, &answer)?);
        guarded(scene, host, &answer)?;
        presented(scene, host)?;
    }
    Ok(seen)
}

/// What every host's requests and handshakes meet now.
///
/// # Errors
/// A broken promise.
pub fn look(run: &mut Run<'_>) -> Verdict {
    let Some(worker) = run.worker.clone() else { return Ok(()) };
    if !run.controller.world().is_synced() && run.frozen.is_none() {
        return Ok(());
    }
    let is_calm = is_calm(run);
    let delayed_ms = run.held_up_ms().unwrap_or_default().max(SHAKEN_MS);
    let bound_ms = if is_calm { BOUND_MS } else { delayed_ms };
    let bereft = run.bereft.filter(|(_, told)| told.is_none_or(|told| run.now < told + bound_ms));
    let scene = Scene {
        now: run.now,
        cluster: &run.cluster,
        memory: &worker.memory,
        frozen: run.frozen.as_deref(),
        is_calm,
        is_blind: run.is_blind(),
        is_destroyed: run.is_shaken(DESTROYING),
        has_returned: run.is_shaken(&["worker-dies"]),
        bound_ms: BOUND_MS,
        shaken_ms: SHAKEN_MS,
        delayed_ms,
        bereft_at: bereft.map(|(at, _)| at),
        may_wait: BTreeSet::new(),
        held: None,
    };
    let promises = scene.promises();
    for what in judge(&scene)? {
        run.sometimes(what);
    }
    alarm(run.canary)?;
    for promise in promises {
        cell(run, promise);
    }
    Ok(())
}

/// The promise that cannot be kept: whoever judges the others judges it too, so that a run in which
/// no promise can fail is noticed.
///
/// # Errors
/// Always, if it is judged.
pub fn alarm(is_judged: bool) -> Result<(), Broken> {
    match is_judged {
        true => Err(Broken::new("canary", "nobody can keep this promise".to_owned())),
        false => Ok(()),
    }
}

fn cell(run: &mut Run<'_>, promise: &'static str) {
    let phase = match (run.is_busy(Lane::Runtime), run.is_busy(Lane::Files)) {
        (true, true) => WORK,
        (true, false) => COMMANDS,
        (false, true) => FILES,
        (false, false) => IDLE,
    };
    let now = run.now;
    let faults: Vec<&'static str> =
        run.shaken.iter().filter(|(_, until)| **until > now).map(|(name, _)| *name).collect();
    for fault in faults {
        run.out.cells.insert((fault, phase, promise));
    }
}

fn wants(wanted: &Wanted) -> Option<&BTreeSet<SocketAddr>> {
    match &wanted.answer {
        Answer::Servers(servers) => Some(servers),
        Answer::NotFound | Answer::Unavailable => None,
    }
}

/// S1, S7: a request for which some pod was known and ready all the time is answered by a pod.
fn served(scene: &Scene<'_>, host: &str, answer: &Answer, alive: &BTreeSet<SocketAddr>) -> Verdict {
    if matches!(answer, Answer::Servers(_)) || scene.is_destroyed {
        return Ok(());
    }
    let since = scene.since(host);
    let mut known: Option<BTreeSet<SocketAddr>> = None;
    for wanted in scene.cluster.wanted_since(host, since) {
        let Some(servers) = wants(wanted) else { return Ok(()) };
        known = Some(match known {
            None => servers.clone(),
            Some(known) => known.intersection(servers).copied().collect(),
        });
    }
    let mut known = known.unwrap_or_default();
    // What is at the address now may be another pod than the one before.
    known.retain(|address| alive.contains(address) && !scene.cluster.has_left(address, since));
    if since == 0 || known.is_empty() {
        return Ok(());
    }
    let span = scene.now - since;
    let (name, path) = asked(host);
    let frozen = scene.frozen.map(|memory| memory.route(name, path));
    let reaches = |answer: &Answer| match answer {
        Answer::Servers(servers) => !servers.is_disjoint(alive),
        Answer::NotFound | Answer::Unavailable => false,
    };
    let blame = if frozen.as_ref().is_some_and(reaches) { Blame::Action } else { Blame::Delay };
    let why = format!("{host} meets {answer:?}, and {known:?} were ready for {span} ms");
    Err(Broken { property: "S1", blame, why })
}

/// S2: a pod that is gone gets nothing new after the bound.
fn drained(
    scene: &Scene<'_>,
    host: &str,
    answer: &Answer,
    alive: &BTreeSet<SocketAddr>,
) -> Verdict {
    let Answer::Servers(servers) = answer else { return Ok(()) };
    let since = scene.since(host);
    if !scene.is_calm || since == 0 {
        return Ok(());
    }
    let mut wanted = BTreeSet::new();
    for entry in scene.cluster.wanted_since(host, since) {
        wanted.extend(wants(entry).into_iter().flatten().copied());
    }
    // Whether one that answers is the right one is for S4. What left only now may still be met, also by
    // a route that waits for its new Service and keeps the one before.
    let is_gone =
        |gone: &&SocketAddr| !alive.contains(*gone) && !scene.cluster.has_left(gone, since);
    match servers.difference(&wanted).find(is_gone) {
        None => Ok(()),
        Some(gone) => {
            let ms = scene.now - since;
            let why = format!("{host} still reaches {gone}, which went over {ms} ms ago");
            Err(Broken { property: "S2", blame: Blame::Delay, why })
        }
    }
}

/// S4, S5: never a pod of a Service that no state in force said, whatever was at its address before.
fn routed(scene: &Scene<'_>, host: &str, answer: &Answer) -> Result<Option<&'static str>, Broken> {
    let Answer::Servers(servers) = answer else { return Ok(None) };
    let since = scene.since(host);
    let (mut allowed, mut services) = (BTreeSet::new(), BTreeSet::new());
    for wanted in scene.cluster.wanted_since(host, since) {
        allowed.extend(wants(wanted).into_iter().flatten().copied());
        // One without endpoints may have its first on the way.
        services.extend(wanted.service.clone());
    }
    // A worker that came back from files may know less than that for a moment.
    // Nor can anybody know what was not told.
    if scene.has_returned || scene.cluster.stale || scene.is_blind {
        return Ok(None);
    }
    let owners = |all: &BTreeSet<SocketAddr>| -> BTreeSet<String> {
        all.iter().filter_map(|address| scene.cluster.owner(address).cloned()).collect()
    };
    // The pod at an address may be another one than was told before.
    if servers.iter().any(|address| scene.cluster.has_left(address, since)) {
        return Ok(Some("an address had just moved to another Service"));
    }
    let (met, mut may) = (owners(servers), owners(&allowed));
    may.extend(services);
    if met.is_subset(&may) {
        return Ok(None);
    }
    let why = format!("{host} reaches pods of {met:?}, and only {may:?} were wanted");
    Err(Broken { property: "S4", blame: Blame::Action, why })
}

/// S29: a guarded route is never open without its list.
fn guarded(scene: &Scene<'_>, host: &str, answer: &Answer) -> Verdict {
    let since = scene.now.saturating_sub(scene.shaken_ms);
    let all =
        scene.now >= scene.shaken_ms && scene.cluster.wanted_since(host, since).all(|w| w.guarded);
    let (name, path) = asked(host);
    if all && matches!(answer, Answer::Servers(_)) && !scene.memory.is_guarded(name, path) {
        return Err(Broken::new("S29", format!("{host} is open without its allow list")));
    }
    Ok(())
}

/// S19: the host's certificate, and never the default one in between.
fn presented(scene: &Scene<'_>, host: &str) -> Verdict {
    let since = scene.since(host);
    if scene.is_destroyed || since == 0 {
        return Ok(());
    }
    let mut allowed = BTreeSet::new();
    for wanted in scene.cluster.wanted_since(host, since) {
        match wanted.certificate {
            Some(Some(digest)) => allowed.insert(digest.hex()),
            Some(None) | None => return Ok(()),
        };
    }
    let has = crt_list::digest_of(scene.memory.presented(asked(host).0));
    if allowed.is_empty() || has.as_deref().is_some_and(|has| allowed.contains(has)) {
        return Ok(());
    }
    Err(Broken::new("S19", format!("{host} is presented {has:?}, and {allowed:?} were valid")))
}

/// S12: an action that was just sent: a reload has a reason, and on 3.4 only few can be.
///
/// # Errors
/// A broken promise.
pub fn action(run: &mut Run<'_>, action: &Action) -> Verdict {
    let ActionBody::Reload { reasons, .. } = &action.body else { return Ok(()) };
    let refused = run.is_shaken(&["refuse-command"]);
    let tier = run.capabilities.tier();
    let allowed = |reason: &ReloadReason| match reason {
        ReloadReason::FirstStart => true,
        ReloadReason::Refused(_) => refused,
        ReloadReason::Skeleton(_)
        | ReloadReason::NewSnippet(_)
        | ReloadReason::NewBackend(_)
        | ReloadReason::SlotsExhausted(_)
        | ReloadReason::Bulk(_) => tier != Tier::A,
    };
    if reasons.iter().any(|r| matches!(r, ReloadReason::SlotsExhausted(_))) {
        run.sometimes("server slots were used up");
    }
    if reasons.is_empty() || !reasons.iter().all(allowed) {
        return Err(Broken::new("S12", format!("a reload for {reasons:?}")));
    }
    Ok(())
}

/// L1 and what must hold when all is quiet: as wanted, saved, believed, from scratch, and nothing
/// left to do.
///
/// # Errors
/// A broken promise.
pub fn quiet(run: &mut Run<'_>) -> Verdict {
    if !run.cluster.is_told() {
        return Err(Broken::new("schedule", "quiet is expected before all was told".to_owned()));
    }
    let Some(worker) = run.worker.clone() else {
        return Err(Broken::new("L1", "no worker after all is over".to_owned()));
    };
    // An audit reads HAProxy back once a minute; whether what it has is right is judged below.
    if !run.controller.is_quiet() && !run.is_read_back() {
        let dirty = run.controller.desired().dirty();
        return Err(Broken::new("L1", format!("not quiet; left: {dirty:?}")));
    }
    let hosts: Vec<String> = run.cluster.hosts().cloned().collect();
    let withheld = run.controller.problems().any(|p| p.what.contains("HAProxy refused"));
    for host in hosts {
        let (name, path) = asked(&host);
        let has = worker.memory.route(name, path);
        let Some(wanted) = run.cluster.wanted_since(&host, run.now).last() else { continue };
        if has != wanted.answer && !withheld {
            let why = format!("quiet, and {host} meets {has:?}, by the rules {:?}", wanted.answer);
            return Err(Broken::new("L1", why));
        }
    }
    let image = run.controller.desired().image().clone();
    if run.files.as_deref() != Some(&image) {
        return Err(Broken::new(
            "S28",
            "quiet, and a restart would load something else".to_owned(),
        ));
    }
    let (scratch, _) = controller::audit(&run.controller);
    if *scratch.image() != image {
        return Err(Broken::new("S15", "from scratch something else is wanted".to_owned()));
    }
    let broken = check::check(&run.controller);
    if !broken.is_empty() {
        return Err(Broken::new("invariants", broken.join("; ")));
    }
    let actions = run.actions_of_a_relist();
    if actions > 0 {
        return Err(Broken::new("S13", format!("a list told again leads to {actions} actions")));
    }
    run.frozen = Some(worker.memory);
    run.sometimes("all was quiet");
    for fault in std::mem::take(&mut run.shown) {
        run.out.cells.extend(REST.iter().map(|promise| (fault, AT_REST, *promise)));
    }
    Ok(())
}
