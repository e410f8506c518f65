//! How the pods of a Service are reached: at their own addresses, or through its node ports.

use alloc::format;

use super::value::quoted;
use super::{
    Annotation, Apply, BackendDraft, Context, Family, Mechanism, OnError, Refusal, Scopes,
};
use crate::settings::Reach;

/// The family.
pub const FAMILY: Family = Family {
    title: "How pods are reached",
    about: "For tidegate outside the cluster, where pod addresses may not be reachable.",
    fields: &[],
    keys: &[Annotation {
        key: "reach",
        haproxy: None,
        scopes: Scopes::CIS,
        syntax: "pods or node-ports",
        default: "what `--reach` says: pods",
        about: "Whether requests go to the pods themselves, or to the node port of the Service (type \
                NodePort or LoadBalancer) on every ready Node. Node ports need Nodes to be watched: \
                `--watch-nodes`, with the rights that `tidegate rbac` then prints.",
        example: "pods",
        mechanism: Mechanism::ServerKeyword,
        on_error: OnError::Default,
        apply: Apply::Backend(reach),
    }],
    finish: None,
    finish_route: None,
    rules: &[],
};

fn reach(
    text: &str,
    draft: &mut BackendDraft,
    context: &mut Context<'_, '_>,
) -> Result<(), Refusal> {
    let reach = match text.trim() {
        "pods" => Reach::Pods,
        "node-ports" => Reach::NodePorts,
        other => {
            return Err(Refusal::new(
                format!("{} is no way to reach pods", quoted(other)),
                "use pods or node-ports",
            ));
        }
    };
    if reach == Reach::NodePorts && !context.lookup.settings().scope.nodes {
        return Err(Refusal::new(
            "Nodes are not watched, so their ports are not known",
            "run tidegate with --watch-nodes, and with the rights that `tidegate rbac` then prints",
        ));
    }
    draft.reach = Some(reach);
    Ok(())
}
