//! The side of the journal that owns the files.
//!
//! In: messages in order, from [`super::Journal`]. Out: segments `journal-NNNNNNNN.tgj`, each
//! appended to by one process only. Writes what comes within a few milliseconds together, syncs now and
//! then, drops the oldest segments beyond the bound. After a failure it writes nothing until a message that
//! starts a segment, so a segment never has a hole. Not here: encoding of steps, decisions.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use parking_lot::Mutex;

use super::codec::{self, Header, RestoredV1};
use super::{Options, State, Status};
use crate::ports::{Append, Clock, Files};
use crate::sabotage::{Mistake, is_planted};

/// Mode of segments: they name hosts and addresses, though no secrets.
const OWNER_ONLY: u32 = 0o600;
/// Mode of their folder.
const FOLDER_MODE: u32 = 0o700;
/// Bytes gathered before they are written, if more are queued.
const BATCH_BYTES: usize = 256 * 1024;
/// Time from the first entry to their writing: the steps of one change follow each other within it, and
/// the thread is woken for them once.
const GATHER: Duration = Duration::from_millis(5);
/// How often the thread looks at the clock when nothing is queued.
const TICK: Duration = Duration::from_millis(200);

/// What the loop hands over.
pub(super) enum Message {
    /// The whole frame of a step.
    Frame(Vec<u8>),
    /// A new segment, the first of the stream `epoch`.
    Start { epoch: u64, first: First },
}

/// The first entry of a segment.
pub(super) enum First {
    /// A frame.
    Begun(Vec<u8>),
    /// A state; encoded here, as it may be large.
    Restored(Box<RestoredV1>),
}

/// What both sides know. The three epochs say in which stream something happened last.
#[derive(Default)]
pub(super) struct Shared {
    pub failed: AtomicU64,
    pub retry: AtomicU64,
    pub full: AtomicU64,
    pub queued_bytes: AtomicUsize,
    pub why: Mutex<Box<str>>,
    pub steps_lost: AtomicU64,
    entries: AtomicU64,
    bytes_written: AtomicU64,
    failures: AtomicU64,
    segments: AtomicU64,
    bytes_on_disk: AtomicU64,
    segments_dropped: AtomicU64,
}

impl Shared {
    pub(super) fn status(&self, state: State) -> Status {
        Status {
            state,
            entries: self.entries.load(Ordering::Relaxed),
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
            steps_lost: self.steps_lost.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            segments: self.segments.load(Ordering::Relaxed),
            bytes_on_disk: self.bytes_on_disk.load(Ordering::Relaxed),
            segments_dropped: self.segments_dropped.load(Ordering::Relaxed),
        }
    }
}

pub(super) struct Writer {
    files: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
    options: Options,
    shared: Arc<Shared>,
    epoch: u64,
    current: Option<Current>,
    /// Sizes of the segments on disk by number; `None` until the folder was looked at.
    segments: Option<BTreeMap<u64, u64>>,
    batch: Vec<u8>,
    batched: u64,
    retry_at_ms: Option<u64>,
}

struct Current {
    file: Box<dyn Append>,
    path: PathBuf,
    number: u64,
    /// Bytes known to be written: the end of a whole frame.
    bytes: u64,
    synced_at_ms: u64,
    synced: bool,
}

impl Writer {
    pub(super) fn new(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        options: Options,
        shared: Arc<Shared>,
    ) -> Writer {
        Writer {
            files,
            clock,
            options,
            shared,
            epoch: 0,
            current: None,
            segments: None,
            batch: Vec::new(),
            batched: 0,
            retry_at_ms: None,
        }
    }

