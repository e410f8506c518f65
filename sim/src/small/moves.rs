//! What may happen next in the small world, and in words for people.

use tidegate_core::action::Lane;

use super::world;

/// How much may happen besides answers and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Objects that change.
    pub changes: u8,
    /// Answers that are lost.
    pub losses: u8,
    /// Crashes of the worker or the controller.
    pub crashes: u8,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// An object gets another version.
    Change(u8, u8),
    /// The open action of a lane is carried out; its answer is under way.
    Run(Lane),
    /// The answer arrives.
    Answer(Lane),
    /// The action is carried out so far only (commands, or 1 for the whole), and the answer is
    /// lost.
    Lose(Lane, u8),
    /// Time passes until the controller wants to be woken.
    Wake,
    /// The worker dies, and what it had in memory is gone.
    WorkerDies,
    /// A worker starts from the files.
    WorkerStarts,
    /// The controller dies after so many commands and with or without the files written; a new
    /// one is told everything and finds the worker.
    ControllerDies(u8, bool),
}

impl std::fmt::Display for Move {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |lane: &Lane| match lane {
            Lane::Runtime => "the runtime lane",
            Lane::Files => "the files lane",
            Lane::Source => "the source lane",
            Lane::Cluster => "the cluster lane",
            Lane::Trial => "the trial lane",
        };
        match self {
            Move::Change(object, version) => {
                f.write_str(world::describe(usize::from(*object), *version))
            }
            Move::Run(lane) => write!(f, "the action of {} is carried out", name(lane)),
            Move::Answer(lane) => write!(f, "the answer of {} arrives", name(lane)),
            Move::Lose(lane, done) => {
                write!(f, "{}: the answer is lost after {done} were carried out", name(lane))
            }
            Move::Wake => f.write_str("time passes"),
            Move::WorkerDies => f.write_str("the worker dies"),
            Move::WorkerStarts => f.write_str("a worker starts from the files"),
            Move::ControllerDies(done, written) => {
                let files = if *written { "written" } else { "as they were" };
                write!(f, "tidegate dies after {done} commands, files {files}, and starts again")
            }
        }
    }
}
