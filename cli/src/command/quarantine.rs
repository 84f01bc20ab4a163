//! `groma quarantine`: what was not published, and what to do with it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use groma_publish::{Quarantine, Quarantined};

use super::node::{ManifestArgs, open_spool};
use crate::output::{self, say};

/// Look at files that were refused, give them back, or delete them.
///
/// A file that is not what its experiment declares is never published and never
/// deleted: it waits here, with the reason. Releases and drops are recorded in
/// `quarantine/audit.jsonl` of the publisher's state.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The publisher's state directory.
    #[arg(long, env = "GROMA_STATE", value_name = "DIR")]
    state: PathBuf,

    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// All files, with the reason of each.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the content of a file.
    Show {
        /// What `list` calls it: datatype, date and name.
        id: String,
    },
    /// Put a file back into the spool, where it is checked again.
    Release {
        /// What `list` calls it: datatype, date and name.
        id: String,
        /// The experiment's directory in the spool.
        #[arg(long, env = "DIRECTORY", value_name = "DIR")]
        directory: PathBuf,
        #[command(flatten)]
        manifest: ManifestArgs,
    },
    /// Delete a file for good.
    Drop {
        /// What `list` calls it: datatype, date and name.
        id: String,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        args.state.is_dir(),
        "cannot open the state directory {}: it does not exist; correct --state",
        args.state.display()
    );
    let quarantine = Quarantine::open(&args.state);
    match &args.action {
        Action::List { json } => list(&quarantine.list()?, *json)?,
        Action::Show { id } => {
            let file = find(&quarantine, id)?;
            anyhow::ensure!(
                !file.is_missing,
                "only the reason of {id} is here: {}",
                file.reason
            );
            output::copy(&mut quarantine.content(id)?)?;
        }
        Action::Release {
            id,
            directory,
            manifest,
        } => {
            let spool = open_spool(directory, &manifest.read()?)?;
            let path = quarantine.release(&find(&quarantine, id)?, &spool, &operator())?;
            say!("{}", spool.file_path(&path).display());
        }
        Action::Drop { id } => quarantine.drop(&find(&quarantine, id)?, &operator())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn find(quarantine: &Quarantine, id: &str) -> anyhow::Result<Quarantined> {
    quarantine.look(id)?.with_context(|| {
        format!("there is no file {id:?} in quarantine; see `groma quarantine list`")
    })
}

fn list(files: &[Quarantined], json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&files);
    }
    for file in files {
        if file.is_missing {
            say!("{}  missing  {}", file.id, file.reason);
        } else {
            say!("{}  {} bytes  {}", file.id, file.size_bytes, file.reason);
        }
    }
    Ok(())
}

/// Returns the name for the record: the user as whom the operator logged in, if the environment has it.
fn operator() -> String {
    ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .unwrap_or_else(|| "unknown".to_owned())
}
