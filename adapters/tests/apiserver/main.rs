//! The cluster source against an API server that answers by script.

mod secrets;
mod server;
mod told;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use tidegate::kube::client::Patience;
use tidegate::kube::{Cluster, Meters, Origin};
use tidegate::vault::Vault;
use tidegate_core::event::{Event, Listing};
use tidegate_core::settings::{Settings, Telling};
use tidegate_core::world::object::{Kind, Object};
use tokio::sync::mpsc;
use tokio::time::timeout;

use server::Server;

/// Times short enough for a test.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(2),
    head: Duration::from_secs(2),
    stream: Duration::from_millis(500),
    body: Duration::from_millis(700),
};

/// A source that follows a scripted server.
struct Rig {
    cluster: Cluster,
    events: mpsc::Receiver<Vec<Event>>,
    ahead: Vec<Event>,
}

fn settings() -> Settings {
    let mut settings = Settings::documented("/nowhere");
    settings.scope.secrets_on_demand = true;
    settings.scope.nodes = false;
    settings.scope.custom_resources = false;
    let publish = tidegate_core::settings::Publish::Nothing;
    settings.telling = Some(Telling { publish, events: true, election: None });
    settings
}

impl Rig {
    async fn start(server: &Server, settings: &Settings) -> Rig {
        let uri = format!("http://127.0.0.1:{}", server.port).parse().unwrap();
        let server = tidegate::kube::server::Server::Given(Box::new(kube::Config::new(uri)));
        Rig::at(server, settings).await
    }

    /// One after a process that knew these Secrets.
    async fn remembering(server: &Server, settings: &Settings, known: Vec<Object>) -> Rig {
        let uri = format!("http://127.0.0.1:{}", server.port).parse().unwrap();
        let server = tidegate::kube::server::Server::Given(Box::new(kube::Config::new(uri)));
        Rig::from(server, settings, known).await
    }

    async fn at(server: tidegate::kube::server::Server, settings: &Settings) -> Rig {
        Rig::from(server, settings, Vec::new()).await
    }

    async fn from(
        server: tidegate::kube::server::Server,
        settings: &Settings,
        remembered: Vec<Object>,
    ) -> Rig {
        let ports = tidegate::os::ports().unwrap();
        let (sender, events) = mpsc::channel(64);
        let vault = Arc::new(Vault::new([7; 32]));
        let meters = Meters::default();
        let origin = Origin { server, patience: PATIENCE, remembered };
        let cluster =
            Cluster::start(origin, settings, &ports, vault, meters, sender).await.unwrap();
        Rig { cluster, events, ahead: Vec::new() }
    }

    /// The next event that passes a test; the others are dropped.
    async fn until<T>(&mut self, what: &str, mut test: impl FnMut(Event) -> Option<T>) -> T {
        let found = timeout(Duration::from_secs(10), async {
            loop {
                while !self.ahead.is_empty() {
                    if let Some(found) = test(self.ahead.remove(0)) {
                        return found;
                    }
                }
                self.ahead = self.events.recv().await.expect("the source ended");
            }
        });
        found.await.unwrap_or_else(|_| panic!("in vain: {what}"))
    }

    /// The next list of slices: its version and the names.
    async fn listed(&mut self) -> (u64, Vec<String>) {
        self.until("a list of slices", |event| match event {
            Event::Listed(Listing { kind: Kind::EndpointSlice, revision, objects, .. }) => {
                let name = |object: &tidegate_core::world::object::Object| {
                    object.meta().name.name.to_string()
                };
                Some((revision, objects.iter().map(name).collect()))
            }
            _ => None,
        })
        .await
    }

    /// The next change of a slice: its name, and the address if it is not deleted.
    async fn changed(&mut self) -> (String, Option<String>) {
        self.until("a change of a slice", |event| match event {
            Event::Upserted(Object::EndpointSlice(slice)) => {
                let address = slice.endpoints.first().map(|e| e.address.to_string());
                Some((slice.meta.name.name.to_string(), address))
            }
            Event::Deleted(object) if object.kind == Kind::EndpointSlice => {
                Some((object.name.name.to_string(), None))
            }
            _ => None,
        })
        .await
    }
}
