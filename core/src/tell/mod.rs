//! What is told to the API server: the vocabulary of status, Kubernetes Events and the Lease.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::problem::{Reason, Severity};
use crate::world::object::{Address, Name, ObjectRef};

/// One request of [`crate::action::Lane::Cluster`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tell {
    /// Write `status.loadBalancer` of an Ingress, if it still is that object.
    Status {
        /// Which.
        ingress: Name,
        /// Its UID.
        uid: Box<str>,
        /// The whole of `status.loadBalancer.ingress`.
        addresses: Vec<Address>,
    },
    /// Create or refresh a Kubernetes Event.
    Event(Notice),
    /// Read the Lease; answered by `Event::LeaseSeen` before the ack.
    ReadLease,
    /// Create the Lease, or replace it if it still is at the version that was read.
    WriteLease {
        /// The version that was read; `None` creates it.
        version: Option<Box<str>>,
        /// What to write.
        lease: LeaseRecord,
    },
}

/// A Kubernetes Event to be created or refreshed: one per object and reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The object it is about.
    pub about: ObjectRef,
    /// Its UID; empty when not known.
    pub uid: Box<str>,
    /// `reason`.
    pub reason: Reason,
    /// `Warning` in either case; errors are told first.
    pub severity: Severity,
    /// `note`: what is wrong, what was done instead, how to fix it. At most 1,024 bytes
    /// (`events.k8s.io/v1`).
    pub note: String,
}

/// A Lease, as far as the election reads and writes it (`coordination.k8s.io/v1` LeaseSpec).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// `metadata.resourceVersion`; empty in what is written.
    pub version: Box<str>,
    /// `spec.holderIdentity`; empty when it is free.
    pub holder: Box<str>,
    /// `spec.leaseDurationSeconds`, in milliseconds.
    pub duration_ms: u64,
    /// `spec.leaseTransitions`.
    pub transitions: u32,
    /// `spec.renewTime` as written, compared only for change: clocks of others are not read.
    /// Empty in what is written; the adapter puts the wall clock there.
    pub renewed: Box<str>,
}
