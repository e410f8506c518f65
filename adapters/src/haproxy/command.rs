//! From runtime commands to the lines of HAProxy's CLI.
//!
//! Job: write each [`RuntimeCommand`] as one or more lines, escaped for the CLI, and say which
//! answer belongs to which command. Inputs: commands, the bytes of certificates by digest, the size
//! limits of this HAProxy. Output: a [`Script`]. Not here: sending, judging.
//!
//! Consecutive additions to one map travel as one payload. A file of certificates takes four lines:
//! `new`, `set`, `commit`, and an `abort` that finds nothing to do unless the commit failed, as an
//! open transaction would swallow the next file's bytes on 2.6.

use std::borrow::Cow;
use std::sync::Arc;

use tidegate_core::action::{MapId, RuntimeCommand, ServerState};
use tidegate_core::event::Outcome;
use tidegate_core::render::{FileContent, crt_list};

/// Size limits of the CLI, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One line without payload.
    pub line: usize,
    /// One payload with its command.
    pub payload: usize,
}

impl Limits {
    /// Holds everywhere: a line or payload fits `tune.bufsize` (16 KiB) with room to spare.
    pub const SMALL: Limits = Limits { line: 12_000, payload: 12_000 };
    /// 3.4 and later: `tune.cli.max-payload-size` is 128 KiB.
    pub const LARGE: Limits = Limits { line: 12_000, payload: 100_000 };
}

/// Most arguments a line may have; beyond it 2.6 and 3.0 cut silently.
const WORDS_MAX: usize = 64;

/// Lines to send and how to read the answers.
#[derive(Debug, Default)]
pub struct Script {
    /// The lines.
    pub text: Vec<u8>,
    /// One per answer, in order.
    pub steps: Vec<Step>,
    /// Commands that could not be written, with the reason.
    pub refused: Vec<(usize, Outcome)>,
}

/// What one answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Index of the (first) command.
    pub first: usize,
    /// How many commands this line holds; more than one for [`Part::Bulk`] only.
    pub count: usize,
    /// Which part of the command.
    pub part: Part,
}

/// Part of a command that a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Several additions to one map.
    Bulk,
    /// `new ssl …`
    New,
    /// `set ssl …`
    Set,
    /// `commit ssl …`
    Commit,
    /// `abort ssl …`
    Abort,
}

/// Writes commands, whose numbers start at `offset`. `bytes` gives the content of files.
pub fn encode(
    commands: &[RuntimeCommand],
    offset: usize,
    limits: Limits,
    bytes: &dyn Fn(&FileContent) -> Option<Arc<[u8]>>,
) -> Script {
    let mut script = Script::default();
    // Most lines are shorter.
    script.text.reserve(160 * commands.len());
    script.steps.reserve(commands.len());
    let mut at = 0;
    while let Some(command) = commands.get(at) {
        let group = bulk_length(&commands[at..], limits);
        if group > 1 {
            script.push_bulk(&commands[at..at + group], offset + at);
            at += group;
            continue;
        }
        let mark = (script.text.len(), script.steps.len());
        if let Err(why) = script.push(command, offset + at, limits, bytes) {
            script.text.truncate(mark.0);
            script.steps.truncate(mark.1);
            script.refused.push((offset + at, Outcome::Refused(why.into())));
        }
        at += 1;
    }
    script
}

/// The kind of TLS file, as the CLI calls it, and the file's name, for commands of four lines.
#[must_use]
pub fn installed_file(command: &RuntimeCommand) -> Option<(&'static str, &str)> {
    match command {
        RuntimeCommand::InstallCertificate { file, digest: _ } => Some(("cert", file)),
        RuntimeCommand::InstallAuthority { file, digest: _ } => Some(("ca-file", file)),
        RuntimeCommand::ReplaceDefaultCertificate { digest: _ } => {
            Some(("cert", crt_list::DEFAULT_FILE))
        }
        _ => None,
    }
}

