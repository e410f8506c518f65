//! What is true of the cluster, and since when, as the test makes it so; and what that says about
//! an answer.
//!
//! A request is charged to tidegate only when the route was settled during its whole life and a
//! healthy pod, known for [`KNOWN`], existed during its whole life. An answer of a pod that the
//! route never led to is wrong whenever it comes. Nothing is ever excused by what tidegate knows.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::client::Answer;
use super::traffic::Target;

/// Time in which a changed route takes effect.
const SETTLES: Duration = Duration::from_secs(2);

/// Time after which a new pod is known.
const KNOWN: Duration = Duration::from_secs(1);

/// What an answer is worth.
pub enum Verdict {
    /// It is right.
    Right,
    /// Something was under way that excuses it.
    Excused,
    /// It is wrong, and tidegate is to blame.
    Wrong(String),
}

/// One leads to the other from a moment on.
struct Route {
    /// `None`: the host is gone.
    service: Option<String>,
    /// Just before the API was asked.
    from: Instant,
    /// When the API had said yes; none yet.
    confirmed: Option<Instant>,
}

struct Healthy {
    since: Instant,
    until: Option<Instant>,
}

#[derive(Default)]
struct Truth {
    routes: BTreeMap<String, Vec<Route>>,
    asked: Vec<Target>,
    pods: BTreeMap<(String, String), Vec<Healthy>>,
    /// Times in which HAProxy itself was made to lose requests.
    outages: Vec<(Instant, Option<Instant>)>,
}

/// The ledger.
#[derive(Default)]
pub struct Ledger {
    truth: Mutex<Truth>,
}

impl Ledger {
    /// Says that a write is about to lead a host to a Service, or nowhere.
    pub fn routing(&self, host: &str, service: Option<&str>) {
        let mut truth = self.truth.lock().unwrap();
        let route =
            Route { service: service.map(str::to_owned), from: Instant::now(), confirmed: None };
        truth.routes.entry(host.to_owned()).or_default().push(route);
    }

    /// Says that the API has taken that write.
    pub fn routed(&self, host: &str) {
        let mut truth = self.truth.lock().unwrap();
        let routes = truth.routes.get_mut(host).expect("a route was announced");
        if let Some(route) = routes.last_mut() {
            route.confirmed = Some(Instant::now());
        }
    }

    /// Has the request loop ask for a path of a host.
    pub fn ask(&self, host: &str, path: &str) {
        let target = (host.to_owned(), path.to_owned(), String::new());
        self.truth.lock().unwrap().asked.push(target);
    }

    /// Has the request loop ask no more for a host.
    pub fn forget(&self, host: &str) {
        self.truth.lock().unwrap().asked.retain(|(asked, _, _)| asked != host);
    }

    /// Has the request loop ask for these hosts only, of those it asks for.
    pub fn ask_only(&self, hosts: &[&str]) {
        self.truth.lock().unwrap().asked.retain(|(asked, _, _)| hosts.contains(&&**asked));
    }

    /// Says that the API has taken a healthy pod as an endpoint.
    pub fn known(&self, service: &str, pod: &str) {
        let key = (service.to_owned(), pod.to_owned());
        let mut truth = self.truth.lock().unwrap();
        let times = truth.pods.entry(key).or_default();
        if times.last().is_none_or(|last| last.until.is_some()) {
            times.push(Healthy { since: Instant::now(), until: None });
        }
    }

    /// Says that something is about to happen to a pod, or to what makes it an endpoint.
    pub fn leaving(&self, service: &str, pod: &str) {
        let mut truth = self.truth.lock().unwrap();
        let key = (service.to_owned(), pod.to_owned());
        let last = truth.pods.get_mut(&key).and_then(|times| times.last_mut());
        if let Some(healthy) = last {
            healthy.until.get_or_insert_with(Instant::now);
        }
    }

    /// Says that HAProxy is about to lose requests, or that nothing is asked of it for a while.
    pub fn outage(&self) {
        self.truth.lock().unwrap().outages.push((Instant::now(), None));
    }

    /// Says that it must be right again from `after` on.
    pub fn recovered(&self, after: Duration) {
        let mut truth = self.truth.lock().unwrap();
        if let Some((_, until)) = truth.outages.last_mut() {
            *until = Some(Instant::now() + after);
        }
    }

    /// What to ask for in a turn.
    pub fn target(&self, turn: usize) -> Option<Target> {
        let truth = self.truth.lock().unwrap();
        truth.asked.get(turn % truth.asked.len().max(1)).cloned()
    }

