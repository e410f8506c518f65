//! Whole HTTP answers from error files: checked, and written the way HAProxy reads them.
//!
//! HAProxy refuses the configuration for an answer it cannot parse, whose length header is wrong, or
//! that is larger than a buffer. So an answer is taken apart here and put together again: line ends
//! become CRLF, the length is counted, and headers that frame the message are dropped.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::annotations::Refusal;
use crate::annotations::value::quoted;

/// Status codes that HAProxy makes answers with by itself.
pub const CODES: [u16; 17] =
    [200, 400, 401, 403, 404, 405, 407, 408, 410, 413, 425, 429, 500, 501, 502, 503, 504];

/// Bytes of an answer: `tune.bufsize` less `tune.maxrewrite`.
const BYTES_MAX: usize = 15_000;

/// The file's name within a generation.
#[must_use]
pub fn file(code: u16) -> String {
    format!("errors/{code}.http")
}

/// Reads an answer: the key is its status code, the value the answer as on the wire.
///
/// # Errors
/// When HAProxy could not use it.
pub fn parse(key: &str, value: &str) -> Result<(u16, String), Refusal> {
    let code = key.parse::<u16>().ok().filter(|code| CODES.contains(code)).ok_or_else(|| {
        let codes: Vec<String> = CODES.iter().map(|code| format!("{code}")).collect();
        Refusal::new(
            format!("{} is no status code that HAProxy answers with by itself", quoted(key)),
            format!("use one of {}", codes.join(", ")),
        )
    })?;
    let (status, rest) = line(value);
    check_status(status, code)?;
    let mut text = format!("{status}\r\n");
    let mut rest = rest;
    loop {
        let Some(after) = rest else {
            return Err(Refusal::new(
                "there is no empty line after the headers",
                "end the headers by an empty line; the body follows it",
            ));
        };
        let (header, next) = line(after);
        rest = next;
        if header.is_empty() {
            break;
        }
        if is_kept(header)? {
            text.push_str(header);
            text.push_str("\r\n");
        }
    }
    let body = rest.unwrap_or("");
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    if text.len() > BYTES_MAX {
        return Err(Refusal::new(
            format!("the answer has {} bytes, and HAProxy's buffer holds {BYTES_MAX}", text.len()),
            "shorten it, for example by linking to pictures and styles",
        ));
    }
    Ok((code, text))
}

/// The first line without its end, and what follows the end.
fn line(text: &str) -> (&str, Option<&str>) {
    match text.split_once('\n') {
        Some((line, rest)) => (line.strip_suffix('\r').unwrap_or(line), Some(rest)),
        None => (text, None),
    }
}

fn check_status(status: &str, code: u16) -> Result<(), Refusal> {
    let bad = |what: String| Refusal::new(what, format!("begin with \"HTTP/1.1 {code} REASON\""));
    let version = status.strip_prefix("HTTP/1.0 ").or_else(|| status.strip_prefix("HTTP/1.1 "));
    let Some(rest) = version else {
        return Err(bad(format!("{} is no status line", quoted(status))));
    };
    let (number, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    if number != format!("{code}") {
        return Err(bad(format!("the status line says {}, the key {code}", quoted(number))));
    }
    if reason.chars().any(char::is_control) {
        return Err(bad("the status line has control characters".into()));
    }
    Ok(())
}

/// Whether a header goes into the answer; framing is counted anew.
fn is_kept(header: &str) -> Result<bool, Refusal> {
    let bad = || {
        Refusal::new(
            format!("{} is no header", quoted(header)),
            "write NAME: VALUE, one header in a line",
        )
    };
    let (name, value) = header.split_once(':').ok_or_else(bad)?;
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(bad());
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(bad());
    }
    let framing = ["content-length", "transfer-encoding", "connection", "upgrade"];
    Ok(!framing.iter().any(|framing| framing.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_put_together_anew() {
        let text =
            "HTTP/1.0 404 Not Found\nContent-Type: text/html\ncontent-length: 3\n\n<p>no</p>\n";
        let (code, text) = parse("404", text).unwrap();
        assert_eq!(code, 404);
        assert_eq!(
            text,
            "HTTP/1.0 404 Not Found\r\nContent-Type: text/html\r\ncontent-length: 10\r\n\r\n\
             <p>no</p>\n"
        );
    }

    #[test]
    fn what_haproxy_cannot_use_is_refused() {
        let long = format!("HTTP/1.1 503 x\n\n{}", "x".repeat(16_000));
        for (key, text) in [
            ("418", "HTTP/1.1 418 Teapot\n\n"),
            ("503", "HTTP/1.1 502 Bad\n\n"),
            ("503", "503 Service Unavailable\n\n"),
            ("503", "HTTP/1.1 503 x\nno header\n\n"),
            ("503", "HTTP/1.1 503 x\nX-A: 1\rX-B: 2\n\n"),
            ("503", "HTTP/1.1 503 x\nX-A: 1"),
            ("503", ""),
            ("503", &long),
        ] {
            assert!(parse(key, text).is_err(), "{key} {text:?}");
        }
    }
}
