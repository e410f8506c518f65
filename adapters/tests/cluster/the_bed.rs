//! The bed by itself: what the other tests rely on.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::bed::api::{self, Api};
use crate::bed::plane::{ADMIN, PORT};
use crate::bed::wire::State;
use crate::common::client::Connection;
use crate::common::manifest::{app, classes, ingress};
use crate::common::pods::{Manner, Pod};
use crate::common::{ensure, eventually};

/// The status code of a watch of Services that begins at a version, or its first event.
fn watch(bed: &Bed, version: &str) -> (u16, Value) {
    let access = bed.plane.access(PORT, ADMIN);
    let path = format!("/api/v1/services?watch=1&timeoutSeconds=1&resourceVersion={version}");
    let mut api = Api::new(&access);
    api.get(&path)
        .map(|(status, body)| {
            let first = body.as_str().and_then(|text| text.lines().next()).map(str::to_owned);
            (status, first.map_or(body, |line| serde_json::from_str(&line).unwrap()))
        })
        .unwrap()
}

fn version(api: &mut Api) -> String {
    let (_, list) = api.get("/api/v1/services").unwrap();
    list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

#[test]
fn the_bed_holds() {
    let begin = Instant::now();
    let mut bed = Bed::start();
    println!("etcd and kube-apiserver are ready after {:?}", begin.elapsed());
    let mut api = bed.api();

    // Objects as the other tests write them, and pods at their addresses.
    let pods = Pod::several("shop", 2);
    for object in classes().iter().chain(&app("shop", &pods.iter().collect::<Vec<_>>())) {
        api.apply(object);
    }
    let route: Value = ingress("shop").all("shop.test", "shop").into();
    api.apply(&route);
    assert_eq!(api.list("Ingress", "test").len(), 1);
    let slice = api.find("EndpointSlice", "test", "shop-1").unwrap();
    let address = slice["endpoints"][0]["addresses"][0].as_str().unwrap();
    assert!(address.starts_with("10.64."), "{address}");
    let ask = |pod: &Pod, path: &str| -> String {
        let mut stream = TcpStream::connect(pod.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    };
    assert!(ask(&pods[0], "/").contains(&pods[0].name));
    let streamed = ask(&pods[0], "/?stream=300");
    assert_eq!(streamed.matches(&pods[0].name).count(), 3 + 1, "{streamed}");
    pods[0].behave(Manner::Fails);
    assert!(ask(&pods[0], "/").starts_with("HTTP/1.1 500 "));
    pods[0].behave(Manner::Hangs);
    assert_eq!(ask(&pods[0], "/"), "");

    // Watches, and their end by compaction.
    let old = version(&mut api);
    api.apply(&crate::common::manifest::service("late"));
    let (status, event) = watch(&bed, &old);
    assert_eq!((status, &event["type"]), (200, &json!("ADDED")), "{event}");
    bed.plane.compact();
    bed.plane.kill_apiserver();
    assert!(Connection::plain(PORT).is_err(), "the port is closed");
    bed.plane.start_apiserver();
    let (status, event) = watch(&bed, &old);
    let code = if status == 200 { &event["object"]["code"] } else { &event["code"] };
    assert_eq!(code, 410, "{status} {event}");

    // The wire.
    let through = bed.plane.access(bed.wire.port, ADMIN);
    let alive = |api: &mut Api| matches!(api.get("/version"), Ok((200, _)));
    let mut client = Api::new(&through);
    assert!(alive(&mut client));
    bed.wire.reset();
    assert!(alive(&mut client), "asked again on a new connection");
    assert_eq!(bed.wire.accepted(), 2);
    bed.wire.set(State::Cut);
    assert!(!alive(&mut client));
    eventually("the wire has no listener", || {
        ensure(TcpStream::connect(("127.0.0.1", bed.wire.port)).is_err(), || "it has".into())
    });
    bed.wire.set(State::Open);
    eventually("the wire is open again", || ensure(alive(&mut client), || "closed".into()));
    bed.wire.set(State::Slow(Duration::from_millis(200)));
    let begin = Instant::now();
    assert!(alive(&mut client));
    assert!(begin.elapsed() > Duration::from_millis(350), "{:?}", begin.elapsed());
    bed.wire.set(State::Deaf);
    let mut connection = Connection::plain(bed.wire.port).unwrap();
    assert!(connection.write(b"GET / HTTP/1.0\r\n\r\n").is_ok(), "accepted, and then nothing");
    bed.wire.set(State::Open);
    assert!(connection.answer(false).is_ok(), "the server speaks once the wire does");

    // Tokens of accounts.
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "robot", "namespace": "test"}});
    api.apply(&account);
    let token = api.token("test", "robot");
    let status = |token: &str| {
        Api::new(&bed.plane.access(PORT, token)).get("/api/v1/namespaces/test/services").unwrap().0
    };
    assert_eq!(status(&token), 403, "known, but without rights");
    api.delete("ServiceAccount", "test", "robot");
    assert_eq!(status("nonsense"), 401);
    eventually("the token of a deleted account is refused", || {
        let status = status(&token);
        ensure(status == 401, || status.to_string())
    });

    // Emptied and restored.
    bed.plane.kill();
    bed.plane.save("copy");
    bed.plane.empty();
    bed.plane.start_etcd();
    bed.plane.start_apiserver();
    assert_eq!(bed.api().list("Ingress", "").len(), 0);
    bed.plane.kill();
    bed.plane.restore("copy");
    bed.plane.start_etcd();
    bed.plane.start_apiserver();
    assert_eq!(bed.api().list("Ingress", "").len(), 1);

    // A server certificate of the same authority.
    bed.plane.kill_apiserver();
    bed.plane.rotate_certificate();
    bed.plane.start_apiserver();
    assert!(alive(&mut Api::new(&through)));

    // Many objects.
    let many: Vec<Value> =
        (0..500).map(|n| crate::common::manifest::service(&format!("many{n}"))).collect();
    let begin = Instant::now();
    api::seed(&bed.plane.access(PORT, ADMIN), &many, 16);
    println!("500 Services created in {:?}", begin.elapsed());
}
