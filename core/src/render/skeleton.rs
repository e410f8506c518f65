//! The static part: global, frontend, answers, profiles.
//!
//! A request costs what its route uses. One look-up finds the record; a plain record (just a
//! backend name) ends the rules at once. Others carry a policy; its flags let whole groups of rules
//! be skipped by one test. Measured in `docs/decisions/0003-skeleton.md`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::net::SocketAddr;

use crate::annotations::redirect::CODES;
use crate::annotations::{
    Rule, RuleText, Section, auth, connection, field_position, flag_of, listener, logs,
    policy_fields, process, rate, rule_groups,
};
use crate::applied::LEDGER_EPOCH;
use crate::desired::Skeleton;
use crate::render::profile::SharedRules;
use crate::render::{answer, quic};
use crate::sabotage::{Mistake, is_planted};
use crate::snippet::Place;

/// The host of a request as routes are keyed: lower case, without port and final dot. What comes after a slash
/// is dropped, so that no Host header can pass for another host with a path.
const HOST: &str = "req.hdr(host),lower,field(1,:),field(1,/),rtrim(.)";

/// Bytes of the buffer that a request is kept in until an answer begins, if it fits: most do. HAProxy
/// copies the whole buffer of larger ones.
const SMALL_BUFFER: u32 = 4096;

/// Name of this HAProxy among peers when there are no others: it hands its tables on at a reload.
const PEER: &str = "tidegate";

/// Writes everything but the tenants' backends.
///
/// # Errors
/// Those of `out`.
pub fn write(skeleton: &Skeleton, dir: &str, digest: &str, out: &mut dyn Write) -> fmt::Result {
    parts(skeleton, dir, digest, SharedRules::InEach, out)
}

/// Writes all that tells this static part from others, and nothing twice.
///
/// # Errors
/// Those of `out`.
pub fn write_once(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    parts(skeleton, "", "", SharedRules::Once, out)
}

fn parts(
    skeleton: &Skeleton,
    dir: &str,
    digest: &str,
    shared: SharedRules,
    out: &mut dyn Write,
) -> fmt::Result {
    global(skeleton, dir, digest, out)?;
    front_defaults(skeleton, out)?;
    out.write_str("defaults tidegate-answers\n  mode http\n")?;
    error_files(skeleton, out)?;
    out.write_char('\n')?;
    super::profile::write_all(skeleton, shared, out)?;
    super::profile::write_streams(out)?;
    rate_tables(skeleton, out)?;
    super::auth::table(skeleton, out)?;
    frontend(skeleton, out)?;
    super::stream::write(skeleton, out)?;
    answers(skeleton, out)?;
    internal(skeleton, out)
}

fn global(skeleton: &Skeleton, dir: &str, digest: &str, out: &mut dyn Write) -> fmt::Result {
    let listen = &skeleton.listen;
    out.write_str("# Written by tidegate. Changes by hand are overwritten.\n\nglobal\n")?;
    writeln!(out, "  default-path origin {dir}")?;
    writeln!(out, "  description {}", if digest.is_empty() { "-" } else { digest })?;
    writeln!(
        out,
        "  stats socket {}/run/worker.sock mode 600 level admin expose-fd listeners",
        listen.state_dir
    )?;
    out.write_str("  stats timeout 1h\n  stats maxconn 20\n")?;
    let option = |name: &str, number: u32| match skeleton.options.get(name) {
        Some(value) => value.parse().unwrap_or(number),
        None => number,
    };
    let hard_stop_after_s = option(process::HARD_STOP_OPTION, listen.hard_stop_after_s);
    if !is_planted(Mistake::NoHardStop) {
        writeln!(out, "  hard-stop-after {hard_stop_after_s}s")?;
    }
    writeln!(out, "  localpeer {}", local_peer(skeleton))?;
    let threads = option(process::THREADS_OPTION, listen.threads.into());
    if threads > 0 {
        writeln!(out, "  nbthread {threads}")?;
    }
    let maxconn = option(process::MAXCONN_OPTION, listen.maxconn);
    if maxconn > 0 {
        writeln!(out, "  maxconn {maxconn}")?;
    }
    for target in logs::targets(skeleton) {
        writeln!(out, "  log {target}")?;
    }
    super::auth::global(skeleton, dir, out)?;
    quic::global(skeleton, out)?;
    out.write_str("  tune.bufsize 16384\n")?;
    if skeleton.capabilities.small_buffers {
        writeln!(out, "  tune.bufsize.small {SMALL_BUFFER}")?;
    }
    let oldest = skeleton.options.get(listener::MIN_VERSION).map_or("TLSv1.2", |version| version);
    let mut options = format!("ssl-min-ver {oldest}");
    if skeleton.options.contains_key(listener::FULL_HANDSHAKES) {
        out.write_str("  tune.ssl.cachesize 0\n")?;
        options.push_str(" no-tls-tickets");
    }
    writeln!(out, "  ssl-default-bind-options {options}")?;
    snippet(skeleton, Place::Global, out)?;
    out.write_char('\n')
}

