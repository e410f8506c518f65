//! Which of the kinds that come with custom resource definitions the API server serves.
//!
//! Inputs: a client, a resource. Outputs: whether it is there now, from the list of its group, which
//! all watches share for a moment: a cluster without the definitions costs one small request for
//! each group and look.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

use super::client::{Ask, Client};
use super::failure::Failure;
use super::resource::Resource;

/// Time between two looks for a kind that is not served.
pub const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// How long an answer is used.
const FRESH: Duration = Duration::from_secs(20);

/// Longest list of a group, in bytes.
const BYTES_MAX: usize = 1 << 20;

/// The resources of groups, as last seen.
#[derive(Debug, Default)]
pub struct Discovery {
    known: Mutex<BTreeMap<String, (Instant, BTreeSet<String>)>>,
}

/// `v1/APIResourceList`, as far as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Group {
    resources: Vec<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

impl Discovery {
    /// Whether a resource is served. Where the list must not be read, it is taken to be: asking for
    /// its objects tells.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn serves(&self, client: &Client, resource: &Resource) -> Result<bool, Failure> {
        let version = resource.api_version();
        if let Some((at, names)) = self.known.lock().get(&version)
            && at.elapsed() < FRESH
        {
            return Ok(names.contains(resource.plural));
        }
        let names = match group(client, &version).await {
            Ok(names) => names,
            Err(failure) if failure.code() == Some(404) => BTreeSet::new(),
            Err(failure) if failure.is_denied() => return Ok(true),
            Err(failure) => return Err(failure),
        };
        let serves = names.contains(resource.plural);
        self.known.lock().insert(version, (Instant::now(), names));
        Ok(serves)
    }

    /// Takes in that a resource is not there, whatever the list of its group said.
    pub fn lacks(&self, resource: &Resource) {
        let mut known = self.known.lock();
        let (at, names) = known
            .entry(resource.api_version())
            .or_insert_with(|| (Instant::now(), BTreeSet::new()));
        *at = Instant::now();
        names.remove(resource.plural);
    }
}

async fn group(client: &Client, version: &str) -> Result<BTreeSet<String>, Failure> {
    let mut body = client.open(&Ask::get("get", format!("/apis/{version}"))).await?;
    let mut text = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        if text.len() + chunk.len() > BYTES_MAX {
            return Err(Failure::Garbled("a group without an end".to_owned()));
        }
        text.extend_from_slice(&chunk);
    }
    let group: Group =
        serde_json::from_slice(&text).map_err(|error| Failure::Garbled(error.to_string()))?;
    Ok(group.resources.into_iter().map(|resource| resource.name).collect())
}
