//! Where a command looks: a lab, or a lake that is not the lab's.

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args, Command, FromArgMatches};
use groma_lake_store::LakeStore;

use super::notation::is_typed;

/// A lab's directory and perhaps a lake of its own place. A directory that was typed wins over a lake of the environment.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) lake: Option<LakeStore>,
}

#[derive(Debug, Args)]
struct Flags {
    /// The lab's directory.
    #[arg(
        long,
        env = "GROMA_DIR",
        value_name = "DIR",
        default_value = "groma-lab"
    )]
    dir: PathBuf,

    /// The lake, where it is not the lab's: a directory, or the URL of an S3 bucket in a build with the feature s3. One that
    /// is only in the environment is not asked when --dir is given.
    #[arg(long, env = "GROMA_LAKE", value_name = "DIR|URL", value_parser = LakeStore::open)]
    lake: Option<LakeStore>,
}

impl FromArgMatches for Place {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let Flags { dir, lake } = Flags::from_arg_matches(matches)?;
        let lake = lake.filter(|_| is_typed(matches, "lake") || !is_typed(matches, "dir"));
        Ok(Place { dir, lake })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Place::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Place {
    fn augment_args(command: Command) -> Command {
        Flags::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args_for_update(command)
    }
}

/// Refuses a lake that is not there, and a directory of other files: a mistyped path is not an empty lake. `flags` are those
/// that name the lake.
pub(crate) fn check_lake(lake: &LakeStore, flags: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        lake.is_bucket() || lake.root().is_dir(),
        "there is no lake in {lake}; name one with {flags}"
    );
    anyhow::ensure!(
        groma_lake::is_lake(lake)?,
        "{lake} is not a lake, it has other files; name a lake with {flags}"
    );
    Ok(())
}

/// Refuses a directory that a command would create in a directory that does not exist: the path is mistyped. `flag` names it.
pub(crate) fn check_above(dir: &Path, flag: &str) -> anyhow::Result<()> {
    let above = std::path::absolute(dir)?;
    anyhow::ensure!(
        dir.is_dir() || above.parent().is_none_or(Path::is_dir),
        "cannot create {}: the directory above it does not exist; create it or correct {flag}",
        dir.display()
    );
    Ok(())
}

/// Refuses to create a lake in a directory that is not there or has other files, and reports a lake that is created.
pub(crate) fn check_new_lake(lake: &LakeStore) -> anyhow::Result<()> {
    if lake.is_bucket() || lake.root().is_dir() {
        return check_lake(lake, "--lake");
    }
    check_above(lake.root(), "--lake")?;
    crate::output::complain!("groma: {lake} is a new lake");
    Ok(())
}
