//! Oracles: slow, naive second readings that share no code with what they judge. They use the
//! vocabulary of core (objects, commands, images) and none of its decisions.

pub mod annotations;
pub mod haproxy;
pub mod lexer;
pub mod load;
pub mod routing;
