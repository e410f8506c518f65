//! Configuration snippets: lines of HAProxy's configuration that users write themselves.
//!
//! Inputs: texts of the controller's ConfigMap, of Ingresses and of Services. Outputs: snippets whose
//! every line passed an allow-list of its place, with the pattern files they name; the configuration
//! in which HAProxy judges one by itself; HAProxy's words by line. Nothing joins that was not judged
//! (`world::snippets`). Not here: running HAProxy.

mod allowed;
mod rights;
mod trial;
mod words;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use serde::{Deserialize, Serialize};

use crate::annotations::Refusal;
use crate::digest::Digest;
pub use allowed::{Author, list as directives};
pub use rights::Rights;
pub use trial::{explain, write as write_trial};

/// Bytes of a snippet.
const BYTES_MAX: usize = 16_384;
/// Lines of a snippet.
const LINES_MAX: usize = 256;
/// Bytes of the pattern files of a snippet.
const FILES_BYTES_MAX: usize = 4 << 20;

/// Where a snippet's lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// The section `global`.
    Global,
    /// The named defaults of the frontends.
    Defaults,
    /// The frontend that serves requests, before its own rules.
    Frontend,
    /// The frontend with HAProxy's own health, metrics and statistics.
    Stats,
    /// The named defaults of one or more backends, before their own rules.
    Backend,
}

impl Place {
    /// Every place.
    pub const ALL: [Place; 5] =
        [Place::Global, Place::Defaults, Place::Frontend, Place::Stats, Place::Backend];

    /// Those of the static part.
    pub const STATIC: [Place; 4] = [Place::Global, Place::Defaults, Place::Frontend, Place::Stats];

    /// Its name, as in `--disable-config-snippets`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Place::Global => "global",
            Place::Defaults => "defaults",
            Place::Frontend => "frontend",
            Place::Stats => "stats",
            Place::Backend => "backend",
        }
    }

    /// The key of its snippets, without prefix.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Place::Global => "global-config-snippet",
            Place::Defaults => "defaults-config-snippet",
            Place::Frontend => "frontend-config-snippet",
            Place::Stats => "stats-config-snippet",
            Place::Backend => "backend-config-snippet",
        }
    }
}

/// Lines that passed the allow-list of their place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Snippet {
    /// Where they go.
    pub place: Place,
    /// The lines, as many as were written, each ended by a line feed.
    pub text: Arc<str>,
    /// The pattern files they name: name within a generation, and content.
    pub files: BTreeMap<Arc<str>, Arc<str>>,
}

impl Snippet {
    /// Reads a text. `pattern` gives the content of a pattern file.
    ///
    /// # Errors
    /// The first line that may not stand in that place.
    pub fn read(
        place: Place,
        author: Author,
        text: &str,
        pattern: &dyn Fn(&str) -> Option<Arc<str>>,
    ) -> Result<Snippet, Refusal> {
        let too_long = |what: String| Refusal::new(what, "shorten it");
        if text.len() > BYTES_MAX {
            let what = format!("the snippet has {} bytes, more than {BYTES_MAX}", text.len());
            return Err(too_long(what));
        }
        let (mut out, mut files, mut bytes) = (String::new(), BTreeMap::new(), 0);
        for (at, line) in text.trim_end().split('\n').enumerate() {
            let number = at + 1;
            if number > LINES_MAX {
                return Err(too_long(format!("the snippet has more than {LINES_MAX} lines")));
            }
            let line = line.strip_suffix('\r').unwrap_or(line);
            let named = |refusal: Refusal| {
                Refusal::new(format!("line {number}: {}", refusal.what), refusal.fix)
            };
            let words = words::split(line).map_err(named)?;
            let wanted = allowed::check(place, author, line, &words).map_err(named)?;
            let mut line = String::from(line.trim());
            for name in wanted {
                let Some(content) = pattern(&name) else {
                    return Err(named(Refusal::new(
                        format!("there is no pattern file {name}"),
                        "add it to a ConfigMap named by --configmap-patternfiles",
                    )));
                };
                bytes += content.len();
                if bytes > FILES_BYTES_MAX {
                    return Err(too_long(format!(
                        "the pattern files have more than {FILES_BYTES_MAX} bytes"
                    )));
                }
                // By content, so that what was judged is what is loaded.
                let hex = Digest::of(content.as_bytes()).short();
                let file = format!("patterns/{hex}-{name}");
                line = renamed(&line, &format!("patterns/{name}"), &file);
                files.insert(Arc::from(file), content);
            }
            out.push_str(&line);
            out.push('\n');
        }
        if out.trim().is_empty() {
            out.clear();
        }
        Ok(Snippet { place, text: out.into(), files })
    }

    /// Whether it has no line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// What names it: place, lines, and content of files.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let head = [self.place.name().as_bytes(), self.text.as_bytes()];
        let files = self.files.iter().flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]);
        Digest::of_parts(head.into_iter().chain(files))
    }

    /// This one, and after it the other.
    #[must_use]
    pub fn and(&self, other: &Snippet) -> Snippet {
        let files = self.files.iter().chain(&other.files);
        Snippet {
            place: self.place,
            text: format!("{}{}", self.text, other.text).into(),
            files: files.map(|(name, text)| (name.clone(), text.clone())).collect(),
        }
    }

    /// Writes the lines into a section.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for line in self.text.lines().filter(|line| !line.is_empty()) {
            writeln!(out, "  {line}")?;
        }
        Ok(())
    }
}

