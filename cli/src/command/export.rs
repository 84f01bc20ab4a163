//! `groma export`: rows of the lake as a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use groma_lake::{Day, Table};
use groma_lake_store::LakeStore;
use groma_load::{Export, export};
use groma_spool::Name;
use jiff::ToSpan as _;
use jiff::civil::Date;

use crate::output::{Stdout, complain};

/// Write the rows of a datatype's days as Parquet, JSON lines or CSV.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The lake: a directory, or the URL of an S3 bucket in a build with the feature s3.
    #[arg(long, env = "GROMA_LAKE", value_name = "DIR|URL", value_parser = LakeStore::open)]
    lake: LakeStore,

    /// Experiment and datatype.
    #[arg(long, default_value = "ndt/ndt7", value_name = "EXPERIMENT/DATATYPE")]
    datatype: String,

    /// The rows' date; the first one with --to.
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Date,

    /// The last date, for several days of JSON lines.
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Option<Date>,

    /// Form of the rows.
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,

    /// Rows in another platform's form, for comparison: M-Lab's columns.
    #[arg(long = "as", value_enum, conflicts_with = "format")]
    form_of: Option<FormOf>,

    /// File to write, instead of standard output; `-` is standard output too.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Parquet,
    Jsonl,
    Csv,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FormOf {
    MlabJsonl,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let form = match (args.form_of, args.format) {
        (Some(FormOf::MlabJsonl), _) => Export::MlabJsonl,
        (None, Format::Parquet) => Export::Parquet,
        (None, Format::Jsonl) => Export::Jsonl,
        (None, Format::Csv) => Export::Csv,
    };
    let last = args.to.unwrap_or(args.date);
    anyhow::ensure!(
        last == args.date || matches!(form, Export::Jsonl | Export::MlabJsonl),
        "only JSON lines hold several days"
    );
    let (experiment, datatype) = pair(&args.datatype)?;
    let mut out: Box<dyn Write + Send> = match &args.out {
        Some(path) if path.as_os_str() != "-" => {
            Box::new(File::create(path).with_context(|| format!("create {}", path.display()))?)
        }
        _ => Box::new(Stdout),
    };
    let mut out = BufWriter::new(&mut out);
    super::place::check_lake(&args.lake, "--lake")?;
    let table = Table::new(args.lake.clone(), experiment, datatype);
    let dates = table.dates()?;
    anyhow::ensure!(
        dates.iter().any(|date| (args.date..=last).contains(date)),
        "the lake {} has no rows of {} on {}",
        args.lake,
        args.datatype,
        match args.to {
            Some(to) => format!("{} to {to}", args.date),
            None => args.date.to_string(),
        }
    );
    let mut rows = 0;
    let mut date = args.date;
    while date <= last {
        let day = Day::read(&table, date)?;
        day.verify(&table)?;
        rows += export(table.store(), &day.files, date, form, &mut out)?;
        date = date.checked_add(1.day())?;
    }
    out.flush().context("write the export")?;
    complain!("{rows} rows");
    Ok(ExitCode::SUCCESS)
}

/// `ndt/ndt7` as two names.
pub(crate) fn pair(text: &str) -> anyhow::Result<(Name, Name)> {
    let (experiment, datatype) = text
        .split_once('/')
        .with_context(|| format!("{text} is no EXPERIMENT/DATATYPE"))?;
    Ok((experiment.parse()?, datatype.parse()?))
}
