//! `groma completions`: what a shell needs to complete our commands.

use clap::CommandFactory as _;
use clap_complete::Shell;

/// Print a completion script for a shell.
///
/// For bash: `groma completions bash > ~/.local/share/bash-completion/completions/groma`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell.
    shell: Shell,
}

pub(crate) fn run(args: &Args) {
    let mut command = crate::args::Groma::command();
    clap_complete::generate(args.shell, &mut command, "groma", &mut std::io::stdout());
}