impl Script {
    fn push(
        &mut self,
        command: &RuntimeCommand,
        number: usize,
        limits: Limits,
        bytes: &dyn Fn(&FileContent) -> Option<Arc<[u8]>>,
    ) -> Result<(), String> {
        match command {
            RuntimeCommand::InstallCertificate { file, digest } => {
                let content = FileContent::Certificate(*digest);
                self.push_install("cert", file, true, &content, number, limits, bytes)
            }
            RuntimeCommand::InstallAuthority { file, digest } => {
                let content = FileContent::Authority(*digest);
                self.push_install("ca-file", file, true, &content, number, limits, bytes)
            }
            RuntimeCommand::ReplaceDefaultCertificate { digest } => {
                let content = FileContent::DefaultCertificate(*digest);
                let file = crt_list::DEFAULT_FILE;
                self.push_install("cert", file, false, &content, number, limits, bytes)
            }
            RuntimeCommand::AddCrtListLine { file, hosts } => {
                // As a payload: a line with filters is not accepted otherwise.
                let mut payload = word(file)?.to_owned();
                let options = crt_list::options(file);
                if !options.is_empty() {
                    payload.push(' ');
                    payload.push_str(&options);
                }
                for host in hosts {
                    payload.push(' ');
                    payload.push_str(word(host)?);
                }
                self.payload(&["add", "ssl", "crt-list", crt_list::FILE], &payload, limits)?;
                self.steps.push(Step { first: number, count: 1, part: Part::Whole });
                Ok(())
            }
            other => {
                let words = words(other)?;
                if words.len() > WORDS_MAX {
                    return Err("tidegate: more than 64 words".into());
                }
                self.line(&words, limits)?;
                self.steps.push(Step { first: number, count: 1, part: Part::Whole });
                Ok(())
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "private, called three times above")]
    fn push_install(
        &mut self,
        kind: &str,
        file: &str,
        new: bool,
        content: &FileContent,
        number: usize,
        limits: Limits,
        bytes: &dyn Fn(&FileContent) -> Option<Arc<[u8]>>,
    ) -> Result<(), String> {
        let pem = bytes(content).ok_or("tidegate: the bytes of this file are not at hand")?;
        let pem = String::from_utf8_lossy(&pem);
        // An empty line would end the payload.
        let lines: Vec<&str> =
            pem.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let mut step = |part| self.steps.push(Step { first: number, count: 1, part });
        if new {
            step(Part::New);
        }
        for part in [Part::Set, Part::Commit, Part::Abort] {
            step(part);
        }
        if new {
            self.line(&["new", "ssl", kind, file], limits)?;
        }
        self.payload(&["set", "ssl", kind, file], &lines.join("\n"), limits)?;
        self.line(&["commit", "ssl", kind, file], limits)?;
        self.line(&["abort", "ssl", kind, file], limits)
    }

    fn push_bulk(&mut self, commands: &[RuntimeCommand], number: usize) {
        let mut map = None;
        for command in commands {
            let RuntimeCommand::AddMapEntry { map: id, key, value } = command else { continue };
            if map.is_none() {
                self.text.extend_from_slice(b"add map ");
                self.text.extend_from_slice(id.file().as_bytes());
                self.text.extend_from_slice(b" <<\n");
                map = Some(*id);
            }
            self.text.extend_from_slice(key.as_bytes());
            self.text.push(b' ');
            self.text.extend_from_slice(value.as_bytes());
            self.text.push(b'\n');
        }
        self.text.push(b'\n');
        self.steps.push(Step { first: number, count: commands.len(), part: Part::Bulk });
    }

    fn words(&mut self, words: &[impl AsRef<str>]) -> Result<(), String> {
        for (position, word) in words.iter().enumerate() {
            if position > 0 {
                self.text.push(b' ');
            }
            escape(word.as_ref(), &mut self.text)?;
        }
        Ok(())
    }

    fn line(&mut self, words: &[impl AsRef<str>], limits: Limits) -> Result<(), String> {
        let start = self.text.len();
        self.words(words)?;
        self.text.push(b'\n');
        let length = self.text.len() - start;
        if length > limits.line { Err(too_long(length)) } else { Ok(()) }
    }

    fn payload(&mut self, words: &[&str], payload: &str, limits: Limits) -> Result<(), String> {
        let start = self.text.len();
        self.words(words)?;
        self.text.extend_from_slice(b" <<\n");
        self.text.extend_from_slice(payload.as_bytes());
        self.text.extend_from_slice(b"\n\n");
        let length = self.text.len() - start;
        if length > limits.payload { Err(too_long(length)) } else { Ok(()) }
    }
}

fn too_long(length: usize) -> String {
    format!("tidegate: {length} bytes are too many for the runtime socket")
}

/// How many of the first commands are additions to one map that fit one payload.
fn bulk_length(commands: &[RuntimeCommand], limits: Limits) -> usize {
    let mut wanted: Option<MapId> = None;
    let mut bytes = 64;
    for (count, command) in commands.iter().enumerate() {
        let RuntimeCommand::AddMapEntry { map, key, value } = command else { return count };
        bytes += key.len() + value.len() + 2;
        let fits = *wanted.get_or_insert(*map) == *map
            && bytes <= limits.payload
            && check_entry(key, value).is_ok();
        if !fits {
            return count;
        }
    }
    commands.len()
}

/// A map entry that HAProxy reads back the way it was sent.
fn check_entry(key: &str, value: &str) -> Result<(), String> {
    word(key)?;
    if value.is_empty() || value.starts_with([' ', '\t']) {
        return Err("tidegate: a map value cannot be empty or begin with white space".into());
    }
    if value.contains(['\n', '\r', '\0']) {
        return Err("tidegate: a map value cannot contain a line end".into());
    }
    Ok(())
}

/// A text without white space and control characters.
fn word(text: &str) -> Result<&str, String> {
    let plain = |byte: u8| byte.is_ascii_graphic();
    let strange = |c: char| c.is_ascii_whitespace() || c.is_control();
    if text.is_empty() || (!text.bytes().all(plain) && text.contains(strange)) {
        Err("tidegate: empty, white space or control characters in a name".into())
    } else {
        Ok(text)
    }
}

fn words(command: &RuntimeCommand) -> Result<Vec<Cow<'_, str>>, String> {
    Ok(match command {
        RuntimeCommand::AddBackend { backend, profile } => {
            plain(&["add", "backend", word(backend)?, "from", word(profile)?])
        }
        RuntimeCommand::PublishBackend { backend } => {
            plain(&["publish", "backend", word(backend)?])
        }
        RuntimeCommand::UnpublishBackend { backend } => {
            plain(&["unpublish", "backend", word(backend)?])
        }
        RuntimeCommand::DeleteBackend { backend } => plain(&["del", "backend", word(backend)?]),
        RuntimeCommand::AddServer { backend, server, address, keywords } => {
            let mut words = of_server(&["add", "server"], backend, server)?;
            words.push(address.to_string().into());
            words.extend(config_words(keywords)?.into_iter().map(Cow::Owned));
            words
        }
        RuntimeCommand::SetServerAddress { backend, server, address } => {
            let mut words = of_server(&["set", "server"], backend, server)?;
            words.extend(["addr".into(), address.ip().to_string().into()]);
            words.extend(["port".into(), address.port().to_string().into()]);
            words
        }
        RuntimeCommand::SetServerState { backend, server, state } => {
            let state = match state {
                ServerState::Ready => "ready",
                ServerState::Drain => "drain",
                ServerState::Maint => "maint",
            };
            let mut words = of_server(&["set", "server"], backend, server)?;
            words.extend(["state".into(), state.into()]);
            words
        }
        RuntimeCommand::EnableHealth { backend, server } => {
            of_server(&["enable", "health"], backend, server)?
        }
        RuntimeCommand::ShutdownSessions { backend, server } => {
            of_server(&["shutdown", "sessions", "server"], backend, server)?
        }
        RuntimeCommand::DeleteServer { backend, server } => {
            of_server(&["del", "server"], backend, server)?
        }
        RuntimeCommand::AddMapEntry { map, key, value } => entry("add", *map, key, value)?,
        RuntimeCommand::SetMapEntry { map, key, value } => entry("set", *map, key, value)?,
        RuntimeCommand::DeleteMapEntry { map, key } => {
            plain(&["del", "map", map.file(), word(key)?])
        }
        RuntimeCommand::DeleteCertificate { file } => plain(&["del", "ssl", "cert", word(file)?]),
        RuntimeCommand::DeleteAuthority { file } => plain(&["del", "ssl", "ca-file", word(file)?]),
        RuntimeCommand::DeleteCrtListLine { file } => {
            plain(&["del", "ssl", "crt-list", crt_list::FILE, word(file)?])
        }
        RuntimeCommand::InstallCertificate { .. }
        | RuntimeCommand::ReplaceDefaultCertificate { .. }
        | RuntimeCommand::AddCrtListLine { .. }
        | RuntimeCommand::InstallAuthority { .. } => {
            return Err("tidegate: not a command of one line".into());
        }
    })
}

