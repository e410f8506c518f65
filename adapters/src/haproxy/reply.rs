//! From HAProxy's answers to outcomes, by allow-lists.
//!
//! Job: decide whether an answer proves that a command took effect ([`Outcome::Done`]), proves that
//! it did not ([`Outcome::Refused`]), or proves nothing ([`Outcome::Unknown`]). Inputs: the command
//! and the text. Not here: what to do about it.
//!
//! Texts are those of 2.6, 3.0, 3.2 and 3.4. From 3.4 on, notices of earlier commands on the same
//! connection can precede an answer ("Server deleted.", "Server b/s is DOWN…"), so the last line
//! decides, and notices alone count as silence.

use tidegate_core::action::RuntimeCommand;
use tidegate_core::event::Outcome;

/// Longest text kept of an answer, in bytes.
const WORDS_MAX: usize = 500;

/// Beginnings of lines that say no. Each was seen on a real HAProxy or read in its source.
const REFUSALS: &[&str] = &[
    "'",
    "Absolute weight can only be",
    "Already exists a server",
    "Backend does not support dynamic servers",
    "Backend must be unpublished prior",
    "Backend must use a dynamic load balancing",
    "Backend still has attached streams",
    "CA file '",
    "Can't ",
    "Cannot ",
    "Certificate '",
    "Dynamic backends are compatible with only",
    "Error during backend creation",
    "Failed",
    "Health check was not configured",
    "Invalid ",
    "Key not found.",
    "Missing value for key",
    "Mode is required",
    "No effect on a disabled backend.",
    "No ongoing transaction!",
    "No such ",
    "Only a backend without server",
    "Only servers in maintenance mode",
    "Permission denied",
    "Require ",
    "Server still has connections attached",
    "The command is too big",
    "The command line is too big",
    "The ongoing transaction is about",
    "The payload is too big",
    "The transaction must contain",
    "This command is restricted",
    "This proxy cannot be removed",
    "This server cannot be removed",
    "Too many arguments",
    "Unable to ",
    "Unknown command",
    "Unknown map identifier",
    "Unknown proxy mode",
    "Usage: ",
    "Version number",
    "character '",
    "entry not found.",
    "inconsistencies between private key",
    "invalid ",
    "regex '",
    "unable to ",
    "unknown keyword",
    "verify is enabled by default",
    "weight of server",
];

/// Beginnings of lines that report what earlier commands caused.
const NOTICES: &[&str] = &[
    "Backend deleted.",
    "Backend published.",
    "Backend unpublished.",
    "New backend registered.",
    "New server registered.",
    "Server ",
    "[NOTICE]",
    "[WARNING]",
    "backend '",
];

/// Judges the answer to a command of one line; composite commands have judges of their own.
#[must_use]
pub fn judge(command: &RuntimeCommand, answer: &str) -> Outcome {
    let last = last_line(answer);
    match command {
        RuntimeCommand::AddBackend { .. } => match last {
            "New backend registered." => Outcome::Done,
            // Registered "(no support for dynamic servers: …)": there, but of no use.
            _ if last.starts_with("New backend registered") => refused(answer),
            _ => otherwise(answer),
        },
        RuntimeCommand::PublishBackend { .. } => expect(answer, &["Backend published."], &[]),
        RuntimeCommand::UnpublishBackend { .. } => {
            expect(answer, &["Backend unpublished.", "No such backend."], &[])
        }
        RuntimeCommand::DeleteBackend { .. } => {
            expect(answer, &["Backend deleted.", "No such backend."], &[])
        }
        RuntimeCommand::AddServer { .. } => expect(answer, &["New server registered."], &[]),
        RuntimeCommand::DeleteServer { .. } => {
            expect(answer, &["Server deleted.", "No such server.", "No such backend."], &[])
        }
        RuntimeCommand::SetServerAddress { .. } => judge_address(answer),
        RuntimeCommand::SetServerState { .. } | RuntimeCommand::EnableHealth { .. } => {
            silence(answer)
        }
        RuntimeCommand::ShutdownSessions { .. } => match last {
            "No such server." | "No such backend." => Outcome::Done,
            _ => silence(answer),
        },
        RuntimeCommand::AddMapEntry { .. } | RuntimeCommand::SetMapEntry { .. } => silence(answer),
        RuntimeCommand::DeleteMapEntry { .. } => match last {
            "Key not found." => Outcome::Done,
            _ => silence(answer),
        },
        RuntimeCommand::DeleteCertificate { .. } | RuntimeCommand::DeleteAuthority { .. } => {
            expect(answer, &[], &["' deleted!", "' doesn't exist!"])
        }
        RuntimeCommand::AddCrtListLine { .. } => expect(answer, &[], &["Success!"]),
        RuntimeCommand::DeleteCrtListLine { .. } => {
            let gone = last.starts_with("Entry '") && last.contains("' deleted in crtlist")
                || last.ends_with("' does not exist!")
                || last.contains("' can't be found in crt-list '");
            if gone { Outcome::Done } else { otherwise(answer) }
        }
        // Judged from several answers by `judge_install`.
        RuntimeCommand::InstallCertificate { .. }
        | RuntimeCommand::ReplaceDefaultCertificate { .. }
        | RuntimeCommand::InstallAuthority { .. } => Outcome::Unknown,
    }
}

