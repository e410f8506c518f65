//! Certificates of clients by real handshakes on each HAProxy: who gets in, what pods are told,
//! names that do not agree, sessions that are resumed, authorities that change under load, and what
//! cannot be used, which never answers 200.

#[path = "../common/mod.rs"]
mod common;
mod listener;
mod matrix;
mod names;
mod proxy;
mod rotation;
mod who;

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use common::certs::{Authority, Issued};
use common::client::{Answer, Connection, Request, showing};
use common::manifest::{app, classes, config_map, ingress, secret};
use common::pods::Pod;
use common::rig::Rig;
use common::{Scenarios, ensure, eventually};
use serde_json::Value;

on_each_haproxy!(client_certificates);

/// What the scenarios share.
struct Stage {
    rig: Rig,
    pods: Vec<Pod>,
    /// Signs what HAProxy presents.
    servers: Authority,
    /// What HAProxy presents, by host.
    presented: Mutex<BTreeMap<String, Issued>>,
    /// Signs clients.
    clients: Authority,
    /// A client's certificate, signed by it.
    good: Issued,
    /// One of another authority.
    stranger: Issued,
}

fn client_certificates(version: &'static str) {
    let mut rig = Rig::new(version);
    let pods = Pod::several("app", 2);
    let mut objects = classes();
    objects.extend(app("app", &pods.iter().collect::<Vec<_>>()));
    objects.push(ingress("plain").all("plain.test", "app").into());
    rig.put("base", &objects);
    rig.start();
    rig.wait("plain.test", "/", 200, "app");
    let (servers, clients) = (Authority::new(), Authority::new());
    let good = clients.client("good");
    let stranger = Authority::new().client("stranger");
    let stage = &Stage { rig, pods, servers, presented: Mutex::default(), clients, good, stranger };
    let mut scenarios = Scenarios::new(version);
    scenarios.run("who gets in", || who::required(stage));
    scenarios.run("optional certificates", || who::optional(stage));
    scenarios.run("what pods are told", || who::headers(stage));
    scenarios.run("revocation", || who::revocation(stage));
    scenarios.run("error pages", || who::pages(stage));
    scenarios.run("names that do not agree", || names::fronting(stage));
    scenarios.run("which certificate is presented", || names::presented(stage));
    scenarios.run("resumed sessions", || names::resumption(stage));
    scenarios.run("a host changes hands", || names::handover(stage));
    scenarios.run("two Ingresses of a host", || names::conflict(stage));
    scenarios.run("authorities change under load", || rotation::under_load(stage));
    scenarios.run("never open", || matrix::never_open(stage));
    scenarios.run("for all routes", || matrix::for_all(stage));
    scenarios.run("PROXY protocol to pods", || proxy::every_version(stage));
    scenarios.run("the documented example", || who::documented(stage));
    scenarios.run("no reloads", || stage.rig.assert_no_reloads_on_3_4("client certificates"));
    scenarios.run("depth", || who::depth(stage));
    scenarios.run("the listener", || listener::options(stage));
    scenarios.finish();
}

impl Stage {
    /// The Secret with the authority of the clients.
    fn authority(&self) -> Value {
        secret("clients-ca", &[("ca.crt", &self.clients.pem)])
    }

    /// Ingresses with a certificate each and these annotations, each for `NAME.test`.
    fn put(&self, file: &str, secrets: &[Value], routes: &[(&str, &[(&str, &str)])]) {
        let mut objects = secrets.to_vec();
        for (name, annotations) in routes {
            let host = format!("{name}.test");
            let mut presented = self.presented.lock().unwrap();
            let issued =
                presented.entry(host.clone()).or_insert_with(|| self.servers.issue(&[&host]));
            objects.push(issued.secret(&format!("{name}-tls")));
            let route = ingress(name).all(&host, "app").tls(&[&host], &format!("{name}-tls"));
            let with = |route: common::manifest::Ingress, (key, value): &(&str, &str)| {
                if key.contains('/') {
                    route.annotation(key, value)
                } else {
                    route.with(key, value)
                }
            };
            objects.push(annotations.iter().fold(route, with).into());
        }
        self.rig.put(file, &objects);
    }

    /// A GET over TLS on a new connection, by the host's name.
    fn get(&self, host: &str, shown: Option<&Issued>) -> Result<Answer, String> {
        self.ask(host, shown, &Request::get(host, "/"))
    }

    /// A request over TLS on a new connection to `name`.
    fn ask(&self, name: &str, shown: Option<&Issued>, what: &Request) -> Result<Answer, String> {
        let ask = |tls12| -> io::Result<Answer> {
            let config = showing(shown, tls12, false);
            Connection::tls(self.rig.https, name, &config)?.ask(what)
        };
        // Both versions of TLS, and the same answer.
        let old = ask(true).map_err(|error| format!("TLS 1.2: {error}"))?;
        let new = ask(false).map_err(|error| format!("TLS 1.3: {error}"))?;
        ensure(old.status == new.status, || format!("{} and {}", old.status, new.status))?;
        Ok(new)
    }

    /// Waits for a status.
    fn wait(&self, host: &str, shown: Option<&Issued>, status: u16) -> Answer {
        let version = self.rig.version;
        let who = shown.map_or("nothing", |_| "a certificate");
        eventually(&format!("HAProxy {version}: https://{host}/ showing {who}"), || {
            let answer = self.get(host, shown)?;
            ensure(answer.status == status, || format!("{} not {status}", answer.status))?;
            Ok(answer)
        })
    }

    /// The status that holds now, over TLS.
    fn now(&self, host: &str, shown: Option<&Issued>) -> u16 {
        self.get(host, shown).unwrap().status
    }
}
