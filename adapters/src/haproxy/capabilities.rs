//! What an HAProxy can do, with the reason for each finding.
//!
//! Job: find [`Capabilities`] by trying: `haproxy -c` on a few lines for what the configuration
//! must accept, the version for what only misbehaves (crashes, missing connection reuse), the
//! process for its descriptors. Inputs: a binary, or the version of a running worker when there is
//! no binary. Outputs: abilities and findings for people. Not here: what follows from them.

use std::io;
use std::path::Path;

use tidegate_core::capability::Capabilities;

use crate::ports::Ports;

/// One finding, for `tidegate capabilities`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the field of [`Capabilities`].
    pub ability: &'static str,
    /// Whether it can be used.
    pub present: bool,
    /// Why, or why not.
    pub reason: String,
}

/// Abilities and how they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The abilities.
    pub capabilities: Capabilities,
    /// One per ability.
    pub findings: Vec<Finding>,
}

/// A release: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u16, pub u16, pub u16);

/// First release whose dynamic backends survive concurrent `show` commands.
const DYNAMIC_BACKENDS: Release = Release(3, 4, 7);
/// First release whose dynamic servers keep connections (fixed in 3.0-dev5).
const DYNAMIC_SERVERS: Release = Release(3, 0, 0);
/// First releases of each branch that were seen to keep TLS sessions of different hosts apart
/// (HAProxy commit 5d5f12376, August 2026, and what followed). It only shows in handshakes.
const ISOLATED_SESSIONS: [Release; 2] = [Release(3, 2, 26), Release(3, 4, 7)];

impl Release {
    /// Reads `3.4.7-1`, `2.6.12-1+deb12u4` or `3.5-dev3`.
    #[must_use]
    pub fn parse(version: &str) -> Option<Release> {
        let numbers = version.split(|c: char| c != '.' && !c.is_ascii_digit()).next()?;
        let mut parts = numbers.split('.').map(|part| part.parse::<u16>().ok());
        let (major, minor) = (parts.next()??, parts.next()??);
        Some(Release(major, minor, parts.next().flatten().unwrap_or(0)))
    }

    /// Whether TLS sessions of different hosts are kept apart.
    fn isolates_sessions(self) -> bool {
        let Release(major, minor, patch) = self;
        let newest =
            ISOLATED_SESSIONS.iter().max().is_some_and(|first| (major, minor) > (first.0, first.1));
        let same = |first: &Release| (major, minor) == (first.0, first.1) && patch >= first.2;
        newest || ISOLATED_SESSIONS.iter().any(same)
    }

    /// Whether payloads on the runtime socket may exceed one buffer (3.4 and later).
    #[must_use]
    pub fn large_payloads(self) -> bool {
        self >= Release(3, 4, 0)
    }
}

/// The version in the output of `haproxy -vv`.
#[must_use]
pub fn version_in(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("HAProxy version "))?.split(' ').next()
}

/// A piece of configuration that an HAProxy with the ability accepts.
struct Trial {
    ability: &'static str,
    what: &'static str,
    /// First release known to have it; used where nothing can be tried.
    since: Release,
    section: &'static str,
    lines: &'static str,
}

const TRIALS: [Trial; 9] = [
    Trial {
        ability: "headers_bin",
        what: "set-headers-bin, del-headers-bin",
        since: Release(3, 4, 0),
        section: "backend",
        lines: " http-request set-headers-bin var(txn.x)\n\
                \x20http-request del-headers-bin var(txn.x)\n",
    },
    Trial {
        ability: "timeout_client",
        what: "http-request set-timeout client by expression",
        since: Release(3, 0, 0),
        section: "frontend",
        lines: " http-request set-timeout client var(txn.x)\n",
    },
    Trial {
        ability: "timeout_connect",
        what: "http-request set-timeout connect and queue by expression",
        since: Release(3, 4, 0),
        section: "backend",
        lines: " http-request set-timeout connect var(txn.x)\n\
                \x20http-request set-timeout queue var(txn.x)\n",
    },
    Trial {
        ability: "balance_hash",
        what: "balance hash by expression",
        since: Release(2, 6, 0),
        section: "backend",
        lines: " balance hash var(txn.x)\n hash-type consistent\n",
    },
    Trial {
        ability: "sni_auto",
        what: "server keyword no-sni-auto",
        since: Release(3, 3, 0),
        section: "backend",
        lines: " server s 127.0.0.1:1 ssl verify none no-sni-auto\n",
    },
    Trial {
        ability: "lua",
        what: "Lua, for authentication",
        since: Release(2, 6, 0),
        section: "backend",
        lines: "global\n lua-load /dev/null\n",
    },
    Trial {
        ability: "lua_conversion",
        what: "tune.lua.bool-sample-conversion",
        since: Release(3, 1, 0),
        section: "backend",
        lines: "global\n tune.lua.bool-sample-conversion normal\n",
    },
    Trial {
        ability: "small_buffers",
        what: "option use-small-buffers l7-retries",
        since: Release(3, 4, 0),
        section: "backend",
        lines: " option use-small-buffers l7-retries\nglobal\n tune.bufsize.small 4096\n",
    },
    // What a build with QUIC must accept too; the build itself is in its list of features.
    Trial {
        ability: "quic",
        what: "HTTP/3: limited-quic and timeout client-hs",
        since: Release(3, 0, 0),
        section: "frontend",
        lines: " timeout client-hs 1s\nglobal\n limited-quic\n",
    },
];

