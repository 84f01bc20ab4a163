//! `groma manifest`: checks the description of an experiment.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use groma_manifest::{Manifest, ManifestError, Problem};
use groma_service::visible;

use crate::output::{self, FAILED, say};

/// The name of the manifest in the directory of an experiment.
pub(crate) const FILE_NAME: &str = "experiment.toml";

/// Check the description of an experiment.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print every problem of a manifest, with its line.
    ///
    /// Exit code 0 if there is none, 1 if there are any or the file cannot be read, 2 for wrong usage.
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// The manifest, or the directory with its `experiment.toml`.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Print one JSON object: `ok`, `file`, and `problems` with `line`, `key` and `reason`.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Action::Check(args) = &args.action;
    let file = manifest_in(&args.file);
    let problems = match Manifest::load(&file) {
        Ok(_) => Vec::new(),
        Err(ManifestError::Problems(problems)) => problems.0,
        Err(error) => return Err(error.into()),
    };
    if args.json {
        let ok = problems.is_empty();
        output::json(&serde_json::json!({ "ok": ok, "file": file, "problems": problems }))?;
    } else {
        print(&file, &problems);
    }
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

/// Returns the manifest in a directory, or the file itself.
pub(crate) fn manifest_in(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join(FILE_NAME)
    } else {
        path.to_owned()
    }
}

fn print(file: &Path, problems: &[Problem]) {
    let shown = file.display().to_string();
    let shown = visible(&shown);
    for problem in problems {
        let Problem { line, key, reason } = problem;
        let key = match key.as_str() {
            "" => String::new(),
            key => format!("{key}: "),
        };
        say!("{shown}:{line}: {}{}", visible(&key), visible(reason));
    }
    match problems.len() {
        0 => say!("{shown}: no problems"),
        1 => say!("1 problem"),
        many => say!("{many} problems"),
    }
}
