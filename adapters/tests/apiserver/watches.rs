//! Lists and watches when things go wrong.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_core::action::{Action, ActionBody, ActionId};
use tidegate_core::event::{Event, Listing};
use tidegate_core::world::object::Kind;

use super::server::{
    Piece, Reply, Server, answer, bookmark, event, events, line, page, refused, slice, store,
};
use super::{Rig, settings};

const SLICES: &str = "endpointslices";

#[tokio::test]
async fn a_streaming_list_is_complete_at_its_bookmark_and_then_goes_on() {
    let server = Server::start(|asked| {
        asked.streams(SLICES).then(|| {
            let added = |name, version| event("ADDED", slice(name, version, "10.0.0.1"));
            let mut pieces = vec![line(&added("a", 3)), Piece::Wait(Duration::from_millis(50))];
            pieces.push(line(&added("b", 4)));
            pieces.push(line(&bookmark(9, true)));
            pieces.push(line(&event("MODIFIED", slice("a", 10, "10.0.0.2"))));
            pieces.push(line(&event("DELETED", slice("b", 11, "10.0.0.1"))));
            pieces.push(Piece::Hang);
            Reply { status: 200, headers: Vec::new(), pieces }
        })
    })
    .await;
    let mut rig = Rig::start(&server, &settings()).await;
    let cluster = rig
        .until("the list", |event| match event {
            Event::Listed(Listing {
                kind: Kind::EndpointSlice,
                cluster,
                revision,
                objects,
                ..
            }) => {
                assert_eq!((revision, objects.len()), (9, 2));
                Some(cluster)
            }
            _ => None,
        })
        .await;
    assert_eq!(&*cluster, "store-1");
    assert_eq!(rig.changed().await, ("a".into(), Some("10.0.0.2".into())));
    assert_eq!(rig.changed().await, ("b".into(), None));
    let streamed = server.asked().into_iter().find(|asked| asked.streams(SLICES)).unwrap();
    assert_eq!(streamed.parameter("resourceVersionMatch"), "NotOlderThan");
    assert_eq!(streamed.parameter("resourceVersion"), "");
    assert!(server.count(|asked| asked.lists(SLICES)) == 0);
}

#[tokio::test]
async fn pages_are_followed_by_their_token_and_begin_anew_when_it_expires() {
    let mut expired = false;
    let server = Server::start(move |asked| {
        if asked.streams(SLICES) {
            return Some(refused(422, "sendInitialEvents is forbidden"));
        }
        if !asked.lists(SLICES) {
            return None;
        }
        assert_eq!(asked.parameter("limit"), "500");
        assert!(!asked.query.contains_key("resourceVersion"), "a list must be consistent");
        Some(match asked.parameter("continue") {
            "" if expired => page(&[slice("a", 20, "10.0.0.1")], 30, "t2"),
            "" => page(&[slice("old", 2, "10.0.0.1")], 5, "t1"),
            "t1" => {
                expired = true;
                refused(410, "the token is too old")
            }
            "t2" => page(&[slice("b", 21, "10.0.0.1")], 30, ""),
            other => panic!("{other}"),
        })
    })
    .await;
    let mut rig = Rig::start(&server, &settings()).await;
    assert_eq!(rig.listed().await, (30, vec!["a".into(), "b".into()]));
    let resumed = rig_watch(&server).await;
    assert_eq!(resumed, "30");
}

