//! `groma completions`: what a shell needs to complete our commands.

use std::io::Write as _;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::output::Stdout;

/// Print a completion script for a shell.
///
/// For bash: `groma completions bash > ~/.local/share/bash-completion/completions/groma`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell.
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut command = crate::args::Groma::command();
    // The generator panics when its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "groma", &mut script);
    Stdout.write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
