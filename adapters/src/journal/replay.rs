//! Replay: a journal through a new controller, step by step, compared with what was recorded.
//!
//! In: segments. Out: a [`Report`] that says "identical" or names the first difference, and each
//! step to whoever watches. Equality is promised for the version that wrote the journal; another
//! version may decide differently, and the report says which wrote it. Not here: printing.

use std::path::{Path, PathBuf};

use tidegate_core::controller::{Controller, Step};
use tidegate_core::digest::Digest;
use tidegate_core::time::Time;

use super::codec::{BegunV1, EntryV1, InputV1, OutputV1, RestoredV1, SteppedV1};
use super::digest::{ActionDigest, CHAIN_START, chained};
use super::reader::{ReadError, Segment, StartAt, Torn, segments};
use super::text;
use crate::ports::Files;

/// What to replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayOptions {
    /// Where to start.
    pub from: StartAt,
    /// Number of the last step; all when `None`.
    pub until: Option<u64>,
    /// What to do after a difference.
    pub after_difference: AfterDifference,
}

/// What to do after a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterDifference {
    /// The rest would differ too: stop.
    #[default]
    Stop,
    /// Go on: what is wanted is what this version does.
    GoOn,
}

/// A step that was replayed.
pub struct Replayed<'a> {
    /// What went in.
    pub input: &'a InputV1,
    /// What came out.
    pub step: &'a Step,
    /// What came out when it was recorded; `None` when the process ended within the step.
    pub recorded: Option<OutputV1>,
    /// The same, of this replay.
    pub computed: OutputV1,
    /// The controller after the step.
    pub controller: &'a Controller,
}

/// Why a replay ended before the journal did.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A segment does not begin with a state.
    #[error("{path}: a step at byte {offset} comes before any state")]
    Stateless {
        /// File.
        path: PathBuf,
        /// Where, in bytes.
        offset: u64,
    },
    /// Whoever watches gave up.
    #[error(transparent)]
    Watch(#[from] std::io::Error),
}

/// The outcome of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Segments read.
    pub segments: u64,
    /// Version that wrote the first segment read.
    pub version: String,
    /// Times a controller was made from nothing: starts of the process.
    pub begun: u64,
    /// States at the beginning of segments that were compared with the replayed one, and equal.
    pub states_equal: u64,
    /// Places where steps are missing and replay went on from a state.
    pub gaps: u64,
    /// Steps replayed.
    pub steps: u64,
    /// Steps without a recorded outcome, as the process ended within them.
    pub steps_unfinished: u64,
    /// Actions computed.
    pub actions: u64,
    /// Events fed.
    pub events: u64,
    /// Number of the last step.
    pub last_seq: u64,
    /// Chain over the recorded outcomes since the last start of the process, in hex.
    pub chain_recorded: String,
    /// Chain over the computed ones, in hex.
    pub chain_computed: String,
    /// Torn tails.
    pub torn: Vec<Torn>,
    /// The first difference.
    pub difference: Option<Difference>,
}

impl Report {
    /// Whether every outcome was the recorded one.
    #[must_use]
    pub fn is_identical(&self) -> bool {
        self.difference.is_none()
    }
}

/// Where replay and record part.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// Number of the step, or of the one after the state that differs.
    pub seq: u64,
    /// Its time.
    pub now: Time,
    /// What differs.
    pub what: Differs,
}

/// What differs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Differs {
    /// The outcome of a step.
    Output {
        /// As recorded.
        recorded: OutputV1,
        /// As replayed.
        computed: OutputV1,
        /// The replayed actions as text.
        actions: Vec<String>,
    },
    /// The state at the beginning of a segment, though all outcomes before it are equal.
    State,
}

