//! The journal's format: what an entry holds and how it becomes bytes.
//!
//! In: entries and events. Out: frames, and back. A segment is a header (magic, format number,
//! core's version) and frames; a frame is `length: u32 LE`, `checksum: u32 LE` (CRC-32C of the
//! length and the payload) and a payload, a bincode of [`Logged`]. Not here: files, and when to
//! write.
//!
//! The types with a version in their name are frozen: bincode decodes by position, so an added
//! field or a moved variant would read old journals as something else. A change is a new variant
//! at the end of [`Logged`], never an edit.

use std::io;

use serde::{Deserialize, Serialize};
use tidegate_core::checkpoint::Checkpoint;
use tidegate_core::digest::Digest;
use tidegate_core::event::Event;
use tidegate_core::settings::Settings;
use tidegate_core::time::Time;

/// First bytes of every segment.
pub const MAGIC: [u8; 8] = *b"TIDEGJNL";
/// Number of the format that this code writes, and the only one it reads.
pub const FORMAT: u32 = 3;
/// Length and checksum before each payload, in bytes.
pub const FRAME_HEADER_BYTES: usize = 8;
/// Longest payload, in bytes. A first list of everything is one entry.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 20;
/// What one entry may make the decoder allocate, in bytes.
const DECODE_BYTES_MAX: usize = 1 << 30;
/// Longest version text in a header, in bytes.
const VERSION_BYTES_MAX: usize = 64;

/// The payload of a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Logged {
    /// The first version of entries.
    V1(EntryV1),
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EntryV1 {
    /// A controller was made from nothing: the first entry of a process's first segment.
    Begun(Box<BegunV1>),
    /// The state between two steps: the first entry of every other segment.
    Restored(Box<RestoredV1>),
    /// A step was taken.
    Stepped(SteppedV1),
}

/// A new controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BegunV1 {
    /// Its settings.
    pub settings: Settings,
    /// Its first time.
    pub now: Time,
    /// Wall clock, milliseconds since 1970. For people; replay does not use it.
    pub wall_unix_ms: u64,
}

/// The state of a controller between two steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestoredV1 {
    /// The state.
    pub checkpoint: Checkpoint,
    /// Number of the step that comes next. Larger than the one after the last entry before this
    /// one when steps in between were not recorded.
    pub next_seq: u64,
    /// The chain over the recorded steps so far.
    pub chain: Digest,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SteppedV1 {
    /// What went in.
    pub input: InputV1,
    /// What came out; `None` when the process ended within the step.
    pub output: Option<OutputV1>,
}

/// The arguments of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputV1 {
    /// Number of the step, from 1, counted per process.
    pub seq: u64,
    /// Its time.
    pub now: Time,
    /// Wall clock, milliseconds since 1970. For people; replay does not use it.
    pub wall_unix_ms: u64,
    /// Its events.
    pub events: Vec<Event>,
}

/// The outcome of a step, as far as replay compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputV1 {
    /// Number of actions.
    pub actions: u32,
    /// Problems that appeared.
    pub opened: u32,
    /// Problems that went away.
    pub closed: u32,
    /// [`super::digest::ActionDigest`] of the actions.
    pub digest: Digest,
}

/// [`Logged`], borrowed, up to and with the input of a step.
#[derive(Serialize)]
enum LoggedRef<'a> {
    V1(EntryRef<'a>),
}

/// [`EntryV1`], borrowed. Variants stand where they stand there.
#[derive(Serialize)]
enum EntryRef<'a> {
    Begun(BegunRef<'a>),
    Restored(&'a RestoredV1),
    Stepped(InputRef<'a>),
}

#[derive(Serialize)]
struct BegunRef<'a> {
    settings: &'a Settings,
    now: Time,
    wall_unix_ms: u64,
}

#[derive(Serialize)]
struct InputRef<'a> {
    seq: u64,
    now: Time,
    wall_unix_ms: u64,
    events: &'a [Event],
}

/// The header of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version of tidegate that wrote it. Another one may decide differently.
    pub version: String,
}

impl Header {
    /// That of this code.
    #[must_use]
    pub fn current() -> Header {
        Header { version: env!("CARGO_PKG_VERSION").into() }
    }
}

/// Why bytes are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// They end early.
    #[error("it is cut short")]
    Short,
    /// A length that nothing written by this code has.
    #[error("its length cannot be right")]
    Length,
    /// The checksum does not match.
    #[error("its checksum does not match")]
    Checksum,
    /// Not the first bytes of a segment.
    #[error("it is not a journal")]
    Magic,
    /// Another format.
    #[error("its format {0} is not known to this version")]
    Format(u32),
}

/// A frame that was found whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The payload.
    pub payload: &'a [u8],
    /// Bytes of header and payload.
    pub length: usize,
}

/// Appends the header of a segment.
pub fn push_header(out: &mut Vec<u8>, header: &Header) {
    let version: Vec<u8> = header.version.bytes().take(VERSION_BYTES_MAX).collect();
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&(version.len() as u32).to_le_bytes());
    out.extend_from_slice(&version);
    let sum = crc32c::crc32c(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&sum.to_le_bytes());
}

