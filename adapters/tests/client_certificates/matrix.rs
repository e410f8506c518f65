//! What cannot be used, for each key that protects: never 200 without the credential.

use super::*;

/// States of the Secret, and the status that a client with a good certificate gets.
const STATES: [(&str, u16); 7] = [
    ("missing", 503),
    ("empty", 503),
    ("malformed", 503),
    ("forbidden", 503),
    ("deleted later", 503),
    ("CA expired", 495),
    ("list without end", 503),
];

/// Spellings of the key.
const KEYS: [&str; 4] = [
    "tidegate.io/client-ca",
    "haproxy.org/client-ca",
    "haproxy.com/client-ca",
    "ingress.kubernetes.io/client-ca",
];

pub fn never_open(stage: &Stage) {
    let expired = Authority::expired();
    let old = expired.client("old");
    let cut = "-----BEGIN CERTIFICATE-----\nMIIB";
    let list = "-----BEGIN X509 CRL-----\nMIIB";
    let secrets = [
        secret("state-empty", &[("ca.crt", "")]),
        secret("state-malformed", &[("ca.crt", cut)]),
        secret("state-expired", &[("ca.crt", &expired.pem)]),
        secret("state-list", &[("ca.crt", &stage.clients.pem), ("ca.crl", list)]),
    ];
    let later = secret("state-later", &[("ca.crt", &stage.clients.pem)]);
    stage.rig.put("matrix-later", &[later]);
    let names = [
        "state-missing",
        "state-empty",
        "state-malformed",
        "elsewhere/clients-ca",
        "state-later",
        "state-expired",
        "state-list",
    ];
    let mut routes = Vec::new();
    for (k, key) in KEYS.iter().enumerate() {
        for (s, name) in names.iter().enumerate() {
            routes.push((format!("m{k}-{s}"), [(*key, *name)]));
        }
    }
    let of: Vec<(&str, &[(&str, &str)])> =
        routes.iter().map(|(host, keys)| (&**host, &keys[..])).collect();
    stage.put("matrix", &secrets, &of);
    for k in 0..KEYS.len() {
        stage.wait(&format!("m{k}-4.test"), Some(&stage.good), 200);
    }
    stage.rig.remove("matrix-later");
    println!("HAProxy {}: key | state | certificate, none, plain HTTP", stage.rig.version);
    for (k, key) in KEYS.iter().enumerate() {
        for (s, (state, status)) in STATES.iter().enumerate() {
            let host = format!("m{k}-{s}.test");
            let shown = if *state == "CA expired" { &old } else { &stage.good };
            stage.wait(&host, Some(shown), *status);
            let none = stage.now(&host, None);
            let plain = stage.rig.now(&host, "/").status;
            println!("HAProxy {}: {key} | {state} | {status}, {none}, {plain}", stage.rig.version);
            assert!(none == 503 || none == 496, "{host}: {none}");
            assert!(plain == 503 || plain == 403, "{host}: {plain}");
            if *status == 503 {
                let name = format!("\"name\":\"m{k}-{s}\"");
                stage.rig.wait_problem(&["FailedClosed", &name]);
            }
        }
    }
    stage.rig.remove("matrix");
}

/// In the ConfigMap it holds for every route, as with haproxytech's controller.
pub fn for_all(stage: &Stage) {
    let none: &[(&str, &str)] = &[];
    let own: &[(&str, &str)] = &[("client-ca", "own-ca")];
    let other = Authority::new();
    let secrets = [stage.authority(), secret("own-ca", &[("tls.crt", &other.pem)])];
    stage.put("for-all", &secrets, &[("all", none), ("own", own)]);
    stage.wait("all.test", None, 200);
    stage.rig.put("config", &[config_map(&[("client-ca", "test/clients-ca")])]);
    stage.wait("all.test", None, 496);
    stage.wait("all.test", Some(&stage.good), 200);
    stage.wait("own.test", Some(&other.client("other")), 200);
    assert_eq!(stage.now("own.test", Some(&stage.good)), 495, "the narrower scope wins");
    // This host has no certificate.
    stage.rig.wait("plain.test", "/", 503, "");
    stage.rig.put("config", &[config_map(&[("client-ca", "test/nowhere")])]);
    stage.wait("all.test", Some(&stage.good), 503);
    stage.rig.wait_problem(&["FailedClosed", "data.client-ca"]);
    let optional = [("client-ca", "test/clients-ca"), ("client-crt-optional", "true")];
    stage.rig.put("config", &[config_map(&optional)]);
    stage.wait("all.test", None, 200);
    assert_eq!(stage.now("all.test", Some(&stage.stranger)), 495);
    stage.rig.put("config", &[config_map(&[])]);
    stage.rig.wait("plain.test", "/", 200, "app");
    stage.rig.remove("for-all");
}