/// Replays a segment or a folder of them, and shows every step to `watch`.
///
/// # Errors
/// When the journal is unreadable or damaged, or `watch` fails. A difference is no error.
pub fn replay(
    files: &dyn Files,
    path: &Path,
    options: &ReplayOptions,
    watch: &mut dyn FnMut(&Replayed<'_>) -> std::io::Result<()>,
) -> Result<Report, ReplayError> {
    let mut replay = Replay {
        options: *options,
        report: Report::default(),
        running: None,
        digests: ActionDigest::default(),
    };
    for path in segments(files, path, options.from)? {
        let mut segment = Segment::open(files, &path)?;
        replay.report.segments += 1;
        if let Some(header) = segment.header().filter(|_| replay.report.version.is_empty()) {
            replay.report.version.clone_from(&header.version);
        }
        while let Some((offset, entry)) = segment.next_entry()? {
            if replay.take(entry, &path, offset, watch)? == Go::Stop {
                return Ok(replay.finish());
            }
        }
        replay.report.torn.extend(segment.torn().cloned());
    }
    Ok(replay.finish())
}

struct Replay {
    options: ReplayOptions,
    report: Report,
    running: Option<Running>,
    digests: ActionDigest,
}

struct Running {
    controller: Controller,
    next_seq: u64,
    now: Time,
    recorded: Digest,
    computed: Digest,
}

#[derive(PartialEq, Eq)]
enum Go {
    On,
    Stop,
}

impl Replay {
    fn take(
        &mut self,
        entry: EntryV1,
        path: &Path,
        offset: u64,
        watch: &mut dyn FnMut(&Replayed<'_>) -> std::io::Result<()>,
    ) -> Result<Go, ReplayError> {
        match entry {
            EntryV1::Begun(begun) => {
                let BegunV1 { settings, now, wall_unix_ms: _ } = *begun;
                self.report.begun += 1;
                self.running = Some(Running {
                    controller: Controller::new(settings, now),
                    next_seq: 1,
                    now,
                    recorded: CHAIN_START,
                    computed: CHAIN_START,
                });
                Ok(Go::On)
            }
            EntryV1::Restored(restored) => Ok(self.restored(*restored)),
            EntryV1::Stepped(stepped) => {
                if self.options.until.is_some_and(|last| stepped.input.seq > last) {
                    return Ok(Go::Stop);
                }
                if self.running.is_none() {
                    return Err(ReplayError::Stateless { path: path.to_owned(), offset });
                }
                self.stepped(&stepped, watch)
            }
        }
    }

    fn restored(&mut self, restored: RestoredV1) -> Go {
        let RestoredV1 { checkpoint, next_seq, chain } = restored;
        if let Some(running) = self.running.as_ref().filter(|r| r.next_seq == next_seq) {
            if running.controller.checkpoint().as_ref() == Some(&checkpoint) {
                self.report.states_equal += 1;
                return Go::On;
            }
            let (now, what) = (running.now, Differs::State);
            return self.differs(Difference { seq: next_seq, now, what });
        }
        // Nothing ran yet, or steps are missing: go on from the state.
        if self.running.is_some() {
            self.report.gaps += 1;
        }
        let now = self.running.as_ref().map_or(Time(0), |running| running.now);
        let controller = checkpoint.restore();
        let running = Running { controller, next_seq, now, recorded: chain, computed: chain };
        self.running = Some(running);
        Go::On
    }

    fn stepped(
        &mut self,
        stepped: &SteppedV1,
        watch: &mut dyn FnMut(&Replayed<'_>) -> std::io::Result<()>,
    ) -> Result<Go, ReplayError> {
        let SteppedV1 { input, output } = stepped;
        let Some(running) = &mut self.running else { return Ok(Go::On) };
        let step = running.controller.step(input.now, input.events.clone());
        let computed = self.digests.output(&step);
        running.next_seq = input.seq.saturating_add(1);
        running.now = input.now;
        running.recorded = chained(running.recorded, output.as_ref().unwrap_or(&computed));
        running.computed = chained(running.computed, &computed);
        let report = &mut self.report;
        report.steps += 1;
        report.steps_unfinished += u64::from(output.is_none());
        report.actions += u64::from(computed.actions);
        report.events += input.events.len() as u64;
        report.last_seq = input.seq;
        let controller = &running.controller;
        watch(&Replayed { input, step: &step, recorded: *output, computed, controller })?;
        match *output {
            Some(recorded) if recorded != computed => {
                let actions = step.actions.iter().map(text::action).collect();
                let what = Differs::Output { recorded, computed, actions };
                Ok(self.differs(Difference { seq: input.seq, now: input.now, what }))
            }
            Some(_) | None => Ok(Go::On),
        }
    }

    fn differs(&mut self, difference: Difference) -> Go {
        self.report.difference.get_or_insert(difference);
        match self.options.after_difference {
            AfterDifference::Stop => Go::Stop,
            AfterDifference::GoOn => Go::On,
        }
    }

    fn finish(mut self) -> Report {
        if let Some(running) = &self.running {
            self.report.chain_recorded = running.recorded.hex();
            self.report.chain_computed = running.computed.hex();
        }
        self.report
    }
}
