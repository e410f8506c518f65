//! HAProxy's words for what became of a command, by version.
//!
//! Inputs: the command, and what the model says of it. Outputs: the text. They were given by the
//! real versions; not here: what a command does.

use tidegate_core::action::{RuntimeCommand, ServerState};
use tidegate_core::render::crt_list;

use super::Version;
use crate::model::haproxy::Reply;

/// What a version says to a command that it does not know.
#[must_use]
pub fn unknown(version: Version, word: &str) -> String {
    match version {
        Version::V26 => "Unknown command. Please enter one of the following commands only :\n  \
                         help : full commands list\n"
            .to_owned(),
        Version::V30 | Version::V32 | Version::V34 => {
            format!(
                "Unknown command: '{word}', but maybe one of the following ones is a better \
                     match:\n  help : full commands list\n"
            )
        }
    }
}

/// What a socket of a lower level says to every command.
pub const DENIED: &str = "Permission denied";

/// The words about a command.
#[must_use]
pub fn of(version: Version, command: &RuntimeCommand, reply: &Reply) -> String {
    let words = match reply {
        Reply::Done => None,
        Reply::Needless(words) | Reply::Refused(words) => Some(words.as_str()),
    };
    if words == Some("Unknown command") {
        return unknown(version, "add");
    }
    if words == Some(DENIED) {
        return format!("{DENIED}\n");
    }
    let text = match command {
        RuntimeCommand::AddBackend { backend, profile } => match words {
            None => "New backend registered.".to_owned(),
            Some(words) if words.contains("defaults") => {
                format!("Cannot find default proxy '{profile}'.")
            }
            Some(_) => format!(
                "Error during backend creation : name is already used by other proxy 'backend \
                 {backend}'."
            ),
        },
        RuntimeCommand::PublishBackend { .. } => either(words, "Backend published."),
        RuntimeCommand::UnpublishBackend { .. } => either(words, "Backend unpublished."),
        RuntimeCommand::DeleteBackend { .. } => match words {
            Some(words) if words.contains("is published") => {
                "Backend must be unpublished prior to its deletion.".to_owned()
            }
            Some(words) if words.contains("has servers") => {
                "Only a backend without server can be deleted.".to_owned()
            }
            Some(words) if words.contains("referenced") => {
                "This proxy cannot be removed at runtime due to other configuration elements \
                 pointing to it."
                    .to_owned()
            }
            other => either(other, "Backend deleted."),
        },
        RuntimeCommand::AddServer { .. } => match words {
            Some(words) if words.starts_with("unable to load") => format!("'ca-file' : {words}."),
            other => either(other, "New server registered."),
        },
        RuntimeCommand::SetServerAddress { address, .. } => either(
            words,
            &format!(
                "IP changed from '127.0.0.1' to '{}', port changed from '1' to '{}' by 'stats \
                 socket command'",
                address.ip(),
                address.port()
            ),
        ),
        RuntimeCommand::SetServerState { .. } | RuntimeCommand::ShutdownSessions { .. } => {
            either(words, "")
        }
        RuntimeCommand::EnableHealth { .. } => match words {
            Some(words) if words.starts_with("Health") => {
                "Health check was not configured on this server, cannot enable.".to_owned()
            }
            other => either(other, ""),
        },
        RuntimeCommand::DeleteServer { .. } => either(words, "Server deleted."),
        RuntimeCommand::AddMapEntry { key, .. } => match words {
            None => String::new(),
            Some(_) => format!("regex '{key}' is invalid (error=range out of order, offset 4)."),
        },
        RuntimeCommand::SetMapEntry { .. } | RuntimeCommand::DeleteMapEntry { .. } => {
            words.unwrap_or_default().to_owned()
        }
        RuntimeCommand::DeleteCertificate { file } => removed("certificate", file, words),
        RuntimeCommand::DeleteAuthority { file } => removed("CA file", file, words),
        RuntimeCommand::AddCrtListLine { file, .. } => match reply {
            Reply::Refused(_) => {
                format!("Can't edit the crt-list: certificate '{file}' does not exist!")
            }
            Reply::Done | Reply::Needless(_) => {
                format!(
                    "Inserting certificate '{file}' in crt-list '{}'.\nSuccess!",
                    crt_list::FILE
                )
            }
        },
        RuntimeCommand::DeleteCrtListLine { file } => match words {
            None => format!("Entry '{file}' deleted in crtlist '{}'!", crt_list::FILE),
            Some(_) => format!("Can't delete the entry: certificate '{file}' does not exist!"),
        },
        // Take several lines, each with words of its own.
        RuntimeCommand::InstallCertificate { .. }
        | RuntimeCommand::InstallAuthority { .. }
        | RuntimeCommand::ReplaceDefaultCertificate { .. } => String::new(),
    };
    if text.is_empty() { text } else { text + "\n" }
}

/// Bytes of notices, at most; what does not fit is cut. All of it is ASCII.
const NOTICES_MAX: usize = 1_011;

/// From 3.4 on changes of servers leave notices, which are told with the answer to the next deletion of
/// a backend, before it, as far as there is room for both.
#[must_use]
pub fn with_notices(
    command: &RuntimeCommand,
    reply: &Reply,
    answer: String,
    notices: &mut String,
) -> String {
    let done = *reply == Reply::Done;
    match command {
        RuntimeCommand::SetServerState { backend, server, state } if done => {
            let words = match state {
                ServerState::Ready => "UP/READY (leaving forced maintenance).",
                ServerState::Maint => {
                    "going DOWN for maintenance. 1 active and 0 backup servers left. 0 sessions \
                     active, 0 requeued, 0 remaining in queue."
                }
                ServerState::Drain => return answer,
            };
            notices.push_str(&format!("Server {backend}/{server} is {words}\n"));
        }
        RuntimeCommand::DeleteServer { .. } if done => notices.push_str(&answer),
        RuntimeCommand::DeleteBackend { .. } => {
            let mut all = std::mem::take(notices) + answer.as_str();
            all.truncate(NOTICES_MAX);
            return if all.ends_with('\n') { all } else { all + "\n" };
        }
        _ => {}
    }
    notices.truncate(NOTICES_MAX);
    answer
}

/// HAProxy names nothing in most refusals; the model does.
fn either(words: Option<&str>, done: &str) -> String {
    match words {
        None => done.to_owned(),
        Some(words) if words.starts_with("No such backend") => "No such backend.".to_owned(),
        Some(words) if words.starts_with("No such server") => "No such server.".to_owned(),
        Some(words) => words.to_owned(),
    }
}

fn removed(what: &str, file: &str, words: Option<&str>) -> String {
    let mut name = what.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    match words {
        None => format!("{name} '{file}' deleted!"),
        Some(words) if words.contains("doesn't exist") => {
            format!("Can't remove the {what}: {what} '{file}' doesn't exist!")
        }
        Some(_) => format!("Can't remove the {what}: {what} '{file}' in use, can't be deleted!"),
    }
}