/// The options of a listener for HTTPS.
fn tls_bind(skeleton: &Skeleton) -> String {
    let alpn = skeleton.options.get(listener::ALPN).map_or("h2,http/1.1", |protocols| protocols);
    listener::options(skeleton, alpn)
}

fn front_defaults(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    out.write_str("defaults tidegate-front\n  mode http\n")?;
    for line in logs::directives(skeleton) {
        writeln!(out, "  {line}")?;
    }
    if let Some(mode) = connection::mode_option(skeleton) {
        writeln!(out, "  option {mode}")?;
    }
    if let Some(option) = connection::abort_option(skeleton) {
        writeln!(out, "  {option}")?;
    }
    let defaults = [
        ("timeout client", "60s"),
        ("timeout client-fin", "5s"),
        ("timeout http-request", "10s"),
        ("timeout http-keep-alive", "60s"),
    ];
    for (directive, value) in defaults {
        if !skeleton.options.contains_key(directive) {
            writeln!(out, "  {directive} {value}")?;
        }
    }
    // Options of other sections have names that are no directives.
    for (directive, value) in &skeleton.options {
        if !directive.starts_with("tidegate-") {
            writeln!(out, "  {directive} {value}")?;
        }
    }
    error_files(skeleton, out)?;
    out.write_str("  option http-ignore-probes\n")?;
    snippet(skeleton, Place::Defaults, out)?;
    out.write_char('\n')
}

fn snippet(skeleton: &Skeleton, place: Place, out: &mut dyn Write) -> fmt::Result {
    match skeleton.snippets.get(&place) {
        Some(snippet) => snippet.write(out),
        None => Ok(()),
    }
}

/// Answers that HAProxy makes itself. One by one: on 3.4 a backend made at run time from defaults
/// with a whole section of them ends HAProxy.
///
/// # Errors
/// Those of `out`.
pub fn error_files(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    for code in skeleton.errors.keys() {
        writeln!(out, "  errorfile {code} {}", answer::file(*code))?;
    }
    Ok(())
}

fn frontend(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    out.write_str("frontend tidegate-web from tidegate-front\n")?;
    for address in &skeleton.listen.addresses {
        let only = if address.is_ipv6() { " v6only" } else { "" };
        let bind = |port| core::net::SocketAddr::new(*address, port);
        if skeleton.listen.http_port > 0 {
            writeln!(out, "  bind {}{only}", bind(skeleton.listen.http_port))?;
        }
        if skeleton.listen.https_port > 0 && !skeleton.passthrough {
            let options = tls_bind(skeleton);
            writeln!(out, "  bind {}{only} {options}", bind(skeleton.listen.https_port))?;
        }
    }
    if skeleton.listen.https_port > 0 && skeleton.passthrough {
        let path = super::stream::offload_socket(&skeleton.listen);
        writeln!(out, "  bind {path} mode 600 accept-proxy {}", tls_bind(skeleton))?;
    }
    quic::bind(skeleton, out)?;
    let [four, six, expect] = connection::EXPECT_PROXY;
    writeln!(out, "  {four}\n  {six}")?;
    quic::refuse_proxies(skeleton, out)?;
    writeln!(out, "  {expect}")?;
    for slot in logs::slots(skeleton) {
        writeln!(out, "  {slot}")?;
    }
    // Read before the handshake begins, but for QUIC: `plan::clients` says why.
    writeln!(
        out,
        "  tcp-request connection set-var(sess.ep) str({LEDGER_EPOCH}),map_str(maps/ledger.map)"
    )?;
    quic::epoch(skeleton, out)?;
    // Before the rules of routing, which end for plain routes.
    snippet(skeleton, Place::Frontend, out)?;
    quic::handshake(skeleton, out)?;
    quic::before_routing(skeleton, HOST, out)?;
    quic::announce(skeleton, out)?;
    routing(skeleton, out)?;
    let policy = "http-request set-var(txn.pol) var(txn.be),field(3,|),map_str(maps/policy.map)";
    writeln!(out, "  {policy}")?;
    let backend = "http-request set-var(txn.be) var(txn.be),field(2,|)";
    out.write_str(
        "  http-request return status 503 unless { var(txn.pol) -m found }\n\
         \x20 http-request set-var(txn.fl) var(txn.pol),field(1,|)\n",
    )?;
    let canary = "http-request set-var(txn.cb) var(txn.be),field(4,|) if {on:canary}";
    writeln!(out, "  {}", expand(canary))?;
    writeln!(out, "  {backend} if {{ var(txn.be) -m beg | }}")?;
    write_rules(skeleton, Section::Request, "http-request", out)?;
    write_rules(skeleton, Section::Response, "http-response", out)?;
    out.write_str("  use_backend %[var(txn.be)]\n  default_backend tidegate-503\n\n")
}

