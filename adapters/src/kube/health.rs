//! What is wrong with the source: watches that are down, objects that cannot be decoded.
//!
//! Inputs: facts from the watches. Outputs: `Event::SourceProblems` whenever the set of Problems
//! changes; a watch that is down counts after [`PATIENCE`], one that is denied at once. Not here:
//! what is done about it.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_core::event::Event;
use tidegate_core::problem::{Problem, Reason, Severity};
use tidegate_core::world::object::{Kind, ObjectRef};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::failure::Failure;
use super::meters::Meters;
use crate::decode::Refusal;

/// How long a watch may be down before it is a Problem: restarts of the API server are not.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Undecodable objects that are told one by one at most.
const TOLD_MAX: usize = 100;

/// Which watch: kind and namespace.
pub type Channel = (Kind, Option<Box<str>>);

/// The state of the source, shared by all tasks.
pub struct Health {
    state: Mutex<State>,
    changed: Notify,
    meters: Meters,
    patience: Duration,
}

#[derive(Default)]
struct State {
    down: BTreeMap<Channel, Down>,
    refused: BTreeMap<ObjectRef, Refusal>,
}

struct Down {
    since: Instant,
    why: String,
    denied: bool,
}

impl Health {
    /// All is well. A watch that is down for longer than `patience` is a Problem.
    #[must_use]
    pub fn new(meters: Meters, patience: Duration) -> Health {
        Health { state: Mutex::default(), changed: Notify::new(), meters, patience }
    }

    /// A watch works.
    pub fn up(&self, channel: &Channel) {
        if self.state.lock().down.remove(channel).is_some() {
            self.changed.notify_one();
        }
    }

    /// A watch does not work.
    pub fn down(&self, channel: &Channel, failure: &Failure) {
        let mut state = self.state.lock();
        let new = Down { since: Instant::now(), why: String::new(), denied: false };
        let down = state.down.entry(channel.clone()).or_insert(new);
        let why = failure.to_string();
        if down.why != why || down.denied != failure.is_denied() {
            (down.why, down.denied) = (why, failure.is_denied());
            self.changed.notify_one();
        }
    }

    /// Whether any watch is denied.
    pub(super) fn is_any_denied(&self) -> bool {
        self.state.lock().down.values().any(|down| down.denied)
    }

    /// An object cannot be decoded.
    pub fn refused(&self, refusal: Refusal) {
        let mut state = self.state.lock();
        state.refused.insert(refusal.object.clone(), refusal);
        self.meters.undecodable(state.refused.len());
        self.changed.notify_one();
    }

    /// An object was decoded or deleted.
    pub fn settled(&self, object: &ObjectRef) {
        let mut state = self.state.lock();
        if !state.refused.is_empty() && state.refused.remove(object).is_some() {
            self.meters.undecodable(state.refused.len());
            self.changed.notify_one();
        }
    }

    /// Tells the Problems until nobody listens.
    pub async fn tell(&self, events: mpsc::Sender<Vec<Event>>) {
        let mut told: Vec<Problem> = Vec::new();
        loop {
            let (problems, next) = self.problems(Instant::now());
            if problems != told {
                told.clone_from(&problems);
                if events.send(vec![Event::SourceProblems(problems)]).await.is_err() {
                    return;
                }
            }
            let far = Duration::from_secs(3600);
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = tokio::time::sleep(next.unwrap_or(far)) => {}
            }
        }
    }

    /// The Problems now, and when there may be more.
    fn problems(&self, now: Instant) -> (Vec<Problem>, Option<Duration>) {
        let state = self.state.lock();
        let mut problems = Vec::new();
        let mut next: Option<Duration> = None;
        for ((kind, namespace), down) in &state.down {
            let age = now.duration_since(down.since);
            if age < self.patience && !down.denied {
                let wait = self.patience.saturating_sub(age);
                next = Some(next.map_or(wait, |next| next.min(wait)));
                continue;
            }
            problems.push(watch_problem(*kind, namespace.as_deref(), down));
        }
        problems.extend(state.refused.values().take(TOLD_MAX).map(object_problem));
        (problems, next)
    }
}

fn watch_problem(kind: Kind, namespace: Option<&str>, down: &Down) -> Problem {
    let fix = if down.denied {
        "grant what `tidegate rbac` prints to tidegate's account, or renew its credentials"
    } else {
        "look at the API server and at the network to it; tidegate keeps on trying"
    };
    Problem {
        object: ObjectRef::new(kind, namespace.unwrap_or_default(), ""),
        field: "".into(),
        reason: Reason::Source,
        severity: Severity::Error,
        what: format!("objects of kind {} are not watched: {}", kind.name(), down.why),
        instead: "what is known of them is served".to_owned(),
        fix: fix.to_owned(),
    }
}

fn object_problem(refusal: &Refusal) -> Problem {
    let Refusal { object, what, fix } = refusal;
    Problem {
        object: object.clone(),
        field: "".into(),
        reason: Reason::Source,
        severity: Severity::Error,
        what: format!("cannot be decoded: {what}"),
        instead: "the last version that could be decoded is served".to_owned(),
        fix: fix.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_short_outage_is_no_problem_and_a_denial_is_one_at_once() {
        const LIMIT: Duration = Duration::from_millis(400);
        let health = std::sync::Arc::new(Health::new(Meters::default(), LIMIT));
        let (sender, mut told) = mpsc::channel(4);
        let teller = std::sync::Arc::clone(&health);
        let task = tokio::spawn(async move { teller.tell(sender).await });
        let channel: Channel = (Kind::Ingress, None);
        health.down(&channel, &Failure::Silent);
        tokio::time::sleep(LIMIT / 4).await;
        health.up(&channel);
        tokio::time::sleep(LIMIT * 2).await;
        assert!(told.try_recv().is_err());
        health.down(&channel, &Failure::Silent);
        tokio::time::sleep(LIMIT * 2).await;
        let Ok(batch) = told.try_recv() else { panic!("an outage is a Problem") };
        assert!(matches!(&batch[..], [Event::SourceProblems(problems)] if problems.len() == 1));
        health.up(&channel);
        let denied = Failure::Status { code: 403, text: "no".into(), retry_after: None };
        health.down(&channel, &denied);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let last = std::iter::from_fn(|| told.try_recv().ok()).last().unwrap();
        assert!(matches!(&last[..], [Event::SourceProblems(problems)]
            if problems.len() == 1 && problems[0].what.contains("403")));
        task.abort();
    }
}
