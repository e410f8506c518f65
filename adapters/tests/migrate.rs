//! `tidegate migrate` as a user meets it, on the samples in `deploy/examples/migrate`: what it
//! prints (`BLESS=1` writes `data/migrate` anew), what it writes, and that what it writes means the
//! same to `check` and `render`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const ORIGINS: [&str; 3] = ["haproxytech", "haproxy-ingress", "ingress-nginx"];

fn tidegate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).env_remove("TIDEGATE_HAPROXY");
    command.env("HOME", "/nonexistent").output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&text(output)).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn samples(origin: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/migrate").join(origin)
}

fn str_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder with one manifest.
fn folder(manifest: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.yaml"), manifest).unwrap();
    dir
}

fn ingress(annotations: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: web\n  annotations:\n\
         {annotations}spec:\n  ingressClassName: haproxy\n  rules:\n    - host: a.example\n      \
         http:\n        paths:\n          - path: /\n            pathType: Prefix\n            \
         backend: {{service: {{name: web, port: {{number: 80}}}}}}\n"
    )
}

/// The rows of a report by key.
fn row<'j>(report: &'j Value, key: &str) -> &'j Value {
    let rows = report["keys"].as_array().unwrap();
    rows.iter()
        .find(|row| row["key"] == key)
        .unwrap_or_else(|| panic!("no row for {key}: {report}"))
}

/// Writes the samples of an origin anew, with our class.
fn rewritten(origin: &str) -> tempfile::TempDir {
    let out = tempfile::tempdir().unwrap();
    let source = samples(origin);
    let arguments = ["migrate", "-f", str_of(&source), "--write", str_of(out.path())];
    let output = tidegate(&[&arguments[..], &["--class", "tidegate"]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    out
}

#[test]
fn the_samples_give_the_golden_reports() {
    for origin in ORIGINS {
        for form in ["text", "json"] {
            let source = samples(origin);
            let output = tidegate(&["--output", form, "migrate", "-f", str_of(&source)]);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let golden = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(format!("tests/data/migrate/{origin}.{form}"));
            if std::env::var_os("BLESS").is_some() {
                std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
                std::fs::write(&golden, text(&output)).unwrap();
            }
            let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
            assert_eq!(text(&output), wanted, "{}; BLESS=1 writes it anew", golden.display());
        }
    }
}

#[test]
fn what_protects_and_would_not_comes_first_and_stays_in_the_manifest() {
    let source = samples("ingress-nginx");
    let output = tidegate(&["migrate", "-f", str_of(&source)]);
    let printed = text(&output);
    assert!(printed.starts_with("NOT PROTECTED: "), "{printed}");
    let loud = printed.split("\n\n").nth(1).unwrap();
    assert!(loud.contains("nginx.ingress.kubernetes.io/auth-url"), "{loud}");
    let out = rewritten("ingress-nginx");
    let written = std::fs::read_to_string(out.path().join("admin.json")).unwrap();
    assert!(
        written.contains("\"nginx.ingress.kubernetes.io/auth-url\": \"https://sso"),
        "{written}"
    );
    let still_json: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(still_json["spec"]["ingressClassName"], "tidegate");

    // Also where tidegate reads the prefix, and would otherwise get a comment.
    let dir = folder(&ingress(
        "    haproxy.org/prometheus-endpoint-auth-secret: x\n    haproxy.org/clean-certs: \"true\"\n",
    ));
    let out = tempfile::tempdir().unwrap();
    let arguments = ["migrate", "-f", str_of(dir.path()), "--write", str_of(out.path())];
    assert_eq!(tidegate(&arguments).status.code(), Some(1));
    let written = std::fs::read_to_string(out.path().join("a.yaml")).unwrap();
    assert!(written.contains("\n    # haproxy.org/clean-certs: \"true\"\n"), "{written}");
}

#[test]
fn rewritten_manifests_have_no_unknown_keys_but_those_that_protect() {
    for origin in ORIGINS {
        let out = rewritten(origin);
        let class = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: tidegate}\n\
                     spec: {controller: tidegate.io/ingress-controller}\n";
        std::fs::write(out.path().join("ours.yaml"), class).unwrap();
        let config = match origin {
            "haproxytech" => "haproxy-controller/haproxy-kubernetes-ingress",
            "haproxy-ingress" => "ingress-controller/haproxy-ingress",
            _ => "ingress-nginx/ingress-nginx-controller",
        };
        let arguments = ["check", "-f", str_of(out.path()), "--configmap", config];
        let output = tidegate(&[&["--output", "json"], &arguments[..]].concat());
        let report = json(&output);
        assert!(report["sizes"]["routes"].as_u64().unwrap() > 0, "{origin}: {report}");
        let source = samples(origin);
        let verdicts = json(&tidegate(&["--output", "json", "migrate", "-f", str_of(&source)]));
        for problem in report["problems"].as_array().unwrap() {
            let field = problem["field"].as_str().unwrap();
            if problem["reason"] != "UnknownKey" && problem["reason"] != "NotSupported" {
                continue;
            }
            let rows = verdicts["keys"].as_array().unwrap();
            let open = rows.iter().filter(|row| row["needs"] == "open");
            let mut keys = open.filter_map(|row| row["key"].as_str());
            assert!(keys.any(|key| field.contains(key)), "{origin}: {problem}");
        }
    }
}

#[test]
fn what_is_the_same_renders_the_same() {
    let config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: haproxy-kubernetes-ingress, \
                  namespace: default}\ndata:\n  timeout-server: 90s\n  timeout-client: 80s\n---\n";
    let class = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: haproxy}\n\
                 spec: {controller: haproxy.org/ingress-controller}\n---\n";
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web, annotations: \
                   {haproxy.org/load-balance: leastconn, \"haproxy.org/pod-maxconn\": \"7\"}}\n\
                   spec: {ports: [{port: 80}]}\n---\n";
    let keys = "    haproxy.org/timeout-server: 30s # short\n    haproxy.org/cors-enable: \"true\"\n    \
                'haproxy.org/allow-list': 10.0.0.0/8\n    haproxy.com/check-interval: 3s\n    \
                haproxy.org/request-set-header: |\n      X-A one\n      X-B two\n    \
                haproxy.org/cookie-persistence: shop\n";
    let dir = folder(&format!("{config}{class}{service}{}", ingress(keys)));
    let out = tempfile::tempdir().unwrap();
    let arguments = ["migrate", "-f", str_of(dir.path()), "--write", str_of(out.path())];
    let output = tidegate(&arguments);
    assert_eq!(output.status.code(), Some(0), "nothing is left for a human: {output:?}");
    let written = std::fs::read_to_string(out.path().join("a.yaml")).unwrap();
    assert!(
        !written.contains("haproxy.org/timeout") && written.contains("'tidegate.io/allow-list'")
    );
    assert!(written.contains("tidegate.io/timeout-server: 30s # short"), "{written}");
    let render = |dir: &Path| {
        let flags = ["--controller-name", "haproxy.org/ingress-controller", "--ingress-class"];
        let config = ["haproxy", "--configmap", "default/haproxy-kubernetes-ingress"];
        let arguments = ["render", "-f", str_of(dir), "--state-dir", "/s"];
        let output = tidegate(&[&arguments[..], &flags[..], &config[..]].concat());
        assert!(output.status.success(), "{output:?}");
        text(&output)
    };
    let before = render(dir.path());
    assert!(before.contains("a.example"), "{before}");
    assert_eq!(before, render(out.path()));
}

