//! Time of one step for one endpoint change, by size of the cluster: `cargo bench -p
//! tidegate-core`. All sizes are measured in one run, in turn, so that the ratios hold on a noisy
//! machine. Then what a reload costs the core: steps while one is under way, the step that asks for it,
//! and the step that learns that it is done, with changes to repeat.

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::Instant;

use common::{Driven, class, service, slice};
use tidegate_core::action::{Action, ActionBody, ActionId};
use tidegate_core::capability::Capabilities;
use tidegate_core::controller::Step;
use tidegate_core::event::{Ack, Event, Outcome, WorkerId};
use tidegate_core::time::Time;
use tidegate_core::world::object::{ConfigMap, Object, PathType};

const SIZES: [usize; 3] = [1_000, 10_000, 50_000];
const ROUNDS: usize = 5;
const CHANGES: usize = 2_000;
const RELOADS: usize = 5;

fn main() {
    let mut clusters: Vec<(usize, Driven)> =
        SIZES.iter().map(|size| (*size, cluster(*size))).collect();
    println!(
        "{:>10} {:>12} {:>12} {:>12} {:>12}",
        "ingresses", "p50 µs", "p99 µs", "max µs", "ack p50 µs"
    );
    let mut samples: Vec<(Vec<u64>, Vec<u64>)> = vec![Default::default(); SIZES.len()];
    let mut turns: Vec<Vec<usize>> = SIZES.iter().map(|size| vec![0; *size]).collect();
    for round in 0..ROUNDS {
        let measured = clusters.iter_mut().zip(&mut turns).zip(&mut samples);
        for (((size, driven), turns), (changes, acks)) in measured {
            for change in 0..CHANGES {
                let app = (change * 7919 + round) % *size;
                turns[app] += 1;
                measure(driven, app, turns[app], changes, acks);
            }
        }
    }
    for (size, (mut changes, mut acks)) in SIZES.iter().zip(samples) {
        changes.sort_unstable();
        acks.sort_unstable();
        let at = |sorted: &[u64], share: f64| {
            sorted[((sorted.len() - 1) as f64 * share) as usize] as f64 / 1000.0
        };
        println!(
            "{size:>10} {:>12.1} {:>12.1} {:>12.1} {:>12.1}",
            at(&changes, 0.5),
            at(&changes, 0.99),
            at(&changes, 1.0),
            at(&acks, 0.5)
        );
    }
    println!("\n{:>10} {:>12} {:>12} {:>12}", "ingresses", "meanwhile µs", "begin µs", "done µs");
    for (size, driven) in &mut clusters {
        let mut figures: Vec<[u64; 3]> =
            (0..RELOADS).map(|round| reload(driven, *size, round)).collect();
        let mut median = |of: usize| {
            figures.sort_unstable_by_key(|figures| figures[of]);
            figures[RELOADS / 2][of] as f64 / 1000.0
        };
        println!("{size:>10} {:>12.1} {:>12.1} {:>12.1}", median(0), median(1), median(2));
    }
}

/// A reload during which 200 endpoints change. Nanoseconds: the median change, the step that asks for
/// the reload, the step that takes its outcome.
fn reload(driven: &mut Driven, size: usize, round: usize) -> [u64; 3] {
    let seconds = format!("{}s", 11 + round);
    let config = ConfigMap {
        meta: common::meta("default", "tidegate"),
        data: [("timeout-http-request".into(), seconds.into())].into(),
    };
    driven.now += 1;
    let started = Instant::now();
    let events = vec![Event::Upserted(Object::ConfigMap(Arc::new(config)))];
    let step = driven.controller.step(Time(driven.now), events);
    let begin = started.elapsed().as_nanos() as u64;
    let reloading = step.actions.iter().find(|a| matches!(a.body, ActionBody::Reload { .. }));
    let reload = reloading.expect("another static part reloads").id;
    answer(driven, step, reload, &mut Vec::new());
    let mut meanwhile = Vec::new();
    for change in 0..200 {
        let slice = slice_of((change * 7919 + round) % size, 1_000 + round);
        let started = Instant::now();
        let step = driven.controller.step(Time(driven.now), vec![Event::Upserted(slice)]);
        meanwhile.push(started.elapsed().as_nanos() as u64);
        answer(driven, step, reload, &mut Vec::new());
    }
    meanwhile.sort_unstable();
    let worker = Some(WorkerId(1_000 + round as u64));
    let ack = Ack { id: reload, outcomes: vec![Outcome::Done], worker };
    let started = Instant::now();
    let step = driven.controller.step(Time(driven.now), vec![Event::Acked(ack)]);
    let done = started.elapsed().as_nanos() as u64;
    answer(driven, step, reload, &mut Vec::new());
    [meanwhile[meanwhile.len() / 2], begin, done]
}

/// Answers every action but one until there are no more, and times the steps that take answers.
fn answer(driven: &mut Driven, mut step: Step, but: ActionId, acks: &mut Vec<u64>) {
    loop {
        let mut events = Vec::new();
        for Action { id, body } in step.actions.iter().filter(|action| action.id != but) {
            let count = match body {
                ActionBody::Runtime { commands, .. } => commands.len(),
                _ => 1,
            };
            let outcomes = vec![Outcome::Done; count];
            events.push(Event::Acked(Ack { id: *id, outcomes, worker: None }));
        }
        if events.is_empty() {
            return;
        }
        let started = Instant::now();
        step = driven.controller.step(Time(driven.now), events);
        acks.push(started.elapsed().as_nanos() as u64);
    }
}

fn addresses(app: usize, turn: usize) -> Vec<String> {
    (0..10)
        .map(|n| {
            // One of the ten endpoints alternates.
            let host = if n == 9 { 100 + turn % 2 } else { n };
            format!("10.{}.{}.{host}", app / 250, app % 250)
        })
        .collect()
}

fn slice_of(app: usize, turn: usize) -> Object {
    let addresses = addresses(app, turn);
    let addresses: Vec<&str> = addresses.iter().map(|a| a.as_str()).collect();
    slice(&format!("app-{app}"), &addresses)
}

fn cluster(size: usize) -> Driven {
    let mut objects = vec![class()];
    for app in 0..size {
        let (name, host) = (format!("app-{app}"), format!("app-{app}.example.com"));
        objects.push(service(&name));
        objects.push(slice_of(app, 0));
        objects.push(common::ingress(&name, &[], &[(&host, "/", PathType::Prefix, &name)]));
    }
    Driven::new(Capabilities::tier_a(), objects)
}

fn measure(
    driven: &mut Driven,
    app: usize,
    turn: usize,
    changes: &mut Vec<u64>,
    acks: &mut Vec<u64>,
) {
    let event = vec![Event::Upserted(slice_of(app, turn))];
    driven.now += 1;
    let started = Instant::now();
    let step = driven.controller.step(Time(driven.now), event);
    changes.push(started.elapsed().as_nanos() as u64);
    answer(driven, step, ActionId(0), acks);
}
