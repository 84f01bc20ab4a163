//! `groma uuid-prefix`: the beginning of all UUIDs of this boot.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use groma_uuid::{Prefix, machine_name};

use super::place::check_above;
use crate::output::say;

/// Write the file with the prefix of this boot's UUIDs, unless it is there.
///
/// Run it once per boot, before the services that take `--uuid-prefix-file`. A file of an earlier boot is replaced. Prints the
/// prefix: the name of this machine and its boot time.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file, by custom /var/local/uuid/prefix.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    check_above(&args.file, "FILE")?;
    let name = machine_name().context("cannot read the name of this machine; set POD_NAME")?;
    say!("{}", Prefix::ensure(&args.file, &name)?.as_str());
    Ok(ExitCode::SUCCESS)
}