#[test]
fn every_byte_that_need_not_change_stays() {
    let out = rewritten("haproxytech");
    let old = std::fs::read_to_string(samples("haproxytech").join("shop.yaml")).unwrap();
    let new = std::fs::read_to_string(out.path().join("shop.yaml")).unwrap();
    for line in old.lines().filter(|line| !line.contains("haproxy")) {
        let inside = line.trim_start().starts_with("X-");
        assert!(inside || new.lines().any(|other| other == line), "{line:?} is gone:\n{new}");
    }
    assert!(
        new.contains("    tidegate.io/check-http: /health   # not the home page: it is slow\n")
    );
    assert!(new.contains("  ingressClassName: tidegate\n"), "{new}");
    assert!(new.contains("    tidegate.io/set-host: \"shop.internal\"\n"), "{new}");
    // The Backend that `cr-backend` named.
    let cart = std::fs::read_to_string(out.path().join("backend.yaml")).unwrap();
    assert!(cart.contains("    tidegate.io/load-balance: \"leastconn\"\n"), "{cart}");
    assert!(cart.contains("    tidegate.io/cookie-persistence: \"shopid\"\n"), "{cart}");
}

#[test]
fn values_are_told_in_the_words_of_run() {
    let source = samples("haproxytech");
    let report = json(&tidegate(&["--output", "json", "migrate", "-f", str_of(&source)]));
    let refused = row(&report, "haproxy.org/timeout-server");
    assert_eq!(refused["problems"][0]["reason"], "BadValue", "{refused}");
    assert_eq!(refused["needs"], "human");
    let mistyped = row(&report, "haproxy.org/timeout-servr");
    assert_eq!(mistyped["verdict"], "unknown");
    assert!(mistyped["remark"].as_str().unwrap().contains("timeout-server?"), "{mistyped}");
}

