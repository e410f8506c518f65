//! Carries out one command of the runtime CLI.
//!
//! Inputs: its words and payload, the worker it was sent to. Outputs: HAProxy's answer; the worker's
//! memory changes by the model's rules, one command after the other. Not here: framing, what may go
//! wrong on the way.

use std::net::{IpAddr, SocketAddr};

use tidegate_core::action::{MapId, RuntimeCommand, ServerState};
use tidegate_core::digest::Digest;
use tidegate_core::render::crt_list;

use super::lines::Asked;
use super::{Version, answers, show};
use crate::model::haproxy::Reply;
use crate::network::replica::ReplicaId;
use crate::network::world::World;

/// Whether a command only looks.
#[must_use]
pub fn only_looks(asked: &Asked) -> bool {
    asked.words.first().is_none_or(|word| matches!(word.as_str(), "show" | "prompt"))
}

/// Carries out a command on a worker, which may be an old one.
pub fn run(world: &mut World, id: ReplicaId, pid: u32, asked: &Asked) -> String {
    let version = world.of(id).site.version;
    let words: Vec<&str> = asked.words.iter().map(String::as_str).collect();
    let Some(worker) = world.at(id).site.worker(pid) else { return String::new() };
    match &words[..] {
        [] => String::new(),
        ["show", rest @ ..] => {
            show::show(version, worker, rest).unwrap_or_else(|| answers::unknown(version, "show"))
        }
        ["new", "ssl", kind, file] => name(world, id, pid, kind, file),
        ["set", "ssl", kind, file] => set(world, id, pid, kind, file, asked.payload.as_deref()),
        ["commit", "ssl", kind, file] => commit(world, id, pid, kind, file),
        ["abort", "ssl", kind, file] => abort(world, id, pid, kind, file),
        ["del", "ssl", "crt-list", list, entry] => delete_line(world, id, pid, list, entry),
        ["add", "map", file] => bulk(world, id, pid, file, asked.payload.as_deref().unwrap_or("")),
        words => match read(words, asked.payload.as_deref()) {
            Some(command) => {
                let reply = world.carry_out(id, pid, &command);
                let answer = answers::of(version, &command, &reply);
                match world.at(id).site.worker(pid) {
                    Some(worker) if version >= Version::V34 => {
                        answers::with_notices(&command, &reply, answer, &mut worker.notices)
                    }
                    Some(_) | None => answer,
                }
            }
            None => answers::unknown(version, words.first().copied().unwrap_or("")),
        },
    }
}

/// The command of these words.
fn read(words: &[&str], payload: Option<&str>) -> Option<RuntimeCommand> {
    let map_of = |file: &str| MapId::ALL.into_iter().find(|id| id.file() == file);
    Some(match words {
        ["add", "backend", backend, "from", profile] => {
            RuntimeCommand::AddBackend { backend: (*backend).into(), profile: (*profile).into() }
        }
        ["publish", "backend", name] => RuntimeCommand::PublishBackend { backend: (*name).into() },
        ["unpublish", "backend", name] => {
            RuntimeCommand::UnpublishBackend { backend: (*name).into() }
        }
        ["del", "backend", name] => RuntimeCommand::DeleteBackend { backend: (*name).into() },
        ["add", "server", name, address, keywords @ ..] => {
            let (backend, server) = name.split_once('/')?;
            RuntimeCommand::AddServer {
                backend: backend.into(),
                server: server.into(),
                address: address.parse().ok()?,
                keywords: keywords.join(" ").into(),
            }
        }
        ["set", "server", name, "addr", ip, "port", port] => {
            let (backend, server) = name.split_once('/')?;
            RuntimeCommand::SetServerAddress {
                backend: backend.into(),
                server: server.into(),
                address: SocketAddr::new(ip.parse::<IpAddr>().ok()?, port.parse().ok()?),
            }
        }
        ["set", "server", name, "state", state] => {
            let (backend, server) = name.split_once('/')?;
            let state = match *state {
                "ready" => ServerState::Ready,
                "drain" => ServerState::Drain,
                "maint" => ServerState::Maint,
                _ => return None,
            };
            RuntimeCommand::SetServerState { backend: backend.into(), server: server.into(), state }
        }
        ["enable", "health", name] => {
            let (backend, server) = name.split_once('/')?;
            RuntimeCommand::EnableHealth { backend: backend.into(), server: server.into() }
        }
        ["shutdown", "sessions", "server", name] => {
            let (backend, server) = name.split_once('/')?;
            RuntimeCommand::ShutdownSessions { backend: backend.into(), server: server.into() }
        }
        ["del", "server", name] => {
            let (backend, server) = name.split_once('/')?;
            RuntimeCommand::DeleteServer { backend: backend.into(), server: server.into() }
        }
        ["add", "map", file, key, value @ ..] => RuntimeCommand::AddMapEntry {
            map: map_of(file)?,
            key: (*key).into(),
            value: value.join(" ").into(),
        },
        ["set", "map", file, key, value @ ..] => RuntimeCommand::SetMapEntry {
            map: map_of(file)?,
            key: (*key).into(),
            value: value.join(" ").into(),
        },
        ["del", "map", file, key] => {
            RuntimeCommand::DeleteMapEntry { map: map_of(file)?, key: (*key).into() }
        }
        ["add", "ssl", "crt-list", list] if *list == crt_list::FILE => {
            let mut words = payload?.split_whitespace();
            let file = words.next()?.into();
            RuntimeCommand::AddCrtListLine { file, hosts: words.map(Into::into).collect() }
        }
        ["del", "ssl", "cert", file] => RuntimeCommand::DeleteCertificate { file: (*file).into() },
        ["del", "ssl", "ca-file", file] => RuntimeCommand::DeleteAuthority { file: (*file).into() },
        _ => return None,
    })
}

