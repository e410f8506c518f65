//! The Ingress conformance suite again, through the API: with status and Events.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::common::{ensure, eventually};
use crate::suite;

/// What the status of every Ingress of ours says. An address of no machine (RFC 5737).
const ADDRESS: &str = "203.0.113.7";

/// Ingresses of the suite that are none of ours.
const FOREIGN: [&str; 3] = ["theirs", "unknown", "classless"];

#[test]
fn conformance_through_the_api() {
    let bed = Bed::start();
    let rig = bed.rig("3.4").arguments(&["--publish-address", ADDRESS]);
    suite::run(rig, |_| {
        status(&bed);
        events(&bed);
        nothing_is_written_twice(&bed);
    });
}

/// Every Ingress of ours has our address, no other has any.
fn status(bed: &Bed) {
    let mut api = bed.api();
    eventually("status says where we are", || {
        for ingress in api.list("Ingress", "test") {
            let name = ingress["metadata"]["name"].as_str().unwrap_or("");
            let status = &ingress["status"]["loadBalancer"]["ingress"];
            let right = if FOREIGN.contains(&name) {
                status.is_null()
            } else {
                status == &json!([{"ip": ADDRESS}])
            };
            ensure(right, || format!("{name}: {status}"))?;
        }
        Ok(())
    });
}

/// `(object, reason)` of an Event, and its note.
fn told(bed: &Bed) -> BTreeMap<(String, String), Vec<String>> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let mut told: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for event in bed.api().list("Event", "test") {
        let about = (text(&event["involvedObject"]["name"]), text(&event["reason"]));
        assert_eq!(event["type"], "Warning", "{event}");
        told.entry(about).or_default().push(text(&event["message"]));
    }
    told
}

/// Each Problem of an object is an Event, one for each reason.
fn events(bed: &Bed) {
    let expected = [
        ("gaps", "NotFound", "no-such-service"),
        ("a-young", "Conflict", "contended.test"),
        ("gone-secret", "NotFound", "no-such-secret"),
    ];
    eventually("Events tell of the problems", || {
        let told = told(bed);
        for (name, reason, word) in expected {
            let notes = told.get(&(name.to_owned(), reason.to_owned()));
            let found = notes.is_some_and(|notes| notes.iter().any(|note| note.contains(word)));
            ensure(found, || format!("{name} {reason} {word}: {notes:?} of {told:?}"))?;
        }
        Ok(())
    });
    for ((name, reason), notes) in told(bed) {
        assert_eq!(notes.len(), 1, "{name} {reason} was told more than once: {notes:?}");
        assert!(!FOREIGN.contains(&&*name), "{name} is none of our business: {notes:?}");
    }
}

/// What is right is not written again.
fn nothing_is_written_twice(bed: &Bed) {
    let versions = || -> BTreeMap<String, Value> {
        let list = bed.api().list("Ingress", "test");
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or("").to_owned();
        list.iter().map(|o| (name(o), o["metadata"]["resourceVersion"].clone())).collect()
    };
    let before = versions();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(before, versions());
}
