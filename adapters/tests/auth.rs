//! Basic authentication by real requests on each HAProxy: hashes, both forms of the Secret,
//! changes under load, the matrix of everything that can be wrong with a Secret, tidegate away,
//! and that no user, password or hash is anywhere but in the Secret.
//!
//! Not here: parsers and hashes by themselves (unit tests of `auth`), attach mode (`attach`).

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::certs::Authority;
use common::client::{Answer, Connection, Request};
use common::manifest::{app, classes, config_map, ingress, secret};
use common::pods::Pod;
use common::rig::Rig;
use common::{Scenarios, ensure, eventually};
use serde_json::{Value, json};

on_each_haproxy!(authentication);

/// Users with the password `secret-NAME`, by kind of hash: openssl's and glibc's crypt(3).
const USERS: [(&str, &str); 5] = [
    ("canary-bcrypt", "$2y$05$CanarySaltForBcryptQQuwThXJ/korzCdKfEgXXrZFOPfSN92rv6"),
    (
        "canary-sha512",
        "$6$CanarySixSalt$SFeh089NGyRHYHA3M2wQQxeqg5fyHUUzzVMJK3mbPRJRFzLim/mN6NvC7Rh12Z88HYFNBufFgaMEe5UNSBV.7.",
    ),
    ("canary-sha256", "$5$rounds=2000$CanaryFiveSal$G4tECqCXqX5TiGzU5xLu/oq5myvk4W9CSPy8/9O0kH3"),
    ("canary-md5", "$1$CanaryMd$p1s5hjG7pVu1qmN3dR/HT0"),
    ("canary-apr1", "$apr1$CanaryAp$.S/mw2j/VMq6Wnmwofsf4."),
];

/// A hash of `other-secret`.
const OTHER: &str = "$2b$04$OtherSaltForBcryptTesuiuZMtVQPhfgVTA/vMZ.J0CwovaYwQGW";

const PREFIXES: [&str; 4] =
    ["tidegate.io/", "haproxy.org/", "haproxy.com/", "ingress.kubernetes.io/"];

fn password(user: &str) -> String {
    format!("secret-{user}")
}

fn as_user(host: &str, user: &str, password: &str) -> Request {
    let token = STANDARD.encode(format!("{user}:{password}"));
    Request::get(host, "/").header("authorization", &format!("Basic {token}"))
}

fn lines(users: &[(&str, &str)]) -> String {
    users.iter().map(|(user, hash)| format!("{user}:{hash}\n")).collect()
}

struct Stage {
    rig: Rig,
    pods: Vec<Pod>,
}

impl Stage {
    fn status(&self, request: &Request) -> u16 {
        self.rig.ask(request).unwrap().status
    }

    fn wait(&self, request: &Request, status: u16) -> Answer {
        eventually(&format!("HAProxy {}: {:?}", self.rig.version, request.host), || {
            let answer = self.rig.ask(request)?;
            ensure(answer.status == status, || format!("{} not {status}", answer.status))?;
            Ok(answer)
        })
    }

    fn served(&self) -> u64 {
        self.pods.iter().map(Pod::requests).sum()
    }
}

fn authentication(version: &'static str) {
    let mut rig = Rig::new(version);
    let pods = Pod::several("app", 2);
    let mut objects = classes();
    objects.extend(app("app", &pods.iter().collect::<Vec<_>>()));
    objects.push(ingress("plain").all("plain.test", "app").into());
    rig.put("base", &objects);
    rig.start();
    rig.wait("plain.test", "/", 200, "app");
    let mut stage = Stage { rig, pods };
    let mut scenarios = Scenarios::new(version);
    scenarios.run("every hash", || hashes(&stage));
    scenarios.run("forms of the Secret", || forms(&stage));
    scenarios.run("realm", || realms(&stage));
    scenarios.run("order", || order(&stage));
    scenarios.run("guesses", || guesses(&stage));
    scenarios.run("changes", || changes(&stage));
    scenarios.run("changes under load", || under_load(&stage));
    scenarios.run("for everything", || global(&stage));
    scenarios.run("matrix", || matrix(&stage));
    scenarios.run("no reloads", || {
        let mut reasons = stage.rig.reload_reasons();
        // What `order` does to a header beside it costs a reload before 3.4.
        reasons.retain(|r| !r.contains("first start") && !r.contains("header name authorization"));
        assert!(reasons.is_empty(), "{reasons:?}");
    });
    scenarios.run("nothing leaks", || leaks(&stage));
    scenarios.run("tidegate is away", || away(&mut stage));
    scenarios.run("nothing leaks", || leaks(&stage));
    scenarios.finish();
}

