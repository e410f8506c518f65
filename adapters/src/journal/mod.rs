//! The journal: every input of the controller on disk, so that what it did can be done again.
//!
//! In: the events and the outcome of every step, from the loop that owns the controller. Out:
//! segments in a folder ([`codec`] is their format), and from them, with [`replay`], the same
//! actions again or the first difference. No secret bytes: events carry keyed digests only.
//!
//! The loop never waits for the disk. [`Journal`] encodes on the caller's thread into memory and
//! hands over through a bounded queue; [`writer`] owns the files. When the queue is full or the
//! disk refuses, steps are lost and counted, serving goes on, and the journal continues with a
//! new segment as soon as it gets a checkpoint ([`Journal::wants_checkpoint`]). A gap is visible
//! in the journal by the numbers of its steps.
//!
//! A step is handed over before its actions run; it is on disk within a second
//! ([`Options::sync_ms`]) against power loss, within milliseconds against the death of the process
//! only.
//!
//! Not here: what an event means, when to take a checkpoint, telling anybody about trouble
//! ([`Journal::status`] is data).

pub mod codec;
pub mod digest;
pub mod explain;
pub mod print;
pub mod reader;
pub mod replay;
pub mod text;
pub mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tidegate_core::checkpoint::Checkpoint;
use tidegate_core::controller::Step;
use tidegate_core::digest::Digest;
use tidegate_core::event::Event;
use tidegate_core::settings::Settings;
use tidegate_core::time::Time;

use crate::ports::{Clock, Files};
use codec::RestoredV1;
use digest::{ActionDigest, CHAIN_START, chained};
use writer::{First, Message, Shared, Writer};

/// How a journal is written.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the segments; made if needed.
    pub folder: PathBuf,
    /// Size at which a segment wants a successor, in bytes.
    pub segment_bytes: u64,
    /// All segments together, in bytes; the oldest are dropped.
    pub total_bytes_max: u64,
    /// What may wait for the disk, in bytes; beyond it steps are lost.
    pub queue_bytes_max: usize,
    /// Entries that may wait for the disk; beyond it steps are lost.
    pub queue_entries_max: usize,
    /// Longest time until what was written is synced, in milliseconds.
    pub sync_ms: u64,
    /// Time from a failure to the next try, in milliseconds.
    pub retry_ms: u64,
    /// Who writes.
    pub writing: Writing,
}

impl Options {
    /// The documented limits, for a folder.
    #[must_use]
    pub fn documented(folder: PathBuf) -> Options {
        Options {
            folder,
            segment_bytes: 64 << 20,
            total_bytes_max: 512 << 20,
            queue_bytes_max: 64 << 20,
            queue_entries_max: 4096,
            sync_ms: 1000,
            retry_ms: 10_000,
            writing: Writing::Thread,
        }
    }
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// A thread of its own.
    Thread,
    /// The caller: for simulations and tests, where order must be fixed.
    Inline,
}

/// How a journal is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether entries are written now.
    pub state: State,
    /// Entries written by this process.
    pub entries: u64,
    /// Bytes written by this process.
    pub bytes_written: u64,
    /// Steps taken by this process that are not in the journal.
    pub steps_lost: u64,
    /// Times that writing failed.
    pub failures: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Their bytes.
    pub bytes_on_disk: u64,
    /// Segments this process dropped to stay within the bound.
    pub segments_dropped: u64,
}

/// Whether entries are written now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// [`Journal::begin`] was not called.
    Idle,
    /// They are.
    Writing,
    /// The queue was full: the next checkpoint, once it is empty, ends the gap.
    Overflowed,
    /// The disk refused; its words.
    Failed(Box<str>),
}

/// The side of the loop that owns the controller.
pub struct Journal {
    shared: Arc<Shared>,
    sink: Sink,
    queue_bytes_max: usize,
    /// Number of the current stream of entries without a gap; 0 before the first.
    epoch: u64,
    /// The stream that ended because the queue was full.
    overflowed: u64,
    next_seq: u64,
    chain: Digest,
    digests: ActionDigest,
    /// Frame of the step that is being taken.
    frame: Vec<u8>,
    open: bool,
}

enum Sink {
    Thread { messages: SyncSender<Message>, ended: Receiver<()> },
    Inline(Box<Writer>),
}

/// How long the end of a process waits for the disk.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

