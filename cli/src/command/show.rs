//! `groma show`: where is my test?

use std::path::PathBuf;
use std::process::ExitCode;

use groma_find::{Dirs, Report, Stage};

use crate::output;
use crate::output::say;

/// Show where a test stands: in the spool, on its way, archived, or a row.
///
/// Exit code 0 if the platform knows the test, 1 if it does not.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The UUID of a connection, as `groma measure` and every row tell it.
    uuid: String,

    /// The lab's directory.
    #[arg(
        long,
        env = "GROMA_DIR",
        value_name = "DIR",
        default_value = "groma-lab"
    )]
    dir: PathBuf,

    /// Print JSON, with the whole row.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        args.dir.is_dir(),
        "there is no lab in {}; name its directory with --dir",
        args.dir.display()
    );
    let report = groma_find::show(&Dirs::of_lab(&args.dir), &args.uuid)?;
    if args.json {
        output::json(&to_json(&args.uuid, &report))?;
    } else {
        print(&args.uuid, &report);
    }
    Ok(match report.stage {
        Stage::Unknown => ExitCode::from(output::FAILED),
        _ => ExitCode::SUCCESS,
    })
}

fn to_json(uuid: &str, report: &Report) -> serde_json::Value {
    serde_json::json!({
        "uuid": uuid,
        "stage": report.stage.as_str(),
        "spool_file": report.spool_file,
        "receipt": report.receipt,
        "table_file": report.table_file,
        "unreadable": report.unreadable,
        "row": report.row,
    })
}

fn print(uuid: &str, report: &Report) {
    say!("{uuid}");
    let line = match report.stage {
        Stage::Unknown => "unknown: no file, receipt or row of this lab bears this UUID",
        Stage::Pending => "pending: its file is closed and waits for the publisher",
        Stage::Claimed => "claimed: the publisher has its file and is bundling it",
        Stage::Published => "published: its file is in the archive, its row is on its way",
        Stage::Loaded => "loaded: it is a row",
    };
    say!("  {line}");
    if let Some(file) = &report.spool_file {
        say!("  file     {}", file.display());
    }
    if let Some(receipt) = &report.receipt {
        say!("  object   {}", receipt.object);
        say!("  member   {}", receipt.member);
        say!("  archived {}", receipt.published_at);
    }
    if let Some(file) = &report.table_file {
        say!("  table    {}", file.display());
    }
    for file in &report.unreadable {
        say!("  could not be read: {}", file.display());
    }
    if let Some(row) = &report.row {
        say!("  row      {}", output::row(row));
    }
}
