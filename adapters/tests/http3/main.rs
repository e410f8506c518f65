//! HTTP/3 by a real client on each HAProxy that speaks it: who answers, what is announced, changes at
//! run time, and everything that HTTPS asks of a client asked here too. On one without QUIC a
//! Problem, and nothing missing but HTTP/3.

mod around;
mod certificates;
#[path = "../common/mod.rs"]
mod common;
mod serving;

use std::io;
use std::sync::Arc;

use common::certs::{Authority, Issued};
use common::client::{Answer, Connection, Request, showing};
use common::h3::Session;
use common::manifest::{app, classes, config_map, ingress, secret};
use common::pods::Pod;
use common::rig::Rig;
use common::{Scenarios, ensure, eventually};
use rustls::ClientConfig;
use serde_json::Value;

on_each_haproxy!(http_3);

/// What clients are told; nobody listens there.
const ANNOUNCED: u16 = 443;

/// What the scenarios share.
struct Stage {
    rig: Rig,
    _pods: Vec<Pod>,
    /// Signs what HAProxy presents.
    servers: Authority,
    /// A client's certificate, of the authority that is there from the start.
    good: Issued,
    /// One of another authority.
    stranger: Issued,
}

fn http_3(version: &'static str) {
    let rig = Rig::new(version);
    let port = rig.https.to_string();
    let announced = ANNOUNCED.to_string();
    let mut rig = rig.arguments(&["--quic-port", &port, "--quic-announce-port", &announced]);
    let pods = Pod::several("app", 2);
    let (servers, clients) = (Authority::new(), Authority::new());
    let mut objects = classes();
    objects.extend(app("app", &pods.iter().collect::<Vec<_>>()));
    objects.push(servers.issue(&["plain.test"]).secret("plain-tls"));
    objects
        .push(ingress("plain").all("plain.test", "app").tls(&["plain.test"], "plain-tls").into());
    // Here from the start: these are the clients' authorities that no change at run time brought.
    objects.push(secret("clients-ca", &[("ca.crt", &clients.pem)]));
    objects.push(servers.issue(&["first.test"]).secret("first-tls"));
    let first = ingress("first").all("first.test", "app").tls(&["first.test"], "first-tls");
    objects.push(first.with("client-ca", "clients-ca").into());
    rig.put("base", &objects);
    rig.start();
    rig.wait("plain.test", "/", 200, "app");
    let good = clients.client("good");
    let stranger = Authority::new().client("stranger");
    let mut stage = Stage { rig, _pods: pods, servers, good, stranger };
    let mut scenarios = Scenarios::new(version);
    if version == "2.6" {
        scenarios.run("an HAProxy without QUIC", || serving::without(&stage));
        return scenarios.finish();
    }
    let here = &stage;
    scenarios.run("who answers", || serving::answered(here));
    scenarios.run("what is announced", || serving::announced(here));
    scenarios.run("changes at run time", || serving::changes(here));
    scenarios.run("large answers and bodies", || serving::large(here));
    scenarios.run("basic authentication", || serving::passwords(here));
    scenarios.run("certificates of clients", || certificates::asked_for(here));
    scenarios.run("names that do not agree", || certificates::fronting(here));
    scenarios.run("resumed sessions", || certificates::resumption(here));
    scenarios.run("a host changes hands", || certificates::handover(here));
    scenarios.run("trusted proxies", || around::proxies(here));
    scenarios.run("no reloads", || here.rig.assert_no_reloads_on_3_4("HTTP/3"));
    scenarios.run("reloads under load", || serving::reloads(here));
    scenarios.run("strict names", || around::strict(here));
    scenarios.run("TLS passthrough", || around::passthrough(here));
    scenarios.run("adoption", || serving::adoption(&mut stage));
    scenarios.finish();
}

impl Stage {
    /// A new connection under a name.
    fn dial(&self, name: &str, config: &ClientConfig) -> io::Result<Session> {
        Session::open(self.rig.https, name, config)
    }

    /// A request on a new connection over HTTP/3.
    fn ask(&self, name: &str, shown: Option<&Issued>, what: &Request) -> Result<Answer, String> {
        let ask = || self.dial(name, &showing(shown, false, false))?.ask(what);
        ask().map_err(|error| format!("{name}: {error}"))
    }

    /// A GET over HTTP/3.
    fn get(&self, host: &str, shown: Option<&Issued>) -> Result<Answer, String> {
        self.ask(host, shown, &Request::get(host, "/"))
    }

    /// The status of one now.
    fn now(&self, host: &str, shown: Option<&Issued>) -> u16 {
        self.get(host, shown).unwrap().status
    }

    /// A request over TCP and TLS.
    fn over_tcp(
        &self,
        name: &str,
        shown: Option<&Issued>,
        what: &Request,
    ) -> Result<Answer, String> {
        let ask =
            || Connection::tls(self.rig.https, name, &showing(shown, false, false))?.ask(what);
        ask().map_err(|error| format!("{name}: {error}"))
    }

    /// Waits for a status and who answers over HTTP/3.
    fn wait(&self, host: &str, shown: Option<&Issued>, status: u16, service: &str) -> Answer {
        let version = self.rig.version;
        eventually(&format!("HAProxy {version}: {host} over HTTP/3"), || {
            let answer = self.get(host, shown)?;
            ensure(answer.status == status && answer.service() == service, || {
                format!("{} from '{}', not {status}", answer.status, answer.service())
            })?;
            Ok(answer)
        })
    }

    /// An Ingress with a certificate of its own for `NAME.test`, and these annotations.
    fn route(&self, name: &str, service: &str, annotations: &[(&str, &str)]) -> Vec<Value> {
        let host = format!("{name}.test");
        let route = ingress(name).all(&host, service).tls(&[&host], &format!("{name}-tls"));
        let with =
            |route: common::manifest::Ingress, (key, value): &(&str, &str)| route.with(key, value);
        let secret = self.servers.issue(&[&host]).secret(&format!("{name}-tls"));
        vec![secret, annotations.iter().fold(route, with).into()]
    }
}

/// A client without a certificate.
fn nobody() -> Arc<ClientConfig> {
    showing(None, false, false)
}