fn hashes(stage: &Stage) {
    stage.rig.put(
        "all",
        &[
            secret("everybody", &[("auth", &lines(&USERS))]),
            ingress("all").all("all.test", "app").with("auth-secret", "everybody").into(),
        ],
    );
    for (user, _) in USERS {
        let answer = stage.wait(&as_user("all.test", user, &password(user)), 200);
        assert_eq!(answer.service(), "app");
        // The pod knows who it is, as with a userlist.
        assert!(answer.seen("authorization").is_some_and(|h| h.starts_with("Basic ")));
        for wrong in ["", "secret", &password("nobody"), "secret-canary-bcryp"] {
            assert_eq!(stage.status(&as_user("all.test", user, wrong)), 401, "{user} {wrong}");
        }
        assert_eq!(stage.status(&as_user("all.test", user, &password(user))), 200);
    }
    for header in ["", "Basic", "Basic ", "Basic !!!", "Bearer abc", "Digest username=\"x\""] {
        let request = Request::get("all.test", "/").header("authorization", header);
        assert_eq!(stage.status(&request), 401, "{header}");
    }
    assert_eq!(stage.status(&as_user("all.test", "nobody", "x")), 401);
    assert_eq!(stage.status(&as_user("all.test", "", "")), 401);
    let answers = stage.rig.metric("tidegate_auth_answers_total");
    assert!(answers.get("answer=\"yes\"").is_some_and(|count| *count >= 5.0), "{answers:?}");
    assert!(answers.get("answer=\"no\"").is_some_and(|count| *count >= 20.0), "{answers:?}");
}

fn forms(stage: &Stage) {
    let (bcrypt, md5) = (USERS[0], USERS[3]);
    // As haproxytech reads them: a user per key, newlines and empty values taken.
    stage.rig.put(
        "keys",
        &[
            secret(
                "keys",
                &[(bcrypt.0, &format!("{}\n", bcrypt.1)), (md5.0, md5.1), ("empty", "\n")],
            ),
            ingress("keys")
                .rule("keys.test", "Prefix", "/admin", "app", "8080")
                .annotation("haproxy.org/auth-type", "basic-auth")
                .annotation("haproxy.org/auth-secret", "test/keys")
                .into(),
            ingress("keys-open").all("keys.test", "app").into(),
        ],
    );
    let at = |path: &str, user: &str| {
        let mut request = as_user("keys.test", user, &password(user));
        request.target = path.to_owned();
        request
    };
    stage.wait(&at("/admin", bcrypt.0), 200);
    assert_eq!(stage.status(&at("/admin/x", md5.0)), 200);
    assert_eq!(stage.status(&at("/admin", USERS[1].0)), 401, "another list's user");
    assert_eq!(stage.status(&as_user("keys.test", "empty", "")), 200, "the host is open");
    assert_eq!(stage.rig.now("keys.test", "/admin").status, 401);
    assert_eq!(stage.rig.now("keys.test", "//admin").status, 401);
    assert_eq!(stage.rig.now("keys.test", "/").status, 200);
    let mut empty = as_user("keys.test", "empty", "");
    empty.target = "/admin".to_owned();
    assert_eq!(stage.status(&empty), 401);
    // A line that cannot be used refuses its user and nobody else.
    let text = format!("{}nobody\n{}:plain\n", lines(&[bcrypt]), md5.0);
    stage.rig.put(
        "some",
        &[
            secret("some", &[("auth", &text)]),
            ingress("some").all("some.test", "app").with("auth-secret", "some").into(),
        ],
    );
    stage.wait(&as_user("some.test", bcrypt.0, &password(bcrypt.0)), 200);
    assert_eq!(stage.status(&as_user("some.test", md5.0, "plain")), 401);
    stage.rig.wait_problem(&["\"kind\":\"Secret\"", "\"name\":\"some\"", "line 2", "colon"]);
    stage.rig.wait_problem(&[
        "\"kind\":\"Secret\"",
        "\"name\":\"some\"",
        "line 3",
        "none of bcrypt",
    ]);
}

