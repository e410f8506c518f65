//! Actions: what the adapters must do. Imperative, complete, without choices.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

use crate::desired::Image;
use crate::digest::Digest;
use crate::event::WorkerId;
use crate::plan::remedy::ReloadReason;
use crate::snippet::Snippet;
use crate::tell::Tell;
use crate::world::object::{Kind, Name};

/// Number of an action; strictly increasing within one controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActionId(pub u64);

/// Actions of one lane run one after another, but for [`Lane::Cluster`]; lanes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// Commands on the worker's runtime socket, and read-backs.
    Runtime,
    /// Files, validation and reloads.
    Files,
    /// Requests to the source: names to resolve, Secrets to follow, kinds to list anew.
    Source,
    /// Writes to the API server: status, Kubernetes Events, the Lease. These run side by side.
    Cluster,
    /// Snippets that HAProxy judges, each by itself.
    Trial,
}

/// One request to an adapter. Each is acked exactly once, except those of [`Lane::Source`].
#[derive(Clone, Debug)]
pub struct Action {
    /// Its number.
    pub id: ActionId,
    /// What to do.
    pub body: ActionBody,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum ActionBody {
    /// Send these commands, in order, to this worker. They are independent enough to be sent
    /// together: what must wait for an answer comes in a later action.
    Runtime {
        /// The only worker that may get them.
        worker: WorkerId,
        /// The commands.
        commands: Vec<RuntimeCommand>,
    },
    /// Read back everything the worker has in memory; answered by `Event::Observed` before the
    /// ack.
    ReadBack {
        /// Which worker.
        worker: WorkerId,
    },
    /// Write the files of this image as a new generation and point the next start at it.
    Save {
        /// What to write.
        image: Arc<Image>,
    },
    /// Write the files, have HAProxy check them, start or reload, and wait for the outcome.
    Reload {
        /// What to write.
        image: Arc<Image>,
        /// Why no runtime command will do.
        reasons: Vec<ReloadReason>,
    },
    /// Have HAProxy check this image off the serving path, and change nothing.
    Check {
        /// What to check.
        image: Arc<Image>,
    },
    /// Keep these DNS names resolved, and no others; answered by `Event::Resolved`.
    ResolveNames {
        /// Lower-case names.
        names: BTreeSet<Box<str>>,
    },
    /// Follow these Secrets, and these no longer. Each one added is answered at once by
    /// `Event::Upserted`, or by `Event::Deleted` when it does not exist, and after that by its
    /// changes.
    FollowSecrets {
        /// To be followed from now on.
        add: Vec<Name>,
        /// Not to be followed any more.
        drop: Vec<Name>,
    },
    /// Have HAProxy judge a snippet by itself: `crate::snippet::write_trial` in a private folder with
    /// the snippet's files, without environment, for a few seconds at most.
    CheckSnippet {
        /// What to judge.
        snippet: Arc<Snippet>,
    },
    /// Write to the API server.
    Tell(Tell),
    /// List a kind anew, in every namespace that is watched, though its watch is fine: objects are
    /// held that a list did not have. Answered by `Event::Listed`; asked for again when it is not.
    Relist {
        /// The kind. For Secrets on demand: those that are followed.
        kind: Kind,
    },
}

impl ActionBody {
    /// The lane it runs in.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match self {
            ActionBody::Runtime { .. } | ActionBody::ReadBack { .. } => Lane::Runtime,
            ActionBody::Save { .. } | ActionBody::Reload { .. } | ActionBody::Check { .. } => {
                Lane::Files
            }
            ActionBody::ResolveNames { .. }
            | ActionBody::FollowSecrets { .. }
            | ActionBody::Relist { .. } => Lane::Source,
            ActionBody::CheckSnippet { .. } => Lane::Trial,
            ActionBody::Tell(_) => Lane::Cluster,
        }
    }
}

