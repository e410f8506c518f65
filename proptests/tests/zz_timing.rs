//! t
use std::time::Instant;
use tidegate_core::*;
use tidegate_proptests::{arb::*, drive::*, oracle::load, properties::projections};
#[test]
fn timing() {
    let setup = Setup {
        tier: tidegate_core::capability::Tier::A,
        default_backend: false,
        default_certificate: false,
        classless: false,
        external_names: false,
    };
    let case = Case { setup, furnished: true, initial: vec![], acts: vec![] };
    let c = projections::told(&case);
    let t = Instant::now();
    for _ in 0..50 {
        let _ = projections::told(&case);
    }
    eprintln!("told {:?}", t.elapsed() / 50);
    let t = Instant::now();
    for _ in 0..50 {
        let _ = load::generation(c.desired().image());
    }
    eprintln!("generation {:?}", t.elapsed() / 50);
    let t = Instant::now();
    for _ in 0..50 {
        let _ = load::start(c.desired().image(), &case.setup.capabilities());
    }
    eprintln!("start {:?}", t.elapsed() / 50);
    let t = Instant::now();
    for _ in 0..50 {
        let _ = render::skeleton_digest(&c.desired().image().skeleton);
    }
    eprintln!("digest {:?}", t.elapsed() / 50);
    let t = Instant::now();
    for _ in 0..50 {
        let _ = answers_of_image(c.desired().image());
    }
    eprintln!("answers {:?}", t.elapsed() / 50);
    let t = Instant::now();
    for _ in 0..50 {
        let _ = check::check(&c);
    }
    eprintln!("check {:?}", t.elapsed() / 50);
    let t = Instant::now();
    for _ in 0..50 {
        let _ = controller::audit(&c);
    }
    eprintln!("audit {:?}", t.elapsed() / 50);
    let t = Instant::now();
    for _ in 0..50 {
        let _ = c.clone();
    }
    eprintln!("clone {:?}", t.elapsed() / 50);
    let mut d = Drive::start(&case, Watch::default()).unwrap();
    d.settle().unwrap();
    let t = Instant::now();
    for _ in 0..50 {
        d.step(vec![event::Event::Ticked]).unwrap();
    }
    eprintln!("step+check {:?}", t.elapsed() / 50);
    let t = Instant::now();
    for _ in 0..20 {
        let mut d = Drive::start(&case, Watch::default()).unwrap();
        d.settle().unwrap();
    }
    eprintln!("start+settle {:?}", t.elapsed() / 20);
}
