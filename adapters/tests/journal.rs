//! The journal through its boundary: steps in, segments on disk, replay out.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidegate::decode::{Decoded, object_from};
use tidegate::journal::codec::{self, EntryV1, InputV1};
use tidegate::journal::print::{Output, ReplayArgs, Steps, run_replay};
use tidegate::journal::reader::{ReadError, Segment, StartAt, segments};
use tidegate::journal::replay::{AfterDifference, ReplayOptions, Report, replay};
use tidegate::journal::{Journal, Options, State, Writing, text};
use tidegate::os::files::OsFiles;
use tidegate::ports::{Append, BoxFuture, Clock, Files, Job, Lock};
use tidegate::vault::Vault;
use tidegate_core::action::{Action, ActionBody, MapId};
use tidegate_core::applied::{Admin, RunningServer};
use tidegate_core::capability::Capabilities;
use tidegate_core::controller::{Controller, Step};
use tidegate_core::digest::Digest;
use tidegate_core::event::{
    Ack, Event, Observed, ObservedBackend, ObservedServer, Outcome, WorkerId,
};
use tidegate_core::settings::Settings;
use tidegate_core::time::Time;
use tidegate_core::world::object::*;

const WALL: u64 = 1_700_000_000_000;

/// A clock that tests move.
#[derive(Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
    fn unix_s(&self) -> u64 {
        WALL / 1000
    }
}

/// The machine's files, except that appending may fail, or hang.
#[derive(Default)]
struct Disk {
    full: AtomicBool,
    hangs: AtomicBool,
}

struct DiskFile {
    inner: Box<dyn Append>,
    disk: Arc<Disk>,
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while self.disk.hangs.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.disk.full.load(Ordering::SeqCst) {
            // Half of it goes through, as on a real disk.
            if bytes.len() > 1 {
                return self.inner.write(bytes.get(..bytes.len() / 2).unwrap_or_default());
            }
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.inner.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Append for DiskFile {
    fn sync(&mut self) -> io::Result<()> {
        self.inner.sync()
    }
}

struct DiskFiles(Arc<Disk>);

impl Files for DiskFiles {
    fn append(&self, path: &Path, mode: u32) -> io::Result<Box<dyn Append>> {
        let inner = OsFiles.append(path, mode)?;
        Ok(Box::new(DiskFile { inner, disk: self.0.clone() }))
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        OsFiles.read(path)
    }
    fn write(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        OsFiles.write(path, content, mode)
    }
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn Write + Send>> {
        OsFiles.create(path, mode)
    }
    fn sync(&self, path: &Path) -> io::Result<()> {
        OsFiles.sync(path)
    }
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        OsFiles.truncate(path, length)
    }
    fn length(&self, path: &Path) -> io::Result<u64> {
        OsFiles.length(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsFiles.remove(path)
    }
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        OsFiles.create_dir(path, mode)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        OsFiles.remove_dir_all(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        OsFiles.list(path)
    }
    fn point(&self, link: &Path, target: &Path) -> io::Result<()> {
        OsFiles.point(link, target)
    }
    fn pointee(&self, link: &Path) -> io::Result<PathBuf> {
        OsFiles.pointee(link)
    }
    fn share(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFiles.share(from, to)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        OsFiles.lock(path)
    }
    fn offload(&self, job: Job) -> BoxFuture<'_, ()> {
        OsFiles.offload(job)
    }
}

fn meta(namespace: &str, name: &str) -> Meta {
    Meta {
        name: Name::new(namespace, name),
        uid: "".into(),
        created: 0,
        generation: 1,
        annotations: Vec::new(),
        notes: Vec::new(),
    }
}

fn class() -> Object {
    Object::IngressClass(Arc::new(IngressClass {
        meta: meta("", "tidegate"),
        controller: "tidegate.io/ingress-controller".into(),
        is_default: false,
    }))
}

fn ingress(name: &str, annotations: &[(&str, &str)]) -> Object {
    let mut meta = meta("default", name);
    meta.annotations = annotations.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let backend = BackendRef::Service { name: name.into(), port: PortRef::Number(80) };
    let path = tidegate_core::world::object::Path {
        path: "/".into(),
        path_type: PathType::Prefix,
        backend,
    };
    let host: Box<str> = format!("{name}.example.com").into();
    Object::Ingress(Arc::new(Ingress {
        meta,
        class: Some("tidegate".into()),
        default_backend: None,
        rules: vec![Rule { host, paths: vec![path] }],
        tls: Vec::new(),
        status: Vec::new(),
    }))
}

fn service(name: &str) -> Object {
    Object::Service(Arc::new(Service {
        meta: meta("default", name),
        source: ServiceSource::Slices,
        ports: vec![ServicePort {
            name: "http".into(),
            port: 80,
            app_protocol: None,
            node_port: None,
        }],
        local_traffic: false,
        addresses: Vec::new(),
    }))
}

fn external(name: &str, target: &str) -> Object {
    Object::Service(Arc::new(Service {
        meta: meta("default", name),
        source: ServiceSource::ExternalName(target.into()),
        ports: vec![ServicePort {
            name: "http".into(),
            port: 80,
            app_protocol: None,
            node_port: None,
        }],
        local_traffic: false,
        addresses: Vec::new(),
    }))
}

fn slice(service: &str, last_bytes: &[u8]) -> Object {
    let endpoint = |last: &u8| Endpoint {
        address: [10, 0, 0, *last].into(),
        ready: true,
        serving: true,
        terminating: false,
    };
    Object::EndpointSlice(Arc::new(EndpointSlice {
        meta: meta("default", &format!("{service}-1")),
        service: service.into(),
        ports: vec![SlicePort { name: "http".into(), port: Some(8080) }],
        endpoints: last_bytes.iter().map(endpoint).collect(),
        nodes: Vec::new(),
    }))
}

/// A controller whose every action is answered, with its journal.
struct Driven {
    controller: Controller,
    journal: Journal,
    now: u64,
    worker: u64,
    refuse: bool,
    checkpoints: u32,
}

impl Driven {
    fn new(mut journal: Journal) -> Driven {
        let mut settings = Settings::documented("/tmp/state");
        settings.external_names = true;
        journal.begin(&settings, Time(0), WALL);
        let controller = Controller::new(settings, Time(0));
        let mut driven =
            Driven { controller, journal, now: 0, worker: 0, refuse: false, checkpoints: 0 };
        let objects = [class(), ingress("shop", &[]), service("shop"), slice("shop", &[1, 2])];
        let mut events = vec![Event::ProxyFound(Capabilities::tier_a())];
        for kind in Kind::ALL {
            let of_kind = objects.iter().filter(|o| o.kind() == kind).cloned().collect();
            events.push(Event::Relisted { kind, objects: of_kind });
        }
        driven.drive(events);
        driven
    }

