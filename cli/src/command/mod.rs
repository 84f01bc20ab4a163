//! One module per command.

mod archive;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod export;
pub(crate) mod find;
pub(crate) mod load;
pub(crate) mod manifest;
pub(crate) mod measure;
pub(crate) mod mirror;
pub(crate) mod ndt7;
pub(crate) mod new;
mod node;
mod notation;
mod place;
pub(crate) mod publish;
pub(crate) mod quarantine;
pub(crate) mod seal;
pub(crate) mod show;
pub(crate) mod tcp_info;
pub(crate) mod up;
pub(crate) mod uuid_prefix;

use std::process::ExitCode;

use crate::args::Command;

/// Runs a command and returns the exit code.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    if command.is_service() {
        // Before anything is opened, so that a stop right after the start is a graceful one too.
        groma_service::install_signal_handlers();
    }
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Up(args) => up::run(args),
        Command::Measure(args) => measure::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Ndt7(args) => ndt7::run(&args),
        Command::Publish(args) => publish::run(&args),
        Command::Quarantine(args) => quarantine::run(&args),
        Command::Load(args) => load::run(&args),
        Command::Seal(args) => seal::run(&args),
        Command::Find(args) => find::run(&args),
        Command::Mirror(args) => mirror::run(&args),
        Command::TcpInfo(args) => tcp_info::run(&args),
        Command::New(args) => new::run(&args),
        Command::Manifest(args) => manifest::run(&args),
        Command::Export(args) => export::run(&args),
        Command::UuidPrefix(args) => uuid_prefix::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}
