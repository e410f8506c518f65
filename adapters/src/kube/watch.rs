//! One watch: a complete list, then every change, for as long as the adapter runs.
//!
//! Inputs: what to watch ([`Target`]), a client. Outputs: objects' JSON to a [`Sink`], its batches
//! to the run loop. Streaming lists where the server offers them, otherwise pages
//! ([`super::list`]); both are consistent reads. A list counts only when it is whole. A watch that
//! ends or fails is resumed at the last version seen; only when the server no longer knows that
//! version (410), or when the store went back lately, a new list is made, and core compares it. What
//! we are denied is not empty. Not here: decoding.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::event::Event;
use tidegate_core::world::object::Kind;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::client::{Ask, Body, Client};
use super::discovery::{Discovery, LOOK_AGAIN};
use super::failure::Failure;
use super::frame::{Frame, Lines};
use super::health::{Channel, Health};
use super::identity::{self, Doubt, Store};
use super::meters::Meters;
use super::target::{Sink, Target, Whole};
use super::{list, resource};
use crate::ports::Clock;
use crate::sabotage::{Mistake, is_planted};

/// Shortest time that a server may keep a watch open, in seconds; the longest is twice that.
const WATCH_SECONDS: u64 = 290;

/// First wait after a failure.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// Longest wait while the server cannot be reached or is restarting: an outage shall end for us
/// within a second of its end.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Longest wait while we are denied or the server is unwell.
const WAIT_MAX_DENIED: Duration = Duration::from_secs(5);

/// Longest pause that a server may ask for.
const OBEYED_MAX: Duration = Duration::from_secs(60);

/// A watch that lasted so long was a good one; its end is no failure.
const GOOD: Duration = Duration::from_millis(500);

/// Events of one batch at most.
const BATCH: usize = 512;

/// What all watches share.
#[derive(Clone)]
pub struct Shared {
    /// The client.
    pub client: Arc<Client>,
    /// What is wrong.
    pub health: Arc<Health>,
    /// What is counted.
    pub meters: Meters,
    /// The wall clock, for metrics.
    pub clock: Arc<dyn Clock>,
    /// Where events go.
    pub events: mpsc::Sender<Vec<Event>>,
    /// Seed of all jitter.
    pub seed: u64,
    /// Which custom resources are served.
    pub discovery: Arc<Discovery>,
    /// Whether the store went back lately.
    pub doubt: Doubt,
}

/// Why a stream ended.
enum End {
    /// The server ended it, or a new list is wanted: go on at once.
    Fine,
    /// It failed.
    Failed(Failure),
    /// Nobody takes events any more.
    Closed,
}

/// A running watch.
pub struct Watch<S> {
    shared: Shared,
    target: Target,
    channel: Channel,
    sink: S,
    backoff: Backoff,
    /// Where to resume; `None` when a list is needed.
    version: Option<Box<str>>,
    /// Whether that is of pages that were just listed: such a watch is begun, not resumed.
    begins: bool,
    /// The store of the last list.
    cluster: Option<Box<str>>,
    /// The highest revision seen since and with the last list.
    watched: u64,
    /// Whether the version was gone, and there has been no list since.
    gone: bool,
    /// Why the next list is made.
    reason: &'static str,
    /// Whether lists are streamed.
    streaming: bool,
    relist: Arc<Notify>,
    connected: bool,
    /// Whether the kind is served, once that is known; others than custom resources always are.
    served: Option<bool>,
}

impl<S: Sink> Watch<S> {
    /// A watch that has not begun. `relist` asks for a new list.
    pub fn new(shared: Shared, target: Target, sink: S, relist: Arc<Notify>) -> Watch<S> {
        let backoff = Backoff::new(shared.seed, &target.label(), FIRST_WAIT);
        let channel = (target.kind, target.namespace.clone());
        let is_custom = matches!(target.kind, Kind::Custom(..));
        if !is_custom {
            shared.meters.wanted(target.kind, true);
        }
        Watch {
            shared,
            target,
            channel,
            sink,
            backoff,
            version: None,
            begins: false,
            cluster: None,
            watched: 0,
            gone: false,
            reason: "start",
            streaming: true,
            relist,
            connected: false,
            served: (!is_custom).then_some(true),
        }
    }

