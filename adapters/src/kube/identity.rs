//! Which store the API server has: the UID of the namespace `kube-system`.
//!
//! A store that was replaced has another one. Asked for after each complete list.

use serde::Deserialize;
use tidegate_core::world::object::Kind;

use super::client::{Ask, Client};
use super::failure::Failure;
use super::frame::position_of;
use super::resource;

#[derive(Deserialize)]
struct Namespace {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    uid: Box<str>,
}

/// Name of the namespace that every cluster has from its first second to its last.
pub const NAMESPACE: &str = "kube-system";

/// The identity of the store; empty when it must not be read or the namespace does not exist.
///
/// # Errors
/// When the API server does not answer: then it is not known either whether the list before is
/// from the same store.
pub async fn of_store(client: &Client) -> Result<Box<str>, Failure> {
    let ask = Ask::get("get", resource::of(Kind::Namespace).object("", NAMESPACE))
        .accepting("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json");
    let mut body = match client.open(&ask).await {
        Ok(body) => body,
        Err(failure) => {
            return if failure.is_denied() || failure.code() == Some(404) {
                Ok("".into())
            } else {
                Err(failure)
            };
        }
    };
    let mut text = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        text.extend_from_slice(&chunk);
    }
    let read: Result<Namespace, _> = serde_json::from_slice(&text);
    read.map(|namespace| namespace.metadata.uid)
        .map_err(|error| Failure::Garbled(position_of(&error)))
}
