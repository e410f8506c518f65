//! Canaries by real requests on each HAProxy: shares, headers and cookies in their order, weights that
//! change under load, canaries that cannot be, and who they may not take requests from.

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::client::Request;
use common::manifest::{Ingress, app, classes, ingress, service};
use common::pods::Pod;
use common::rig::Rig;
use common::traffic::Traffic;
use common::{Scenarios, ensure, eventually};
use serde_json::{Value, json};

on_each_haproxy!(canary);

const HOST: &str = "shop.test";

struct Stage {
    rig: Rig,
    _pods: Vec<Pod>,
}

fn canary(version: &'static str) {
    let mut rig = Rig::new(version).arguments(&["--drain", "300ms"]);
    let pods = vec![Pod::start("main"), Pod::start("next"), Pod::start("other")];
    let mut objects = classes();
    for pod in &pods {
        objects.extend(app(&pod.service, &[pod]));
    }
    objects.push(ingress("shop").all(HOST, "main").into());
    rig.put("base", &objects);
    rig.start();
    rig.wait(HOST, "/", 200, "main");
    let stage = &Stage { rig, _pods: pods };
    let mut scenarios = Scenarios::new(version);
    scenarios.run("shares", || shares(stage));
    scenarios.run("header and cookie", || header_and_cookie(stage));
    scenarios.run("values and patterns", || values_and_patterns(stage));
    scenarios.run("weights change under load", || weights_under_load(stage));
    scenarios.run("canaries that cannot be", || unusable(stage));
    scenarios.run("endpoints come and go", || endpoints(stage));
    scenarios.run("policies of the path", || policies(stage));
    scenarios.run("strangers and rivals", || strangers_and_rivals(stage));
    scenarios.run("route-acl", || route_acl(stage));
    scenarios.run("the example of the page", || documented(stage));
    scenarios.run("a refused expression", || refused(stage));
    scenarios.run("no reloads", || stage.rig.assert_no_reloads_on_3_4("canaries"));
    scenarios.finish();
}

/// A canary of everything below `/`.
fn marked(name: &str, service: &str) -> Ingress {
    ingress(name).all(HOST, service).with("canary", "true")
}

fn put(stage: &Stage, canary: Ingress) {
    stage.rig.put("canary", &[canary.into()]);
}

fn asked(stage: &Stage, headers: &[(&str, &str)]) -> Result<String, String> {
    let plain = Request::get(HOST, "/");
    let request = headers.iter().fold(plain, |request, (name, value)| request.header(name, value));
    let answer = stage.rig.ask(&request)?;
    ensure(answer.status == 200, || answer.status.to_string())?;
    Ok(answer.service().to_owned())
}

/// Waits until requests with these headers go there, ten times in a row.
fn wait(stage: &Stage, headers: &[(&str, &str)], service: &str) {
    let what = format!("HAProxy {}: {headers:?} to {service}", stage.rig.version);
    eventually(&what, || {
        for _ in 0..10 {
            let found = asked(stage, headers)?;
            ensure(found == service, || found)?;
        }
        Ok(())
    });
}

/// How many of so many requests go to each Service.
fn spread(stage: &Stage, count: u32) -> BTreeMap<String, u32> {
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        *seen.entry(asked(stage, &[]).unwrap()).or_insert(0) += 1;
    }
    seen
}

/// Whether a share is what is wanted: within five standard deviations, and three more, as few of
/// many come unevenly. A fair draw of those below leaves that once in a million tries.
fn is_share(part: u32, all: u32, wanted: f64) -> bool {
    let (all, part) = (f64::from(all), f64::from(part));
    (part - all * wanted).abs() <= 5.0 * (all * wanted * (1.0 - wanted)).sqrt() + 3.0
}

fn shares(stage: &Stage) {
    for (weight, total, wanted) in [("30", "100", 0.3), ("1", "1000", 0.001), ("500", "1000", 0.5)]
    {
        put(
            stage,
            marked("next", "next").with("canary-weight", weight).with("canary-weight-total", total),
        );
        // From a third to a thousandth is when so many go elsewhere in a row.
        let (sign, times) = if wanted > 0.01 { ("next", 1) } else { ("main", 60) };
        eventually("the share holds", || {
            for _ in 0..times {
                let found = asked(stage, &[])?;
                ensure(found == sign, || found)?;
            }
            Ok(())
        });
        // So many that ten times the weight would be told from it.
        let count = if wanted > 0.01 { 1000 } else { 3000 };
        let seen = spread(stage, count);
        let part = seen.get("next").copied().unwrap_or(0);
        assert!(is_share(part, count, wanted), "{weight} of {total}: {seen:?}");
        println!("HAProxy {}: {weight} of {total}: {seen:?}", stage.rig.version);
    }
    put(stage, marked("next", "next").with("canary-weight", "100"));
    wait(stage, &[], "next");
    put(stage, marked("next", "next"));
    wait(stage, &[], "main");
    put(stage, marked("next", "next").with("canary-weight", "many"));
    stage.rig.wait_problem(&["BadValue", "canary-weight"]);
    wait(stage, &[], "main");
}

