//! The command line; it holds no logic of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    contourd::cli::main()
}
