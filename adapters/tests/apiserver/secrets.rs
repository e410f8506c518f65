//! Secrets: metadata of all, content of those that are followed.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate::decode::{Decoded, object_from};
use tidegate::vault::Vault;
use tidegate_core::action::{Action, ActionBody, ActionId};
use tidegate_core::event::{Event, Listing};
use tidegate_core::world::object::{Kind, Name};

use super::server::{Piece, Reply, Server, answer, bookmark, event, events, line, refused};
use super::{Rig, settings};

fn metadata(name: &str, version: u64) -> Value {
    json!({"metadata": {"name": name, "namespace": "test", "resourceVersion": version.to_string()}})
}

fn follow(rig: &Rig, id: u64, names: &[&str]) {
    let add = names.iter().map(|name| Name::new("test", name)).collect();
    rig.cluster.send(Action {
        id: ActionId(id),
        body: ActionBody::FollowSecrets { add, drop: Vec::new() },
    });
}

/// The next answer about a Secret: its name, and whether it exists.
async fn answered(rig: &mut Rig) -> (String, bool) {
    rig.until("an answer about a Secret", |event| match event {
        Event::Upserted(object) if object.kind() == Kind::Secret => {
            Some((object.meta().name.name.to_string(), true))
        }
        Event::Deleted(object) if object.kind == Kind::Secret => {
            Some((object.name.name.to_string(), false))
        }
        _ => None,
    })
    .await
}

#[tokio::test]
async fn followed_secrets_are_answered_and_the_others_never_read() {
    let server = Server::start(|asked| {
        if asked.streams("secrets") {
            let form = asked.headers.get("accept").unwrap();
            assert!(form.contains("as=PartialObjectMetadata;"), "{form}");
            let mut pieces: Vec<Piece> = (0..500)
                .map(|number| line(&event("ADDED", metadata(&format!("other-{number}"), 2))))
                .collect();
            pieces.push(line(&event("ADDED", metadata("here", 2))));
            pieces.push(line(&bookmark(3, true)));
            pieces.push(Piece::Wait(Duration::from_millis(400)));
            pieces.push(line(&event("MODIFIED", metadata("other-1", 4))));
            pieces.push(line(&event("MODIFIED", metadata("here", 5))));
            pieces.push(Piece::Wait(Duration::from_millis(200)));
            pieces.push(line(&event("DELETED", metadata("here", 6))));
            pieces.push(Piece::Hang);
            return Some(Reply { status: 200, headers: Vec::new(), pieces });
        }
        match asked.path.as_str() {
            "/api/v1/namespaces/test/secrets/here" => Some(answer(200, &metadata("here", 2))),
            path if path.contains("/secrets/") => Some(refused(404, "not found")),
            _ => None,
        }
    })
    .await;
    let mut rig = Rig::start(&server, &settings()).await;
    follow(&rig, 1, &["here", "missing"]);
    let mut first = [answered(&mut rig).await, answered(&mut rig).await];
    first.sort();
    assert_eq!(first, [("here".into(), true), ("missing".into(), false)]);
    assert_eq!(answered(&mut rig).await, ("here".into(), true), "it changed");
    assert_eq!(answered(&mut rig).await, ("here".into(), false), "it was deleted");
    let read = server.count(|asked| asked.path.contains("/secrets/"));
    assert_eq!(read, 3, "only the followed ones are read");
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_tried_again_and_told() {
    let mut tries = 0;
    let server = Server::start(move |asked| {
        if !asked.path.ends_with("/secrets/slow") {
            return None;
        }
        tries += 1;
        Some(if tries < 6 { refused(500, "a bad day") } else { answer(200, &metadata("slow", 2)) })
    })
    .await;
    let mut rig = Rig::start(&server, &settings()).await;
    follow(&rig, 1, &["slow"]);
    let mut told = false;
    rig.until("the Secret", |event| match event {
        Event::SourceProblems(problems) => {
            told |= problems.iter().any(|problem| problem.what.contains("a bad day"));
            None
        }
        Event::Upserted(object) => (object.kind() == Kind::Secret).then_some(()),
        _ => None,
    })
    .await;
    assert!(told);
}

#[tokio::test]
async fn followed_secrets_that_a_list_lacks_are_for_core_to_judge() {
    let mut lists = 0;
    let server = Server::start(move |asked| {
        if asked.streams("secrets") {
            lists += 1;
            let mut pieces = Vec::new();
            if lists == 1 {
                pieces.push(line(&event("ADDED", metadata("a", 2))));
            }
            pieces.push(line(&bookmark(2 + lists, true)));
            pieces.push(Piece::Wait(Duration::from_millis(300)));
            if lists > 1 {
                pieces.push(Piece::Hang);
            }
            return Some(Reply { status: 200, headers: Vec::new(), pieces });
        }
        if asked.watches("secrets") {
            return Some(refused(410, "gone"));
        }
        asked.path.ends_with("/secrets/a").then(|| answer(200, &metadata("a", 2)))
    })
    .await;
    let mut rig = Rig::start(&server, &settings()).await;
    follow(&rig, 1, &["a"]);
    assert_eq!(answered(&mut rig).await, ("a".into(), true));
    rig.until("a list", |event| match event {
        Event::Listed(Listing { kind: Kind::Secret, revision: 4, objects, .. }) => {
            assert!(objects.is_empty());
            Some(())
        }
        Event::Deleted(object) => panic!("{object} was not deleted"),
        _ => None,
    })
    .await;
}

/// What a process before this one knew is absent, not deleted, when it cannot be found.
#[tokio::test]
async fn remembered_secrets_are_held_against_the_first_list() {
    let server = Server::start(|asked| {
        if asked.streams("secrets") {
            return Some(events(&[event("ADDED", metadata("here", 2)), bookmark(3, true)]));
        }
        match asked.path.as_str() {
            "/api/v1/namespaces/test/secrets/here" => Some(answer(200, &metadata("here", 2))),
            path if path.contains("/secrets/") => Some(refused(404, "not found")),
            _ => None,
        }
    })
    .await;
    let known = ["here", "lost", "unused"].map(|name| {
        let meta = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": "test"}});
        let vault = Vault::new([7; 32]);
        match object_from(Kind::Secret, &meta, &vault).unwrap() {
            Decoded::Object(object) => object,
            other => panic!("{other:?}"),
        }
    });
    let mut rig = Rig::remembering(&server, &settings(), known.to_vec()).await;
    let listed = rig
        .until("the first list", |event| match event {
            Event::Listed(Listing { kind: Kind::Secret, objects, .. }) => Some(objects),
            _ => None,
        })
        .await;
    let names: Vec<_> = listed.iter().map(|object| object.meta().name.name.to_string()).collect();
    assert_eq!(names, ["here"]);
    follow(&rig, 1, &["here", "lost"]);
    assert_eq!(answered(&mut rig).await, ("here".into(), true));
    // Reads of the other come to nothing, and a list that is asked for says so once more.
    while server.count(|asked| asked.path.ends_with("/secrets/lost")) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.cluster.send(Action { id: ActionId(2), body: ActionBody::Relist { kind: Kind::Secret } });
    rig.until("the list again", |event| match event {
        Event::Listed(Listing { kind: Kind::Secret, objects, .. }) => {
            assert_eq!(objects.len(), 1);
            Some(())
        }
        Event::Deleted(object) => panic!("{object} was not deleted"),
        _ => None,
    })
    .await;
    assert_eq!(server.count(|asked| asked.path.ends_with("/secrets/unused")), 0);
}
