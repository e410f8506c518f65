//! HTTP/1.1, as far as an API server needs it: requests in, whole answers and streams out.
//!
//! By hand, so that answers can be cut at any byte.

use std::io;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, …
    pub method: String,
    /// Path without query.
    pub path: String,
    /// Decoded pairs of the query.
    pub query: Vec<(String, String)>,
    /// `Accept`.
    pub accept: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A value of the query.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Longest request, in bytes.
const REQUEST_MAX: usize = 1 << 20;

/// Reads a request; nothing when the other side is done.
///
/// # Errors
/// Those of the network.
pub async fn request(
    stream: &mut (impl AsyncRead + Unpin),
    left: &mut Vec<u8>,
) -> io::Result<Option<Request>> {
    let end = loop {
        if let Some(end) = left.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
        if left.len() > REQUEST_MAX || stream.read_buf(left).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(left.get(..end).unwrap_or_default()).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), decoded(value)))
            .collect(),
        ..Request::default()
    };
    let mut length = 0;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "accept" => value.trim().clone_into(&mut request.accept),
            "content-length" => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    while left.len() < end + 4 + length {
        if left.len() > REQUEST_MAX || stream.read_buf(left).await? == 0 {
            return Ok(None);
        }
    }
    let rest = left.split_off(end + 4 + length);
    request.body = left.split_off(end + 4);
    *left = rest;
    Ok(Some(request))
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let code = |digit: Option<u8>| char::from(digit.unwrap_or(b'0')).to_digit(16).unwrap_or(0);
        match byte {
            b'%' => out.push((code(bytes.next()) * 16 + code(bytes.next())) as u8),
            b'+' => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub code: u16,
    /// Seconds of `Retry-After`.
    pub retry_after: Option<u64>,
    /// JSON.
    pub body: Value,
}

impl Answer {
    /// A good one.
    #[must_use]
    pub fn good(body: Value) -> Answer {
        Answer { code: 200, retry_after: None, body }
    }

    /// A refusal.
    #[must_use]
    pub fn refused(code: u16, reason: &str, message: &str) -> Answer {
        Answer { code, retry_after: None, body: status(code, reason, message) }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let body = self.body.to_string();
        let after = self.retry_after.map_or(String::new(), |s| format!("Retry-After: {s}\r\n"));
        format!(
            "HTTP/1.1 {} Simulated\r\nContent-Type: application/json\r\n{after}Content-Length: \
             {}\r\n\r\n{body}",
            self.code,
            body.len()
        )
        .into_bytes()
    }
}

/// `v1/Status` of a failure.
#[must_use]
pub fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

/// Begins a stream.
///
/// # Errors
/// Those of the network.
pub async fn begin(stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: \
                chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await
}

/// A piece of a stream; an empty one ends it.
#[must_use]
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out
}