fn header_and_cookie(stage: &Stage) {
    let both = marked("next", "next")
        .with("canary-by-header", "X-Canary")
        .with("canary-by-cookie", "canary")
        .with("canary-weight", "0");
    put(stage, both.clone());
    wait(stage, &[("x-canary", "always")], "next");
    wait(stage, &[("x-canary", "never")], "main");
    wait(stage, &[("cookie", "a=b; canary=always; c=d")], "next");
    wait(stage, &[("x-canary", "never"), ("cookie", "canary=always")], "main");
    wait(stage, &[("x-canary", "always"), ("cookie", "canary=never")], "next");
    wait(stage, &[("x-canary", "perhaps"), ("cookie", "canary=always")], "next");
    wait(stage, &[("x-canary", "perhaps"), ("cookie", "xcanary=always")], "main");
    wait(stage, &[("x-other", "x-canary: always")], "main");
    wait(stage, &[], "main");
    put(stage, both.with("canary-weight", "100"));
    wait(stage, &[], "next");
    wait(stage, &[("x-canary", "never")], "main");
    wait(stage, &[("cookie", "canary=never")], "main");
    wait(stage, &[("x-canary", "perhaps"), ("cookie", "canary=perhaps")], "next");
}

fn values_and_patterns(stage: &Stage) {
    let base = marked("next", "next").with("canary-by-header", "X-Canary");
    put(stage, base.clone().with("canary-by-header-value", "blue.1"));
    wait(stage, &[("x-canary", "blue.1")], "next");
    for other in ["always", "never", "blue.12", "bluex1", "Blue.1"] {
        wait(stage, &[("x-canary", other)], "main");
    }
    put(stage, base.clone().with("canary-by-header-pattern", "^(blue|green)$"));
    wait(stage, &[("x-canary", "green")], "next");
    wait(stage, &[("x-canary", "greenish")], "main");
    let value =
        base.with("canary-by-header-pattern", "^blue$").with("canary-by-header-value", "red");
    put(stage, value);
    wait(stage, &[("x-canary", "red")], "next");
    wait(stage, &[("x-canary", "blue")], "main");
}

/// Every answer comes from one of the two.
fn weights_under_load(stage: &Stage) {
    put(stage, marked("next", "next").with("canary-weight", "100"));
    wait(stage, &[], "next");
    // A Service of the same name answers in both, so that the loop takes either.
    let pods = [Pod::start("pair"), Pod::start("pair")];
    let mut objects = app("blue", &[&pods[0]]);
    objects.extend(app("green", &[&pods[1]]));
    objects.push(ingress("pair").all("pair.test", "blue").into());
    stage.rig.put("pair", &objects);
    stage.rig.wait("pair.test", "/", 200, "pair");
    let port = stage.rig.http;
    let pause = Duration::from_micros(500);
    let traffic = Traffic::start(port, 3, 2, pause, &[("pair.test", "/", "pair")]);
    let mut reloads = 0;
    for weight in ["100", "0", "50", "10", "0", "100"] {
        let canary = ingress("pair-next").all("pair.test", "green").with("canary", "true");
        stage.rig.put("pair-next", &[canary.with("canary-weight", weight).into()]);
        let before = [pods[0].requests(), pods[1].requests()];
        traffic.pass(200);
        eventually("the weight holds", || {
            let from = [pods[0].requests(), pods[1].requests()];
            traffic.pass(30);
            let news = [pods[0].requests() - from[0], pods[1].requests() - from[1]];
            let right = match weight {
                "0" => news[1] == 0,
                "100" => news[0] == 0,
                _ => pods[0].requests() > before[0] && pods[1].requests() > before[1],
            };
            ensure(right, || format!("{weight}: {news:?}"))
        });
        if reloads == 0 {
            // Backends are there; from here on only the weight changes.
            reloads = stage.rig.reload_count();
        }
    }
    assert_eq!(stage.rig.reload_count(), reloads, "{:?}", stage.rig.reload_reasons());
    stage.rig.remove("pair-next");
    traffic.pass(200);
    traffic.finish(&format!("HAProxy {}: weights change", stage.rig.version));
    stage.rig.remove("pair");
}

