//! Events and actions as text and JSON, for people and tools.
//!
//! In: values of core. Out: a line or several each, and JSON values. The text of a command
//! resembles the one HAProxy gets but is not sent anywhere: certificates appear by digest.

use serde_json::{Value, json};
use tidegate_core::action::{Action, ActionBody, RuntimeCommand, ServerState};
use tidegate_core::desired::{Image, Key};
use tidegate_core::event::{Ack, Event, Listing, Outcome};
use tidegate_core::tell::Tell;
use tidegate_core::world::Fact;
use tidegate_core::world::object::Name;

/// An event in one line.
#[must_use]
pub fn event(event: &Event) -> String {
    match event {
        Event::Upserted(object) => format!("upserted {}", object.object_ref()),
        Event::Deleted(object) => format!("deleted {object}"),
        Event::Relisted { kind, objects } => {
            format!("relisted {}: {} objects", kind.name(), objects.len())
        }
        Event::SourceProblems(problems) => format!("source: {} problems", problems.len()),
        Event::Resolved { name, addresses } => format!("resolved {name}: {addresses:?}"),
        Event::ProxyFound(_) => "HAProxy found".into(),
        Event::WorkerSeen(worker) => format!("worker {} seen", worker.0),
        Event::WorkerLost(worker) => format!("worker {} lost", worker.0),
        Event::Observed { worker, state } => {
            format!("worker {} read back: {} backends", worker.0, state.backends.len())
        }
        Event::Acked(ack) => acked(ack),
        Event::Ticked => "time passed".into(),
        Event::Restored(_) => "state replaced".into(),
        Event::DeletionsAccepted => "an operator accepted the deletions that are held".into(),
        Event::Listed(listing) => {
            let Listing { kind, namespace, name: _, cluster: _, revision, watched: _, objects } =
                listing;
            let place = namespace.as_deref().map_or_else(String::new, |n| format!(" of {n}"));
            format!("listed {}{place} at {revision}: {} objects", kind.name(), objects.len())
        }
        Event::LeaseSeen(None) => "the Lease does not exist".into(),
        Event::LeaseSeen(Some(lease)) => format!("the Lease is held by {:?}", lease.holder),
        Event::Stopping => "the program is about to end".into(),
        Event::DateRead(unix_s) => format!("the date is {unix_s} s after 1970"),
        Event::Remembered(memory) => format!("remembered {} objects", memory.len()),
    }
}

fn acked(ack: &Ack) -> String {
    let Ack { id, outcomes, worker } = ack;
    let (mut done, mut unknown, mut refused) = (0, 0, Vec::new());
    for outcome in outcomes {
        match outcome {
            Outcome::Done => done += 1,
            Outcome::Unknown => unknown += 1,
            Outcome::Refused(why) => refused.push(&**why),
        }
    }
    let mut out = format!("action {} answered: {done} done", id.0);
    if unknown > 0 {
        out.push_str(&format!(", {unknown} unknown"));
    }
    if !refused.is_empty() {
        out.push_str(&format!(", {} refused ({})", refused.len(), refused.join("; ")));
    }
    if let Some(worker) = worker {
        out.push_str(&format!(", now worker {}", worker.0));
    }
    out
}

/// An action in a line, and one more for each of its commands.
#[must_use]
pub fn action(action: &Action) -> String {
    let Action { id, body } = action;
    let mut out = format!("action {}: ", id.0);
    match body {
        ActionBody::Runtime { worker, commands } => {
            out.push_str(&format!("send {} commands to worker {}", commands.len(), worker.0));
            for one in commands {
                out.push_str("\n  ");
                out.push_str(&command(one));
            }
        }
        ActionBody::ReadBack { worker } => out.push_str(&format!("read back worker {}", worker.0)),
        ActionBody::Save { image } => out.push_str(&format!("save {}", sizes(image))),
        ActionBody::Reload { image, reasons } => {
            out.push_str(&format!("reload with {}", sizes(image)));
            for reason in reasons {
                out.push_str(&format!("\n  because: {reason}"));
            }
        }
        ActionBody::Check { image } => out.push_str(&format!("check {}", sizes(image))),
        ActionBody::ResolveNames { names } => {
            let names: Vec<&str> = names.iter().map(|name| &**name).collect();
            out.push_str(&format!("resolve {}", names.join(", ")));
        }
        ActionBody::FollowSecrets { add, drop } => {
            let list = |names: &[Name]| {
                names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            };
            out.push_str(&format!("follow Secrets {}", list(add)));
            if !drop.is_empty() {
                out.push_str(&format!("; no longer {}", list(drop)));
            }
        }
        ActionBody::Tell(one) => out.push_str(&tell(one)),
        ActionBody::Relist { kind } => out.push_str(&format!("list {} anew", kind.name())),
        ActionBody::CheckSnippet { snippet } => {
            let lines = snippet.text.lines().count();
            out.push_str(&format!("judge {lines} lines for {}", snippet.place.name()));
        }
    }
    out
}

