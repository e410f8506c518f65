//! What a line may do: an allow-list of directives for each place, and what no line may have.
//!
//! HAProxy judges a snippet by reading it, and reading alone can open files, run Lua or show the
//! environment. So what reads, runs or reaches beyond the proxy the lines stand in is refused here,
//! before HAProxy sees it. File names are those of pattern files only.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

use super::{Place, pattern_name};
use crate::annotations::Refusal;
use crate::annotations::value::quoted;
use crate::sabotage::{Mistake, is_planted};

/// Who wrote a snippet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// Who installed tidegate: the controller's ConfigMap.
    Operator,
    /// Whoever may write an Ingress or a Service.
    Tenant,
}

const BACKEND: &[&str] = &[
    "acl",
    "errorloc",
    "errorloc302",
    "errorloc303",
    "fullconn",
    "http-after-response",
    "http-check",
    "http-error",
    "http-request",
    "http-response",
    "http-reuse",
    "http-send-name-header",
    "no",
    "option",
    "retries",
    "retry-on",
    "tcp-check",
    "tcp-request",
    "tcp-response",
    "timeout",
];

const FRONTEND: &[&str] = &[
    "acl",
    "backlog",
    "capture",
    "compression",
    "declare",
    "error-log-format",
    "errorloc",
    "errorloc302",
    "errorloc303",
    "filter",
    "http-after-response",
    "http-error",
    "http-request",
    "http-response",
    "log",
    "log-format",
    "log-format-sd",
    "log-tag",
    "maxconn",
    "monitor",
    "monitor-uri",
    "no",
    "option",
    "rate-limit",
    "stick-table",
    "tcp-request",
    "timeout",
    "unique-id-format",
    "unique-id-header",
];

const DEFAULTS: &[&str] = &[
    "backlog",
    "compression",
    "error-log-format",
    "errorloc",
    "errorloc302",
    "errorloc303",
    "http-error",
    "log",
    "log-format",
    "log-format-sd",
    "log-tag",
    "maxconn",
    "no",
    "option",
    "rate-limit",
    "timeout",
    "unique-id-format",
    "unique-id-header",
];

const STATS: &[&str] =
    &["acl", "http-request", "http-response", "maxconn", "no", "option", "stats", "timeout"];

const GLOBAL: &[&str] = &[
    "busy-polling",
    "close-spread-time",
    "cpu-map",
    "cpu-policy",
    "cpu-set",
    "expose-experimental-directives",
    "grace",
    "h1-accept-payload-with-any-method",
    "h1-case-adjust",
    "h2-workaround-bogus-websocket-clients",
    "limited-quic",
    "log",
    "log-send-hostname",
    "log-tag",
    "max-spread-checks",
    "maxcompcpuusage",
    "maxcomprate",
    "maxconnrate",
    "maxpipes",
    "maxsessrate",
    "maxsslconn",
    "maxsslrate",
    "maxzlibmem",
    "node",
    "noepoll",
    "nosplice",
    "numa-cpu-mapping",
    "profiling.tasks",
    "set-var",
    "set-var-fmt",
    "spread-checks",
    "ssl-default-bind-ciphers",
    "ssl-default-bind-ciphersuites",
    "ssl-default-bind-curves",
    "ssl-default-bind-options",
    "ssl-default-bind-sigalgs",
    "ssl-default-server-ciphers",
    "ssl-default-server-ciphersuites",
    "ssl-default-server-curves",
    "ssl-default-server-options",
    "ssl-default-server-sigalgs",
    "ssl-security-level",
    "strict-limits",
    "thread-group",
    "thread-groups",
    "warn-blocked-traffic-after",
];

/// Of directives that name other things by a second word: those words.
const SECOND: &[(&str, &[&str])] = &[
    ("filter", &["bwlim-in", "bwlim-out", "compression"]),
    ("no", &["log", "option"]),
    (
        "stats",
        &[
            "admin",
            "auth",
            "enable",
            "hide-version",
            "http-request",
            "maxconn",
            "realm",
            "refresh",
            "scope",
            "show-desc",
            "show-legends",
            "show-modules",
            "show-node",
            "uri",
        ],
    ),
];

/// What no line may have, with the reason. Compared with the line in lower case and without quotes.
const NEVER: &[(&str, &str)] = &[
    ("env(", "reads the environment"),
    ("lua.", "runs Lua"),
    ("tidegate-", "names what belongs to tidegate"),
    ("set-map", "changes maps, which routing reads"),
    ("del-map", "changes maps, which routing reads"),
    ("add-acl", "changes files of HAProxy in memory"),
    ("del-acl", "changes files of HAProxy in memory"),
    ("cache-use", "ends HAProxy at the first request when it stands in defaults"),
    ("cache-store", "ends HAProxy at the first request when it stands in defaults"),
    ("external-check", "runs programs"),
    ("use-service", "starts a service of HAProxy"),
    ("send-spoe-group", "sends requests to an agent"),
    ("jwt_verify(", "reads a file"),
    ("jwt_decrypt", "reads a file"),
    ("debug(", "writes to HAProxy's output"),
    ("51d.", "reads a file"),
    ("transparent", "takes other addresses"),
];

/// What no line of a tenant may have.
const NEVER_OF_TENANTS: &[(&str, &str)] = &[
    ("proc.", "sets variables that all proxies share"),
    ("set-mark", "marks packets"),
    ("set-fc-mark", "marks packets"),
    ("set-bc-mark", "marks packets"),
];