fn plain<'a>(words: &[&'a str]) -> Vec<Cow<'a, str>> {
    words.iter().map(|word| Cow::Borrowed(*word)).collect()
}

/// Words about a server, which is the last of them.
fn of_server<'a>(
    words: &[&'a str],
    backend: &str,
    server: &str,
) -> Result<Vec<Cow<'a, str>>, String> {
    let mut words = plain(words);
    words.push([word(backend)?, "/", word(server)?].concat().into());
    Ok(words)
}

fn entry<'a>(
    verb: &'static str,
    map: MapId,
    key: &'a str,
    value: &'a str,
) -> Result<Vec<Cow<'a, str>>, String> {
    check_entry(key, value)?;
    Ok(plain(&[verb, "map", map.file(), key, value]))
}

/// Escapes one word for the CLI: `;` ends a command, a space a word, `<<` begins a payload, and
/// `\` takes the meaning of each. (Found to round-trip every printable byte on 2.6 to 3.4.)
fn escape(word: &str, out: &mut Vec<u8>) -> Result<(), String> {
    if word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-./:_".contains(&byte)) {
        out.extend_from_slice(word.as_bytes());
        return Ok(());
    }
    for byte in word.bytes() {
        match byte {
            b'\n' | b'\r' | 0 => return Err("tidegate: a line end in a word".into()),
            b'\\' | b';' | b' ' | b'\t' | b'<' | b'"' | b'\'' | b'#' => {
                out.extend_from_slice(&[b'\\', byte]);
            }
            _ => out.push(byte),
        }
    }
    Ok(())
}

