//! The `tidegate` program: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use tidegate::cli::{Cli, execute};

fn main() -> ExitCode {
    execute(Cli::parse())
}
