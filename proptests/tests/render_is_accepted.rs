//! What is rendered from anything that tenants may write is accepted by real HAProxy binaries of
//! every supported branch (`haproxy -c`), but for the parts that HAProxy alone can judge.
//!
//! The binaries are those of `deploy/haproxy/install.sh`: in `TIDEGATE_HAPROXY_DIR`, else in
//! `~/.cache/tidegate/haproxy`. Certificates are one worthless self-signed one.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use proptest::collection::vec;
use proptest::strategy::Strategy as _;
use tidegate_core::capability::Tier;
use tidegate_proptests::arb::writing;
use tidegate_proptests::oracle::load::Generation;
use tidegate_proptests::properties::render::{Writing, generation_of, texts};
use tidegate_proptests::run::{Verdict, holds};

/// A certificate with its key, and so also an authority.
const WORTHLESS: &str = include_str!("data/worthless.pem");

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// How many writings are checked at once.
const MANY: usize = 300;

/// Branches and what tidegate makes of them.
const BRANCHES: [(&str, Tier); 4] =
    [("2.6", Tier::C), ("3.0", Tier::B), ("3.2", Tier::B), ("3.4", Tier::A)];

/// How many texts each branch accepted.
static TEXTS: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

#[test]
fn haproxy_2_6_accepts() {
    accepts::<0>();
}

#[test]
fn haproxy_3_0_accepts() {
    accepts::<1>();
}

#[test]
fn haproxy_3_2_accepts() {
    accepts::<2>();
}

#[test]
fn haproxy_3_4_accepts() {
    accepts::<3>();
}

/// Writings of one generation. They are shown one by one where one of them is at fault.
struct Crowd(Vec<Writing>);

impl std::fmt::Debug for Crowd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} writings", self.0.len())
    }
}

/// The branch accepts a writing alone, and many at once. What tenants write only meets the
/// neighbours in the second, and only there can it come to a million texts.
fn accepts<const BRANCH: usize>() {
    let branch = BRANCHES[BRANCH].0;
    let alone = |w: &Writing| accepted(BRANCH, std::slice::from_ref(w));
    holds(&format!("render_is_accepted/{branch}"), 12, writing, alone);
    let crowd = || vec(writing(), MANY).prop_map(Crowd).no_shrink();
    holds(&format!("render_is_accepted/{branch}/together"), 2, crowd, |crowd: &Crowd| {
        let rewrites = |w: &Writing| w.annotations.keys().any(|key| key.ends_with("path-rewrite"));
        let (judged, plain): (Vec<_>, Vec<_>) = crowd.0.iter().cloned().partition(rewrites);
        judged.iter().try_for_each(|writing| accepted(BRANCH, std::slice::from_ref(writing)))?;
        accepted(BRANCH, &plain).map_err(|why| smallest(BRANCH, &plain, why))
    });
    let texts = TEXTS[BRANCH].load(Ordering::Relaxed);
    assert!(texts > 0, "no text was checked");
    let _ = writeln!(std::io::stderr(), "texts accepted: render_is_accepted/{branch} {texts}");
}

/// The fewest of these that HAProxy refuses, found by halves, and why it does.
fn smallest(branch: usize, crowd: &[Writing], why: String) -> String {
    let (one, other) = crowd.split_at(crowd.len() / 2);
    for half in [one, other] {
        if let (false, Err(why)) = (half.len() == crowd.len(), accepted(branch, half)) {
            return smallest(branch, half, why);
        }
    }
    format!("{why}\n{crowd:#?}")
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

/// HAProxy accepts what is rendered from these. Of a single one it may refuse a regular
/// expression: that is its own to judge, and the controller withholds its owner then.
fn accepted(index: usize, writings: &[Writing]) -> Verdict {
    if writings.is_empty() {
        return Ok(());
    }
    let (branch, tier) = BRANCHES[index];
    let mut writings = writings.to_vec();
    writings[0].tier = tier;
    let generation = generation_of(&writings)?;
    let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
    let name = format!("tidegate-proptests-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    let verdict = write(&folder, &generation)
        .map_err(|why| format!("cannot write {}: {why}", folder.display()))
        .and_then(|()| check(branch, &folder, writings.len() == 1));
    let _ = std::fs::remove_dir_all(&folder);
    verdict?;
    TEXTS[index].fetch_add(texts(&writings), Ordering::Relaxed);
    Ok(())
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

fn check(branch: &str, folder: &Path, alone: bool) -> Verdict {
    let output = Command::new(binary(branch))
        .arg("-c")
        .arg("-f")
        .arg(folder.join("haproxy.cfg"))
        .stdin(Stdio::null())
        .output()
        .map_err(|why| format!("cannot run HAProxy {branch}: {why}"))?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let judged = alone && words.contains("regex") && words.contains("is invalid");
    if output.status.success() || judged {
        return Ok(());
    }
    let _ = std::io::stderr().flush();
    let alerts: Vec<&str> = words.lines().filter(|l| l.contains("ALERT")).take(5).collect();
    Err(format!("HAProxy {branch} refuses: {alerts:#?}"))
}
