//! Objects from small pools.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tidegate_core::digest::Digest;
use tidegate_core::world::custom::{Api, Custom, Part, Said, Unsaid, Weight};
use tidegate_core::world::object::{
    AuthorityFacts, BackendRef, CertificateFacts, ConfigMap, Endpoint, EndpointSlice, Ingress,
    IngressClass, KeyAlgorithm, Kind, Meta, Name, Namespace, Note, Object, ObjectRef, Path,
    PathType, PortRef, Rule, Secret, Service, ServicePort, ServiceSource, SlicePort, Tls,
    UserFacts,
};

use super::annotations;

const NAMESPACES: &[&str] = &["a", "b", "team"];
const SERVICES: &[&str] = &["web", "api", "db", "s-4"];
const INGRESSES: &[&str] = &["i1", "i2", "i3"];
/// Names of Secrets.
pub const SECRETS: &[&str] = &["tls", "tls2", "ca", "users"];
const CLASSES: &[&str] = &["ours", "theirs"];
const OURS: &str = "tidegate.io/ingress-controller";

/// Hosts of rules, as written.
pub const HOSTS: &[&str] =
    &["", "foo.com", "bar.foo.com", "*.foo.com", "x.org", "Foo.COM", "*.bar.foo.com"];
const BAD_HOSTS: &[&str] =
    &["*", "10.0.0.1", "a b", "foo.com:80", "x\ny", "foo.com/a", "-", "a..b"];

/// Paths of rules, as written.
pub const PATHS: &[&str] = &["/", "/a", "/a/", "/a/b", "/ab", "//a//b", "", "/b", "/%41"];
const BAD_PATHS: &[&str] = &["a", "/a b", "/a>", "/../x", "/%2e%2E/", "/a?b", "/#", "/\n", "/é"];

const ADDRESSES: &[&str] = &[
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.4",
    "10.0.0.5",
    "10.0.0.6",
    "fd00::1",
    "127.0.0.1",
    "0.0.0.0",
    "224.0.0.1",
];

pub use crate::oracle::haproxy::REFUSED_DIGEST;

/// Name of the controller's ConfigMap.
#[must_use]
pub fn config_map_name() -> Name {
    Name::new("a", "config")
}

/// Name of the ConfigMap of the TCP services.
#[must_use]
pub fn tcp_services_name() -> Name {
    Name::new("a", "tcp")
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::from([10, 9, 9, 9]))
}

/// Metadata from its parts.
#[must_use]
pub fn meta(
    namespace: &str,
    name: &str,
    created: i64,
    annotations: BTreeMap<String, String>,
) -> Meta {
    Meta {
        name: Name::new(namespace, name),
        uid: "".into(),
        created,
        generation: 1,
        annotations: annotations.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
        notes: Vec::new(),
    }
}

/// A certificate with a digest of this number.
#[must_use]
pub fn certificate(number: u8, algorithm: KeyAlgorithm) -> CertificateFacts {
    CertificateFacts {
        digest: Digest([number; 16]),
        algorithm,
        names: Vec::new(),
        not_before: 1_000,
        // Some end within what [`Act::Date`](super::Act::Date) reads.
        not_after: if number == 2 { 2_000_000 } else { 4_000_000_000 },
    }
}

fn namespace() -> impl Strategy<Value = &'static str> {
    // Mostly one namespace, so that references meet their targets.
    prop_oneof![5 => Just("a"), 2 => select(NAMESPACES)]
}

fn created() -> impl Strategy<Value = i64> {
    0_i64..3
}

fn host() -> impl Strategy<Value = Box<str>> {
    prop_oneof![20 => select(HOSTS), 1 => select(BAD_HOSTS)].prop_map(Into::into)
}

fn path() -> impl Strategy<Value = Path> {
    let text = prop_oneof![20 => select(PATHS), 1 => select(BAD_PATHS)];
    let kind = prop_oneof![
        4 => Just(PathType::Prefix),
        2 => Just(PathType::Exact),
        1 => Just(PathType::ImplementationSpecific)
    ];
    (text, kind, backend()).prop_map(|(path, path_type, backend)| Path {
        path: path.into(),
        path_type,
        backend,
    })
}

fn backend() -> impl Strategy<Value = BackendRef> {
    let port = prop_oneof![
        6 => Just(PortRef::Number(80)),
        3 => Just(PortRef::Name("http".into())),
        2 => Just(PortRef::Number(81)),
        1 => Just(PortRef::Name("none".into())),
    ];
    prop_oneof![
        20 => (select(SERVICES), port)
            .prop_map(|(name, port)| BackendRef::Service { name: name.into(), port }),
        1 => Just(BackendRef::Unusable("it is a resource".into())),
    ]
}

