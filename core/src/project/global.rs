//! What belongs to no host: the controller's ConfigMap, the default certificate, the problems of
//! the source.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::{Piece, object};
use crate::annotations::resolve::{Source, refused};
use crate::annotations::{Apply, Registry, custom, listener, logs, process, quic, timeouts};
use crate::capability::Capabilities;
use crate::desired::Contribution;
use crate::digest::Digest;
use crate::problem::{Problem, Reason, Severity};
use crate::settings::{Peers, Role};
use crate::snippet::{Place, Snippet};
use crate::world::InForce;
use crate::world::lookup::Lookup;
use crate::world::object::{ConfigMap, Kind, Name, ObjectRef};

/// The global piece.
pub fn project(lookup: &mut Lookup<'_>, registry: &Registry, source: &[Problem]) -> Piece {
    let mut piece = Piece { problems: source.to_vec(), ..Piece::default() };
    if let Some(config) = lookup.config_map() {
        let reference = ObjectRef { kind: Kind::ConfigMap, name: config.meta.name.clone() };
        let source = Source::ConfigMap(config);
        for key in config.data.keys() {
            let field = format!("data.{key}");
            match registry.find_config(key).and_then(|row| registry.row(row)) {
                None => piece.problems.push(object::unknown(&reference, field, key, registry)),
                Some(row) if !source.admits(row.scopes) => {
                    piece.problems.push(object::misplaced(&reference, field, key));
                }
                Some(_) => {}
            }
        }
        for (key, _) in &config.meta.annotations {
            if registry.find(key) == Some(None) {
                let field = source.field(key);
                piece.problems.push(object::unknown(&reference, field, key, registry));
            }
        }
        let (sources, problems) = custom::of_config(lookup, registry, config);
        piece.problems.extend(problems);
        let keys = sources.iter().flat_map(|source| {
            source
                .keys(registry)
                .into_iter()
                .map(move |(row, key, value)| (source, row, key, value))
        });
        for (source, row, key, value) in keys {
            let Some(annotation) = registry.row(row) else { continue };
            let judged = match annotation.apply {
                Apply::Skeleton(apply) => apply(value).map(|_| ()),
                Apply::Judged(judge) => judge(value),
                Apply::Entries(apply) => apply(value).map(|entries| {
                    let entry = |(map, key, value): (_, String, String)| {
                        Contribution::Map(map, key.as_str().into(), value.as_str().into())
                    };
                    piece.contributions.extend(entries.into_iter().map(entry));
                }),
                Apply::Inert(why) => {
                    let told = why(value).map(|why| object::inert(&reference, source, key, why));
                    piece.problems.extend(told);
                    Ok(())
                }
                Apply::Snippet(place) => {
                    let problem = object::snippet(lookup, &reference, &source.field(key), place);
                    piece.problems.extend(problem);
                    Ok(())
                }
                Apply::Route(_) | Apply::Backend(_) => Ok(()),
            };
            if let Err(refusal) = judged {
                piece.problems.push(refused(source, key, annotation, &refusal));
            }
        }
        withheld(lookup, config, &mut piece);
        too_many_connections(lookup, registry, config, &mut piece);
    }
    for role in Role::ALL {
        piece.problems.extend_from_slice(lookup.problems_of_role(role));
    }
    default_certificate(lookup, registry, &mut piece);
    no_quic(lookup, &mut piece);
    piece
}

/// HTTP/3 that was asked for, and that this HAProxy does not speak.
fn no_quic(lookup: &mut Lookup<'_>, piece: &mut Piece) {
    if lookup.settings().listen.quic.is_none() || lookup.capabilities().quic {
        return;
    }
    let name = lookup.settings().config_map.clone();
    piece.problems.push(Problem {
        object: ObjectRef {
            kind: Kind::ConfigMap,
            name: name.unwrap_or_else(|| Name::new("", "tidegate")),
        },
        field: "--quic-port".into(),
        reason: Reason::NotSupported,
        severity: Severity::Warning,
        what: "this HAProxy was built without QUIC, or is older than 3.0".to_string(),
        instead: "there is no HTTP/3, and none is announced; HTTPS serves everything".to_string(),
        fix: "use an HAProxy with +QUIC in `haproxy -vv`, or leave --quic-port out".to_string(),
    });
}

