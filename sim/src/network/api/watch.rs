//! Watches: what they begin with, what comes next, and their end.
//!
//! Inputs: the store and a request. Outputs: lines of JSON. Not here: connections and time
//! ([`super::serve`]). What a real API server says is recorded in `sim/tests/data/apiserver.json`,
//! and compared by `model_matches_apiserver`.

use serde_json::{Value, json};

use super::http::{self, Answer, Request};
use super::store::{Store, name_of};
use super::verbs::{self, Place};

/// What a watch begins with, and the revision it goes on from.
///
/// # Errors
/// The refusal of a stream by a server that has none (`streams`).
pub fn begin(
    store: &Store,
    streams: bool,
    place: &Place,
    request: &Request,
) -> Result<(Vec<u8>, u64), Answer> {
    let slim = verbs::is_slim(request);
    if request.parameter("sendInitialEvents") == Some("true") {
        if !streams {
            let why = "sendInitialEvents is forbidden for watch unless the WatchList feature gate \
                       is enabled";
            return Err(Answer::refused(422, "Invalid", why));
        }
        let (plural, namespace) = (place.resource.plural, place.namespace.as_deref());
        let mut first = Vec::new();
        for object in store.list(plural, namespace, verbs::selected(request)) {
            first.extend(line("ADDED", &verbs::form(&object, slim)));
        }
        first.extend(bookmark(place, slim, store.revision, true));
        return Ok((first, store.revision));
    }
    let asked = request.parameter("resourceVersion").unwrap_or("0");
    Ok((Vec::new(), asked.parse().unwrap_or(0)))
}

fn line(verb: &str, object: &Value) -> Vec<u8> {
    let mut text = json!({ "type": verb, "object": object }).to_string();
    text.push('\n');
    text.into_bytes()
}

/// A bookmark; one that says that the whole state was told, if it is `complete`.
#[must_use]
pub fn bookmark(place: &Place, slim: bool, revision: u64, complete: bool) -> Vec<u8> {
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    if let Some(fields) = metadata.as_object_mut().filter(|_| complete) {
        let end = json!({ "k8s.io/initial-events-end": "true" });
        fields.insert("annotations".to_owned(), end);
    }
    let (group, kind) = verbs::kind_of(place, slim);
    line("BOOKMARK", &json!({ "apiVersion": group, "kind": kind, "metadata": metadata }))
}

/// The last line of a watch that the server cannot go on with.
#[must_use]
pub fn failed() -> Vec<u8> {
    line("ERROR", &http::status(500, "InternalError", "etcdserver: leader changed"))
}

/// Lines of a watch, the first `count` of them twice; `count` is what is left.
#[must_use]
pub fn doubled(lines: &[u8], count: &mut u32) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        out.extend(line);
        if *count > 0 {
            *count -= 1;
            out.extend(line);
        }
    }
    out
}

/// The next lines of a watch.
///
/// # Errors
/// Its last line: what it asks for is forgotten.
pub fn next(
    store: &Store,
    place: &Place,
    request: &Request,
    at: &mut u64,
) -> Result<Vec<u8>, Vec<u8>> {
    let (slim, name) = (verbs::is_slim(request), verbs::selected(request));
    let Some(changes) = store.since(place.resource.plural, *at) else {
        let gone = http::status(410, "Expired", "too old resource version");
        return Err(line("ERROR", &gone));
    };
    let mut lines = Vec::new();
    for change in changes {
        *at = change.revision;
        let (namespace, called) = name_of(&change.object);
        let wanted = place.namespace.as_ref().is_none_or(|wanted| *wanted == namespace)
            && name.is_none_or(|name| name == called);
        if wanted {
            lines.extend(line(change.verb, &verbs::form(&change.object, slim)));
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_twice_as_long_as_that_is_wanted() {
        let mut count = 2;
        assert_eq!(doubled(b"a\nb\nc\n", &mut count), b"a\na\nb\nb\nc\n");
        assert_eq!((doubled(b"d\n", &mut count), count), (b"d\n".to_vec(), 0));
    }
}