impl Journal {
    /// A journal that has not begun. Touches no file.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn open(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> io::Result<Journal> {
        let shared = Arc::new(Shared::default());
        let queue_bytes_max = options.queue_bytes_max;
        let entries = options.queue_entries_max.max(1);
        let writing = options.writing;
        let writer = Writer::new(files, clock, options, shared.clone());
        let sink = match writing {
            Writing::Inline => Sink::Inline(Box::new(writer)),
            Writing::Thread => {
                let (messages, receiver) = sync_channel(entries);
                let (end, ended) = sync_channel(1);
                std::thread::Builder::new().name("journal".into()).spawn(move || {
                    writer.run(&receiver);
                    drop(end);
                })?;
                Sink::Thread { messages, ended }
            }
        };
        Ok(Journal {
            shared,
            sink,
            queue_bytes_max,
            epoch: 0,
            overflowed: 0,
            next_seq: 1,
            chain: CHAIN_START,
            digests: ActionDigest::default(),
            frame: Vec::new(),
            open: false,
        })
    }

    /// States that a controller was made by `Controller::new(settings, now)`: a new segment.
    pub fn begin(&mut self, settings: &Settings, now: Time, wall_unix_ms: u64) {
        self.next_seq = 1;
        self.chain = CHAIN_START;
        let mut frame = Vec::new();
        if codec::push_begun(&mut frame, settings, now, wall_unix_ms).is_ok() {
            self.start(First::Begun(frame));
        }
    }

    /// Takes down the arguments of a step, before it is taken: they are kept even when it
    /// panics.
    pub fn before(&mut self, now: Time, wall_unix_ms: u64, events: &[Event]) {
        self.abandon();
        let seq = self.next_seq;
        self.next_seq += 1;
        if !self.is_flowing() {
            self.lose();
            return;
        }
        match codec::push_input(&mut self.frame, seq, now, wall_unix_ms, events) {
            Ok(()) => self.open = true,
            Err(_) => self.overflow(),
        }
    }

    /// Takes down the outcome of the step that [`Journal::before`] announced, and hands both
    /// over. To be called before its actions are run.
    pub fn after(&mut self, step: &Step) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let output = self.digests.output(step);
        self.chain = chained(self.chain, &output);
        match codec::push_output(&mut self.frame, Some(output)) {
            Ok(()) => self.send_frame(),
            Err(_) => self.overflow(),
        }
    }

    /// Whether [`Journal::checkpoint`] would be of use: the segment is full, or the journal has a
    /// gap that can be ended.
    pub fn wants_checkpoint(&mut self) -> bool {
        if let Sink::Inline(writer) = &mut self.sink {
            writer.tick();
        }
        if self.epoch == 0 || self.open {
            return false;
        }
        if self.shared.failed.load(Ordering::Acquire) >= self.epoch {
            return self.shared.retry.load(Ordering::Acquire) >= self.epoch;
        }
        if self.overflowed >= self.epoch {
            return self.shared.queued_bytes.load(Ordering::Acquire) == 0;
        }
        self.shared.full.load(Ordering::Acquire) >= self.epoch
    }

    /// Starts a new segment with the state after the last step.
    pub fn checkpoint(&mut self, checkpoint: Checkpoint) {
        self.abandon();
        let restored = RestoredV1 { checkpoint, next_seq: self.next_seq, chain: self.chain };
        self.start(First::Restored(Box::new(restored)));
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let failed = self.epoch > 0 && self.shared.failed.load(Ordering::Acquire) >= self.epoch;
        let state = if self.epoch == 0 {
            State::Idle
        } else if failed {
            State::Failed(self.shared.why.lock().clone())
        } else if self.overflowed >= self.epoch {
            State::Overflowed
        } else {
            State::Writing
        };
        self.shared.status(state)
    }

    /// The chain over the steps that were handed over so far.
    #[must_use]
    pub fn chain(&self) -> Digest {
        self.chain
    }

    /// Writes and syncs what was handed over; gives up after five seconds. Dropping does the
    /// same.
    pub fn close(self) {
        drop(self);
    }

    fn is_flowing(&self) -> bool {
        self.epoch > self.overflowed && self.epoch > self.shared.failed.load(Ordering::Acquire)
    }

    fn start(&mut self, first: First) {
        self.epoch += 1;
        let epoch = self.epoch;
        if !self.send(Message::Start { epoch, first }, 0) {
            self.overflowed = epoch;
        }
    }

    /// Hands over a step that has no outcome.
    fn abandon(&mut self) {
        if std::mem::take(&mut self.open) {
            match codec::push_output(&mut self.frame, None) {
                Ok(()) => self.send_frame(),
                Err(_) => self.overflow(),
            }
        }
    }

    fn send_frame(&mut self) {
        let frame = std::mem::take(&mut self.frame);
        let bytes = frame.len();
        self.frame.reserve(bytes.min(4096));
        if !self.send(Message::Frame(frame), bytes) {
            self.overflow();
        }
    }

    /// Whether it was taken.
    fn send(&mut self, message: Message, bytes: usize) -> bool {
        match &mut self.sink {
            Sink::Inline(writer) => {
                writer.take(message);
                writer.flush();
                writer.tick();
                true
            }
            Sink::Thread { messages, .. } => {
                let queued = self.shared.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
                // One entry always fits, however long, or a long one would never be written.
                let fits = queued == 0 || queued + bytes <= self.queue_bytes_max;
                let sent = fits && messages.try_send(message).is_ok();
                if !sent {
                    self.shared.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
                }
                sent
            }
        }
    }

    fn overflow(&mut self) {
        self.overflowed = self.epoch;
        self.lose();
    }

    fn lose(&mut self) {
        self.shared.steps_lost.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.abandon();
        match &mut self.sink {
            Sink::Inline(writer) => writer.finish(),
            Sink::Thread { messages, ended } => {
                // The thread writes what is queued, and ends when the sender is gone.
                let (closed, _) = sync_channel(1);
                drop(std::mem::replace(messages, closed));
                let _ = ended.recv_timeout(CLOSE_WAIT);
            }
        }
    }
}
