//! Generators. Small pools of names, so that objects collide, refer to each other and come back;
//! everything is legal in every state. What a proxy does (answers, losses, time) is part of a case
//! as [`Act`]s, which the driver turns into events.

pub mod annotations;
pub mod by_hand;
pub mod hostile;
pub mod objects;

use std::fmt;
use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_core::action::Lane;
use tidegate_core::capability::{Capabilities, Tier};
use tidegate_core::settings::{Quic, Role, Settings};
use tidegate_core::world::object::{Kind, Name, Object, ObjectRef};

use crate::properties::render::Writing;

/// What is fixed for one case.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What the proxy can do.
    pub tier: Tier,
    /// Whether Service `a/web` answers what no rule matches.
    pub default_backend: bool,
    /// Whether Secret `a/tls` is the default certificate.
    pub default_certificate: bool,
    /// Whether Ingresses without class are ours.
    pub classless: bool,
    /// Whether ExternalName is served.
    pub external_names: bool,
}

impl Setup {
    /// The settings of the controller.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::documented("/tmp/tidegate-proptests");
        settings.config_map = Some(objects::config_map_name());
        settings.config_maps.push((Role::TcpServices, objects::tcp_services_name()));
        settings.listen.tcp_ports = Some((20_000, 20_002));
        settings.listen.quic = Some(Quic { port: 8_443, announced: 443 });
        settings.default_backend = self.default_backend.then(|| (Name::new("a", "web"), 80));
        settings.default_certificate = self.default_certificate.then(|| Name::new("a", "tls"));
        settings.classless = self.classless;
        settings.external_names = self.external_names;
        settings
    }

    /// What the proxy can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        match self.tier {
            Tier::A => Capabilities::tier_a(),
            Tier::B => Capabilities::tier_b(),
            Tier::C => Capabilities::tier_c(),
        }
    }
}

/// What becomes of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is done as far as the proxy allows.
    Done,
    /// The proxy refuses one of its commands without reason (modulo their number).
    Refused(u8),
    /// The answer is lost after so many of its commands were done (modulo their number, plus one).
    Unknown(u8),
    /// It is done, and the ack arrives twice.
    Twice,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Act {
    /// An object is created or changed.
    Put(Object),
    /// An object is deleted, or a deletion is told again.
    Remove(ObjectRef),
    /// A complete list of a kind.
    Relist(Kind, Vec<Object>),
    /// A name is resolved.
    Resolve(&'static str, Vec<IpAddr>),
    /// The oldest open action of a lane is done by the proxy, and its ack is on its way.
    Run(Lane),
    /// The ack of the oldest open action of a lane arrives.
    Answer(Lane, Fate),
    /// The calendar is looked at: seconds since 1970.
    Date(i64),
    /// So many milliseconds pass.
    Pass(u64),
    /// Everything is answered until nothing is left to do.
    Settle,
    /// The worker is killed.
    Die,
    /// A killed worker comes back with what was saved last.
    Return,
}

/// A whole case.
#[derive(Clone)]
pub struct Case {
    /// What is fixed.
    pub setup: Setup,
    /// Whether [`objects::furniture`] is there from the beginning.
    pub furnished: bool,
    /// What else there is from the beginning.
    pub initial: Vec<Object>,
    /// What happens then.
    pub acts: Vec<Act>,
}

impl Case {
    /// The first complete lists of all kinds.
    #[must_use]
    pub fn objects(&self) -> Vec<Object> {
        let mut all = if self.furnished { objects::furniture() } else { Vec::new() };
        all.extend(self.initial.iter().cloned());
        objects::last_of_each(all)
    }
}

impl fmt::Debug for Case {
    /// A line per object and act: a failing case is read by people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { setup, furnished, initial, acts } = self;
        writeln!(f, "{setup:?}\nfurnished: {furnished}")?;
        for object in initial {
            writeln!(f, "  has {}", one_line(object))?;
        }
        for act in acts {
            writeln!(f, "  act {}", one_line(act))?;
        }
        Ok(())
    }
}

