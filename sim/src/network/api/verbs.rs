//! What the API server does with a request that has one whole answer: get, list, create, update,
//! patch.
//!
//! Inputs: a request and the store. Outputs: an answer; writes change the store. Rules are those of
//! the Kubernetes API: one revision for a list and all its pages, 410 for what is forgotten, 409 for
//! a version that is no longer the newest.

use serde_json::{Map, Value, json};

use super::http::{Answer, Request};
use super::store::{Name, RESOURCES, Resource, Store};

/// What a path names.
#[derive(Clone, Debug)]
pub struct Place {
    /// The resource.
    pub resource: &'static Resource,
    /// The namespace, unless all.
    pub namespace: Option<String>,
    /// The object.
    pub name: Option<String>,
    /// `status`.
    pub status: bool,
}

impl Place {
    /// Reads a path.
    #[must_use]
    pub fn of(path: &str) -> Option<Place> {
        RESOURCES.iter().find_map(|resource| {
            let rest = path.strip_prefix(resource.root)?.strip_prefix('/')?;
            let words: Vec<&str> = rest.split('/').collect();
            let (namespace, words) = match &words[..] {
                ["namespaces", namespace, rest @ ..] if !rest.is_empty() => {
                    (Some((*namespace).to_owned()), rest)
                }
                words => (None, words),
            };
            let (name, status) = match words {
                [plural] if *plural == resource.plural => (None, false),
                [plural, name] if *plural == resource.plural => (Some((*name).to_owned()), false),
                [plural, name, "status"] if *plural == resource.plural => {
                    (Some((*name).to_owned()), true)
                }
                _ => return None,
            };
            Some(Place { resource, namespace, name, status })
        })
    }

    pub(super) fn key(&self) -> Name {
        (self.namespace.clone().unwrap_or_default(), self.name.clone().unwrap_or_default())
    }
}

/// The name in a field selector on it.
#[must_use]
pub fn selected(request: &Request) -> Option<&str> {
    request.parameter("fieldSelector")?.strip_prefix("metadata.name=")
}

/// Whether only metadata is wanted.
#[must_use]
pub fn is_slim(request: &Request) -> bool {
    request.accept.contains("as=PartialObjectMetadata")
}

/// An object in the form that is wanted.
#[must_use]
pub fn form(object: &Value, slim: bool) -> Value {
    if !slim {
        return object.clone();
    }
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata"),
    })
}

/// Group and version, and kind, of what is given for a place.
#[must_use]
pub fn kind_of(place: &Place, slim: bool) -> (&'static str, &'static str) {
    if slim {
        return ("meta.k8s.io/v1", "PartialObjectMetadata");
    }
    let Resource { root, kind, .. } = place.resource;
    (root.strip_prefix("/apis/").unwrap_or("v1"), kind)
}

/// Answers everything but watches. `page_max` bounds a page, whatever is asked for.
pub fn answer(store: &mut Store, place: &Place, request: &Request, page_max: usize) -> Answer {
    let gone = || Answer::refused(404, "NotFound", "not found");
    match (request.method.as_str(), &place.name) {
        ("GET", None) => list(store, place, request, page_max),
        ("GET", Some(_)) => match store.get(place.resource.plural, &place.key()) {
            Some(object) => Answer::good(form(object, is_slim(request))),
            None => gone(),
        },
        ("POST", None) => create(store, place, request),
        ("PUT", Some(_)) => update(store, place, request),
        ("PATCH", Some(_)) => patch(store, place, request),
        _ => Answer::refused(405, "MethodNotAllowed", "not allowed"),
    }
}

fn list(store: &mut Store, place: &Place, request: &Request, page_max: usize) -> Answer {
    let slim = is_slim(request);
    let plural = place.resource.plural;
    let expired = || Answer::refused(410, "Expired", "The provided continue parameter is too old");
    let limit = request.parameter("limit").and_then(|text| text.parse().ok());
    let limit = limit.unwrap_or(usize::MAX).min(page_max).max(1);
    let (revision, from) = match request.parameter("continue") {
        None => {
            let all = store.list(plural, place.namespace.as_deref(), selected(request));
            (store.keep(plural, all), 0)
        }
        Some(token) => {
            let read = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
            let mut words = token.split('-');
            match (read(words.next()), read(words.next())) {
                (Some(revision), Some(from)) => (revision, usize::try_from(from).unwrap_or(0)),
                _ => return expired(),
            }
        }
    };
    let Some(all) = store.kept(plural, revision) else { return expired() };
    // What a list is of it says once, but for metadata.
    let item = |object: &Value| match form(object, slim) {
        Value::Object(mut fields) if !slim => {
            fields.remove("kind");
            fields.remove("apiVersion");
            Value::Object(fields)
        }
        other => other,
    };
    let items: Vec<Value> = all.iter().skip(from).take(limit).map(|object| item(object)).collect();
    let next = from + items.len();
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    if next < all.len()
        && let Some(fields) = metadata.as_object_mut()
    {
        fields.insert("continue".to_owned(), json!(format!("{revision}-{next}")));
        fields.insert("remainingItemCount".to_owned(), json!(all.len() - next));
    }
    let (group, kind) = kind_of(place, slim);
    Answer::good(json!({
        "kind": format!("{kind}List"), "apiVersion": group, "metadata": metadata, "items": items,
    }))
}

