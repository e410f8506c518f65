//! Cases that once failed, by what was at stake. Written out, so that changes of the generators
//! leave them as they are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_core::action::Lane;
use tidegate_core::capability::Tier;
use tidegate_core::digest::Digest;
use tidegate_core::world::object::{
    AuthorityFacts, BackendRef, ConfigMap, Endpoint, EndpointSlice, Ingress, KeyAlgorithm, Kind,
    Object, ObjectRef, Path, PathType, PortRef, Rule, Secret, Service, ServicePort, ServiceSource,
    SlicePort,
};
use tidegate_proptests::arb::objects::{certificate, meta};
use tidegate_proptests::arb::{Act, Case, Fate, Setup};
use tidegate_proptests::properties::render::{Writing, writing_is_contained};
use tidegate_proptests::properties::{history, planner, projections};

fn case(tier: Tier, initial: Vec<Object>, acts: Vec<Act>) -> Case {
    let setup = Setup {
        tier,
        default_backend: false,
        default_certificate: false,
        classless: false,
        external_names: false,
    };
    Case { setup, furnished: true, initial, acts }
}

fn route(host: &str, path: &str, service: &str, port: PortRef) -> Rule {
    let backend = BackendRef::Service { name: service.into(), port };
    let path = Path { path: path.into(), path_type: PathType::Prefix, backend };
    Rule { host: host.into(), paths: vec![path] }
}

fn ingress(name: &str, rules: Vec<Rule>, default: Option<(&str, u16)>) -> Object {
    Object::Ingress(Arc::new(Ingress {
        meta: meta("a", name, 0, BTreeMap::new()),
        class: Some("ours".into()),
        default_backend: default.map(|(name, port)| BackendRef::Service {
            name: name.into(),
            port: PortRef::Number(port),
        }),
        rules,
        tls: Vec::new(),
        status: Vec::new(),
    }))
}

fn service(name: &str, ports: &[(&str, u16)], app_protocol: Option<&str>) -> Object {
    let port = |(name, port): &(&str, u16)| ServicePort {
        name: (*name).into(),
        port: *port,
        app_protocol: app_protocol.map(Into::into),
        node_port: None,
    };
    Object::Service(Arc::new(Service {
        meta: meta("a", name, 0, BTreeMap::new()),
        source: ServiceSource::Slices,
        ports: ports.iter().map(port).collect(),
        local_traffic: false,
        addresses: Vec::new(),
    }))
}

fn slice(service: &str, port: &str, addresses: &[[u8; 4]]) -> Object {
    let endpoint = |address: &[u8; 4]| Endpoint {
        address: IpAddr::from(*address),
        ready: true,
        serving: true,
        terminating: false,
    };
    Object::EndpointSlice(Arc::new(EndpointSlice {
        meta: meta("a", &format!("{service}-1"), 0, BTreeMap::new()),
        service: service.into(),
        ports: vec![SlicePort { name: port.into(), port: Some(8080) }],
        endpoints: addresses.iter().map(endpoint).collect(),
        nodes: Vec::new(),
    }))
}

fn config(data: &[(&str, &str)]) -> Object {
    Object::ConfigMap(Arc::new(ConfigMap {
        meta: meta("a", "config", 0, BTreeMap::new()),
        data: data.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
    }))
}

const AUDIT: Act = Act::Pass(61_000);

/// A backend without servers reads back like an unpublished one; routes to it must still be made,
/// and it must still be deleted.
#[test]
fn an_empty_backend_survives_an_audit() -> Result<(), String> {
    for tier in [Tier::A, Tier::B, Tier::C] {
        let more = ingress("i3", vec![route("x.org", "/", "web", PortRef::Number(80))], None);
        let class = ObjectRef::new(Kind::IngressClass, "", "ours");
        let acts = vec![Act::Settle, AUDIT, Act::Put(more), Act::Settle, AUDIT, Act::Remove(class)];
        let empty = case(tier, vec![slice("web", "http", &[])], acts);
        history::idempotence(&empty)?;
        planner::plan_reaches_desired(&empty)?;
        let filled = Act::Put(slice("web", "http", &[[10, 0, 0, 1]]));
        let acts = vec![AUDIT, Act::Settle, filled, Act::Answer(Lane::Runtime, Fate::Refused(0))];
        planner::unknown_ack_recovers(&case(tier, vec![slice("web", "http", &[])], acts))?;
    }
    Ok(())
}

/// What policies pointed to is collected although nothing else happens.
#[test]
fn garbage_is_collected_without_another_event() -> Result<(), String> {
    for tier in [Tier::A, Tier::B, Tier::C] {
        let rewrite = config(&[("path-rewrite", "^/api/(.*) /v2/\\1")]);
        let acts = vec![Act::Settle, Act::Put(config(&[]))];
        planner::plan_reaches_desired(&case(tier, vec![rewrite], acts))?;
    }
    Ok(())
}

