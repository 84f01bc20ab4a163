//! The command line as a whole; each command's own flags stand with the command.

use clap::{Parser, Subcommand};
use groma_service::LogFormat;
use tracing::Level;

use crate::command::{
    completions, demo, export, find, load, measure, mirror, ndt7, publish, quarantine, seal, show,
    tcp_info, up,
};

/// An open Internet-measurement platform: measure, trace, publish, query.
#[derive(Debug, Parser)]
#[command(
    name = "groma",
    version,
    propagate_version = true,
    after_help = "\
Begin with `groma demo`: a test, its data on their way, and the row that they become.
`groma up` keeps the same lab running; `groma measure` tests against any ndt7 server.

Exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong usage or no consent.
Logs go to standard error; GROMA_LOG=debug shows more."
)]
pub(crate) struct Groma {
    /// How log lines look.
    #[arg(
        long,
        global = true,
        env = "GROMA_LOG_FORMAT",
        value_enum,
        default_value_t
    )]
    log_format: LogFormat,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Groma {
    /// The chosen log format, and the level that suits the command: services tell
    /// what they do, commands for people only what is wrong.
    pub(crate) fn logging(&self) -> (LogFormat, Level) {
        let level = match &self.command {
            Command::Up(_) | Command::Ndt7(_) | Command::Publish(_) => Level::INFO,
            Command::TcpInfo(args) if args.is_service() => Level::INFO,
            Command::Load(args) if args.is_service() => Level::INFO,
            Command::Seal(args) if args.is_service() => Level::INFO,
            _ => Level::WARN,
        };
        (self.log_format, level)
    }
}

/// The commands, in the order in which a newcomer meets them. Each is described where its flags are.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::Args),
    Up(up::Args),
    Measure(measure::Args),
    Show(show::Args),
    Ndt7(ndt7::Args),
    Publish(publish::Notation),
    Quarantine(quarantine::Args),
    Load(load::Args),
    /// Write rows of the lake as Parquet, JSON lines or CSV.
    Export(export::Args),
    Seal(seal::Args),
    Find(find::Args),
    Mirror(mirror::Args),
    TcpInfo(tcp_info::Args),
    Completions(completions::Args),
}
