//! The tests of the tests: each planted mistake makes the property fail that promises it away, and
//! without it the same cases hold.
//!
//! `cargo test -p tidegate-proptests --features sabotage --test sabotage`

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use proptest::strategy::Strategy;
use tidegate_core::sabotage::{Mistake, plant};
use tidegate_core::world::object::Object;
use tidegate_proptests::arb::{
    Act, Case, Flavour, TIERS, by_hand, case, hostile, objects, writing,
};
use tidegate_proptests::cluster;
use tidegate_proptests::properties::render::{Writing, sessions_stay_apart, writing_is_contained};
use tidegate_proptests::properties::{extremes, planner, projections, snippets, telling};
use tidegate_proptests::run::{Verdict, cases_until};

/// A property, and the cases it is for.
#[derive(Clone, Copy)]
enum Judge {
    Calm(fn(&Case) -> Verdict),
    Rough(fn(&Case) -> Verdict),
    /// Every Ingress asks for certificates of clients.
    Clients(fn(&Case) -> Verdict),
    Writing(fn(&Writing) -> Verdict),
    /// Any text as the name of a header.
    Names(fn(&Writing) -> Verdict),
    /// Any text as the value of a header.
    Values(fn(&Writing) -> Verdict),
    Snippets(fn(&snippets::Writing) -> Verdict),
    Replicas(fn(&cluster::Case) -> Verdict),
    /// A case by hand: in generated ones it is found, if at all, only after thousands.
    One(fn() -> Verdict),
    /// The same, for `plan_reaches_desired`.
    Plan(fn() -> Case),
}

use Judge::{Calm, Clients, Names, One, Plan, Replicas, Rough, Snippets, Values};

impl Judge {
    fn until(self, seed: u64, cases: u32) -> Option<(u32, String)> {
        let calm = || case(TIERS, Flavour::Calm, 1..16);
        let rough = || case(TIERS, Flavour::Rough, 1..20);
        match self {
            Calm(property) => cases_until(seed, cases, &calm(), property),
            Rough(property) => cases_until(seed, cases, &rough(), property),
            Clients(property) => cases_until(seed, cases, &clients(), property),
            Judge::Writing(property) => cases_until(seed, cases, &writing(), property),
            Names(property) => {
                cases_until(seed, cases, &header("request-remove-header", ""), property)
            }
            Values(property) => {
                cases_until(seed, cases, &header("request-set-header", "X-A "), property)
            }
            Snippets(property) => cases_until(seed, cases, &snippets::writing(), property),
            Replicas(property) => cases_until(seed, cases, &cluster::case(), property),
            One(property) => property().err().map(|why| (1, why)),
            Plan(case) => planner::plan_reaches_desired(&case()).err().map(|why| (1, why)),
        }
    }
}

fn header(key: &str, before: &'static str) -> impl Strategy<Value = Writing> {
    let key = format!("tidegate.io/{key}");
    (writing(), hostile::text()).prop_map(move |(writing, text)| Writing {
        annotations: [(key.clone(), format!("{before}{text}"))].into(),
        ..writing
    })
}

fn clients() -> impl Strategy<Value = Case> {
    let asks = |object: Object, at: usize| match object {
        Object::Ingress(ingress) => {
            let mut ingress = Arc::unwrap_or_clone(ingress);
            let secret = objects::SECRETS[at % objects::SECRETS.len()];
            let asked = [("tidegate.io/client-ca".to_owned(), secret.to_owned())].into();
            ingress.meta.annotations = objects::meta("a", "any", 0, asked).annotations;
            Object::Ingress(Arc::new(ingress))
        }
        other => other,
    };
    case(TIERS, Flavour::Calm, 1..16).prop_map(move |case| {
        let acts = case.acts.into_iter().enumerate().map(|(at, act)| match act {
            Act::Put(object) => Act::Put(asks(object, at)),
            other => other,
        });
        let initial = case.initial.into_iter().enumerate();
        Case {
            acts: acts.collect(),
            initial: initial.map(|(at, object)| asks(object, at)).collect(),
            ..case
        }
    })
}

fn saved_though_restless() -> Verdict {
    planner::saved_is_safe(&by_hand::restless())
}

fn both_hear() -> Verdict {
    projections::equivalence(&by_hand::two_backends_of_one())
}

