//! The files lane of the controller: saving, reloading, and the checks of a search. When each is
//! due, and what its outcome means.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::action::ActionBody;
use crate::applied::Running;
use crate::controller::{Controller, FilesFlight, Step, next_trouble};
use crate::desired::{Image, Key};
use crate::event::{Outcome, START, WorkerId};
use crate::plan::remedy::ReloadReason;
use crate::plan::{Trouble, mark_changes};
use crate::quarantine::{Search, ports_named};
use crate::render;
use crate::sabotage::{Mistake, is_planted};
use crate::time::Time;
use crate::world::Fact;

/// Files that took long to write are written again after so many times as long at the earliest, which
/// is one percent of the time; but no later than `save_max_ms` allows.
pub(crate) const SAVE_PAUSE: u64 = 100;

impl Controller {
    pub(crate) fn act_on_files(&mut self, step: &mut Step) {
        if self.files.is_some() || !self.world.is_synced() || self.world.capabilities.is_none() {
            return;
        }
        if let Some(search) = &self.search {
            let image = search.probe(&self.world, &self.registry);
            let id = self.emit(ActionBody::Check { image }, step);
            self.files = Some(FilesFlight::Check { id });
            return;
        }
        let reasons = self.reload_reasons();
        let saves_first = self.is_refused_again() && self.save_due().is_some();
        if !saves_first && !reasons.is_empty() && self.now >= self.reload_at(&reasons) {
            let per_minute = self.world.settings.limits.reloads_per_minute;
            self.reload_budget.spend(&owners(&reasons), per_minute, self.now);
            let image = Arc::new(self.desired.image().clone());
            let body = ActionBody::Reload { image: image.clone(), reasons };
            let id = self.emit(body, step);
            self.files = Some(FilesFlight::Reload { id, image });
            return;
        }
        let saved = self.saved.take_if(|_| self.unsaved_since.is_some());
        if saved.is_some_and(|saved| saved == render::image_digest(self.desired.image())) {
            self.unsaved_since = None;
        }
        let due = self.save_due();
        if due.is_some_and(|due| self.now >= due) {
            let image = Arc::new(self.desired.image().clone());
            let version = image.version;
            let id = self.emit(ActionBody::Save { image }, step);
            self.files = Some(FilesFlight::Save { id, version, since: self.now });
            if is_planted(Mistake::SavedBeforeWrite) {
                self.unsaved_since = None;
            }
        }
    }

    /// Whether HAProxy finds nothing wrong with the files, and yet does not start with them, more than
    /// once: what it would load if it died must not stay behind for as long as that lasts.
    fn is_refused_again(&self) -> bool {
        let Trouble { refusals, why, .. } = &self.reload_trouble;
        *refusals > 1 && why.starts_with(START)
    }

    pub(crate) fn reload_reasons(&self) -> Vec<ReloadReason> {
        let mut reasons = BTreeSet::new();
        if self.worker.is_none() {
            reasons.insert(ReloadReason::FirstStart);
        } else if self.running.is_some() && !self.doubt {
            reasons.extend(self.reasons.iter().cloned());
            reasons.extend(self.repairs.values().cloned().map(ReloadReason::Refused));
        }
        reasons.into_iter().collect()
    }

    /// When a reload for these reasons may begin.
    pub(crate) fn reload_at(&self, reasons: &[ReloadReason]) -> Time {
        let per_minute = self.world.settings.limits.reloads_per_minute;
        let free_at = self.reload_budget.free_at(&owners(reasons), per_minute);
        free_at.max(self.reload_trouble.retry_at)
    }

    /// When the files must be written. Not while something HAProxy might refuse waits for its
    /// verdict: what a restart loads must be known to load.
    pub(crate) fn save_due(&self) -> Option<Time> {
        let since = self.unsaved_since.filter(|_| self.running.is_some() && !self.doubt)?;
        let judged = self.desired.dirty().iter().all(|key| match key {
            Key::Skeleton | Key::File(_) | Key::Certificate(_) | Key::DefaultCertificate => false,
            Key::Map(map, _) => !crate::quarantine::is_risky(*map),
            Key::Backend(_) => true,
        });
        let delays = &self.world.settings.delays;
        let quiet = self.changed_at.plus_ms(delays.save_quiet_ms);
        let due = quiet.max(self.save_pause_until);
        if is_planted(Mistake::NoSaveMax) {
            return judged.then_some(due.max(self.reload_trouble.retry_at));
        }
        judged.then(|| due.min(since.plus_ms(delays.save_max_ms)).max(self.reload_trouble.retry_at))
    }

