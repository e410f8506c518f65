//! Connections of clients: what comes before the first request on them, and how long they are
//! kept.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::value::{self, quoted};
use super::{Annotation, Apply, Family, Mechanism, OnError, Refusal, Scopes, access, option};
use crate::action::MapId;
use crate::desired::Skeleton;

/// Option with the mode of connections.
pub const MODE_OPTION: &str = "tidegate-connection-mode";

/// The mode of connections as an option of the frontend; `None` for HAProxy's default.
#[must_use]
pub fn mode_option(skeleton: &Skeleton) -> Option<&str> {
    let closes = skeleton.options.get(SERVER_CLOSE_OPTION).is_some_and(|v| **v == *"true");
    let old = closes.then_some("http-server-close");
    skeleton.options.get(MODE_OPTION).map_or(old, |mode| Some(&**mode))
}

/// The line that says whether requests without a client are aborted, for the frontend (which must
/// watch for it) and the backends; `None` for HAProxy's default.
#[must_use]
pub fn abort_option(skeleton: &Skeleton) -> Option<&'static str> {
    skeleton.options.get(ABORT_OPTION).map(|value| match &**value {
        "true" => "option abortonclose",
        _ => "no option abortonclose",
    })
}

/// Option with the deprecated form of `http-server-close`.
pub const SERVER_CLOSE_OPTION: &str = "tidegate-server-close";

/// Option with the abortion of requests whose client is gone.
pub const ABORT_OPTION: &str = "tidegate-abort-on-close";

/// Id of the list of proxies in the map of networks.
const PROXIES: &str = "proxies";

/// The rules at the head of a listener by which trusted proxies tell whose connection it is.
pub const EXPECT_PROXY: [&str; 3] = [
    "tcp-request connection set-var-fmt(sess.px) \"proxies:4%[src,hex]\"",
    "tcp-request connection set-var-fmt(sess.px) \"proxies:6%[src,hex]\" if { src,hex -m len 32 }",
    "tcp-request connection expect-proxy layer4 if \
     { var(sess.px),map_beg(maps/access.map) -m found }",
];

/// The family.
pub const FAMILY: Family = Family {
    title: "Connections of clients",
    about: "All listeners for the public, HTTP and HTTPS.",
    fields: &[],
    keys: &[
        Annotation {
            key: "proxy-protocol-from",
            haproxy: Some("proxy-protocol"),
            scopes: Scopes::C,
            syntax: "comma-separated IP addresses and CIDR networks",
            default: "nobody",
            about: "Proxies in front whose connections begin with the PROXY protocol, version 1 \
                    or 2. The client's address is then the one they tell. A connection from one of \
                    them without it is closed; one from anybody else with it is a bad request. \
                    With a list that cannot be read nobody is trusted.",
            example: "192.0.2.0/24, 2001:db8::7",
            mechanism: Mechanism::List,
            on_error: OnError::Default,
            apply: Apply::Entries(proxies),
        },
        option(
            "http-connection-mode",
            "http-connection-mode",
            "http-keep-alive, http-server-close or httpclose",
            "http-keep-alive",
            "Whether connections are kept after an answer: on both sides, on the client's only, or \
             on neither. HAProxy has it as an option of the frontend, which is static.",
            "http-server-close",
            mode,
        ),
        option(
            "http-server-close",
            "http-server-close",
            "true or false",
            "false",
            "Deprecated form of `http-connection-mode: http-server-close`, which comes before it. \
             HAProxy has it as an option of the frontend, which is static.",
            "true",
            server_close,
        ),
        option(
            "abort-on-close",
            "abortonclose",
            "true or false",
            "false; HAProxy 3.4 has it on for HTTP unless this says false",
            "Gives up requests that wait in a queue when their client is gone. HAProxy has it as \
             an option of named defaults, which are static, so it is one for all: on an Ingress \
             or Service it is a Problem.",
            "true",
            abort,
        ),
    ],
    finish: None,
    finish_route: None,
    rules: &[],
};

fn proxies(text: &str) -> Result<Vec<(MapId, String, String)>, Refusal> {
    let prefixes = access::prefixes(&super::value::networks(text)?).into_iter();
    Ok(prefixes.map(|p| (MapId::Access, format!("{PROXIES}:{p}"), "1".to_string())).collect())
}

fn mode(text: &str) -> Result<(&'static str, String), Refusal> {
    match text.trim() {
        mode @ ("http-keep-alive" | "http-server-close" | "httpclose") => {
            Ok((MODE_OPTION, mode.to_string()))
        }
        other => Err(Refusal::new(
            format!("{} is no mode of connections", quoted(other)),
            "use http-keep-alive, http-server-close or httpclose",
        )),
    }
}

fn server_close(text: &str) -> Result<(&'static str, String), Refusal> {
    Ok((SERVER_CLOSE_OPTION, value::boolean(text)?.to_string()))
}

fn abort(text: &str) -> Result<(&'static str, String), Refusal> {
    Ok((ABORT_OPTION, value::boolean(text)?.to_string()))
}
