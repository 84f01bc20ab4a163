//! `groma load --to bigquery`, and the table schemas alone.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{ArgMatches, Command, FromArgMatches};
use groma_load::{LoadDatatype, errors_schema};
use groma_mlab::load_datatype;
use groma_schema::Schema;

use crate::command::notation::is_typed;
use crate::output::say;

#[cfg(feature = "bigquery")]
mod built;
#[cfg(not(feature = "bigquery"))]
mod not_built;

#[cfg(feature = "bigquery")]
pub(super) use built::{BigQuery, load, open, prepare};
#[cfg(not(feature = "bigquery"))]
pub(super) use not_built::{BigQuery, load, open, prepare};

/// Where rows go that go into no lake.
#[derive(Debug, clap::Args)]
pub(super) struct Warehouse {
    /// Load into a warehouse instead of a lake: one load job per object, whose id makes it happen once. In a build with
    /// the feature bigquery; credentials are Google's application default credentials.
    #[arg(long, value_enum, help_heading = "BigQuery")]
    pub(super) to: Option<To>,

    /// The project of the datasets.
    // clap's `requires` would also hold for the variable, which is set for other programs, too.
    #[arg(long, env = "GOOGLE_CLOUD_PROJECT", help_heading = "BigQuery")]
    pub(super) project: Option<String>,

    /// The dataset of all tables; without it, each experiment has the one of its name. It has to be there.
    #[arg(long, requires = "to", help_heading = "BigQuery")]
    pub(super) dataset: Option<String>,

    #[arg(
        long,
        env = "BIGQUERY_EMULATOR_HOST",
        value_name = "URL",
        help = "Where BigQuery is, such as http://127.0.0.1:9050 of an emulator, which is asked without credentials",
        help_heading = "BigQuery"
    )]
    pub(super) endpoint: Option<String>,

    /// Also load what an earlier load job found invalid, for example after the table was changed.
    #[arg(long, requires = "to", help_heading = "BigQuery")]
    pub(super) again: bool,

    /// Only write the schema of each table, as `bq mk --table` and `bq load` take it, to DIR/DATATYPE.json.
    #[arg(long, value_name = "DIR", requires = "to", help_heading = "BigQuery")]
    pub(super) schemas: Option<PathBuf>,
}

/// A warehouse that is the only target on the command line. The environment may name both targets.
#[derive(Debug)]
pub(super) struct Only(pub(super) Warehouse);

impl clap::Args for Only {
    fn augment_args(command: Command) -> Command {
        Warehouse::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Warehouse::augment_args_for_update(command)
    }
}

impl FromArgMatches for Only {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let warehouse = Warehouse::from_arg_matches(matches)?;
        let refuse = |kind, reason: &str| Err(clap::Error::raw(kind, format!("{reason}\n")));
        match warehouse.to {
            Some(_) if is_typed(matches, "lake") => refuse(
                ErrorKind::ArgumentConflict,
                "--to loads into no lake; leave out --lake, and load into the lake by a command of its own",
            ),
            None if is_typed(matches, "project") => refuse(
                ErrorKind::MissingRequiredArgument,
                "--project is for --to bigquery, which is not there",
            ),
            _ => Ok(Only(warehouse)),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Warehouses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum To {
    #[value(name = "bigquery", help = "Google BigQuery")]
    BigQuery,
}

/// Writes the schemas of these tables, of those built in, and of the errors table.
pub(super) fn write_schemas(
    dir: &Path,
    mut datatypes: Vec<LoadDatatype>,
) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let experiment = datatypes.first().map(|first| first.experiment.clone());
    let experiment = experiment.context("there is no datatype")?;
    for (name, text) in groma_schema::DATATYPES {
        let schema = Schema::parse(text).expect("the built-in schemas are tested");
        let built_in = load_datatype(experiment.clone(), name.parse()?, schema);
        if datatypes.iter().all(|of| of.datatype != built_in.datatype) {
            datatypes.push(built_in);
        }
    }
    let tables = datatypes
        .iter()
        .map(|of| (of.datatype.as_str(), of.warehouse_schema()));
    let mut written = HashSet::new();
    for (name, schema) in tables.chain([("errors", errors_schema())]) {
        anyhow::ensure!(
            written.insert(name),
            "two datatypes are called {name}; write their schemas into two directories"
        );
        let path = dir.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&schema.to_bigquery())?;
        std::fs::write(&path, text + "\n").with_context(|| format!("write {}", path.display()))?;
        say!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
