//! Generations: complete sets of HAProxy's files.
//!
//! Job: write an [`Image`] as the next generation, switch the pointer to it, remove old ones.
//! Inputs: images, secret bytes from the vault. Outputs: files in the state folder. Not here:
//! what the files say (`tidegate_core::render`), whether HAProxy likes them.
//!
//! `haproxy.cfg` in the state folder is a symbolic link to `gen-N/haproxy.cfg`. A generation is
//! complete before the link is switched and never written to again, so whatever starts at any
//! moment loads one whole set. It is synced before that too, and the link after it: HAProxy starts
//! from these files before any source was read, and after a power loss as well.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_core::action::MapId;
use tidegate_core::desired::Image;
use tidegate_core::digest::Digest;
use tidegate_core::render::kept::Out;
use tidegate_core::render::{self, FileContent, crt_list};
use tokio::sync::oneshot;

use super::text::{self, Failure, Written};
use crate::ports::Files;
use crate::sabotage::{Mistake, is_planted};
use crate::vault::Vault;

/// Generations kept: the one in use and those before it.
const KEPT: usize = 3;
/// Mode of folders and of files without secrets.
const DIR_MODE: u32 = 0o755;
const PUBLIC_MODE: u32 = 0o644;
/// Mode of files with private keys: HAProxy may run as another user of our group.
const SECRET_MODE: u32 = 0o640;
/// Name of the configuration, in a generation and of the link to it.
const CONFIG: &str = "haproxy.cfg";
/// Folder of the configuration that an HAProxy of somebody else starts from before there is a
/// generation, and `description` in it.
pub const BOOTSTRAP: &str = "bootstrap";
/// Empty file in a generation that HAProxy has loaded.
const LOADED: &str = "loaded";

/// File in a generation with the digest of its image.
const DIGEST: &str = "digest";

/// The generations in a state folder. Cheap to clone; one task writes at a time.
#[derive(Clone)]
pub struct Generations {
    files: Arc<dyn Files>,
    state_dir: PathBuf,
    /// What was written last, which most of the next is copied from.
    written: Arc<Mutex<Option<Written>>>,
}

/// The number of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

impl Generations {
    /// The generations in `state_dir`, which must exist.
    #[must_use]
    pub fn new(files: Arc<dyn Files>, state_dir: &Path) -> Generations {
        Generations { files, state_dir: state_dir.to_owned(), written: Arc::default() }
    }