fn realms(stage: &Stage) {
    for (number, (realm, shown)) in [
        (None, "Protected Content"),
        (Some("Staff only"), "Staff only"),
        (
            Some("a \"quoted\" \\ | % ${HOME} %[env(HOME)] ü"),
            "a \\\"quoted\\\" \\\\ | % ${HOME} %[env(HOME)] ü",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("realm-{number}");
        let host = format!("{name}.test");
        let mut route = ingress(&name).all(&host, "app").with("auth-secret", "everybody");
        if let Some(realm) = realm {
            route = route.with("auth-realm", realm);
        }
        stage.rig.put(&name, &[route.into()]);
        let answer = stage.rig.wait(&host, "/", 401, "");
        let wanted = format!("Basic realm=\"{shown}\", charset=\"UTF-8\"");
        assert_eq!(answer.header("www-authenticate"), Some(&*wanted));
        assert_eq!(stage.status(&as_user(&host, USERS[0].0, &password(USERS[0].0))), 200);
    }
}

/// What comes before the question for a password, and what after.
fn order(stage: &Stage) {
    let route = |name: &str| {
        ingress(name).all(&format!("{name}.test"), "app").with("auth-secret", "everybody")
    };
    stage.rig.put(
        "order",
        &[
            route("denied").with("deny-list", "127.0.0.0/8").into(),
            route("moved").with("request-redirect", "https://x.test").into(),
            route("script")
                .with("cors-enable", "true")
                .with("cors-respond-to-options", "true")
                .into(),
            route("header").with("request-set-header", "Authorization none").into(),
        ],
    );
    stage.rig.wait("denied.test", "/", 403, "");
    stage.rig.wait("moved.test", "/", 302, "");
    stage.rig.wait("script.test", "/", 401, "");
    let preflight = Request::get("script.test", "/")
        .method("OPTIONS")
        .header("origin", "https://x.test")
        .header("access-control-request-method", "PUT");
    assert_eq!(stage.status(&preflight), 204);
    assert_eq!(stage.status(&Request::get("script.test", "/").method("OPTIONS")), 401);
    stage.rig.wait("header.test", "/", 401, "");
    let answer = stage.wait(&as_user("header.test", USERS[0].0, &password(USERS[0].0)), 200);
    assert_eq!(answer.seen("authorization"), Some("none"), "headers are changed afterwards");
}

/// Guesses count for the rate limit.
fn guesses(stage: &Stage) {
    let route = ingress("guess").all("guess.test", "app").with("auth-secret", "everybody");
    let limited = route.with("rate-limit-requests", "8").with("rate-limit-period", "1h");
    stage.rig.put("guess", &[limited.with("rate-limit-status-code", "429").into()]);
    stage.rig.wait("guess.test", "/", 401, "");
    let guess = |number: usize| as_user("guess.test", USERS[0].0, &format!("guess-{number}"));
    let seen: Vec<u16> = (0..20).map(|number| stage.status(&guess(number))).collect();
    assert!(seen.contains(&401), "{seen:?}");
    assert_eq!(seen[10..], [429; 10], "{seen:?}");
    let right = as_user("guess.test", USERS[0].0, &password(USERS[0].0));
    assert_eq!(stage.status(&right), 429, "the right one too");
}

fn changes(stage: &Stage) {
    let (user, hash) = USERS[2];
    let put = |users: &[(&str, &str)]| {
        stage.rig.put(
            "changing",
            &[
                secret("changing", &[("auth", &lines(users))]),
                ingress("changing")
                    .all("changing.test", "app")
                    .with("auth-secret", "changing")
                    .into(),
            ],
        );
    };
    let right = as_user("changing.test", user, &password(user));
    let other = as_user("changing.test", "canary-other", "other-secret");
    let rotated = as_user("changing.test", user, "other-secret");
    // No longer in force as soon as the change is: never right again after one refusal.
    let gone = |request: &Request| {
        stage.wait(request, 401);
        for _ in 0..20 {
            assert_eq!(stage.status(request), 401);
        }
    };
    put(&[(user, hash)]);
    stage.wait(&right, 200);
    assert_eq!(stage.status(&other), 401);
    put(&[(user, hash), ("canary-other", OTHER)]);
    stage.wait(&other, 200);
    assert_eq!(stage.status(&right), 200);
    put(&[(user, OTHER), ("canary-other", OTHER)]);
    gone(&right);
    assert_eq!(stage.status(&rotated), 200);
    put(&[("canary-other", OTHER)]);
    gone(&rotated);
    assert_eq!(stage.status(&other), 200);
    put(&[(user, hash)]);
    gone(&other);
    assert_eq!(stage.status(&right), 200);
}

fn under_load(stage: &Stage) {
    let (user, hash) = USERS[0];
    let put = |number: usize| {
        let mut users = vec![(user, hash)];
        if number % 2 == 1 {
            users.push(("canary-other", OTHER));
        }
        stage.rig.put("busy", &[secret("busy", &[("auth", &lines(&users))])]);
    };
    put(0);
    let route = ingress("busy").all("busy.test", "app").with("auth-secret", "busy");
    stage.rig.put("busy-route", &[route.into()]);
    let request = as_user("busy.test", user, &password(user));
    stage.wait(&request, 200);
    let reloads = stage.rig.reload_count();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            let (port, request) = (stage.rig.http, request.clone());
            std::thread::spawn(move || {
                let mut others = BTreeMap::<u16, u32>::new();
                let mut connection = Connection::plain(port).unwrap();
                while !stop.load(Ordering::SeqCst) {
                    let answer = connection.ask(&request).unwrap();
                    count.fetch_add(1, Ordering::SeqCst);
                    if answer.status != 200 {
                        *others.entry(answer.status).or_default() += 1;
                    }
                    if answer.closes() {
                        connection = Connection::plain(port).unwrap();
                    }
                }
                others
            })
        })
        .collect();
    let mut effects = Vec::new();
    for number in 1..=20 {
        let begin = Instant::now();
        put(number);
        let wanted = if number % 2 == 1 { 200 } else { 401 };
        stage.wait(&as_user("busy.test", "canary-other", "other-secret"), wanted);
        effects.push(begin.elapsed());
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        assert_eq!(client.join().unwrap(), BTreeMap::new(), "a user who did not change");
    }
    effects.sort_unstable();
    println!(
        "HAProxy {}: 20 changes under load, {} requests: effect after {:?} (median), {:?} (worst)",
        stage.rig.version,
        count.load(Ordering::SeqCst),
        effects[10],
        effects[19]
    );
    assert_eq!(stage.rig.reload_count(), reloads);
}