/// The Problems of options that HAProxy refused.
fn withheld(lookup: &mut Lookup<'_>, config: &ConfigMap, piece: &mut Piece) {
    for (_, key) in logs::RISKY {
        if let Some(why) = lookup.quarantined(&part(&config.meta.name, key)) {
            piece.problems.push(Problem {
                object: ObjectRef { kind: Kind::ConfigMap, name: config.meta.name.clone() },
                field: format!("data.{key}").into(),
                reason: Reason::Refused,
                severity: Severity::Error,
                what: format!("HAProxy refused it: {why}"),
                instead: "the default holds, everything else goes on".to_string(),
                fix: "change the value HAProxy names".to_string(),
            });
        }
    }
}

/// One key of the ConfigMap as a suspect of its own, so that the others hold when HAProxy refuses
/// it. No object has such a name.
#[must_use]
pub fn part(config: &Name, key: &str) -> ObjectRef {
    let name = Name::new(&config.namespace, &format!("{}/{key}", config.name));
    ObjectRef { kind: Kind::ConfigMap, name }
}

/// The parts of the ConfigMap that only HAProxy can judge, and that are in force.
pub fn risky_parts(lookup: &mut Lookup<'_>, registry: &Registry) -> Vec<ObjectRef> {
    let options = options(lookup, registry);
    let Some(config) = lookup.config_map() else { return Vec::new() };
    let set = logs::RISKY.iter().filter(|(option, _)| options.contains_key(*option));
    set.map(|(_, key)| part(&config.meta.name, key)).collect()
}

/// The most connections that HAProxy's open files allow, two for each and some for itself; `None`
/// when unknown. With more it would not start.
fn connections_max(capabilities: &Capabilities) -> Option<u64> {
    (capabilities.descriptors > 0).then(|| capabilities.descriptors.saturating_sub(200) / 2)
}

fn too_many_connections(
    lookup: &mut Lookup<'_>,
    registry: &Registry,
    config: &ConfigMap,
    piece: &mut Piece,
) {
    let Some(max) = connections_max(&lookup.capabilities()) else { return };
    let wanted = stated_options(lookup, registry).remove(process::MAXCONN_OPTION);
    let Some(wanted) = wanted.and_then(|n| n.parse::<u64>().ok()).filter(|n| *n > max) else {
        return;
    };
    piece.problems.push(Problem {
        object: ObjectRef { kind: Kind::ConfigMap, name: config.meta.name.clone() },
        field: "data.maxconn".into(),
        reason: Reason::LimitExceeded,
        severity: Severity::Warning,
        what: format!("{wanted} connections take more open files than HAProxy may have"),
        instead: "the default holds".to_string(),
        fix: format!("ask for at most {max}, or raise HAProxy's limit of open files"),
    });
}

/// The Secrets of the default certificate: the ConfigMap's, then the settings'.
fn default_secrets(lookup: &mut Lookup<'_>, registry: &Registry) -> Vec<Name> {
    let flag = lookup.settings().default_certificate.clone();
    let keys = lookup.config_map().map(|config| Source::ConfigMap(config).keys(registry));
    let is_it = |id| registry.row(id).is_some_and(|row| row.key == listener::DEFAULT_CERTIFICATE);
    let mut keys = keys.into_iter().flatten().filter(|(row, _, _)| is_it(*row));
    let named = keys.find_map(|(_, _, value)| {
        let (namespace, name) = value.trim().split_once('/')?;
        listener::is_secret(value).then(|| Name::new(namespace, name))
    });
    named.into_iter().chain(flag).collect()
}

/// The default certificate; `None` when it is the self-signed one.
pub fn default_digest(lookup: &mut Lookup<'_>, registry: &Registry) -> Option<Digest> {
    let names = default_secrets(lookup, registry);
    names.into_iter().find_map(|name| usable(lookup, &name).ok())
}

/// The certificate in a Secret, or why it cannot be used.
fn usable(lookup: &mut Lookup<'_>, name: &Name) -> Result<Digest, String> {
    let reference = ObjectRef { kind: Kind::Secret, name: name.clone() };
    if let Some(why) = lookup.quarantined(&reference) {
        return Err(format!("HAProxy refused it: {why}"));
    }
    match lookup.secret(name).map(|secret| &secret.certificate) {
        Some(Some(Ok(facts))) => Ok(facts.digest),
        Some(Some(Err(why))) => Err(why.to_string()),
        Some(None) => Err("it has neither tls.crt nor tls.key".to_string()),
        None => Err("it does not exist".to_string()),
    }
}