/// Replaces a whole name; one that only begins like it stays.
fn renamed(line: &str, old: &str, new: &str) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some((before, after)) = rest.split_once(old) {
        let ends = !after.bytes().next().is_some_and(is_name_byte);
        out.push_str(before);
        out.push_str(if ends { new } else { old });
        rest = after;
    }
    out.push_str(rest);
    out
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.'
}

/// Names of pattern files as snippets write them.
pub(crate) fn pattern_name(word: &str) -> Option<Box<str>> {
    let name = word.strip_prefix("patterns/")?;
    let fine = !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_name_byte);
    fine.then(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(place: Place, author: Author, text: &str) -> Result<Snippet, Refusal> {
        Snippet::read(place, author, text, &|name| {
            (name == "bad.lst").then(|| "10.0.0.0/8\n".into())
        })
    }

    #[test]
    fn lines_keep_their_numbers_and_files_get_names_by_content() {
        let text = "acl bad src -f patterns/bad.lst\n\n# comment\nhttp-request deny if bad\n";
        let snippet = read(Place::Backend, Author::Tenant, text).unwrap();
        assert_eq!(snippet.text.lines().count(), 4);
        let (name, content) = snippet.files.first_key_value().unwrap();
        assert!(name.starts_with("patterns/") && name.ends_with("-bad.lst"));
        assert!(snippet.text.contains(&**name));
        assert_eq!(&**content, "10.0.0.0/8\n");
        let refusal = read(Place::Backend, Author::Tenant, "\nacl x src -f patterns/none\n");
        assert!(refusal.unwrap_err().what.starts_with("line 2: there is no pattern file"));
        assert!(read(Place::Backend, Author::Tenant, " \n\n").unwrap().is_empty());
    }

    #[test]
    fn what_would_read_run_or_reach_is_refused() {
        let hostile = [
            "lua-load /tmp/x.lua",
            "http-request lua.x",
            "http-request set-header X %[env(PATH)]",
            "http-request set-header X %[\"e\"nv(PATH)]",
            "http-request set-header X \"${HOME}\"",
            "http-request set-header X \"$HOME\"",
            "http-request set-header X \\x24{HOME}",
            "errorfile 503 /etc/passwd",
            "http-request return status 200 file /etc/passwd",
            "http-request return status 200 lf-file /etc/passwd",
            "http-request return status 200 \"file\" /etc/passwd",
            "http-error status 404 errorfile /etc/passwd",
            "acl x src -f /etc/passwd",
            "acl x src -f ../certs/default.pem",
            "acl x src -f patterns/../certs/default.pem",
            "acl x src '-f' /etc/passwd",
            "http-request set-header X %[src,map_ip(/etc/passwd)]",
            "http-request set-header X %[str(x),map(maps/policy.map)]",
            "http-request set-header X %[str(x),map_str( /etc/passwd)]",
            "http-request set-header X %[req.hdr(a),jwt_verify(RS256,/etc/key)]",
            "http-request set-map(maps/route.map) x y",
            "http-request add-acl(patterns/bad.lst) x",
            "http-request track-sc0 src table tidegate-rate-1s",
            "http-request allow",
            "http-request use-service lua.x",
            "http-request cache-use c",
            "http-request set-var(proc.x) int(1)",
            "server x 10.0.0.1:80",
            "default-server ssl verify none",
            "bind :81",
            "use_backend other",
            "option external-check",
            "external-check command /bin/sh",
            "backend x",
            "program p",
            "  frontend x",
            "setenv A b",
            ".if 1",
            ".notice x",
            "\"http-request\" deny",
            "ht\\tp-request deny",
            "http-request set-header X \"a",
            "http-request set-header X a\\",
            "http-request deny\u{0}",
            "http-request deny\rserver x 10.0.0.1:80",
            "email-alert mailers m",
            "source 0.0.0.0 usesrc clientip",
            "log 10.0.0.1:514 local0",
            "load-server-state-from-file global",
            "stats socket /tmp/x",
        ];
        for line in hostile {
            let read = read(Place::Backend, Author::Tenant, line);
            assert!(read.is_err(), "taken: {line:?} as {read:?}");
        }
        for line in [
            "lua-load /x",
            "setenv A b",
            "chroot /",
            "user root",
            "stats socket /tmp/x level admin",
            "crt-base /etc",
            "ca-base /etc",
            "insecure-fork-wanted",
            "external-check",
            "master-worker",
            "daemon",
            "pidfile /x",
            "default-path origin /",
            "localpeer x",
            "description x",
            "tune.bufsize 1",
            "ssl-dh-param-file /etc/passwd",
        ] {
            assert!(read(Place::Global, Author::Operator, line).is_err(), "taken: {line:?}");
        }
    }
}
