//! The cluster source: a Kubernetes API server, watched and told.
//!
//! In: settings (what is watched, what is told), an API server, core's actions
//! (`FollowSecrets`, `Tell`). Out: batches of [`Event`]s: `Listed`, `Upserted`, `Deleted`, the
//! problems of the source, acks of what was told. One task for each kind and namespace, so that a
//! slow or denied kind holds up no other. Not here: what objects mean, what absence means, what is
//! told.
//!
//! Our own list and watch loop over kube's authentication and TLS; why is in
//! `docs/decisions/0009-own-watch-loop.md`.

pub mod access;
mod backoff;
pub mod client;
mod dial;
mod discovery;
mod failure;
mod frame;
mod health;
mod identity;
mod lease;
mod list;
mod meters;
mod objects;
mod resource;
mod secrets;
pub mod server;
pub mod survey;
mod target;
mod watch;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::action::{Action, ActionBody};
use tidegate_core::event::Event;
use tidegate_core::settings::{Publish, Settings};
use tidegate_core::world::object::{Kind, Name, Object};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::ports::Ports;
use crate::vault::Vault;
use client::{Client, Patience};
use health::Health;
use identity::Doubt;
pub use meters::{Meters, Standing};
use objects::Objects;
use secrets::{Followed, SecretNames};
use server::Server;
use target::Target;
use watch::Shared;
use write::Writer;

/// Longest time for the last writes at the end.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// Where a cluster source begins.
pub struct Origin {
    /// The API server, and as whom it is asked.
    pub server: Server,
    /// How long what may take.
    pub patience: Patience,
    /// Secrets that a process before this one knew: lists are held against them.
    pub remembered: Vec<Object>,
}

/// A running cluster source. Dropping it ends its tasks.
pub struct Cluster {
    actions: mpsc::UnboundedSender<Action>,
    relists: BTreeMap<Kind, Vec<Arc<Notify>>>,
    writes: JoinSet<()>,
    _tasks: JoinSet<()>,
}

impl Cluster {
    /// Reads the credentials and starts the watches. That the API server cannot be reached is no
    /// error: it is tried for as long as it takes.
    ///
    /// # Errors
    /// When the kubeconfig or the service account cannot be read or used.
    pub async fn start(
        origin: Origin,
        settings: &Settings,
        ports: &Ports,
        vault: Arc<Vault>,
        meters: Meters,
        events: mpsc::Sender<Vec<Event>>,
    ) -> anyhow::Result<Cluster> {
        let Origin { server, patience, remembered } = origin;
        let net = Arc::clone(&ports.net);
        let client = Client::new(server, net, patience, meters.clone()).await?;
        let shared = Shared {
            client: Arc::new(client),
            health: Arc::new(Health::new(meters.clone(), health::PATIENCE)),
            meters,
            clock: Arc::clone(&ports.clock),
            events: events.clone(),
            seed: ports.seed,
            discovery: Arc::default(),
            doubt: Doubt::default(),
        };
        let followed = Arc::new(Followed::new(remembered, Arc::clone(&vault)));
        let mut tasks = JoinSet::new();
        let mut relists: BTreeMap<Kind, Vec<Arc<Notify>>> = BTreeMap::new();
        for target in targets(settings) {
            let relist = Arc::new(Notify::new());
            relists.entry(target.kind).or_default().push(Arc::clone(&relist));
            if target.kind == Kind::Secret {
                let sink = SecretNames::new(Arc::clone(&followed), target.namespace.clone());
                tasks.spawn(watch::run(&shared, target, sink, &relist));
            } else {
                let health = Arc::clone(&shared.health);
                let sink = Objects::new(target.clone(), Arc::clone(&vault), health);
                tasks.spawn(watch::run(&shared, target, sink, &relist));
            }
        }
        let health = Arc::clone(&shared.health);
        tasks.spawn(async move { health.tell(events).await });
        tasks.spawn(secrets::read(shared.clone(), Arc::clone(&followed), vault));
        let election = settings.telling.as_ref().and_then(|telling| telling.election.as_ref());
        let writer = Arc::new(Writer::new(shared.clone(), election));
        // Core bounds what is under way: what waits here is what it lets wait.
        let (actions, inbox) = mpsc::unbounded_channel();
        let mut writes = JoinSet::new();
        writes.spawn(act(inbox, writer, followed, shared.meters));
        Ok(Cluster { actions, relists, writes, _tasks: tasks })
    }