    fn upsert(&mut self, object: Object) {
        self.drive(vec![Event::Upserted(object)]);
    }

    fn step(&mut self, events: Vec<Event>) -> Step {
        let now = Time(self.now);
        self.journal.before(now, WALL + self.now, &events);
        let step = self.controller.step(now, events);
        self.journal.after(&step);
        if self.journal.wants_checkpoint()
            && let Some(checkpoint) = self.controller.checkpoint()
        {
            self.journal.checkpoint(checkpoint);
            self.checkpoints += 1;
        }
        step
    }

    /// Steps and answers until nothing is left to do, for ten seconds of its time.
    fn drive(&mut self, events: Vec<Event>) {
        let mut step = self.step(events);
        let end = self.now + 10_000;
        for steps in 0.. {
            assert!(steps < 1000, "it never rests: {:#?}", step.actions);
            let acks = self.answer(&step);
            self.now += 1;
            if !acks.is_empty() {
                step = self.step(acks);
                continue;
            }
            let Some(wake) = step.wake_at.filter(|w| w.at.0 <= end) else { break };
            self.now = self.now.max(wake.at.0);
            step = self.step(vec![Event::Ticked]);
        }
    }

    fn answer(&mut self, step: &Step) -> Vec<Event> {
        let mut acks = Vec::new();
        for Action { id, body } in &step.actions {
            let (count, worker) = match body {
                ActionBody::Runtime { commands, .. } => (commands.len(), None),
                ActionBody::Reload { .. } => {
                    self.worker += 1;
                    (1, Some(WorkerId(self.worker)))
                }
                ActionBody::ReadBack { worker } => {
                    let state = Box::new(self.read_back());
                    acks.push(Event::Observed { worker: *worker, state });
                    (1, None)
                }
                ActionBody::Save { .. }
                | ActionBody::Check { .. }
                | ActionBody::CheckSnippet { .. } => (1, None),
                ActionBody::ResolveNames { .. }
                | ActionBody::FollowSecrets { .. }
                | ActionBody::Relist { .. }
                | ActionBody::Tell(_) => continue,
            };
            let mut outcomes = vec![Outcome::Done; count];
            if let (true, Some(first)) = (std::mem::take(&mut self.refuse), outcomes.first_mut()) {
                *first = Outcome::Refused("no such thing".into());
            }
            acks.push(Event::Acked(Ack { id: *id, outcomes, worker }));
        }
        acks
    }

