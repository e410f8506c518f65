//! HAProxy's own metrics, fetched from it on behalf of whoever asks the admin address.
//!
//! Input: the query of the request. Output: the text that HAProxy's exporter gives. Not here: the
//! HTTP server (`admin`).
//!
//! HAProxy answers on a Unix socket of the state folder. Without a query only what does not grow
//! with the cluster is asked for: series per backend are dozens per Service.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::ports::{Endpoint, Net};

/// What is asked for unless the query says otherwise.
const SCOPES: &str = "scope=global&scope=frontend";
/// Longest wait for the whole answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer, in bytes: about a million series.
const ANSWER_MAX: u64 = 128 * 1024 * 1024;

/// The way to HAProxy's exporter. Cheap to clone.
#[derive(Clone)]
pub struct Relay {
    net: Arc<dyn Net>,
    socket: Endpoint,
}

impl Relay {
    /// Through the socket in the folder of sockets.
    #[must_use]
    pub fn new(net: Arc<dyn Net>, run_dir: &Path) -> Relay {
        Relay { net, socket: Endpoint::Unix(run_dir.join("internal.sock")) }
    }

    /// The exporter's text.
    ///
    /// # Errors
    /// Those of the network; `TimedOut`; `InvalidData` for an answer that is not 200.
    pub async fn metrics(&self, query: Option<&str>) -> io::Result<Vec<u8>> {
        match timeout(PATIENCE, self.ask(query.unwrap_or(SCOPES))).await {
            Ok(answer) => answer,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn ask(&self, query: &str) -> io::Result<Vec<u8>> {
        let mut stream = self.net.dial(&self.socket).await?;
        // The HTTP server passes no byte in a query that could end this line.
        let request = format!("GET /metrics?{query} HTTP/1.0\r\nhost: tidegate\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
        body(answer)
    }
}

/// The body of an HTTP/1.0 answer, which ends with the connection.
fn body(mut answer: Vec<u8>) -> io::Result<Vec<u8>> {
    let wrong = |words: &str| io::Error::new(io::ErrorKind::InvalidData, words.to_owned());
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or_else(|| wrong("no HTTP answer"))?;
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    if line.split(|byte| *byte == b' ').nth(1) != Some(b"200") {
        return Err(wrong(&String::from_utf8_lossy(line)));
    }
    answer.drain(..end + 4);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_of_200_has_a_body() {
        assert_eq!(body(b"HTTP/1.1 200 OK\r\na: b\r\n\r\nx 1\n".to_vec()).unwrap(), b"x 1\n");
        assert!(body(b"HTTP/1.1 400 Bad request\r\n\r\nno".to_vec()).is_err());
        assert!(body(b"HTTP/1.1 200 OK\r\n".to_vec()).is_err());
    }
}