/// In the ConfigMap it holds for everything, and any namespace may be named.
fn global(stage: &Stage) {
    let mut elsewhere = secret("staff", &[("auth", &lines(&USERS[3..]))]);
    elsewhere["metadata"]["namespace"] = json!("elsewhere");
    let user = USERS[4].0;
    let config = [("auth-type", "basic-auth"), ("auth-secret", "elsewhere/staff")];
    stage.rig.put("config", &[config_map(&config), elsewhere]);
    stage.rig.wait("plain.test", "/", 401, "");
    stage.wait(&as_user("plain.test", user, &password(user)), 200);
    assert_eq!(stage.status(&as_user("plain.test", USERS[0].0, &password(USERS[0].0))), 401);
    // The narrower scope holds.
    assert_eq!(stage.status(&as_user("all.test", USERS[0].0, &password(USERS[0].0))), 200);
    // A Secret that goes away closes everything.
    stage.rig.put("config", &[config_map(&config)]);
    stage.rig.wait("plain.test", "/", 503, "");
    stage.rig.wait_problem(&["FailedClosed", "data.auth-secret", "does not exist"]);
    stage.rig.put("config", &[config_map(&[("auth-realm", "All of it")])]);
    stage.rig.wait("plain.test", "/", 200, "app");
    eventually("the default realm", || {
        let answer = stage.rig.get("all.test", "/")?;
        let header = answer.header("www-authenticate").unwrap_or_default().to_owned();
        ensure(header.contains("All of it"), || header)
    });
    stage.rig.put("config", &[config_map(&[])]);
    eventually("the usual realm", || {
        let answer = stage.rig.get("all.test", "/")?;
        let header = answer.header("www-authenticate").unwrap_or_default().to_owned();
        ensure(header.contains("Protected Content"), || header)
    });
}

