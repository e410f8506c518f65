//! Cases by hand, for what generated ones come upon only after thousands. Each is told what it is for;
//! the properties judge them as any others.

use std::net::IpAddr;
use std::sync::Arc;

use tidegate_core::capability::Tier;
use tidegate_core::digest::Digest;
use tidegate_core::world::object::{
    AuthorityFacts, BackendRef, Endpoint, EndpointSlice, Ingress, Object, Path, PathType, PortRef,
    Rule, Secret, Service, ServiceSource, Tls, UserFacts,
};

use super::{Act, Case, Setup, objects};

/// The furniture, other objects, and what happens then.
fn case(initial: Vec<Object>, acts: Vec<Act>) -> Case {
    let setup = Setup {
        tier: Tier::A,
        default_backend: false,
        default_certificate: false,
        classless: false,
        external_names: true,
    };
    Case { setup, furnished: true, initial, acts }
}

/// An Ingress with paths to Services, as `PATH SERVICE`. The furniture was created at 1.
fn ingress(
    name: &str,
    created: i64,
    host: &str,
    paths: &[&str],
    annotations: &[(&str, &str)],
) -> Ingress {
    let pairs = annotations.iter().map(|(key, value)| (format!("tidegate.io/{key}"), *value));
    let annotations = pairs.map(|(key, value)| (key, value.to_owned())).collect();
    let path = |text: &&str| {
        let (path, service) = text.split_once(' ').unwrap_or((*text, "web"));
        let port = PortRef::Number(80);
        let backend = BackendRef::Service { name: service.into(), port };
        Path { path: path.into(), path_type: PathType::Prefix, backend }
    };
    Ingress {
        meta: objects::meta("a", name, created, annotations),
        class: Some("ours".into()),
        default_backend: None,
        rules: vec![Rule { host: host.into(), paths: paths.iter().map(path).collect() }],
        tls: Vec::new(),
        status: Vec::new(),
    }
}

fn of(ingress: Ingress) -> Object {
    Object::Ingress(Arc::new(ingress))
}

/// A Service of the furniture, changed.
fn service(name: &str, change: impl FnOnce(&mut Service)) -> Object {
    let found = objects::furniture().into_iter().find_map(|object| match object {
        Object::Service(of) if &*of.meta.name.name == name => Some(of),
        _ => None,
    });
    let mut service = Arc::unwrap_or_clone(found.expect("furniture has it"));
    change(&mut service);
    Object::Service(Arc::new(service))
}

/// The first slice of a Service of the furniture, with so many of its endpoints.
fn slice(service: &str, endpoints: usize) -> EndpointSlice {
    let name = format!("{service}-1");
    let found = objects::furniture().into_iter().find_map(|object| match object {
        Object::EndpointSlice(of) if *of.meta.name.name == *name => Some(of),
        _ => None,
    });
    let mut slice = Arc::unwrap_or_clone(found.expect("furniture has it"));
    slice.endpoints.truncate(endpoints);
    slice
}

/// The same, as it is told.
fn put(service: &str, endpoints: usize) -> Act {
    Act::Put(Object::EndpointSlice(Arc::new(slice(service, endpoints))))
}

/// A pod goes, and then something else changes four times a second.
#[must_use]
pub fn restless() -> Case {
    let mut acts = vec![Act::Pass(2_000), put("web", 1), Act::Pass(0)];
    for number in 0..40 {
        acts.extend([put("api", 1 + number % 2), Act::Pass(0)]);
    }
    case(Vec::new(), acts)
}

/// The furniture alone.
#[must_use]
pub fn nothing_else() -> Case {
    case(Vec::new(), Vec::new())
}

/// An older Ingress writes a path with doubled slashes, and a younger one has all other paths.
#[must_use]
pub fn doubled_slashes() -> Case {
    let older = ingress("i7", 0, "x.org", &["/a//b api"], &[]);
    let younger = ingress("i8", 2, "x.org", &["/ web"], &[]);
    case(vec![of(older), of(younger)], Vec::new())
}

