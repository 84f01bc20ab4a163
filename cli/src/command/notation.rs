//! What was typed and what is of the environment; M-Lab's flags in place of our own, which stand behind `--compat`.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// What the flag is called.
pub(crate) const COMPAT: &str = "compat";

/// Whether a flag stands on the command line itself, and not in the environment alone.
pub(crate) fn is_typed(matches: &ArgMatches, flag: &str) -> bool {
    matches.value_source(flag) == Some(ValueSource::CommandLine)
}

/// Refuses flags of ours beside `--compat`, but for those `alongside`. Only what stands on the command line counts: the
/// environment of a pod has variables of both notations.
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
