//! The source of objects, whichever it is, for the loop.

use std::sync::Arc;

use tidegate_core::action::Action;
use tidegate_core::event::Event;
use tidegate_core::world::object::Object;
use tokio::sync::mpsc;

use crate::folder::{Folder, FolderSettings};
use crate::kube::client::Patience;
use crate::kube::{Cluster, Origin};
use crate::metrics::Metrics;
use crate::options::{RunOptions, Source};
use crate::ports::Ports;
use crate::vault::Vault;

/// A running source. Dropping it stops it.
pub enum Feed {
    /// A folder. It is told nothing.
    Folder {
        /// Held for its thread.
        _folder: Folder,
    },
    /// An API server.
    Cluster(Cluster),
}

impl Feed {
    /// Starts the source of these options; `remembered` are the Secrets that a process before this
    /// one knew.
    ///
    /// # Errors
    /// When the folder or the credentials cannot be used.
    pub async fn start(
        options: &RunOptions,
        ports: &Ports,
        vault: &Arc<Vault>,
        metrics: &Metrics,
        remembered: Vec<Object>,
        events: mpsc::Sender<Vec<Event>>,
    ) -> anyhow::Result<Feed> {
        let (settings, vault) = (&options.settings, Arc::clone(vault));
        match &options.source {
            Source::Folder(path) => {
                let config_maps = settings.config_maps().cloned().collect();
                let folder = FolderSettings { path: path.clone(), config_maps };
                Ok(Feed::Folder { _folder: Folder::start(folder, vault, events)? })
            }
            Source::Cluster(server) => {
                let (meters, patience) = (metrics.cluster(), Patience::DOCUMENTED);
                let origin = Origin { server: server.clone(), patience, remembered };
                let cluster =
                    Cluster::start(origin, settings, ports, vault, meters, events).await?;
                Ok(Feed::Cluster(cluster))
            }
        }
    }

    /// Stops it.
    pub async fn finish(self) {
        match self {
            Feed::Folder { .. } => {}
            Feed::Cluster(cluster) => cluster.finish().await,
        }
    }

    /// Hands over a request to follow Secrets, to list anew or to tell something. Core asks a folder
    /// for none of them.
    pub fn send(&self, action: Action) {
        match self {
            Feed::Folder { .. } => {
                tracing::error!(id = action.id.0, "a folder cannot be told anything");
            }
            Feed::Cluster(cluster) => cluster.send(action),
        }
    }
}
