//! Writes: status, Kubernetes Events, the Lease.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_core::action::{Action, ActionBody, ActionId};
use tidegate_core::event::{Ack, Event, Outcome};
use tidegate_core::problem::{Reason, Severity};
use tidegate_core::settings::Election;
use tidegate_core::tell::{LeaseRecord, Notice, Tell};
use tidegate_core::world::object::{Address, Kind, Name, ObjectRef};

use super::server::{Reply, Server, answer, refused};
use super::{Rig, settings};

fn tell(rig: &Rig, id: u64, tell: Tell) {
    rig.cluster.send(Action { id: ActionId(id), body: ActionBody::Tell(tell) });
}

async fn acked(rig: &mut Rig, id: u64) -> Outcome {
    rig.until("an ack", |event| match event {
        Event::Acked(Ack { id: acked, mut outcomes, .. }) if acked == ActionId(id) => {
            outcomes.pop()
        }
        _ => None,
    })
    .await
}

fn status() -> Tell {
    let addresses = vec![Address::Ip([192, 0, 2, 1].into()), Address::Host("lb.example".into())];
    Tell::Status { ingress: Name::new("test", "web"), uid: "uid-1".into(), addresses }
}

#[tokio::test]
async fn status_is_written_to_exactly_that_object() {
    let mut writes = 0;
    let server = Server::start(move |asked| {
        (asked.method == "PATCH").then(|| {
            writes += 1;
            match writes {
                1 => answer(200, &json!({})),
                2 => refused(422, "the UID is another one"),
                _ => refused(504, "perhaps"),
            }
        })
    })
    .await;
    let mut rig = Rig::start(&server, &settings()).await;
    tell(&rig, 1, status());
    assert_eq!(acked(&mut rig, 1).await, Outcome::Done);
    let asked = server.asked().into_iter().find(|asked| asked.method == "PATCH").unwrap();
    assert_eq!(asked.path, "/apis/networking.k8s.io/v1/namespaces/test/ingresses/web/status");
    assert_eq!(asked.headers["content-type"], "application/merge-patch+json");
    let wanted = json!({"metadata": {"uid": "uid-1"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example"}]}}});
    assert_eq!(asked.body, wanted);
    tell(&rig, 2, status());
    assert!(matches!(acked(&mut rig, 2).await, Outcome::Refused(why) if why.contains("UID")));
    tell(&rig, 3, status());
    assert_eq!(acked(&mut rig, 3).await, Outcome::Unknown);
}

#[tokio::test]
async fn a_write_waits_as_long_as_the_server_asks() {
    let mut first = None;
    let server = Server::start(move |asked| {
        if asked.method != "PATCH" {
            return None;
        }
        let Some(first): Option<Instant> = first else {
            first = Some(Instant::now());
            let headers = vec![("retry-after", "1".to_owned())];
            return Some(Reply { headers, ..refused(429, "slowly") });
        };
        assert!(first.elapsed() >= Duration::from_millis(990));
        Some(answer(200, &json!({})))
    })
    .await;
    let mut rig = Rig::start(&server, &settings()).await;
    tell(&rig, 1, status());
    assert_eq!(acked(&mut rig, 1).await, Outcome::Done);
}

#[tokio::test]
async fn an_event_is_created_once_and_then_refreshed() {
    let mut known = false;
    let server = Server::start(move |asked| match asked.method.as_str() {
        "PATCH" if known => Some(answer(200, &json!({}))),
        "PATCH" => Some(refused(404, "not found")),
        "POST" => {
            known = true;
            Some(answer(201, &json!({})))
        }
        _ => None,
    })
    .await;
    let mut rig = Rig::start(&server, &settings()).await;
    let notice = || {
        Tell::Event(Notice {
            about: ObjectRef::new(Kind::Ingress, "test", "web"),
            uid: "uid-1".into(),
            reason: Reason::NotFound,
            severity: Severity::Error,
            note: "there is no Service".to_owned(),
            of: ObjectRef::new(Kind::Ingress, "test", "web"),
        })
    };
    tell(&rig, 1, notice());
    assert_eq!(acked(&mut rig, 1).await, Outcome::Done);
    tell(&rig, 2, notice());
    assert_eq!(acked(&mut rig, 2).await, Outcome::Done);
    let asked = server.asked();
    let created: Vec<_> = asked.iter().filter(|asked| asked.method == "POST").collect();
    assert_eq!(created.len(), 1);
    assert_eq!(created[0].path, "/api/v1/namespaces/test/events");
    assert_eq!(created[0].body["involvedObject"]["uid"], "uid-1");
    assert_eq!(created[0].body["reason"], "NotFound");
    let name = created[0].body["metadata"]["name"].as_str().unwrap();
    let refreshed = asked.iter().filter(|asked| asked.method == "PATCH");
    assert!(refreshed.clone().all(|asked| asked.path.ends_with(&format!("/events/{name}"))));
    assert_eq!(refreshed.count(), 2);
}

#[tokio::test]
async fn the_lease_is_read_created_and_renewed_by_version() {
    let mut exists = false;
    let server = Server::start(move |asked| {
        if !asked.path.contains("/leases") {
            return None;
        }
        let lease = |version: &str| {
            let mut lease = asked.body.clone();
            lease["metadata"]["resourceVersion"] = json!(version);
            lease
        };
        Some(match asked.method.as_str() {
            "GET" if !exists => refused(404, "not found"),
            "POST" => {
                exists = true;
                answer(201, &lease("1"))
            }
            "PUT" if asked.body["metadata"]["resourceVersion"] == "1" => answer(200, &lease("2")),
            _ => refused(409, "somebody was quicker"),
        })
    })
    .await;
    let mut settings = settings();
    settings.telling.as_mut().unwrap().election = Some(Election {
        identity: "me".into(),
        lease: Name::new("test", "tidegate"),
        duration_ms: 15_000,
        renew_ms: 10_000,
        retry_ms: 2_000,
    });
    let mut rig = Rig::start(&server, &settings).await;
    tell(&rig, 1, Tell::ReadLease);
    let seen = async |rig: &mut Rig| {
        rig.until("the Lease", |event| match event {
            Event::LeaseSeen(seen) => Some(seen),
            _ => None,
        })
        .await
    };
    assert_eq!(seen(&mut rig).await, None);
    let lease = LeaseRecord {
        version: "".into(),
        holder: "me".into(),
        duration_ms: 15_000,
        transitions: 1,
        renewed: "".into(),
    };
    tell(&rig, 2, Tell::WriteLease { version: None, lease: lease.clone() });
    let created = seen(&mut rig).await.unwrap();
    assert_eq!((&*created.version, &*created.holder, created.duration_ms), ("1", "me", 15_000));
    assert!(created.renewed.ends_with(".000000Z"), "{}", created.renewed);
    tell(&rig, 3, Tell::WriteLease { version: Some("1".into()), lease: lease.clone() });
    assert_eq!(&*seen(&mut rig).await.unwrap().version, "2");
    tell(&rig, 4, Tell::WriteLease { version: Some("9".into()), lease });
    assert!(matches!(acked(&mut rig, 4).await, Outcome::Refused(_)));
}