/// A command on the worker's runtime socket. Texts in it are encoded by `crate::render` already
/// where HAProxy's configuration lexer matters, and by the socket adapter for the CLI.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RuntimeCommand {
    /// `add backend NAME from PROFILE`
    AddBackend {
        /// New backend.
        backend: Arc<str>,
        /// Named defaults section.
        profile: Arc<str>,
    },
    /// `publish backend NAME`
    PublishBackend {
        /// Which.
        backend: Arc<str>,
    },
    /// `unpublish backend NAME`
    UnpublishBackend {
        /// Which.
        backend: Arc<str>,
    },
    /// `del backend NAME`
    DeleteBackend {
        /// Which.
        backend: Arc<str>,
    },
    /// `add server BACKEND/SERVER ADDRESS KEYWORDS`
    AddServer {
        /// Backend.
        backend: Arc<str>,
        /// New server.
        server: Arc<str>,
        /// Its address.
        address: SocketAddr,
        /// Keywords, as in the configuration.
        keywords: Arc<str>,
    },
    /// `set server BACKEND/SERVER addr ADDRESS port PORT` (a slot gets an endpoint)
    SetServerAddress {
        /// Backend.
        backend: Arc<str>,
        /// Slot.
        server: Arc<str>,
        /// Its address.
        address: SocketAddr,
    },
    /// `set server BACKEND/SERVER state ready|drain|maint`
    SetServerState {
        /// Backend.
        backend: Arc<str>,
        /// Server.
        server: Arc<str>,
        /// Wanted state.
        state: ServerState,
    },
    /// `enable health BACKEND/SERVER`: a server added with `check` does not check by itself.
    EnableHealth {
        /// Backend.
        backend: Arc<str>,
        /// Server.
        server: Arc<str>,
    },
    /// `shutdown sessions server BACKEND/SERVER`
    ShutdownSessions {
        /// Backend.
        backend: Arc<str>,
        /// Server.
        server: Arc<str>,
    },
    /// `del server BACKEND/SERVER`
    DeleteServer {
        /// Backend.
        backend: Arc<str>,
        /// Server in maintenance without connections.
        server: Arc<str>,
    },
    /// `add map`: the key must not be there.
    AddMapEntry {
        /// Map.
        map: MapId,
        /// Key.
        key: Arc<str>,
        /// Value.
        value: Arc<str>,
    },
    /// `set map`: the key must be there.
    SetMapEntry {
        /// Map.
        map: MapId,
        /// Key.
        key: Arc<str>,
        /// Value.
        value: Arc<str>,
    },
    /// `del map`
    DeleteMapEntry {
        /// Map.
        map: MapId,
        /// Key.
        key: Arc<str>,
    },
    /// `new`, `set` and `commit ssl cert` under a content-addressed name.
    InstallCertificate {
        /// File name.
        file: Arc<str>,
        /// The vault's key of chain and private key.
        digest: Digest,
    },
    /// `del ssl cert`
    DeleteCertificate {
        /// File name.
        file: Arc<str>,
    },
    /// `set` and `commit ssl cert` on the default certificate.
    ReplaceDefaultCertificate {
        /// The vault's key; `None` for the self-signed one.
        digest: Option<Digest>,
    },
    /// `add ssl crt-list`: one line; the file is installed and in no line yet.
    AddCrtListLine {
        /// File name.
        file: Arc<str>,
        /// SNI filters.
        hosts: Vec<Arc<str>>,
    },
    /// `del ssl crt-list`: the file's only line.
    DeleteCrtListLine {
        /// File name.
        file: Arc<str>,
    },
    /// `new`, `set` and `commit ssl ca-file` under a content-addressed name.
    InstallAuthority {
        /// File name.
        file: Arc<str>,
        /// The vault's key.
        digest: Digest,
    },
    /// `del ssl ca-file`
    DeleteAuthority {
        /// File name.
        file: Arc<str>,
    },
}

/// Administrative state of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ServerState {
    /// Takes traffic.
    Ready,
    /// Takes no new balanced traffic; streams go on.
    Drain,
    /// Takes no new traffic at all; streams go on.
    Maint,
}

/// The maps of the skeleton. The file of each is `maps/NAME.map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MapId {
    /// `host/path/` (prefix) and `host/path/>` (exact) → route record; the longest key that begins
    /// the request's `host/path/>` wins.
    Route,
    /// Policy id → fields.
    Policy,
    /// Header set id, verb and name → value; where header names are no data.
    Headers,
    /// `list:hex-address-prefix` → allow or deny.
    Access,
    /// Regular expression over `id:path` → new path.
    Rewrite,
    /// Backend name → health check request.
    Check,
    /// Regular expression over `id` and the request → hash key.
    HashKey,
    /// Bookkeeping that no rule reads: what a read-back cannot show otherwise.
    Ledger,
    /// Port → record of a TCP service: its backend, with a mark if TLS ends here.
    Tcp,
    /// Host → record of TLS that is passed through, by SNI: backend and lists.
    Sni,
}

impl MapId {
    /// Every map.
    pub const ALL: [MapId; 10] = [
        MapId::Route,
        MapId::Policy,
        MapId::Headers,
        MapId::Access,
        MapId::Rewrite,
        MapId::Check,
        MapId::HashKey,
        MapId::Ledger,
        MapId::Tcp,
        MapId::Sni,
    ];

    /// The map's file within a generation, which is also its identifier on the runtime socket.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            MapId::Route => "maps/route.map",
            MapId::Policy => "maps/policy.map",
            MapId::Headers => "maps/headers.map",
            MapId::Access => "maps/access.map",
            MapId::Rewrite => "maps/rewrite.map",
            MapId::Check => "maps/check.map",
            MapId::HashKey => "maps/hash-key.map",
            MapId::Ledger => "maps/ledger.map",
            MapId::Tcp => "maps/tcp.map",
            MapId::Sni => "maps/sni.map",
        }
    }

    /// Whether its values are records: what refers to backends.
    #[must_use]
    pub fn has_records(self) -> bool {
        match self {
            MapId::Route | MapId::Tcp | MapId::Sni => true,
            MapId::Policy
            | MapId::Headers
            | MapId::Access
            | MapId::Rewrite
            | MapId::Check
            | MapId::HashKey
            | MapId::Ledger => false,
        }
    }
}