    /// What a worker would show that did all it was told.
    fn read_back(&self) -> Observed {
        let Some(running) = self.controller.running() else { return Observed::default() };
        let map = |id: &MapId| {
            let entries = running.map(*id).iter();
            (*id, entries.map(|(k, v)| ((**k).into(), (*v.value).into())).collect())
        };
        let server = |server: RunningServer| ObservedServer {
            slot: server.slot,
            address: Some(server.address),
            ready: server.state == Admin::Ready,
        };
        let backends = running.backends.iter().map(|(_, backend)| ObservedBackend {
            name: (*backend.physical).into(),
            servers: backend.servers.iter().map(server).collect(),
        });
        Observed {
            skeleton: (*running.skeleton).into(),
            maps: MapId::ALL.iter().map(map).collect(),
            backends: backends.collect(),
            ..Observed::default()
        }
    }

    /// Some life: applications come, change and go, a command is refused, a name is resolved.
    fn live(&mut self, rounds: u8) {
        for round in 1..=rounds {
            let name = format!("app-{}", round % 5);
            self.upsert(service(&name));
            self.upsert(slice(&name, &[round, round.wrapping_add(1)]));
            self.upsert(ingress(&name, &[("tidegate.io/timeout-server", "30s")]));
            self.refuse = round % 4 == 0;
            self.upsert(slice("shop", &[1, round]));
            self.upsert(external("far", &format!("far-{}.example.net", round % 2)));
            self.upsert(ingress("far", &[]));
            self.drive(vec![Event::Resolved {
                name: "far-1.example.net".into(),
                addresses: vec![[192, 0, 2, round].into()],
            }]);
            if round % 3 == 0 {
                let gone = ObjectRef::new(Kind::Ingress, "default", &name);
                self.drive(vec![Event::Deleted(gone)]);
            }
        }
    }
}

fn options(folder: &Path) -> Options {
    let documented = Options::documented(folder.to_owned());
    Options { writing: Writing::Inline, ..documented }
}

fn inline(folder: &Path) -> io::Result<Journal> {
    Journal::open(Arc::new(OsFiles), Arc::new(Hand::default()), options(folder))
}

fn replayed(path: &Path, from: StartAt) -> Report {
    let options = ReplayOptions { from, ..ReplayOptions::default() };
    replay(&OsFiles, path, &options, &mut |_| Ok(())).unwrap()
}

fn one_segment(folder: &Path) -> PathBuf {
    let mut all = segments(&OsFiles, folder, StartAt::Oldest).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Offsets of all frames, and the end.
fn offsets(path: &Path) -> Vec<usize> {
    let mut segment = Segment::open(&OsFiles, path).unwrap();
    let mut offsets = Vec::new();
    while let Some((offset, _)) = segment.next_entry().unwrap() {
        offsets.push(offset as usize);
    }
    assert_eq!(segment.torn(), None);
    offsets.push(std::fs::metadata(path).unwrap().len() as usize);
    offsets
}

/// Reads a copy of a segment with other bytes: number of entries and of torn bytes.
fn read_altered(bytes: &[u8]) -> Result<(usize, u64), ReadError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let mut segment = Segment::open(&OsFiles, file.path())?;
    let mut entries = 0;
    while segment.next_entry()?.is_some() {
        entries += 1;
    }
    Ok((entries, segment.torn().map_or(0, |torn| torn.bytes)))
}

fn every_event() -> Vec<Event> {
    let observed = Observed { skeleton: "ab".into(), ..Observed::default() };
    vec![
        Event::Upserted(slice("shop", &[1, 2, 3])),
        Event::Deleted(ObjectRef::new(Kind::Secret, "a", "b")),
        Event::Relisted { kind: Kind::Ingress, objects: vec![ingress("shop", &[("k", "v")])] },
        Event::SourceProblems(vec![]),
        Event::Resolved { name: "x".into(), addresses: vec![[1, 2, 3, 4].into()] },
        Event::ProxyFound(Capabilities::tier_b()),
        Event::WorkerSeen(WorkerId(7)),
        Event::WorkerLost(WorkerId(u64::MAX)),
        Event::Observed { worker: WorkerId(1), state: Box::new(observed) },
        Event::Acked(Ack {
            id: tidegate_core::action::ActionId(300),
            outcomes: vec![Outcome::Done, Outcome::Refused("why".into()), Outcome::Unknown],
            worker: None,
        }),
        Event::Ticked,
    ]
}

#[test]
fn every_event_comes_back_as_it_went_in() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut journal = inline(folder.path())?;
    let settings = Settings::documented("/s");
    journal.begin(&settings, Time(5), WALL);
    let events = every_event();
    journal.before(Time(6), WALL, &events);
    journal.after(&Step::default());
    // The process ends within this one.
    journal.before(Time(7), WALL, &events[..1]);
    journal.close();
    let mut segment = Segment::open(&OsFiles, &one_segment(folder.path())).unwrap();
    let mut entries = Vec::new();
    while let Some((_, entry)) = segment.next_entry().unwrap() {
        entries.push(entry);
    }
    let [EntryV1::Begun(begun), EntryV1::Stepped(first), EntryV1::Stepped(last)] =
        entries.as_slice()
    else {
        panic!("{entries:?}")
    };
    assert_eq!((&begun.settings, begun.now), (&settings, Time(5)));
    assert_eq!(first.input, InputV1 { seq: 1, now: Time(6), wall_unix_ms: WALL, events });
    assert_eq!(first.output.map(|o| o.actions), Some(0));
    assert_eq!((last.input.seq, last.output), (2, None));
    Ok(())
}

