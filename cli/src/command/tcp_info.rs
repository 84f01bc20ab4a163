//! `groma tcp-info`: the connection recorder as a node runs it, and what it recorded.

mod decode;
mod record;

use std::process::ExitCode;

use clap::Subcommand;

pub(super) use decode::PLOT_WIDTH;

/// Record the TCP connections of an experiment: each change, the last word included.
///
/// Writes one file per connection and ten minutes in M-Lab's format
/// (`tcpinfo/YYYY/MM/DD/UUID.SEQUENCE.jsonl.zst`) into the experiment's spool, and
/// reports opened and closed connections to other sidecars over a unix socket.
///
/// Only tests are recorded, never people: in a network namespace of the
/// experiment's own (--whole, --netns) everything but what is excluded; on a
/// shared machine only sockets whose local port is one of --port. It needs no
/// privileges; --netns needs `CAP_SYS_ADMIN`. SIGTERM ends every file and brings
/// all of them into the spool; a second one ends at once, and the next start
/// finishes what is left.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    record: record::Notation,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show recorded connections as a table, CSV, JSON or a plot.
    Decode(decode::Args),
}

impl Args {
    /// Whether it runs until it gets a signal.
    pub(crate) fn is_service(&self) -> bool {
        self.action.is_none()
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Some(Action::Decode(args)) => decode::run(args),
        None => record::run(&args.record.0),
    }
}
