//! Decoding is lenient: one bad field never makes an object vanish, and never opens a route wider
//! than it was written.

#[path = "common/mod.rs"]
mod common;

use std::net::IpAddr;

use serde_json::{Value, json};
use tidegate::decode::{Decoded, Slim, object_from};
use tidegate::vault::Vault;
use tidegate_core::world::object::{
    BackendRef, Endpoint, EndpointSlice, Ingress, Kind, Meta, Object, ObjectRef, Path, PathType,
    PortRef, Rule, Secret, Service, ServiceSource, Tls,
};

fn vault() -> Vault {
    Vault::new([7; 32])
}

fn decode_with(vault: &Vault, value: &Value) -> Decoded {
    let text = value.to_string();
    let slim: Slim = serde_json::from_str(&text).unwrap();
    let from_json = slim.finish(None, vault);
    let yaml: Slim = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(from_json, yaml.finish(None, vault), "JSON and YAML agree");
    from_json
}

fn object(value: &Value) -> Object {
    match decode_with(&vault(), value) {
        Decoded::Object(object) => object,
        other => panic!("{other:?}"),
    }
}

fn ingress(spec: &Value) -> Ingress {
    let value = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "shop"}, "spec": spec,
    });
    let Object::Ingress(ingress) = object(&value) else { panic!() };
    (*ingress).clone()
}

fn service(spec: &Value) -> Service {
    let value = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec,
    });
    let Object::Service(service) = object(&value) else { panic!() };
    (*service).clone()
}

#[test]
fn a_service_says_where_its_node_ports_answer() {
    let spec = |policy: Value| {
        let ports = json!([{"name": "http", "port": 80, "nodePort": 30080}]);
        service(&json!({"type": "NodePort", "ports": ports, "externalTrafficPolicy": policy}))
    };
    assert_eq!(spec(json!("Local")).ports[0].node_port, Some(30080));
    assert!(spec(json!("Local")).local_traffic);
    assert!(!spec(json!("Cluster")).local_traffic);
    assert!(!spec(Value::Null).local_traffic);
    assert!(!service(&json!({"type": "ClusterIP"})).local_traffic);
}

fn slice(fields: &Value) -> EndpointSlice {
    let mut value = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
    });
    for (key, field) in fields.as_object().unwrap() {
        value[key] = field.clone();
    }
    let Object::EndpointSlice(slice) = object(&value) else { panic!() };
    (*slice).clone()
}

fn notes(meta: &Meta) -> Vec<&str> {
    meta.notes.iter().map(|note| &*note.field).collect()
}

#[test]
fn an_ingress_keeps_every_field_that_routing_needs() {
    let value = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u-1", "generation": 3,
            "resourceVersion": "77", "creationTimestamp": "2024-02-29T12:30:45Z",
            "labels": {"app": "web"},
            "annotations": {
                "tidegate.io/timeout-server": "30s", "haproxy.org/check": "true",
                "kubernetes.io/ingress.class": "tidegate",
                "kubectl.kubernetes.io/last-applied-configuration": "{}", "example.com/x": "y",
            },
            "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {
            "ingressClassName": "tidegate",
            "defaultBackend": {"service": {"name": "fallback", "port": {"number": 80}}},
            "rules": [{"host": "a.example", "http": {"paths": [
                {"path": "/", "pathType": "Prefix",
                 "backend": {"service": {"name": "web", "port": {"name": "http"}}}},
                {"path": "/static", "pathType": "Exact",
                 "backend": {"resource": {"apiGroup": "x", "kind": "Bucket", "name": "b"}}},
            ]}}],
            "tls": [{"hosts": ["a.example"], "secretName": "cert"}, {"hosts": ["b.example"]}],
        },
        "status": {"loadBalancer": {}},
    });
    let Object::Ingress(got) = object(&value) else { panic!() };
    let annotations: Vec<_> = got.meta.annotations.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(
        annotations,
        [
            ("haproxy.org/check", "true"),
            ("kubernetes.io/ingress.class", "tidegate"),
            ("tidegate.io/timeout-server", "30s"),
        ]
    );
    assert_eq!(got.meta.created, 1_709_209_845);
    assert_eq!((&*got.meta.uid, got.meta.generation), ("u-1", 3));
    assert_eq!(got.meta.notes, []);
    assert_eq!(got.class.as_deref(), Some("tidegate"));
    let to = |name: &str, port| BackendRef::Service { name: name.into(), port };
    assert_eq!(got.default_backend, Some(to("fallback", PortRef::Number(80))));
    assert_eq!(
        got.rules,
        [Rule {
            host: "a.example".into(),
            paths: vec![
                Path {
                    path: "/".into(),
                    path_type: PathType::Prefix,
                    backend: to("web", PortRef::Name("http".into())),
                },
                Path {
                    path: "/static".into(),
                    path_type: PathType::Exact,
                    backend: BackendRef::Unusable("a resource (Bucket b)".into()),
                },
            ],
        }]
    );
    assert_eq!(
        got.tls,
        [
            Tls { hosts: vec!["a.example".into()], secret: Some("cert".into()) },
            Tls { hosts: vec!["b.example".into()], secret: None },
        ]
    );
}