fn unusable(stage: &Stage) {
    let rig = &stage.rig;
    put(stage, marked("next", "nobody").with("canary-weight", "100"));
    rig.wait_problem(&["NotFound", "\"name\":\"next\"", "keeps them all"]);
    wait(stage, &[], "main");
    // A key that protects the canary's pods and cannot be used.
    let pod = Pod::start("locked");
    let mut objects = app("locked", &[&pod]);
    objects[0]["metadata"]["annotations"]["tidegate.io/server-ca"] = json!("no-such-secret");
    rig.put("locked", &objects);
    put(stage, marked("next", "locked").with("canary-weight", "100"));
    rig.wait_problem(&["FailedClosed", "\"name\":\"next\"", "keeps them all"]);
    wait(stage, &[], "main");
    rig.remove("locked");
    // What cannot be read is a canary all the same, and owns nothing.
    let typo = ingress("next").all(HOST, "next").created("2020-01-01T00:00:00Z");
    put(stage, typo.with("canary", "ture").with("canary-weight", "0"));
    rig.wait_problem(&["BadValue", "tidegate.io/canary]"]);
    wait(stage, &[], "main");
    // No path to join.
    put(stage, ingress("next").all("nobody.test", "next").with("canary", "true"));
    rig.wait_problem(&["NotFound", "nothing to join"]);
    rig.wait("nobody.test", "/", 404, "");
    // A canary does not stand in for the path's own Service.
    rig.put("absent", &[ingress("absent").all("absent.test", "gone").into()]);
    put(
        stage,
        ingress("next")
            .all("absent.test", "next")
            .with("canary", "true")
            .with("canary-weight", "100"),
    );
    rig.wait("absent.test", "/", 503, "");
    rig.remove("absent");
}

fn endpoints(stage: &Stage) {
    let rig = &stage.rig;
    rig.put("late", &[service("late")]);
    put(stage, marked("next", "late").with("canary-weight", "100"));
    wait(stage, &[], "main");
    let traffic = Traffic::start(rig.http, 0, 3, Duration::from_millis(1), &[(HOST, "/", "main")]);
    traffic.pass(100);
    traffic.finish(&format!("HAProxy {}: a canary without pods", rig.version));
    // Endpoints come and go under load: no request meets nobody.
    let pod = Pod::start("late");
    for _ in 0..3 {
        rig.put("late", &app("late", &[&pod]));
        wait(stage, &[], "late");
        rig.put("late", &[service("late")]);
        eventually("the main Service answers again", || {
            let found = asked(stage, &[]).unwrap_or_else(|why| panic!("lost: {why}"));
            ensure(found == "main", || found)
        });
    }
    // Pods that fail their checks are no pods.
    let mut objects = app("late", &[&pod]);
    for (key, value) in
        [("check", "true"), ("check-http", "GET /healthz"), ("check-interval", "50ms")]
    {
        objects[0]["metadata"]["annotations"][format!("tidegate.io/{key}")] = json!(value);
    }
    rig.put("late", &objects);
    wait(stage, &[], "late");
    pod.inside.sick.store(true, Ordering::SeqCst);
    wait(stage, &[], "main");
    pod.inside.sick.store(false, Ordering::SeqCst);
    wait(stage, &[], "late");
    rig.remove("late");
}

/// What protects the path protects both, whatever the canary says.
fn policies(stage: &Stage) {
    let rig = &stage.rig;
    let main = ingress("guarded").all("guarded.test", "main");
    let next = ingress("guarded-next").all("guarded.test", "next").with("canary", "true");
    let next = next.with("canary-by-header", "X-Canary").with("allow-list", "0.0.0.0/0");
    let put = |main: Ingress| rig.put("guarded", &[main.into(), next.clone().into()]);
    let ask = || {
        let request = Request::get("guarded.test", "/x").header("x-canary", "always");
        rig.ask(&request).map(|answer| (answer.status, answer.service().to_owned(), answer))
    };
    let wait = |status: u16, service: &str| {
        eventually(&format!("{status} by '{service}'"), || {
            let (found, by, answer) = ask()?;
            ensure(found == status && by == service, || format!("{found} by {by}"))?;
            Ok(answer)
        })
    };
    put(main.clone());
    wait(200, "next");
    put(main.clone().with("deny-list", "127.0.0.0/8"));
    wait(403, "");
    put(main.clone().with("allow-list", "nonsense"));
    wait(503, "");
    put(main.clone().with("request-redirect", "elsewhere.test"));
    wait(302, "");
    put(main.with("request-set-header", "X-Mark of-the-path").with("path-rewrite", "/y"));
    let answer = wait(200, "next");
    assert_eq!((answer.seen("x-mark"), answer.path()), (Some("of-the-path"), "/y"));
    rig.remove("guarded");
}