/// Better ways, by directive.
const INSTEAD: &[(&str, &str)] = &[
    ("balance", "use the key load-balance"),
    ("bind", "ports are flags of tidegate: --http-port, --https-port"),
    ("cookie", "use the key cookie-persistence"),
    ("default-server", "HAProxy gives it to no server made at run time; use the keys for servers"),
    ("errorfile", "use a ConfigMap named by --configmap-errorfiles"),
    ("errorfiles", "use a ConfigMap named by --configmap-errorfiles"),
    ("hash-type", "use the key load-balance"),
    ("lua-load", "Lua would run at every check; there is no way"),
    ("lua-load-per-thread", "Lua would run at every check; there is no way"),
    ("server", "servers are the endpoints of the Service"),
    (
        "stick-table",
        "HAProxy has none in defaults; use the keys rate-limit-* or a frontend snippet",
    ),
    ("tune.bufsize", "tidegate counts on its value"),
    ("tune.maxrewrite", "tidegate counts on its value"),
    ("use_backend", "routes come from Ingresses"),
];

/// The directives of a place, sorted; for the documentation.
#[must_use]
pub fn list(place: Place) -> &'static [&'static str] {
    match place {
        Place::Global => GLOBAL,
        Place::Defaults => DEFAULTS,
        Place::Frontend => FRONTEND,
        Place::Stats => STATS,
        Place::Backend => BACKEND,
    }
}

/// Checks the words of a line; gives the pattern files it names.
///
/// # Errors
/// Why it may not stand there.
pub(super) fn check(
    place: Place,
    author: Author,
    line: &str,
    words: &[String],
) -> Result<BTreeSet<Box<str>>, Refusal> {
    let mut files = BTreeSet::new();
    let Some(directive) = words.first().map(|word| &**word) else { return Ok(files) };
    let tuned = place == Place::Global && directive.starts_with("tune.");
    let better = INSTEAD.iter().find(|(name, _)| *name == directive).map(|(_, fix)| *fix);
    let listed = list(place).contains(&directive) || tuned && better.is_none();
    if !listed || author == Author::Tenant && directive == "log" {
        let fix = better.unwrap_or("docs/snippets.md lists the directives of each place");
        let place = place.name();
        return Err(Refusal::new(
            format!("{} may not stand in a {place} snippet", quoted(directive)),
            fix,
        ));
    }
    let second = words.get(1).map_or("", |word| &**word);
    if let Some((_, admitted)) = SECOND.iter().find(|(name, _)| *name == directive)
        && !admitted.contains(&second)
    {
        return Err(Refusal::new(
            format!("{directive} {} may not stand in a snippet", quoted(second)),
            format!("after {directive} may stand: {}", admitted.join(", ")),
        ));
    }
    if ["http-request", "http-response", "http-after-response"].contains(&directive)
        && second == "allow"
    {
        return Err(Refusal::new(
            "it would end the rules, and tidegate's own come after it",
            "turn the condition round and deny or return",
        ));
    }
    never(author, &words.join(" "))?;
    arguments(line, words, &mut files)?;
    Ok(files)
}

fn never(author: Author, line: &str) -> Result<(), Refusal> {
    let mut line = line.to_ascii_lowercase();
    line.retain(|c| c != '"' && c != '\'' && c != '\\');
    let of_tenants = match author {
        Author::Tenant => NEVER_OF_TENANTS,
        Author::Operator => &[],
    };
    match NEVER.iter().chain(of_tenants).find(|(text, _)| line.contains(text)) {
        None => Ok(()),
        Some(_) if is_planted(Mistake::AnyWords) => Ok(()),
        Some((text, why)) => Err(Refusal::new(
            format!("{} {why}", quoted(text)),
            "remove it; docs/snippets.md says what a snippet may do",
        )),
    }
}

/// File names: after `-f`, and the first argument of the converters `map` and `map_...`.
fn arguments(line: &str, words: &[String], files: &mut BTreeSet<Box<str>>) -> Result<(), Refusal> {
    let no_file = |what: &str| {
        Refusal::new(
            format!("{} is no pattern file", quoted(what)),
            "name a file of a ConfigMap of --configmap-patternfiles as patterns/NAME",
        )
    };
    let mut add = |word: &str| -> Result<(), Refusal> {
        let name = pattern_name(word).ok_or_else(|| no_file(word))?;
        if !line.contains(word) {
            return Err(Refusal::new(
                format!("{} is not written in one piece", quoted(word)),
                "write patterns/NAME without quotes inside",
            ));
        }
        files.insert(name);
        Ok(())
    };
    let mut words_left = words.iter().skip(1);
    while let Some(word) = words_left.next() {
        match &**word {
            "-f" => add(words_left.next().map_or("", |file| file))?,
            "-u" | "file" | "lf-file" | "errorfile" | "errorfiles" => {
                return Err(Refusal::new(
                    format!("{} names a file or a shared list", quoted(word)),
                    "write the content itself, or use patterns/NAME after -f",
                ));
            }
            word => {
                for (at, _) in word.match_indices("map") {
                    let rest = word.get(at + 3..).unwrap_or_default();
                    let name = rest.trim_start_matches(|c: char| {
                        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
                    });
                    if let Some(inside) = name.strip_prefix('(') {
                        add(inside.split([',', ')']).next().unwrap_or_default())?;
                    }
                }
            }
        }
    }
    Ok(())
}
