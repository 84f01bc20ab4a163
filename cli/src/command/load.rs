//! `groma load`: archive objects into the lake.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use groma_compose::loaded_datatypes;
use groma_lake_store::LakeStore;
use groma_load::{Lake, LoadDatatype, Loader, Object};
use groma_mlab::load_datatype;
use groma_schema::Schema;
use groma_service::{Lifecycle, RestartPolicy, parse_duration, supervise};
use groma_spool::Name;
use jiff::civil::Date;
use prometheus_client::registry::Registry;

use super::node::{AdminArgs, ManifestArgs, stop_on_signal};
use crate::builtin;
use crate::output::{Bars, FAILED, complain, reason, say};

mod bigquery;
mod found;

use found::{Archive, objects, open};

/// Load archive objects into the lake's Parquet, or into a warehouse, each exactly once.
///
/// Objects that are loaded already are skipped, so the same command can be repeated. Members that cannot be read become
/// errors beside the rows, and the others are loaded.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "groma load [OPTIONS] --lake <DIR|URL> <ARCHIVE|URL>...
       groma load [OPTIONS] --to bigquery --project <PROJECT> <ARCHIVE|URL>...
       groma load --to bigquery --schemas <DIR>"
)]
pub(crate) struct Args {
    #[command(flatten)]
    manifest: ManifestArgs,

    #[arg(
        required_unless_present = "schemas",
        value_name = "ARCHIVE|URL",
        help = "Archives or objects of one: directories, files, s3://BUCKET/…, gs://BUCKET/…, https://HOST/…"
    )]
    archives: Vec<String>,

    // Before the lake: what was read is not among clap's matches any more, and this one looks for it there.
    #[command(flatten)]
    warehouse: bigquery::Only,

    /// The lake: a directory, or the URL of an S3 bucket in a build with the feature s3.
    #[arg(
        long,
        env = "GROMA_LAKE",
        value_name = "DIR|URL",
        value_parser = LakeStore::open,
        required_unless_present = "to"
    )]
    lake: Option<LakeStore>,

    /// The date of the rows, instead of the one in the object's name.
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<Date>,

    /// Also load objects with the mark -e of an embargo, which a public lake must not have before its end.
    #[arg(long)]
    embargoed: bool,

    /// The schema file of a JSON datatype that is not built in; may be repeated.
    #[arg(long, value_name = "EXPERIMENT/DATATYPE=FILE")]
    schema: Vec<String>,

    /// Objects loaded at the same time; without it, one per processor.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Go on loading what appears in the one archive named, until SIGTERM.
    #[arg(long, conflicts_with_all = ["date", "json", "to"])]
    follow: bool,

    /// How often a bucket is listed with --follow.
    #[arg(long, value_parser = parse_duration, value_name = "DURATION", default_value = "30s")]
    poll: Duration,

    /// Print one JSON object per archive object.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    admin: AdminArgs,
}

impl Args {
    /// Whether the command runs until it is stopped.
    pub(crate) fn is_service(&self) -> bool {
        self.follow
    }
}

/// The result of loading one object.
#[derive(Debug, Default, serde::Serialize)]
struct Line {
    object: String,
    rows: u64,
    errors: u64,
    skipped: u64,
    already: bool,
    /// The object is damaged: members may be missing.
    damaged: bool,
    /// The rows replace those of a damaged object of the same name.
    replaced: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    parquet: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The objects after it would end as it did.
    #[serde(skip)]
    is_last: bool,
}

impl Line {
    fn failed(error: &anyhow::Error) -> Line {
        Line {
            error: Some(reason(error)),
            ..Line::default()
        }
    }
}

/// The results of loading the objects of an archive.
#[derive(Default)]
struct Sum {
    rows: u64,
    failed: u64,
    /// Objects that are loaded as far as they could be read.
    damaged: u64,
    /// Objects of a location that was named which are not loaded, and locations without any.
    left_alone: u64,
    /// Objects that were not tried.
    left: u64,
}

/// Where objects are loaded to.
enum Target {
    Lake(Box<Loader>),
    BigQuery(Box<bigquery::BigQuery>),
}

impl Target {
    fn is_loadable(&self, name: &str) -> bool {
        match self {
            Target::Lake(loader) => loader.is_loadable(name),
            Target::BigQuery(loader) => loader.is_loadable(name),
        }
    }

    /// Returns the same target, which shows its progress with large objects on a terminal, for which it asks for their
    /// sizes. A warehouse reads objects itself.
    fn telling(self, bars: &Arc<Bars>) -> Target {
        let bars = Arc::clone(bars);
        match self {
            Target::Lake(loader) if bars.are_drawn() => {
                Target::Lake(Box::new(loader.telling(move |name, progress| {
                    bars.part(name, progress.read_bytes, progress.object_bytes);
                })))
            }
            silent => silent,
        }
    }

