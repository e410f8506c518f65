//! TCP services: which port leads to which Service, from the ConfigMap of `--configmap-tcp-services`
//! and from haproxytech's TCP resources of our class, whose entries are in the same form. Of several
//! entries for a port the ConfigMap's counts, else that of the oldest resource.
//!
//! Form (haproxytech's): the key is a port, the value `NAMESPACE/SERVICE:PORT`, with `:ssl` behind it
//! when TLS ends here. Inputs: the ConfigMap, Services. Outputs: one record per port, backends,
//! Problems. An entry that leads nowhere keeps its port, and refuses every connection. Not here:
//! which ports are bound (`project::mod`, from the records).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::stream::{self, Stream};
use super::{Piece, class, route};
use crate::action::MapId;
use crate::annotations::Registry;
use crate::annotations::resolve::{Source, Target};
use crate::annotations::value::quoted;
use crate::desired::Contribution;
use crate::problem::{Problem, Reason, Severity};
use crate::render::stream::REFUSED;
use crate::settings::Settings;
use crate::world::custom::Custom;
use crate::world::lookup::Lookup;
use crate::world::object::{Kind, Name, ObjectRef, PortRef};

/// Ports that are not reserved: each of them costs a reload, and a descriptor per address.
const UNRESERVED_MAX: usize = 256;

/// A value: `NAMESPACE/SERVICE:PORT[:ssl]`.
struct Wanted<'a> {
    service: Name,
    port: PortRef,
    ends_tls: bool,
    text: &'a str,
}

/// An entry: who says it, and where.
struct Entry<'w> {
    object: ObjectRef,
    field: String,
    value: &'w str,
}

/// The records of all ports.
pub fn project(lookup: &mut Lookup<'_>, registry: &Registry) -> Piece {
    let mut piece = Piece::default();
    let mut written: Vec<(&str, Entry<'_>)> = Vec::new();
    if let Some(config) = lookup.tcp_services() {
        let object = ObjectRef { kind: Kind::ConfigMap, name: config.meta.name.clone() };
        written.extend(config.data.iter().map(|(key, value)| {
            (&**key, Entry { object: object.clone(), field: format!("data.{key}"), value })
        }));
    }
    let mut customs: Vec<&Custom> = lookup.tcp_resources().collect();
    customs.sort_by_key(|custom| (custom.meta.seniority(), custom.api));
    for custom in customs {
        match class::of_tcp(lookup, custom) {
            Some(true) => {}
            Some(false) => continue,
            None => {
                piece.problems.push(classless(custom));
                continue;
            }
        }
        let object = custom.object_ref();
        for unsaid in &custom.unsaid {
            piece.problems.push(crate::annotations::custom::unsaid_problem(custom, unsaid));
        }
        written.extend(custom.said.iter().map(|said| {
            let field = said.field.to_string();
            (&*said.key, Entry { object: object.clone(), field, value: &said.value })
        }));
    }
    for (port, written) in ports(lookup.settings(), written, &mut piece.problems) {
        entry(lookup, registry, port, &written, &mut piece);
    }
    piece
}

/// The Problem of a TCP resource that names no class: it may be another controller's.
fn classless(custom: &Custom) -> Problem {
    Problem {
        object: custom.object_ref(),
        field: "metadata.annotations[ingress.class]".into(),
        reason: Reason::NotSupported,
        severity: Severity::Info,
        what: "it names no class".to_string(),
        instead: NOT_SERVED.to_string(),
        fix: "add the annotation ingress.class with the class of tidegate".to_string(),
    }
}

/// The entries with a port that can be had, by port. The others are Problems.
fn ports<'w>(
    settings: &Settings,
    written: Vec<(&'w str, Entry<'w>)>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<u16, Entry<'w>> {
    let mut ports: BTreeMap<u16, Entry<'w>> = BTreeMap::new();
    for (key, entry) in written {
        let Entry { object, field, value: _ } = &entry;
        match port(settings, key) {
            Ok(port) => match ports.get(&port) {
                None => {
                    ports.insert(port, entry);
                }
                Some(Entry { object: first, .. }) => {
                    let what = format!("port {port} is taken by {first}");
                    let fix = "choose another port, or remove one of them".to_string();
                    let reason = Reason::Conflict;
                    problems.push(problem(object, field, reason, what, NOT_SERVED, fix));
                }
            },
            Err((reason, what, fix)) => {
                problems.push(problem(object, field, reason, what, NOT_SERVED, fix));
            }
        }
    }
    let mut unreserved = 0;
    ports.retain(|port, Entry { object, field, value: _ }| {
        unreserved += usize::from(!settings.listen.is_reserved(*port));
        let fits = settings.listen.is_reserved(*port) || unreserved <= UNRESERVED_MAX;
        if !fits {
            let what = format!("more than {UNRESERVED_MAX} ports are outside of --tcp-ports");
            let fix = "reserve the ports with --tcp-ports FIRST-LAST".to_string();
            let reason = Reason::LimitExceeded;
            problems.push(problem(object, field, reason, what, NOT_SERVED, fix));
        }
        fits
    });
    ports
}

const NOT_SERVED: &str = "it is not served";