#[test]
fn absent_and_null_fields_are_the_same() {
    let empty = ingress(&json!({}));
    let null = ingress(&json!({
        "ingressClassName": null, "defaultBackend": null, "rules": null, "tls": null,
    }));
    assert_eq!(empty, null);
    assert_eq!((&empty.class, &empty.default_backend), (&None, &None));
    assert!(empty.rules.is_empty() && empty.tls.is_empty() && empty.meta.notes.is_empty());
    let missing = ingress(&Value::Null);
    assert_eq!(missing, empty);
    let rule = ingress(&json!({"rules": [{"host": null, "http": null}, {}]}));
    assert_eq!(rule.rules, vec![Rule { host: "".into(), paths: vec![] }; 2]);
}

#[test]
fn backends_that_name_no_usable_service_say_so() {
    let cases = [
        (json!({}), "neither a service nor a resource"),
        (json!({"service": {"port": {"number": 80}}}), "a service without a name"),
        (json!({"service": {"name": "a"}}), "a service without a usable port"),
        (
            json!({"service": {"name": "a", "port": {"number": 0}}}),
            "a service without a usable port",
        ),
        (
            json!({"service": {"name": "a", "port": {"number": 99999}}}),
            "a service without a usable port",
        ),
        (
            json!({"service": {"name": "a", "port": {"number": 1, "name": "b"}}}),
            "a service port by name and by number at once",
        ),
        (
            json!({"service": {"name": "a", "port": {"number": 1}}, "resource": {"kind": "B"}}),
            "both a service and a resource",
        ),
    ];
    for (backend, expected) in cases {
        let got = ingress(&json!({"defaultBackend": backend})).default_backend;
        assert_eq!(got, Some(BackendRef::Unusable(expected.into())), "{backend}");
    }
    let path = json!({"path": "/", "pathType": "Exact"});
    let path = ingress(&json!({"rules": [{"http": {"paths": [path]}}]}));
    assert_eq!(path.rules[0].paths[0].backend, BackendRef::Unusable("no backend".into()));
}

#[test]
fn a_bad_field_never_widens_what_an_ingress_claims() {
    let backend = json!({"service": {"name": "a", "port": {"number": 80}}});
    let good = json!({"path": "/a", "pathType": "Prefix", "backend": backend});
    let got = ingress(&json!({
        "ingressClassName": 5,
        "rules": [
            {"host": 7, "http": {"paths": [good]}},
            {"host": "a", "http": {"paths": [
                {"path": 1, "pathType": "Prefix", "backend": backend},
            ]}},
            {"host": "b", "http": "x"},
            {"host": "c", "http": {"paths": [good, 3, null]}},
            "text",
        ],
        "tls": [{"hosts": [1], "secretName": "s"}, {"hosts": ["d", {}], "secretName": []}],
    }));
    assert_eq!(got.class.as_deref(), Some(""), "the default class would claim a class-less one");
    let hosts: Vec<_> = got.rules.iter().map(|rule| (&*rule.host, rule.paths.len())).collect();
    assert_eq!(hosts, [("c", 1)]);
    assert_eq!(got.tls, [Tls { hosts: vec!["d".into()], secret: None }]);
    assert_eq!(
        notes(&got.meta),
        [
            "spec.ingressClassName",
            "spec.rules[0].host",
            "spec.rules[1].http.paths[0].path",
            "spec.rules[2].http",
            "spec.rules[3].http.paths[1]",
            "spec.rules[3].http.paths[2]",
            "spec.rules[4]",
            "spec.tls[0].hosts[0]",
            "spec.tls[1].hosts[1]",
            "spec.tls[1].secretName",
        ]
    );
}

