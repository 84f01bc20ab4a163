//! Archive objects into `BigQuery`: tables by schema, rows by load jobs, each object exactly once.
//!
//! An object is loaded as into a lake, into a scratch one; its Parquet file becomes JSON lines, and these one load job. The
//! rows are therefore those of the lake, with the two things that stand in a path there as columns, `date` and `object`.
//! [`Loader`] reads the object, the module `job` says why nothing comes twice.

mod client;
mod error;
mod job;
mod rows;
mod table;

pub use error::BigQueryError;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use groma_archive::remote::google::Api;
use groma_archive::{Opening, Store};
use groma_load::{Lake, LoadDatatype, LoadError, Loader, Object, errors_schema};
use groma_schema::Schema;
use jiff::civil::Date;
use tempfile::TempDir;

use client::Client;
use job::Append;
use table::TableName;

/// Where `BigQuery` is, unless it is said otherwise.
pub const ENDPOINT: &str = "https://bigquery.googleapis.com";

/// The table of what could not be made a row, one in each dataset.
const ERRORS: &str = "errors";

/// Where rows go.
#[derive(Clone, Debug)]
pub struct Place {
    /// The project that has the datasets and pays the queries.
    pub project: String,
    /// The dataset of all tables; without it each experiment has one of its own name, with `_` for `-`.
    pub dataset: Option<String>,
    /// `https://…`, or an emulator's `http://…`, which is asked without credentials.
    pub endpoint: String,
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Rows that it has; 0 if they were there before.
    pub rows: u64,
    /// Entries in the errors table.
    pub errors: u64,
    /// Members that are no measurements.
    pub skipped: u64,
    /// The rows were there before.
    pub already: bool,
    /// The table, as SQL knows it.
    pub table: String,
}

/// Loads objects of an archive into `BigQuery`. All calls block; several threads may use it.
pub struct BigQuery {
    client: Client,
    dataset: Option<String>,
    loader: Loader,
    schemas: HashMap<String, (Schema, String)>,
    known: Mutex<Known>,
    scratch: TempDir,
}

/// What `BigQuery` was asked once.
#[derive(Default)]
struct Known {
    locations: HashMap<String, String>,
    tables: HashSet<TableName>,
    objects: HashMap<(TableName, Date), Arc<HashSet<String>>>,
}

impl BigQuery {
    /// A loader of these datatypes; `embargoed` as in [`Loader::with_embargoed`]. Nothing is asked of `BigQuery` yet.
    ///
    /// Files on their way stand below the system's temporary directory: one object per thread, as Parquet and as JSON lines.
    pub fn open(
        place: &Place,
        opening: &Opening,
        store: Arc<dyn Store>,
        datatypes: &[LoadDatatype],
        embargoed: bool,
    ) -> Result<BigQuery, BigQueryError> {
        check_name("project", &place.project, "-.:")?;
        if let Some(dataset) = &place.dataset {
            check_name("dataset", dataset, "_")?;
        }
        let api = Api::open(&place.endpoint, opening);
        let api = api.map_err(|failure| BigQueryError::Unreachable {
            operation: "open",
            thing: place.endpoint.clone(),
            reason: failure.to_string(),
        })?;
        let scratch = tempfile::Builder::new().prefix("groma-bigquery-").tempdir();
        let scratch = scratch.map_err(BigQueryError::scratch("create", std::env::temp_dir()))?;
        let schema = |of: &LoadDatatype| {
            let name = format!("{}/{}", of.experiment, of.datatype);
            (name.clone(), (of.warehouse_schema(), name))
        };
        let lake = Lake::new(scratch.path().join("lake"));
        Ok(BigQuery {
            client: Client {
                api,
                project: place.project.clone(),
            },
            dataset: place.dataset.clone(),
            schemas: datatypes.iter().map(schema).collect(),
            loader: Loader::new(store, lake, datatypes.to_vec()).with_embargoed(embargoed),
            known: Mutex::default(),
            scratch,
        })
    }

    /// As [`Loader::is_loadable`].
    pub fn is_loadable(&self, name: &str) -> bool {
        self.loader.is_loadable(name)
    }

