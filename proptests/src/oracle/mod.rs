//! Oracles: slow, naive second readings that share no code with what they judge. They are the
//! simulator's: one model of HAProxy and one reading of the Ingress rules serve both.

pub use tidegate_sim::model::{haproxy, lexer, load};
pub use tidegate_sim::reference::{annotations, routing};
