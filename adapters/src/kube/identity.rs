//! Which store the API server has, and how far it is: the UID of the namespace `kube-system`, and
//! the revision.
//!
//! A store that was replaced has another UID, one that was restored from a copy has a lower
//! revision. Asked for after each complete list, and before a watch is resumed: a watch from a
//! revision that the store has not reached yet would wait in silence for it and miss everything
//! until then.

use std::sync::Arc;
use std::time::Duration;

use super::client::{Ask, Client};
use super::failure::Failure;
use super::frame::Items;
use super::objects::uid;
use super::resource;
use super::target::Target;
use parking_lot::Mutex;
use tidegate_core::world::object::Kind;
use tokio::time::Instant;

/// How long a store that went back, or was exchanged, may do so again.
const DOUBTED: Duration = Duration::from_secs(600);

/// When a store was last seen to have gone back, or to be another one: what all watches share. A copy
/// may have gone on by itself, and the right store may be back; then a revision of the one means
/// something else in the other, and no watch is resumed from it.
#[derive(Clone, Debug, Default)]
pub struct Doubt(Arc<Mutex<Option<Instant>>>);

impl Doubt {
    /// A store was seen to have gone back.
    pub fn rises(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Whether that was lately.
    #[must_use]
    pub fn lasts(&self) -> bool {
        self.0.lock().is_some_and(|since| since.elapsed() < DOUBTED)
    }
}

/// Name of the namespace that every cluster has from its first second to its last.
pub const NAMESPACE: &str = "kube-system";

/// The form of lists without content.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// A store, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Its identity; empty when it must not be read, or is not there yet.
    pub cluster: Box<str>,
    /// Its revision; 0 when it is not a number.
    pub revision: u64,
}

/// The store as it is now; `target` is a collection that we may list.
///
/// # Errors
/// When the API server does not answer: then it is not known either whether a list before is from
/// the same store.
pub async fn store(client: &Client, target: &Target) -> Result<Store, Failure> {
    let namespaces = resource::of(Kind::Namespace).collection(None);
    let path = format!("{namespaces}?fieldSelector=metadata.name%3D{NAMESPACE}&limit=1");
    match ask(client, path).await {
        Err(failure) if failure.is_denied() => {
            let store = ask(client, target.path("limit=1")).await?;
            Ok(Store { cluster: "".into(), ..store })
        }
        answered => answered,
    }
}

async fn ask(client: &Client, path: String) -> Result<Store, Failure> {
    let ask = Ask::get("list", path).accepting(METADATA);
    let mut body = client.open(&ask).await?;
    let (mut items, mut cluster) = (Items::default(), Box::default());
    while let Some(chunk) = body.chunk().await? {
        items.push(&chunk, |item| cluster = uid(item))?;
    }
    let page = items.finish()?;
    Ok(Store { cluster, revision: page.version.parse().unwrap_or(0) })
}
