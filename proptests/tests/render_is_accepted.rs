//! What is rendered from anything that tenants may write is accepted by real HAProxy binaries of
//! every supported branch (`haproxy -c`), but for the parts that HAProxy alone can judge.
//!
//! The binaries are those of `deploy/haproxy/install.sh`: in `TIDEGATE_HAPROXY_DIR`, else in
//! `~/.cache/tidegate/haproxy`. Certificates are one worthless self-signed one.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tidegate_core::capability::Tier;
use tidegate_proptests::arb::writing;
use tidegate_proptests::oracle::load::Generation;
use tidegate_proptests::properties::render::{Writing, generation_of};
use tidegate_proptests::run::{Verdict, holds};

/// A certificate with its key, and so also an authority.
const WORTHLESS: &str = include_str!("data/worthless.pem");

static FOLDERS: AtomicU32 = AtomicU32::new(0);

#[test]
fn haproxy_2_6_accepts() {
    holds("render_is_accepted/2.6", 12, writing, |w| accepted("2.6", Tier::C, w));
}

#[test]
fn haproxy_3_0_accepts() {
    holds("render_is_accepted/3.0", 12, writing, |w| accepted("3.0", Tier::B, w));
}

#[test]
fn haproxy_3_2_accepts() {
    holds("render_is_accepted/3.2", 12, writing, |w| accepted("3.2", Tier::B, w));
}

#[test]
fn haproxy_3_4_accepts() {
    holds("render_is_accepted/3.4", 12, writing, |w| accepted("3.4", Tier::A, w));
}

fn binary(branch: &str) -> PathBuf {
    let root = match std::env::var_os("TIDEGATE_HAPROXY_DIR") {
        Some(root) => PathBuf::from(root),
        None => {
            let cache = match std::env::var_os("XDG_CACHE_HOME") {
                Some(cache) => PathBuf::from(cache),
                None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
            };
            cache.join("tidegate/haproxy")
        }
    };
    let binary = root.join(branch).join("haproxy");
    assert!(
        binary.exists(),
        "{} is missing: run deploy/haproxy/install.sh, or set TIDEGATE_HAPROXY_DIR",
        binary.display()
    );
    binary
}

fn accepted(branch: &str, tier: Tier, writing: &Writing) -> Verdict {
    let generation = generation_of(&Writing { tier, ..writing.clone() });
    let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
    let name = format!("tidegate-proptests-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    let verdict = write(&folder, &generation)
        .map_err(|why| format!("cannot write {}: {why}", folder.display()))
        .and_then(|()| check(branch, &folder));
    let _ = std::fs::remove_dir_all(&folder);
    verdict
}

fn write(folder: &Path, generation: &Generation) -> std::io::Result<()> {
    for sub in ["maps", "certs", "ca", "run"] {
        std::fs::create_dir_all(folder.join(sub))?;
    }
    let here = folder.display().to_string();
    let config =
        generation.config.replace("/tmp/tidegate-proptests/gen-1", "/tmp/tidegate-proptests");
    let config = config.replace("/tmp/tidegate-proptests", &here);
    std::fs::write(folder.join("haproxy.cfg"), config)?;
    for (name, text) in &generation.maps {
        std::fs::write(folder.join(name), text)?;
    }
    for (name, text) in &generation.texts {
        std::fs::write(folder.join(name), text)?;
    }
    for name in &generation.files {
        std::fs::write(folder.join(name), WORTHLESS)?;
    }
    std::fs::write(folder.join("certs/list.txt"), &generation.crt_list)
}

fn check(branch: &str, folder: &Path) -> Verdict {
    let output = Command::new(binary(branch))
        .arg("-c")
        .arg("-f")
        .arg(folder.join("haproxy.cfg"))
        .stdin(Stdio::null())
        .output()
        .map_err(|why| format!("cannot run HAProxy {branch}: {why}"))?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    // A regular expression is HAProxy's own to judge; the controller withholds its owner then.
    let judged = words.contains("regex") && words.contains("is invalid");
    if output.status.success() || judged {
        return Ok(());
    }
    let _ = std::io::stderr().flush();
    let alerts: Vec<&str> = words.lines().filter(|l| l.contains("ALERT")).take(5).collect();
    Err(format!("HAProxy {branch} refuses: {alerts:#?}"))
}