#[test]
fn a_replay_is_identical_and_a_changed_outcome_is_named() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut driven = Driven::new(inline(folder.path())?);
    driven.live(8);
    let chain = driven.journal.chain().hex();
    drop(driven);
    let report = replayed(folder.path(), StartAt::Oldest);
    assert!(report.is_identical(), "{report:#?}");
    assert_eq!((report.chain_recorded, report.chain_computed), (chain.clone(), chain));
    assert!(report.actions > 20 && report.steps > 50, "{} {}", report.actions, report.steps);

    // The same journal, except that one outcome claims something else.
    let path = one_segment(folder.path());
    let bytes = std::fs::read(&path)?;
    let at = offsets(&path)[20];
    let frame = codec::frame(&bytes[at..]).unwrap();
    let EntryV1::Stepped(mut stepped) = codec::entry(frame.payload).unwrap() else { panic!() };
    stepped.output.as_mut().unwrap().digest = Digest::of(b"something else");
    let mut altered = bytes[..at].to_vec();
    let InputV1 { seq, now, wall_unix_ms, events } = stepped.input;
    let mut other = Vec::new();
    codec::push_input(&mut other, seq, now, wall_unix_ms, &events)?;
    codec::push_output(&mut other, stepped.output)?;
    altered.extend_from_slice(&other);
    altered.extend_from_slice(&bytes[at + frame.length..]);
    let file = folder.path().join("altered");
    std::fs::write(&file, altered)?;
    let report = replayed(&file, StartAt::Oldest);
    assert_eq!(report.difference.map(|d| (d.seq, d.now)), Some((seq, now)));
    assert_eq!(report.last_seq, seq, "it stops there");
    Ok(())
}

#[test]
fn a_tail_torn_at_any_byte_is_dropped_and_reported() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    Driven::new(inline(folder.path())?).live(1);
    let path = one_segment(folder.path());
    let bytes = std::fs::read(&path)?;
    let offsets = offsets(&path);
    let frames = offsets.len() - 1;
    let (last, end) = (offsets[frames - 1], offsets[frames]);
    for cut in last..end {
        let got = read_altered(&bytes[..cut]).unwrap();
        assert_eq!(got, (frames - 1, (cut - last) as u64), "cut at {cut}");
        // As a power loss may leave it: the length is there, the content is not.
        let mut zeros = bytes[..cut].to_vec();
        zeros.resize(end + 4096, 0);
        let (entries, torn) = read_altered(&zeros).unwrap();
        assert!(entries >= frames - 1 && torn > 0, "zeros from {cut}: {entries} {torn}");
    }
    for cut in 0..offsets[0] {
        assert_eq!(read_altered(&bytes[..cut]).unwrap(), (0, cut as u64), "cut at {cut}");
    }
    Ok(())
}

