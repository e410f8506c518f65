//! The objects of manifests that say something about a controller, with their keys.
//!
//! Inputs: the trees of documents. Outputs: [`Found`] objects: Ingresses, Services, ConfigMaps,
//! IngressClasses and haproxytech's custom resources. Not here: what becomes of the keys.

use std::ops::Range;

use super::tree::{Map, Node};
use crate::decode::HAPROXYTECH_GROUPS;

/// One object.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Which of the files it is in.
    pub file: usize,
    /// Line in the file, from 1.
    pub line: usize,
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// `metadata.namespace`; `default` when there is none.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// The object.
    pub node: Node,
}

impl Found {
    /// How the object is named in reports.
    pub fn label(&self) -> String {
        match self.kind.as_str() {
            "IngressClass" => format!("IngressClass {}", self.name),
            kind => format!("{kind} {}/{}", self.namespace, self.name),
        }
    }

    /// Whether it is one of haproxytech's custom resources.
    pub fn is_custom(&self) -> bool {
        HAPROXYTECH_GROUPS.iter().any(|group| self.api_version.starts_with(group))
    }

    /// Its annotations.
    pub fn annotations(&self) -> Option<&Map> {
        self.node.at(&["metadata", "annotations"])?.map()
    }

    /// `data` of a ConfigMap.
    pub fn data(&self) -> Option<&Map> {
        self.node.at(&["data"])?.map()
    }

    /// The text of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations()?.value(key)?.text()
    }

    /// The class it names, by field or by annotation.
    pub fn class(&self) -> Option<&str> {
        let field = self.node.text_at(&["spec", "ingressClassName"]);
        field.or_else(|| self.annotation(CLASS)).filter(|class| !class.is_empty())
    }

    /// Where in the text the class is written.
    pub fn class_places(&self) -> Vec<Range<usize>> {
        let field = self.node.at(&["spec", "ingressClassName"]);
        let annotation = self.annotations().and_then(|map| map.value(CLASS));
        field.into_iter().chain(annotation).map(|node| node.span.clone()).collect()
    }
}

/// The annotation that names a class, as it was before IngressClasses.
pub(super) const CLASS: &str = "kubernetes.io/ingress.class";

/// The objects of a document, those of a list one by one.
pub(super) fn objects(file: usize, text: &str, document: Node, found: &mut Vec<Found>) {
    let text_at = |path: &[&str]| document.text_at(path).unwrap_or_default().to_owned();
    let kind = text_at(&["kind"]);
    if kind.ends_with("List") {
        for item in document.at(&["items"]).map(Node::items).unwrap_or_default() {
            objects(file, text, item.clone(), found);
        }
        return;
    }
    let object = Found {
        file,
        line: line_of(text, document.span.start),
        api_version: text_at(&["apiVersion"]),
        namespace: match document.text_at(&["metadata", "namespace"]) {
            Some(namespace) if !namespace.is_empty() => namespace.to_owned(),
            Some(_) | None => "default".to_owned(),
        },
        name: text_at(&["metadata", "name"]),
        kind,
        node: document,
    };
    let ours = matches!(
        (object.kind.as_str(), object.api_version.as_str()),
        ("Ingress" | "IngressClass", "networking.k8s.io/v1") | ("Service" | "ConfigMap", "v1")
    );
    if !object.name.is_empty() && (ours || object.is_custom()) {
        found.push(object);
    }
}

/// The line of a byte, from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}
