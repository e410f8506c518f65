//! The static part of TCP: ports of TCP services, TLS that ends here on them, and TLS that is passed
//! through by SNI.
//!
//! Inputs: the skeleton. Outputs: frontends and static backends, none where nobody uses them. Which
//! port or host leads where is data: the maps of `MapId::Tcp` and `MapId::Sni`. Why it is shaped so,
//! and what it costs, is in `docs/decisions/0013-tcp-services.md`.

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};
use core::net::SocketAddr;

use crate::annotations::{connection, listener, logs};
use crate::desired::Skeleton;
use crate::settings::Listen;

/// The record of a port or host that takes no connection.
pub const REFUSED: &str = "tidegate-refused";

/// What the number of a port is in the numbers of sockets, which also tell the address.
const IDS: u32 = 100_000;

/// Where HTTPS goes whose TLS ends here, when the HTTPS port looks at the SNI first.
#[must_use]
pub fn offload_socket(listen: &Listen) -> String {
    format!("unix@{}/run/https.sock", listen.state_dir)
}

/// Writes all of it.
///
/// # Errors
/// Those of `out`.
pub fn write(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    if !skeleton.has_tcp() && !skeleton.passthrough {
        return Ok(());
    }
    out.write_str("defaults tidegate-tcp-front\n  mode tcp\n")?;
    for line in logs::stream_directives(skeleton) {
        writeln!(out, "  {line}")?;
    }
    out.write_str("  timeout client 60s\n  timeout client-fin 60s\n  option clitcpka\n\n")?;
    writeln!(out, "backend {REFUSED} from tidegate-tcp-roundrobin\n")?;
    if skeleton.has_tcp() {
        services(skeleton, out)?;
    }
    if skeleton.passthrough {
        passthrough(skeleton, out)?;
    }
    Ok(())
}

/// The ports. Each socket has a number that tells its port, whatever the connection's destination
/// was before somebody translated it. What has no Service is reset as soon as it is accepted.
fn services(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    let listen = &skeleton.listen;
    let reserved = listen.tcp_ports.into_iter().flat_map(|(first, last)| first..=last);
    out.write_str("frontend tidegate-tcp from tidegate-tcp-front\n")?;
    for port in reserved.chain(skeleton.tcp_ports.iter().copied()) {
        for (number, address) in (1..).zip(&listen.addresses) {
            let only = if address.is_ipv6() { " v6only" } else { "" };
            let id = number * IDS + u32::from(port);
            writeln!(out, "  bind {}{only} id {id}", SocketAddr::new(*address, port))?;
        }
    }
    for rule in connection::EXPECT_PROXY {
        writeln!(out, "  {rule}")?;
    }
    writeln!(
        out,
        "  tcp-request connection set-var(sess.be) so_id,mod({IDS}),map_str(maps/tcp.map)\n\
         \x20 tcp-request connection reject unless {{ var(sess.be) -m found }}\n\
         \x20 tcp-request connection reject if {{ var(sess.be) -m str {REFUSED} }}\n\
         \x20 # TLS ends one hop further; that one knows the port by the destination.\n\
         \x20 tcp-request content set-dst-port so_id,mod({IDS}) if {{ var(sess.be) -m beg | }}\n\
         \x20 use_backend tidegate-tcp-tls if {{ var(sess.be) -m beg | }}\n\
         \x20 use_backend %[var(sess.be)]\n\n\
         frontend tidegate-tcp-offload from tidegate-tcp-front\n\
         \x20 bind unix@{dir}/run/tcp-tls.sock mode 600 accept-proxy ssl crt-list {list}{strict}\n\
         \x20 use_backend %[dst_port,map_str(maps/tcp.map),field(2,|)]\n\n\
         backend tidegate-tcp-tls from tidegate-tcp-roundrobin\n\
         \x20 timeout tunnel 20d\n\
         \x20 server tls unix@{dir}/run/tcp-tls.sock send-proxy-v2\n",
        dir = listen.state_dir,
        list = super::crt_list::FILE,
        strict = if skeleton.options.contains_key(listener::STRICT) { " strict-sni" } else { "" },
    )
}

/// The HTTPS port while TLS of any host is passed through. An exact host goes before a wildcard,
/// also if only one of them is passed through: a host that has routes is in the map of routes.
fn passthrough(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    let listen = &skeleton.listen;
    out.write_str("frontend tidegate-sni from tidegate-tcp-front\n")?;
    for address in &listen.addresses {
        let only = if address.is_ipv6() { " v6only" } else { "" };
        writeln!(out, "  bind {}{only}", SocketAddr::new(*address, listen.https_port))?;
    }
    for rule in connection::EXPECT_PROXY {
        writeln!(out, "  {rule}")?;
    }
    writeln!(
        out,
        "  tcp-request inspect-delay 5s\n\
         \x20 tcp-request content set-var(sess.sni) req.ssl_sni,lower,rtrim(.) \
         if {{ req.ssl_hello_type 1 }}\n\
         \x20 tcp-request content set-var(sess.be) var(sess.sni),map_str(maps/sni.map)\n\
         \x20 tcp-request content set-var(sess.be) \
         \"var(sess.sni),regsub(^[^.]*,*),map_str(maps/sni.map)\" if {{ var(sess.sni) -m found }} \
         !{{ var(sess.be) -m found }} \
         !{{ var(sess.sni),concat(/),map_beg(maps/route.map) -m found }}\n\
         \x20 tcp-request content set-log-level silent unless {{ var(sess.be) -m found }}\n\
         \x20 tcp-request content accept unless {{ var(sess.be) -m found }}\n\
         \x20 tcp-request content reject if {{ var(sess.be) -m str {REFUSED} }}\n\
         \x20 tcp-request content accept unless {{ var(sess.be) -m beg | }}"
    )?;
    lists(out)?;
    writeln!(
        out,
        "  tcp-request content set-var(sess.be) var(sess.be),field(2,|)\n\
         \x20 use_backend %[var(sess.be)] if {{ var(sess.be) -m found }}\n\
         \x20 default_backend tidegate-offload\n\n\
         backend tidegate-offload from tidegate-tcp-roundrobin\n\
         \x20 timeout tunnel 20d\n\
         \x20 server https {} send-proxy-v2\n",
        offload_socket(listen)
    )
}

/// Allow and deny lists of hosts that are passed through: the same lists as for HTTP. The record is
/// `|BACKEND|DENY|ALLOW`.
fn lists(out: &mut dyn Write) -> fmt::Result {
    for field in [3, 4] {
        let id = format!("var(sess.be),field({field},|)");
        writeln!(out, "  tcp-request content set-var-fmt(sess.ak) \"%[{id}]:4%[src,hex]\"")?;
        writeln!(
            out,
            "  tcp-request content set-var-fmt(sess.ak) \"%[{id}]:6%[src,hex]\" \
             if {{ src,hex -m len 32 }}"
        )?;
        let not = if field == 3 { "" } else { "!" };
        writeln!(
            out,
            "  tcp-request content reject if {{ {id} -m len 1: }} \
             {not}{{ var(sess.ak),map_beg(maps/access.map) -m found }}"
        )?;
    }
    Ok(())
}