#[test]
fn an_unknown_path_type_is_read_as_implementation_specific() {
    let backend = json!({"service": {"name": "a", "port": {"number": 80}}});
    let got = ingress(&json!({"rules": [{"http": {"paths": [
        {"path": "/a", "pathType": "Regex", "backend": backend},
        {"path": "/b", "backend": backend},
        {"path": "/c", "pathType": "ImplementationSpecific", "backend": backend},
    ]}}]}));
    assert!(got.rules[0].paths.iter().all(|p| p.path_type == PathType::ImplementationSpecific));
    let paths = "spec.rules[0].http.paths";
    assert_eq!(notes(&got.meta), [format!("{paths}[0].pathType"), format!("{paths}[1].pathType")]);
}

#[test]
fn annotations_without_quotes_keep_their_text_and_others_never_parse() {
    let value = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "annotations": {
            "tidegate.io/a": true, "tidegate.io/b": 30, "tidegate.io/c": null,
            "tidegate.io/allow": ["10.0.0.0/8"], "other.io/x": {},
        }},
    });
    let Object::Service(got) = object(&value) else { panic!() };
    let annotations: Vec<_> = got.meta.annotations.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(
        annotations,
        [
            ("tidegate.io/a", "true"),
            ("tidegate.io/allow", "(not a string)"),
            ("tidegate.io/b", "30"),
            ("tidegate.io/c", ""),
        ]
    );
    assert_eq!(got.meta.notes.len(), 3);
    assert_eq!(got.meta.name.to_string(), "default/web");
}

#[test]
fn metadata_of_the_wrong_shape_is_left_out() {
    let value = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "web", "namespace": 3, "uid": {}, "generation": "x", "labels": 1,
            "annotations": [], "creationTimestamp": "yesterday",
        },
        "spec": [],
    });
    let Object::Service(got) = object(&value) else { panic!() };
    assert_eq!((got.meta.created, got.meta.generation, &*got.meta.uid), (0, 0, ""));
    assert_eq!(got.meta.notes.len(), 7);
    assert!(got.ports.is_empty());
}

#[test]
fn service_ports_are_bounded_and_of_tcp() {
    let got = service(&json!({"type": "ClusterIP", "ports": [
        {"name": "http", "port": 80, "appProtocol": "kubernetes.io/h2c", "targetPort": "x"},
        {"port": 443, "protocol": "TCP"},
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"port": 0}, {"port": -1}, {"port": 65536}, {"port": 18446744073709551615_u64},
        {"port": 1e300}, {"port": "80"}, {"port": 80.5}, {"port": null}, {}, 7,
    ]}));
    assert_eq!(got.source, ServiceSource::Slices);
    let ports: Vec<_> = got.ports.iter().map(|p| (&*p.name, p.port)).collect();
    assert_eq!(ports, [("http", 80), ("", 443)]);
    assert_eq!(got.ports[0].app_protocol.as_deref(), Some("kubernetes.io/h2c"));
    assert_eq!(got.meta.notes.len(), 10);
}

#[test]
fn external_names_are_lower_case() {
    let got = service(&json!({"type": "ExternalName", "externalName": "DB.Example.com."}));
    assert_eq!(got.source, ServiceSource::ExternalName("db.example.com".into()));
    let missing = service(&json!({"type": "ExternalName"}));
    assert_eq!(missing.source, ServiceSource::ExternalName("".into()));
    assert_eq!(notes(&missing.meta), ["spec.externalName"]);
}

