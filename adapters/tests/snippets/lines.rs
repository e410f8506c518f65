//! Snippets: each place, and what happens to those that cannot be used.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use super::*;

/// The status and text of a page of HAProxy's internal frontend.
fn internal(rig: &Rig, path: &str) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(rig.path("state/run/internal.sock"))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().map_err(|error| error.to_string())
}

fn wait_header(stage: &Stage, host: &str, name: &str, value: Option<&str>) {
    eventually(&format!("header {name} of {host} is {value:?}"), || {
        let answer = stage.rig.get(host, "/")?;
        ensure(answer.header(name) == value, || {
            format!("{} {:?}", answer.status, answer.header(name))
        })
    });
}

/// Waits until a reload names something.
fn wait_reason(stage: &Stage, words: &str) {
    eventually(&format!("a reload because of {words}"), || {
        let reasons = stage.rig.reload_reasons();
        ensure(reasons.iter().any(|reason| reason.contains(words)), || reasons.join("\n"))
    });
}

pub fn places(stage: &Stage) {
    let rig = &stage.rig;
    let front = "# for everybody\nhttp-request set-header X-Entry yes if { path / }\n\
                 http-response set-header X-Front yes";
    rig.put("config", &[map("tidegate", &[("frontend-config-snippet", front)])]);
    wait_header(stage, "plain.test", "x-front", Some("yes"));
    assert_eq!(rig.now("plain.test", "/").seen("x-entry"), Some("yes"));
    assert_eq!(rig.now("plain.test", "/other").seen("x-entry"), None);
    wait_reason(stage, "frontend-config-snippet");
    let data = [
        ("frontend-config-snippet", front),
        ("global-config-snippet", "tune.http.maxhdr 99"),
        ("defaults-config-snippet", "option http-no-delay"),
        ("stats-config-snippet", "stats enable\nstats uri /numbers\nstats show-node here"),
    ];
    rig.put("config", &[map("tidegate", &data)]);
    eventually("the page of statistics", || {
        let text = internal(rig, "/numbers")?;
        ensure(text.contains("Statistics Report"), || text)
    });
    assert!(internal(rig, "/healthz").unwrap().contains("200"));
    assert!(internal(rig, "/nothing").unwrap().contains("404"));
    wait_reason(stage, "global-config-snippet");
    for line in ["tune.http.maxhdr 99", "option http-no-delay", "stats uri /numbers"] {
        // Each is judged by itself, and joins as soon as it was.
        eventually(line, || {
            let config = rig.config();
            ensure(config.matches(line).count() == 1, || format!("{line} in {config}"))
        });
    }
    rig.put("config", &[map("tidegate", &[])]);
    wait_header(stage, "plain.test", "x-front", None);
    eventually("none of them is left", || {
        let config = rig.config();
        ensure(!config.contains("tune.http.maxhdr 99"), || config.clone())
    });
}

pub fn backends(stage: &Stage) {
    let rig = &stage.rig;
    let line = "http-response set-header X-Snippet one";
    let reloads = settled_reloads(rig);
    rig.put(
        "snippets",
        &[route("with", &[("backend-config-snippet", line)]), route("without", &[])],
    );
    wait_header(stage, "with.test", "x-snippet", Some("one"));
    // The same Service without the snippet is another backend.
    wait_header(stage, "without.test", "x-snippet", None);
    wait_header(stage, "plain.test", "x-snippet", None);
    reloads_are(rig, reloads + 1);
    wait_reason(stage, "snippet of backend test_app_http_");
    // What is used already costs nothing on 3.4, also on another Service.
    let other = Pod::start("other");
    let mut objects = app("other", &[&other]);
    objects.push(
        ingress("second")
            .all("second.test", "other")
            .annotation("haproxy.org/backend-config-snippet", line)
            .into(),
    );
    rig.put("second", &objects);
    wait_header(stage, "second.test", "x-snippet", Some("one"));
    reloads_are(rig, reloads + 1);
    // Those of ConfigMap, Ingress and Service add up.
    objects[0]["metadata"]["annotations"]["tidegate.io/backend-config-snippet"] =
        json!("http-response set-header X-Service yes");
    rig.put("second", &objects);
    let config = ("backend-config-snippet", "http-response set-header X-Config yes");
    rig.put("config", &[map("tidegate", &[config])]);
    for (name, value) in [("x-service", "yes"), ("x-snippet", "one"), ("x-config", "yes")] {
        wait_header(stage, "second.test", name, Some(value));
    }
    wait_header(stage, "plain.test", "x-config", Some("yes"));
    assert_eq!(rig.now("plain.test", "/").header("x-snippet"), None);
    rig.put("config", &[map("tidegate", &[])]);
    wait_header(stage, "plain.test", "x-config", None);
    rig.remove("second");
    rig.remove("snippets");
}