/// The words of configuration text: what HAProxy's configuration lexer makes of it. The CLI has
/// no quotes, so words are taken apart here and escaped anew.
fn config_words(text: &str) -> Result<Vec<String>, String> {
    enum In {
        Plain,
        Single,
        Double,
    }
    let (mut words, mut current, mut state) = (Vec::new(), None::<String>, In::Plain);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (&state, c) {
            (In::Plain, ' ' | '\t') => words.extend(current.take()),
            (In::Plain, '\'') => {
                state = In::Single;
                current.get_or_insert_default();
            }
            (In::Plain, '"') => {
                state = In::Double;
                current.get_or_insert_default();
            }
            (In::Single, '\'') | (In::Double, '"') => state = In::Plain,
            (In::Plain | In::Double, '\\') => {
                let escaped = match chars.next() {
                    Some(c @ ('\\' | '"' | '\'' | ' ' | '#' | '$')) => c,
                    Some(other) => return Err(format!("tidegate: '\\{other}' in server keywords")),
                    None => return Err("tidegate: server keywords end in a backslash".into()),
                };
                current.get_or_insert_default().push(escaped);
            }
            (In::Plain, '#') => return Err("tidegate: a comment in server keywords".into()),
            (In::Double, '$') => return Err("tidegate: a variable in server keywords".into()),
            (In::Plain | In::Single | In::Double, c) => current.get_or_insert_default().push(c),
        }
    }
    match state {
        In::Plain => words.extend(current),
        In::Single | In::Double => return Err("tidegate: an open quote in server keywords".into()),
    }
    Ok(words)
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
