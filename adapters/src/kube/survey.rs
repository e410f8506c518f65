//! What a cluster holds for another controller, read once, as manifests.
//!
//! Inputs: an API server, the names of ConfigMaps. Outputs: a text for each object, without what
//! the server adds. Nothing is written, and Secrets are not read. Not here: what the keys mean.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tidegate_core::world::object::{Kind, Name};

use super::backoff::Backoff;
use super::client::{Ask, Client, Patience};
use super::failure::Failure;
use super::meters::Meters;
use super::resource::{self, segment};
use super::server::Server;
use crate::migrate::Text;
use crate::ports::Ports;

/// Objects of one page.
const PAGE: usize = 200;

/// Groups and plural names of haproxytech's custom resources.
const CUSTOM: [(&str, &[&str]); 2] = [
    (
        "ingress.v3.haproxy.org/v3",
        &["backends", "defaults", "frontends", "globals", "tcps", "validationrules"],
    ),
    ("ingress.v1.haproxy.org/v1", &["backends", "defaults", "globals", "tcps"]),
];

/// The Ingresses, Services, IngressClasses and custom resources of a cluster, and the ConfigMaps
/// that are named. What may not be read is told in `notes`, as long as it is not the Ingresses.
///
/// # Errors
/// When the API server cannot be reached or does not let us list Ingresses.
pub async fn manifests(
    server: Server,
    ports: &Ports,
    configs: &[Name],
    notes: &mut Vec<String>,
) -> anyhow::Result<Vec<Text>> {
    let net = Arc::clone(&ports.net);
    let client = Client::new(server, net, Patience::DOCUMENTED, Meters::default()).await?;
    let mut backoff = Backoff::new(ports.seed, "survey", Duration::from_millis(100));
    let mut texts = Vec::new();
    for kind in [Kind::Ingress, Kind::Service, Kind::IngressClass] {
        let resource = resource::of(kind);
        let (api_version, path) = (resource.api_version(), resource.collection(None));
        match list(&client, &path, &mut backoff).await {
            Ok(items) => add(items, kind.name(), &api_version, &mut texts)?,
            Err(failure) if kind != Kind::Ingress && failure.code() == Some(403) => {
                notes.push(format!("{} are not looked at: {failure}", resource.plural));
            }
            Err(failure) => anyhow::bail!("cannot list {}: {failure}", resource.plural),
        }
    }
    for (group, plurals) in CUSTOM {
        for plural in plurals {
            match list(&client, &format!("/apis/{group}/{plural}"), &mut backoff).await {
                Ok(items) => add(items, "", group, &mut texts)?,
                // They are not installed.
                Err(failure) if failure.code() == Some(404) => {}
                Err(failure) => {
                    notes.push(format!("{plural}.{group} are not looked at: {failure}"))
                }
            }
        }
    }
    for name in configs {
        let path = resource::of(Kind::ConfigMap).object(&name.namespace, &name.name);
        match client.call(&Ask::get("get", path), &mut backoff).await {
            Ok(body) => {
                let object = serde_json::from_slice(&body).context("the API server is garbled")?;
                add(vec![object], "ConfigMap", "v1", &mut texts)?;
            }
            Err(failure) => notes.push(format!("ConfigMap {name} is not looked at: {failure}")),
        }
    }
    if configs.is_empty() {
        notes.push("no ConfigMap was named with --configmap, so none was looked at".to_owned());
    }
    Ok(texts)
}

async fn list(client: &Client, path: &str, backoff: &mut Backoff) -> Result<Vec<Value>, Failure> {
    let mut items = Vec::new();
    let mut token = String::new();
    loop {
        let next =
            if token.is_empty() { String::new() } else { format!("&continue={}", segment(&token)) };
        let ask = Ask::get("list", format!("{path}?limit={PAGE}{next}"));
        let body = client.call(&ask, backoff).await?;
        let mut page: Value =
            serde_json::from_slice(&body).map_err(|error| Failure::Garbled(error.to_string()))?;
        if let Some(Value::Array(page)) = page.get_mut("items").map(Value::take) {
            items.extend(page);
        }
        match page["metadata"]["continue"].as_str() {
            Some(next) if !next.is_empty() && next != token => next.clone_into(&mut token),
            Some(_) | None => return Ok(items),
        }
    }
}

/// Objects as manifests, each in a file by namespace, kind and name.
fn add(
    items: Vec<Value>,
    kind: &str,
    api_version: &str,
    texts: &mut Vec<Text>,
) -> anyhow::Result<()> {
    for mut object in items {
        let Some(fields) = object.as_object_mut() else { continue };
        fields.remove("status");
        // Items of a list may lack them.
        fields.entry("apiVersion").or_insert_with(|| api_version.into());
        fields.entry("kind").or_insert_with(|| kind.into());
        let kind = fields["kind"].as_str().unwrap_or(kind).to_owned();
        let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) else {
            continue;
        };
        let added = ["managedFields", "uid", "resourceVersion", "creationTimestamp", "generation"];
        for field in added.iter().chain(&["selfLink"]) {
            metadata.remove(*field);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
        let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
        let namespace = metadata.get("namespace").and_then(Value::as_str).unwrap_or("_cluster");
        let file = format!("{}-{}.yaml", kind.to_ascii_lowercase(), segment(name));
        let path = std::path::Path::new(&segment(namespace)).join(file);
        let text = serde_saphyr::to_string(&object).context("cannot write YAML")?;
        texts.push(Text { path, text });
    }
    Ok(())
}