fn body(request: &Request) -> Option<Value> {
    serde_json::from_slice(&request.body).ok()
}

fn stored(object: Option<std::sync::Arc<Value>>) -> Answer {
    match object {
        Some(object) => Answer::good((*object).clone()),
        None => Answer::refused(422, "Invalid", "the object cannot be stored"),
    }
}

fn create(store: &mut Store, place: &Place, request: &Request) -> Answer {
    let Some(object) = body(request) else {
        return Answer::refused(400, "BadRequest", "no JSON");
    };
    if store.get(place.resource.plural, &super::store::name_of(&object)).is_some() {
        return Answer::refused(409, "AlreadyExists", "already exists");
    }
    let answer = stored(store.put(object));
    Answer { code: if answer.code == 200 { 201 } else { answer.code }, ..answer }
}

fn update(store: &mut Store, place: &Place, request: &Request) -> Answer {
    let Some(object) = body(request) else {
        return Answer::refused(400, "BadRequest", "no JSON");
    };
    let Some(known) = store.get(place.resource.plural, &place.key()) else {
        return Answer::refused(404, "NotFound", "not found");
    };
    let version = |object: &Value| object.pointer("/metadata/resourceVersion").cloned();
    if version(&object).is_some() && version(&object) != version(known) {
        return Answer::refused(409, "Conflict", "the object has been modified");
    }
    stored(store.put(object))
}

fn patch(store: &mut Store, place: &Place, request: &Request) -> Answer {
    let Some(change) = body(request) else {
        return Answer::refused(400, "BadRequest", "no JSON");
    };
    let Some(known) = store.get(place.resource.plural, &place.key()) else {
        return Answer::refused(404, "NotFound", "not found");
    };
    let uid = |object: &Value| object.pointer("/metadata/uid").cloned();
    if uid(&change).is_some() && uid(&change) != uid(known) {
        return Answer::refused(422, "Invalid", "metadata.uid: field is immutable");
    }
    let mut object = (**known).clone();
    if place.status {
        let fields: Map<String, Value> =
            change.get("status").map(|s| ("status".to_owned(), s.clone())).into_iter().collect();
        merge(&mut object, &Value::Object(fields));
    } else {
        merge(&mut object, &change);
    }
    if object == **known {
        // What changes nothing is no new version.
        return Answer::good(object);
    }
    stored(store.put(object))
}

/// RFC 7386.
fn merge(into: &mut Value, change: &Value) {
    let Value::Object(change) = change else {
        *into = change.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let Some(fields) = into.as_object_mut() else { return };
    for (key, value) in change {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_from_paths() {
        let place = Place::of("/apis/networking.k8s.io/v1/namespaces/a/ingresses/b/status");
        let place = place.unwrap();
        assert_eq!((place.resource.kind, place.status), ("Ingress", true));
        assert_eq!(place.key(), ("a".to_owned(), "b".to_owned()));
        let place = Place::of("/api/v1/namespaces/kube-system").unwrap();
        assert_eq!(place.key(), (String::new(), "kube-system".to_owned()));
        assert_eq!(Place::of("/api/v1/services").unwrap().namespace, None);
        assert!(Place::of("/apis/none/v1/things").is_none());
    }

    #[test]
    fn pages_are_of_one_revision() {
        let mut store = Store::new(1, 100);
        let service = |name: &str| json!({ "kind": "Service", "metadata": { "namespace": "a", "name": name } });
        for name in ["x", "y", "z"] {
            store.put(service(name));
        }
        let place = Place::of("/api/v1/services").unwrap();
        let mut request = Request { method: "GET".to_owned(), ..Request::default() };
        let first = answer(&mut store, &place, &request, 2).body;
        let token = first.pointer("/metadata/continue").and_then(Value::as_str).unwrap();
        request.query = vec![("continue".to_owned(), token.to_owned())];
        store.put(service("w"));
        let second = answer(&mut store, &place, &request, 2).body;
        assert_eq!(second["items"].as_array().unwrap().len(), 1);
        assert_eq!(
            second.pointer("/metadata/resourceVersion"),
            first.pointer("/metadata/resourceVersion")
        );
        store.compact();
        assert_eq!(answer(&mut store, &place, &request, 2).code, 410);
    }
}