    fn load(&self, object: String, date: Option<Date>) -> Line {
        let line = match self {
            Target::Lake(loader) => {
                load(loader, &object, date).unwrap_or_else(|error| Line::failed(&error.into()))
            }
            Target::BigQuery(loader) => bigquery::load(loader, &object, date),
        };
        Line { object, ..line }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &args.warehouse.0.schemas {
        let datatypes = datatypes(args, &args.archives)?;
        return bigquery::write_schemas(dir, datatypes);
    }
    if args.follow {
        return follow(args);
    }
    let mut sum = Sum::default();
    for archive in &args.archives {
        let found = objects(archive)?;
        let datatypes = datatypes(args, &found.names)?;
        let mut target = target(args, found.archive, datatypes)?;
        // An object that was named itself is loaded, or the reason against it is reported.
        let (names, others): (Vec<String>, Vec<String>) = found
            .names
            .into_iter()
            .partition(|name| found.is_object || target.is_loadable(name));
        let left_alone = say_left_alone(archive, &others);
        sum.left_alone += left_alone;
        if names.is_empty() && left_alone == 0 {
            complain!("groma: {} has no archive objects", shown(archive));
            sum.left_alone += 1;
        }
        if let Target::BigQuery(loader) = &mut target {
            bigquery::prepare(loader, &names, args.date)?;
        }
        let bars = Arc::new(Bars::new("objects", names.len() as u64));
        let target = target.telling(&bars);
        load_all(&target, args, &names, &bars, &mut sum)?;
        bars.finish();
        if sum.left > 0 {
            break;
        }
    }
    let Sum {
        rows,
        failed,
        damaged,
        left_alone,
        left,
    } = sum;
    if !args.json {
        match &args.lake {
            Some(lake) if args.warehouse.0.to.is_none() => say!("{rows} rows in {lake}"),
            _ => say!("{rows} rows loaded"),
        }
    }
    anyhow::ensure!(
        left == 0,
        "{failed} objects could not be loaded; {left} others would have ended as the last one did and were not tried"
    );
    anyhow::ensure!(failed == 0, "{failed} objects could not be loaded");
    anyhow::ensure!(
        damaged == 0,
        "{damaged} objects are damaged, and only what could be read is in the lake; load them again when they are whole"
    );
    Ok(if left_alone == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

/// Reports the objects of a location that are not loaded, and returns the number of those that need attention: those without a
/// schema, and files that look like archive objects and have no name of one. Objects under embargo are reported alone.
fn say_left_alone(archive: &str, others: &[String]) -> u64 {
    let (mut unknown, mut unnamed, mut embargoed) = (Vec::new(), Vec::new(), Vec::new());
    for name in others {
        match Object::parse(name) {
            Ok(Some(object)) if object.embargoed => embargoed.push(name),
            Ok(Some(_)) => unknown.push(name),
            Ok(None) => {}
            Err(_) if Object::looks_like_one(name) => unnamed.push(name),
            Err(_) => tracing::info!(file = name, "not an archive object"),
        }
    }
    for (names, reason) in [
        (&unknown, "have no schema; give one with --schema"),
        (
            &unnamed,
            "look like archive objects, but their names or directories do not say of what and when; \
             name one to see why",
        ),
        (&embargoed, "are under embargo; --embargoed loads them"),
    ] {
        if let Some(first) = names.first() {
            let (count, archive) = (names.len(), shown(archive));
            complain!("groma: not loaded: {count} objects of {archive} {reason}: {first}");
        }
    }
    (unknown.len() + unnamed.len()) as u64
}

/// Loads objects on several threads, and adds up what became of them.
fn load_all(
    target: &Target,
    args: &Args,
    names: &[String],
    bars: &Bars,
    sum: &mut Sum,
) -> anyhow::Result<()> {
    let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let threads = args.jobs.unwrap_or(processors).get().min(names.len());
    let next = AtomicUsize::new(0);
    let (sender, lines) = std::sync::mpsc::sync_channel(threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            let next = &next;
            scope.spawn(move || {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let line = target.load(name.clone(), args.date);
                    if line.is_last {
                        next.store(names.len(), Ordering::Relaxed);
                    }
                    // Nobody listens any more when printing has failed.
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut left = names.len() as u64;
        for line in lines {
            left -= 1;
            sum.failed += u64::from(line.error.is_some());
            sum.damaged += u64::from(line.damaged);
            sum.rows += if line.already { 0 } else { line.rows };
            bars.done(&line.object, || print_line(&line, args.json))?;
        }
        sum.left += left;
        Ok(())
    })
}

fn load(loader: &Loader, object: &str, date: Option<Date>) -> Result<Line, groma_load::LoadError> {
    let done = loader.load_object(object, date)?;
    Ok(Line {
        rows: done.rows,
        errors: done.errors,
        skipped: done.skipped,
        already: done.already,
        damaged: done.damaged,
        replaced: done.replaced,
        parquet: Some(done.path),
        ..Line::default()
    })
}

fn print_line(line: &Line, json: bool) -> anyhow::Result<()> {
    if json {
        say!("{}", serde_json::to_string(line)?);
    } else if let Some(error) = &line.error {
        complain!("groma: {}: {error}", line.object);
    } else if line.already {
        let damaged = if line.damaged { ", damaged" } else { "" };
        say!("{}: loaded already{damaged}", line.object);
    } else {
        let Line {
            object,
            rows,
            errors,
            skipped,
            ..
        } = line;
        let damaged = if line.damaged { ", damaged" } else { "" };
        let replaced = if line.replaced {
            ", in place of those of a damaged object"
        } else {
            ""
        };
        say!("{object}: {rows} rows, {errors} errors, {skipped} skipped{damaged}{replaced}");
    }
    Ok(())
}

/// The manifest's datatypes with those of the sidecars, those of --schema, and those built in that any of the objects has.
fn datatypes(args: &Args, names: &[String]) -> anyhow::Result<Vec<LoadDatatype>> {
    let manifest = args.manifest.read()?;
    let mut datatypes: Vec<LoadDatatype> = Vec::new();
    let mut add = |experiment: Name, datatype: Name, schema: Schema| {
        let known = |of: &LoadDatatype| of.experiment == experiment && of.datatype == datatype;
        if !datatypes.iter().any(known) {
            datatypes.push(load_datatype(experiment, datatype, schema));
        }
    };
    for given in &args.schema {
        let (name, file) = given
            .split_once('=')
            .with_context(|| format!("{given} is no EXPERIMENT/DATATYPE=FILE"))?;
        let (experiment, datatype) = super::export::pair(name)?;
        let text = std::fs::read_to_string(file).with_context(|| format!("read {file}"))?;
        let schema = Schema::parse(&text).with_context(|| format!("schema {file}"))?;
        add(experiment, datatype, schema);
    }
    for loaded in loaded_datatypes(&manifest, &builtin::sidecars()) {
        add(loaded.experiment, loaded.datatype, loaded.schema);
    }
    for name in names {
        let Some((experiment, datatype)) = Loader::datatype_of(name) else {
            continue;
        };
        if let Some(text) = groma_schema::datatype(datatype.as_str()) {
            let schema = Schema::parse(text).expect("the built-in schemas are tested");
            add(experiment, datatype, schema);
        }
    }
    Ok(datatypes)
}

fn target(args: &Args, archive: Archive, datatypes: Vec<LoadDatatype>) -> anyhow::Result<Target> {
    if args.warehouse.0.to.is_some() {
        let loader = bigquery::open(&args.warehouse.0, archive.store, &datatypes, args.embargoed)?;
        return Ok(Target::BigQuery(Box::new(loader)));
    }
    Ok(Target::Lake(Box::new(loader(args, archive, datatypes)?)))
}

/// An archive as a message may show it, without the secrets of a URL.
fn shown(archive: &str) -> String {
    groma_archive::shown(archive)
}

fn loader(args: &Args, archive: Archive, datatypes: Vec<LoadDatatype>) -> anyhow::Result<Loader> {
    let lake = args.lake.clone().context("--lake says no lake")?;
    super::place::check_new_lake(&lake)?;
    let store = Arc::from(archive.store);
    let loader = Loader::new(store, Lake::new(lake), datatypes).with_embargoed(args.embargoed);
    Ok(match archive.root {
        Some(root) => loader.watching(root),
        None => loader.polling(args.poll),
    })
}

fn follow(args: &Args) -> anyhow::Result<ExitCode> {
    let [archive] = &args.archives[..] else {
        anyhow::bail!("--follow takes one archive");
    };
    let archive = open(archive)?;
    let datatypes = datatypes(args, &archive.store.list("")?)?;
    let loader = loader(args, archive, datatypes)?;
    let stop = stop_on_signal()?;
    let lifecycle = Lifecycle::new();
    let mut registry = Registry::default();
    loader.metrics().register(&mut registry);
    let _admin = args.admin.start(registry, &lifecycle)?;
    lifecycle.ready();
    let ended = supervise("load", &lifecycle, &stop, RestartPolicy::default(), || {
        loader.follow(&stop)
    });
    lifecycle.stop();
    ended?;
    Ok(ExitCode::SUCCESS)
}
