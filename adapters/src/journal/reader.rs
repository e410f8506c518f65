//! Reading segments.
//!
//! In: a file or a folder. Out: entries in order, and where a tail is torn. A process may die
//! while it writes, so bytes at the end that are no whole frame are dropped and reported; the
//! same anywhere else is corruption, an error that names segment and offset. Not here: what the
//! entries mean.

use std::io;
use std::path::{Path, PathBuf};

use super::codec::{self, Bad, EntryV1, Header};
use super::writer::segment_number;
use crate::ports::Files;

/// Bytes checksummed in search of a whole frame after a bad one. Beyond it, all is a torn tail.
const SEARCH_BYTES_MAX: usize = 1 << 30;

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system refused.
    #[error("{path} cannot be read")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// A folder without segments.
    #[error("{0} holds no journal")]
    Nothing(PathBuf),
    /// A segment that was asked for is not there.
    #[error("there is no segment {0}")]
    NoSegment(u64),
    /// A file that is no segment, or of another format.
    #[error("{path}: {bad}")]
    Header {
        /// File.
        path: PathBuf,
        /// Why.
        bad: Bad,
    },
    /// A frame is damaged and whole ones follow.
    #[error("{path} is damaged at byte {offset}: {why}")]
    Corrupt {
        /// File.
        path: PathBuf,
        /// Where the frame begins, in bytes.
        offset: u64,
        /// Why.
        why: String,
    },
    /// An entry is whole but this version does not understand it: its types have changed since.
    #[error(
        "{path}: the entry at byte {offset} was written by version {version}, which knows other \
         entries: replay it with that version ({why})"
    )]
    Foreign {
        /// File.
        path: PathBuf,
        /// Where its frame begins, in bytes.
        offset: u64,
        /// The version that wrote it.
        version: String,
        /// What does not fit.
        why: String,
    },
}

/// Where to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartAt {
    /// At the oldest segment there is.
    #[default]
    Oldest,
    /// At the newest segment whose first entry is whole.
    Newest,
    /// At a segment by its number.
    Segment(u64),
}

impl std::str::FromStr for StartAt {
    type Err = String;

    fn from_str(text: &str) -> Result<StartAt, String> {
        match text {
            "oldest" => Ok(StartAt::Oldest),
            "newest" => Ok(StartAt::Newest),
            number => number
                .parse()
                .map(StartAt::Segment)
                .map_err(|_| "expected `oldest`, `newest` or the number of a segment".into()),
        }
    }
}

/// A tail that is no whole frame.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Torn {
    /// File.
    pub path: PathBuf,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The segments of a file or folder from a start, oldest first.
///
/// # Errors
/// When there is none, or a file cannot be read.
pub fn segments(files: &dyn Files, path: &Path, from: StartAt) -> Result<Vec<PathBuf>, ReadError> {
    let names = match files.list(path) {
        Ok(names) => names,
        // Not a folder: a single segment under any name.
        Err(_) if files.length(path).is_ok() => return Ok(vec![path.to_owned()]),
        Err(source) => return Err(ReadError::Io { path: path.to_owned(), source }),
    };
    let mut numbered: Vec<(u64, PathBuf)> =
        names.iter().filter_map(|name| Some((segment_number(name)?, path.join(name)))).collect();
    numbered.sort_unstable();
    if numbered.is_empty() {
        return Err(ReadError::Nothing(path.to_owned()));
    }
    let start = match from {
        StartAt::Oldest => 0,
        StartAt::Segment(wanted) => numbered
            .iter()
            .position(|(number, _)| *number == wanted)
            .ok_or(ReadError::NoSegment(wanted))?,
        StartAt::Newest => newest_whole(files, &numbered)?,
    };
    Ok(numbered.into_iter().skip(start).map(|(_, path)| path).collect())
}

fn newest_whole(files: &dyn Files, numbered: &[(u64, PathBuf)]) -> Result<usize, ReadError> {
    for (at, (_, path)) in numbered.iter().enumerate().rev() {
        if Segment::open(files, path)?.next_entry()?.is_some() {
            return Ok(at);
        }
    }
    Ok(0)
}

/// A segment that is being read.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    header: Option<Header>,
    bytes: Vec<u8>,
    offset: usize,
    torn: Option<Torn>,
}

impl Segment {
    /// Reads a file. One that ends within its header has no entries and a torn tail.
    ///
    /// # Errors
    /// When it cannot be read, is no journal or has another format.
    pub fn open(files: &dyn Files, path: &Path) -> Result<Segment, ReadError> {
        let bytes =
            files.read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        let mut segment =
            Segment { path: path.to_owned(), header: None, bytes, offset: 0, torn: None };
        match codec::header(&segment.bytes) {
            Ok((header, length)) => {
                segment.header = Some(header);
                segment.offset = length;
            }
            Err(Bad::Short) => segment.tear(),
            Err(bad) => return Err(ReadError::Header { path: segment.path, bad }),
        }
        Ok(segment)
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its header; `None` when the file ends within it.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// The torn tail, once it was reached.
    #[must_use]
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// The next entry with the offset of its frame in bytes; `None` at the end.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`], [`ReadError::Foreign`].
    pub fn next_entry(&mut self) -> Result<Option<(u64, EntryV1)>, ReadError> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        if rest.is_empty() || self.torn.is_some() {
            return Ok(None);
        }
        let offset = self.offset as u64;
        let path = || self.path.clone();
        match codec::frame(rest) {
            Ok(frame) => {
                let entry = codec::entry(frame.payload).map_err(|error| ReadError::Foreign {
                    path: path(),
                    offset,
                    version: self.header.as_ref().map_or("?", |header| &header.version).into(),
                    why: error.to_string(),
                })?;
                self.offset += frame.length;
                Ok(Some((offset, entry)))
            }
            Err(bad) if holds_a_frame(rest) => {
                Err(ReadError::Corrupt { path: path(), offset, why: bad.to_string() })
            }
            Err(_) => {
                self.tear();
                Ok(None)
            }
        }
    }

    fn tear(&mut self) {
        let bytes = (self.bytes.len() - self.offset) as u64;
        self.torn = Some(Torn { path: self.path.clone(), offset: self.offset as u64, bytes });
    }
}

/// Whether a whole frame begins anywhere after the first byte. A length that was damaged looks
/// like a torn tail, but is followed by frames.
fn holds_a_frame(bytes: &[u8]) -> bool {
    let mut searched = 0;
    for start in 1..bytes.len() {
        let rest = bytes.get(start..).unwrap_or_default();
        // Payloads begin with the numbers of two variants, of which there are few.
        let plausible = matches!(rest.get(8..10), Some([0, 0..=2]));
        if !plausible {
            continue;
        }
        match codec::frame(rest) {
            Ok(frame) if codec::entry(frame.payload).is_ok() => return true,
            Ok(frame) => searched += frame.length,
            Err(Bad::Checksum) => searched += length_of(rest),
            Err(Bad::Short | Bad::Length | Bad::Magic | Bad::Format(_)) => {}
        }
        if searched > SEARCH_BYTES_MAX {
            return false;
        }
    }
    false
}

fn length_of(frame: &[u8]) -> usize {
    frame.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize)
}
