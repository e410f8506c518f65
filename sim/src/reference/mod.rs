//! What tidegate should do, read a second time from the rules: slow, naive, request by request,
//! and without any code of core's decisions.

pub mod annotations;
mod claims;
mod clients;
mod customs;
pub mod routing;
