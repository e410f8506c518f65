//! Text files of a generation, copied from those of the generation before as far as they say the same.
//!
//! Inputs: text; what is to be copied ([`Out`]); the file before with the checksum it was written
//! with. Outputs: a file and its checksum. What somebody changed by hand, or the disk lost, must not
//! get into the next generation: the whole file before is read, and when its checksum is another one
//! nothing is copied from it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tidegate_core::render::kept::{Layout, Out};

use crate::ports::Files;

/// Bytes copied at once.
const PIECE: usize = 64 * 1024;

/// The text files of a generation: where everything stands in them.
#[derive(Debug, Default)]
pub struct Written {
    /// Its folder.
    pub dir: PathBuf,
    /// What stands where.
    pub layout: Layout,
    /// Checksums (CRC-32C) by name.
    pub sums: BTreeMap<String, u32>,
}

/// Why a file could not be written.
#[derive(Debug)]
pub enum Failure {
    /// The file before is not what was written.
    Changed,
    /// Anything else, in words.
    Failed(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Failed(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(words: String) -> Failure {
        Failure::Failed(words)
    }
}

/// Writes a file. `before` is the one it may be copied from, with its checksum. Returns its own.
///
/// # Errors
/// Those of the operating system; text that cannot be rendered; [`Failure::Changed`].
pub fn write(
    files: &dyn Files,
    path: &Path,
    mode: u32,
    before: Option<(&Path, u32)>,
    render: impl FnOnce(&mut dyn Out) -> fmt::Result,
) -> Result<u32, Failure> {
    let before = match before {
        Some((path, sum)) => {
            let file = files.open(path).map_err(|_| Failure::Changed)?;
            Some(Before { file, expected: sum, sum: 0, at: 0, piece: vec![0; PIECE] })
        }
        None => None,
    };
    let out = files.create(path, mode)?;
    let mut text = Text { out, written: 0, sum: 0, before, failure: None };
    let rendered = render(&mut text);
    let Text { mut out, written: _, sum, before, failure } = text;
    match (failure, rendered) {
        (Some(failure), _) => return Err(failure),
        (None, Err(fmt::Error)) => {
            return Err(format!("{} cannot be rendered", path.display()).into());
        }
        (None, Ok(())) => out.flush()?,
    }
    match before {
        Some(before) => before.finish().map(|()| sum),
        None => Ok(sum),
    }
}

struct Text {
    out: Box<dyn Write + Send>,
    written: u64,
    sum: u32,
    before: Option<Before>,
    /// What `fmt::Error` cannot carry.
    failure: Option<Failure>,
}

impl Text {
    fn add(&mut self, bytes: &[u8]) -> fmt::Result {
        self.written += bytes.len() as u64;
        self.sum = crc32c::crc32c_append(self.sum, bytes);
        self.out.write_all(bytes).map_err(|error| {
            self.failure = Some(error.into());
            fmt::Error
        })
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes())
    }
}

impl Out for Text {
    fn written(&self) -> u64 {
        self.written
    }

    fn copy(&mut self, from: u64, bytes: u64) -> fmt::Result {
        let Some(mut before) = self.before.take() else { return Err(fmt::Error) };
        let copied = before.pass(from, |_| Ok(())).and_then(|()| {
            before
                .pass(from + bytes, |piece| self.add(piece).map_err(|fmt::Error| Failure::Changed))
        });
        self.before = Some(before);
        copied.map_err(|failure| {
            // An error of writing is known by now.
            self.failure.get_or_insert(failure);
            fmt::Error
        })
    }
}

/// The file before, read from its beginning to its end.
struct Before {
    file: Box<dyn Read + Send>,
    expected: u32,
    sum: u32,
    at: u64,
    piece: Vec<u8>,
}

impl Before {
    /// Reads up to an offset, and gives `each` piece away.
    fn pass(
        &mut self,
        to: u64,
        mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        while self.at < to {
            let most = usize::try_from(to - self.at).unwrap_or(PIECE).min(PIECE);
            let room = self.piece.get_mut(..most).unwrap_or_default();
            let count = self.file.read(room).map_err(|_| Failure::Changed)?;
            let bytes = self.piece.get(..count).filter(|bytes| !bytes.is_empty());
            let bytes = bytes.ok_or(Failure::Changed)?;
            self.sum = crc32c::crc32c_append(self.sum, bytes);
            self.at += count as u64;
            each(bytes)?;
        }
        Ok(())
    }

    /// Reads the rest; says whether all of it is what was written.
    fn finish(mut self) -> Result<(), Failure> {
        loop {
            let count = self.file.read(&mut self.piece).map_err(|_| Failure::Changed)?;
            if count == 0 {
                break;
            }
            let bytes = self.piece.get(..count).unwrap_or_default();
            self.sum = crc32c::crc32c_append(self.sum, bytes);
        }
        if self.sum == self.expected { Ok(()) } else { Err(Failure::Changed) }
    }
}
