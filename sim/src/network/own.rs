//! Manifests that somebody has, and what happens to them: each Service gets pods that are made up, as
//! Deployments do not run here.
//!
//! Inputs: a folder, and perhaps lines of a schedule. Outputs: objects as the API server holds them,
//! a [`Schedule`], and words about what was left out. Not here: the run, and whether a promise holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::api::store::{Name, name_of, resource_of};
use super::fault::Fault;
use super::generate::{ACCEPT_MS, CALM_MS, REST_MS, fault};
use super::manifest::{base64, stamp};
use super::proxy::Version;
use super::replica::ReplicaId;
use super::schedule::{Entry, Happens, Schedule};
use crate::build::CLASS;
use crate::dice::Dice;
use crate::swarm::schedule::What;

/// Addresses that a Service's pods have one after the other: two at a time.
const PODS: u8 = 4;
/// Most Services: a pod is known by the last number of its address.
const SERVICES_MAX: usize = 62;
/// Services whose pods are replaced while a fault may show.
const REPLACED: usize = 4;

/// Manifests, as the API server holds them.
#[derive(Debug, Default)]
pub struct Own {
    objects: Vec<Value>,
    services: Vec<String>,
    routes: usize,
    /// What was left out or changed, and how many of it.
    notes: BTreeMap<String, usize>,
}

impl Own {
    /// Reads a folder and all below it.
    ///
    /// # Errors
    /// A file that cannot be read, and what it lacks to be a manifest; a folder without Services, or
    /// with too many.
    pub fn read(folder: &Path) -> Result<Own, String> {
        let mut files = Vec::new();
        find(folder, &mut files)?;
        files.sort();
        let mut own = Own::default();
        for file in &files {
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
            let documents = documents(&text);
            for document in documents.map_err(|why| format!("{}: {why}", file.display()))? {
                own.take(document);
            }
        }
        let found = own.services.len();
        if found == 0 {
            return Err(format!("{}: no Service in *.yaml, *.yml, *.json", folder.display()));
        }
        if found > SERVICES_MAX {
            return Err(format!(
                "{found} Services; the simulator has addresses for {SERVICES_MAX}"
            ));
        }
        Ok(own)
    }

    fn take(&mut self, mut object: Value) {
        let text = |object: &Value, at: &str| {
            object.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let kind = text(&object, "/kind");
        if let Some(Value::Array(items)) = object.get_mut("items").map(Value::take) {
            return items.into_iter().for_each(|item| self.take(item));
        }
        match kind.as_str() {
            "" => return,
            "EndpointSlice" => return self.note("EndpointSlice: pods are made up"),
            "IngressClass" => return self.note("IngressClass: every Ingress counts as tidegate's"),
            "Service" if text(&object, "/spec/type") == "ExternalName" => {
                return self.note("Service of type ExternalName: no names are resolved here");
            }
            "Event" | "Lease" => return self.note(&format!("{kind}: written by others")),
            _ if resource_of(&kind).is_none() => {
                return self.note(&format!("{kind}: not of the simulated API server"));
            }
            _ => {}
        }
        let is_namespaced = !["Namespace", "Node"].contains(&kind.as_str());
        let created = stamp(self.objects.len() as i64);
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.entry("creationTimestamp").or_insert_with(|| json!(created));
            metadata.entry("generation").or_insert_with(|| json!(1));
            if is_namespaced {
                metadata.entry("namespace").or_insert_with(|| json!("default"));
            }
            if let Some(annotations) =
                metadata.get_mut("annotations").and_then(Value::as_object_mut)
            {
                annotations.remove("kubernetes.io/ingress.class");
            }
        }
        let (namespace, name): Name = name_of(&object);
        if name.is_empty() {
            return self.note(&format!("{kind} without a name"));
        }
        match kind.as_str() {
            "Service" => self.services.push(format!("{namespace}/{name}")),
            "Ingress" => {
                if let Some(fields) = object.as_object_mut() {
                    fields.remove("status");
                    fields.entry("spec").or_insert_with(|| json!({}));
                }
                if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
                    spec.insert("ingressClassName".to_owned(), json!(CLASS));
                    let rules = spec.get("rules").and_then(Value::as_array);
                    self.routes += rules.map_or(0, Vec::len);
                }
            }
            "Secret" => as_stored(&mut object),
            _ => {}
        }
        self.objects.push(object);
    }

    fn note(&mut self, what: &str) {
        *self.notes.entry(what.to_owned()).or_insert(0) += 1;
    }

    /// The objects that are there from the beginning.
    #[must_use]
    pub fn objects(&self) -> &[Value] {
        &self.objects
    }

    /// What there is, and what was left out, a line each.
    #[must_use]
    pub fn words(&self) -> String {
        let Own { objects, services, routes, notes } = self;
        let mut text = format!(
            "{} objects, {} Services with two pods each, {routes} rules of Ingresses\n",
            objects.len(),
            services.len()
        );
        for (what, count) in notes {
            text.push_str(&format!("left out {count}: {what}\n"));
        }
        text
    }

    /// What happens: the lines of a file, or every fault once.
    ///
    /// # Errors
    /// A file that cannot be read, the line that means nothing, an unknown version.
    pub fn schedule(
        &self,
        faults: Option<&Path>,
        version: &str,
        seed: u64,
    ) -> Result<Schedule, String> {
        let known = Version::of(version).ok_or_else(|| format!("no such HAProxy: {version}"))?;
        let mut schedule = Schedule::new(known, seed);
        match faults {
            None => self.every_fault(&mut schedule),
            Some(file) => {
                let text = std::fs::read_to_string(file);
                let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
                let head = format!("haproxy {version}\nseed {seed}\n");
                let said = Schedule::from_text(&(head + &text));
                schedule = said.map_err(|why| format!("{}: {why}", file.display()))?;
                let last = schedule.entries.last();
                if last.is_none_or(|last| last.what != Happens::Quiet) {
                    let at_ms = last.map_or(CALM_MS, |last| last.at_ms + REST_MS);
                    schedule.entries.push(Entry { at_ms, what: Happens::Quiet });
                }
            }
        }
        let first = (0..self.services.len())
            .map(|service| Entry { at_ms: 0, what: Happens::Change(self.pods(service, 0, None)) });
        schedule.entries.splice(0..0, first.collect::<Vec<_>>());
        Ok(schedule)
    }

    /// Every fault, one after the other, while pods are replaced; all is quiet in between.
    fn every_fault(&self, schedule: &mut Schedule) {
        let mut dice = Dice::new(schedule.seed, "own");
        let mut turns = vec![0; self.services.len()];
        let mut now = CALM_MS;
        let mut put = |at_ms, what| schedule.entries.push(Entry { at_ms, what });
        put(now, Happens::Quiet);
        for kind in Fault::ALL {
            now += 1_000;
            put(now, Happens::Fault(fault(&mut dice, kind), ReplicaId::default()));
            for _ in 0..REPLACED {
                let service = dice.below(self.services.len() as u64) as usize;
                let Some(turn) = turns.get_mut(service) else { continue };
                let before = *turn;
                *turn += 1;
                now += dice.between(10, 700);
                put(now, Happens::Change(self.pods(service, *turn, Some(before))));
                now += dice.between(500, 2_000);
                put(now, Happens::Change(self.pods(service, *turn, None)));
            }
            now += REST_MS;
            if kind.replaces_store() {
                put(now - REST_MS + ACCEPT_MS, Happens::Accept);
            }
            put(now, Happens::Quiet);
        }
    }

    /// The pods of a Service in a turn, those of the turn before on their way out.
    fn pods(&self, service: usize, turn: u8, leaving: Option<u8>) -> What {
        let first = service as u8 * PODS + 1;
        let of = |turn: u8| [0, 1].map(|pod| first + turn % 2 * 2 + pod).to_vec();
        What::Pods {
            service: self.services.get(service).cloned().unwrap_or_default(),
            ready: of(turn),
            leaving: leaving.map(of).unwrap_or_default(),
        }
    }
}

