//! Events: every input of the controller. Past tense: a fact that arrived.
//!
//! These types are what the journal stores. Enums grow at the end only, and no serde attribute
//! but the derives: bincode decodes by position.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use serde::{Deserialize, Serialize};

use crate::action::{ActionId, MapId};
use crate::capability::Capabilities;
use crate::digest::Digest;
use crate::problem::Problem;
use crate::tell::LeaseRecord;
use crate::world::memory::Memory;
use crate::world::object::{Kind, Object, ObjectRef};

/// A fact that arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// An object was created or changed.
    Upserted(Object),
    /// An object was deleted: a positive observation, never an absence.
    Deleted(ObjectRef),
    /// A complete, newer list of one kind from a source that is believed (a folder): objects of
    /// that kind not in it are gone.
    Relisted {
        /// The kind.
        kind: Kind,
        /// All its objects.
        objects: Vec<Object>,
    },
    /// The problems of the source itself (unreadable files), replacing those told before.
    SourceProblems(Vec<Problem>),
    /// The addresses of a DNS name asked for by [`crate::action::ActionBody::ResolveNames`].
    Resolved {
        /// The name, lower case.
        name: Box<str>,
        /// Its addresses, sorted; empty when it does not exist.
        addresses: Vec<IpAddr>,
    },
    /// HAProxy was found: its abilities, before or without a running worker.
    ProxyFound(Capabilities),
    /// A worker answers on the runtime socket.
    WorkerSeen(WorkerId),
    /// The worker no longer answers. What it had in memory is gone.
    WorkerLost(WorkerId),
    /// What a worker has in memory, read back in full.
    Observed {
        /// Which worker.
        worker: WorkerId,
        /// Its state.
        state: Box<Observed>,
    },
    /// The answer to an action.
    Acked(Ack),
    /// Only time has passed.
    Ticked,
    /// Replaces everything: the state of a controller at the start of a journal segment.
    Restored(Box<crate::checkpoint::Checkpoint>),
    /// A complete list from an API server. What is absent from it is judged before it is believed.
    Listed(Listing),
    /// The Lease of the replicas as the API server has it; `None` when it does not exist. Comes
    /// before the ack of [`crate::tell::Tell::ReadLease`].
    LeaseSeen(Option<LeaseRecord>),
    /// The program is about to end: nothing more is told, and the Lease is given back. The shell
    /// goes on until `Controller::is_silent`, or a second has passed.
    Stopping,
    /// An operator says that everything absent is gone: what is held is given up now.
    DeletionsAccepted,
    /// What a process before this one knew of the cluster. Comes before any list, or counts for
    /// nothing.
    Remembered(Box<Memory>),
    /// The calendar was looked at: seconds since 1970. Only for what people are told of
    /// certificates; at the start and once an hour.
    DateRead(i64),
}

/// A complete list of one kind, with what tells a real mass deletion from a store that was
/// emptied, restored or replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The kind.
    pub kind: Kind,
    /// The namespace that was listed; `None` for all.
    pub namespace: Option<Box<str>>,
    /// The only object that was asked for; `None` for all.
    pub name: Option<Box<str>>,
    /// Identity of the store: the UID of the namespace `kube-system`; empty when it cannot be read.
    pub cluster: Box<str>,
    /// `metadata.resourceVersion` of the list. Grows within one store (KEP-5504); 0 when it is not
    /// a number.
    pub revision: u64,
    /// The highest revision that was seen of this kind and namespace before: of a list, of a watch
    /// event or of a bookmark; 0 for none. A list that is older tells of a store that went back.
    pub watched: u64,
    /// All objects of the kind in that namespace, or the one.
    pub objects: Vec<Object>,
}

/// A worker process of HAProxy. Numbered by the adapter; each new process gets a higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerId(pub u64);

/// The answer to one action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Which action.
    pub id: ActionId,
    /// One outcome per command of a runtime action; exactly one for every other action.
    pub outcomes: Vec<Outcome>,
    /// For a reload that is done: the worker that now serves, having loaded the action's files.
    pub worker: Option<WorkerId>,
}

/// Beginning of the words of a refused reload whose files HAProxy had accepted when asked ahead: the
/// start failed for a reason of the machine, such as a port that is taken, and no object is at fault.
pub const START: &str = "start: ";

/// What is known about something that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It happened, by a positively recognised answer.
    Done,
    /// It did not happen; HAProxy's words.
    Refused(Box<str>),
    /// It may or may not have happened.
    Unknown,
}

/// The memory of a worker, as read back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// `description` of the global section: the digest of the skeleton, in hex.
    pub skeleton: Box<str>,
    /// Every map: entries in HAProxy's order. A key may occur twice.
    pub maps: Vec<(MapId, Vec<(Box<str>, Box<str>)>)>,
    /// Every backend with its servers, sorted by name.
    pub backends: Vec<ObservedBackend>,
    /// Names of certificate files in memory, sorted.
    pub certificates: Vec<Box<str>>,
    /// Names of CA files in memory, sorted.
    pub authorities: Vec<Box<str>>,
    /// Lines of the crt-list: file name and SNI filters.
    pub crt_list: Vec<(Box<str>, Vec<Box<str>>)>,
    /// What the files hold that the next start loads: `render::image_digest`; `None` if unknown.
    pub saved: Option<Digest>,
}

/// One backend, as read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedBackend {
    /// Name.
    pub name: Box<str>,
    /// Servers in HAProxy's order.
    pub servers: Vec<ObservedServer>,
}

/// One server, as read back. Its name is its slot or its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedServer {
    /// Number of the slot; 0 for a server that is not one.
    pub slot: u16,
    /// Address and port; `None` for an unused slot.
    pub address: Option<SocketAddr>,
    /// Administratively ready (not in maintenance, not draining).
    pub ready: bool,
}
