//! A simulated HAProxy that is talked to in text: the runtime and the master CLI of 2.6, 3.0, 3.2
//! and 3.4 over sockets, on the model of its memory ([`crate::model`]).
//!
//! [`process`] has master and workers, [`streams`] what they do for a while, [`serve`] the sockets,
//! [`lines`] the framing, [`command`] carries a line out, [`answers`] and [`show`] have HAProxy's
//! words. Texts and framing are those measured on the real versions; written from them and the
//! manual, never from the adapter that reads them.

pub mod answers;
pub mod command;
pub mod lines;
pub mod process;
pub mod serve;
pub mod show;
pub mod streams;

use tidegate_core::capability::Capabilities;

/// A version that is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 2.6
    V26,
    /// 3.0
    V30,
    /// 3.2
    V32,
    /// 3.4
    V34,
}

impl Version {
    /// All, newest first.
    pub const ALL: [Version; 4] = [Version::V34, Version::V32, Version::V30, Version::V26];

    /// By its number.
    #[must_use]
    pub fn of(name: &str) -> Option<Version> {
        Version::ALL.into_iter().find(|version| version.name() == name)
    }

    /// Its number.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Version::V26 => "2.6",
            Version::V30 => "3.0",
            Version::V32 => "3.2",
            Version::V34 => "3.4",
        }
    }

    /// What it calls itself.
    #[must_use]
    pub fn full(self) -> &'static str {
        match self {
            Version::V26 => "2.6.12-1+deb12u4",
            Version::V30 => "3.0.11-1+deb13u5",
            Version::V32 => "3.2.26-1",
            Version::V34 => "3.4.7-1",
        }
    }

    /// Major and minor, for comparing.
    #[must_use]
    pub fn number(self) -> (u8, u8) {
        match self {
            Version::V26 => (2, 6),
            Version::V30 => (3, 0),
            Version::V32 => (3, 2),
            Version::V34 => (3, 4),
        }
    }

    /// What its runtime commands can do, for the model.
    #[must_use]
    pub fn capabilities(self) -> Capabilities {
        match self {
            Version::V34 => Capabilities::tier_a(),
            Version::V32 | Version::V30 => Capabilities::tier_b(),
            // `add server` is there; tidegate does not use it, as such servers reuse nothing.
            Version::V26 => Capabilities::tier_c(),
        }
    }
}

/// First version that accepts a word, or two neighbouring ones, of a configuration.
const SINCE: [(&[&str], (u8, u8)); 9] = [
    (&["set-headers-bin"], (3, 4)),
    (&["del-headers-bin"], (3, 4)),
    (&["set-timeout", "client"], (3, 0)),
    (&["set-timeout", "connect"], (3, 4)),
    (&["set-timeout", "queue"], (3, 4)),
    (&["no-sni-auto"], (3, 3)),
    (&["balance", "hash"], (2, 6)),
    (&["limited-quic"], (3, 0)),
    (&["timeout", "client-hs"], (3, 0)),
];

/// The first keyword of a configuration that a version does not know.
#[must_use]
pub fn unknown_keyword(config: &str, version: Version) -> Option<String> {
    for (number, line) in config.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        for (wanted, since) in SINCE {
            if version.number() < since && words.windows(wanted.len()).any(|at| at == wanted) {
                let word = wanted.join(" ");
                return Some(format!("parsing [haproxy.cfg:{}] : unknown '{word}'.", number + 1));
            }
        }
    }
    None
}