#[test]
fn absent_conditions_mean_ready_serving_and_not_terminating() {
    let got = slice(&json!({"ports": [{"name": "http", "port": 8080}], "endpoints": [
        {"addresses": ["10.0.0.1", "10.9.9.9"]},
        {"addresses": ["10.0.0.2"], "conditions": {}},
        {"addresses": ["10.0.0.3"], "conditions": null},
        {"addresses": ["10.0.0.4"],
         "conditions": {"ready": null, "serving": null, "terminating": null}},
        {"addresses": ["10.0.0.5"],
         "conditions": {"ready": false, "serving": true, "terminating": true}},
        {"addresses": ["fd00::1"], "conditions": {"ready": "yes"}},
    ]}));
    let ready = |address: &str| Endpoint {
        address: address.parse::<IpAddr>().unwrap(),
        ready: true,
        serving: true,
        terminating: false,
    };
    let mut leaving = ready("10.0.0.5");
    (leaving.ready, leaving.terminating) = (false, true);
    let expected = [
        ready("10.0.0.1"),
        ready("10.0.0.2"),
        ready("10.0.0.3"),
        ready("10.0.0.4"),
        leaving,
        ready("fd00::1"),
    ];
    assert_eq!(got.endpoints, expected);
    assert_eq!(&*got.service, "web");
    assert_eq!(notes(&got.meta), ["endpoints[5].conditions.ready"]);
}

#[test]
fn endpoints_without_a_usable_address_are_left_out() {
    let got = slice(&json!({
        "ports": [
            {"name": "a", "port": null}, {"port": 70000}, {"port": 53, "protocol": "UDP"}, {},
        ],
        "endpoints": [{}, {"addresses": []}, {"addresses": ["pod"]}, {"addresses": [5]}, null,
                      {"addresses": ["10.0.0.1"]}],
    }));
    assert_eq!(got.endpoints.len(), 1);
    let ports: Vec<_> = got.ports.iter().map(|p| (&*p.name, p.port)).collect();
    assert_eq!(ports, [("a", None), ("", None)]);
    assert_eq!(got.meta.notes.len(), 6);
}

#[test]
fn a_slice_of_names_gives_no_endpoints() {
    let got = slice(&json!({
        "addressType": "FQDN",
        "endpoints": [{"addresses": ["a.example"]}, {"addresses": ["10.0.0.1"]}],
    }));
    assert!(got.endpoints.is_empty());
    assert_eq!(notes(&got.meta), ["addressType"]);
}

#[test]
fn classes_namespaces_and_config_maps_are_read() {
    let class = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": "c", "namespace": "ignored",
                     "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "tidegate.io/ingress-controller", "parameters": {"kind": "X"}},
    });
    let Object::IngressClass(class) = object(&class) else { panic!() };
    assert!(class.is_default && class.meta.annotations.is_empty());
    assert_eq!(&*class.controller, "tidegate.io/ingress-controller");
    assert_eq!(class.meta.name.to_string(), "c");
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "n", "labels": {"b": "2", "a": "1"}},
    });
    let Object::Namespace(namespace) = object(&namespace) else { panic!() };
    let pair = |k: &str, v: &str| (Box::from(k), Box::from(v));
    assert_eq!(namespace.labels, [pair("a", "1"), pair("b", "2")]);
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n"},
        "data": {"timeout": "5s", "count": 3, "list": []},
    });
    let Object::ConfigMap(config) = object(&config) else { panic!() };
    assert_eq!(config.data.get("timeout").map(|v| &**v), Some("5s"));
    assert_eq!(config.data.get("count").map(|v| &**v), Some("3"));
    assert_eq!(notes(&config.meta), ["data[count]", "data[list]"]);
}

#[test]
fn other_kinds_are_ignored_and_old_versions_are_told() {
    let of = |version: &str, kind: &str| {
        let value = json!({
            "apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": {"rules": 5},
        });
        decode_with(&vault(), &value)
    };
    for (version, kind) in [
        ("apps/v1", "Deployment"),
        ("serving.knative.dev/v1", "Service"),
        ("networking.internal.knative.dev/v1alpha1", "Ingress"),
        ("v1", "Endpoints"),
        ("route.openshift.io/v1", "Route"),
    ] {
        assert_eq!(of(version, kind), Decoded::Foreign, "{version} {kind}");
    }
    for (version, kind) in [
        ("extensions/v1beta1", Kind::Ingress),
        ("networking.k8s.io/v1beta1", Kind::Ingress),
        ("discovery.k8s.io/v1beta1", Kind::EndpointSlice),
        ("", Kind::Service),
    ] {
        let Decoded::Refused(refusal) = of(version, kind.name()) else { panic!("{version}") };
        assert_eq!(refusal.object, ObjectRef::new(kind, "", "x"));
        assert!(refusal.fix.contains("apiVersion: "), "{}", refusal.fix);
    }
    let nameless = decode_with(&vault(), &json!({"apiVersion": "v1", "kind": "Service"}));
    assert!(matches!(nameless, Decoded::Refused(_)));
    let kindless = decode_with(&vault(), &json!({"metadata": {"name": "x"}}));
    assert!(matches!(kindless, Decoded::Refused(_)));
}