/// Whether the output of `haproxy -vv` names a feature as built in.
fn has_feature(text: &str, feature: &str) -> bool {
    let lists = text.lines().filter(|line| line.starts_with("Feature list"));
    let mut words = lists.flat_map(str::split_whitespace);
    words.any(|word| word.strip_prefix('+') == Some(feature))
}

impl Trial {
    fn config(&self) -> String {
        let Trial { ability: _, what: _, since: _, section, lines } = self;
        format!(
            "defaults d\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n\
             {section} trial from d\n{lines}\
             frontend listen from d\n bind 127.0.0.1:1\n"
        )
    }
}

/// Finds the abilities of a binary. `scratch` is a folder for trial configurations.
///
/// # Errors
/// When the binary cannot be run or does not say its version.
pub async fn of_binary(ports: &Ports, binary: &Path, scratch: &Path) -> io::Result<Discovery> {
    let text = ports.processes.version(binary).await?;
    let version = version_in(&text).ok_or_else(|| {
        let text = format!("{} does not say that it is HAProxy", binary.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })?;
    let [one, two, three, four, five, six, seven, eight, nine] = &TRIALS;
    let tried = tokio::try_join!(
        biased;
        try_config(ports, binary, scratch, one),
        try_config(ports, binary, scratch, two),
        try_config(ports, binary, scratch, three),
        try_config(ports, binary, scratch, four),
        try_config(ports, binary, scratch, five),
        try_config(ports, binary, scratch, six),
        try_config(ports, binary, scratch, seven),
        try_config(ports, binary, scratch, eight),
        try_config(ports, binary, scratch, nine),
    )?;
    let mut tried: [(bool, String); 9] = tried.into();
    let [.., quic] = &mut tried;
    if !has_feature(&text, "QUIC") {
        *quic = (false, "HTTP/3: haproxy -vv does not have +QUIC".to_owned());
    }
    let limits = (ports.processes.descriptors(None), ports.processes.memory(None));
    Ok(discovery(version, limits, tried))
}

/// Finds the abilities of a running worker without its binary at hand: by version alone. The limits
/// are its descriptors and its bytes of memory, 0 when unknown.
#[must_use]
pub fn of_version(version: &str, limits: (u64, u64)) -> Discovery {
    let release = Release::parse(version);
    let tried = TRIALS.map(|trial| {
        let Trial { ability: _, what, since, section: _, lines: _ } = trial;
        let present = release.is_some_and(|release| release >= since);
        (present, format!("{what}: since {}.{}", since.0, since.1))
    });
    discovery(version, limits, tried)
}

async fn try_config(
    ports: &Ports,
    binary: &Path,
    scratch: &Path,
    trial: &Trial,
) -> io::Result<(bool, String)> {
    let path = scratch.join(format!("trial-{}.cfg", trial.ability));
    ports.files.jot(&path, trial.config().as_bytes(), 0o600)?;
    let verdict = ports.processes.validate(binary, &path).await;
    ports.files.remove(&path)?;
    Ok(match verdict? {
        Ok(()) => (true, format!("{}: accepted when tried", trial.what)),
        Err(_) => (false, format!("{}: refused when tried", trial.what)),
    })
}

fn discovery(version: &str, limits: (u64, u64), tried: [(bool, String); 9]) -> Discovery {
    let (descriptors, memory) = limits;
    let release = Release::parse(version);
    let dynamic_backends = release.is_some_and(|release| release >= DYNAMIC_BACKENDS);
    let dynamic_servers = release.is_some_and(|release| release >= DYNAMIC_SERVERS);
    let mut findings = vec![
        Finding {
            ability: "dynamic_backends",
            present: dynamic_backends,
            reason: "add backend, del backend: since 3.4; before 3.4.7 it can crash HAProxy \
                     while something else lists backends"
                .to_owned(),
        },
        Finding {
            ability: "dynamic_servers",
            present: dynamic_servers,
            reason: "add server, del server: since 2.6; before 3.0 such servers never reuse a \
                     connection"
                .to_owned(),
        },
    ];
    let isolated_sessions = release.is_some_and(Release::isolates_sessions);
    findings.push(Finding {
        ability: "isolated_sessions",
        present: isolated_sessions,
        reason: "TLS sessions resume only where the same authorities count: since 3.4.7 and \
                 3.2.26; elsewhere they are not resumed once clients show certificates"
            .to_owned(),
    });
    let [
        headers_bin,
        timeout_client,
        timeout_connect,
        balance_hash,
        sni_auto,
        lua,
        conversion,
        small_buffers,
        quic,
    ] = &tried;
    let capabilities = Capabilities {
        version: version.into(),
        dynamic_backends,
        dynamic_servers,
        headers_bin: headers_bin.0,
        timeout_client: timeout_client.0,
        timeout_connect: timeout_connect.0,
        balance_hash: balance_hash.0,
        sni_auto: sni_auto.0,
        descriptors,
        lua: lua.0,
        lua_conversion: conversion.0,
        isolated_sessions,
        memory,
        quic: quic.0,
        small_buffers: small_buffers.0,
    };
    for (trial, (present, reason)) in TRIALS.iter().zip(tried) {
        findings.push(Finding { ability: trial.ability, present, reason });
    }
    findings.push(Finding {
        ability: "descriptors",
        present: descriptors > 0,
        reason: match descriptors {
            0 => "the process's limit cannot be read".to_owned(),
            count => format!("{count} open files at most"),
        },
    });
    findings.push(Finding {
        ability: "memory",
        present: memory > 0,
        reason: match memory {
            0 => "the limit cannot be read".to_owned(),
            bytes => format!("{} MiB at most, for two workers during a reload", bytes >> 20),
        },
    });
    Discovery { capabilities, findings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_from_all_forms() {
        assert_eq!(Release::parse("2.6.12-1+deb12u4"), Some(Release(2, 6, 12)));
        assert_eq!(Release::parse("3.4.7-1"), Some(Release(3, 4, 7)));
        assert_eq!(Release::parse("3.5-dev3-abc"), Some(Release(3, 5, 0)));
        assert_eq!(Release::parse("unknown"), None);
    }

    #[test]
    fn features_are_those_that_are_built_in() {
        let text = "HAProxy version 3.4.7-1\nFeature list : -PCRE +QUIC -QUIC_OPENSSL_COMPAT\n";
        assert!(has_feature(text, "QUIC") && !has_feature(text, "QUIC_OPENSSL_COMPAT"));
        assert!(!has_feature("Feature list : +QUICK -QUIC\nBuilt with +QUIC\n", "QUIC"));
    }

    #[test]
    fn sessions_are_isolated_where_that_was_seen() {
        for (version, isolated) in [
            ("3.5-dev3", true),
            ("3.4.7-1", true),
            ("3.4.6", false),
            ("3.3.9", false),
            ("3.2.26-1", true),
            ("3.2.25", false),
            ("3.0.11-1+deb13u5", false),
            ("2.6.12-1+deb12u4", false),
        ] {
            let found = of_version(version, (0, 0)).capabilities.isolated_sessions;
            assert_eq!(found, isolated, "{version}");
        }
    }

    #[test]
    fn versions_alone_give_the_documented_tiers() {
        use tidegate_core::capability::Tier;
        for (version, tier) in [
            ("3.4.7-1", Tier::A),
            ("3.4.6", Tier::B),
            ("3.2.26-1", Tier::B),
            ("3.0.11-1+deb13u5", Tier::B),
            ("2.6.12-1+deb12u4", Tier::C),
        ] {
            assert_eq!(of_version(version, (0, 0)).capabilities.tier(), tier, "{version}");
        }
    }
}