/// A slot whose endpoint is gone is as good as an empty one.
#[test]
fn spent_slots_are_no_difference() -> Result<(), String> {
    let acts = vec![Act::Settle, Act::Put(slice("web", "http", &[])), AUDIT, AUDIT];
    history::idempotence(&case(Tier::C, vec![], acts))
}

/// A host's new root must not shadow what it serves otherwise.
#[test]
fn a_root_comes_after_its_paths() -> Result<(), String> {
    let path = ingress("i2", vec![route("foo.com", "/a", "web", PortRef::Number(80))], None);
    let first = ObjectRef::new(Kind::Ingress, "a", "i1");
    let acts = vec![Act::Settle, Act::Put(path), Act::Remove(first)];
    planner::plan_reaches_desired(&case(Tier::A, vec![], acts))
}

/// Nor must routes without host that change before more special ones are there.
#[test]
fn routes_without_host_change_last() -> Result<(), String> {
    let rules = vec![route("*.foo.com", "/", "web", PortRef::Number(80))];
    let acts = vec![
        Act::Put(ingress("i2", vec![], None)),
        Act::Put(ingress("i1", vec![], Some(("web", 80)))),
        Act::Settle,
        Act::Put(ingress("i1", rules, Some(("web", 81)))),
    ];
    planner::plan_reaches_desired(&case(Tier::A, vec![], acts))
}

/// While a new backend waits for its reload, neither the 404 of its new host, nor a shorter route, nor
/// a wildcard or catch-all that answers no longer, comes between its requests and what answers them.
#[test]
fn nothing_shadows_a_route_that_waits_for_a_reload() -> Result<(), String> {
    let general = ["*.foo.com", ""];
    for host in general {
        let serves = ingress("i2", vec![route(host, "/", "web", PortRef::Number(80))], None);
        let answers_no_longer = route(host, "/", "nobody", PortRef::Number(80));
        let new_service = || {
            [
                Act::Put(service("new", &[("http", 80)], None)),
                Act::Put(slice("new", "http", &[[10, 0, 0, 9]])),
            ]
        };
        let new_route = route("bar.foo.com", "/a", "new", PortRef::Number(80));
        let shorter = route("bar.foo.com", "/", "nobody", PortRef::Number(80));
        let more = [
            vec![new_route.clone()],
            vec![new_route.clone(), shorter],
            vec![new_route, answers_no_longer],
        ];
        for rules in more {
            let replaces = ingress("i2", rules.clone(), None);
            let adds = ingress("i3", rules, None);
            for (put, remove) in [(adds, false), (replaces, true)] {
                let mut acts = vec![Act::Put(serves.clone()), Act::Settle];
                acts.extend(new_service());
                acts.push(Act::Put(put));
                if remove {
                    acts.push(Act::Remove(ObjectRef::new(Kind::Ingress, "a", "i1")));
                }
                acts.push(Act::Answer(Lane::Runtime, Fate::Done));
                planner::plan_reaches_desired(&case(Tier::C, vec![], acts))?;
            }
        }
    }
    Ok(())
}

/// What the ConfigMap or the Service asks of the default backend can be refused as well: it is then
/// withheld, and everything else starts.
#[test]
fn a_refused_default_backend_stops_nothing() -> Result<(), String> {
    let rewrite =
        || BTreeMap::from([("tidegate.io/path-rewrite".to_owned(), "[z-a] /x".to_owned())]);
    let mut annotated = Service {
        meta: meta("a", "web", 0, rewrite()),
        source: ServiceSource::Slices,
        ports: vec![ServicePort {
            name: "http".into(),
            port: 80,
            app_protocol: None,
            node_port: None,
        }],
        local_traffic: false,
        addresses: Vec::new(),
    };
    for tier in [Tier::A, Tier::B, Tier::C] {
        let bad = config(&[("path-rewrite", "[z-a] /x")]);
        for (bad, good) in [
            (bad, config(&[])),
            (Object::Service(Arc::new(annotated.clone())), service("web", &[("http", 80)], None)),
        ] {
            let mut from_start =
                case(tier, vec![bad.clone()], vec![Act::Settle, Act::Put(good.clone())]);
            from_start.setup.default_backend = true;
            planner::plan_reaches_desired(&from_start)?;
            let acts = vec![Act::Settle, Act::Put(bad), Act::Settle, Act::Put(good)];
            let mut later = case(tier, vec![], acts);
            later.setup.default_backend = true;
            planner::plan_reaches_desired(&later)?;
        }
        annotated.meta.created += 1;
    }
    Ok(())
}

