//! HTTP/3: the listener of QUIC beside HTTPS, in the same frontend, so by the same rules; and rules
//! about what a connection of QUIC could get around.
//!
//! Inputs: the skeleton. Outputs: lines, none without QUIC. Why it is shaped so is in
//! `docs/decisions/0021-http3.md`.

use alloc::string::String;
use core::fmt::{self, Write};
use core::net::SocketAddr;

use crate::annotations::{listener, quic};
use crate::desired::Skeleton;

/// The condition on a connection or request of QUIC: the name of its socket.
const IS_QUIC: &str = "{ so_name quic }";

/// Most seconds that a handshake may take. HAProxy has no limit of its own but that on silence.
const HANDSHAKE_S: u32 = 10;

/// Seconds after which a handshake that had begun is over for certain.
const SETTLED_S: u32 = HANDSHAKE_S + 5;

/// The line of the global section that builds on an OpenSSL without QUIC want; others ignore it.
///
/// # Errors
/// Those of `out`.
pub fn global(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    match skeleton.quic() {
        Some(_) => out.write_str("  limited-quic\n"),
        None => Ok(()),
    }
}

/// The listener, with the options of TLS that HTTPS has, but for the protocol.
///
/// # Errors
/// Those of `out`.
pub fn bind(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    let Some(at) = skeleton.quic() else { return Ok(()) };
    for address in &skeleton.listen.addresses {
        let (kind, only) = if address.is_ipv6() { ("quic6", " v6only") } else { ("quic4", "") };
        let address = SocketAddr::new(*address, at.port);
        let options = listener::options(skeleton, "h3");
        writeln!(out, "  bind {kind}@{address}{only} name quic {options}")?;
    }
    Ok(())
}

/// Who must say whose connection it is cannot do so over QUIC, so cannot come that way.
///
/// # Errors
/// Those of `out`.
pub fn refuse_proxies(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    match skeleton.quic() {
        Some(_) => writeln!(
            out,
            "  tcp-request connection reject if {IS_QUIC} \
             {{ var(sess.px),map_beg(maps/access.map) -m found }}"
        ),
        None => Ok(()),
    }
}

/// Which handshakes may be trusted for certificates of clients. These rules run after a handshake
/// of QUIC, and before all others. So a connection counts as old as the process unless the epoch
/// has been what it is for longer than a handshake takes: then the handshake began under the
/// present lines of the crt-list. `plan::clients` says what the epoch is for. Threads that still
/// see the former epoch begin the wait again, which is on the safe side.
///
/// # Errors
/// Those of `out`.
pub fn epoch(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    if skeleton.quic().is_none() {
        return Ok(());
    }
    let changed = format_args!("{IS_QUIC} !{{ var(proc.quic_ep),strcmp(sess.ep) eq 0 }}");
    writeln!(
        out,
        "  tcp-request connection set-var(proc.quic_at) uptime if {changed}\n\
         \x20 tcp-request connection set-var(proc.quic_ep) var(sess.ep) if {changed}\n\
         \x20 tcp-request connection set-var(sess.ep) int(0) if {IS_QUIC} \
         !{{ uptime,sub(proc.quic_at) gt {SETTLED_S} }}"
    )
}

/// How long a handshake may take. It comes after lines of users, so that theirs does not count.
///
/// # Errors
/// Those of `out`.
pub fn handshake(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    match skeleton.quic() {
        Some(_) => writeln!(out, "  timeout client-hs {HANDSHAKE_S}s"),
        None => Ok(()),
    }
}

/// What comes before routing: a host whose TLS is passed through is not served here.
///
/// # Errors
/// Those of `out`.
pub fn before_routing(skeleton: &Skeleton, host: &str, out: &mut dyn Write) -> fmt::Result {
    if skeleton.quic().is_none() || !skeleton.passthrough {
        return Ok(());
    }
    let answer = "http-request return status 421 content-type text/plain string \
                  \"TLS of this host is passed through\\n\"";
    writeln!(
        out,
        "  {answer} if {IS_QUIC} {{ {host},map_str(maps/sni.map) -m found }}\n\
         \x20 {answer} if {IS_QUIC} \
         {{ \"{host},regsub(^[^.]*,*),map_str(maps/sni.map)\" -m found }} \
         !{{ {host},concat(/),map_beg(maps/route.map) -m found }}"
    )
}

/// What tells clients that there is HTTP/3, on every answer over TLS.
///
/// # Errors
/// Those of `out`.
pub fn announce(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    let Some(at) = skeleton.quic() else { return Ok(()) };
    let mut value = String::new();
    write!(value, "h3=\\\":{}\\\"; ma={}", at.announced, quic::age(skeleton))?;
    writeln!(out, "  http-after-response set-header alt-svc \"{value}\" if {{ ssl_fc }}")
}
