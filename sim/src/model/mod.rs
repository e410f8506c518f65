//! A pure model of HAProxy, from its manual and from what was measured on 2.6 to 3.4; never from
//! tidegate's planner. It uses the vocabulary of core (commands, images) and none of its decisions.
//!
//! [`haproxy`] is the memory of one worker, [`load`] a start from files, [`lexer`] HAProxy's
//! reading of those files.

pub mod haproxy;
pub mod lexer;
pub mod load;
mod view;