#[test]
fn an_item_of_a_typed_list_needs_no_kind() {
    let text = r#"{"spec":{"ports":[{"port":80}]},"metadata":{"resourceVersion":"9","name":"a"}}"#;
    let mut json = serde_json::Deserializer::from_str(text);
    let decoded = object_from(Kind::Service, &mut json, &vault()).unwrap();
    let Decoded::Object(Object::Service(got)) = decoded else { panic!() };
    assert_eq!(got.ports[0].port, 80);
    let list = r#"{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"5"},
        "items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"},"spec":7}]}"#;
    let slim: Slim = serde_json::from_str(list).unwrap();
    assert_eq!(slim.resource_version(), Some("5"));
    let items: Vec<_> = slim.into_items().into_iter().map(|i| i.finish(None, &vault())).collect();
    assert_eq!(items.len(), 2);
    let Decoded::Object(second) = &items[1] else { panic!() };
    assert_eq!(notes(second.meta()), ["spec"], "notes are those of the item");
}

#[test]
fn notes_are_bounded() {
    let rules: Vec<Value> = (0..1000).map(|_| json!(1)).collect();
    assert_eq!(ingress(&json!({"rules": rules})).meta.notes.len(), 32);
}

// --- Secrets -----------------------------------------------------------------------------------

struct Pair {
    certificate: String,
    key: String,
}

fn pair(name: &str, algorithm: &'static rcgen::SignatureAlgorithm) -> Pair {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Pair { certificate: certificate.pem(), key: key.serialize_pem() }
}

fn ecdsa(name: &str) -> Pair {
    pair(name, &rcgen::PKCS_ECDSA_P256_SHA256)
}

/// A leaf with its issuer: (leaf, authority, key of the leaf).
fn chain() -> (String, String, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "authority");
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(params, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["Leaf.Example".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    (leaf.pem(), authority.pem(), key.serialize_pem())
}

fn secret(vault: &Vault, data: &Value) -> Secret {
    let value = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "cert"}, "stringData": data,
    });
    let Decoded::Object(Object::Secret(secret)) = decode_with(vault, &value) else { panic!() };
    (*secret).clone()
}

fn refusal(certificate: &str, key: &str) -> String {
    let got = secret(&vault(), &json!({"tls.crt": certificate, "tls.key": key}));
    match got.certificate {
        Some(Err(what)) => what.into(),
        other => panic!("{other:?}"),
    }
}

fn bundle(vault: &Vault, certificate: &str, key: &str) -> String {
    let got = secret(vault, &json!({"tls.crt": certificate, "tls.key": key}));
    let facts = got.certificate.unwrap().unwrap();
    String::from_utf8(vault.certificate(&facts.digest).unwrap().to_vec()).unwrap()
}

#[test]
fn only_facts_of_a_certificate_leave_the_vault() {
    let (vault, pair) = (vault(), ecdsa("Web.Example"));
    let got = secret(&vault, &json!({"tls.crt": pair.certificate, "tls.key": pair.key}));
    let facts = got.certificate.clone().unwrap().unwrap();
    assert_eq!(facts.names, ["web.example".into()]);
    assert_eq!(facts.algorithm, tidegate_core::world::object::KeyAlgorithm::Ecdsa);
    assert!(facts.not_before < facts.not_after);
    assert_eq!(got.authority, None);
    let pem = bundle(&vault, &pair.certificate, &pair.key);
    assert_eq!(facts.digest, vault.digest(pem.as_bytes()));
    assert!(!pem.contains("\n\n") && !pem.contains('\r') && pem.ends_with("-----\n"));
    let key_line = pair.key.lines().nth(1).unwrap().to_owned();
    assert!(pem.contains(&key_line));
    assert!(!format!("{got:?} {vault:?}").contains(&key_line));
    let other = Vault::new([8; 32]);
    assert_ne!(other.digest(pem.as_bytes()), facts.digest, "digests are keyed");
}