/// A write to the API server in one line.
#[must_use]
pub fn tell(tell: &Tell) -> String {
    match tell {
        Tell::Status { ingress, uid: _, addresses } => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("status of Ingress {ingress}: {}", addresses.join(", "))
        }
        Tell::Event(notice) => {
            format!("event {} about {}: {}", notice.reason.as_str(), notice.about, notice.note)
        }
        Tell::ReadLease => "read the Lease".into(),
        Tell::WriteLease { version, lease } => {
            let verb = if version.is_some() { "replace" } else { "create" };
            format!("{verb} the Lease for {:?}", lease.holder)
        }
    }
}

fn sizes(image: &Image) -> String {
    let entries: usize =
        tidegate_core::action::MapId::ALL.iter().map(|id| image.map(*id).len()).sum();
    format!(
        "{} backends, {entries} map entries, {} certificates",
        image.backends.len(),
        image.certificates.len()
    )
}

/// A command in one line.
#[must_use]
pub fn command(command: &RuntimeCommand) -> String {
    use RuntimeCommand as C;
    match command {
        C::AddBackend { backend, profile } => format!("add backend {backend} from {profile}"),
        C::PublishBackend { backend } => format!("publish backend {backend}"),
        C::UnpublishBackend { backend } => format!("unpublish backend {backend}"),
        C::DeleteBackend { backend } => format!("del backend {backend}"),
        C::AddServer { backend, server, address, keywords } => {
            format!("add server {backend}/{server} {address} {keywords}").trim_end().to_owned()
        }
        C::SetServerAddress { backend, server, address } => {
            format!("set server {backend}/{server} addr {} port {}", address.ip(), address.port())
        }
        C::SetServerState { backend, server, state } => {
            let state = match state {
                ServerState::Ready => "ready",
                ServerState::Drain => "drain",
                ServerState::Maint => "maint",
            };
            format!("set server {backend}/{server} state {state}")
        }
        C::EnableHealth { backend, server } => format!("enable health {backend}/{server}"),
        C::ShutdownSessions { backend, server } => {
            format!("shutdown sessions server {backend}/{server}")
        }
        C::DeleteServer { backend, server } => format!("del server {backend}/{server}"),
        C::AddMapEntry { map, key, value } => format!("add map {} {key} {value}", map.file()),
        C::SetMapEntry { map, key, value } => format!("set map {} {key} {value}", map.file()),
        C::DeleteMapEntry { map, key } => format!("del map {} {key}", map.file()),
        C::InstallCertificate { file, digest } => format!("new ssl cert {file} ({digest})"),
        C::DeleteCertificate { file } => format!("del ssl cert {file}"),
        C::ReplaceDefaultCertificate { digest: Some(digest) } => {
            format!("set the default certificate ({digest})")
        }
        C::ReplaceDefaultCertificate { digest: None } => {
            "set the default certificate (self-signed)".into()
        }
        C::AddCrtListLine { file, hosts } => {
            format!("add ssl crt-list {file} {}", hosts.join(" "))
        }
        C::DeleteCrtListLine { file } => format!("del ssl crt-list {file}"),
        C::InstallAuthority { file, digest } => format!("new ssl ca-file {file} ({digest})"),
        C::DeleteAuthority { file } => format!("del ssl ca-file {file}"),
    }
}

/// What may differ between wanted and running, in words.
#[must_use]
pub fn key(key: &Key) -> String {
    match key {
        Key::Skeleton => "the static part".into(),
        Key::DefaultCertificate => "the default certificate".into(),
        Key::File(name) => format!("file {name}"),
        Key::Certificate(digest) => format!("certificate {digest}"),
        Key::Backend(name) => format!("backend {name}"),
        Key::Map(map, key) => format!("{} entry {key}", map.file()),
    }
}