/// What the API server makes of `stringData`.
fn as_stored(secret: &mut Value) {
    let Some(fields) = secret.as_object_mut() else { return };
    let Some(Value::Object(plain)) = fields.remove("stringData") else { return };
    let data = fields.entry("data").or_insert_with(|| json!({}));
    let Some(data) = data.as_object_mut() else { return };
    for (key, text) in plain {
        data.insert(key, json!(base64(text.as_str().unwrap_or_default().as_bytes())));
    }
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| format!("{}: {error}", folder.display()))?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            find(&path, files)?;
        } else if extension.is_some_and(|found| ["yaml", "yml", "json"].contains(&found)) {
            files.push(path);
        }
    }
    Ok(())
}

fn documents(text: &str) -> Result<Vec<Value>, String> {
    // Words such as `on` are text, as for the folder source.
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFESTS: &str = "\
kind: Service
apiVersion: v1
metadata: { name: shop }
spec: { ports: [{ name: web, port: 80 }] }
---
kind: List
apiVersion: v1
items:
- { kind: Deployment, apiVersion: apps/v1, metadata: { name: shop } }
- kind: Secret
  apiVersion: v1
  metadata: { name: s, namespace: other }
  stringData: { word: foobar }
- kind: Ingress
  apiVersion: networking.k8s.io/v1
  metadata: { name: shop, annotations: { kubernetes.io/ingress.class: nginx } }
  spec: { ingressClassName: nginx, rules: [{ host: shop.example }] }
";

    fn own() -> Own {
        let mut own = Own::default();
        documents(MANIFESTS).unwrap().into_iter().for_each(|document| own.take(document));
        own
    }

    #[test]
    fn manifests_are_taken_as_an_api_server_would_have_them() {
        let own = own();
        assert_eq!(own.services, ["default/shop"]);
        assert_eq!(own.objects.len(), 3);
        assert_eq!(own.objects[1]["data"]["word"], "Zm9vYmFy");
        assert_eq!(own.objects[2]["spec"]["ingressClassName"], CLASS);
        assert_eq!(own.objects[2]["metadata"]["annotations"], json!({}));
        assert!(own.words().contains("left out 1: Deployment"), "{}", own.words());
    }

    #[test]
    fn without_lines_every_fault_happens_once_and_pods_come_first() {
        let schedule = own().schedule(None, "3.2", 3).unwrap();
        let faults = schedule.entries.iter().filter(|e| matches!(e.what, Happens::Fault(..)));
        assert_eq!(faults.count(), Fault::ALL.len());
        assert_eq!(schedule.entries[0].to_string(), "0 pods default/shop 1,2 -");
        assert!(schedule.entries.is_sorted_by_key(|entry| entry.at_ms));
        assert_eq!(Schedule::from_text(&schedule.to_text("")).unwrap(), schedule);
    }
}
