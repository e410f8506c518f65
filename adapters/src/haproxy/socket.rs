//! One connection to HAProxy's runtime socket, in prompt mode.
//!
//! Job: send lines, cut the answers apart, keep each answer with its line. Inputs: text of one or
//! more lines and how many answers they will get. Outputs: one text per line. Not here: what a
//! line or an answer means (`command`, `reply`).
//!
//! Framing, found to hold on 2.6, 3.0, 3.2 and 3.4 alike: after `prompt`, every line gets an answer
//! that ends with `\n> `, also when many lines are sent at once; a payload counts as part of its
//! line. 2.6 and 3.0 put `+ ` before the answer for each line of a payload. Lines sent at once cost
//! the same as commands joined by `;` (21 µs for one, 36-78 µs for ten), but keep their answers
//! apart, which `;` does not from 3.2 on.
//!
//! HAProxy goes on with what it has read of a connection, also when that is closed, and beside what comes
//! on others. It closes one whose write side is shut down when it has run all of it (measured on each).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use crate::ports::{BoxIo, Endpoint, Net};

/// What ends every answer.
const END: &[u8] = b"\n> ";
/// Bytes asked for at a time.
const READ_BYTES: usize = 64 * 1024;
/// Bytes kept allocated between exchanges.
const KEEP_BYTES: usize = 256 * 1024;
/// Longest answer accepted: 50,000 backends with servers are a tenth of it.
const ANSWER_BYTES_MAX: usize = 512 * 1024 * 1024;

/// A connection to a worker.
pub struct Connection {
    read: ReadHalf<BoxIo>,
    write: WriteHalf<BoxIo>,
    buffer: Vec<u8>,
    patience: Duration,
}

impl Connection {
    /// Connects and switches prompt mode on. `patience` bounds each silence of the other side.
    ///
    /// # Errors
    /// Those of the network; `TimedOut` after a silence; `InvalidData` when the other side does
    /// not speak HAProxy's protocol.
    pub async fn open(
        net: &dyn Net,
        endpoint: &Endpoint,
        patience: Duration,
    ) -> io::Result<Connection> {
        let stream = match timeout(patience, net.dial(endpoint)).await {
            Ok(dialled) => dialled?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        let mut connection = Connection::over(stream, patience);
        let mut greeting = Vec::new();
        connection.exchange(b"prompt\n", 1, |_, text| greeting.extend_from_slice(text)).await?;
        if greeting.is_empty() {
            Ok(connection)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "no prompt"))
        }
    }

    /// A connection over a stream that is in prompt mode or about to be.
    #[must_use]
    pub fn over(stream: BoxIo, patience: Duration) -> Connection {
        let (read, write) = tokio::io::split(stream);
        Connection { read, write, buffer: Vec::with_capacity(READ_BYTES), patience }
    }

    /// Sends `text`, which gets `answers` answers, and hands each to `each` as it arrives, with
    /// its number, without its end mark and without trailing line ends.
    ///
    /// # Errors
    /// `TimedOut` after a silence of `patience`, `UnexpectedEof` when the other side closes, others
    /// from the network. What was sent without an answer may or may not have been executed; the
    /// connection must not be used again.
    pub async fn exchange(
        &mut self,
        text: &[u8],
        answers: usize,
        mut each: impl FnMut(usize, &[u8]),
    ) -> io::Result<()> {
        let Connection { read, write, buffer, patience } = self;
        let send = async {
            write.write_all(text).await?;
            write.flush().await
        };
        let receive = async {
            let mut count = 0;
            let mut searched = 0;
            while count < answers {
                let mut start = 0;
                while count < answers {
                    match find_end(buffer, searched.max(start)) {
                        Some(end) => {
                            each(count, trim(&buffer[start..end]));
                            start = end + END.len();
                            searched = start;
                            count += 1;
                        }
                        None => {
                            searched = buffer.len().saturating_sub(END.len() - 1).max(start);
                            break;
                        }
                    }
                }
                buffer.drain(..start);
                searched = searched.saturating_sub(start);
                if count == answers {
                    break;
                }
                if buffer.len() > ANSWER_BYTES_MAX {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "endless answer"));
                }
                receive(read, buffer, *patience).await?;
            }
            Ok(())
        };
        tokio::try_join!(biased; receive, send)?;
        buffer.shrink_to(KEEP_BYTES);
        Ok(())
    }

    /// Sends one line (without its end) and returns its answer.
    ///
    /// # Errors
    /// As for [`Connection::exchange`].
    pub async fn ask(&mut self, line: &str) -> io::Result<String> {
        let mut answer = String::new();
        let text = format!("{line}\n");
        self.exchange(text.as_bytes(), 1, |_, text| {
            answer = String::from_utf8_lossy(text).into_owned();
        })
        .await?;
        Ok(answer)
    }

    /// Sends one line (without its end) and hands each line of its answer to `each` as it arrives:
    /// for answers that are too long to be had in one piece.
    ///
    /// # Errors
    /// As for [`Connection::exchange`].
    pub async fn lines(&mut self, line: &str, mut each: impl FnMut(&str)) -> io::Result<()> {
        let Connection { read, write, buffer, patience } = self;
        write.write_all(format!("{line}\n").as_bytes()).await?;
        write.flush().await?;
        loop {
            let mut start = 0;
            while let Some(length) = memchr::memchr(b'\n', &buffer[start..]) {
                let end = start + length;
                let mark = &buffer[end..buffer.len().min(end + END.len())];
                let is_last = mark == END;
                if !is_last && END.starts_with(mark) {
                    // What follows tells whether this is the end.
                    break;
                }
                let line = &buffer[start..end];
                match str::from_utf8(line) {
                    Ok(line) => each(line),
                    Err(_) => each(&String::from_utf8_lossy(line)),
                }
                if is_last {
                    buffer.drain(..end + END.len());
                    return Ok(());
                }
                start = end + 1;
            }
            buffer.drain(..start);
            if buffer.len() > ANSWER_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "endless answer"));
            }
            receive(read, buffer, *patience).await?;
        }
    }

    /// Sends nothing more, and waits until the other side has run all that it was sent, and closed.
    /// Before that, what another connection reads may change behind it.
    ///
    /// # Errors
    /// `TimedOut` after a silence of `patience`: it may be tried again.
    pub async fn finish(&mut self) -> io::Result<()> {
        let Connection { read, write, buffer, patience } = self;
        // Where that cannot be told any more, it is closed already.
        let _ = write.shutdown().await;
        loop {
            buffer.clear();
            match receive(read, buffer, *patience).await {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
                Err(_) => return Ok(()),
            }
        }
    }

    /// Waits until the connection is of no use: closed by the other side, or out of step.
    /// May be dropped at any time.
    pub async fn closed(&mut self) {
        if self.buffer.is_empty() {
            // Nothing may arrive unasked: whatever does ends this connection's usefulness.
            let _ = self.read.read_buf(&mut self.buffer).await;
        }
    }
}

