//! The Lease of the replicas: `coordination.k8s.io/v1`.
//!
//! Inputs: records of core. Outputs: requests that the API server carries out only if nobody wrote
//! in between (`resourceVersion`), and records. Times are written for people and other clients;
//! core compares them only for change. Not here: the election.

use http::Method;
use serde_json::{Value, json};
use tidegate_core::tell::LeaseRecord;
use tidegate_core::world::object::Name;

use super::backoff::Backoff;
use super::client::{Ask, Client};
use super::failure::Failure;
use super::frame::position_of;
use super::resource::LEASES;
use super::write::{JSON, timestamp};

/// The Lease as it was last seen: what a write must not lose.
#[derive(Debug, Default)]
pub struct Kept {
    seen: Value,
}

/// Reads the Lease; `None` when it does not exist.
///
/// # Errors
/// When the request fails.
pub async fn read(
    client: &Client,
    name: &Name,
    kept: &mut Kept,
    backoff: &mut Backoff,
) -> Result<Option<LeaseRecord>, Failure> {
    let ask = Ask::get("get", LEASES.object(&name.namespace, &name.name));
    match client.call(&ask, backoff).await {
        Ok(body) => take(&body, kept).map(Some),
        Err(failure) if failure.code() == Some(404) => {
            kept.seen = Value::Null;
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// Creates the Lease, or replaces it if it still is at `version`. Returns it as it is now.
///
/// # Errors
/// When the request fails; 409 when somebody else was quicker.
pub async fn write(
    client: &Client,
    name: &Name,
    kept: &mut Kept,
    version: Option<Box<str>>,
    lease: &LeaseRecord,
    unix_s: u64,
    backoff: &mut Backoff,
) -> Result<Option<LeaseRecord>, Failure> {
    let body = body(&kept.seen, name, version.as_deref(), lease, unix_s);
    let ask = if version.is_some() {
        let path = LEASES.object(&name.namespace, &name.name);
        Ask::write("update", Method::PUT, path, JSON, &body)
    } else {
        let path = LEASES.collection(Some(&name.namespace));
        Ask::write("create", Method::POST, path, JSON, &body)
    };
    let answer = client.call(&ask, backoff).await?;
    take(&answer, kept).map(Some)
}

/// The Lease to be written. Labels, annotations and owners of the one that was seen are kept.
fn body(
    seen: &Value,
    name: &Name,
    version: Option<&str>,
    lease: &LeaseRecord,
    unix_s: u64,
) -> Value {
    let now = timestamp(unix_s).replace('Z', ".000000Z");
    let spec = seen.get("spec");
    let text = |key: &str| spec.and_then(|spec| spec.get(key)).and_then(Value::as_str);
    let same_holder = text("holderIdentity") == Some(&*lease.holder);
    let acquired = text("acquireTime").filter(|_| same_holder).unwrap_or(&now).to_owned();
    let mut metadata = match (version, seen.get("metadata")) {
        (Some(_), Some(Value::Object(metadata))) => metadata.clone(),
        _ => serde_json::Map::new(),
    };
    metadata.insert("name".to_owned(), json!(&*name.name));
    metadata.insert("namespace".to_owned(), json!(&*name.namespace));
    metadata.remove("managedFields");
    match version {
        Some(version) => drop(metadata.insert("resourceVersion".to_owned(), json!(version))),
        None => drop(metadata.remove("resourceVersion")),
    }
    let seconds = i32::try_from(lease.duration_ms.div_ceil(1000)).unwrap_or(i32::MAX).max(1);
    json!({
        "apiVersion": LEASES.api_version(),
        "kind": "Lease",
        "metadata": metadata,
        "spec": {
            "holderIdentity": &*lease.holder,
            "leaseDurationSeconds": seconds,
            "acquireTime": acquired,
            "renewTime": now,
            "leaseTransitions": lease.transitions,
        },
    })
}

/// The record in an answer, which is kept.
fn take(answer: &[u8], kept: &mut Kept) -> Result<LeaseRecord, Failure> {
    let seen: Value =
        serde_json::from_slice(answer).map_err(|error| Failure::Garbled(position_of(&error)))?;
    let text = |pointer: &str| -> Box<str> {
        seen.pointer(pointer).and_then(Value::as_str).unwrap_or_default().into()
    };
    let number = |pointer: &str| seen.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let record = LeaseRecord {
        version: text("/metadata/resourceVersion"),
        holder: text("/spec/holderIdentity"),
        duration_ms: number("/spec/leaseDurationSeconds").saturating_mul(1000),
        transitions: u32::try_from(number("/spec/leaseTransitions")).unwrap_or(u32::MAX),
        renewed: text("/spec/renewTime"),
    };
    kept.seen = seen;
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_keeps_what_others_wrote_and_when_it_was_acquired() {
        let answer = br#"{"metadata":{"name":"l","namespace":"n","resourceVersion":"5",
            "labels":{"a":"b"},"managedFields":[{}]},"spec":{"holderIdentity":"me",
            "leaseDurationSeconds":15,"acquireTime":"2020-01-01T00:00:00.000000Z",
            "renewTime":"2020-01-01T00:00:09.000000Z","leaseTransitions":3}}"#;
        let mut kept = Kept::default();
        let mut record = take(answer, &mut kept).unwrap();
        assert_eq!((&*record.version, record.duration_ms, record.transitions), ("5", 15_000, 3));
        let name = Name::new("n", "l");
        let renewed = body(&kept.seen, &name, Some("5"), &record, 1_700_000_000);
        assert_eq!(renewed["metadata"]["labels"]["a"], "b");
        assert_eq!(renewed["metadata"]["resourceVersion"], "5");
        assert!(renewed["metadata"].get("managedFields").is_none());
        assert_eq!(renewed["spec"]["acquireTime"], "2020-01-01T00:00:00.000000Z");
        assert_eq!(renewed["spec"]["renewTime"], "2023-11-14T22:13:20.000000Z");
        record.holder = "other".into();
        let taken = body(&kept.seen, &name, Some("5"), &record, 1_700_000_000);
        assert_eq!(taken["spec"]["acquireTime"], "2023-11-14T22:13:20.000000Z");
        let created = body(&kept.seen, &name, None, &record, 1_700_000_000);
        assert!(created["metadata"].get("resourceVersion").is_none());
        assert!(created["metadata"].get("labels").is_none());
    }
}
