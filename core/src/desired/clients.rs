//! What clients must show in the handshake.

use crate::digest::Digest;

/// What clients are held to in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientCheck {
    /// The vault's key of the authorities, which is also in the name of their file.
    pub authority: Digest,
    /// Whether their lists of revoked certificates count.
    pub revokes: bool,
    /// Whether they must have signed the client's certificate directly, which only a full handshake
    /// shows.
    pub direct: bool,
}

/// What clients of a host are held to, and on whose word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostClients {
    /// What the handshake holds them to.
    pub check: ClientCheck,
    /// The Secret that has the authorities, as a digest of its namespace and name: whoever may change
    /// it may let anybody in.
    pub owner: Digest,
}