#[test]
fn a_flipped_bit_in_the_middle_is_an_error_that_names_its_place() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    Driven::new(inline(folder.path())?).live(2);
    let path = one_segment(folder.path());
    let bytes = std::fs::read(&path)?;
    let offsets = offsets(&path);
    let frames = offsets.len() - 1;
    // Every bit of the head of some frames, and one bit of each byte of their payload.
    for frame in (frames / 4)..(frames / 4 + 4) {
        let (start, end) = (offsets[frame], offsets[frame + 1]);
        for at in start..end {
            let bits = if at < start + codec::FRAME_HEADER_BYTES { 0..8 } else { 3..4 };
            for bit in bits {
                let mut altered = bytes.clone();
                altered[at] ^= 1 << bit;
                match read_altered(&altered) {
                    Err(ReadError::Corrupt { offset, .. }) => {
                        assert_eq!(offset, start as u64, "byte {at} bit {bit}");
                    }
                    other => panic!("byte {at} bit {bit}: {other:?}"),
                }
            }
        }
    }
    let mut altered = bytes;
    altered[0] ^= 1;
    assert!(matches!(read_altered(&altered), Err(ReadError::Header { .. })));
    Ok(())
}

#[test]
fn old_segments_are_dropped_and_a_replay_from_any_checkpoint_gives_the_same_chain() -> io::Result<()>
{
    let folder = tempfile::tempdir()?;
    let segment_bytes = 8 * 1024;
    let small = Options { segment_bytes, ..options(folder.path()) };
    let journal = Journal::open(Arc::new(OsFiles), Arc::new(Hand::default()), small)?;
    let mut driven = Driven::new(journal);
    driven.live(30);
    let (chain, checkpoints) = (driven.journal.chain().hex(), driven.checkpoints);
    assert_eq!(driven.journal.status().state, State::Writing);
    drop(driven);
    assert!(checkpoints > 3, "{checkpoints}");
    let all = segments(&OsFiles, folder.path(), StartAt::Oldest).unwrap();
    let whole = replayed(folder.path(), StartAt::Oldest);
    assert!(whole.is_identical(), "{whole:#?}");
    assert_eq!((&whole.chain_computed, whole.states_equal), (&chain, u64::from(checkpoints)));
    for number in 1..=all.len() as u64 {
        let report = replayed(folder.path(), StartAt::Segment(number));
        assert!(report.is_identical(), "from {number}: {report:#?}");
        assert_eq!((&report.chain_computed, report.gaps), (&chain, 0), "from {number}");
    }

    // The same life within a bound of a few segments.
    let folder = tempfile::tempdir()?;
    let total_bytes_max = 5 * segment_bytes;
    let bounded = Options { segment_bytes, total_bytes_max, ..options(folder.path()) };
    let journal = Journal::open(Arc::new(OsFiles), Arc::new(Hand::default()), bounded)?;
    let mut driven = Driven::new(journal);
    driven.live(30);
    let status = driven.journal.status();
    assert_eq!((status.state, status.steps_lost), (State::Writing, 0));
    assert!(status.segments_dropped > 0);
    drop(driven);
    let sizes = segments(&OsFiles, folder.path(), StartAt::Oldest).unwrap();
    let total: u64 = sizes.iter().map(|path| OsFiles.length(path).unwrap()).sum();
    assert!(total <= total_bytes_max, "{total}");
    assert_eq!(total, status.bytes_on_disk);
    for from in [StartAt::Oldest, StartAt::Newest] {
        let report = replayed(folder.path(), from);
        assert!(report.is_identical() && report.begun == 0, "{report:#?}");
        assert_eq!(report.chain_computed, chain);
    }
    Ok(())
}