#[test]
fn nothing_is_written_over() {
    let dir = folder(&ingress("    haproxy.org/timeout-server: 30s\n"));
    let before = std::fs::read_to_string(dir.path().join("a.yaml")).unwrap();
    let arguments = ["migrate", "-f", str_of(dir.path()), "--write", str_of(dir.path())];
    assert_eq!(tidegate(&arguments).status.code(), Some(3));
    assert_eq!(std::fs::read_to_string(dir.path().join("a.yaml")).unwrap(), before);
    assert_eq!(tidegate(&["migrate"]).status.code(), Some(2));
    assert_eq!(tidegate(&["migrate", "-f", "/nonexistent"]).status.code(), Some(3));
    let class = ["migrate", "-f", str_of(dir.path()), "--class", "x"];
    assert_eq!(tidegate(&class).status.code(), Some(2));
}

#[test]
fn what_a_tls_block_does_by_itself_there_is_written_here() {
    let manifest = ingress("    haproxy.org/timeout-server: 30s\n")
        .replace("  rules:", "  tls: [{hosts: [a.example]}]\n  rules:");
    let dir = folder(&manifest);
    let out = tempfile::tempdir().unwrap();
    let arguments = ["migrate", "-f", str_of(dir.path()), "--write", str_of(out.path())];
    let report = json(&tidegate(&[&["--output", "json"], &arguments[..]].concat()));
    assert_eq!(row(&report, "(tls block)")["keys"]["tidegate.io/ssl-redirect"], "true");
    let written = std::fs::read_to_string(out.path().join("a.yaml")).unwrap();
    assert!(
        written.contains("  annotations:\n    tidegate.io/ssl-redirect: \"true\"\n"),
        "{written}"
    );
}

#[test]
fn hostile_manifests_neither_break_it_nor_are_mangled() {
    let manifests = [
        "a: &a [*a]\n".to_owned(),
        "{".repeat(500),
        "metadata: {annotations: {haproxy.org/x: [1]}}\nkind: Ingress\n".to_owned(),
        ingress("    ? haproxy.org/timeout-server\n    : 30s\n"),
        ingress("    haproxy.org/timeout-server: &t 30s\n    haproxy.org/timeout-queue: *t\n"),
        ingress("    haproxy.org/timeout-server: 30s\n").replace('\n', "\r\n"),
        ingress("    \"haproxy.org/set-host\": \"a\\nb: c\"\n"),
    ];
    for manifest in manifests {
        let dir = folder(&manifest);
        let out = tempfile::tempdir().unwrap();
        let arguments = ["migrate", "-f", str_of(dir.path()), "--write", str_of(out.path())];
        let output = tidegate(&arguments);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{manifest}: {output:?}");
        let written = std::fs::read_to_string(out.path().join("a.yaml")).unwrap();
        let check = |dir: &Path| {
            let output = tidegate(&["--output", "json", "check", "-f", str_of(dir)]);
            json(&output)["sizes"]["objects"].clone()
        };
        assert_eq!(check(dir.path()), check(out.path()), "{manifest}\n{written}");
    }
}

#[test]
fn run_tells_what_to_write_for_a_key_it_does_not_read() {
    let class = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: haproxy}\n\
                 spec: {controller: tidegate.io/ingress-controller}\n---\n";
    let keys =
        "    haproxy.org/generate-certificates-signer: a/b\n    haproxy.org/cr-backend: other/b\n";
    let dir = folder(&format!("{class}{}", ingress(keys)));
    let printed = text(&tidegate(&["check", "-f", str_of(dir.path())]));
    for wanted in ["remove it; ", "Backend other/b is in another namespace"] {
        assert!(printed.contains(wanted), "{wanted}: {printed}");
    }
}

#[test]
fn run_tells_of_what_custom_resources_cannot_say() {
    // The sample as it is, under the class that it names.
    let source = samples("haproxytech");
    let class = ["--controller-name", "haproxy.org/ingress-controller"];
    let arguments = ["--output", "json", "check", "-f", str_of(&source)];
    let report = json(&tidegate(&[&arguments[..], &class].concat()));
    let problems = report["problems"].as_array().unwrap();
    let rule = |p: &&Value| p["field"] == "spec.http_request_rule_list[0]";
    let custom = problems.iter().find(rule).unwrap_or_else(|| panic!("{problems:#?}"));
    assert_eq!(custom["reason"], "FailedClosed");
    assert!(custom["fix"].as_str().unwrap().contains("deny-list"), "{custom}");

    let dir = folder(
        "apiVersion: ingress.v3.haproxy.org/v3\nkind: ValidationRules\nmetadata: {name: x}\nspec: {}\n",
    );
    let report = json(&tidegate(&["--output", "json", "check", "-f", str_of(dir.path())]));
    let told = report["problems"][0]["what"].as_str().unwrap_or_default();
    assert_eq!(told, "a ValidationRules of ingress.v3.haproxy.org/v3 is not read");
}
