//! The configuration in which HAProxy judges one snippet by itself: nothing in it but the snippet in
//! its place and what HAProxy needs around it. HAProxy's words about it, by line of the snippet.

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};

use super::{Place, Snippet};
use crate::annotations::value::quoted;

/// Characters of HAProxy's words in a message.
const WORDS_MAX: usize = 400;

/// Before the snippet; each line counts for [`explain`].
fn before(place: Place, dir: &str) -> String {
    let global = format!("global\n  default-path origin {dir}\n  maxconn 100\n");
    let timeouts = "  timeout connect 1s\n  timeout server 1s\n  timeout client 1s\n";
    let front = format!("defaults front\n  mode http\n{timeouts}");
    match place {
        Place::Global => global,
        Place::Defaults => format!("{global}{front}"),
        Place::Frontend | Place::Stats => {
            format!("{global}{front}frontend f from front\n  bind 127.0.0.1:1\n")
        }
        Place::Backend => format!(
            "{global}defaults p\n  mode http\n  balance roundrobin\n{timeouts}  option redispatch 1\n"
        ),
    }
}

/// After the snippet. HAProxy wants something to listen on, and is not started.
fn after(place: Place) -> String {
    let listens = "frontend f from front\n  bind 127.0.0.1:1\n";
    let front = format!("defaults front\n  mode http\n  timeout client 1s\n{listens}");
    match place {
        Place::Global => front,
        Place::Defaults => listens.into(),
        Place::Frontend => "  http-request return status 404\n".into(),
        Place::Stats => "  http-request return status 404 if { path /x }\n".into(),
        Place::Backend => format!("backend b from p\n  server s 127.0.0.1:1\n{front}"),
    }
}

/// Writes the configuration of a trial in the folder `dir`, which has the snippet's files.
///
/// # Errors
/// Those of `out`.
pub fn write(snippet: &Snippet, dir: &str, out: &mut dyn Write) -> fmt::Result {
    out.write_str(&before(snippet.place, dir))?;
    for line in snippet.text.lines() {
        writeln!(out, "  {line}")?;
    }
    out.write_str(&after(snippet.place))
}

/// HAProxy's words on a trial, with the line of the snippet they are about, if they say.
#[must_use]
pub fn explain(snippet: &Snippet, words: &str) -> String {
    let first = before(snippet.place, "").lines().count() + 1;
    let placed = words.lines().find_map(|line| {
        let (_, rest) = line.split_once("parsing [")?;
        let (place, said) = rest.split_once(']')?;
        let number: usize = place.rsplit_once(':')?.1.parse().ok()?;
        let at = number.checked_sub(first)?;
        let text = snippet.text.lines().nth(at)?;
        Some((at + 1, text, said.trim_start_matches([' ', ':'])))
    });
    match placed {
        Some((number, text, said)) => {
            format!("line {number}, {}: HAProxy refuses it: {}", quoted(text), short(said))
        }
        None => format!("HAProxy refuses the snippet: {}", short(words.trim())),
    }
}

/// Begin and end of long words: HAProxy lists everything it expected before it says what it met.
fn short(words: &str) -> String {
    let count = words.chars().count();
    if count <= WORDS_MAX {
        return words.into();
    }
    let half = WORDS_MAX / 2;
    let begin: String = words.chars().take(half).collect();
    let end: String = words.chars().skip(count - half).collect();
    format!("{begin} … {end}")
}

#[cfg(test)]
mod tests {
    use super::super::Author;
    use super::*;

    #[test]
    fn haproxys_words_are_about_a_line_of_the_snippet() {
        let text = "acl a path /x\nhttp-request dney\n";
        let snippet = Snippet::read(Place::Backend, Author::Tenant, text, &|_| None).unwrap();
        let mut config = String::new();
        write(&snippet, "/d", &mut config).unwrap();
        let number = config.lines().position(|line| line.contains("dney")).unwrap() + 1;
        let words = format!("parsing [/d/haproxy.cfg:{number}] : 'http-request' expects ...");
        let told = explain(&snippet, &words);
        assert!(told.starts_with("line 2, \"http-request dney\": HAProxy refuses it: "), "{told}");
        assert!(explain(&snippet, "out of memory").starts_with("HAProxy refuses the snippet: "));
    }
}