fn tls() -> impl Strategy<Value = Tls> {
    let secret = prop_oneof![
        8 => select(SECRETS).prop_map(|s| Some(s.into())),
        1 => Just(None),
        1 => Just(Some("".into()))
    ];
    (vec(host(), 0..3), secret).prop_map(|(hosts, secret)| Tls { hosts, secret })
}

/// An Ingress.
pub fn ingress() -> impl Strategy<Value = Object> {
    let class = prop_oneof![
        5 => Just(Some("ours".into())),
        2 => Just(None),
        1 => Just(Some("theirs".into()))
    ];
    let rule = (host(), vec(path(), 0..3)).prop_map(|(host, paths)| Rule { host, paths });
    let note = Note { field: "spec.x".into(), message: "is a number".into() };
    let notes = prop_oneof![9 => Just(Vec::new()), 1 => Just(vec![note])];
    let default = prop_oneof![4 => Just(None), 1 => backend().prop_map(Some)];
    (
        (namespace(), select(INGRESSES), created(), annotations::for_ingress(), notes),
        (class, default, vec(rule, 0..3), vec(tls(), 0..2)),
    )
        .prop_map(|((namespace, name, created, annotations, notes), spec)| {
            let (class, default_backend, rules, tls) = spec;
            let status = Vec::new();
            let meta = Meta { notes, ..meta(namespace, name, created, annotations) };
            Object::Ingress(Arc::new(Ingress { meta, class, default_backend, rules, tls, status }))
        })
}

fn service() -> impl Strategy<Value = Object> {
    let app = prop_oneof![
        6 => Just(None),
        1 => Just(Some("kubernetes.io/h2c".into())),
        1 => Just(Some("https".into()))
    ];
    let port = (select(&["http", "", "udp"][..]), select(&[80_u16, 80, 81][..]), app).prop_map(
        |(name, port, app_protocol)| ServicePort {
            name: name.into(),
            port,
            app_protocol,
            node_port: None,
        },
    );
    let source = prop_oneof![
        9 => Just(ServiceSource::Slices),
        1 => Just(ServiceSource::ExternalName("ext.example".into()))
    ];
    (namespace(), select(SERVICES), annotations::for_service(), source, vec(port, 1..3)).prop_map(
        |(namespace, name, annotations, source, mut ports)| {
            // The names of a Service's ports are different; their numbers need not be.
            ports.sort_by(|a: &ServicePort, b| a.name.cmp(&b.name));
            ports.dedup_by(|a, b| a.name == b.name);
            let meta = meta(namespace, name, 0, annotations);
            Object::Service(Arc::new(Service {
                meta,
                source,
                ports,
                local_traffic: false,
                addresses: Vec::new(),
            }))
        },
    )
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let flags = prop_oneof![
        6 => Just((true, true, false)),
        2 => Just((false, true, true)),
        1 => Just((false, false, true)),
        1 => Just((false, true, false)),
    ];
    let address = prop_oneof![8 => select(&ADDRESSES[..6]), 1 => select(ADDRESSES)];
    (address, flags).prop_map(|(address, (ready, serving, terminating))| Endpoint {
        address: ip(address),
        ready,
        serving,
        terminating,
    })
}

/// An EndpointSlice.
pub fn slice() -> impl Strategy<Value = Object> {
    let number = prop_oneof![8 => Just(Some(8080)), 1 => Just(Some(9090)), 1 => Just(None)];
    let port = (select(&["http", "http", "", "udp"][..]), number)
        .prop_map(|(name, port)| SlicePort { name: name.into(), port });
    let service = prop_oneof![12 => select(SERVICES), 1 => Just("")];
    (namespace(), select(SERVICES), 1_u8..3, service, vec(port, 1..3), vec(endpoint(), 0..7))
        .prop_map(|(namespace, of, number, other, ports, endpoints)| {
            // Mostly a slice stays with its Service.
            let service = if number == 1 { of } else { other };
            let meta = meta(namespace, &format!("{of}-{number}"), 0, BTreeMap::new());
            let service = service.into();
            Object::EndpointSlice(Arc::new(EndpointSlice {
                meta,
                service,
                ports,
                endpoints,
                nodes: Vec::new(),
            }))
        })
}

