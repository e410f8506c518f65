//! The simulator of tidegate. Nothing of it is written yet: this package holds its place.
//!
//! It will run the real adapters on simulated seams (`tidegate::ports`) and the core against
//! models of HAProxy and of the Kubernetes API. Until then `tidegate-proptests` drives the core
//! against a model of HAProxy's memory.