/// The endpoints of a backend follow the port's name: another name is another backend.
#[test]
fn another_port_name_is_another_backend() -> Result<(), String> {
    let catch_all = ingress("i1", vec![route("", "/", "api", PortRef::Name("http".into()))], None);
    let moved = service("api", &[("http", 81), ("", 80)], None);
    let acts = vec![Act::Put(catch_all), Act::Settle, Act::Put(moved)];
    planner::plan_reaches_desired(&case(Tier::A, vec![], acts))?;
    let same_number = service("api", &[("http", 80), ("udp", 80)], None);
    let by_name = |name: &str, host: &str, port: &str| {
        Act::Put(ingress(name, vec![route(host, "/", "api", PortRef::Name(port.into()))], None))
    };
    let acts = vec![by_name("i1", "foo.com", "http"), by_name("i2", "x.org", "udp")];
    projections::confluence(&case(Tier::A, vec![same_number], acts))
}

/// A spare backend that was claimed before the answers were lost still gets its route.
#[test]
fn a_claimed_spare_backend_is_put_to_work() -> Result<(), String> {
    let h2c = service("web", &[("http", 80)], Some("kubernetes.io/h2c"));
    for done in 0..4 {
        let acts = vec![
            Act::Put(h2c.clone()),
            Act::Answer(Lane::Files, Fate::Done),
            Act::Answer(Lane::Runtime, Fate::Unknown(done)),
        ];
        planner::unknown_ack_recovers(&case(Tier::B, vec![], acts))?;
    }
    Ok(())
}

/// A checkpoint taken right after the first reload goes on to the same audit.
#[test]
fn a_restored_controller_audits_as_well() -> Result<(), String> {
    for tier in [Tier::A, Tier::B, Tier::C] {
        let acts = vec![Act::Answer(Lane::Files, Fate::Done), AUDIT, AUDIT];
        history::checkpoint_is_lossless(&case(tier, vec![], acts))?;
    }
    Ok(())
}

/// Header names stand in static rules before HAProxy 3.4.
#[test]
fn header_names_mean_nothing_to_the_configuration() -> Result<(), String> {
    for name in ["#", "'", "%", "$x", "`x`", "x#y", "&", "~", "|"] {
        for tier in [Tier::A, Tier::B, Tier::C] {
            let key = "tidegate.io/request-set-header".to_owned();
            let annotations = BTreeMap::from([(key, format!("{name} value"))]);
            let (host, path, name) = ("h.org".into(), "/".into(), "ext.example".into());
            writing_is_contained(&Writing { tier, annotations, host, path, name })?;
        }
    }
    Ok(())
}

/// The default certificate changes, and changes back before the answer is there.
#[test]
fn a_default_certificate_comes_back_in_time() -> Result<(), String> {
    let secret = |number| {
        let certificate = Some(Ok(certificate(number, KeyAlgorithm::Rsa)));
        let meta = meta("a", "tls", 0, BTreeMap::new());
        Act::Put(Object::Secret(Arc::new(Secret {
            meta,
            certificate,
            authority: None,
            users: None,
        })))
    };
    for (tier, done) in
        [Tier::A, Tier::B, Tier::C].into_iter().flat_map(|t| (0..4).map(move |d| (t, d)))
    {
        let acts = |fate| {
            let answered = Act::Answer(Lane::Runtime, fate);
            vec![secret(1), Act::Settle, secret(2), secret(1), answered, Act::Settle]
        };
        let of = |acts| {
            let mut case = case(tier, vec![], acts);
            case.setup.default_certificate = true;
            case
        };
        planner::plan_reaches_desired(&of(acts(Fate::Done)))?;
        planner::unknown_ack_recovers(&of(acts(Fate::Unknown(done))))?;
    }
    Ok(())
}

/// HAProxy reads at its start what its lines name: a Service without a pod has no server to name its
/// authorities, which have to be there for the first one.
#[test]
fn the_authorities_of_a_service_wait_for_its_first_pod() -> Result<(), String> {
    let facts = AuthorityFacts { digest: Digest([7; 16]), not_after: i64::MAX, revokes: false };
    let secret = Object::Secret(Arc::new(Secret {
        meta: meta("a", "ca", 0, BTreeMap::new()),
        certificate: None,
        authority: Some(Ok(facts)),
        users: None,
    }));
    let key = "tidegate.io/server-ca".to_owned();
    let web = Object::Service(Arc::new(Service {
        meta: meta("a", "web", 0, BTreeMap::from([(key, "ca".to_owned())])),
        source: ServiceSource::Slices,
        ports: vec![ServicePort {
            name: "http".into(),
            port: 80,
            app_protocol: None,
            node_port: None,
        }],
        local_traffic: false,
        addresses: Vec::new(),
    }));
    for tier in [Tier::A, Tier::B, Tier::C] {
        let without = vec![secret.clone(), web.clone(), slice("web", "http", &[])];
        let first = Act::Put(slice("web", "http", &[[10, 0, 0, 1]]));
        planner::plan_reaches_desired(&case(tier, without, vec![Act::Settle, first]))?;
    }
    Ok(())
}