fn secret() -> impl Strategy<Value = Object> {
    let algorithm = select(&[KeyAlgorithm::Rsa, KeyAlgorithm::Ecdsa][..]);
    let number = prop_oneof![12 => 1_u8..5, 1 => Just(REFUSED_DIGEST)];
    let certificate = prop_oneof![
        8 => (number, algorithm).prop_map(|(n, a)| Some(Ok(certificate(n, a)))),
        1 => Just(Some(Err("the key is for another certificate".into()))),
        2 => Just(None),
    ];
    let authority = prop_oneof![
        3 => (20_u8..23).prop_map(|n| Some(Ok(AuthorityFacts {
            digest: Digest([n; 16]),
            not_after: if n == 21 { 3_000_000 } else { 4_000_000_000 },
            revokes: n == 22,
        }))),
        1 => Just(Some(Err("no certificate in it".into()))),
        2 => Just(None),
    ];
    let refused = prop_oneof![
        3 => Just(Vec::new()),
        1 => Just(vec![("data.auth, line 2".into(), "it has no colon".into())])
    ];
    let users = prop_oneof![
        6 => (40_u8..43, refused)
            .prop_map(|(n, refused)| Some(Ok(UserFacts { digest: Digest([n; 16]), refused }))),
        1 => Just(Some(Err("no usable user".into()))),
        2 => Just(None),
    ];
    (namespace(), select(SECRETS), certificate, authority, users).prop_map(
        |(namespace, name, certificate, authority, users)| {
            let meta = meta(namespace, name, 0, BTreeMap::new());
            Object::Secret(Arc::new(Secret { meta, certificate, authority, users }))
        },
    )
}

fn class() -> impl Strategy<Value = Object> {
    let controller = prop_oneof![4 => Just(OURS), 1 => Just("example.com/other")];
    (select(CLASSES), controller, prop::bool::weighted(0.3), created()).prop_map(
        |(name, controller, is_default, created)| {
            let meta = meta("", name, created, BTreeMap::new());
            let controller = controller.into();
            Object::IngressClass(Arc::new(IngressClass { meta, controller, is_default }))
        },
    )
}

fn config_map() -> impl Strategy<Value = Object> {
    let name = prop_oneof![6 => Just("config"), 1 => Just("another")];
    (name, annotations::for_config_map()).prop_map(|(name, data)| {
        let meta = meta("a", name, 0, BTreeMap::new());
        let data = data.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Object::ConfigMap(Arc::new(ConfigMap { meta, data }))
    })
}

/// TCP services: ports that are kept and others, and what is none.
fn tcp_services() -> impl Strategy<Value = Object> {
    let port = select(&["20000", "20001", "20002", "20003", "5432", "443", "05432", "x"][..]);
    let service = (select(NAMESPACES), select(SERVICES), select(&["80", "http", "8080", "9"][..]))
        .prop_map(|(namespace, service, port)| format!("{namespace}/{service}:{port}"));
    let value = prop_oneof![
        6 => service.clone(),
        2 => service.prop_map(|text| format!("{text}:ssl")),
        1 => Just("nonsense".to_owned()),
        1 => super::hostile::text(),
    ];
    vec((port, value), 0..4).prop_map(|entries| {
        let data = entries.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let meta = meta("a", "tcp", 0, BTreeMap::new());
        Object::ConfigMap(Arc::new(ConfigMap { meta, data }))
    })
}

fn namespace_object() -> impl Strategy<Value = Object> {
    select(NAMESPACES).prop_map(|name| {
        let meta = meta("", name, 0, BTreeMap::new());
        Object::Namespace(Arc::new(Namespace { meta, labels: Vec::new() }))
    })
}

/// Custom resources of haproxytech's: what the table can say, fields that it cannot, and ports.
fn custom() -> impl Strategy<Value = Object> {
    let part =
        select(&[Part::Backend, Part::Backend, Part::Defaults, Part::Global, Part::Frontend][..]);
    let api = prop_oneof![3 => Just(Api::V3), 1 => Just(Api::V1)];
    let name = (select(NAMESPACES), select(annotations::CUSTOMS), created());
    let weight = select(&[Weight::Known, Weight::Lacks, Weight::Lacks, Weight::Protects][..]);
    let unsaid = prop_oneof![3 => Just(Vec::new()), 1 => vec(weight, 1..3)];
    (part, api, name, annotations::for_custom(), unsaid).prop_map(
        |(part, api, (namespace, name, created), said, unsaid)| {
            let keys = said.into_iter().filter(|_| part != Part::Frontend);
            let said = keys.map(|(key, value)| said_by(&key, &value)).collect();
            let unsaid = unsaid.into_iter().enumerate().map(|(at, weight)| Unsaid {
                field: format!("spec.f{at}").into(),
                what: "it has no counterpart here".into(),
                fix: "remove it".into(),
                weight,
            });
            let meta = meta(namespace, name, created, BTreeMap::new());
            let unsaid = unsaid.collect();
            Object::Custom(Arc::new(Custom { meta, part, api, said, unsaid }))
        },
    )
}

fn said_by(key: &str, value: &str) -> Said {
    Said { key: key.into(), value: value.into(), field: format!("spec.{key}").into() }
}