/// Judges a bulk `add map`: `Done` for all entries, or a refusal that leaves open how many of them
/// went in before the bad one.
#[must_use]
pub fn judge_bulk(answer: &str) -> Outcome {
    silence(answer)
}

/// What came of `new`, `set`, `commit`, `abort` of a file of certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installed {
    /// An outcome.
    Settled(Outcome),
    /// A transaction on another file was left open by somebody: abort it, then try again.
    Blocked(String),
}

/// Judges the `set` and `commit` answers for `file`.
#[must_use]
pub fn judge_install(file: &str, set: &str, commit: &str) -> Installed {
    for answer in [set, commit] {
        if let Some(other) = transaction_of(answer)
            && other != file
        {
            return Installed::Blocked(other.to_owned());
        }
    }
    let set_done = {
        let lower = last_line(set).to_ascii_lowercase();
        lower.starts_with("transaction created for") || lower.starts_with("transaction updated for")
    };
    // "Committing F" is followed by dots while large files are worked on.
    let commit_done = commit.starts_with("Committing ") && last_line(commit).ends_with("Success!");
    Installed::Settled(match (set_done, commit_done) {
        (true, true) => Outcome::Done,
        (true, false) => otherwise(commit),
        (false, _) => otherwise(set),
    })
}

/// Line numbers in "found the certificate in several entries, please specify a line number
/// preceded by colons (2, 3)!"; empty for any other answer.
#[must_use]
pub fn duplicate_lines(answer: &str) -> Vec<u64> {
    if !answer.contains("in several entries") {
        return Vec::new();
    }
    let Some((_, rest)) = answer.rsplit_once('(') else { return Vec::new() };
    let Some((numbers, _)) = rest.split_once(')') else { return Vec::new() };
    numbers.split(',').filter_map(|number| number.trim().parse().ok()).collect()
}

/// HAProxy's words, shortened.
#[must_use]
pub fn refused(answer: &str) -> Outcome {
    let mut words = answer.trim();
    if words.len() > WORDS_MAX {
        let mut end = WORDS_MAX;
        while !words.is_char_boundary(end) {
            end -= 1;
        }
        words = &words[..end];
    }
    Outcome::Refused(words.into())
}

/// The file that a transaction is about, from the answers that name it.
fn transaction_of(answer: &str) -> Option<&str> {
    let last = answer.lines().find(|line| {
        line.starts_with("The ongoing transaction is about '")
            || line.to_ascii_lowercase().starts_with("transaction updated for")
    })?;
    if let Some(rest) = last.strip_prefix("The ongoing transaction is about '") {
        return rest.split_once('\'').map(|(file, _)| file);
    }
    // "Transaction updated for certificate F!", "transaction updated for CA F!"
    last.rsplit_once(' ').map(|(_, file)| file.trim_end_matches('!'))
}

fn judge_address(answer: &str) -> Outcome {
    let last = last_line(answer);
    let moved = last.starts_with("IP changed from '")
        || last.starts_with("port changed from '")
        || last.starts_with("no need to change the addr")
        || last == "nothing changed";
    if moved { Outcome::Done } else { otherwise(answer) }
}

/// Whether notices of other commands took the place of the answer. HAProxy 3.4 gathers what changes
/// of servers have to say, a kilobyte at most, until a backend is deleted; the answer to that comes
/// after it, if there is room.
#[must_use]
pub fn is_drowned(command: &RuntimeCommand, answer: &str) -> bool {
    let first = answer.lines().map(str::trim).find(|line| !line.is_empty());
    matches!(command, RuntimeCommand::DeleteBackend { .. }) && first.is_some_and(is_notice)
}

/// Done if the last line is one of `equal` or ends with one of `ends`.
fn expect(answer: &str, equal: &[&str], ends: &[&str]) -> Outcome {
    let last = last_line(answer);
    let fits = equal.contains(&last) || ends.iter().any(|end| last.ends_with(end));
    if fits { Outcome::Done } else { otherwise(answer) }
}

/// Done if nothing was said but notices of other commands.
fn silence(answer: &str) -> Outcome {
    let mut lines = answer.lines().map(str::trim).filter(|line| !line.is_empty());
    if lines.all(is_notice) { Outcome::Done } else { otherwise(answer) }
}

fn is_notice(line: &str) -> bool {
    // "Server still has connections attached" begins like a notice and is a refusal.
    NOTICES.iter().any(|notice| line.starts_with(notice)) && !line.starts_with("Server still")
}

fn otherwise(answer: &str) -> Outcome {
    // A few refusals explain themselves on more lines than one.
    let no = answer
        .lines()
        .map(str::trim)
        .filter(|line| !is_notice(line))
        .any(|line| REFUSALS.iter().any(|refusal| line.starts_with(refusal)));
    if no { refused(answer) } else { Outcome::Unknown }
}

fn last_line(answer: &str) -> &str {
    answer.trim_end().lines().next_back().unwrap_or("").trim()
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
