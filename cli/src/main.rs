//! `groma`: one program for the whole measurement platform.
//!
//! Parsing of arguments and printing only; what the commands do lives in the
//! crates that they call.

mod args;
mod command;
mod journey;
mod listen;
mod output;
mod run;
mod trace;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = args::Groma::parse();
    let (format, level) = args.logging();
    groma_service::init_logging(format, level);
    match command::run(args.command) {
        Ok(code) => code,
        Err(error) if output::reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("groma: {}", output::reason(&error));
            ExitCode::from(output::FAILED)
        }
    }
}
