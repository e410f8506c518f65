//! x
mod block;
mod scalar;
