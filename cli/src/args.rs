//! The command line; each command defines its own flags.

use clap::{Parser, Subcommand};
use groma_service::LogFormat;
use tracing::Level;

use crate::command::{
    completions, demo, export, find, load, manifest, measure, mirror, ndt7, new, publish,
    quarantine, seal, show, tcp_info, up, uuid_prefix,
};

/// An open Internet-measurement platform: measure, trace, publish, query.
#[derive(Debug, Parser)]
#[command(
    name = "groma",
    version,
    propagate_version = true,
    after_help = "\
Begin with `groma demo`: it runs a test, follows the data, and shows the row.
`groma up` keeps the same lab running; `groma measure` tests against any ndt7 server.

Exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong usage or no consent.
Logs go to standard error; GROMA_LOG=debug shows more."
)]
pub(crate) struct Groma {
    /// The format of log lines.
    #[arg(
        long,
        global = true,
        env = "GROMA_LOG_FORMAT",
        value_enum,
        default_value_t
    )]
    log_format: LogFormat,

    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

impl Groma {
    /// Returns the chosen log format and the level of the command: services log their steps, commands for people only
    /// warnings and errors.
    pub(crate) fn logging(&self) -> (LogFormat, Level) {
        let level = if self.command.is_service() {
            Level::INFO
        } else {
            Level::WARN
        };
        (self.log_format, level)
    }
}

/// The commands, in the order in which a newcomer uses them. The help of each is beside its flags.
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
    New(new::Args),
    Manifest(manifest::Args),
    UuidPrefix(uuid_prefix::Args),
    Completions(completions::Args),
}

impl Command {
    /// Returns whether the command runs until it is asked to end.
    pub(crate) fn is_service(&self) -> bool {
        match self {
            Command::Up(_) | Command::Ndt7(_) | Command::Publish(_) => true,
            Command::TcpInfo(args) => args.is_service(),
            Command::Load(args) => args.is_service(),
            Command::Seal(args) => args.is_service(),
            _ => false,
        }
    }
}