    /// Ends it. What is being written gets a moment to arrive: a Lease that is given back lets
    /// another replica go on at once.
    pub async fn finish(self) {
        let Cluster { actions, relists: _, mut writes, _tasks } = self;
        drop(actions);
        let all = async { while writes.join_next().await.is_some() {} };
        // What is not written by then is for the next holder.
        let _ = timeout(LAST_WRITES, all).await;
    }

    /// Hands over an action. Those that are not for the API server are dropped.
    pub fn send(&self, action: Action) {
        if let ActionBody::Relist { kind } = action.body {
            for relist in self.relists.get(&kind).into_iter().flatten() {
                relist.notify_one();
            }
            return;
        }
        // The task ends with the program only.
        let _ = self.actions.send(action);
    }
}

/// What is watched under these settings. `tidegate rbac` follows it.
#[must_use]
pub fn targets(settings: &Settings) -> Vec<Target> {
    let scope = &settings.scope;
    let everywhere = |kind| Target { kind, namespace: None, name: None };
    let mut targets = Vec::new();
    let mut namespaced = |kind| {
        if scope.namespaces.is_empty() {
            targets.push(everywhere(kind));
        }
        for namespace in &scope.namespaces {
            targets.push(Target { kind, namespace: Some(namespace.clone()), name: None });
        }
    };
    namespaced(Kind::Service);
    namespaced(Kind::EndpointSlice);
    namespaced(Kind::Ingress);
    namespaced(Kind::Secret);
    for kind in Kind::customs().filter(|_| scope.custom_resources) {
        namespaced(kind);
    }
    if scope.namespaces.is_empty() && !scope.namespace_labels.is_empty() {
        targets.push(everywhere(Kind::Namespace));
    }
    if scope.ingress_classes {
        targets.push(everywhere(Kind::IngressClass));
    }
    if scope.nodes {
        targets.push(everywhere(Kind::Node));
    }
    for Name { namespace, name } in settings.all_config_maps() {
        targets.push(Target {
            kind: Kind::ConfigMap,
            namespace: Some((&**namespace).into()),
            name: Some((&**name).into()),
        });
    }
    targets.extend(outside(settings));
    targets
}

/// What is watched outside of the namespaces that are watched: the Service whose addresses are
/// published.
fn outside(settings: &Settings) -> Option<Target> {
    let Publish::Service(Name { namespace, name }) = &settings.telling.as_ref()?.publish else {
        return None;
    };
    let scope = &settings.scope.namespaces;
    let watched = scope.is_empty() || scope.iter().any(|watched| **watched == **namespace);
    (!watched).then(|| Target {
        kind: Kind::Service,
        namespace: Some((&**namespace).into()),
        name: Some((&**name).into()),
    })
}

/// Carries out actions side by side.
async fn act(
    mut inbox: mpsc::UnboundedReceiver<Action>,
    writer: Arc<Writer>,
    followed: Arc<Followed>,
    meters: Meters,
) {
    let mut writes = JoinSet::new();
    loop {
        let action = tokio::select! {
            biased;
            action = inbox.recv() => action,
            Some(_) = writes.join_next() => continue,
        };
        let Some(Action { id, body }) = action else { break };
        match body {
            ActionBody::FollowSecrets { add, drop } => {
                meters.following(followed.follow(add, drop, id.0));
            }
            ActionBody::Tell(tell) => drop(writes.spawn(Arc::clone(&writer).tell(id, tell))),
            ActionBody::Runtime { .. }
            | ActionBody::ReadBack { .. }
            | ActionBody::Save { .. }
            | ActionBody::Reload { .. }
            | ActionBody::Check { .. }
            | ActionBody::CheckSnippet { .. }
            | ActionBody::ResolveNames { .. }
            | ActionBody::Relist { .. } => {}
        }
    }
    while writes.join_next().await.is_some() {}
}