pub fn with_files(stage: &Stage) {
    let rig = &stage.rig;
    let lines = "acl known hdr(x-user) -f patterns/users\nhttp-request deny unless known";
    rig.put("files", &[route("users", &[("backend-config-snippet", lines)])]);
    rig.wait_problem(&["\"name\":\"users\"", "line 1: there is no pattern file users"]);
    rig.wait("users.test", "/", 503, "");
    rig.put("patterns", &[map("patterns", &[("users", "alice\nbob\n")])]);
    let status = |user: &str| {
        let request = Request::get("users.test", "/").header("x-user", user);
        rig.ask(&request).map(|answer| answer.status)
    };
    eventually("alice gets in", || ensure(status("alice")? == 200, || "no".into()));
    assert_eq!(status("carol"), Ok(403));
    rig.put("patterns", &[map("patterns", &[("users", "carol\n")])]);
    eventually("carol gets in", || ensure(status("carol")? == 200, || "no".into()));
    assert_eq!(status("alice"), Ok(403));
    rig.remove("files");
    rig.remove("patterns");
}

pub fn refused(stage: &Stage) {
    let rig = &stage.rig;
    let good = "http-response set-header X-Kept yes";
    rig.put("refused", &[route("edited", &[("backend-config-snippet", good)])]);
    wait_header(stage, "edited.test", "x-kept", Some("yes"));
    // An edit that HAProxy refuses: the line, its words, and the last good one stays.
    let others = |file: &str, bad: bool| {
        let mut times = Vec::new();
        for n in 0..100 {
            if bad && n == 10 {
                rig.put("refused", &[route("edited", &[("backend-config-snippet", BAD)])]);
            }
            let begin = Instant::now();
            rig.put(&format!("{file}-{n}"), &[route(&format!("{file}-{n}"), &[])]);
            rig.wait(&format!("{file}-{n}.test"), "/", 200, "app");
            times.push(begin.elapsed());
        }
        times.sort_unstable();
        times
    };
    let before = others("before", false);
    let meanwhile = others("meanwhile", true);
    println!(
        "HAProxy {}: 100 changes, median and slowest: {:?} {:?} without, {:?} {:?} with a refused snippet",
        rig.version, before[50], before[99], meanwhile[50], meanwhile[99]
    );
    let problem = rig.wait_problem(&["Refused", "\"name\":\"edited\"", "line 2"]).to_string();
    assert!(
        problem.contains("http-response dney") && problem.contains("but got 'dney'"),
        "{problem}"
    );
    assert!(problem.contains("last good snippet"), "{problem}");
    wait_header(stage, "edited.test", "x-kept", Some("yes"));
    // Mended.
    let mended = "http-response set-header X-Kept mended";
    rig.put("refused", &[route("edited", &[("backend-config-snippet", mended)])]);
    wait_header(stage, "edited.test", "x-kept", Some("mended"));
    rig.wait_no_problem("\"name\":\"edited\"");
    // One that never was good closes its own routes.
    rig.put("refused", &[route("fresh", &[("backend-config-snippet", BAD)])]);
    rig.wait_problem(&["Refused", "\"name\":\"fresh\"", "503"]);
    rig.wait("fresh.test", "/", 503, "");
    // The operator's goes without.
    rig.put("config", &[map("tidegate", &[("frontend-config-snippet", "http-request dney")])]);
    rig.wait_problem(&["Refused", "data.frontend-config-snippet", "line 1"]);
    rig.wait("plain.test", "/", 200, "app");
    rig.put("config", &[map("tidegate", &[])]);
    rig.remove("refused");
    for n in 0..100 {
        rig.remove(&format!("before-{n}"));
        rig.remove(&format!("meanwhile-{n}"));
    }
}