#[test]
fn a_full_disk_stops_the_journal_and_nothing_else() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let (disk, hand) = (Arc::new(Disk::default()), Arc::new(Hand::default()));
    let files = Arc::new(DiskFiles(disk.clone()));
    let journal = Journal::open(files, hand.clone(), options(folder.path()))?;
    let mut driven = Driven::new(journal);
    driven.live(1);
    disk.full.store(true, Ordering::SeqCst);
    driven.live(2);
    assert!(driven.controller.is_quiet(), "serving goes on");
    let status = driven.journal.status();
    assert!(matches!(&status.state, State::Failed(why) if !why.is_empty()), "{status:?}");
    assert!(status.steps_lost > 0 && status.failures == 1 && driven.checkpoints == 0);
    // A try that fails leaves nothing behind.
    hand.0.fetch_add(10_000, Ordering::SeqCst);
    driven.live(1);
    assert_eq!((driven.journal.status().failures, driven.checkpoints), (2, 1));
    assert_eq!(driven.journal.status().segments, 1);
    // Space again: the next try succeeds.
    disk.full.store(false, Ordering::SeqCst);
    driven.live(1);
    assert_eq!(driven.checkpoints, 1, "not before ten seconds have passed");
    hand.0.fetch_add(10_000, Ordering::SeqCst);
    driven.live(3);
    assert_eq!((driven.checkpoints, driven.journal.status().state), (2, State::Writing));
    drop(driven);
    let report = replayed(folder.path(), StartAt::Oldest);
    assert!(report.is_identical() && report.torn.is_empty(), "{report:#?}");
    assert_eq!((report.gaps, report.segments), (1, 2));
    Ok(())
}

#[test]
fn a_disk_that_hangs_never_holds_the_loop_up() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let disk = Arc::new(Disk::default());
    let files = Arc::new(DiskFiles(disk.clone()));
    let options = Options {
        queue_bytes_max: 4096,
        queue_entries_max: 16,
        ..Options::documented(folder.path().to_owned())
    };
    let journal = Journal::open(files, Arc::new(Hand::default()), options)?;
    let mut driven = Driven::new(journal);
    disk.hangs.store(true, Ordering::SeqCst);
    driven.live(3);
    assert_eq!(driven.journal.status().state, State::Overflowed);
    assert!(driven.journal.status().steps_lost > 0);
    disk.hangs.store(false, Ordering::SeqCst);
    let patience = Instant::now() + Duration::from_secs(20);
    while driven.journal.status().state != State::Writing || driven.checkpoints == 0 {
        assert!(Instant::now() < patience, "{:?}", driven.journal.status());
        driven.drive(vec![Event::Ticked]);
        std::thread::sleep(Duration::from_millis(1));
    }
    driven.upsert(slice("shop", &[77]));
    drop(driven);
    let report = replayed(folder.path(), StartAt::Oldest);
    assert!(report.is_identical() && report.gaps > 0, "{report:#?}");
    Ok(())
}

#[test]
fn no_byte_of_a_secret_is_in_the_journal() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let vault = Vault::new([7; 32]);
    let made = rcgen::generate_simple_self_signed(["shop.example.com".to_owned()]).unwrap();
    let encode = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    let canary = "CANARY-7f3a";
    let key = made.signing_key.serialize_pem();
    let secret = |name: &str, crt: &str, key: &str| {
        let text = format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"default","annotations":
               {{"kubectl.kubernetes.io/last-applied-configuration":"{canary}"}}}},
               "type":"kubernetes.io/tls",
               "data":{{"tls.crt":"{}","tls.key":"{}","password":"{}"}}}}"#,
            encode(crt),
            encode(key),
            encode(canary)
        );
        let mut reader = serde_json::Deserializer::from_str(&text);
        match object_from(Kind::Secret, &mut reader, &vault) {
            Ok(Decoded::Object(object)) => object,
            _ => panic!("the Secret was not decoded"),
        }
    };
    let mut driven = Driven::new(inline(folder.path())?);
    driven.upsert(secret("good", &made.cert.pem(), &key));
    driven.upsert(secret("bad", canary, canary));
    driven.upsert(secret("bad-key", &made.cert.pem(), &format!("{key}{canary}")));
    drop(driven);
    let bytes = std::fs::read(one_segment(folder.path()))?;
    let holds = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    assert!(holds(b"shop.example.com"), "the Secret is in it");
    for secret in [canary, &encode(canary), "PRIVATE KEY", "BEGIN CERT"] {
        assert!(!holds(secret.as_bytes()), "{secret}");
    }
    for line in key.lines().filter(|line| !line.starts_with('-')) {
        assert!(!holds(line.as_bytes()));
        use base64::Engine as _;
        let raw = base64::engine::general_purpose::STANDARD.decode(line).unwrap_or_default();
        assert!(raw.len() < 8 || !holds(&raw));
    }
    Ok(())
}