/// A Service with slices becomes one that is only a name.
#[must_use]
pub fn becomes_a_name() -> Case {
    let named = service("web", |service| {
        service.source = ServiceSource::ExternalName("ext.example".into());
    });
    let resolved = Act::Resolve("ext.example", vec![IpAddr::from([10, 0, 0, 6])]);
    case(Vec::new(), vec![Act::Settle, Act::Put(named), resolved, Act::Settle])
}

/// A younger Ingress asks for the TLS of a host that an older one has paths of.
#[must_use]
pub fn younger_passes_through() -> Case {
    let younger = ingress("i8", 2, "foo.com", &["/ api"], &[("tls-passthrough", "true")]);
    case(vec![of(younger)], Vec::new())
}

/// A certificate with more hosts than HAProxy takes words in a line.
#[must_use]
pub fn many_hosts() -> Case {
    let hosts: Vec<Box<str>> = (0..70).map(|n| format!("h{n}.org").into()).collect();
    let mut many = ingress("i8", 2, "h0.org", &["/ web"], &[]);
    many.tls = vec![Tls { hosts, secret: Some("tls".into()) }];
    case(vec![of(many)], Vec::new())
}

/// A key names a Secret of another namespace.
#[must_use]
pub fn users_of_others() -> Case {
    let facts = UserFacts { digest: Digest([40; 16]), refused: Vec::new() };
    let users = Object::Secret(Arc::new(Secret {
        meta: objects::meta("b", "users", 0, [].into()),
        certificate: None,
        authority: None,
        users: Some(Ok(facts)),
    }));
    let reaching = ingress("i8", 2, "x.org", &["/ web"], &[("auth-secret", "b/users")]);
    case(vec![users, of(reaching)], Vec::new())
}

/// A backend with server keywords gets a server at run time.
#[must_use]
pub fn keywords_at_run_time() -> Case {
    let told = ingress("i8", 2, "x.org", &["/ web"], &[("send-proxy-protocol", "proxy-v2")]);
    case(vec![of(told)], vec![put("web", 1), Act::Settle, put("web", 2), Act::Settle])
}

/// Two backends of one Service lose an endpoint.
#[must_use]
pub fn two_backends_of_one() -> Case {
    let other = ingress("i8", 2, "x.org", &["/ web"], &[("load-balance", "leastconn")]);
    case(vec![of(other)], vec![put("web", 1)])
}

/// A host whose clients are asked for certificates, where HAProxy is of that tier.
#[must_use]
pub fn asks_for_certificates(tier: Tier) -> Case {
    let facts =
        AuthorityFacts { digest: Digest([20; 16]), not_after: 4_000_000_000, revokes: false };
    let authority = Object::Secret(Arc::new(Secret {
        meta: objects::meta("a", "ca", 0, [].into()),
        certificate: None,
        authority: Some(Ok(facts)),
        users: None,
    }));
    let mut asks = ingress("i8", 2, "x.org", &["/ web"], &[("client-ca", "ca")]);
    asks.tls = vec![Tls { hosts: vec!["x.org".into()], secret: Some("tls".into()) }];
    let mut case = case(vec![authority, of(asks)], Vec::new());
    case.setup.tier = tier;
    case
}

/// Forty paths, forty endpoints, and a path of 100 bytes.
#[must_use]
pub fn much_in_one() -> Case {
    let paths: Vec<String> = (0..40).map(|n| format!("/p{n} web")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let many = ingress("i7", 2, "many.org", &paths, &[]);
    let long = ingress("i8", 2, "long.org", &[&format!("/{} web", "x".repeat(100))], &[]);
    let endpoint = |n| Endpoint {
        address: IpAddr::from([10, 0, 3, n]),
        ready: true,
        serving: true,
        terminating: false,
    };
    let endpoints = (1..=40).map(endpoint).collect();
    let slice = EndpointSlice { endpoints, ..slice("web", 0) };
    case(vec![of(many), of(long), Object::EndpointSlice(Arc::new(slice))], Vec::new())
}
