//! Tests of the election: several candidates and one Lease.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::*;
use crate::world::object::Name;

fn election(identity: &str) -> Election {
    Election {
        identity: identity.into(),
        lease: Name::new("tidegate", "tidegate"),
        duration_ms: 15_000,
        renew_ms: 10_000,
        retry_ms: 2_000,
    }
}

/// An API server that has one Lease.
#[derive(Default)]
struct Server {
    lease: Option<LeaseRecord>,
    writes: u64,
}

impl Server {
    fn write(&mut self, version: Option<&str>, lease: &LeaseRecord, at: u64) -> bool {
        if version != self.lease.as_ref().map(|l| &*l.version) {
            return false;
        }
        self.writes += 1;
        let (version, renewed) = (self.writes.to_string().into(), format!("t{at}").into());
        self.lease = Some(LeaseRecord { version, renewed, ..lease.clone() });
        true
    }

    /// Does what is asked for, and answers at once.
    fn serve(&mut self, candidate: &mut Candidate, election: &Election, tell: Tell, now: u64) {
        let now_ = Time(now);
        match tell {
            Tell::ReadLease => {
                candidate.see(self.lease.clone(), now_);
                candidate.take(election, &Outcome::Done, now_);
            }
            Tell::WriteLease { version, lease } => {
                if self.write(version.as_deref(), &lease, now) {
                    candidate.see(self.lease.clone(), now_);
                    candidate.take(election, &Outcome::Done, now_);
                } else {
                    candidate.take(election, &Outcome::Refused("conflict".into()), now_);
                }
            }
            Tell::Status { .. } | Tell::Event(_) => panic!("not of the election: {tell:?}"),
        }
    }
}

/// One millisecond in the life of a candidate that reaches the server.
fn tick(server: &mut Server, candidate: &mut Candidate, election: &Election, now: u64) -> usize {
    let mut asked = 0;
    while let Some(tell) = candidate.next(election, true, false, Time(now)) {
        asked += 1;
        assert!(asked < 4, "it never ends: {tell:?}");
        server.serve(candidate, election, tell, now);
    }
    asked
}

#[test]
fn the_first_one_holds_it_and_renews_it() {
    let (mut server, mut candidate, ours) =
        (Server::default(), Candidate::default(), election("a"));
    let mut requests = 0;
    for now in 0..60_000 {
        requests += tick(&mut server, &mut candidate, &ours, now);
        assert!(candidate.leads(Time(now)));
    }
    // A read, and a write every two seconds.
    assert_eq!(requests, 31);
    let lease = server.lease.clone().unwrap();
    assert_eq!((&*lease.holder, lease.transitions, lease.duration_ms), ("a", 0, 15_000));
}

#[test]
fn another_takes_it_after_its_duration_and_not_before() {
    let mut server = Server::default();
    let (mut a, mut b) = (Candidate::default(), Candidate::default());
    let (of_a, of_b) = (election("a"), election("b"));
    for now in 0..30_000 {
        tick(&mut server, &mut a, &of_a, now);
        tick(&mut server, &mut b, &of_b, now);
        assert!(a.leads(Time(now)) && !b.leads(Time(now)), "{now}");
    }
    // a is cut off: its last renewal was at 28,000.
    let mut taken = None;
    for now in 30_000..60_000 {
        tick(&mut server, &mut b, &of_b, now);
        assert_eq!(a.leads(Time(now)), now < 38_000);
        if b.leads(Time(now)) {
            taken.get_or_insert(now);
        }
    }
    let taken = taken.unwrap();
    assert!((43_000..=48_000).contains(&taken), "{taken}");
    assert_eq!(server.lease.clone().unwrap().transitions, 1);
    // a comes back, and asks again.
    for now in 60_000..70_000 {
        tick(&mut server, &mut a, &of_a, now);
        tick(&mut server, &mut b, &of_b, now);
        assert!(!a.leads(Time(now)) && b.leads(Time(now)));
    }
}

