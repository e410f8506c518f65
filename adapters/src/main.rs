//! The `tidegate` program: parse, run, exit code.

use std::process::ExitCode;

use tidegate::cli::{execute, parse};

fn main() -> ExitCode {
    execute(parse())
}
