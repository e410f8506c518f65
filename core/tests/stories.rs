//! Stories: events in, actions out, on the way users feel them.

mod common;

use common::*;
use tidegate_core::action::{MapId, RuntimeCommand, ServerState};
use tidegate_core::capability::Capabilities;
use tidegate_core::event::Event;
use tidegate_core::problem::{Problem, Reason};
use tidegate_core::render;
use tidegate_core::world::object::*;

fn shop() -> Vec<Object> {
    vec![
        class(),
        ingress(
            "shop",
            &[
                ("tidegate.io/allow-list", "127.0.0.0/8"),
                ("tidegate.io/load-balance", "hdr(X-User)"),
                ("tidegate.io/path-rewrite", "^/api/(.*) /v2/\\1"),
                ("tidegate.io/pod-maxconn", "50"),
                ("tidegate.io/response-set-header", "X-Frame-Options DENY"),
                ("tidegate.io/request-set-header", "X-Tenant blue"),
                ("tidegate.io/timeout-server", "30s"),
                ("tidegate.io/check", "true"),
                ("tidegate.io/check-http", "GET /healthz"),
            ],
            &[("shop.example.com", "/", PathType::Prefix, "shop")],
        ),
        ingress("plain", &[], &[("plain.example.com", "/a", PathType::Exact, "plain")]),
        service("shop"),
        service("plain"),
        slice("shop", &["10.0.0.1", "10.0.0.2"]),
        slice("plain", &["10.0.0.3", "fd00::3"]),
    ]
}

#[test]
fn a_new_application_needs_no_reload_on_tier_a() {
    let mut driven = Driven::new(Capabilities::tier_a(), shop());
    assert_eq!(driven.reloads.len(), 1, "{:?}", driven.reloads);
    assert_eq!(driven.commands, []);
    driven.upsert(service("new"));
    driven.upsert(slice("new", &["10.0.0.9"]));
    let tls = with_tls(
        ingress("new", &[], &[("new.example.com", "/", PathType::Prefix, "new")]),
        "new.example.com",
        "new-tls",
    );
    driven.upsert(secret("new-tls", "certificate one"));
    driven.upsert(tls);
    assert_eq!(driven.reloads.len(), 1, "{:?}", driven.reloads);
    let route = driven.commands.iter().position(|c| {
        matches!(c, RuntimeCommand::AddMapEntry { map: MapId::Route, key, .. }
            if &**key == "new.example.com/")
    });
    let ready =
        driven.commands.iter().position(|c| matches!(c, RuntimeCommand::SetServerState { .. }));
    assert!(ready.unwrap() < route.unwrap(), "make before break: {:#?}", driven.commands);
    assert!(driven.controller.is_quiet());

    // Everything again in reverse leaves what was before.
    driven.commands.clear();
    driven.delete(Kind::Ingress, "new");
    driven.delete(Kind::Service, "new");
    let deleted = |c: &RuntimeCommand| matches!(c, RuntimeCommand::DeleteBackend { .. });
    assert!(driven.commands.iter().any(deleted), "{:#?}", driven.commands);
    assert_eq!(driven.reloads.len(), 1);
    assert!(driven.controller.is_quiet(), "{:?}", driven.controller.desired().dirty());
}

#[test]
fn an_endpoint_that_goes_leaves_at_once() {
    let mut driven = Driven::new(Capabilities::tier_a(), shop());
    driven.upsert(slice("plain", &["fd00::3"]));
    let [RuntimeCommand::SetServerState { .. }, RuntimeCommand::DeleteServer { .. }] =
        driven.commands.as_slice()
    else {
        panic!("{:#?}", driven.commands)
    };
}