    pub(crate) fn saved(&mut self, version: u64, outcome: Outcome) {
        match outcome {
            Outcome::Done => {
                let behind =
                    self.desired.image().version != version && !is_planted(Mistake::SavedAtWrite);
                self.unsaved_since = behind.then_some(self.now);
                if self.is_refused_again() {
                    // One save between two tries.
                    self.reload_trouble.why =
                        self.reload_trouble.why.trim_start_matches(START).into();
                } else {
                    self.reload_trouble = Trouble::default();
                }
            }
            Outcome::Refused(why) => self.delay_reload(why),
            Outcome::Unknown => self.delay_reload("the files may not have been written".into()),
        }
    }

    pub(crate) fn reloaded(
        &mut self,
        image: &Arc<Image>,
        outcome: Outcome,
        worker: Option<WorkerId>,
        changed: &mut BTreeSet<Fact>,
    ) {
        let lacks_former =
            is_planted(Mistake::NeedsTheDead) && self.running.is_none() && self.lost > WorkerId(0);
        match (outcome, worker) {
            (Outcome::Done, Some(worker)) if worker > self.lost && !lacks_former => {
                self.worker = Some(worker);
                // What was sent meanwhile went to the worker before.
                self.runtime = None;
                let skeleton = self.skeleton_digest(&image.skeleton);
                let before = self.running.take();
                let running = Running::loaded_after(before, image, worker, skeleton.clone());
                debug_assert_eq!(
                    running,
                    Running::loaded_after(None, image, worker, skeleton),
                    "shared or not, the same"
                );
                self.desired.wake_all();
                if !is_planted(Mistake::SentToOld) {
                    mark_changes(&mut self.desired, image);
                }
                self.use_running(running);
                self.loaded = Some(image.skeleton.clone());
                self.trouble.clear();
                self.repairs.clear();
                self.reload_trouble = Trouble::default();
                let behind = self.desired.image().version != image.version;
                self.unsaved_since = behind.then_some(self.now);
            }
            (Outcome::Done, _) | (Outcome::Unknown, _) => {
                self.doubt = self.worker.is_some();
                self.delay_reload("the outcome of the reload is unknown".into());
            }
            (Outcome::Refused(why), _) => {
                let ports = match why.strip_prefix(START) {
                    // The files are good: all that can be withheld is a port that is taken.
                    Some(words) => ports_named(&self.world, &self.projections, words),
                    None => Vec::new(),
                };
                if !why.starts_with("files: ") && !why.starts_with(START) {
                    self.search =
                        Search::begin(&self.world, &self.projections, &self.registry, &why);
                }
                let words: Box<str> = why.trim_start_matches(START).into();
                self.delay_reload(why);
                if !ports.is_empty() {
                    self.reload_trouble.retry_at = self.now;
                }
                for port in ports {
                    self.world.quarantine(port, words.clone(), changed);
                }
            }
        }
    }

    pub(crate) fn checked(&mut self, outcome: Outcome, changed: &mut BTreeSet<Fact>) {
        let Some(search) = self.search.take() else { return };
        let accepted = match outcome {
            Outcome::Done => true,
            Outcome::Refused(_) => false,
            Outcome::Unknown => {
                // Ask again later; the reload is delayed already.
                return;
            }
        };
        match search.narrow(accepted) {
            crate::quarantine::Narrowed::Again(search) => self.search = Some(search),
            crate::quarantine::Narrowed::Found(objects, why) => {
                for object in objects {
                    self.world.quarantine(object, why.clone(), changed);
                }
                self.reload_trouble.retry_at = self.now;
            }
            crate::quarantine::Narrowed::Nobody => {}
        }
    }

    pub(crate) fn delay_reload(&mut self, why: Box<str>) {
        let retry = self.world.settings.delays.retry_ms;
        self.reload_trouble = next_trouble(&self.reload_trouble, why, self.now, retry);
        if is_planted(Mistake::NoRetry) {
            self.reload_trouble.retry_at = Time(u64::MAX);
        }
    }
}

/// Whose budget a reload is of; nobody's where HAProxy only starts.
fn owners(reasons: &[ReloadReason]) -> BTreeSet<&str> {
    let reloads = reasons.iter().filter(|reason| **reason != ReloadReason::FirstStart);
    reloads.map(ReloadReason::owner).collect()
}