    /// Writes until the other side is gone.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        loop {
            match messages.recv_timeout(TICK) {
                Ok(message) => {
                    self.take(message);
                    std::thread::sleep(GATHER);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while let Ok(message) = messages.try_recv() {
                self.take(message);
            }
            self.flush();
            self.tick();
        }
        self.finish();
    }

    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Frame(frame) => {
                let bytes = frame.len();
                if self.current.is_some() {
                    self.batched += 1;
                    if self.batch.is_empty() {
                        self.batch = frame;
                    } else {
                        self.batch.extend_from_slice(&frame);
                    }
                    if self.batch.len() >= BATCH_BYTES {
                        self.flush();
                    }
                } else {
                    self.shared.steps_lost.fetch_add(1, Ordering::Relaxed);
                }
                self.release(bytes);
            }
            Message::Start { epoch, first } => {
                self.flush();
                self.sync();
                self.epoch = epoch;
                self.retry_at_ms = None;
                self.current = None;
                if let Err(error) = self.start(first) {
                    self.fail(&error);
                }
            }
        }
    }

    /// The queue is that much shorter. Inline writers have no queue.
    fn release(&self, bytes: usize) {
        let queued = &self.shared.queued_bytes;
        let _ = queued.fetch_update(Ordering::AcqRel, Ordering::Acquire, |queued| {
            Some(queued.saturating_sub(bytes))
        });
    }

    /// Writes what was gathered.
    pub(super) fn flush(&mut self) {
        let waits = is_planted(Mistake::JournalWaits) && self.batch.len() < BATCH_BYTES;
        if self.batch.is_empty() || waits {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let batched = std::mem::take(&mut self.batched);
        match self.append(&batch) {
            Ok(()) => {
                self.shared.entries.fetch_add(batched, Ordering::Relaxed);
            }
            Err(error) => {
                self.shared.steps_lost.fetch_add(batched, Ordering::Relaxed);
                self.fail(&error);
            }
        }
        if batch.capacity() <= 2 * BATCH_BYTES {
            self.batch = batch;
            self.batch.clear();
        }
    }

    /// Does what is due by the clock.
    pub(super) fn tick(&mut self) {
        let now = self.clock.now_ms();
        if self.retry_at_ms.is_some_and(|at| now >= at) {
            self.shared.retry.store(self.epoch, Ordering::Release);
        }
        let sync_ms = self.options.sync_ms;
        let due = |c: &Current| !c.synced && now.saturating_sub(c.synced_at_ms) >= sync_ms;
        if self.current.as_ref().is_some_and(due) {
            self.sync();
        }
    }

    /// Writes and syncs everything.
    pub(super) fn finish(&mut self) {
        self.flush();
        self.sync();
        self.current = None;
    }

    fn sync(&mut self) {
        let now = self.clock.now_ms();
        let Some(current) = self.current.as_mut().filter(|current| !current.synced) else {
            return;
        };
        current.synced_at_ms = now;
        match current.file.sync() {
            Ok(()) => current.synced = true,
            Err(error) => self.fail(&error),
        }
    }

    fn start(&mut self, first: First) -> io::Result<()> {
        let mut bytes = Vec::new();
        codec::push_header(&mut bytes, &Header::current());
        match first {
            First::Begun(frame) => bytes.extend_from_slice(&frame),
            First::Restored(restored) => codec::push_restored(&mut bytes, &restored)?,
        }
        let number = self.segments()?.keys().next_back().copied().unwrap_or(0) + 1;
        self.make_room(bytes.len() as u64)?;
        let path = self.options.folder.join(segment_name(number));
        let file = self.files.append(&path, OWNER_ONLY)?;
        // Its name; what is in it follows ([`Writer::sync`]).
        self.files.sync(&path)?;
        let synced_at_ms = self.clock.now_ms();
        self.current = Some(Current { file, path, number, bytes: 0, synced_at_ms, synced: true });
        self.append(&bytes)?;
        self.shared.entries.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.make_room(bytes.len() as u64)?;
        let Some(current) = &mut self.current else { return Ok(()) };
        current.file.write_all(bytes)?;
        current.file.flush()?;
        current.synced = false;
        current.bytes += bytes.len() as u64;
        let (number, size) = (current.number, current.bytes);
        if let Some(segments) = &mut self.segments {
            segments.insert(number, size);
        }
        self.shared.bytes_written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if size >= self.options.segment_bytes {
            self.shared.full.store(self.epoch, Ordering::Release);
        }
        self.count_segments();
        Ok(())
    }

    /// Drops the oldest segments until `more` bytes fit.
    fn make_room(&mut self, more: u64) -> io::Result<()> {
        let (keep, held) = match &self.current {
            Some(current) => (Some(current.number), current.bytes),
            None => (None, 0),
        };
        let max = self.options.total_bytes_max;
        if held + more > max {
            // Dropping the others would not help.
            let text = format!("one segment would pass the bound of {max} bytes");
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        loop {
            let segments = self.segments()?;
            let total: u64 = segments.values().sum();
            let oldest = segments.keys().next().copied().filter(|n| Some(*n) != keep);
            let Some(oldest) = oldest.filter(|_| total + more > max) else { return Ok(()) };
            self.files.remove(&self.options.folder.join(segment_name(oldest)))?;
            if let Some(segments) = &mut self.segments {
                segments.remove(&oldest);
            }
            self.shared.segments_dropped.fetch_add(1, Ordering::Relaxed);
            self.count_segments();
        }
    }

    /// The segments on disk; looks at the folder the first time.
    fn segments(&mut self) -> io::Result<&BTreeMap<u64, u64>> {
        if self.segments.is_none() {
            let folder = &self.options.folder;
            self.files.create_dir(folder, FOLDER_MODE)?;
            let mut found = BTreeMap::new();
            for name in self.files.list(folder)? {
                if let Some(number) = segment_number(&name) {
                    found.insert(number, self.files.length(&folder.join(&name))?);
                }
            }
            self.segments = Some(found);
        }
        Ok(self.segments.get_or_insert_default())
    }

    fn count_segments(&self) {
        let segments = self.segments.iter().flatten();
        let (mut count, mut bytes) = (0, 0);
        for (_, size) in segments {
            count += 1;
            bytes += size;
        }
        self.shared.segments.store(count, Ordering::Relaxed);
        self.shared.bytes_on_disk.store(bytes, Ordering::Relaxed);
    }

    /// Gives the current segment up: what is whole stays, and a new one is tried later.
    fn fail(&mut self, error: &io::Error) {
        self.batch.clear();
        self.batched = 0;
        if let Some(Current { file, path, number, bytes, .. }) = self.current.take() {
            drop(file);
            // Both at best: the reader drops a torn tail anyway.
            if bytes == 0 {
                let _ = self.files.remove(&path);
                if let Some(segments) = &mut self.segments {
                    segments.remove(&number);
                }
            } else {
                let _ = self.files.truncate(&path, bytes);
            }
        }
        self.count_segments();
        *self.shared.why.lock() = error.to_string().into();
        self.shared.failures.fetch_add(1, Ordering::Relaxed);
        self.retry_at_ms = Some(self.clock.now_ms().saturating_add(self.options.retry_ms));
        self.shared.failed.store(self.epoch, Ordering::Release);
    }
}

/// The file name of a segment.
#[must_use]
pub fn segment_name(number: u64) -> String {
    format!("journal-{number:08}.tgj")
}

/// The number in the file name of a segment.
#[must_use]
pub fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("journal-")?.strip_suffix(".tgj")?;
    let plain = digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}