fn default_certificate(lookup: &mut Lookup<'_>, registry: &Registry, piece: &mut Piece) {
    for name in default_secrets(lookup, registry) {
        let what = match usable(lookup, &name) {
            Ok(digest) => {
                piece.contributions.push(Contribution::DefaultCertificate(digest));
                return;
            }
            Err(what) => what,
        };
        piece.problems.push(Problem {
            object: ObjectRef { kind: Kind::Secret, name },
            field: "".into(),
            reason: Reason::Unusable,
            severity: Severity::Error,
            what: format!("the default certificate cannot be used: {what}"),
            instead: "that of --default-certificate is the default, or a self-signed one"
                .to_string(),
            fix: "put a certificate chain into tls.crt and its private key into tls.key"
                .to_string(),
        });
    }
}

/// The snippets of the static part that are in force.
pub fn snippets(lookup: &mut Lookup<'_>) -> BTreeMap<Place, Arc<Snippet>> {
    let Some(config) = lookup.settings().config_map.clone() else { return BTreeMap::new() };
    let config = ObjectRef { kind: Kind::ConfigMap, name: config };
    let lines =
        Place::STATIC.into_iter().filter_map(|place| match lookup.snippet(&config, place).0 {
            InForce::Lines(snippet) => Some((place, snippet.clone())),
            InForce::Nothing | InForce::Closed => None,
        });
    lines.collect()
}

/// The other replicas that share tables: those named, and the endpoints of a Service, ready or about
/// to be, at the port of this one.
pub fn peers(lookup: &mut Lookup<'_>) -> Vec<SocketAddr> {
    let Peers { address, addresses, service } = &lookup.settings().listen.peers;
    let Some(own) = address else { return Vec::new() };
    let mut peers: BTreeSet<SocketAddr> = addresses.iter().copied().collect();
    if let Some(service) = service {
        let endpoints = lookup.slices(service).flat_map(|slice| &slice.endpoints);
        let there = endpoints.filter(|endpoint| !endpoint.terminating);
        peers.extend(there.map(|endpoint| SocketAddr::new(endpoint.address, own.port())));
    }
    peers.remove(own);
    peers.into_iter().collect()
}

/// Options of the static part from the ConfigMap: directive to encoded value. Values that cannot
/// be used are left out here and told by [`project`].
pub fn options(lookup: &mut Lookup<'_>, registry: &Registry) -> BTreeMap<Box<str>, Box<str>> {
    let mut options = stated_options(lookup, registry);
    let Some(config) = lookup.config_map() else { return options };
    for (option, key) in logs::RISKY {
        if lookup.quarantined(&part(&config.meta.name, key)).is_some() {
            options.remove(option);
        }
    }
    if lookup.settings().listen.quic.is_none() || !lookup.capabilities().quic {
        options.remove(quic::MAX_AGE_OPTION);
    }
    let max = connections_max(&lookup.capabilities()).unwrap_or(u64::MAX);
    let wanted = options.get(process::MAXCONN_OPTION).and_then(|n| n.parse::<u64>().ok());
    if wanted.is_some_and(|wanted| wanted > max) {
        options.remove(process::MAXCONN_OPTION);
    }
    options
}

/// The options as the ConfigMap states them.
fn stated_options(lookup: &mut Lookup<'_>, registry: &Registry) -> BTreeMap<Box<str>, Box<str>> {
    let mut options = BTreeMap::new();
    let Some(config) = lookup.config_map() else { return options };
    let capabilities = lookup.capabilities();
    let (sources, _) = custom::of_config(lookup, registry, config);
    let keys = sources.iter().flat_map(|source| source.keys(registry).into_iter().rev());
    for (row, _, value) in keys {
        let Some(annotation) = registry.row(row) else { continue };
        if let Apply::Skeleton(apply) = annotation.apply
            && let Ok((directive, value)) = apply(value)
        {
            options.insert(directive.into(), value.as_str().into());
        }
        if let Some(option) = timeouts::static_form(annotation.key, &capabilities)
            && let Ok(duration) = timeouts::milliseconds(value)
        {
            options.insert(option.into(), duration.as_str().into());
        }
    }
    options
}