/// The version at which the slices are first watched without a list.
async fn rig_watch(server: &Server) -> String {
    let begin = Instant::now();
    loop {
        let asked = server.asked();
        let plain = asked.iter().find(|asked| asked.watches(SLICES) && !asked.streams(SLICES));
        if let Some(asked) = plain {
            assert_eq!(asked.parameter("allowWatchBookmarks"), "true");
            assert!(asked.parameter("timeoutSeconds").parse::<u64>().unwrap() >= 290);
            return asked.parameter("resourceVersion").to_owned();
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "never watched: {asked:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_know_streaming_lists_is_asked_for_pages() {
    // It ignores the parameter: old events, then a bookmark like any other.
    let server = Server::start(|asked| {
        if asked.streams(SLICES) {
            return Some(events(&[
                event("ADDED", slice("old", 2, "10.0.0.1")),
                bookmark(3, false),
            ]));
        }
        asked.lists(SLICES).then(|| page(&[slice("a", 4, "10.0.0.1")], 5, ""))
    })
    .await;
    let mut rig = Rig::start(&server, &settings()).await;
    assert_eq!(rig.listed().await, (5, vec!["a".into()]));
}

#[tokio::test]
async fn a_watch_that_is_cut_within_an_event_resumes_where_it_was() {
    let mut resumed = 0;
    let server = Server::start(move |asked| {
        if asked.streams(SLICES) {
            let half = event("MODIFIED", slice("a", 8, "10.0.0.9")).to_string();
            let pieces = vec![
                line(&bookmark(5, true)),
                line(&event("ADDED", slice("a", 7, "10.0.0.1"))),
                Piece::Bytes(half.as_bytes()[..half.len() / 2].to_vec()),
                Piece::Cut,
            ];
            return Some(Reply { status: 200, headers: Vec::new(), pieces });
        }
        asked.watches(SLICES).then(|| {
            resumed += 1;
            assert_eq!(asked.parameter("resourceVersion"), "7", "resumed {resumed}");
            events(&[event("MODIFIED", slice("a", 8, "10.0.0.2"))])
        })
    })
    .await;
    let mut rig = Rig::start(&server, &settings()).await;
    assert_eq!(rig.changed().await, ("a".into(), Some("10.0.0.1".into())));
    assert_eq!(rig.changed().await, ("a".into(), Some("10.0.0.2".into())));
}

#[tokio::test]
async fn a_silent_watch_is_given_up_and_resumed_at_its_last_bookmark() {
    let server = Server::start(|asked| {
        if asked.streams(SLICES) {
            return Some(events(&[bookmark(5, true), bookmark(77, false)]));
        }
        (asked.watches(SLICES) && asked.parameter("resourceVersion") == "77")
            .then(|| events(&[event("ADDED", slice("a", 78, "10.0.0.1"))]))
    })
    .await;
    let begin = Instant::now();
    let mut rig = Rig::start(&server, &settings()).await;
    assert_eq!(rig.changed().await.0, "a");
    assert!(begin.elapsed() >= super::PATIENCE.body, "{:?}", begin.elapsed());
    assert_eq!(server.count(|asked| asked.streams(SLICES)), 1, "nothing is listed anew");
}

#[tokio::test]
async fn a_version_that_is_gone_makes_a_new_list_however_it_is_said() {
    for in_stream in [true, false] {
        let mut lists = 0;
        let server = Server::start(move |asked| {
            if asked.streams(SLICES) {
                lists += 1;
                let name = format!("list-{lists}");
                let mut pieces = vec![
                    line(&event("ADDED", slice(&name, 4, "10.0.0.1"))),
                    line(&bookmark(5, true)),
                ];
                if lists > 1 {
                    pieces.push(Piece::Hang);
                }
                return Some(Reply { status: 200, headers: Vec::new(), pieces });
            }
            asked.watches(SLICES).then(|| {
                let gone = json!({"kind": "Status", "code": 410, "reason": "Expired"});
                if in_stream { events(&[event("ERROR", gone)]) } else { answer(410, &gone) }
            })
        })
        .await;
        let mut rig = Rig::start(&server, &settings()).await;
        assert_eq!(rig.listed().await.1, ["list-1"]);
        assert_eq!(rig.listed().await.1, ["list-2"]);
    }
}

#[tokio::test]
async fn a_store_that_went_back_or_is_another_one_is_listed_anew() {
    for (uid, revision) in [("store-1", 40), ("store-2", 1_000_000)] {
        let mut lists = 0;
        let mut begun: Option<Instant> = None;
        let server = Server::start(move |asked| {
            if asked.asks_for_the_store() {
                let replaced = begun.is_some_and(|begun| begun.elapsed().as_millis() > 200);
                return replaced.then(|| store(uid, revision));
            }
            if !asked.streams(SLICES) {
                return None;
            }
            lists += 1;
            begun.get_or_insert_with(Instant::now);
            let mut pieces = vec![line(&bookmark(if lists == 1 { 50 } else { 30 }, true))];
            pieces.push(Piece::Wait(Duration::from_millis(300)));
            if lists > 1 {
                pieces.push(Piece::Hang);
            }
            Some(Reply { status: 200, headers: Vec::new(), pieces })
        })
        .await;
        let mut rig = Rig::start(&server, &settings()).await;
        assert_eq!(rig.listed().await.0, 50);
        assert_eq!(rig.listed().await.0, 30);
        let resumed = |asked: &super::server::Asked| asked.parameter("resourceVersion") == "50";
        assert_eq!(server.count(resumed), 0, "not from a revision that is not there");
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_decoded_stops_nothing_else() {
    let nameless = json!({"metadata": {"namespace": "test", "resourceVersion": "6"}});
    let server = Server::start(move |asked| {
        asked.streams(SLICES).then(|| {
            events(&[
                event("ADDED", nameless.clone()),
                event("ADDED", slice("a", 4, "10.0.0.1")),
                bookmark(7, true),
                event("MODIFIED", json!("not even an object")),
                event("MODIFIED", slice("a", 9, "10.0.0.2")),
            ])
        })
    })
    .await;
    let mut rig = Rig::start(&server, &settings()).await;
    let (mut problem, mut changed) = (false, false);
    rig.until("the change and the problem", |event| {
        match event {
            Event::Listed(Listing { kind: Kind::EndpointSlice, objects, .. }) => {
                assert_eq!(objects.len(), 1);
            }
            Event::SourceProblems(problems) => {
                problem |= problems.iter().any(|problem| problem.what.contains("metadata.name"));
            }
            Event::Upserted(object) => changed |= &*object.meta().name.name == "a",
            _ => {}
        }
        (problem && changed).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_denied_is_not_empty_and_stops_no_other_kind() {
    let mut tries = 0;
    let server = Server::start(move |asked| {
        if asked.path.ends_with("ingresses") {
            tries += 1;
            return (tries < 3).then(|| refused(403, "you may not"));
        }
        asked.streams(SLICES).then(|| events(&[bookmark(3, true)]))
    })
    .await;
    let mut rig = Rig::start(&server, &settings()).await;
    let mut seen = Vec::new();
    rig.until("the list of ingresses", |event| match event {
        Event::Listed(Listing { kind, .. }) => {
            seen.push(format!("{kind:?}"));
            (kind == Kind::Ingress).then_some(())
        }
        Event::SourceProblems(problems) => {
            seen.extend(problems.iter().map(|problem| problem.what.clone()));
            None
        }
        _ => None,
    })
    .await;
    let problem = seen.iter().position(|what| what.contains("you may not")).expect("a Problem");
    assert!(seen.iter().position(|what| what == "Ingress").unwrap() > problem, "{seen:?}");
    assert!(seen.contains(&"EndpointSlice".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let mut first = None;
    let server = Server::start(move |asked| {
        if !asked.streams(SLICES) {
            return None;
        }
        let Some(first): Option<Instant> = first else {
            first = Some(Instant::now());
            let headers = vec![("retry-after", "1".to_owned())];
            return Some(Reply { headers, ..refused(429, "slowly") });
        };
        assert!(first.elapsed() >= Duration::from_millis(990), "{:?}", first.elapsed());
        Some(events(&[bookmark(3, true)]))
    })
    .await;
    let mut rig = Rig::start(&server, &settings()).await;
    assert_eq!(rig.listed().await.0, 3);
    assert_eq!(server.count(|asked| asked.streams(SLICES)), 2);
}

#[tokio::test]
async fn a_list_that_core_asks_for_is_made_though_the_watch_is_fine() {
    let server =
        Server::start(|asked| asked.streams(SLICES).then(|| events(&[bookmark(3, true)]))).await;
    let mut rig = Rig::start(&server, &settings()).await;
    assert_eq!(rig.listed().await.0, 3);
    let body = ActionBody::Relist { kind: Kind::EndpointSlice };
    rig.cluster.send(Action { id: ActionId(1), body });
    assert_eq!(rig.listed().await.0, 3);
    assert_eq!(server.count(|asked| asked.streams(SLICES)), 2);
}

#[tokio::test]
async fn namespaces_have_watches_of_their_own() {
    let server = Server::start(|_| None).await;
    let mut settings = settings();
    settings.scope.namespaces = vec!["one".into(), "two".into()];
    let mut rig = Rig::start(&server, &settings).await;
    rig.listed().await;
    rig.listed().await;
    let paths: Vec<_> = server.asked().into_iter().map(|asked| asked.path).collect();
    assert!(paths.iter().any(|path| path.ends_with("/namespaces/one/secrets")), "{paths:?}");
    assert!(!paths.iter().any(|path| path == "/api/v1/secrets"), "{paths:?}");
}

#[tokio::test]
async fn a_rotated_token_is_read_when_the_old_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "old").unwrap();
    let rotated = token.clone();
    let server = Server::start(move |asked| {
        let is_new = asked.headers.get("authorization").is_some_and(|value| value == "Bearer new");
        if is_new {
            return None;
        }
        std::fs::write(&rotated, "new").unwrap();
        Some(refused(401, "who are you"))
    })
    .await;
    let file = folder.path().join("kubeconfig");
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{}", server.port)}}],
        "users": [{"name": "c", "user": {"tokenFile": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]});
    std::fs::write(&file, config.to_string()).unwrap();
    let source = tidegate::kube::server::Server::Kubeconfig { file, context: None };
    let begin = Instant::now();
    let mut rig = Rig::at(source, &settings()).await;
    rig.listed().await;
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}