/// A fact in words.
#[must_use]
pub fn fact(fact: &Fact) -> String {
    match fact {
        Fact::Capabilities => "what HAProxy can do".into(),
        Fact::ConfigMap => "the controller's ConfigMap".into(),
        Fact::Defaults => "the ConfigMap's defaults of routes and backends".into(),
        Fact::DefaultClass => "the default IngressClass".into(),
        Fact::Source => "the source's problems".into(),
        Fact::Class(name) => format!("IngressClass {name}"),
        Fact::Host(host) => format!("the Ingresses of host {host:?}"),
        Fact::TlsHost(host) => format!("the TLS entries of host {host:?}"),
        Fact::Ingress(name) => format!("Ingress {name}"),
        Fact::Service(name) => format!("Service {name}"),
        Fact::Slices(name) => format!("the endpoints of Service {name}"),
        Fact::Secret(name) => format!("Secret {name}"),
        Fact::Resolved(name) => format!("the addresses of {name}"),
        Fact::Quarantined(object) => format!("the quarantine of {object}"),
        Fact::Status(name) => format!("status of Ingress {name}"),
        Fact::Nodes => "the Nodes".into(),
        Fact::Custom(part, name) => format!("{} {name}", part.name()),
        Fact::TcpResources => "the TCP resources".into(),
        Fact::Namespace(name) => format!("Namespace {name}"),
        Fact::Snippet(object) => format!("the snippets of {object}"),
        Fact::Role(role) => format!("the ConfigMap of {}", role.flag()),
        Fact::Pattern(file) => format!("the networks of patterns/{file}"),
        Fact::PatternState(file) => format!("whether patterns/{file} can be used"),
    }
}

/// An action as JSON: commands in full, images by their sizes.
#[must_use]
pub fn action_json(action: &Action) -> Value {
    let Action { id, body } = action;
    let mut value = match body {
        ActionBody::Runtime { worker, commands } => {
            let texts: Vec<String> = commands.iter().map(command).collect();
            json!({ "do": "runtime", "worker": worker.0, "commands": texts })
        }
        ActionBody::ReadBack { worker } => json!({ "do": "read-back", "worker": worker.0 }),
        ActionBody::Save { image } => json!({ "do": "save", "image": sizes_json(image) }),
        ActionBody::Reload { image, reasons } => {
            let reasons: Vec<Value> = reasons
                .iter()
                .map(|reason| json!({ "label": reason.label(), "text": reason.to_string() }))
                .collect();
            json!({ "do": "reload", "image": sizes_json(image), "reasons": reasons })
        }
        ActionBody::Check { image } => json!({ "do": "check", "image": sizes_json(image) }),
        ActionBody::ResolveNames { names } => json!({ "do": "resolve", "names": names }),
        ActionBody::FollowSecrets { add, drop } => {
            json!({ "do": "follow-secrets", "add": add, "drop": drop })
        }
        ActionBody::Tell(tell) => json!({ "do": "tell", "what": tell }),
        ActionBody::Relist { kind } => json!({ "do": "relist", "kind": kind }),
        ActionBody::CheckSnippet { snippet } => {
            json!({ "do": "check-snippet", "place": snippet.place.name(), "text": snippet.text })
        }
    };
    if let Some(fields) = value.as_object_mut() {
        fields.insert("id".into(), json!(id.0));
    }
    value
}

fn sizes_json(image: &Image) -> Value {
    let maps: serde_json::Map<String, Value> = tidegate_core::action::MapId::ALL
        .iter()
        .map(|id| (id.file().to_owned(), json!(image.map(*id).len())))
        .collect();
    json!({
        "backends": image.backends.len(),
        "certificates": image.certificates.len(),
        "maps": maps,
    })
}

/// An event as JSON, in full where JSON can hold it.
#[must_use]
pub fn event_json(event: &Event) -> Value {
    match event {
        // Its tables have keys that are no text.
        Event::Restored(_) => json!("Restored"),
        Event::Upserted(_)
        | Event::Deleted(_)
        | Event::Relisted { .. }
        | Event::SourceProblems(_)
        | Event::Resolved { .. }
        | Event::ProxyFound(_)
        | Event::WorkerSeen(_)
        | Event::WorkerLost(_)
        | Event::Observed { .. }
        | Event::Acked(_)
        | Event::Ticked
        | Event::Listed(_)
        | Event::LeaseSeen(_)
        | Event::Stopping
        | Event::DeletionsAccepted
        | Event::DateRead(_)
        | Event::Remembered(_) => {
            serde_json::to_value(event).unwrap_or_else(|_| json!(self::event(event)))
        }
    }
}
