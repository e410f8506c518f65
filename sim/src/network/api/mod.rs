//! A simulated API server: one store, and the HTTP that the real one speaks about it.
//!
//! [`store`] has objects, revisions and what was forgotten, [`server`] which store answers and what is
//! wrong with it, [`http`] requests and answers, [`serve`] connections, [`watch`] watches, [`verbs`] lists, reads and writes.

pub mod http;
pub mod serve;
pub mod server;
pub mod store;
pub mod verbs;
pub mod watch;