#[test]
fn data_is_base64_and_string_data_wins() {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let (vault, first, second) = (vault(), ecdsa("first.example"), ecdsa("second.example"));
    let mut value = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cert"},
        "data": {"tls.crt": encode(&first.certificate), "tls.key": encode(&first.key)},
    });
    let names = |value: &Value| {
        let Decoded::Object(Object::Secret(got)) = decode_with(&vault, value) else { panic!() };
        got.certificate.clone().map(|c| c.map(|facts| facts.names))
    };
    assert_eq!(names(&value), Some(Ok(vec!["first.example".into()])));
    value["stringData"] = json!({"tls.crt": second.certificate, "tls.key": second.key});
    assert_eq!(names(&value), Some(Ok(vec!["second.example".into()])));
    value["stringData"] = Value::Null;
    value["data"]["tls.key"] = json!("***");
    assert_eq!(names(&value), Some(Err("tls.key is not valid base64".into())));
    value["data"] = json!({"password": "x"});
    assert_eq!(names(&value), None);
}

#[test]
fn the_text_of_a_bundle_may_be_untidy() {
    let (vault, pair) = (vault(), ecdsa("web.example"));
    let tidy = bundle(&vault, &pair.certificate, &pair.key);
    let crlf = |text: &str| text.replace('\n', "\r\n");
    let untidy = [
        (crlf(&pair.certificate), crlf(&pair.key)),
        (pair.certificate.trim_end().to_owned(), pair.key.trim_end().to_owned()),
        (format!("\n\nsubject=/CN=x\n{}\n\n", pair.certificate), format!("\n{}\n\n", pair.key)),
        (format!("{0}\n\n{0}", pair.certificate), format!("{0}{0}", pair.key)),
    ];
    for (certificate, key) in untidy {
        assert_eq!(bundle(&vault, &certificate, &key), tidy);
    }
}

#[test]
fn a_chain_is_put_in_order() {
    let (vault, (leaf, authority, key)) = (vault(), chain());
    let right = bundle(&vault, &format!("{leaf}{authority}"), &key);
    let reversed = bundle(&vault, &format!("{authority}{leaf}"), &key);
    assert_eq!(right, reversed);
    let line = |pem: &str| pem.replace("\r\n", "\n").lines().nth(1).unwrap().to_owned();
    assert!(right.starts_with(&format!("-----BEGIN CERTIFICATE-----\n{}", line(&leaf))));
    let got = secret(&vault, &json!({"tls.crt": format!("{authority}{leaf}"), "tls.key": key}));
    assert_eq!(got.certificate.unwrap().unwrap().names, ["leaf.example".into()]);
}

#[test]
fn unusable_certificates_are_refused_in_words() {
    let (one, other) = (ecdsa("one.example"), ecdsa("other.example"));
    assert!(refusal(&one.certificate, &other.key).contains("does not belong to"));
    assert_eq!(refusal("", &one.key), "tls.crt is empty");
    assert_eq!(refusal(&one.certificate, " \n"), "tls.key is empty");
    assert!(refusal("hello", &one.key).contains("no PEM certificate"));
    assert!(refusal(&one.certificate, "hello").contains("no PEM private key"));
    assert!(refusal(&one.key, &one.key).contains("no PEM certificate"));
    let cut = &one.certificate[..one.certificate.len() - 30];
    assert!(refusal(cut, &one.key).contains("damaged"));
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(refusal(nonsense, &one.key).contains("no X.509 certificate"));
    let encrypted = one.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert!(refusal(&one.certificate, &encrypted).contains("encrypted"));
    let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(refusal(&one.certificate, nonsense).contains("not one tidegate can check"));
    let got = secret(&vault(), &json!({"tls.crt": one.certificate}));
    assert_eq!(got.certificate, Some(Err("tls.key is missing".into())));
}

#[test]
fn ed25519_is_neither_rsa_nor_ecdsa() {
    let (vault, pair) = (vault(), pair("web.example", &rcgen::PKCS_ED25519));
    let got = secret(&vault, &json!({"tls.crt": pair.certificate, "tls.key": pair.key}));
    let facts = got.certificate.unwrap().unwrap();
    assert_eq!(facts.algorithm, tidegate_core::world::object::KeyAlgorithm::Other);
}

