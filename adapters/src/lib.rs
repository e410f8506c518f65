//! # tidegate's adapters
//!
//! The boring shell around `tidegate_core`: they move bytes and decide nothing about routing.
//! Sources ([`folder`]) decode objects into events; the loop in [`run`] feeds the controller and
//! hands its actions out; [`haproxy`] carries them out and answers; [`journal`] records every
//! input. Everything from outside comes through the seams in [`ports`], so that a simulator can run
//! all of it unchanged.
//!
//! Modules in reading order: [`ports`], [`run`], [`decode`], [`folder`], [`vault`], [`haproxy`],
//! [`journal`], [`metrics`], [`admin`], [`cli`].
#![forbid(unsafe_code)]

pub mod admin;
pub mod auth;
pub mod cli;
pub mod custom;
pub mod decode;
pub mod demo;
pub mod folder;
pub mod haproxy;
pub mod journal;
pub mod kube;
pub mod metrics;
pub mod migrate;
pub mod options;
pub mod os;
pub mod ports;
pub mod relay;
pub mod resolve;
pub mod run;
pub mod sabotage;
pub mod telemetry;
pub mod vault;
