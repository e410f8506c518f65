//! The master socket: reloads with their real outcome.
//!
//! Job: ask the master to reload, read its verdict, list its processes. Inputs: the master's
//! socket. Outputs: verdicts and HAProxy's words. Not here: when to reload, which worker serves
//! afterwards (`supervisor`).
//!
//! From 2.7 on `reload` answers when it is done, with `Success=0` or `Success=1` and the log. 2.6
//! says nothing, and its master socket refuses connections for some milliseconds: there the counts
//! of `show proc` tell.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::ports::{BoxIo, Endpoint, Net};

/// Longest text kept of HAProxy's log, in bytes.
const WORDS_MAX: usize = 4_000;
/// Longest answer read from the master, in bytes.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// What the master said about a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It loaded the files.
    Accepted,
    /// It did not; its words.
    Refused(String),
    /// It said nothing: 2.6, or the connection was lost.
    Silent,
}

/// The master's view of its processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family {
    /// Process id of the master.
    pub master: u32,
    /// Reloads so far.
    pub reloads: u64,
    /// Reloads that failed since the last that did not.
    pub failed: u64,
}

/// Asks for a reload and waits for the verdict, at most `patience`.
pub async fn reload(net: &dyn Net, master: &Endpoint, patience: Duration) -> Verdict {
    let stream = match timeout(patience, net.dial(master)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return Verdict::Refused(format!("the master socket cannot be used: {error}"));
        }
        Err(_) => return Verdict::Refused("the master socket does not answer".to_owned()),
    };
    match timeout(patience, converse(stream, "reload")).await {
        Ok(Ok(answer)) => verdict(&answer),
        Ok(Err(_)) | Err(_) => Verdict::Silent,
    }
}

/// Asks for the list of processes.
///
/// # Errors
/// Those of the network; `InvalidData` for an answer without a master.
pub async fn family(net: &dyn Net, master: &Endpoint) -> io::Result<Family> {
    let asked = async { converse(net.dial(master).await?, "show proc").await };
    match timeout(Duration::from_secs(2), asked).await {
        Ok(answer) => parse_family(&answer?).ok_or_else(|| io::ErrorKind::InvalidData.into()),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// One question. The answer ends with an empty line (2.6 to 3.4) or with the connection; a
/// reload's log may have empty lines, so there the connection decides.
pub(super) async fn converse(mut stream: BoxIo, line: &str) -> io::Result<String> {
    stream.write_all(format!("{line}\n").as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    loop {
        let read = match stream.read_buf(&mut answer).await {
            Ok(read) => read,
            // A master that re-executes itself resets the connection.
            Err(_) if !answer.is_empty() => 0,
            Err(error) => return Err(error),
        };
        let ended = line != "reload" && answer.ends_with(b"\n\n");
        if read == 0 || ended || answer.len() > ANSWER_MAX {
            return Ok(String::from_utf8_lossy(&answer).into_owned());
        }
    }
}

fn verdict(answer: &str) -> Verdict {
    match answer.lines().next().map(str::trim) {
        Some("Success=1") => Verdict::Accepted,
        Some("Success=0") => Verdict::Refused(words(answer)),
        _ => Verdict::Silent,
    }
}

/// The part of a log that says what is wrong: alerts if there are any, else everything, without
/// the time and process that begin a line, shortened.
#[must_use]
pub fn words(log: &str) -> String {
    let alerts: Vec<&str> = log
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("[ALERT]"))
        .map(|line| match line.split_once(") : ") {
            Some((head, rest)) if head.trim_start().starts_with('(') => rest,
            _ => line.trim_start(),
        })
        .collect();
    let mut out = if alerts.is_empty() { log.trim().to_owned() } else { alerts.join("\n") };
    if out.len() > WORDS_MAX {
        let mut end = WORDS_MAX;
        while !out.is_char_boundary(end) {
            end -= 1;
        }
        out.truncate(end);
        out.push('…');
    }
    out
}

/// The process ids of the workers in an answer to `show proc`, old ones included.
pub(super) fn workers(answer: &str) -> Vec<u32> {
    let worker = |line: &str| {
        let mut words = line.split_whitespace();
        let pid = words.next()?.parse().ok()?;
        (words.next()? == "worker").then_some(pid)
    };
    answer.lines().filter_map(worker).collect()
}

/// Parses `show proc`.
fn parse_family(answer: &str) -> Option<Family> {
    let line = answer
        .lines()
        .find(|line| line.split_whitespace().nth(1) == Some("master") && !line.starts_with('#'))?;
    let mut words = line.split_whitespace();
    let master = words.next()?.parse().ok()?;
    let reloads = words.nth(1)?.parse().ok()?;
    let failed = line
        .split_once("[failed: ")
        .and_then(|(_, rest)| rest.split_once(']'))
        .and_then(|(count, _)| count.trim().parse().ok())
        .unwrap_or(0);
    Some(Family { master, reloads, failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_processes_is_read() {
        let text = "#<PID>          <type>          <reloads>       <uptime>        <version>\n\
                    13070           master          2 [failed: 1]   0d00h07m27s     3.4.7-1\n\
                    # workers\n# old workers\n\
                    16120           worker          1               0d00h00m01s     3.4.7-1\n\n";
        assert_eq!(parse_family(text), Some(Family { master: 13070, reloads: 2, failed: 1 }));
        assert_eq!(parse_family("# workers\n"), None);
    }

    #[test]
    fn verdicts_carry_the_alerts_only() {
        let text = "Success=0\n--\n[NOTICE]   (16126) : haproxy version is 3.4.7-1\n\
                    [ALERT]    (16126) : config : parsing [/x:14] : balance only supports 'a'.\n\
                    [ALERT]    (16126) : config : Fatal errors found in configuration.\n\
                    [WARNING]  (13070) : Failed to load worker (16126) exited with code 1\n\n";
        assert_eq!(
            verdict(text),
            Verdict::Refused(
                "config : parsing [/x:14] : balance only supports 'a'.\n\
                 config : Fatal errors found in configuration."
                    .to_owned()
            )
        );
        assert_eq!(verdict("Success=1\n--\n\n"), Verdict::Accepted);
        assert_eq!(verdict(""), Verdict::Silent);
    }
}