/// Several entries: the first that is refused ends it.
fn bulk(world: &mut World, id: ReplicaId, pid: u32, file: &str, payload: &str) -> String {
    let Some(map) = MapId::ALL.into_iter().find(|id| id.file() == file) else {
        return "Unknown map identifier. Please use #<id> or <file>.\n".to_owned();
    };
    for line in payload.lines() {
        let Some((key, value)) = line.split_once(' ') else {
            return format!("Missing value for key '{line}'.\n");
        };
        let command = RuntimeCommand::AddMapEntry { map, key: key.into(), value: value.into() };
        let reply = world.carry_out(id, pid, &command);
        if matches!(reply, Reply::Refused(_)) {
            return answers::of(world.of(id).site.version, &command, &reply);
        }
    }
    String::new()
}

fn kind_of(kind: &str) -> Option<(&'static str, &'static str)> {
    match kind {
        "cert" => Some(("cert", "certificate")),
        "ca-file" => Some(("ca-file", "CA")),
        _ => None,
    }
}

fn name(world: &mut World, id: ReplicaId, pid: u32, kind: &str, file: &str) -> String {
    let Some(worker) = world.at(id).site.worker(pid) else { return String::new() };
    let is_certificate = kind == "cert";
    if worker.memory.files.contains(file) || !worker.empty.insert(file.to_owned()) {
        let what = if is_certificate { "Certificate" } else { "CA file" };
        return format!("{what} '{file}' already exists!\n");
    }
    if is_certificate {
        format!("New empty certificate store '{file}'!\n")
    } else {
        format!("New CA file created '{file}'!\n")
    }
}

fn set(
    world: &mut World,
    id: ReplicaId,
    pid: u32,
    kind: &str,
    file: &str,
    payload: Option<&str>,
) -> String {
    let version = world.of(id).site.version;
    let refused = String::from_utf8_lossy(&world.of(id).site.refused_content).trim().to_owned();
    let Some(worker) = world.at(id).site.worker(pid) else { return String::new() };
    let Some((kind, words)) = kind_of(kind) else { return answers::unknown(version, "set") };
    let known = worker.memory.files.contains(file) || worker.empty.contains(file);
    if !known && file != crt_list::DEFAULT_FILE {
        return format!(
            "Can't replace a certificate which is not referenced by the configuration!\nCan't \
             update {file}!\n"
        );
    }
    if let Some((other, content)) = worker.transactions.get_mut(kind)
        && other != file
    {
        if version == Version::V26 && kind == "cert" {
            *content = payload.unwrap_or("").into();
            return format!("Transaction updated for certificate {other}!\n");
        }
        return format!(
            "The ongoing transaction is about '{other}' but you are trying to set '{file}'\nCan't \
             update {file}!\n"
        );
    }
    let payload = payload.unwrap_or("");
    if !super::process::whole(payload.as_bytes()) || payload.trim() == refused {
        return format!(
            "unable to load certificate from file '{file}': no start line.\nCan't load the \
             payload\nCan't update {file}!\n"
        );
    }
    let had = worker.transactions.insert(kind, (file.to_owned(), payload.into())).is_some();
    let done = if had { "updated" } else { "created" };
    let transaction = if kind == "cert" { "Transaction" } else { "transaction" };
    format!("{transaction} {done} for {words} {file}!\n")
}