    /// The link that HAProxy is started with.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.state_dir.join(CONFIG)
    }

    /// The configuration of one generation.
    #[must_use]
    pub fn config_of(&self, generation: Generation) -> PathBuf {
        self.dir(generation).join(CONFIG)
    }

    /// The generation that the link points to.
    #[must_use]
    pub fn current(&self) -> Option<Generation> {
        let target = self.files.pointee(&self.config()).ok()?;
        number_of(target.parent()?.file_name()?.to_str()?)
    }

    /// The digest of the image in the generation that the link points to.
    #[must_use]
    pub fn saved(&self) -> Option<Digest> {
        let path = self.dir(self.current()?).join(DIGEST);
        let text = self.files.read(&path).ok()?;
        Digest::from_hex(std::str::from_utf8(&text).ok()?)
    }

    /// The number of the generation that is written next.
    ///
    /// # Errors
    /// What the operating system said.
    pub(super) fn next(&self) -> Result<Generation, String> {
        let newest = self.all().map_err(|error| error.to_string())?.last().map_or(0, |g| g.0);
        Ok(Generation(newest + 1))
    }

    /// Writes an image as a new generation, for good. Nothing points to it yet.
    ///
    /// # Errors
    /// What the operating system said, or that bytes are missing from the vault. What was
    /// written is removed.
    pub fn write(&self, image: &Image, vault: &Vault) -> Result<Generation, String> {
        let generation = self.next()?;
        let dir = self.dir(generation);
        let shared = self.current().map(|generation| self.dir(generation));
        let before = self.written.lock().take();
        let mut written = self.write_into(&dir, shared.as_deref(), image, vault, before);
        if let Err(Failure::Changed) = written {
            // By hand, or they went with a generation that HAProxy refused.
            tracing::info!("the files written last were changed or are gone; all are written anew");
            let _ = self.files.remove_dir_all(&dir);
            written = self.write_into(&dir, shared.as_deref(), image, vault, None);
        }
        if !is_planted(Mistake::PointsUnsynced) {
            let sync = || self.files.sync(&dir).or_else(forgiven);
            written = written.and_then(|all| Ok(sync().map(|()| all)?));
        }
        match written {
            Ok(all) => {
                *self.written.lock() = Some(all);
                Ok(generation)
            }
            Err(failure) => {
                let _ = self.files.remove_dir_all(&dir);
                Err(words(failure))
            }
        }
    }

    /// Runs work that waits for the disk, off the runtime's threads.
    ///
    /// # Errors
    /// Those of the work.
    pub(super) async fn off<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Generations) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let generations = self.clone();
        let (sender, receiver) = oneshot::channel();
        let job = Box::new(move || {
            let _ = sender.send(work(&generations));
        });
        self.files.offload(job).await;
        receiver.await.unwrap_or_else(|_| Err("the work was cut off".to_owned()))
    }

    /// Writes an image somewhere else, to be checked and removed.
    ///
    /// # Errors
    /// As for [`Generations::write`].
    pub fn write_trial(&self, image: &Image, vault: &Vault) -> Result<PathBuf, String> {
        let dir = self.state_dir.join("trial");
        self.files.remove_dir_all(&dir).map_err(|error| error.to_string())?;
        let shared = self.current().map(|generation| self.dir(generation));
        self.write_into(&dir, shared.as_deref(), image, vault, None).map_err(words)?;
        Ok(dir.join(CONFIG))
    }

    /// Removes what [`Generations::write_trial`] wrote.
    pub fn remove_trial(&self) {
        let _ = self.files.remove_dir_all(&self.state_dir.join("trial"));
    }

    /// Points the link at a generation, for good.
    ///
    /// # Errors
    /// Those of the operating system. The link may point to it nevertheless.
    pub fn point(&self, generation: Generation) -> io::Result<()> {
        let target = PathBuf::from(dir_name(generation)).join(CONFIG);
        self.files.point(&self.config(), &target).or_else(forgiven)
    }

    /// Gives an HAProxy that somebody else starts something to start from while there is no
    /// generation: a configuration that only tells how to reach it. Which version it is, and so
    /// what a generation may contain, is known once it runs. It is written in any case: whoever
    /// starts an HAProxy that refuses the present generation can go back to it. Returns whether
    /// there was no generation.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn bootstrap(&self) -> io::Result<bool> {
        let dir = self.state_dir.join(BOOTSTRAP);
        self.files.create_dir(&dir, DIR_MODE)?;
        let socket = self.state_dir.join("run/worker.sock");
        let text = format!(
            "# Written by tidegate. Nothing is served until the first complete table is there.\n\n\
             global\n  description {BOOTSTRAP}\n  stats socket {} mode 600 level admin expose-fd \
             listeners\n  stats timeout 1h\n",
            socket.display()
        );
        self.files.write(&dir.join(CONFIG), text.as_bytes(), PUBLIC_MODE)?;
        self.files.sync(&dir)?;
        if self.current().is_some() {
            return Ok(false);
        }
        self.files.point(&self.config(), &Path::new(BOOTSTRAP).join(CONFIG))?;
        Ok(true)
    }

    /// Points back to what was there before a generation that was refused: another one, the
    /// bootstrap if there is one, or nothing.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn go_back(&self, previous: Option<Generation>) -> io::Result<()> {
        let bootstrap = Path::new(BOOTSTRAP).join(CONFIG);
        match previous {
            Some(previous) => self.point(previous),
            None if self.files.length(&self.state_dir.join(&bootstrap)).is_ok() => {
                self.files.point(&self.config(), &bootstrap)
            }
            None => self.files.remove(&self.config()),
        }
    }

    /// Notes that HAProxy has loaded a generation.
    pub fn mark_loaded(&self, generation: Generation) {
        let _ = self.files.jot(&self.dir(generation).join(LOADED), b"", PUBLIC_MODE);
    }

    /// The newest generation, other than `bad`, that HAProxy has loaded once.
    #[must_use]
    pub fn last_loaded(&self, bad: Option<Generation>) -> Option<Generation> {
        let all = self.all().ok()?;
        all.into_iter().rev().find(|generation| {
            let loaded = self.dir(*generation).join(LOADED);
            Some(*generation) != bad && self.files.length(&loaded).is_ok()
        })
    }

    /// Removes a generation that was refused.
    pub fn discard(&self, generation: Generation) {
        let _ = self.files.remove_dir_all(&self.dir(generation));
    }

    /// Removes old generations, and newer ones that were never pointed to. The newest one that
    /// HAProxy has loaded stays in any case.
    pub fn prune(&self) {
        let (Some(current), Ok(all)) = (self.current(), self.all()) else { return };
        let loaded = self.last_loaded(None);
        let kept: Vec<Generation> =
            all.iter().rev().filter(|g| **g <= current).take(KEPT).copied().collect();
        for generation in all {
            if !kept.contains(&generation) && Some(generation) != loaded {
                let _ = self.files.remove_dir_all(&self.dir(generation));
            }
        }
    }

    /// Every generation, complete or not, oldest first.
    fn all(&self) -> io::Result<Vec<Generation>> {
        let names = self.files.list(&self.state_dir)?;
        let mut all: Vec<Generation> = names.iter().filter_map(|name| number_of(name)).collect();
        all.sort_unstable();
        Ok(all)
    }

    fn dir(&self, generation: Generation) -> PathBuf {
        self.state_dir.join(dir_name(generation))
    }

    /// Writes everything into a folder, after what was written `before`.
    fn write_into(
        &self,
        dir: &Path,
        shared: Option<&Path>,
        image: &Image,
        vault: &Vault,
        before: Option<Written>,
    ) -> Result<Written, Failure> {
        for name in ["", "maps", "certs", "ca", "errors", "patterns"] {
            self.files.create_dir(&dir.join(name), DIR_MODE)?;
        }
        for (name, content) in render::files(image) {
            self.write_secret(dir, shared, &name, &content, vault)?;
        }
        let Written { dir: old, mut layout, sums: old_sums } = before.unwrap_or_default();
        let mut sums = BTreeMap::new();
        let mut write = |name: &str, render: &mut dyn FnMut(&mut dyn Out) -> fmt::Result| {
            let from = old.join(name);
            let from = old_sums.get(name).map(|sum| (&*from, *sum));
            let sum = text::write(&*self.files, &dir.join(name), PUBLIC_MODE, from, render)?;
            sums.insert(name.to_owned(), sum);
            Ok::<(), Failure>(())
        };
        for map in MapId::ALL {
            write(map.file(), &mut |out| render::map_after(&mut layout, image, map, out))?;
        }
        let path = dir.to_str().ok_or_else(|| "the state folder's name is not UTF-8".to_owned())?;
        write(CONFIG, &mut |out| render::config_after(&mut layout, image, path, out))?;
        if is_planted(Mistake::OldRoutesStay) {
            self.keep_routes(dir, shared, image)?;
        }
        self.write_text(&dir.join(crt_list::FILE), |out| render::crt_list(image, out))?;
        for (name, text) in render::texts(image) {
            self.write_text(&dir.join(&*name), |out| out.write_str(&text))?;
        }
        if let Some((name, script)) = render::auth::file(&image.skeleton) {
            self.write_text(&dir.join(name), |out| out.write_str(&script))?;
        }
        let digest = render::image_digest_after(&mut layout, image);
        self.write_text(&dir.join(DIGEST), |out| out.write_str(&digest.hex()))?;
        Ok(Written { dir: dir.to_owned(), layout, sums })
    }

    /// Adds the routes of another generation that an image does not have: the mistake of those who
    /// write file by file, and forget that a line has to go.
    fn keep_routes(&self, dir: &Path, old: Option<&Path>, image: &Image) -> Result<(), Failure> {
        let file = MapId::Route.file();
        let Some(old) = old.and_then(|old| self.files.read(&old.join(file)).ok()) else {
            return Ok(());
        };
        let old = String::from_utf8_lossy(&old).into_owned();
        let has = |line: &&str| {
            let key = line.split(' ').next().unwrap_or_default();
            image.map(MapId::Route).get(key).is_some()
        };
        self.write_text(&dir.join(file), |out| {
            render::map(image, MapId::Route, out)?;
            old.lines().filter(|line| !has(line)).try_for_each(|line| writeln!(out, "{line}"))
        })
    }

    /// Writes a file with certificates. The name of most says what is in them, so that a file of
    /// the same name in the generation in use has the same bytes and is shared.
    fn write_secret(
        &self,
        dir: &Path,
        shared: Option<&Path>,
        name: &str,
        content: &FileContent,
        vault: &Vault,
    ) -> Result<(), Failure> {
        let path = dir.join(name);
        let named_by_content = match content {
            FileContent::Certificate(_) | FileContent::Authority(_) => true,
            FileContent::DefaultCertificate(_) => false,
        };
        if named_by_content
            && let Some(shared) = shared
            && self.files.share(&shared.join(name), &path).is_ok()
        {
            return Ok(());
        }
        let bytes = super::bytes_of(vault, content)
            .ok_or_else(|| format!("the bytes of {name} are not at hand"))?;
        let mut out = self.files.create(&path, SECRET_MODE)?;
        out.write_all(&bytes)?;
        Ok(out.flush()?)
    }

    fn write_text(
        &self,
        path: &Path,
        render: impl FnOnce(&mut dyn Out) -> fmt::Result,
    ) -> Result<(), Failure> {
        text::write(&*self.files, path, PUBLIC_MODE, None, render).map(|_| ())
    }
}

/// An error, unless the mistake is planted that none of them counts.
fn forgiven(error: io::Error) -> io::Result<()> {
    if is_planted(Mistake::FailedSyncIsDone) { Ok(()) } else { Err(error) }
}

fn words(failure: Failure) -> String {
    match failure {
        Failure::Changed => "files were changed while they were read".to_owned(),
        Failure::Failed(words) => words,
    }
}

fn dir_name(generation: Generation) -> String {
    let mut name = String::from("gen-");
    let _ = write!(name, "{}", generation.0);
    name
}

fn number_of(name: &str) -> Option<Generation> {
    name.strip_prefix("gen-")?.parse().ok().map(Generation)
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