/// Debug without metadata that says nothing.
fn one_line(thing: &impl fmt::Debug) -> String {
    let noise = ["uid: \"\", ", ", generation: 1", ", annotations: []", ", notes: []"];
    noise.iter().fold(format!("{thing:?}"), |text, noise| text.replace(noise, ""))
}

/// Which acts a property needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Objects and time.
    Calm,
    /// A proxy that refuses, forgets to answer and dies as well.
    Rough,
}

/// A setup with one of the tiers.
pub fn setup(tiers: &'static [Tier]) -> impl Strategy<Value = Setup> {
    let rare = || prop::bool::weighted(0.25);
    (proptest::sample::select(tiers), rare(), rare(), prop::bool::weighted(0.5), rare()).prop_map(
        |(tier, default_backend, default_certificate, classless, external_names)| Setup {
            tier,
            default_backend,
            default_certificate,
            classless,
            external_names,
        },
    )
}

/// All tiers.
pub const TIERS: &[Tier] = &[Tier::A, Tier::B, Tier::C];

/// A change of objects.
pub fn change() -> BoxedStrategy<Act> {
    prop_oneof![
        16 => objects::object().prop_map(Act::Put),
        4 => objects::reference().prop_map(Act::Remove),
        1 => objects::list().prop_map(|(kind, objects)| Act::Relist(kind, objects)),
        1 => objects::resolution().prop_map(|(name, addresses)| Act::Resolve(name, addresses)),
        1 => (0_i64..5_000_000).prop_map(Act::Date),
    ]
    .boxed()
}

fn lane() -> impl Strategy<Value = Lane> {
    prop_oneof![
        3 => Just(Lane::Runtime),
        1 => Just(Lane::Files),
        1 => Just(Lane::Trial),
    ]
}

fn calm() -> BoxedStrategy<Act> {
    prop_oneof![
        12 => change(),
        6 => lane().prop_map(|lane| Act::Answer(lane, Fate::Done)),
        2 => lane().prop_map(Act::Run),
        2 => (1_u64..3_000).prop_map(Act::Pass),
        1 => Just(Act::Pass(61_000)),
        2 => Just(Act::Settle),
    ]
    .boxed()
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Done),
        2 => any::<u8>().prop_map(Fate::Refused),
        3 => any::<u8>().prop_map(Fate::Unknown),
        1 => Just(Fate::Twice),
    ]
}

fn rough() -> BoxedStrategy<Act> {
    prop_oneof![
        20 => calm(),
        8 => (lane(), fate()).prop_map(|(lane, fate)| Act::Answer(lane, fate)),
        1 => Just(Act::Die),
        1 => Just(Act::Return),
    ]
    .boxed()
}

/// Acts of a flavour.
pub fn acts(flavour: Flavour, len: std::ops::Range<usize>) -> BoxedStrategy<Vec<Act>> {
    match flavour {
        Flavour::Calm => vec(calm(), len).boxed(),
        Flavour::Rough => vec(rough(), len).boxed(),
    }
}

/// A case. Its initial objects are a working little cluster most of the time, so that the acts
/// have something to break.
pub fn case(
    tiers: &'static [Tier],
    flavour: Flavour,
    len: std::ops::Range<usize>,
) -> impl Strategy<Value = Case> {
    (setup(tiers), prop::bool::weighted(0.8), vec(objects::object(), 0..10), acts(flavour, len))
        .prop_map(|(setup, furnished, initial, acts)| Case { setup, furnished, initial, acts })
}

/// What a hostile tenant writes into every field.
pub fn writing() -> impl Strategy<Value = Writing> {
    let host = prop_oneof![3 => proptest::sample::select(objects::HOSTS).prop_map(str::to_owned), 2 => hostile::text()];
    let path = prop_oneof![2 => proptest::sample::select(objects::PATHS).prop_map(str::to_owned), 3 => hostile::text()];
    let path = (path, any::<bool>()).prop_map(|(p, slash)| if slash { format!("/{p}") } else { p });
    let name = prop_oneof![1 => Just("ext.example".to_owned()), 2 => hostile::text()];
    (proptest::sample::select(TIERS), annotations::hostile_annotations(), host, path, name)
        .prop_map(|(tier, annotations, host, path, name)| Writing {
            tier,
            annotations,
            host,
            path,
            name,
        })
}