/// Mistake, property, its judge, and a seed with which it is caught soon.
const PLANTED: &[(Mistake, &str, Judge, u64)] = &[
    (Mistake::UnrecordedMiss, "equivalence", Calm(projections::equivalence), 23),
    (Mistake::AddedForMoments, "plan_reaches_desired", Calm(planner::plan_reaches_desired), 1),
    (Mistake::UnrecordedMiss, "reads_are_complete", Calm(projections::reads_are_complete), 23),
    (Mistake::NameBeforeAge, "plan_reaches_desired", Calm(planner::plan_reaches_desired), 2),
    (Mistake::OpenWithoutUsers, "plan_reaches_desired", Calm(planner::plan_reaches_desired), 13),
    (Mistake::AnyHandshake, "plan_reaches_desired", Clients(planner::plan_reaches_desired), 2),
    (Mistake::SavedAtWrite, "saved_is_safe", Calm(planner::saved_is_safe), 16),
    (Mistake::NoSaveMax, "saved_is_safe", One(saved_though_restless), 1),
    (Mistake::OneSliceIsAll, "confluence", Calm(projections::confluence), 35),
    (Mistake::UnknownIsDone, "unknown_ack_recovers", Rough(planner::unknown_ack_recovers), 2),
    (Mistake::AnyHeaderName, "render_is_injection_safe", Judge::Writing(writing_is_contained), 31),
    (Mistake::PercentName, "render_is_injection_safe", Names(writing_is_contained), 4),
    (Mistake::UnanchoredName, "render_is_injection_safe", Judge::Writing(writing_is_contained), 1),
    (Mistake::CarriageReturn, "render_is_injection_safe", Values(writing_is_contained), 1),
    (
        Mistake::UnjudgedSnippet,
        "nothing_unjudged_joins",
        Snippets(snippets::nothing_unjudged_joins),
        1,
    ),
    (
        Mistake::LostStatusIsWritten,
        "lost_status_is_written_again",
        One(telling::lost_status_is_written_again),
        1,
    ),
    (Mistake::EndlessTerm, "one_writer", Replicas(telling::one_writer), 1),
    (Mistake::AnyWords, "nothing_unjudged_joins", Snippets(snippets::nothing_unjudged_joins), 1),
    (Mistake::NoLimit, "one_object_is_bounded", One(extremes::one_object_is_bounded), 1),
    (Mistake::PathAsWritten, "plan_reaches_desired", Plan(by_hand::doubled_slashes), 1),
    (Mistake::OldTargetsStay, "plan_reaches_desired", Plan(by_hand::becomes_a_name), 1),
    (Mistake::AnyonePasses, "plan_reaches_desired", Plan(by_hand::younger_passes_through), 1),
    (Mistake::OneLongLine, "plan_reaches_desired", Plan(by_hand::many_hosts), 1),
    (Mistake::SessionsShared, "sessions_stay_apart", One(sessions_stay_apart), 1),
    (Mistake::PortIsThere, "absent_fields_are_fine", One(extremes::absent_fields_are_fine), 1),
    (Mistake::AnyNamespace, "plan_reaches_desired", Plan(by_hand::users_of_others), 1),
    (Mistake::PlainAtRunTime, "plan_reaches_desired", Plan(by_hand::keywords_at_run_time), 1),
    (Mistake::OneHears, "equivalence", One(both_hear), 1),
];

/// Cases in which a mistake must be caught. Other generators make other cases of the same seed.
const CASES_MAX: u32 = 3_000;

/// Not by `println!`, which the test harness swallows.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// One after the other: a mistake is planted in the whole process.
#[test]
fn each_planted_mistake_is_caught() {
    let mut took = Vec::new();
    let mut missed = Vec::new();
    for (mistake, name, judge, seed) in PLANTED {
        plant(Some(*mistake));
        let begin = Instant::now();
        match judge.until(*seed, CASES_MAX) {
            Some((cases, why)) => {
                let short: String = why.chars().take(160).collect();
                tell(&format!(
                    "planted {mistake:?}: {name} catches it in case {cases}, {:.1?}: {short}",
                    begin.elapsed()
                ));
                took.push((mistake, name, *judge, *seed, cases));
            }
            None => missed.push(format!("{name} does not catch {mistake:?}")),
        }
    }
    plant(None);
    let next = AtomicUsize::new(0);
    let guilty = std::thread::scope(|scope| {
        let look = || {
            let mut guilty = Vec::new();
            while let Some((mistake, name, judge, seed, cases)) =
                took.get(next.fetch_add(1, Ordering::Relaxed))
            {
                if let Some((_, why)) = judge.until(*seed, *cases) {
                    guilty.push(format!("{name} fails without {mistake:?}: {why}"));
                }
            }
            guilty
        };
        let threads = [scope.spawn(look), scope.spawn(look)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    missed.extend(guilty);
    assert!(missed.is_empty(), "{missed:#?}");
}