/// What is wrong with a Secret or a key, in every spelling, against every request: never 200.
fn matrix(stage: &Stage) {
    let rig = &stage.rig;
    let user = USERS[0].0;
    let mut foreign = secret("foreign", &[("auth", &lines(&USERS))]);
    foreign["metadata"]["namespace"] = json!("elsewhere");
    let mut garbled = secret("garbled", &[]);
    garbled["data"] = json!({"auth": "%%%"});
    let certificate = Authority::new().issue(&["x.test"]).secret("certificate");
    let good = || secret("later", &[("auth", &lines(&USERS))]);
    let secrets = |later: bool| {
        let mut all = vec![
            secret("empty", &[]),
            secret("blank", &[("auth", "\n# nobody yet\n")]),
            secret("malformed", &[("auth", "no colon at all")]),
            secret("plain", &[(user, &password(user))]),
            secret("broken-hash", &[("auth", &format!("{user}:$6$abc$def"))]),
            secret("too-dear", &[("auth", &format!("{user}:$2b$31${}", "a".repeat(53)))]),
            secret("usable", &[("auth", &lines(&USERS))]),
            garbled.clone(),
            foreign.clone(),
            certificate.clone(),
        ];
        all.extend(later.then(good));
        all
    };
    rig.put("matrix-secrets", &secrets(true));
    let faults: &[(&str, &[(&str, &str)])] = &[
        ("missing", &[("auth-secret", "nowhere")]),
        ("empty", &[("auth-secret", "empty")]),
        ("blank", &[("auth-secret", "blank")]),
        ("malformed", &[("auth-secret", "malformed")]),
        ("plain text", &[("auth-secret", "plain")]),
        ("broken hash", &[("auth-secret", "broken-hash")]),
        ("cost too high", &[("auth-secret", "too-dear")]),
        ("not base64", &[("auth-secret", "garbled")]),
        ("forbidden namespace", &[("auth-secret", "elsewhere/foreign")]),
        ("a certificate", &[("auth-secret", "certificate")]),
        ("no name", &[("auth-secret", "")]),
        ("half a name", &[("auth-secret", "test/")]),
        ("deleted later", &[("auth-secret", "later")]),
        ("type alone", &[("auth-type", "basic-auth")]),
        ("realm alone", &[("auth-realm", "Staff")]),
        ("unknown type", &[("auth-type", "digest"), ("auth-secret", "usable")]),
        ("bad realm", &[("auth-realm", "a\nb"), ("auth-secret", "usable")]),
    ];
    let name = |fault: usize, prefix: usize| format!("m-{fault}-{prefix}");
    let mut routes: Vec<Value> = Vec::new();
    for (f, (_, keys)) in faults.iter().enumerate() {
        for (p, prefix) in PREFIXES.iter().enumerate() {
            let route = ingress(&name(f, p)).all(&format!("{}.test", name(f, p)), "app");
            let set = |route: common::manifest::Ingress, (key, value): &(&str, &str)| {
                route.annotation(&format!("{prefix}{key}"), value)
            };
            routes.push(keys.iter().fold(route, set).into());
        }
    }
    rig.put("matrix", &routes);
    let deleted = faults.iter().position(|(fault, _)| *fault == "deleted later").unwrap();
    for p in 0..PREFIXES.len() {
        let host = format!("{}.test", name(deleted, p));
        stage.wait(&as_user(&host, user, &password(user)), 200);
    }
    rig.put("matrix-secrets", &secrets(false));
    for p in 0..PREFIXES.len() {
        rig.wait(&format!("{}.test", name(deleted, p)), "/", 503, "");
    }
    let before = stage.served();
    println!("HAProxy {}: without | wrong | right password", rig.version);
    for (f, (fault, _)) in faults.iter().enumerate() {
        let mut seen = Vec::new();
        for p in 0..PREFIXES.len() {
            let host = format!("{}.test", name(f, p));
            rig.wait(&host, "/", 503, "");
            seen.push([
                rig.now(&host, "/").status,
                stage.status(&as_user(&host, user, "wrong")),
                stage.status(&as_user(&host, user, &password(user))),
            ]);
            rig.wait_problem(&["FailedClosed", &format!("\"name\":\"{}\"", name(f, p)), "auth-"]);
        }
        println!("  {fault:<20} {seen:?}");
        assert!(seen.iter().flatten().all(|status| *status == 503), "{fault}: {seen:?}");
    }
    assert_eq!(stage.served(), before, "a request reached a pod");
    rig.remove("matrix");
    rig.remove("matrix-secrets");
}

