//! Reading back what a worker has in memory.
//!
//! Job: ask one worker for everything core compares, and parse the answers. Inputs: a connection.
//! Outputs: who answered ([`Identity`]) and [`Observed`]. Not here: comparing.
//!
//! Left out on purpose: the static proxies of the skeleton (their names start with `tidegate-`),
//! HAProxy's own `@system-ca`, and files of certificates that were named (`new ssl …`) but never
//! filled: for core they are not there, and installing them again fills them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::{io, mem};

use tidegate_core::action::MapId;
use tidegate_core::event::{Observed, ObservedBackend, ObservedServer};
use tidegate_core::render::crt_list;

use super::socket::Connection;

/// Names of the skeleton's own proxies start so.
const STATIC_PREFIX: &str = "tidegate-";
/// `srv_admin_state` bits that keep traffic away: forced, inherited and resolution maintenance,
/// forced and inherited drain. (4 only says that the configuration had `disabled`.)
const ADMIN_NOT_READY: u32 = 0x01 | 0x02 | 0x08 | 0x10 | 0x20;
/// Port of a slot that no endpoint uses, with 127.0.0.1.
const EMPTY_SLOT_PORT: u16 = 1;

/// Which process answers: two answers with equal values come from the same process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Process id, as the process sees it.
    pub pid: u32,
    /// Unix time of its start, in seconds.
    pub start_s: u64,
    /// HAProxy's version.
    pub version: String,
}

/// The part of `show info` that is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Which process.
    pub identity: Identity,
    /// `description` of the global section.
    pub description: String,
    /// It is an old worker that only finishes its connections.
    pub stopping: bool,
}

/// Asks who answers.
///
/// # Errors
/// Those of the connection; `InvalidData` for an answer without process id.
pub async fn info(connection: &mut Connection) -> io::Result<Info> {
    let answer = connection.ask("show info").await?;
    parse_info(&answer).ok_or_else(|| invalid("show info"))
}

/// Reads everything back.
///
/// # Errors
/// Those of the connection; `InvalidData` for an answer that cannot be read.
pub async fn read(connection: &mut Connection) -> io::Result<(Info, Observed)> {
    let info = info(connection).await?;
    let mut observed = Observed::default();
    for map in MapId::ALL {
        let mut entries = Vec::new();
        let show = format!("show map {}", map.file());
        connection.lines(&show, |line| entries.extend(map_entry(line))).await?;
        observed.maps.push((map, entries));
    }
    let mut names = parse_backends(&connection.ask("show backend").await?);
    // A line for each server: by far the longest answer.
    let mut servers = ServersState::default();
    connection.lines("show servers state", |line| servers.line(line)).await?;
    let mut servers = servers.finish().ok_or_else(|| invalid("show servers state"))?;
    observed.certificates = parse_certificates(&connection.ask("show ssl cert").await?);
    observed.authorities = parse_authorities(&connection.ask("show ssl ca-file").await?);
    let show = format!("show ssl crt-list {}", crt_list::FILE);
    observed.crt_list = parse_crt_list(&connection.ask(&show).await?);
    observed.skeleton = info.description.as_str().into();
    names.sort_unstable();
    names.dedup();
    observed.backends = names
        .into_iter()
        .map(|name| {
            let servers = servers.remove(&name).unwrap_or_default();
            ObservedBackend { name, servers }
        })
        .collect();
    drop_empty(connection, &mut observed).await?;
    Ok((info, observed))
}

/// Drops files of certificates without content. A file in the crt-list has some; of the others
/// (client certificates, mostly) each is asked for.
async fn drop_empty(connection: &mut Connection, observed: &mut Observed) -> io::Result<()> {
    let mut listed: Vec<&str> = observed.crt_list.iter().map(|(file, _)| &**file).collect();
    listed.sort_unstable();
    let suspects: Vec<Box<str>> = observed
        .certificates
        .iter()
        .filter(|file| listed.binary_search(&&***file).is_err())
        .cloned()
        .collect();
    if suspects.is_empty() {
        return Ok(());
    }
    let text: String = suspects.iter().map(|file| format!("show ssl cert {file}\n")).collect();
    let mut empty = Vec::new();
    connection
        .exchange(text.as_bytes(), suspects.len(), |number, answer| {
            let answer = String::from_utf8_lossy(answer);
            if answer.lines().any(|line| line.trim() == "Status: Empty")
                && let Some(file) = suspects.get(number)
            {
                empty.push(file.clone());
            }
        })
        .await?;
    observed.certificates.retain(|file| !empty.contains(file));
    Ok(())
}

fn invalid(command: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no sense in the answer to {command}"))
}

/// Parses `show info`.
#[must_use]
pub fn parse_info(answer: &str) -> Option<Info> {
    let field = |name: &str| {
        answer.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key == name).then(|| value.trim())
        })
    };
    Some(Info {
        identity: Identity {
            pid: field("Pid")?.parse().ok()?,
            start_s: field("Start_time_sec").and_then(|text| text.parse().ok()).unwrap_or(0),
            version: field("Version")?.to_owned(),
        },
        description: field("description").unwrap_or("").to_owned(),
        stopping: field("Stopping") == Some("1"),
    })
}

/// Parses `show map FILE`: `0xPOINTER KEY VALUE` per line; nothing for an unknown map.
#[must_use]
pub fn parse_map(answer: &str) -> Vec<(Box<str>, Box<str>)> {
    answer.lines().filter_map(map_entry).collect()
}

fn map_entry(line: &str) -> Option<(Box<str>, Box<str>)> {
    let (_, entry) = line.split_once(' ').filter(|_| line.starts_with("0x"))?;
    let (key, value) = entry.split_once(' ')?;
    Some((key.into(), value.into()))
}