#[test]
fn authorities_come_from_ca_crt_or_from_a_keyless_bundle() {
    let (vault, (leaf, authority, _)) = (vault(), chain());
    let from_ca = secret(&vault, &json!({"ca.crt": authority}));
    let facts = from_ca.authority.unwrap().unwrap();
    assert!(vault.authority(&facts.digest).is_some());
    assert_eq!(from_ca.certificate, None);
    let keyless = secret(&vault, &json!({"tls.crt": authority}));
    assert_eq!(keyless.authority.unwrap().unwrap(), facts);
    let no_authority = secret(&vault, &json!({"tls.crt": leaf}));
    assert_eq!(no_authority.authority, None);
    let broken = secret(&vault, &json!({"ca.crt": "x"}));
    assert_eq!(broken.authority, Some(Err("ca.crt holds no PEM certificate".into())));
}

#[test]
fn lists_of_revoked_certificates_come_with_the_authorities() {
    let vault = vault();
    let authority = common::certs::Authority::new();
    let list = authority.revocations(7, &[&authority.client("x")]);
    let alone = secret(&vault, &json!({"ca.crt": authority.pem})).authority.unwrap().unwrap();
    assert!(!alone.revokes);
    let both = json!({"ca.crt": authority.pem, "ca.crl": list});
    let both = secret(&vault, &both).authority.unwrap().unwrap();
    assert!(both.revokes);
    assert_ne!(both.digest, alone.digest, "another list is another file");
    let bytes = vault.authority(&both.digest).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(text.matches("-----BEGIN X509 CRL-----").count(), 1, "{text}");
    assert!(!text.contains("\n\n"), "HAProxy reads to the first blank line");
    // A key beside the authority is no reason not to take it, as haproxytech's users have it.
    let pair = json!({"tls.crt": authority.pem, "tls.key": "-", "ca.crl": list});
    assert!(secret(&vault, &pair).authority.unwrap().unwrap().revokes);
    for (text, why) in [("", "ca.crl is empty"), ("x", "ca.crl holds no PEM revocation list")] {
        let got = secret(&vault, &json!({"ca.crt": authority.pem, "ca.crl": text})).authority;
        assert_eq!(got, Some(Err(why.into())));
    }
    let orphan = secret(&vault, &json!({"ca.crl": list}));
    assert_eq!(orphan.authority, None, "a list without authorities is nothing");
}

#[test]
fn the_vault_forgets_only_what_nobody_needs() {
    let vault = vault();
    let (held, live, idle) = (vault.admit(vec![1]), vault.admit(vec![2]), vault.admit(vec![3]));
    vault.hold("file a", vec![held]);
    let keep = [live].into();
    for _ in 0..tidegate::vault::IDLE_SWEEPS_MAX {
        assert_eq!(vault.sweep(&keep), 0);
    }
    assert_eq!(vault.sweep(&keep), 1);
    assert!(vault.certificate(&idle).is_none());
    assert!(vault.certificate(&held).is_some() && vault.certificate(&live).is_some());
    vault.hold("file a", vec![]);
    for _ in 0..=tidegate::vault::IDLE_SWEEPS_MAX {
        vault.sweep(&keep);
    }
    assert!(vault.certificate(&held).is_none());
}

#[test]
fn the_self_signed_certificate_is_made_once() {
    let vault = vault();
    let pem = vault.self_signed().unwrap();
    assert_eq!(vault.self_signed().unwrap(), pem);
    let text = String::from_utf8(pem.to_vec()).unwrap();
    assert!(tidegate::decode::certificate_bundle(&pem, &pem).is_ok());
    assert!(!text.contains("\n\n") && !text.contains('\r'));
}

#[test]
fn the_vault_keeps_its_key_and_certificate_across_restarts() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::TempDir::new().unwrap();
    let files = tidegate::os::ports().unwrap().files;
    let open = || Vault::open(&*files, dir.path()).unwrap();
    let (first, second) = (open(), open());
    assert_eq!(first.digest(b"x"), second.digest(b"x"));
    assert_eq!(first.self_signed().unwrap(), second.self_signed().unwrap());
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    std::fs::write(dir.path().join("vault.key"), b"short").unwrap();
    assert!(Vault::open(&*files, dir.path()).is_err());
}
