//! What the connected HAProxy can do at run time: discovered by the adapter, never derived from a
//! version number here.

use alloc::boxed::Box;
use serde::{Deserialize, Serialize};

/// The discovered abilities. A field is true when the adapter has proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// For people only; core never looks at it.
    pub version: Box<str>,
    /// `add backend` / `del backend`, safe to use (3.4.7 and later).
    pub dynamic_backends: bool,
    /// `add server` / `del server` whose servers reuse connections (3.0 and later).
    pub dynamic_servers: bool,
    /// `set-headers-bin`, `del-headers-bin`: header names as data (3.4).
    pub headers_bin: bool,
    /// `http-request set-timeout client` by expression (3.0).
    pub timeout_client: bool,
    /// `http-request set-timeout connect` and `queue` by expression (3.4).
    pub timeout_connect: bool,
    /// `balance hash EXPR`.
    pub balance_hash: bool,
    /// Server keyword `no-sni-auto` (3.4): without it the request's Host is sent as SNI.
    pub sni_auto: bool,
    /// Descriptors this HAProxy may use; 0 when unknown.
    pub descriptors: u64,
    /// Lua: actions that ask tidegate (authentication).
    pub lua: bool,
    /// `tune.lua.bool-sample-conversion` (3.1), without which such a HAProxy warns of Lua.
    pub lua_conversion: bool,
    /// A TLS session is resumed only under the crt-list line, authorities and revocations that it
    /// began under (releases from August 2026 on). Elsewhere a certificate that was good enough for
    /// one host would do for all.
    pub isolated_sessions: bool,
    /// Bytes of memory that HAProxy and its successor at a reload may use together; 0 when unknown.
    pub memory: u64,
    /// QUIC, so HTTP/3: a build with it, that bounds how long its handshakes take (3.0 and later).
    pub quic: bool,
    /// `option use-small-buffers l7-retries` (3.4): a request that may have to be sent again is kept
    /// without copying a whole buffer.
    pub small_buffers: bool,
}

/// The three tiers of the design; for documents and reports. Plans look at single abilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Backends and servers at run time.
    A,
    /// Servers at run time, spare backends.
    B,
    /// Server slots, new backends by reload.
    C,
}

impl Capabilities {
    /// The tier these abilities amount to.
    #[must_use]
    pub fn tier(&self) -> Tier {
        if self.dynamic_backends {
            Tier::A
        } else if self.dynamic_servers {
            Tier::B
        } else {
            Tier::C
        }
    }

    /// The abilities of HAProxy 3.4.7 and later: the first-class target, and what `render` and
    /// `plan` assume when no HAProxy is at hand.
    #[must_use]
    pub fn tier_a() -> Capabilities {
        Capabilities {
            version: "3.4".into(),
            dynamic_backends: true,
            dynamic_servers: true,
            headers_bin: true,
            timeout_client: true,
            timeout_connect: true,
            balance_hash: true,
            sni_auto: true,
            descriptors: 0,
            lua: true,
            lua_conversion: true,
            isolated_sessions: true,
            memory: 0,
            quic: true,
            small_buffers: true,
        }
    }

    /// The abilities of HAProxy 3.0 and 3.2.
    #[must_use]
    pub fn tier_b() -> Capabilities {
        Capabilities {
            version: "3.2".into(),
            dynamic_backends: false,
            headers_bin: false,
            sni_auto: false,
            timeout_connect: false,
            lua_conversion: false,
            small_buffers: false,
            ..Capabilities::tier_a()
        }
    }

    /// The abilities of HAProxy 2.6.
    #[must_use]
    pub fn tier_c() -> Capabilities {
        Capabilities {
            version: "2.6".into(),
            dynamic_servers: false,
            timeout_client: false,
            isolated_sessions: false,
            quic: false,
            ..Capabilities::tier_b()
        }
    }
}
