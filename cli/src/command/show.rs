//! `groma show`: where is my test?

use std::process::ExitCode;

use groma_find::{Detail, Dirs, Report, Stage, Trace};

use super::place::Place;
use super::tcp_info::PLOT_WIDTH;
use crate::output;
use crate::output::say;
use crate::trace;

/// Show the stage of a test (in the spool, claimed, archived, or a row) and the record of its connection.
///
/// The connection recorder (`groma tcp-info`) leaves snapshots of each test's
/// connection, which become rows of the table tcpinfo with the same UUID.
/// Exit code 0 if the platform knows the test, 1 if it does not.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The UUID of a connection, which `groma measure` prints and every row has.
    uuid: String,

    #[command(flatten)]
    place: Place,

    /// Print JSON, with the whole row and every snapshot of the connection.
    #[arg(long)]
    json: bool,

    /// Draw the connection's throughput, round-trip time and congestion window over time.
    #[arg(long, conflicts_with = "json")]
    plot: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut dirs = Dirs::of_lab(&args.place.dir);
    match &args.place.lake {
        Some(lake) => {
            super::place::check_lake(lake, "--lake")?;
            dirs.lake = lake.clone();
        }
        None => anyhow::ensure!(
            args.place.dir.is_dir(),
            "there is no lab in {}; name its directory with --dir, or a lake with --lake",
            args.place.dir.display()
        ),
    }
    let report = groma_find::show(&dirs, &args.uuid)?;
    let detail = if args.json {
        Detail::Whole
    } else {
        Detail::Summary
    };
    let traced = groma_find::trace(&dirs, &args.uuid, detail)?;
    if args.json {
        output::json(&to_json(&args.uuid, &report, &traced))?;
    } else {
        print(&args.uuid, &report, &traced);
    }
    if args.plot && !traced.rows.is_empty() {
        trace::plot(&traced, PLOT_WIDTH, &mut output::Stdout)?;
    }
    Ok(match (report.stage, traced.stage) {
        (Stage::Unknown, Stage::Unknown) => ExitCode::from(output::FAILED),
        _ => ExitCode::SUCCESS,
    })
}

fn to_json(uuid: &str, report: &Report, traced: &Trace) -> serde_json::Value {
    let first = report.rows.first();
    serde_json::json!({
        "uuid": uuid,
        "stage": report.stage.as_str(),
        "spool_file": report.spool_file,
        "receipt": report.receipt,
        "table_file": first.map(|found| &found.table_file),
        "unreadable": report.unreadable,
        "row": first.map(|found| &found.row),
        "rows": report.rows,
        "trace": {
            "stage": traced.stage.as_str(),
            "spool_file": traced.spool_file,
            "unreadable": traced.unreadable,
            "summary": trace::summary(traced),
            "rows": traced.rows,
        },
    })
}

fn print(uuid: &str, report: &Report, traced: &Trace) {
    say!("{uuid}");
    let line = match report.stage {
        Stage::Unknown if traced.stage > Stage::Unknown => {
            "no result: a connection of this name was traced, and no test of it left a file or row"
        }
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
    for (index, line) in trace::lines(traced).iter().enumerate() {
        say!("  {:<8} {line}", if index == 0 { "traced" } else { "" });
    }
    for file in report.unreadable.iter().chain(&traced.unreadable) {
        say!("  could not be read: {}", file.display());
    }
    for found in &report.rows {
        say!("  table    {}", found.table);
        say!("  in file  {}", found.table_file.display());
        say!("  row      {}", output::row(&found.row));
    }
}