/// Reads the header of a segment; also returns its length.
///
/// # Errors
/// [`Bad::Short`] when the file ends within it; the others as named.
pub fn header(bytes: &[u8]) -> Result<(Header, usize), Bad> {
    let magic = bytes.get(..MAGIC.len().min(bytes.len())).unwrap_or_default();
    if !MAGIC.starts_with(magic) {
        return Err(Bad::Magic);
    }
    let format = number_at(bytes, 8).ok_or(Bad::Short)?;
    if format != FORMAT {
        return Err(Bad::Format(format));
    }
    let length = number_at(bytes, 12).ok_or(Bad::Short)? as usize;
    if length > VERSION_BYTES_MAX {
        return Err(Bad::Length);
    }
    let version = bytes.get(16..16 + length).ok_or(Bad::Short)?;
    let sum = number_at(bytes, 16 + length).ok_or(Bad::Short)?;
    if crc32c::crc32c(bytes.get(..16 + length).unwrap_or_default()) != sum {
        return Err(Bad::Checksum);
    }
    let version = String::from_utf8_lossy(version).into_owned();
    Ok((Header { version }, 20 + length))
}

/// The frame at the beginning of `bytes`.
///
/// # Errors
/// As named; nothing is allocated.
pub fn frame(bytes: &[u8]) -> Result<Frame<'_>, Bad> {
    let length = number_at(bytes, 0).ok_or(Bad::Short)?;
    let sum = number_at(bytes, 4).ok_or(Bad::Short)?;
    if length == 0 || length as usize > PAYLOAD_BYTES_MAX {
        return Err(Bad::Length);
    }
    let end = FRAME_HEADER_BYTES + length as usize;
    let payload = bytes.get(FRAME_HEADER_BYTES..end).ok_or(Bad::Short)?;
    if checksum(length, payload) != sum {
        return Err(Bad::Checksum);
    }
    Ok(Frame { payload, length: end })
}

/// The entry in a payload.
///
/// # Errors
/// When it was not written by this format, or would take more than a gibibyte of memory.
pub fn entry(payload: &[u8]) -> Result<EntryV1, bincode::error::DecodeError> {
    let config = bincode::config::standard().with_limit::<DECODE_BYTES_MAX>();
    let (logged, used) = bincode::serde::decode_from_slice::<Logged, _>(payload, config)?;
    if used != payload.len() {
        return Err(bincode::error::DecodeError::Other("bytes are left over"));
    }
    match logged {
        Logged::V1(entry) => Ok(entry),
    }
}

/// Appends the frame of a new controller.
///
/// # Errors
/// When it is too long.
pub fn push_begun(
    out: &mut Vec<u8>,
    settings: &Settings,
    now: Time,
    wall_unix_ms: u64,
) -> io::Result<()> {
    let begun = BegunRef { settings, now, wall_unix_ms };
    framed(out, |out| encode(out, &LoggedRef::V1(EntryRef::Begun(begun))))
}

/// Appends the frame of a state.
///
/// # Errors
/// When it is too long.
pub fn push_restored(out: &mut Vec<u8>, restored: &RestoredV1) -> io::Result<()> {
    framed(out, |out| encode(out, &LoggedRef::V1(EntryRef::Restored(restored))))
}

/// Begins the frame of a step, in an empty buffer; [`push_output`] ends it.
///
/// # Errors
/// When it is too long.
pub fn push_input(
    out: &mut Vec<u8>,
    seq: u64,
    now: Time,
    wall_unix_ms: u64,
    events: &[Event],
) -> io::Result<()> {
    out.clear();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    let input = InputRef { seq, now, wall_unix_ms, events };
    encode(out, &LoggedRef::V1(EntryRef::Stepped(input)))
}

/// Ends the frame that [`push_input`] began: the fields of a struct follow each other, so the
/// output can be written when it is known.
///
/// # Errors
/// When the frame is too long.
pub fn push_output(out: &mut Vec<u8>, output: Option<OutputV1>) -> io::Result<()> {
    encode(out, &output)?;
    seal(out, 0)
}

fn encode<T: Serialize>(out: &mut Vec<u8>, value: &T) -> io::Result<()> {
    let config = bincode::config::standard();
    bincode::serde::encode_into_std_write(value, out, config).map_err(io::Error::other)?;
    Ok(())
}

fn framed(
    out: &mut Vec<u8>,
    payload: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    payload(out).and_then(|()| seal(out, start)).inspect_err(|_| out.truncate(start))
}

/// Fills in length and checksum of the frame that begins at `start` and ends the buffer.
fn seal(out: &mut [u8], start: usize) -> io::Result<()> {
    let frame = out.get_mut(start..).unwrap_or_default();
    let Some((head, payload)) = frame.split_first_chunk_mut::<FRAME_HEADER_BYTES>() else {
        return Err(io::Error::other("a frame without a header"));
    };
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(io::Error::other(format!("an entry of {} bytes is too long", payload.len())));
    }
    let length = payload.len() as u32;
    let sum = checksum(length, payload);
    for (to, from) in head.iter_mut().zip(length.to_le_bytes().into_iter().chain(sum.to_le_bytes()))
    {
        *to = from;
    }
    Ok(())
}

/// Covers the length too, so that a tail of zeros, as a power loss leaves it, is no frame.
fn checksum(length: u32, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length.to_le_bytes()), payload)
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