fn parse_backends(answer: &str) -> Vec<Box<str>> {
    answer
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter(|name| !name.starts_with(STATIC_PREFIX))
        .map(Into::into)
        .collect()
}

/// Servers by backend, in HAProxy's order.
type Servers = BTreeMap<Box<str>, Vec<ObservedServer>>;

/// Reads `show servers state`: a version, the names of the columns, and a line for each server.
#[derive(Default)]
struct ServersState {
    lines: usize,
    columns: Option<Columns>,
    unreadable: bool,
    /// The backend of the last lines with its servers.
    backend: Box<str>,
    servers: Vec<ObservedServer>,
    out: Servers,
}

struct Columns {
    backend: usize,
    server: usize,
    address: usize,
    port: usize,
    admin: usize,
}

/// The words of a line that are used.
#[derive(Default)]
struct Words<'l> {
    backend: Option<&'l str>,
    server: Option<&'l str>,
    address: Option<&'l str>,
    port: Option<&'l str>,
    admin: Option<&'l str>,
}

impl Columns {
    fn read(header: &str) -> Option<Columns> {
        let header = header.strip_prefix('#')?;
        let header = header.trim();
        let column = |name: &str| header.split(' ').position(|word| word == name);
        Some(Columns {
            backend: column("be_name")?,
            server: column("srv_name")?,
            address: column("srv_addr")?,
            port: column("srv_port")?,
            admin: column("srv_admin_state")?,
        })
    }
}

impl ServersState {
    fn line(&mut self, line: &str) {
        match self.lines {
            0 => self.unreadable = line.trim() != "1",
            1 => self.columns = Columns::read(line),
            _ => self.unreadable |= self.server(line).is_none(),
        }
        self.lines += 1;
    }

    /// `None` if the line makes no sense.
    fn server(&mut self, line: &str) -> Option<()> {
        let columns = self.columns.as_ref()?;
        let mut words = Words::default();
        // Each line once: there is one for each server.
        for (at, word) in line.split(' ').enumerate() {
            match at {
                at if at == columns.backend => words.backend = Some(word),
                at if at == columns.server => words.server = Some(word),
                at if at == columns.address => words.address = Some(word),
                at if at == columns.admin => words.admin = Some(word),
                at if at == columns.port => words.port = Some(word),
                _ => {}
            }
        }
        let (Some(backend), Some(server)) = (words.backend, words.server) else {
            return Some(());
        };
        if backend.starts_with(STATIC_PREFIX) {
            return Some(());
        }
        let ip = words.address.and_then(|text| IpAddr::from_str(text).ok());
        let port = words.port.and_then(|text| text.parse().ok());
        let admin: u32 = words.admin?.parse().ok()?;
        let observed = ObservedServer {
            slot: server.strip_prefix('s').and_then(|number| number.parse().ok()).unwrap_or(0),
            address: ip.zip(port).and_then(|(ip, port)| used(SocketAddr::new(ip, port))),
            ready: admin & ADMIN_NOT_READY == 0,
        };
        if *self.backend != *backend {
            self.next(backend.into());
        }
        self.servers.push(observed);
        Some(())
    }

    /// Keeps what was gathered, in no more room than it takes.
    fn next(&mut self, backend: Box<str>) {
        let done = mem::replace(&mut self.backend, backend);
        if !self.servers.is_empty() {
            self.out.entry(done).or_default().extend_from_slice(&self.servers);
            self.servers.clear();
        }
    }

    /// `None` if the answer has another format.
    fn finish(mut self) -> Option<Servers> {
        self.next(Box::default());
        (!self.unreadable && self.columns.is_some()).then_some(self.out)
    }
}

/// An address, unless it is that of an unused slot.
fn used(address: SocketAddr) -> Option<SocketAddr> {
    let empty = address.ip().is_unspecified()
        || (address.ip().is_loopback() && address.port() == EMPTY_SLOT_PORT);
    (!empty).then_some(address)
}

fn parse_certificates(answer: &str) -> Vec<Box<str>> {
    let mut out: Vec<Box<str>> = file_lines(answer)
        .filter_map(|line| line.split_whitespace().next())
        .map(Into::into)
        .collect();
    out.sort_unstable();
    out
}

fn parse_authorities(answer: &str) -> Vec<Box<str>> {
    let mut out: Vec<Box<str>> = file_lines(answer)
        .filter_map(|line| {
            // "ca/x.pem - 2 certificate(s)"
            let (file, count) = line.split_once(" - ").unwrap_or((line, ""));
            (!file.starts_with('@') && !count.starts_with("0 ")).then(|| file.trim().into())
        })
        .collect();
    out.sort_unstable();
    out
}

/// Lines after `# filename`; what stands before it is a transaction.
fn file_lines(answer: &str) -> impl Iterator<Item = &str> {
    answer
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "# filename")
        .skip(1)
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '*']))
}

fn parse_crt_list(answer: &str) -> Vec<(Box<str>, Vec<Box<str>>)> {
    if !answer.starts_with('#') {
        return Vec::new();
    }
    answer
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| {
            let (file, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            // Options stand in brackets before the filters.
            let filters = match rest.trim_start().strip_prefix('[') {
                Some(options) => options.split_once(']').map_or("", |(_, filters)| filters),
                None => rest,
            };
            let filters = filters.split_whitespace().map(Into::into).collect();
            (!file.is_empty()).then(|| (file.into(), filters))
        })
        .collect()
}

#[cfg(test)]
#[path = "readback_tests.rs"]
mod tests;