/// Reads what is there, waiting for it if need be.
async fn receive(
    read: &mut ReadHalf<BoxIo>,
    buffer: &mut Vec<u8>,
    patience: Duration,
) -> io::Result<()> {
    buffer.reserve(READ_BYTES);
    match timeout(patience, read.read_buf(buffer)).await {
        Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Where the next end mark begins.
fn find_end(buffer: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr::memchr(b'\n', buffer.get(at..)?)?;
        if buffer.get(at..at + END.len())? == END {
            return Some(at);
        }
        at += 1;
    }
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let Some((b'\n', rest)) = text.split_last() {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;
    use tokio::task::JoinHandle;

    use super::*;

    /// A connection to a peer that sends this in pieces of so many bytes, and stays.
    fn fed(sent: &[u8], pieces: usize) -> (Connection, JoinHandle<DuplexStream>) {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let connection = Connection::over(Box::new(ours), Duration::from_millis(300));
        let sent = sent.to_vec();
        let peer = tokio::spawn(async move {
            for piece in sent.chunks(pieces) {
                if theirs.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            theirs
        });
        (connection, peer)
    }

    async fn answers_of(sent: &[u8], count: usize, pieces: usize) -> io::Result<Vec<String>> {
        let (mut connection, peer) = fed(sent, pieces);
        let mut answers = Vec::new();
        let result = connection
            .exchange(b"x\n", count, |number, text| {
                assert_eq!(number, answers.len());
                answers.push(String::from_utf8_lossy(text).into_owned());
            })
            .await;
        drop(peer);
        result.map(|()| answers)
    }

    #[tokio::test]
    async fn answers_are_cut_apart_however_they_arrive() -> io::Result<()> {
        let sent = b"\n> No such backend.\n\n> # name\na\nb > c\n\n> Server deleted.\n> ";
        for pieces in [1, 2, 3, 7, 1000] {
            assert_eq!(
                answers_of(sent, 4, pieces).await?,
                ["", "No such backend.", "# name\na\nb > c", "Server deleted."]
            );
        }
        Ok(())
    }

    #[tokio::test]
    async fn lines_are_cut_apart_however_they_arrive() -> io::Result<()> {
        let sent = b"# name\na\n>b > c\n\nd\n\n> next\n> ";
        for pieces in [1, 2, 3, 7, 1000] {
            let (mut connection, peer) = fed(sent, pieces);
            let mut lines = Vec::new();
            connection.lines("x", |line| lines.push(line.to_owned())).await?;
            assert_eq!(lines, ["# name", "a", ">b > c", "", "d", ""]);
            assert_eq!(connection.ask("y").await?, "next");
            drop(peer);
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_connection_is_finished_when_the_peer_has_closed_it() {
        let (mut connection, peer) = fed(b"\n> late\n> ", 3);
        let silent = connection.finish().await.map_err(|e| e.kind());
        assert_eq!(silent, Err(io::ErrorKind::TimedOut));
        let mut peer = peer.await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(peer.read(&mut [0]).await.ok(), Some(0), "nothing more is sent");
        drop(peer);
        assert!(connection.finish().await.is_ok());
    }

    #[tokio::test]
    async fn a_silent_peer_is_given_up() {
        let error = answers_of(b"half", 1, 10).await.map_err(|e| e.kind());
        assert_eq!(error, Err(io::ErrorKind::TimedOut));
    }
}