    /// Loads one object unless its rows are there. Their date is `date`, else that of the object's name.
    ///
    /// After an error nothing, or not everything, of the object may be there; calling again comes to the same end.
    pub fn load_object(&self, name: &str, date: Option<Date>) -> Result<Loaded, BigQueryError> {
        let object = Object::parse(name)?.ok_or_else(|| LoadError::Name {
            name: name.to_owned(),
            reason: "it holds no rows".to_owned(),
        })?;
        if !self.loader.is_loadable(name) {
            // It says why not.
            self.loader.load_object(name, date)?;
        }
        let of_object = TableName {
            dataset: match &self.dataset {
                Some(dataset) => dataset.clone(),
                None => object.experiment.as_str().replace('-', "_"),
            },
            table: object.datatype.to_string(),
        };
        let table = self.client.full(&of_object);
        let location = self.prepare(&of_object, &object)?;
        let asked = date.unwrap_or(object.date);
        if self.has_rows(&of_object, &location, &object, asked)? {
            return Ok(Loaded {
                rows: 0,
                errors: 0,
                skipped: 0,
                already: true,
                table,
            });
        }
        let read = self.loader.load_object(name, date)?;
        let done = self.send(&object, asked, &of_object, &location, &read);
        let files = [read.path.clone(), self.errors_path(&object, asked)];
        for path in files {
            // What stays goes with the scratch directory.
            let _ = std::fs::remove_file(path);
        }
        Ok(Loaded {
            rows: read.rows,
            errors: read.errors,
            skipped: read.skipped,
            already: !done?,
            table,
        })
    }

    /// Whether the table had the object's rows when it was first asked. Those under the date of its name and those under
    /// another one are the same rows.
    fn has_rows(
        &self,
        table: &TableName,
        location: &str,
        object: &Object,
        asked: Date,
    ) -> Result<bool, BigQueryError> {
        for date in [object.date, asked] {
            let objects = self.known_objects(table, location, date)?;
            if objects.contains(&object.stem) && date != asked {
                return Err(BigQueryError::OtherDate {
                    object: object.stem.clone(),
                    table: self.client.full(table),
                    asked,
                    other: date,
                });
            }
            if objects.contains(&object.stem) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends errors, then rows, so that rows in the table mean that all of the object is there; says whether the rows took
    /// a job.
    fn send(
        &self,
        object: &Object,
        date: Date,
        table: &TableName,
        location: &str,
        read: &groma_load::Loaded,
    ) -> Result<bool, BigQueryError> {
        let out = tempfile::NamedTempFile::new_in(self.scratch.path());
        let out = out.map_err(BigQueryError::scratch("create", self.scratch.path()))?;
        let append = |table: &TableName| {
            self.client.append(&Append {
                table,
                location,
                object: &object.stem,
                date,
                rows: out.path(),
            })
        };
        let written = BigQueryError::scratch("write", out.path());
        if read.errors > 0 {
            let errors = table.beside(ERRORS);
            let list = self.errors_path(object, date);
            rows::write_errors(&list, date, object, out.path())
                .map_err(BigQueryError::scratch("write", out.path()))?;
            append(&errors)?;
        }
        if read.rows == 0 {
            return Ok(true);
        }
        rows::write_rows(&read.path, date, &object.stem, out.path()).map_err(written)?;
        append(table)
    }

    fn errors_path(&self, object: &Object, date: Date) -> PathBuf {
        let lake = self.loader.lake();
        lake.errors_path(&object.experiment, &object.datatype, date, &object.stem)
    }

    /// Sees once to the tables of an object, and gives where they are.
    fn prepare(&self, table: &TableName, object: &Object) -> Result<String, BigQueryError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.locations.contains_key(&table.dataset) {
            let location = self.client.location(&table.dataset)?;
            let about = "What of the archive could not be made a row of the other tables.";
            let errors = table.beside(ERRORS);
            self.client.ensure(&errors, &errors_schema(), about)?;
            known.locations.insert(table.dataset.clone(), location);
        }
        if !known.tables.contains(table) {
            let name = format!("{}/{}", object.experiment, object.datatype);
            if let Some((schema, about)) = self.schemas.get(&name) {
                self.client.ensure(table, schema, about)?;
            }
            known.tables.insert(table.clone());
        }
        Ok(known.locations[&table.dataset].clone())
    }

    /// The objects of a table and date as they were when they were first asked for.
    fn known_objects(
        &self,
        table: &TableName,
        location: &str,
        date: Date,
    ) -> Result<Arc<HashSet<String>>, BigQueryError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (table.clone(), date);
        if let Some(objects) = known.objects.get(&key) {
            return Ok(Arc::clone(objects));
        }
        let objects = Arc::new(self.client.objects(table, location, date)?);
        known.objects.insert(key, Arc::clone(&objects));
        Ok(objects)
    }
}

fn check_name(what: &'static str, name: &str, more: &str) -> Result<(), BigQueryError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    if !name.is_empty() && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(BigQueryError::Name {
        what,
        name: name.to_owned(),
        reason: "it has to be made of letters, digits and the few marks that BigQuery allows",
    })
}