/// L2: a flood of new applications takes many batches of commands; an endpoint that goes meanwhile
/// comes first in the next one, on every tier.
#[test]
fn an_endpoint_that_goes_overtakes_a_flood() {
    for capabilities in [Capabilities::tier_a(), Capabilities::tier_b(), Capabilities::tier_c()] {
        let makes_backends = capabilities.dynamic_backends;
        let mut driven = Driven::new(capabilities, shop());
        let flood = (0..1_000).flat_map(|number| {
            let (name, host) = (format!("flood-{number}"), format!("{number}.example.com"));
            let route = [(&*host, "/", PathType::Prefix, &*name)];
            [service(&name), slice(&name, &["10.0.9.9"]), ingress(&name, &[], &route)]
        });
        // Where no backends are made at run time, the new routes of a backend that is there.
        let routes = (0..5_000).map(|number| {
            let (name, host) = (format!("route-{number}"), format!("{number}.example.org"));
            ingress(&name, &[], &[(&*host, "/", PathType::Prefix, "plain")])
        });
        let objects: Vec<Object> = if makes_backends { flood.collect() } else { routes.collect() };
        let flood = objects.into_iter().map(Event::Upserted).collect();
        let first = driven.begin(flood);
        assert!(first.len() >= 1_000, "{} commands are no flood", first.len());
        assert!(driven.begin(vec![Event::Upserted(slice("plain", &["fd00::3"]))]).is_empty());
        let second = driven.go_on();
        let [RuntimeCommand::SetServerState { backend, state: ServerState::Maint, .. }, ..] =
            second.as_slice()
        else {
            panic!("{:?}", second.first())
        };
        assert!(backend.contains("plain"), "{backend}");
        let third = driven.go_on();
        assert!(third.len() >= 1_000, "the flood goes on: {} commands", third.len());
    }
}

/// Where servers have slots, all endpoints of a Service may be replaced at once, also when they fill
/// them.
#[test]
fn full_slots_are_replaced_without_a_reload() {
    let mut driven = Driven::new(Capabilities::tier_c(), shop());
    driven.upsert(slice("plain", &["10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.4"]));
    driven.commands.clear();
    driven.upsert(slice("plain", &["10.0.2.1", "10.0.2.2", "10.0.2.3", "10.0.2.4"]));
    assert_eq!(driven.reloads.len(), 1, "{:?}", driven.reloads);
    let count = |is: fn(&RuntimeCommand) -> bool| driven.commands.iter().filter(|c| is(c)).count();
    assert_eq!(count(|c| matches!(c, RuntimeCommand::SetServerAddress { .. })), 4);
    assert!(driven.controller.is_quiet(), "{:?}", driven.controller.desired().dirty());
}

/// An Ingress comes by another watch than what it refers to, and sometimes before it.
#[test]
fn a_new_route_waits_for_its_endpoints_but_not_for_ever() {
    for told_in_time in [true, false] {
        let mut driven = Driven::new(Capabilities::tier_a(), shop());
        let route = ingress("new", &[], &[("new.example.com", "/", PathType::Prefix, "new")]);
        driven.step_for(100, vec![Event::Upserted(route)]);
        driven.step_for(100, vec![Event::Upserted(service("new"))]);
        let routes = |driven: &Driven| -> Vec<String> {
            let of_route = |command: &RuntimeCommand| match command {
                RuntimeCommand::AddMapEntry { map: MapId::Route, key, value } => {
                    Some(format!("{key} {value}"))
                }
                _ => None,
            };
            driven.commands.iter().filter_map(of_route).collect()
        };
        assert_eq!(routes(&driven), [""; 0]);
        if told_in_time {
            driven.step_for(100, vec![Event::Upserted(slice("new", &["10.0.0.9"]))]);
            let at = driven.commands.iter().position(|command| {
                matches!(command, RuntimeCommand::AddMapEntry { map: MapId::Route, .. })
            });
            let ready = driven
                .commands
                .iter()
                .position(|command| matches!(command, RuntimeCommand::SetServerState { .. }));
            assert!(ready.is_some() && ready < at, "{:#?}", driven.commands);
        } else {
            driven.step_for(250, vec![Event::Ticked]);
            assert_eq!(routes(&driven), [""; 0]);
            // Half a second after the Ingress it answers 503.
            driven.step_for(100, vec![Event::Ticked]);
        }
        assert!(
            routes(&driven).iter().any(|r| r.starts_with("new.example.com/ ")),
            "{:?}",
            routes(&driven)
        );
    }
}