/// TCP resources.
fn custom_tcp() -> impl Strategy<Value = Object> {
    let port = select(&["20000", "20001", "5432", "443", "x"][..]);
    let service = (select(SERVICES), select(&["80", "http", "9"][..]));
    let class = select(&[Some("tidegate"), Some("tidegate"), Some("nginx"), None][..]);
    let name = (select(NAMESPACES), select(annotations::CUSTOMS), created());
    (name, class, vec((port, service), 0..3)).prop_map(
        |((namespace, name, created), class, ports)| {
            let class = class.map(|class| ("ingress.class".to_owned(), class.to_owned()));
            let meta = meta(namespace, name, created, class.into_iter().collect());
            let mut said: Vec<Said> = ports
                .iter()
                .map(|(port, (service, at))| said_by(port, &format!("{namespace}/{service}:{at}")))
                .collect();
            said.sort();
            let (part, api, unsaid) = (Part::Tcp, Api::V3, Vec::new());
            Object::Custom(Arc::new(Custom { meta, part, api, said, unsaid }))
        },
    )
}

/// Any object.
pub fn object() -> BoxedStrategy<Object> {
    prop_oneof![
        10 => ingress(),
        5 => service(),
        8 => slice(),
        3 => secret(),
        1 => class(),
        2 => config_map(),
        2 => tcp_services(),
        1 => namespace_object(),
        3 => custom(),
        1 => custom_tcp(),
    ]
    .boxed()
}

/// A reference to an object that may or may not be there.
pub fn reference() -> BoxedStrategy<ObjectRef> {
    object().prop_map(|object| object.object_ref()).boxed()
}

/// A complete list of one kind.
pub fn list() -> BoxedStrategy<(Kind, Vec<Object>)> {
    vec(object(), 1..5)
        .prop_map(|objects| {
            let kind = objects.first().map_or(Kind::Service, Object::kind);
            let of_kind = objects.into_iter().filter(|o| o.kind() == kind).collect();
            (kind, last_of_each(of_kind))
        })
        .boxed()
}

/// An answer of the name resolver.
pub fn resolution() -> impl Strategy<Value = (&'static str, Vec<IpAddr>)> {
    let addresses = vec(select(&ADDRESSES[..7]).prop_map(ip), 0..3).prop_map(|mut all| {
        all.sort_unstable();
        all.dedup();
        all
    });
    (select(&["ext.example", "nobody.example"][..]), addresses)
}

/// The last object of each name, sorted.
#[must_use]
pub fn last_of_each(objects: Vec<Object>) -> Vec<Object> {
    let by_ref: BTreeMap<ObjectRef, Object> =
        objects.into_iter().map(|object| (object.object_ref(), object)).collect();
    by_ref.into_values().collect()
}

/// A little cluster that works: a class, two Services with endpoints, two Ingresses, a certificate.
#[must_use]
pub fn furniture() -> Vec<Object> {
    let mut all = Vec::new();
    let controller = OURS.into();
    let plain = |namespace: &str, name: &str| meta(namespace, name, 1, BTreeMap::new());
    all.push(Object::IngressClass(Arc::new(IngressClass {
        meta: plain("", "ours"),
        controller,
        is_default: true,
    })));
    for (n, name) in [(1, "web"), (2, "api")] {
        let http =
            ServicePort { name: "http".into(), port: 80, app_protocol: None, node_port: None };
        all.push(Object::Service(Arc::new(Service {
            meta: plain("a", name),
            source: ServiceSource::Slices,
            ports: vec![http],
            local_traffic: false,
            addresses: Vec::new(),
        })));
        let endpoint = |m| Endpoint {
            address: IpAddr::from([10, 0, n, m]),
            ready: true,
            serving: true,
            terminating: false,
        };
        all.push(Object::EndpointSlice(Arc::new(EndpointSlice {
            meta: plain("a", &format!("{name}-1")),
            service: name.into(),
            ports: vec![SlicePort { name: "http".into(), port: Some(8080) }],
            endpoints: vec![endpoint(1), endpoint(2)],
            nodes: Vec::new(),
        })));
    }
    all.push(Object::Secret(Arc::new(Secret {
        meta: plain("a", "tls"),
        certificate: Some(Ok(certificate(1, KeyAlgorithm::Rsa))),
        authority: None,
        users: None,
    })));
    for (name, host, service) in [("i1", "foo.com", "web"), ("i2", "*.foo.com", "api")] {
        let port = PortRef::Number(80);
        let backend = BackendRef::Service { name: service.into(), port };
        let path = Path { path: "/".into(), path_type: PathType::Prefix, backend };
        all.push(Object::Ingress(Arc::new(Ingress {
            meta: plain("a", name),
            class: Some("ours".into()),
            default_backend: None,
            rules: vec![Rule { host: host.into(), paths: vec![path] }],
            tls: vec![Tls { hosts: vec![host.into()], secret: Some("tls".into()) }],
            status: Vec::new(),
        })));
    }
    all
}