fn port(settings: &Settings, key: &str) -> Result<u16, (Reason, String, String)> {
    let fix = "use a port from 1 to 65535 as the key".to_string();
    let number: Option<u16> = key.parse().ok().filter(|port| *port > 0);
    // One spelling for each port, so that no port can be given twice.
    let Some(port) = number.filter(|port| port.to_string() == key) else {
        return Err(match key {
            "log-format-tcp" => (
                Reason::NotSupported,
                "the log format of TCP services is not set here".to_string(),
                "set log-format-tcp in the controller's own ConfigMap".to_string(),
            ),
            _ => (Reason::BadField, format!("{} is not a port", quoted(key)), fix),
        });
    };
    let listen = &settings.listen;
    let whose = if [listen.http_port, listen.https_port, 80, 443].contains(&port) {
        "for HTTP and HTTPS"
    } else if port == listen.stats_port {
        "HAProxy's own, for its metrics"
    } else {
        return Ok(port);
    };
    Err((
        Reason::Forbidden,
        format!("port {port} is {whose}"),
        "choose another port; for TLS by host name there is tls-passthrough".to_string(),
    ))
}

fn parse(text: &str) -> Result<Wanted<'_>, String> {
    let wrong =
        || format!("{} is not NAMESPACE/SERVICE:PORT or NAMESPACE/SERVICE:PORT:ssl", quoted(text));
    let trimmed = text.trim();
    let (rest, ends_tls) = match trimmed.strip_suffix(":ssl") {
        Some(rest) => (rest, true),
        None => (trimmed, false),
    };
    let (service, port) = rest.split_once(':').ok_or_else(wrong)?;
    let (namespace, name) = service.split_once('/').ok_or_else(wrong)?;
    let is_name = |name: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        !name.is_empty() && name.len() <= 253 && name.bytes().all(plain)
    };
    if !is_name(namespace) || !is_name(name) || !is_name(port) {
        return Err(wrong());
    }
    let port = match port.parse::<u16>() {
        Ok(0) => return Err(wrong()),
        Ok(number) => PortRef::Number(number),
        Err(_) if port.bytes().all(|b| b.is_ascii_digit()) => return Err(wrong()),
        Err(_) => PortRef::Name(port.into()),
    };
    Ok(Wanted { service: Name::new(namespace, name), port, ends_tls, text: trimmed })
}

fn entry(
    lookup: &mut Lookup<'_>,
    registry: &Registry,
    port: u16,
    entry: &Entry<'_>,
    piece: &mut Piece,
) {
    let Entry { object, field, value } = entry;
    if let Some(why) = lookup.quarantined(&one_port(lookup.settings(), port)) {
        let what = format!("HAProxy cannot bind port {port}: {why}");
        let fix = "free the port on the node, or choose another; then change the entry".to_string();
        piece.problems.push(problem(object, field, Reason::Refused, what, NOT_SERVED, fix));
        return;
    }
    let record = match target(lookup, registry, object, field, value, piece) {
        Ok((backend, false)) => backend,
        Ok((backend, true)) => format!("|{backend}|tls").into(),
        Err((reason, what, fix)) => {
            let instead = "connections to the port are refused";
            piece.problems.push(problem(object, field, reason, what, instead, fix));
            REFUSED.into()
        }
    };
    piece.contributions.push(Contribution::Map(MapId::Tcp, port.to_string().into(), record));
}

type Wrong = (Reason, String, String);

/// The backend of an entry, and whether TLS ends here.
fn target(
    lookup: &mut Lookup<'_>,
    registry: &Registry,
    object: &ObjectRef,
    field: &str,
    value: &str,
    piece: &mut Piece,
) -> Result<(Arc<str>, bool), Wrong> {
    let Wanted { service, port, ends_tls, text } = parse(value).map_err(|what| {
        (Reason::BadValue, what, "write for example shop/database:5432".to_string())
    })?;
    let found = route::find_port(lookup, &service, &port)
        .map_err(|(what, fix)| (Reason::NotFound, what, fix))?;
    let mut sources = Vec::with_capacity(2);
    sources.extend(lookup.defaults().map(Source::ConfigMap));
    sources.push(Source::Service(&found.service.meta));
    let of = Target::Stream;
    match stream::backend(lookup, registry, &sources, of, &service, &found, piece) {
        Stream::Backend(name, fits) => {
            if !fits {
                piece.problems.push(Problem {
                    severity: Severity::Warning,
                    ..problem(
                        object,
                        field,
                        Reason::NotSupported,
                        format!("the load balancing of Service {service} needs HTTP"),
                        "roundrobin is used",
                        "use roundrobin, leastconn, random, first or source".to_string(),
                    )
                });
            }
            Ok((name, ends_tls))
        }
        Stream::Closed => Err((
            Reason::FailedClosed,
            format!("{text} may not be reached: a key that protects it cannot be used"),
            format!("see the Problems of Service {service}"),
        )),
    }
}

/// What stands for one port, so that it alone can be withheld: no object has a name with a colon.
#[must_use]
pub fn one_port(settings: &Settings, port: u16) -> ObjectRef {
    let (namespace, name) =
        settings.tcp_services().map_or(("", ""), |map| (&*map.namespace, &*map.name));
    ObjectRef::new(Kind::ConfigMap, namespace, &format!("{name}:{port}"))
}

fn problem(
    object: &ObjectRef,
    field: &str,
    reason: Reason,
    what: String,
    instead: &str,
    fix: String,
) -> Problem {
    Problem {
        object: object.clone(),
        field: field.into(),
        reason,
        severity: Severity::Error,
        what,
        instead: instead.to_string(),
        fix,
    }
}