/// What the golden journal's replay does, as text.
fn golden_text(path: &Path) -> String {
    let mut out = String::new();
    let options =
        ReplayOptions { after_difference: AfterDifference::GoOn, ..ReplayOptions::default() };
    let report = replay(&OsFiles, path, &options, &mut |replayed| {
        out.push_str(&format!("step {}\n", replayed.input.seq));
        for event in &replayed.input.events {
            out.push_str(&format!("  event: {}\n", text::event(event)));
        }
        for action in &replayed.step.actions {
            out.push_str(&format!("  {}\n", text::action(action).replace('\n', "\n  ")));
        }
        Ok(())
    })
    .unwrap();
    out.push_str(&format!("{} steps, {} events\n", report.steps, report.events));
    out
}

/// At stake: journals of users stay readable. The journal is frozen for ever; what replaying it
/// does may change with the core, and the change is reviewed as a difference of the text file
/// (write it anew with `TIDEGATE_BLESS=1`, which also records a journal if there is none).
#[test]
fn the_golden_journal_is_readable_and_replays_to_the_reviewed_text() -> io::Result<()> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let (golden, reviewed) = (data.join("golden-v3.tgj"), data.join("golden-v3.txt"));
    let bless = std::env::var_os("TIDEGATE_BLESS").is_some();
    if bless && !golden.exists() {
        let folder = tempfile::tempdir()?;
        let mut driven = Driven::new(inline(folder.path())?);
        driven.live(4);
        let _ = driven.step(every_event());
        drop(driven);
        std::fs::create_dir_all(&data)?;
        std::fs::copy(one_segment(folder.path()), &golden)?;
    }
    let text = golden_text(&golden);
    if bless {
        std::fs::write(&reviewed, &text)?;
    }
    let expected = std::fs::read_to_string(&reviewed)?;
    for (number, (got, wanted)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(got, wanted, "line {} of {}", number + 1, reviewed.display());
    }
    assert_eq!(text.lines().count(), expected.lines().count());
    Ok(())
}

const REPLAY_THIS: &str = "TIDEGATE_TEST_REPLAY";

/// The other process of the test below; alone it has nothing to do.
#[test]
fn other_process() {
    if let Some(path) = std::env::var_os(REPLAY_THIS) {
        let report = replayed(Path::new(&path), StartAt::Oldest);
        println!("chain={} identical={}", report.chain_computed, report.is_identical());
    }
}

#[test]
fn another_process_replays_to_the_same_chain() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut driven = Driven::new(inline(folder.path())?);
    driven.live(6);
    let wanted = format!("chain={} identical=true", driven.journal.chain());
    drop(driven);
    let other = std::process::Command::new(std::env::current_exe()?)
        .args(["other_process", "--exact", "--nocapture"])
        .env(REPLAY_THIS, folder.path())
        .env("TZ", "Asia/Kathmandu")
        .output()?;
    let text = String::from_utf8_lossy(&other.stdout);
    assert!(text.contains(&wanted), "wanted {wanted}, got {text}");
    Ok(())
}

#[test]
fn why_names_event_fact_piece_and_key() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut driven = Driven::new(inline(folder.path())?);
    driven.upsert(slice("shop", &[1, 9]));
    drop(driven);
    let mut args = ReplayArgs {
        path: folder.path().to_owned(),
        from: StartAt::Oldest,
        until: None,
        steps: None,
        why: Some("10.0.0.9:8080 10.0.0.9:8080".into()),
        keep_going: false,
        output: Output::Text,
    };
    let print = |args: &ReplayArgs| {
        let mut out = Vec::new();
        run_replay(args, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let text = print(&args);
    for wanted in [
        "add server default_shop_http",
        "event: upserted EndpointSlice default/shop-1",
        "fact: the endpoints of Service default/shop",
        "computed: servers of default_shop_http",
        "identical: chain ",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
    }
    args.why = None;
    args.steps = Some("1..2".parse::<Steps>().unwrap());
    args.until = Some(4);
    args.output = Output::Json;
    let lines: Vec<serde_json::Value> =
        print(&args).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [first, second, report] = lines.as_slice() else { panic!("{lines:#?}") };
    assert_eq!(first["actions"][0]["do"], "reload");
    assert_eq!((&second["step"], &report["identical"]), (&2.into(), &true.into()));
    assert_eq!(report["report"]["steps"], 4);
    Ok(())
}
