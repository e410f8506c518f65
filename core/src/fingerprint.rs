//! Fingerprints: what a controller will do next, fed to a hasher. For simulations that visit each
//! state once.
//!
//! Two controllers that were told the same World, and that feed the same bytes, go on alike:
//! ages count from now and only as far as anything waits for them; numbers of actions, of workers
//! and of versions count only as far as they are compared. Not in here: the World, and what is a
//! function of it (projections, the image), which the caller knows from what it told.

use core::hash::{Hash, Hasher};

use crate::applied::{Admin, RunningBackend, RunningServer};
use crate::controller::{Controller, FilesFlight, RuntimeFlight};
use crate::desired::{Image, Skeleton};
use crate::plan::Trouble;
use crate::plan::backends::deleted_at;
use crate::settings::Delays;
use crate::time::Time;

impl Controller {
    /// Feeds everything that decides what comes next, but for the World.
    pub fn fingerprint(&self, hasher: &mut impl Hasher) {
        let Controller {
            registry: _,
            world,
            desired,
            projections: _,
            held,
            now,
            worker,
            running,
            doubt,
            doubt_until,
            lost,
            loaded,
            digested: _,
            runtime,
            files,
            next_id: _,
            trouble,
            unserved,
            repairs,
            reload_trouble,
            reload_budget,
            reasons,
            search,
            unsaved_since,
            saved,
            changed_at,
            save_pause_until,
            audited_at,
            teller,
            judging,
            judge_at,
        } = self;
        let now = *now;
        let delays = &world.settings.delays;
        world.unlisted.hash(hasher);
        world.follow.fingerprint(now, hasher);
        world.absences.hash(hasher);
        world.snippets.fingerprint(hasher);
        (judging.as_ref().map(|one| &one.snippet), left(now, *judge_at)).hash(hasher);
        world.capabilities.is_some().hash(hasher);
        for (object, why) in &world.quarantined {
            (object, why).hash(hasher);
        }
        desired.dirty().hash(hasher);
        for (key, until) in desired.parked() {
            (key, left(now, *until)).hash(hasher);
        }
        held.is_empty().hash(hasher);
        worker.is_some().hash(hasher);
        worker.is_some_and(|worker| worker <= *lost).hash(hasher);
        (doubt, doubt.then(|| left(now, *doubt_until))).hash(hasher);
        match running {
            Some(running) => running.fingerprint(now, delays, hasher),
            None => hasher.write_u8(0),
        }
        loaded.as_ref().map(|loaded| *loaded == desired.image().skeleton).hash(hasher);
        match runtime {
            Some(RuntimeFlight::Commands { id: _, commands }) => (1_u8, commands).hash(hasher),
            Some(RuntimeFlight::ReadBack { id: _, audit }) => (2_u8, audit).hash(hasher),
            None => hasher.write_u8(0),
        }
        match files {
            Some(FilesFlight::Save { id: _, version, since: _ }) => {
                (1_u8, *version == desired.image().version).hash(hasher);
            }
            Some(FilesFlight::Reload { id: _, image }) => {
                (2_u8, image.version == desired.image().version).hash(hasher);
            }
            Some(FilesFlight::Check { id: _ }) => hasher.write_u8(3),
            None => hasher.write_u8(0),
        }
        for (key, trouble) in trouble {
            key.hash(hasher);
            hash_trouble(trouble, now, hasher);
        }
        hasher.write_u8(0xfe);
        for (route, until) in unserved {
            (route, left(now, *until)).hash(hasher);
        }
        hasher.write_u8(0xfd);
        repairs.hash(hasher);
        hash_trouble(reload_trouble, now, hasher);
        if world.settings.limits.reloads_per_minute > 0 {
            reload_budget.fingerprint(now, hasher);
        }
        reasons.hash(hasher);
        search.hash(hasher);
        unsaved_since.map(|since| age(now, since, delays.save_max_ms)).hash(hasher);
        unsaved_since.map(|_| age(now, *changed_at, delays.save_quiet_ms)).hash(hasher);
        left(now, *save_pause_until).min(delays.save_max_ms).hash(hasher);
        saved.hash(hasher);
        world.settings.telling.as_ref().map(|_| teller).hash(hasher);
        (delays.audit_ms > 0).then(|| age(now, *audited_at, delays.audit_ms)).hash(hasher);
    }
}

fn hash_trouble(trouble: &Trouble, now: Time, hasher: &mut impl Hasher) {
    let Trouble { refusals, retry_at, collects, why } = trouble;
    // Delays stop growing long before that.
    ((*refusals).min(8), left(now, *retry_at), collects, why).hash(hasher);
}

/// How long until then.
fn left(now: Time, until: Time) -> u64 {
    until.since_ms(now)
}

/// How long since then, as far as anything waits for it.
fn age(now: Time, since: Time, enough_ms: u64) -> u64 {
    now.since_ms(since).min(enough_ms)
}

impl RunningBackend {
    pub(crate) fn fingerprint(&self, now: Time, delays: &Delays, hasher: &mut impl Hasher) {
        let RunningBackend { physical, published, servers, free_slots } = self;
        (physical, published, servers.len()).hash(hasher);
        for RunningServer { address, slot, state } in servers.iter() {
            let maintenance = match state {
                Admin::Ready => None,
                Admin::Maint(since) => Some(left(now, deleted_at(since, delays))),
            };
            (address, slot, maintenance).hash(hasher);
        }
        free_slots.hash(hasher);
    }
}

impl Image {
    /// Feeds the content, but for what the process was started with; the version does not count.
    pub fn fingerprint(&self, hasher: &mut impl Hasher) {
        for map in crate::action::MapId::ALL {
            for (key, entry) in self.map(map).iter() {
                (map, key, &entry.value).hash(hasher);
            }
        }
        for (name, backend) in self.backends.iter() {
            (name, &backend.spec.profile, &backend.servers).hash(hasher);
        }
        for (digest, hosts) in self.certificates.iter() {
            (digest, hosts).hash(hasher);
        }
        for name in self.files.keys() {
            name.hash(hasher);
        }
        self.default_certificate.hash(hasher);
        let Skeleton {
            listen: _,
            capabilities: _,
            header_names,
            checks,
            options,
            errors,
            peers,
            snippets,
            tcp_ports,
            passthrough,
        } = &*self.skeleton;
        (header_names, checks, options, errors, peers, snippets).hash(hasher);
        (tcp_ports, passthrough).hash(hasher);
    }
}