fn strangers_and_rivals(stage: &Stage) {
    let rig = &stage.rig;
    let mut stranger: Value = marked("stranger", "next").with("canary-weight", "100").into();
    stranger["metadata"]["namespace"] = json!("elsewhere");
    rig.put("canary", &[stranger]);
    rig.wait_problem(&["Forbidden", "\"name\":\"stranger\"", "another namespace"]);
    wait(stage, &[], "main");
    let first = marked("first", "next").with("canary-weight", "100");
    let second = marked("second", "other").with("canary-weight", "100");
    let second = second.created("2025-01-01T00:00:00Z");
    rig.put("canary", &[first.into(), second.into()]);
    rig.wait_problem(&["Conflict", "\"name\":\"second\"", "test/first is an older canary"]);
    rig.wait_problem(&["Conflict", "\"name\":\"first\"", "test/second is a canary"]);
    wait(stage, &[], "next");
    // Canaries in a place where they have no meaning.
    rig.put(
        "config",
        &[common::manifest::config_map(&[("canary", "true"), ("canary-weight", "50")])],
    );
    rig.wait_problem(&["WrongScope", "data.canary"]);
    rig.wait("pair.test", "/", 404, "");
    rig.put("config", &[common::manifest::config_map(&[])]);
    rig.remove("canary");
    wait(stage, &[], "main");
}

fn route_acl(stage: &Stage) {
    let rig = &stage.rig;
    let pod = Pod::start("staging");
    let put = |condition: &str| {
        let mut objects = app("staging", &[&pod]);
        objects[0]["metadata"]["annotations"]["haproxy.org/route-acl"] = json!(condition);
        objects.push(ingress("staging").all(HOST, "staging").into());
        rig.put("staging", &objects);
    };
    put("cook(staging) -m found");
    wait(stage, &[("cookie", "staging=1")], "staging");
    wait(stage, &[("cookie", "stagingx=1")], "main");
    wait(stage, &[], "main");
    put("hdr(X-Env) -m str staging");
    wait(stage, &[("x-env", "staging")], "staging");
    wait(stage, &[("x-env", "live, staging")], "staging");
    wait(stage, &[("x-env", "Staging")], "main");
    put("hdr(X-Env) -m beg -i Stag");
    wait(stage, &[("x-env", "sTAGing")], "staging");
    put("rand(100) lt 100");
    wait(stage, &[], "staging");
    put("rand(100) ge 100");
    wait(stage, &[], "main");
    put("src 10.0.0.0/8");
    rig.wait_problem(&["BadValue", "route-acl", "canary-by-header"]);
    wait(stage, &[], "main");
    rig.remove("staging");
    wait(stage, &[], "main");
}

/// The example of the page.
fn documented(stage: &Stage) {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/canary.md");
    let page = std::fs::read_to_string(page).unwrap();
    let text = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let text =
        text.replace("namespace: shop", "namespace: test").replace("name: shop-next", "name: next");
    stage.rig.put("doc", &[ingress("doc").all("shop.example.com", "main").into()]);
    stage.rig.put_text("documented.yaml", &text);
    eventually("the canary of the page", || {
        let request = Request::get("shop.example.com", "/").header("cookie", "canary=always");
        let answer = stage.rig.ask(&request)?;
        ensure(answer.service() == "next", || answer.service().to_owned())
    });
    std::fs::remove_file(stage.rig.path("manifests/documented.yaml")).unwrap();
    stage.rig.wait("shop.example.com", "/", 200, "main");
    stage.rig.remove("doc");
}

/// An expression that HAProxy refuses costs the canary its requests, and nobody else anything.
fn refused(stage: &Stage) {
    let rig = &stage.rig;
    let bad = marked("next", "next").with("canary-by-header", "X-Canary");
    put(stage, bad.with("canary-by-header-pattern", "[z-a]").with("canary-weight", "100"));
    rig.wait_problem(&["Refused", "\"name\":\"next\"", "keeps them all"]);
    wait(stage, &[], "main");
    rig.put("late", &[ingress("after").all("after.test", "other").into()]);
    rig.wait("after.test", "/", 200, "other");
    rig.remove("late");
    rig.remove("canary");
    wait(stage, &[], "main");
}
