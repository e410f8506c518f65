//! Checkpoints: the state of a controller as data, at a moment when no action is open. A journal
//! segment starts with one, so that older segments can be dropped. What is derived (indexes,
//! projections, Desired) is not in it but computed again.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};

use crate::applied::Running;
use crate::budget::ReloadBudget;
use crate::capability::Capabilities;
use crate::controller::Controller;
use crate::desired::{Key, Skeleton};
use crate::digest::Digest;
use crate::event::WorkerId;
use crate::plan::{Trouble, mark_differences};
use crate::problem::Problem;
use crate::project;
use crate::settings::Settings;
use crate::tell::Teller;
use crate::time::Time;
use crate::world::extent::Extent;
use crate::world::object::{Object, ObjectRef};
use crate::world::{Absences, Kept, KeptSnippets, World};

/// The state of a controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    settings: Settings,
    now: Time,
    unlisted: BTreeSet<Extent>,
    secrets: Kept,
    absences: Absences,
    objects: Vec<Object>,
    source_problems: Vec<Problem>,
    resolved: BTreeMap<Box<str>, Vec<IpAddr>>,
    quarantined: BTreeMap<ObjectRef, Box<str>>,
    date: Option<i64>,
    capabilities: Option<Capabilities>,
    worker: Option<WorkerId>,
    running: Option<Running>,
    doubt: bool,
    doubt_until: Time,
    lost: WorkerId,
    next_id: u64,
    trouble: BTreeMap<Key, Trouble>,
    unserved: BTreeMap<Arc<str>, Time>,
    repairs: BTreeMap<Key, Box<str>>,
    reload_trouble: Trouble,
    reload_budget: ReloadBudget,
    loaded: Option<Skeleton>,
    unsaved_since: Option<Time>,
    saved: Option<Digest>,
    changed_at: Time,
    save_pause_until: Time,
    audited_at: Time,
    teller: Teller,
    snippets: KeptSnippets,
    judge_at: Time,
}

impl Controller {
    /// The state as data; `None` while an action or a search is open.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let acts = self.runtime.is_some() || self.files.is_some() || self.judging.is_some();
        if acts || self.search.is_some() {
            return None;
        }
        Some(Checkpoint {
            settings: (*self.world.settings).clone(),
            now: self.now,
            unlisted: self.world.unlisted.clone(),
            secrets: self.world.kept_secrets(),
            absences: self.world.absences.clone(),
            objects: self.world.objects(),
            source_problems: self.world.source_problems.clone(),
            resolved: self.world.resolved.clone(),
            quarantined: self.world.quarantined.clone(),
            date: self.world.date,
            capabilities: self.world.capabilities.as_deref().cloned(),
            worker: self.worker,
            running: self.running.clone(),
            doubt: self.doubt,
            doubt_until: self.doubt_until,
            lost: self.lost,
            next_id: self.next_id,
            trouble: self.trouble.clone(),
            unserved: self.unserved.clone(),
            repairs: self.repairs.clone(),
            reload_trouble: self.reload_trouble.clone(),
            reload_budget: self.reload_budget.clone(),
            loaded: self.loaded.as_deref().cloned(),
            unsaved_since: self.unsaved_since,
            saved: self.saved,
            changed_at: self.changed_at,
            save_pause_until: self.save_pause_until,
            audited_at: self.audited_at,
            teller: self.teller.clone(),
            snippets: self.world.kept_snippets(),
            judge_at: self.judge_at,
        })
    }
}

impl Checkpoint {
    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A controller that goes on exactly as the one the checkpoint was taken from.
    #[must_use]
    pub fn restore(self) -> Controller {
        let Checkpoint {
            settings,
            now,
            unlisted,
            secrets,
            absences,
            objects,
            source_problems,
            resolved,
            quarantined,
            date,
            capabilities,
            worker,
            running,
            doubt,
            doubt_until,
            lost,
            next_id,
            trouble,
            unserved,
            repairs,
            reload_trouble,
            reload_budget,
            loaded,
            unsaved_since,
            saved,
            changed_at,
            save_pause_until,
            audited_at,
            teller,
            snippets,
            judge_at,
        } = self;
        let mut controller = Controller::new(settings, now);
        let mut changed = BTreeSet::new();
        let world = &mut controller.world;
        for object in objects {
            world.apply(object, &mut changed);
        }
        world.unlisted = unlisted;
        world.restore_secrets(secrets);
        world.restore_snippets(snippets);
        world.restore_holds(absences);
        world.source_problems = source_problems;
        world.resolved = resolved;
        world.quarantined = quarantined;
        world.date = date;
        world.capabilities = capabilities.map(Arc::new);
        if world.is_synced() {
            let world: &World = world;
            let (desired, projections) = project::from_scratch(world, &controller.registry);
            controller.desired = desired;
            controller.projections = projections;
            controller.held.clear();
        } else {
            controller.held.append(&mut changed);
        }
        if let Some(running) = &running {
            mark_differences(&mut controller.desired, running);
        }
        controller.worker = worker;
        controller.running = running;
        controller.doubt = doubt;
        controller.doubt_until = doubt_until;
        controller.lost = lost;
        controller.next_id = next_id;
        controller.trouble = trouble;
        controller.unserved = unserved;
        controller.repairs = repairs;
        controller.reload_trouble = reload_trouble;
        controller.reload_budget = reload_budget;
        controller.loaded = loaded.map(Arc::new);
        // The names were asked for before.
        let _ = controller.desired.take_resolve_names();
        controller.unsaved_since = unsaved_since;
        controller.saved = saved;
        controller.changed_at = changed_at;
        controller.save_pause_until = save_pause_until;
        controller.audited_at = audited_at;
        controller.teller = teller;
        controller.judge_at = judge_at;
        controller.settle();
        controller
    }
}
