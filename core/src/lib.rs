//! # tidegate's core
//!
//! A pure, deterministic state machine: what Kubernetes says and HAProxy answers goes in as
//! [`event::Event`]s, what HAProxy must do comes out as [`action::Action`]s. No clock, socket,
//! file, thread, log or random number: the compiler proves it (`no_std`).
//!
//! ```text
//!   Event ──► World ──► Projections ──► Desired ──┐
//!                                                 ├──► Plan ──► Action
//!   Ack ────────────────► Applied (Running) ──────┘
//! ```
//!
//! Modules in reading order: [`event`], [`action`], [`world`], [`project`], [`desired`],
//! [`applied`], [`plan`], [`controller`], [`render`], [`annotations`].
//!
//! ## The contract of the adapters
//!
//! - Deliver events in the order in which they arrived.
//! - Run the actions of a lane one after another; lanes are independent.
//! - Ack every action of the lanes Runtime, Files and Trial exactly once; when unsure, `Unknown`.
//! - A runtime action goes to the worker it names or to none.
//!
//! ```
//! use tidegate_core::{controller::Controller, event::Event, settings::Settings, time::Time};
//! use tidegate_core::{action::ActionBody, capability::Capabilities, world::object::Kind};
//!
//! let mut controller = Controller::new(Settings::documented("/tmp/state"), Time(0));
//! let mut events = vec![Event::ProxyFound(Capabilities::tier_a())];
//! // Nothing is rendered before every kind was listed once.
//! assert!(controller.step(Time(1), events.clone()).actions.is_empty());
//! events.clear();
//! for kind in Kind::ALL {
//!     events.push(Event::Relisted { kind, objects: vec![] });
//! }
//! let step = controller.step(Time(2), events);
//! assert!(matches!(step.actions[0].body, ActionBody::Reload { .. }));
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod action;
pub mod annotations;
pub mod applied;
mod budget;
pub mod capability;
pub mod check;
pub mod checkpoint;
pub mod controller;
pub mod desired;
pub mod digest;
pub mod event;
mod files_lane;
mod fingerprint;
pub mod plan;
pub mod problem;
pub mod project;
pub mod quarantine;
pub mod render;
mod runtime_lane;
pub mod sabotage;
pub mod settings;
pub mod shard;
pub mod small;
pub mod snippet;
mod snippet_lane;
pub mod tell;
pub mod time;
pub mod world;