#[test]
fn every_tier_renders_and_grows() {
    for (name, capabilities, reloads) in [
        ("3.4", Capabilities::tier_a(), 1),
        ("3.2", Capabilities::tier_b(), 1),
        ("2.6", Capabilities::tier_c(), 2),
    ] {
        let mut driven = Driven::new(capabilities, shop());
        driven.upsert(service("new"));
        driven.upsert(slice("new", &["10.0.0.9"]));
        driven.upsert(ingress("new", &[], &[("new.example.com", "/", PathType::Prefix, "new")]));
        assert_eq!(driven.reloads.len(), reloads, "{name}: {:?}", driven.reloads);
        assert!(driven.controller.is_quiet(), "{:?}", driven.controller.desired().dirty());
        let image = driven.last_image.clone().unwrap();
        let mut text = String::new();
        render::config(&image, "/tmp/state/gen-1", &mut text).unwrap();
        assert!(text.contains("backend default_shop_http_"), "{text}");
        if let Ok(dir) = std::env::var("TIDEGATE_DUMP") {
            let dir = format!("{dir}/{name}");
            std::fs::create_dir_all(format!("{dir}/maps")).unwrap();
            std::fs::create_dir_all(format!("{dir}/certs")).unwrap();
            let mut text = String::new();
            render::config(&image, &dir, &mut text).unwrap();
            std::fs::write(format!("{dir}/haproxy.cfg"), text).unwrap();
            for id in MapId::ALL {
                let mut text = String::new();
                render::map(&image, id, &mut text).unwrap();
                std::fs::write(format!("{dir}/{}", id.file()), text).unwrap();
            }
            let mut text = String::new();
            render::crt_list(&image, &mut text).unwrap();
            std::fs::write(format!("{dir}/certs/list.txt"), text).unwrap();
            if let Some((name, script)) = render::auth::file(&image.skeleton) {
                std::fs::write(format!("{dir}/{name}"), script).unwrap();
            }
        }
    }
}

/// From seconds since 1970.
fn secret_until(name: &str, not_before: i64, not_after: i64) -> Object {
    let Object::Secret(secret) = secret(name, name) else { unreachable!() };
    let mut secret = Secret::clone(&secret);
    let Some(Ok(facts)) = &mut secret.certificate else { unreachable!() };
    (facts.not_before, facts.not_after) = (not_before, not_after);
    Object::Secret(std::sync::Arc::new(secret))
}

#[test]
fn a_certificate_is_told_of_before_it_expires() {
    const DAY: i64 = 24 * 3600;
    let told =
        |driven: &Driven| -> Vec<Problem> { driven.controller.problems().cloned().collect() };
    // From 2026-09-01 to 2026-11-30, and another that holds.
    let (from, to) = (1_788_220_800, 1_788_220_800 + 90 * DAY);
    let mut objects = shop();
    let tls = |name: &str, host: &str| {
        with_tls(ingress(name, &[], &[(host, "/", PathType::Prefix, "shop")]), host, name)
    };
    objects.extend([tls("old", "old.example.com"), tls("fine", "fine.example.com")]);
    objects.extend([secret_until("old", from, to), secret_until("fine", from, to + 90 * DAY)]);
    let mut driven = Driven::new(Capabilities::tier_a(), objects);
    assert_eq!(told(&driven), [], "the date is not known");
    driven.step(vec![Event::DateRead(from + 60 * DAY)]);
    assert_eq!(told(&driven), []);
    driven.step(vec![Event::DateRead(to - 13 * DAY)]);
    let [problem] = &told(&driven)[..] else { panic!("{:#?}", told(&driven)) };
    assert_eq!(problem.reason, Reason::Expiring);
    assert_eq!(
        problem.to_string(),
        "Secret default/old, data[tls.crt]: the certificate expires on 2026-11-30; it is used as it \
         is; renew it, and see why what renews it has not"
    );
    driven.step(vec![Event::DateRead(to - 12 * DAY)]);
    assert_eq!(told(&driven).len(), 1, "told once");
    driven.step(vec![Event::DateRead(to)]);
    let reasons: Vec<Reason> = told(&driven).iter().map(|p| p.reason).collect();
    assert_eq!(reasons, [Reason::Expired]);
    // What is served is the same; a state that was taken up goes on knowing the date.
    assert_eq!((driven.reloads.len(), driven.commands.len()), (1, 0));
    let restored = driven.controller.checkpoint().unwrap().restore();
    assert_eq!(restored.problems().cloned().collect::<Vec<_>>(), told(&driven));
    driven.upsert(secret_until("old", to - 30 * DAY, to + 60 * DAY));
    assert_eq!(told(&driven), []);
    driven.upsert(secret_until("old", to + DAY, to + 60 * DAY));
    assert_eq!(told(&driven).iter().map(|p| p.reason).collect::<Vec<_>>(), [Reason::NotYetValid]);
    driven.delete(Kind::Secret, "old");
    assert!(told(&driven).iter().all(|p| p.reason == Reason::NotFound), "{:#?}", told(&driven));
}