/// Nobody new comes in; who was in stays.
fn away(stage: &mut Stage) {
    let known = as_user("all.test", USERS[0].0, &password(USERS[0].0));
    let unknown = as_user("changing.test", USERS[2].0, "never-tried");
    stage.wait(&known, 200);
    stage.rig.kill();
    for _ in 0..20 {
        assert_eq!(stage.status(&known), 200);
        assert_eq!(stage.status(&unknown), 503);
        assert_eq!(stage.rig.now("all.test", "/").status, 401, "asked for without tidegate");
    }
    let retry = stage.rig.ask(&unknown).unwrap();
    assert_eq!(retry.header("retry-after"), Some("1"));
    stage.rig.start();
    stage.wait(&unknown, 401);
    assert_eq!(stage.status(&known), 200);
    stage.wait(&as_user("changing.test", USERS[2].0, &password(USERS[2].0)), 200);
    assert_eq!(stage.rig.reload_count(), 0, "adopted");
}

/// No user, password or hash is anywhere but in the Secrets and the requests.
fn leaks(stage: &Stage) {
    let rig = &stage.rig;
    let mut words: Vec<String> = vec!["canary".into(), "other-secret".into(), "never-tried".into()];
    for (user, hash) in USERS {
        words.push(password(user));
        words.push(STANDARD.encode(format!("{user}:{}", password(user))));
        words.push(hash[hash.len() - 20..].to_owned());
        words.push(hash[..14].to_owned());
    }
    words.retain(|word| word.len() >= 6);
    let mut places: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for folder in ["state", "journal", "log"] {
        read_all(&rig.path(folder), &mut places);
    }
    for path in ["/metrics", "/problems", "/debug/state", "/metrics/haproxy"] {
        places.insert(path.to_owned(), rig.admin(path).unwrap().body.into_bytes());
    }
    for command in
        ["show table tidegate-auth", "show map", "show errors", "show stat", "show sess all"]
    {
        places.insert(command.to_owned(), rig.worker(command).unwrap().into_bytes());
    }
    let maps = String::from_utf8_lossy(&places["show map"]).into_owned();
    for line in maps.lines().filter(|line| line.contains(".map")) {
        let id = line.split_whitespace().next().unwrap();
        let command = format!("show map #{id}");
        places.insert(command.clone(), rig.worker(&command).unwrap().into_bytes());
    }
    let table = String::from_utf8_lossy(&places["show table tidegate-auth"]).into_owned();
    assert!(table.contains("key="), "somebody is remembered: {table}");
    assert!(places.keys().any(|name| name.contains("journal")), "{:?}", places.keys());
    let total: usize = places.values().map(Vec::len).sum();
    for (place, bytes) in &places {
        for word in &words {
            let found = bytes.windows(word.len()).any(|window| window == word.as_bytes());
            assert!(!found, "{word} is in {place}");
        }
    }
    println!(
        "HAProxy {}: {} words in none of {} places, {total} bytes",
        rig.version,
        words.len(),
        places.len()
    );
}

fn read_all(path: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(folder) = fs::read_dir(path) else {
        if let Ok(bytes) = fs::read(path) {
            into.insert(path.display().to_string(), bytes);
        }
        return;
    };
    for entry in folder.flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            read_all(&entry.path(), into);
        } else if kind.is_file() {
            into.insert(entry.path().display().to_string(), fs::read(entry.path()).unwrap());
        }
    }
}
