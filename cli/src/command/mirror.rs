//! `groma mirror`: a lake, or some of it, in a directory of this machine.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use groma_lake::{Mirrored, Wanted, mirror};
use groma_lake_store::LakeStore;
use groma_service::parse_byte_count;
use groma_spool::Name;
use jiff::civil::Date;

use super::export::pair;
use super::node::stop_on_signal;
use crate::duration::{minutes, seconds};
use crate::output;
use crate::output::say;

/// Copy a lake, or some of it, to a directory, for engines that read no bucket.
///
/// The copy is a lake: `groma show`, `groma find`, `groma export`, `groma-sql` and every engine of docs/engines.md read it.
/// Files that it has are not copied again. Dates that were not asked for, and dates and tables that the lake no longer has, are
/// removed from it. The copy can be read at any time. A data file whose SHA-256 differs from the lake's log is not copied; its
/// date keeps its previous contents, and the exit code is 1. A directory with another lake is refused. One run at a time updates
/// a copy; others wait.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The lake: a directory, or the URL of an S3 bucket in a build with the feature s3.
    #[arg(long, env = "GROMA_LAKE", value_name = "DIR|URL", value_parser = LakeStore::open)]
    lake: LakeStore,

    /// Where the copy is.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,

    /// A table that is wanted; may be given several times. Without it, all.
    #[arg(long, value_name = "EXPERIMENT/DATATYPE")]
    datatype: Vec<String>,

    /// From this date on (UTC).
    #[arg(long, value_name = "YYYY-MM-DD")]
    since: Option<Date>,

    /// To this date, included.
    #[arg(long, value_name = "YYYY-MM-DD")]
    until: Option<Date>,

    /// The most bytes of the copy; if it would need more, nothing is copied.
    #[arg(long, value_name = "SIZE", value_parser = parse_byte_count, default_value = "10GB")]
    most: u64,

    /// The time for which replaced files stay for their readers; a number alone means minutes.
    #[arg(long, value_name = "DURATION", value_parser = minutes, default_value = "0")]
    linger: Duration,

    /// Run until SIGTERM, with a run at this interval; a number alone means seconds.
    #[arg(long, value_name = "DURATION", value_parser = seconds, conflicts_with = "json")]
    every: Option<Duration>,

    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

/// How soon a stop is noticed.
const NOTICE: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    super::place::check_lake(&args.lake, "--lake")?;
    let tables: anyhow::Result<Vec<(Name, Name)>> =
        args.datatype.iter().map(|text| pair(text)).collect();
    let wanted = Wanted {
        tables: tables?,
        since: args.since,
        until: args.until,
        most_bytes: args.most,
        linger: args.linger,
    };
    let Some(every) = args.every else {
        print(&mirror(&args.lake, &args.to, &wanted)?, args)?;
        return Ok(ExitCode::SUCCESS);
    };
    let stop = stop_on_signal()?;
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        match mirror(&args.lake, &args.to, &wanted) {
            Ok(mirrored) if mirrored.files + mirrored.removed > 0 => print(&mirrored, args)?,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a run failed; the next one continues"),
        }
        while begun.elapsed() < every && !stop.load(Ordering::Relaxed) {
            thread::sleep(NOTICE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(mirrored: &Mirrored, args: &Args) -> anyhow::Result<()> {
    let Mirrored {
        files,
        copied_bytes,
        size_bytes,
        removed,
    } = mirrored;
    if args.json {
        return output::json(&serde_json::json!({
            "files": files,
            "copied_bytes": copied_bytes,
            "size_bytes": size_bytes,
            "removed": removed,
        }));
    }
    say!(
        "{files} files copied ({copied_bytes} bytes), {removed} removed; {} now has {size_bytes} bytes of {}",
        args.to.display(),
        args.lake
    );
    Ok(())
}
