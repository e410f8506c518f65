//! Applications that live, grow, move and die in a cluster, and the ledger of it all.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bed::Bed;
use crate::bed::api::Api;
use crate::common::ledger::Ledger;
use crate::common::manifest::{Ingress, NAMESPACE, classes, ingress, service, slice};
use crate::common::pods::Pod;
use crate::common::rig::Rig;
use crate::common::{ensure, eventually};

/// A leaving pod refuses connections so long after the API said that it leaves.
const GRACE: Duration = Duration::from_secs(1);

/// A pod that leaves finishes what it has within this time.
const FINISHES: Duration = Duration::from_secs(25);

/// Within this time tidegate is right again.
pub const SOON: Duration = Duration::from_secs(2);

/// The applications of a cluster.
pub struct Town {
    /// What is true.
    pub ledger: Arc<Ledger>,
    api: Mutex<Api>,
}

/// One application: a Service, its slice, and an Ingress of the same name.
pub struct App {
    /// Name of all its objects.
    pub name: String,
    /// Its host.
    pub host: String,
    /// The pods that the slice has.
    pub pods: Vec<Pod>,
}

impl Town {
    /// A town without applications.
    pub fn new(bed: &Bed) -> Town {
        let mut api = bed.api();
        for class in classes() {
            api.apply(&class);
        }
        Town { ledger: Arc::default(), api: Mutex::new(api) }
    }

    /// Makes an object what is given.
    pub fn apply(&self, object: &Value) {
        self.api.lock().unwrap().apply(object);
    }

    /// Deletes an object.
    pub fn delete(&self, kind: &str, name: &str) {
        self.api.lock().unwrap().delete(kind, NAMESPACE, name);
    }

    /// A new application with so many pods at a host of its name. Requests to it begin when
    /// somebody asks the ledger to.
    pub fn app(&self, name: &str, pods: usize) -> App {
        self.app_with(name, pods, |ingress| ingress)
    }

    /// The same with an Ingress that has more.
    pub fn app_with(&self, name: &str, pods: usize, more: impl FnOnce(Ingress) -> Ingress) -> App {
        let host = format!("{name}.test");
        let app = App { name: name.to_owned(), host, pods: Pod::several(name, pods) };
        self.apply(&service(name));
        self.announce(&app);
        self.route(&app, more);
        app
    }

    /// Leads the app's host to it, by an Ingress that has more.
    pub fn route(&self, app: &App, more: impl FnOnce(Ingress) -> Ingress) {
        self.lead(&app.host, &app.name, more(ingress(&app.name).all(&app.host, &app.name)).into());
    }

    /// Applies an Ingress that leads a host to a Service.
    pub fn lead(&self, host: &str, service: &str, ingress: Value) {
        self.ledger.routing(host, Some(service));
        self.apply(&ingress);
        self.ledger.routed(host);
    }

    /// Deletes the Ingress of a host.
    pub fn unroute(&self, host: &str, ingress: &str) {
        self.ledger.routing(host, None);
        self.delete("Ingress", ingress);
        self.ledger.routed(host);
    }

    /// Writes the slice of an app: its pods are known from then on.
    pub fn announce(&self, app: &App) {
        self.apply(&slice(&app.name, &app.pods.iter().collect::<Vec<_>>()));
        for pod in &app.pods {
            self.ledger.known(&app.name, &pod.name);
        }
    }

    /// Adds pods, or lets pods go with the usual grace.
    pub fn scale(&self, app: &mut App, to: usize) {
        let leaving = app.pods.split_off(to.min(app.pods.len()));
        let more = Pod::several(&app.name, to - app.pods.len());
        app.pods.extend(more);
        self.leave(app, leaving);
    }

    /// Puts a new pod in the place of the oldest.
    pub fn roll(&self, app: &mut App) {
        let oldest = app.pods.remove(0);
        app.pods.push(Pod::start(&app.name));
        self.leave(app, vec![oldest]);
    }

    /// Announces the app without the pods that leave, which stop a grace later.
    fn leave(&self, app: &App, leaving: Vec<Pod>) {
        for pod in &leaving {
            self.ledger.leaving(&app.name, &pod.name);
        }
        self.announce(app);
        std::thread::spawn(move || {
            std::thread::sleep(GRACE);
            leaving.iter().for_each(Pod::finish);
            std::thread::sleep(FINISHES);
        });
    }

    /// A pod is gone at once; the API is told a second later.
    pub fn kill_pod(&self, app: &mut App) {
        let dead = app.pods.remove(0);
        self.ledger.leaving(&app.name, &dead.name);
        dead.die();
        std::thread::sleep(GRACE);
        self.announce(app);
    }
}

impl App {
    /// Its first pod.
    pub fn first(&self) -> &Pod {
        &self.pods[0]
    }
}

/// Waits until a GET is answered like this, and fails if that took longer than [`SOON`] from
/// `since` on. Tells how long it took.
pub fn soon(rig: &Rig, since: Instant, host: &str, path: &str, status: u16, by: &str) -> Duration {
    within(rig, SOON, since, host, path, status, by)
}

/// The same within another time.
pub fn within(
    rig: &Rig,
    time: Duration,
    since: Instant,
    host: &str,
    path: &str,
    status: u16,
    by: &str,
) -> Duration {
    eventually(&format!("http://{host}{path}"), || {
        let answer = rig.get(host, path)?;
        ensure(answer.status == status && answer.service() == by, || {
            format!("{} from '{}' instead of {status} from '{by}'", answer.status, answer.service())
        })
    });
    let took = since.elapsed();
    assert!(took < time, "http://{host}{path}: right only after {took:?}");
    took
}

/// A length of time or a number: the first as CI has it, the second when `TIDEGATE_LONG` is set.
pub fn length<T>(usual: T, long: T) -> T {
    if std::env::var_os("TIDEGATE_LONG").is_some() { long } else { usual }
}
