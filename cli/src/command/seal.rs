//! `groma seal`: keep a lake.

use std::process::ExitCode;
use std::time::Duration;

use groma_archive::{Opening, Store};
use groma_lake::{
    LakeError, Pass, Settings, Table, explain_errors, keep, publish_index, remove_object, seal,
};
use groma_lake_store::LakeStore;
use groma_service::{Lifecycle, RestartPolicy, supervise};
use jiff::civil::Date;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::node::{AdminArgs, stop_on_signal};

use crate::duration::{minutes, seconds};
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

    /// The time after midnight UTC until a date is closed; a number alone means minutes.
    #[arg(long, value_name = "DURATION", value_parser = minutes, default_value = "1h")]
    grace: Duration,

    /// The time for which replaced files stay for their readers; a number alone means minutes.
    #[arg(long, value_name = "DURATION", value_parser = minutes, default_value = "15m")]
    linger: Duration,

    /// Run until SIGTERM, with a run over the lake at this interval; a number alone means seconds.
    #[arg(long, value_name = "DURATION", value_parser = seconds, conflicts_with = "json")]
    every: Option<Duration>,

    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    admin: AdminArgs,

    /// Remove the rows of one archive object from the lake for good, and nothing else: an object of the same bytes is not
    /// loaded again. The name is that of its file, without .tgz or .jsonl.gz.
    #[arg(
        long,
        value_name = "EXPERIMENT/DATATYPE/YYYY-MM-DD/OBJECT",
        requires = "reason",
        conflicts_with = "every",
        group = "of_an_object"
    )]
    remove: Option<String>,

    /// Record why an archive object is damaged or has members that are not rows, and nothing else: its date can then be
    /// complete. It applies to the bytes that were loaded. The name is written as for --remove.
    #[arg(
        long,
        value_name = "EXPERIMENT/DATATYPE/YYYY-MM-DD/OBJECT",
        requires = "reason",
        conflicts_with = "every",
        group = "of_an_object"
    )]
    explain: Option<String>,

    /// Why the object is removed or has errors; kept in the lake.
    #[arg(long, value_name = "TEXT", requires = "of_an_object")]
    reason: Option<String>,
}

impl Args {
    /// Whether the command runs until it is stopped.
    pub(crate) fn is_service(&self) -> bool {
        self.every.is_some()
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    super::place::check_lake(&args.lake, "--lake")?;
    let settings = Settings {
        grace: args.grace,
        linger: args.linger,
        ..Settings::default()
    };
    let archive = args
        .archive
        .as_ref()
        .map(|url| groma_archive::open(url, &Opening::to_read()))
        .transpose()?;
    let archive = archive.as_deref();
    if let (Some(object), Some(reason)) = (&args.remove, &args.reason) {
        return remove(args, object, reason, &settings);
    }
    if let (Some(object), Some(reason)) = (&args.explain, &args.reason) {
        return explain(args, object, reason);
    }
    if let Some(every) = args.every {
        return serve(args, &settings, archive, every);
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

/// Records why one object has errors.
fn explain(args: &Args, object: &str, reason: &str) -> anyhow::Result<ExitCode> {
    let (table, date, stem) = locate(args, object)?;
    let explanation = explain_errors(&table, date, stem, reason)?;
    publish_index(args.lake.clone())?;
    say!(
        "the errors of {object} are explained, SHA-256 {}",
        explanation.object_sha256
    );
    Ok(ExitCode::SUCCESS)
}

/// Splits EXPERIMENT/DATATYPE/YYYY-MM-DD/OBJECT.
fn locate<'a>(args: &Args, object: &'a str) -> anyhow::Result<(Table, Date, &'a str)> {
    let parts: Vec<&str> = object.split('/').collect();
    let [experiment, datatype, date, stem] = parts[..] else {
        anyhow::bail!("{object} is not EXPERIMENT/DATATYPE/YYYY-MM-DD/OBJECT");
    };
    let table = Table::new(args.lake.clone(), experiment.parse()?, datatype.parse()?);
    Ok((table, date.parse()?, stem))
}

/// Removes one object from the lake.
fn remove(
    args: &Args,
    object: &str,
    reason: &str,
    settings: &Settings,
) -> anyhow::Result<ExitCode> {
    let (table, date, stem) = locate(args, object)?;
    let removal = remove_object(&table, date, stem, reason, settings)?;
    publish_index(args.lake.clone())?;
    say!(
        "removed {object}: {} bytes, SHA-256 {}",
        removal.object_bytes,
        removal.object_sha256
    );
    Ok(ExitCode::SUCCESS)
}

/// Maintains the lake until the process is asked to end.
fn serve(
    args: &Args,
    settings: &Settings,
    archive: Option<&dyn Store>,
    every: Duration,
) -> anyhow::Result<ExitCode> {
    let stop = stop_on_signal()?;
    let (lifecycle, metrics) = (Lifecycle::new(), SealMetrics::default());
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let _admin = args.admin.start(registry, &lifecycle)?;
    lifecycle.ready();
    let mut count = |result: &Result<_, _>| {
        metrics.count(result);
        match result {
            Ok(_) => lifecycle.recovered("seal"),
            Err(error) => lifecycle.failed("seal", &error.to_string()),
        }
    };
    let ended = supervise("seal", &lifecycle, &stop, RestartPolicy::default(), || {
        keep(
            args.lake.clone(),
            settings,
            archive,
            every,
            &stop,
            &mut count,
        );
        Ok::<_, std::convert::Infallible>(())
    });
    lifecycle.stop();
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// Metrics of the runs over a lake.
#[derive(Default)]
struct SealMetrics {
    runs: Counter,
    failures: Counter,
    sealed: Counter,
    compacted: Counter,
    corrected: Counter,
    set_aside: Counter,
    unreadable: Gauge,
    last: Gauge,
}

impl SealMetrics {
    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("groma_seal");
        for (name, help, counter) in [
            ("runs", "Runs over the lake", &self.runs),
            (
                "failures",
                "Runs that failed for at least one date",
                &self.failures,
            ),
            ("sealed_dates", "Dates that got sealed parts", &self.sealed),
            (
                "compacted_dates",
                "Dates that were compacted",
                &self.compacted,
            ),
            (
                "corrected_objects",
                "Objects whose rows in a part were replaced or removed",
                &self.corrected,
            ),
            (
                "set_aside_files",
                "Damaged files moved aside to be loaded again",
                &self.set_aside,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "unreadable_files",
            "Damaged files of the last run that stay where they are",
            self.unreadable.clone(),
        );
        registry.register(
            "last_success_timestamp_seconds",
            "When a run succeeded last, in seconds since 1970",
            self.last.clone(),
        );
    }

    fn count(&self, result: &Result<Pass, LakeError>) {
        self.runs.inc();
        let Ok(pass) = result else {
            self.failures.inc();
            return;
        };
        self.sealed.inc_by(pass.sealed as u64);
        self.compacted.inc_by(pass.compacted as u64);
        self.corrected.inc_by(pass.corrected as u64);
        self.set_aside.inc_by(pass.set_aside.len() as u64);
        let unreadable = i64::try_from(pass.unreadable.len()).unwrap_or(i64::MAX);
        self.unreadable.set(unreadable);
        self.last.set(jiff::Timestamp::now().as_second());
    }
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
