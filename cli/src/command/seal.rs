//! `groma seal`: keep a lake.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use groma_archive::Opening;
use groma_lake::{Pass, Settings, keep, publish_index, seal};
use groma_lake_store::LakeStore;

use crate::output::{self, say};

/// Compact the live dates of a lake, seal the closed ones, and write its index page.
///
/// Several may run at once, on several machines; each piece of work is done by one. Sealed dates have a manifest, which
/// says whether every object of the archive is in them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The lake: a directory, or the URL of an S3 bucket in a build with the feature s3.
    #[arg(long, env = "GROMA_LAKE", value_name = "DIR|URL", value_parser = LakeStore::open)]
    lake: LakeStore,

    /// The archive, a directory or a bucket's URL; without it no date is called complete.
    #[arg(long, env = "GROMA_ARCHIVE", value_name = "DIR|URL")]
    archive: Option<String>,

    /// Minutes after midnight UTC until a date is closed.
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    grace: u32,

    /// Minutes that replaced files stay for those who read them.
    #[arg(long, value_name = "MINUTES", default_value_t = 15)]
    linger: u32,

    /// Go on until SIGTERM, with a pass every so many seconds.
    #[arg(long, value_name = "SECONDS", conflicts_with = "json")]
    every: Option<u64>,

    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Whether the command runs until it is stopped.
    pub(crate) fn is_service(&self) -> bool {
        self.every.is_some()
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    super::place::check_lake(&args.lake)?;
    let settings = Settings {
        grace: Duration::from_secs(u64::from(args.grace) * 60),
        linger: Duration::from_secs(u64::from(args.linger) * 60),
        ..Settings::default()
    };
    let archive = args
        .archive
        .as_ref()
        .map(|url| groma_archive::open(url, &Opening::to_read()))
        .transpose()?;
    let archive = archive.as_deref();
    if let Some(seconds) = args.every {
        let stop = stop_on_signal()?;
        keep(
            args.lake.clone(),
            &settings,
            archive,
            Duration::from_secs(seconds),
            &stop,
        );
        return Ok(ExitCode::SUCCESS);
    }
    let pass = seal(
        args.lake.clone(),
        jiff::Timestamp::now(),
        &settings,
        archive,
    )?;
    publish_index(args.lake.clone())?;
    print(&pass, args.json)?;
    // The files are named in what was printed.
    let is_whole = pass.unreadable.is_empty() && pass.set_aside.is_empty();
    Ok(if is_whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(output::FAILED)
    })
}

/// Set when the process is asked to end.
pub(crate) fn stop_on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    groma_service::survive_hangups();
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || {
        runtime.block_on(groma_service::until_signal());
        flag.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}

fn print(pass: &Pass, json: bool) -> anyhow::Result<()> {
    let Pass {
        sealed,
        compacted,
        removed,
        recovered,
        lost_races,
        corrected,
        set_aside,
        unreadable,
    } = pass;
    if json {
        return output::json(&serde_json::json!({
            "sealed": sealed,
            "compacted": compacted,
            "removed": removed,
            "recovered": recovered,
            "lost_races": lost_races,
            "corrected": corrected,
            "set_aside": set_aside,
            "unreadable": unreadable,
        }));
    }
    say!("{sealed} dates sealed, {compacted} compacted, {removed} replaced files removed");
    if *corrected > 0 {
        say!("{corrected} objects corrected");
    }
    for file in set_aside {
        say!(
            "  damaged, loaded again from its object by groma load: {}",
            file.display()
        );
    }
    for file in unreadable {
        say!("  could not be read: {}", file.display());
    }
    Ok(())
}