fn commit(world: &mut World, id: ReplicaId, pid: u32, kind: &str, file: &str) -> String {
    let version = world.of(id).site.version;
    let Some(worker) = world.at(id).site.worker(pid) else { return String::new() };
    let Some((kind, _)) = kind_of(kind) else { return answers::unknown(version, "commit") };
    match worker.transactions.get(kind) {
        None => return format!("No ongoing transaction! !\nCan't commit {file}!\n"),
        Some((other, _)) if other != file => {
            return format!(
                "The ongoing transaction is about '{other}' but you are trying to set \
                 '{file}'\nCan't commit {file}!\n"
            );
        }
        Some(_) => {}
    }
    worker.transactions.remove(kind);
    worker.empty.remove(file);
    let digest = Digest([0; 16]);
    let command = match (kind, file) {
        (_, crt_list::DEFAULT_FILE) => {
            RuntimeCommand::ReplaceDefaultCertificate { digest: Some(digest) }
        }
        ("cert", _) => RuntimeCommand::InstallCertificate { file: file.into(), digest },
        _ => RuntimeCommand::InstallAuthority { file: file.into(), digest },
    };
    match world.carry_out(id, pid, &command) {
        Reply::Done | Reply::Needless(_) => format!("Committing {file}.\nSuccess!\n"),
        Reply::Refused(words) => format!("{words}\nCan't commit {file}!\n"),
    }
}

fn abort(world: &mut World, id: ReplicaId, pid: u32, kind: &str, file: &str) -> String {
    let Some(worker) = world.at(id).site.worker(pid) else { return String::new() };
    match (worker.transactions.get(kind), kind_of(kind)) {
        (Some((other, _)), Some((kind, words))) if other == file => {
            worker.transactions.remove(kind);
            format!("Transaction aborted for {words} '{file}'!\n")
        }
        _ => "No ongoing transaction!\n".to_owned(),
    }
}

/// `FILE`, or `FILE:LINE` where the file has several lines.
fn delete_line(world: &mut World, id: ReplicaId, pid: u32, list: &str, entry: &str) -> String {
    let version = world.of(id).site.version;
    let Some(worker) = world.at(id).site.worker(pid) else { return String::new() };
    if list != crt_list::FILE {
        return format!("Can't delete the entry: crt-list '{list}' does not exist!\n");
    }
    let (file, number) = match entry.rsplit_once(':') {
        Some((file, number)) if number.parse::<u64>().is_ok() => (file, number.parse().ok()),
        _ => (entry, None::<u64>),
    };
    let numbered = worker.memory.crt_list.iter().zip(&worker.lines);
    let numbers: Vec<u64> =
        numbered.filter(|((f, _), _)| f == file).map(|(_, number)| *number).collect();
    if let Some(number) = number
        && numbers.len() > 1
        && let Some(at) = worker.lines.iter().position(|line| *line == number)
    {
        worker.memory.crt_list.remove(at);
        worker.lines.remove(at);
        return format!("Entry '{file}' deleted in crtlist '{list}'!\n");
    }
    if numbers.len() > 1 {
        let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
        return format!(
            "Can't delete the entry: found the certificate '{file}' in several entries, please \
             specify a line number preceded by colons ({})!\n",
            numbers.join(", ")
        );
    }
    let command = RuntimeCommand::DeleteCrtListLine { file: file.into() };
    let reply = world.carry_out(id, pid, &command);
    answers::of(version, &command, &reply)
}