/// From the request to the record. What the headers about certificates of clients say is for
/// HAProxy alone to say, on every route: a pod may be reached by more than one. `>` ends the
/// looked-up path, so it must not be in it; dot segments are refused, as pods may resolve them to
/// paths with another policy.
fn routing(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    let lookup = "concat(,txn.path,/>),map_beg(maps/route.map)";
    out.write_str(
        "  http-request deny deny_status 400 if METH_CONNECT\n\
         \x20 http-request deny deny_status 400 if { path -m sub /. %2e %2E %2f. %2F. > } \
         { path -m reg -i '(/|%2f)(\\.|%2e){1,2}(/|%2f|$)|>' }\n\
         \x20 http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]\n\
         \x20 http-request del-header ssl-client -m beg\n\
         \x20 http-request del-header ssl_client -m beg\n\
         \x20 http-request set-var(txn.path) path\n\
         \x20 http-request set-var(txn.path) path,regsub(//+,/,g) if { path -m sub // }\n",
    )?;
    writeln!(out, "  http-request set-var(txn.be) {HOST},{lookup}")?;
    out.write_str("  http-request allow if { var(txn.be) -m found } !{ var(txn.be) -m beg | }\n")?;
    out.write_str("  # A plain route ends here.\n")?;
    if skeleton.capabilities.lua {
        auth::EARLY.iter().try_for_each(|rule| writeln!(out, "  {rule}"))?;
    }
    writeln!(
        out,
        "  http-request set-var(txn.be) \"{HOST},regsub(^[^.]*,*),{lookup}\" \
         if !{{ var(txn.be) -m found }}"
    )?;
    out.write_str(
        "  http-request set-var(txn.be) \
         var(txn.path),concat(/>),map_beg(maps/route.map,tidegate-404) \
         if !{ var(txn.be) -m found }\n\
         \x20 http-request allow unless { var(txn.be) -m beg | }\n",
    )?;
    if skeleton.capabilities.lua {
        writeln!(out, "  {}", auth::KEPT)?;
    }
    Ok(())
}

/// Writes the families' rules of one section. Before each family the evaluation ends for routes
/// that use neither it nor a later one.
///
/// # Errors
/// Those of `out`.
pub fn write_rules(
    skeleton: &Skeleton,
    section: Section,
    side: &str,
    out: &mut dyn Write,
) -> fmt::Result {
    let mut groups: Vec<(Vec<String>, String)> = Vec::new();
    for rules in rule_groups() {
        let lines = lines_of(rules, skeleton, section);
        if !lines.is_empty() {
            let used = |field: &&str| lines.iter().any(|l| l.contains(&format!("{{on:{field}}}")));
            let flags = policy_fields().filter(used).map(flag_of).collect();
            groups.push((lines, flags));
        }
    }
    for at in 0..groups.len() {
        let rest = groups.iter().skip(at);
        let flags: Vec<String> =
            rest.flat_map(|(_, flags)| flags.chars()).map(String::from).collect();
        writeln!(out, "  {side} allow unless {{ var(txn.fl) -m sub {} }}", flags.join(" "))?;
        for line in groups.iter().skip(at).take(1).flat_map(|(lines, _)| lines) {
            writeln!(out, "  {}", expand(line))?;
        }
    }
    Ok(())
}

fn lines_of(rules: &[Rule], skeleton: &Skeleton, section: Section) -> Vec<String> {
    let mut lines = Vec::new();
    for rule in rules {
        if rule.at == section && (rule.when)(&skeleton.capabilities) {
            match rule.text {
                RuleText::Line(line) => lines.push(line.into()),
                RuleText::Lines(lines_of) => lines.extend(lines_of(skeleton)),
            }
        }
    }
    lines
}

/// Replaces `{f:NAME}`, `{on:NAME}` and `{host}`.
pub(super) fn expand(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let found = after.split_once('}').and_then(|(name, behind)| Some((place(name)?, behind)));
        rest = match found {
            Some((text, behind)) => {
                out.push_str(&text);
                behind
            }
            None => {
                out.push('{');
                after
            }
        };
    }
    out.push_str(rest);
    out
}