    /// What an answer to a request of this time is worth.
    pub fn judge(
        &self,
        host: &str,
        begin: Instant,
        end: Instant,
        answer: &io::Result<Answer>,
    ) -> Verdict {
        let truth = self.truth.lock().unwrap();
        // What a pod answers is its own affair, also when it is 500.
        let answered = answer.as_ref().ok().filter(|answer| !answer.service().is_empty());
        if let Some(answer) = answered {
            // The pod tells whose it is; nothing excuses the wrong one.
            let allowed = truth.allowed(host, begin, end);
            if allowed.contains(&Some(answer.service())) {
                return Verdict::Right;
            }
            let got = answer.name();
            return Verdict::Wrong(format!("misrouted to {got}; allowed: {allowed:?}"));
        }
        if truth
            .outages
            .iter()
            .any(|(from, until)| *from <= end && until.is_none_or(|until| until >= begin))
        {
            return Verdict::Excused;
        }
        let Some(settled) = truth.settled(host, begin, end) else { return Verdict::Excused };
        let what = match answer {
            Ok(answer) => format!("{} {}", answer.status, answer.name()),
            Err(error) => error.to_string(),
        };
        match settled {
            None if answer.as_ref().is_ok_and(|answer| answer.status == 404) => Verdict::Right,
            None => Verdict::Wrong(format!("{what} where 404 is right")),
            Some(service) if truth.healthy(service, begin, end) => {
                let took = end - begin;
                Verdict::Wrong(format!(
                    "lost after {took:?}: {what}; '{service}' had a healthy pod"
                ))
            }
            Some(_) => Verdict::Excused,
        }
    }
}

impl Truth {
    /// Where a request of this time may have been led.
    fn allowed(&self, host: &str, begin: Instant, end: Instant) -> Vec<Option<&str>> {
        let Some(routes) = self.routes.get(host) else { return Vec::new() };
        let mut allowed = Vec::new();
        for (number, route) in routes.iter().enumerate() {
            let replaced = routes.get(number + 1).and_then(|next| next.confirmed);
            let over = replaced.is_some_and(|replaced| replaced + SETTLES < begin);
            if route.from <= end && !over {
                allowed.push(route.service.as_deref());
            }
        }
        allowed
    }

    /// Where a host led during this whole time, when that was settled.
    fn settled(&self, host: &str, begin: Instant, end: Instant) -> Option<Option<&str>> {
        let routes = self.routes.get(host)?;
        let number = routes.iter().rposition(|route| route.from <= end)?;
        let route = routes.get(number)?;
        let steady = route.confirmed.is_some_and(|confirmed| confirmed + SETTLES <= begin);
        steady.then_some(route.service.as_deref())
    }

    /// Whether a Service had a pod that was healthy and known for this whole time.
    fn healthy(&self, service: &str, begin: Instant, end: Instant) -> bool {
        let pods = self.pods.iter().filter(|((of, _), _)| of == service);
        pods.flat_map(|(_, times)| times).any(|healthy| {
            healthy.since + KNOWN <= begin && healthy.until.is_none_or(|until| until > end)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, service: &str) -> io::Result<Answer> {
        let pod = serde_json::json!({"service": service, "pod": service});
        Ok(Answer { status, pod, ..Answer::default() })
    }

    /// A ledger in which `a.test` leads to `a` for 5 s, with a healthy pod.
    fn ledger(now: Instant) -> Ledger {
        let before = now - Duration::from_secs(5);
        let route = Route { service: Some("a".into()), from: before, confirmed: Some(before) };
        let pod = Healthy { since: before, until: None };
        let truth = Truth {
            routes: BTreeMap::from([("a.test".to_owned(), vec![route])]),
            pods: BTreeMap::from([(("a".to_owned(), "a-1".to_owned()), vec![pod])]),
            ..Truth::default()
        };
        Ledger { truth: Mutex::new(truth) }
    }

    #[test]
    fn a_settled_route_with_a_healthy_pod_is_charged() {
        let now = Instant::now();
        let ledger = ledger(now);
        let judge = |answer| ledger.judge("a.test", now, now, &answer);
        assert!(matches!(judge(answer(200, "a")), Verdict::Right));
        assert!(matches!(judge(answer(503, "")), Verdict::Wrong(_)));
        assert!(matches!(judge(Err(io::ErrorKind::ConnectionReset.into())), Verdict::Wrong(_)));
        assert!(matches!(judge(answer(200, "b")), Verdict::Wrong(_)), "misrouted");
    }

    #[test]
    fn changes_excuse_losses_but_never_a_stranger() {
        let now = Instant::now();
        let ledger = ledger(now);
        ledger.leaving("a", "a-1");
        let later = Instant::now();
        let judge = |answer| ledger.judge("a.test", later, later, &answer);
        assert!(matches!(judge(answer(503, "")), Verdict::Excused), "no healthy pod");
        assert!(matches!(judge(answer(200, "b")), Verdict::Wrong(_)));
        ledger.routing("a.test", Some("b"));
        let later = Instant::now();
        let judge = |answer| ledger.judge("a.test", later, later, &answer);
        for service in ["a", "b"] {
            assert!(matches!(judge(answer(200, service)), Verdict::Right));
        }
        assert!(matches!(judge(answer(404, "")), Verdict::Excused));
        assert!(matches!(judge(answer(200, "c")), Verdict::Wrong(_)));
        ledger.outage();
        assert!(matches!(judge(answer(200, "c")), Verdict::Wrong(_)), "an outage is no excuse");
    }
}
