//! `groma`: one program for the whole measurement platform.
//!
//! This crate parses arguments and prints; the crates that it calls do the work.

mod args;
mod builtin;
mod command;
mod duration;
mod journey;
mod listen;
mod output;
mod run;
mod services;
mod trace;

use std::process::ExitCode;

use clap::Parser as _;

use output::complain;

fn main() -> ExitCode {
    groma_service::keep_others_from_writing();
    let args = args::Groma::parse();
    let (format, level) = args.logging();
    if let Err(error) = groma_service::init_logging(format, level) {
        complain!("groma: {error}");
        return ExitCode::from(output::USAGE);
    }
    let code = match command::run(args.command) {
        Ok(code) => code,
        Err(error) if output::reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("groma: {}", output::reason(&error));
            ExitCode::from(output::FAILED)
        }
    };
    match output::finish() {
        Ok(()) => code,
        Err(error) => {
            complain!("groma: cannot write to standard output: {error}");
            ExitCode::from(output::FAILED)
        }
    }
}