const BAD: &str = "http-response set-header X-Kept no\nhttp-response dney";

pub fn hostile(stage: &Stage) {
    let rig = &stage.rig;
    let lines = [
        "http-response set-header X-Leak %[env(PATH)]",
        "http-response set-header X-Leak \"${PATH}\"",
        "http-response set-header X-Leak %[str(x),map(/etc/passwd)]",
        "acl x src -f /etc/passwd",
        "errorfile 503 /etc/passwd",
        "http-request return status 200 file /etc/passwd",
        "http-request lua.x",
        "http-request set-map(maps/route.map) a b",
        "http-request track-sc0 src table tidegate-rate-1h",
        "server evil 10.6.6.6:80",
        "}\nfrontend evil\n  bind :81",
        "option external-check\nexternal-check command /bin/sh",
        "program evil\n  command /bin/sh",
    ];
    let name = |n: usize| format!("hostile-{n}");
    let routes = lines.iter().enumerate();
    let routes = routes.map(|(n, line)| route(&name(n), &[("backend-config-snippet", line)]));
    rig.put("hostile", &routes.collect::<Vec<_>>());
    for (n, line) in lines.iter().enumerate() {
        rig.wait_problem(&["BadValue", &format!("\"name\":\"{}\"", name(n)), "line "]);
        let answer = rig.wait(&format!("{}.test", name(n)), "/", 503, "");
        assert_eq!(answer.header("x-leak"), None, "{line}");
    }
    let config = rig.config();
    for word in ["passwd", "evil", "lua.x", "set-map", "env(", "external-check"] {
        assert!(!config.contains(word), "{word} came into the configuration");
    }
    rig.wait("plain.test", "/", 200, "app");
    rig.remove("hostile");
}

pub fn not_allowed(stage: &Stage) {
    let rig = &stage.rig;
    let mut objects = app("foreign", &[&stage.pod]);
    objects.push(
        ingress("foreign")
            .all("foreign.test", "foreign")
            .with("backend-config-snippet", "http-response set-header X-Foreign yes")
            .into(),
    );
    for object in &mut objects {
        object["metadata"]["namespace"] = json!("elsewhere");
    }
    rig.put("foreign", &objects);
    rig.wait_problem(&["Forbidden", "\"name\":\"foreign\"", "--snippet-namespaces"]);
    rig.wait("foreign.test", "/", 200, "app");
    assert_eq!(rig.now("foreign.test", "/").header("x-foreign"), None);
    rig.remove("foreign");
}

/// The blocks of `docs/snippets.md` are put in place as they stand there.
pub fn example(stage: &Stage) {
    let rig = &stage.rig;
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/snippets.md");
    let page = std::fs::read_to_string(path).unwrap();
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let text = blocks.collect::<Vec<_>>().join("---\n");
    rig.remove("config");
    rig.remove("errors");
    rig.put_text("example.yaml", &text);
    rig.wait("shop.example.com", "/", 200, "app");
    wait_header(stage, "shop.example.com", "x-shop", Some("yes"));
    wait_header(stage, "plain.test", "x-served-by", Some("tidegate"));
    let request = Request::get("shop.example.com", "/").header("user-agent", "badbot");
    assert_eq!(rig.ask(&request).unwrap().status, 403);
    assert_eq!(rig.now("nobody.example.com", "/").body, "<h1>Nothing here</h1>\n");
    std::fs::remove_file(rig.path("manifests/example.yaml")).unwrap();
}
