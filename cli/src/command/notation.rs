//! Distinguishes typed flags from those of the environment, and M-Lab's flags, which follow `--compat`, from our own.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// The name of the flag.
pub(crate) const COMPAT: &str = "compat";

/// Whether a flag is on the command line itself, and not only in the environment.
pub(crate) fn is_typed(matches: &ArgMatches, flag: &str) -> bool {
    matches.value_source(flag) == Some(ValueSource::CommandLine)
}

/// Refuses our flags beside `--compat`, except those `alongside`. Only the command line counts, because the environment of a
/// pod has variables of both syntaxes.
pub(crate) fn refuse_own<A: clap::Args>(
    matches: &ArgMatches,
    alongside: &[&str],
) -> Result<(), clap::Error> {
    let own = A::augment_args(Command::new(COMPAT));
    let stray = own.get_arguments().map(|arg| arg.get_id().as_str());
    let stray = stray
        .filter(|id| *id != COMPAT && !alongside.contains(id))
        .find(|id| is_typed(matches, id));
    let Some(stray) = stray else {
        return Ok(());
    };
    let reason =
        format!("--compat cannot be used with our own {stray}; give M-Lab's flag for it\n");
    Err(clap::Error::raw(ErrorKind::ArgumentConflict, reason))
}