/// What stands for `{name}`; `None` for braces that are HAProxy's.
fn place(name: &str) -> Option<String> {
    if name == "host" {
        return Some(HOST.into());
    }
    let (what, field) = name.split_once(':')?;
    let position = field_position(field)?;
    match what {
        "f" => Some(format!("var(txn.pol),field({position},|)")),
        "on" => Some(format!("{{ var(txn.fl) -m sub {} }}", flag_of(field))),
        _ => None,
    }
}

/// A replica's name among peers. Both ends must know it by the same.
fn peer_name(address: &SocketAddr) -> String {
    format!("{address}").replace(['[', ']'], "").replace(':', "-")
}

fn local_peer(skeleton: &Skeleton) -> String {
    skeleton.listen.peers.address.map_or(PEER.into(), |address| peer_name(&address))
}

/// The tables that rates are counted in, and who hands them on at a reload.
fn rate_tables(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "peers tidegate-self")?;
    let local = local_peer(skeleton);
    match skeleton.listen.peers.address {
        None => writeln!(out, "  peer {local} unix@{}/run/peer.sock", skeleton.listen.state_dir)?,
        Some(address) => writeln!(out, "  peer {local} {address}")?,
    }
    for peer in &skeleton.peers {
        writeln!(out, "  peer {} {peer}", peer_name(peer))?;
    }
    out.write_char('\n')?;
    let size = skeleton.options.get(rate::SIZE_OPTION).map_or("102400", |size| size);
    for (name, ms) in rate::PERIODS {
        writeln!(out, "backend tidegate-rate-{name} from tidegate-answers")?;
        writeln!(
            out,
            "  stick-table type string len 64 size {size} expire {}ms store http_req_rate({ms}ms) \
             peers tidegate-self\n",
            ms * 2
        )?;
    }
    Ok(())
}

/// Static backends that answer by themselves.
fn answers(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    for (code, text) in [(404, "no route for this host and path"), (503, "not available")] {
        writeln!(out, "backend tidegate-{code} from tidegate-answers")?;
        let what = match skeleton.errors.contains_key(&code) {
            true => "default-errorfiles".into(),
            false => format!("content-type text/plain string \"{text}\\n\""),
        };
        writeln!(out, "  http-request return status {code} {what}\n")?;
    }
    for code in CODES {
        writeln!(out, "backend tidegate-redirect-{code} from tidegate-answers")?;
        writeln!(out, "  http-request redirect location %[var(txn.loc)] code {code}\n")?;
    }
    for code in rate::CODES {
        writeln!(out, "backend tidegate-deny-{code} from tidegate-answers")?;
        writeln!(out, "  http-request deny deny_status {code}\n")?;
    }
    out.write_str(
        "backend tidegate-preflight from tidegate-answers\n  http-request return status 204\n",
    )?;
    write_rules(skeleton, Section::Preflight, "http-after-response", out)?;
    out.write_char('\n')
}

/// HAProxy's own health and metrics, on loopback. Maps that no other rule may refer to are referred
/// to here, so that HAProxy loads them; no key of theirs is a path.
fn internal(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    out.write_str("frontend tidegate-internal from tidegate-front\n")?;
    writeln!(out, "  bind unix@{}/run/internal.sock mode 600", skeleton.listen.state_dir)?;
    if skeleton.listen.stats_port > 0 {
        writeln!(out, "  bind 127.0.0.1:{}", skeleton.listen.stats_port)?;
    }
    out.write_str(
        "  http-request return status 200 content-type text/plain string \"ok\\n\" \
         if { path /healthz }\n\
         \x20 http-request use-service prometheus-exporter if { path /metrics }\n\
         \x20 stats enable\n  stats uri /stats\n  stats hide-version\n\
         \x20 http-request return status 200 content-type text/plain \
         lf-string \"%[path,map_str(maps/ledger.map,-)]%[path,map_str(maps/headers.map,-)]\
         %[path,map_str(maps/tcp.map,-)]%[path,map_str(maps/sni.map,-)]\\n\" \
         if { path /maps }\n",
    )?;
    // With lines of a snippet the page of statistics comes after all rules.
    match skeleton.snippets.contains_key(&Place::Stats) {
        true => {
            snippet(skeleton, Place::Stats, out)?;
            out.write_str("  default_backend tidegate-404\n\n")
        }
        false => out.write_str("  http-request return status 404 unless { path_beg /stats }\n\n"),
    }
}