    /// Runs until nobody takes events any more.
    pub async fn run(mut self) {
        loop {
            match self.is_served().await {
                Ok(true) => {}
                Ok(false) => {
                    let wait = LOOK_AGAIN + self.backoff.jitter(LOOK_AGAIN / 4);
                    tokio::select! {
                        biased;
                        // What is held of it: the list that lacks it is told again.
                        () = self.relist.notified() => self.served = None,
                        () = tokio::time::sleep(wait) => {}
                        () = self.shared.events.closed() => return,
                    }
                    continue;
                }
                Err(failure) => {
                    let wait = self.failed(&failure, Duration::ZERO);
                    tokio::time::sleep(wait).await;
                    continue;
                }
            }
            let started = Instant::now();
            let listing = self.version.is_none();
            let end = match (&self.version, self.streaming) {
                (None, false) => self.list_pages().await,
                (None, true) | (Some(_), _) => self.stream().await,
            };
            self.set_connected(false);
            let lasted = started.elapsed();
            let wait = match end {
                End::Closed => return,
                End::Fine if lasted >= GOOD || listing || self.version.is_none() => {
                    self.backoff.reset();
                    Duration::ZERO
                }
                End::Fine => self.backoff.next(WAIT_MAX),
                End::Failed(failure) => self.failed(&failure, lasted),
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether the kind is served. One that is not, or no longer, is a complete list without objects.
    async fn is_served(&mut self) -> Result<bool, Failure> {
        let Kind::Custom(..) = self.target.kind else { return Ok(true) };
        let Shared { client, discovery, meters, .. } = &self.shared;
        let is_served = discovery.serves(client, resource::of(self.target.kind)).await?;
        if self.served == Some(is_served) {
            return Ok(is_served);
        }
        if is_served {
            meters.wanted(self.target.kind, true);
        } else {
            // It cannot be asked for the store; Services can.
            let beside = Target { kind: Kind::Service, name: None, ..self.target.clone() };
            let Store { cluster, revision } = identity::store(client, &beside).await?;
            if self.served == Some(true) {
                meters.wanted(self.target.kind, false);
            }
            let (version, watched) = (revision.to_string(), std::mem::take(&mut self.watched));
            self.sink.begin();
            self.sink.complete(Whole { version: &version, watched, cluster });
            (self.version, self.reason) = (None, "start");
            self.shared.health.up(&self.channel);
            self.hand_over().await;
        }
        self.served = Some(is_served);
        Ok(is_served)
    }

    /// Notes a failure; returns how long to wait.
    fn failed(&mut self, failure: &Failure, lasted: Duration) -> Duration {
        if failure.is_gone() {
            tracing::info!(watch = self.target.label(), "the version is gone: listing anew");
            (self.version, self.reason) = (None, "gone");
            let again = std::mem::replace(&mut self.gone, true);
            return if again { self.backoff.next(WAIT_MAX) } else { Duration::ZERO };
        }
        tracing::debug!(watch = self.target.label(), %failure, "watch");
        if matches!(self.target.kind, Kind::Custom(..)) && failure.code() == Some(404) {
            self.shared.discovery.lacks(resource::of(self.target.kind));
            self.version = None;
            return self.backoff.next(WAIT_MAX);
        }
        if lasted >= GOOD && failure.code().is_none() {
            self.backoff.reset();
        }
        self.shared.health.down(&self.channel, failure);
        let cap = match failure {
            Failure::Unreachable(_) | Failure::Broken(_) | Failure::Silent => WAIT_MAX,
            Failure::Garbled(_) | Failure::Status { .. } => WAIT_MAX_DENIED,
        };
        let wait = self.backoff.next(cap);
        match failure.retry_after() {
            Some(asked) => {
                let asked = asked.min(OBEYED_MAX);
                asked.max(wait) + self.backoff.jitter(asked / 4)
            }
            None => wait,
        }
    }

    fn set_connected(&mut self, open: bool) {
        if self.connected != open {
            self.connected = open;
            self.shared.meters.connected(self.target.kind, open);
        }
    }

    async fn list_pages(&mut self) -> End {
        let started = Instant::now();
        let Watch { shared, target, sink, .. } = self;
        match list::pages(&shared.client, target, sink).await {
            Ok(version) => match self.complete(&version, started).await {
                Ok(true) => {
                    self.begins = true;
                    End::Fine
                }
                Ok(false) => End::Closed,
                Err(failure) => End::Failed(failure),
            },
            Err(_) if is_planted(Mistake::FailureIsEmpty) => {
                self.sink.begin();
                match identity::store(&self.shared.client, &self.target).await {
                    Ok(store) => match self.complete(&store.revision.to_string(), started).await {
                        Ok(true) => End::Fine,
                        Ok(false) => End::Closed,
                        Err(failure) => End::Failed(failure),
                    },
                    Err(failure) => End::Failed(failure),
                }
            }
            Err(failure) => End::Failed(failure),
        }
    }

    /// The list is whole. Whether events are still taken.
    async fn complete(&mut self, version: &str, started: Instant) -> Result<bool, Failure> {
        let Store { cluster, revision: _ } =
            identity::store(&self.shared.client, &self.target).await?;
        self.cluster = Some(cluster.clone());
        let watched = std::mem::replace(&mut self.watched, 0);
        let count = self.sink.complete(Whole { version, watched, cluster });
        self.shared.meters.listed(self.target.kind, self.reason, count, started.elapsed());
        tracing::info!(
            watch = self.target.label(),
            objects = count,
            ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            reason = self.reason,
            "listed"
        );
        self.version = Some(version.into());
        self.watched = version.parse().unwrap_or(0);
        (self.reason, self.gone) = ("gone", false);
        Ok(self.hand_over().await)
    }

    /// Whether the store is the one of the last list, and has not gone back behind it.
    async fn goes_on(&mut self, version: &str) -> Result<bool, Failure> {
        let Store { cluster, revision } =
            identity::store(&self.shared.client, &self.target).await?;
        let other = self.cluster.as_ref().is_some_and(|known| *known != cluster);
        Ok(!other && version.parse().is_ok_and(|version: u64| version <= revision))
    }

    /// Sends what the sink has. Whether events are still taken.
    async fn hand_over(&mut self) -> bool {
        if is_planted(Mistake::HoldsWhileDenied) && self.shared.health.is_any_denied() {
            return true;
        }
        let events = self.sink.take();
        events.is_empty() || self.shared.events.send(events).await.is_ok()
    }

    /// A streaming list and the watch after it, or a watch that is resumed.
    async fn stream(&mut self) -> End {
        if let Some(version) = self.version.clone() {
            let begins = std::mem::take(&mut self.begins) && !is_planted(Mistake::DoubtsItsList);
            match self.goes_on(&version).await {
                Ok(true) if begins || !self.shared.doubt.lasts() => {}
                Ok(true) => (self.version, self.reason) = (None, "went-back"),
                Ok(false) => {
                    self.shared.doubt.rises();
                    tracing::warn!(
                        watch = self.target.label(),
                        "the store went back: listing anew"
                    );
                    (self.version, self.reason) = (None, "went-back");
                }
                Err(failure) => return End::Failed(failure),
            }
        }
        let seconds =
            WATCH_SECONDS + self.backoff.jitter(Duration::from_secs(WATCH_SECONDS)).as_secs();
        let begin = match &self.version {
            Some(version) => format!("resourceVersion={}", resource::segment(version)),
            None => "sendInitialEvents=true&resourceVersionMatch=NotOlderThan".to_owned(),
        };
        let query = format!("watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&{begin}");
        let ask = Ask::get("watch", self.target.path(&query)).accepting(self.sink.form(false));
        let listing = self.version.is_none();
        let body = match self.shared.client.open(&ask).await {
            Ok(body) => body,
            Err(Failure::Status { code: 400 | 422, text, .. }) if listing => {
                tracing::debug!(watch = self.target.label(), text, "no streaming lists");
                self.streaming = false;
                return End::Fine;
            }
            Err(failure) => return End::Failed(failure),
        };
        self.set_connected(true);
        if !listing {
            self.shared.health.up(&self.channel);
        }
        self.read(body, listing).await
    }

    async fn read(&mut self, mut body: Body, mut listing: bool) -> End {
        let started = Instant::now();
        let mut lines = Lines::default();
        if listing {
            self.sink.begin();
            body.set_patience(self.shared.client.patience().stream);
        }
        let relist = Arc::clone(&self.relist);
        loop {
            let chunk = tokio::select! {
                biased;
                () = relist.notified() => {
                    (self.version, self.reason) = (None, "asked");
                    return End::Fine;
                }
                chunk = body.chunk() => chunk,
            };
            let chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) if listing => {
                    let why = "the list ended before it was complete".to_owned();
                    return End::Failed(Failure::Broken(why));
                }
                Ok(None) => return End::Fine,
                Err(Failure::Silent) if listing => {
                    self.streaming = false;
                    return End::Fine;
                }
                Err(failure) => return End::Failed(failure),
            };
            self.shared.meters.heard(self.target.kind, self.shared.clock.unix_s());
            // The events before a bad line count, so the outcome is looked at after them.
            let mut seen = Seen { whole: None, plain_bookmark: false };
            let Watch { sink, version, shared, watched, .. } = self;
            let mut full: Vec<Vec<Event>> = Vec::new();
            let mut pending = 0;
            let outcome = lines.push(&chunk, |line| {
                take_line(line, sink, version, &mut listing, &mut seen)?;
                let at = version.as_ref().and_then(|version| version.parse().ok());
                *watched = at.map_or(*watched, |at| (*watched).max(at));
                pending += 1;
                if pending % BATCH == 0 {
                    full.push(sink.take());
                }
                Ok(())
            });
            for batch in full {
                if !batch.is_empty() && shared.events.send(batch).await.is_err() {
                    return End::Closed;
                }
            }
            if let Some(whole) = seen.whole {
                match self.complete(&whole, started).await {
                    Ok(true) => {
                        self.shared.health.up(&self.channel);
                        body.set_patience(self.shared.client.patience().body);
                    }
                    Ok(false) => return End::Closed,
                    Err(failure) => {
                        self.version = None;
                        return End::Failed(failure);
                    }
                }
            } else if !self.hand_over().await {
                return End::Closed;
            }
            if seen.plain_bookmark && listing {
                self.streaming = false;
                return End::Fine;
            }
            if let Err(failure) = outcome {
                return End::Failed(failure);
            }
        }
    }
}

/// What a piece of a stream held besides objects.
struct Seen {
    /// The version at which a streaming list is whole.
    whole: Option<Box<str>>,
    /// Another bookmark before that: the server does not know streaming lists.
    plain_bookmark: bool,
}

fn take_line<S: Sink>(
    line: &[u8],
    sink: &mut S,
    version: &mut Option<Box<str>>,
    listing: &mut bool,
    seen: &mut Seen,
) -> Result<(), Failure> {
    match Frame::read(line)? {
        Frame::Changed(json) if *listing => sink.item(json),
        Frame::Changed(json) => {
            if let Some(at) = sink.changed(json)
                && !is_planted(Mistake::ResumesAtList)
            {
                *version = Some(at);
            }
        }
        Frame::Deleted(json) => {
            if let Some(at) = sink.deleted(json)
                && !*listing
            {
                *version = Some(at);
            }
        }
        Frame::Bookmark { version: at, complete } => {
            if *listing && complete {
                *listing = false;
                seen.whole = Some(at);
            } else if *listing {
                seen.plain_bookmark = true;
            } else if !at.is_empty() {
                *version = Some(at);
            }
        }
    }
    Ok(())
}

/// Starts a watch.
pub fn run<S: Sink + 'static>(
    shared: &Shared,
    target: Target,
    sink: S,
    relist: &Arc<Notify>,
) -> impl Future<Output = ()> + Send + 'static {
    Watch::new(shared.clone(), target, sink, Arc::clone(relist)).run()
}