#[test]
fn clocks_of_others_do_not_matter() {
    let mut server = Server::default();
    let mut b = Candidate::default();
    let of_b = election("b");
    // Renewed an hour ago, or in an hour, as others see it.
    let far = LeaseRecord {
        version: "7".into(),
        holder: "a".into(),
        duration_ms: 15_000,
        transitions: 4,
        renewed: "2001-01-01T00:00:00.000000Z".into(),
    };
    server.lease = Some(far);
    let mut taken = None;
    for now in 0..40_000 {
        tick(&mut server, &mut b, &of_b, now);
        if b.leads(Time(now)) {
            taken.get_or_insert(now);
        }
    }
    assert!((15_000..=18_000).contains(&taken.unwrap()), "{taken:?}");
    assert_eq!(server.lease.unwrap().transitions, 5);
}

#[test]
fn a_lost_answer_ends_no_term_early_and_prolongs_none() {
    let mut server = Server::default();
    let mut a = Candidate::default();
    let of_a = election("a");
    for now in 0..5_000 {
        tick(&mut server, &mut a, &of_a, now);
    }
    // From now on writes arrive, and their answers do not; reads do neither.
    let mut asked = Vec::new();
    for now in 5_000..30_000 {
        while let Some(tell) = a.next(&of_a, true, false, Time(now)) {
            if let Tell::WriteLease { version, lease } = &tell {
                server.write(version.as_deref(), lease, now);
            }
            a.take(&of_a, &Outcome::Unknown, Time(now));
            asked.push(now);
        }
        assert_eq!(a.leads(Time(now)), now < 14_000, "{now}");
    }
    assert!(asked.len() < 30, "{asked:?}");
    // Answers again: it reads that the Lease is its own, and goes on.
    for now in 30_000..33_000 {
        tick(&mut server, &mut a, &of_a, now);
    }
    assert!(a.leads(Time(33_000)));
    assert_eq!(server.lease.unwrap().transitions, 0);
}

#[test]
fn what_is_given_back_is_taken_at_once() {
    let mut server = Server::default();
    let (mut a, mut b) = (Candidate::default(), Candidate::default());
    let (of_a, of_b) = (election("a"), election("b"));
    for now in 0..5_000 {
        tick(&mut server, &mut a, &of_a, now);
        tick(&mut server, &mut b, &of_b, now);
    }
    let tell = a.next(&of_a, true, true, Time(5_000)).unwrap();
    server.serve(&mut a, &of_a, tell, 5_000);
    assert!(!a.leads(Time(5_000)));
    assert_eq!(a.next(&of_a, true, true, Time(5_000)), None);
    assert_eq!(&*server.lease.clone().unwrap().holder, "");
    for now in 5_000..8_000 {
        tick(&mut server, &mut b, &of_b, now);
    }
    assert!(b.leads(Time(8_000)));
    assert_eq!(server.lease.unwrap().transitions, 1);
}

#[test]
fn one_that_does_not_serve_leaves_it_to_others() {
    let mut server = Server::default();
    let (mut a, mut b) = (Candidate::default(), Candidate::default());
    let (of_a, of_b) = (election("a"), election("b"));
    assert_eq!(a.next(&of_a, false, false, Time(0)), None);
    for now in 0..5_000 {
        tick(&mut server, &mut a, &of_a, now);
    }
    for now in 5_000..40_000 {
        assert_eq!(a.next(&of_a, false, false, Time(now)), None);
        tick(&mut server, &mut b, &of_b, now);
        assert!(!(a.leads(Time(now)) && b.leads(Time(now))));
    }
    assert!(b.leads(Time(40_000)));
}

#[test]
fn a_lease_deleted_under_its_holder_is_made_anew() {
    let mut server = Server::default();
    let (mut a, mut b) = (Candidate::default(), Candidate::default());
    let (of_a, of_b) = (election("a"), election("b"));
    for now in 0..60_000 {
        if now == 21_000 {
            server.lease = None;
        }
        tick(&mut server, &mut b, &of_b, now);
        tick(&mut server, &mut a, &of_a, now);
        assert!(!(a.leads(Time(now)) && b.leads(Time(now))), "{now}");
    }
    assert!(a.leads(Time(59_999)) || b.leads(Time(59_999)));
}
