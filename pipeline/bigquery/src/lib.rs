//! Archive objects into `BigQuery`: tables by schema, rows by load jobs, each object exactly once.
//!
//! An object is loaded as into a lake, into a scratch one; its Parquet file becomes JSON lines, and these one load job. The
//! rows are therefore those of the lake, with the two values that are in the path there as columns, `date` and `object`.
//! [`Loader`] reads the object, the module `job` says why nothing comes twice.

mod client;
mod error;
#[cfg(test)]
mod fake;
mod job;
mod query;
mod rows;
mod scratch;
mod table;

pub use error::BigQueryError;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use groma_archive::remote::google::Api;
use groma_archive::{Opening, Store};
use groma_load::{Lake, LoadDatatype, LoadError, Loader, Object, errors_schema};
use groma_schema::Schema;
use jiff::civil::Date;

use client::Client;
use job::Part;
use query::Objects;
use scratch::Scratch;
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
    /// Try again what an earlier job found invalid.
    pub again: bool,
}

/// The outcome of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Rows that it has; 0 if they were there before.
    pub rows: u64,
    /// Entries in the errors table.
    pub errors: u64,
    /// Members that are not measurements.
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
    tables: HashMap<TableName, Table>,
    scratch: Scratch,
}

/// A table as [`BigQuery::prepare`] found it.
struct Table {
    location: String,
    objects: Objects,
}

impl BigQuery {
    /// A loader of these datatypes; `embargoed` as in [`Loader::with_embargoed`]. Nothing is asked of `BigQuery` yet.
    ///
    /// Temporary files are below the system's temporary directory: one object per thread, as Parquet and as JSON lines.
    /// Those of processes that were killed are removed.
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
        let parent = std::env::temp_dir();
        let scratch = Scratch::create(&parent);
        let scratch = scratch.map_err(BigQueryError::scratch("create a directory in", parent))?;
        let schema = |of: &LoadDatatype| {
            let name = format!("{}/{}", of.experiment, of.datatype);
            (name.clone(), (of.warehouse_schema(), name))
        };
        let lake = Lake::new(scratch.path().join("lake"));
        Ok(BigQuery {
            client: Client {
                api,
                project: place.project.clone(),
                second: Duration::from_secs(1),
                again: place.again,
            },
            dataset: place.dataset.clone(),
            schemas: datatypes.iter().map(schema).collect(),
            loader: Loader::new(store, lake, datatypes.to_vec()).with_embargoed(embargoed),
            tables: HashMap::new(),
            scratch,
        })
    }

    /// Sees to the tables of these objects, and asks each once which it has of their dates, `date` among them. Only these
    /// objects can be loaded then.
    pub fn prepare(&mut self, names: &[String], date: Option<Date>) -> Result<(), BigQueryError> {
        let errors = (
            errors_schema(),
            "What of the archive could not be made a row of the other tables.".to_owned(),
        );
        let mut wanted = BTreeMap::new();
        for name in names.iter().filter(|name| self.is_loadable(name)) {
            let Some(object) = Object::parse(name)? else {
                continue;
            };
            let of = format!("{}/{}", object.experiment, object.datatype);
            let Some(described) = self.schemas.get(&of) else {
                continue;
            };
            let table = self.table_of(&object);
            let beside = table.beside(ERRORS);
            for (table, described) in [(table, described), (beside, &errors)] {
                let span = span(&object, date);
                let (_, (first, last)) = wanted.entry(table).or_insert((described, span));
                (*first, *last) = (span.0.min(*first), span.1.max(*last));
            }
        }
        let mut locations: HashMap<&str, String> = HashMap::new();
        for (name, ((schema, about), span)) in &wanted {
            let location = match locations.get(name.dataset.as_str()) {
                Some(location) => location.clone(),
                None => self.client.location(&name.dataset)?,
            };
            locations.insert(&name.dataset, location.clone());
            self.client.ensure(name, schema, about)?;
            let objects = self.client.objects(name, &location, *span)?;
            self.tables
                .insert(name.clone(), Table { location, objects });
        }
        Ok(())
    }

    /// As [`Loader::is_loadable`].
    pub fn is_loadable(&self, name: &str) -> bool {
        self.loader.is_loadable(name)
    }

    /// Loads one object unless its rows are there. Their date is `date`, else that of the object's name.
    ///
    /// After an error nothing, or not everything, of the object may be there; calling again comes to the same end.
    pub fn load_object(&self, name: &str, date: Option<Date>) -> Result<Loaded, BigQueryError> {
        let refuse = |reason: &str| LoadError::Name {
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        let object = Object::parse(name)?.ok_or_else(|| refuse("it holds no rows"))?;
        if !self.loader.is_loadable(name) {
            // It says why not.
            self.loader.load_object(name, date)?;
        }
        let (table, date) = (self.table_of(&object), date.unwrap_or(object.date));
        let errors = table.beside(ERRORS);
        let part = |table| self.part(table, &object, date);
        let (rows, errors) = part(&table)
            .zip(part(&errors))
            .ok_or_else(|| refuse("it is none of the objects that were prepared for"))?;
        let already = Loaded {
            rows: 0,
            errors: 0,
            skipped: 0,
            already: true,
            table: self.client.full(&table),
        };
        if self.has_rows(rows)? {
            return Ok(already);
        }
        let Some(attempt) = self.client.next_attempt(rows, 1)? else {
            return Ok(already);
        };
        let read = self.loader.load_object(name, Some(date))?;
        let done = self.send(&object, (rows, attempt), errors, &read);
        let files = [read.path.clone(), self.errors_path(&object, date)];
        for path in files {
            // A file that stays is removed with the scratch directory.
            let _ = std::fs::remove_file(path);
        }
        if !done? {
            return Ok(already);
        }
        Ok(Loaded {
            rows: read.rows,
            errors: read.errors,
            skipped: read.skipped,
            already: false,
            ..already
        })
    }

    fn table_of(&self, object: &Object) -> TableName {
        TableName {
            dataset: match &self.dataset {
                Some(dataset) => dataset.clone(),
                None => object.experiment.as_str().replace('-', "_"),
            },
            table: object.datatype.to_string(),
        }
    }

    /// Returns the rows of an object in a table, if the table was prepared.
    fn part<'a>(
        &'a self,
        table: &'a TableName,
        object: &'a Object,
        date: Date,
    ) -> Option<Part<'a>> {
        let known = self.tables.get(table)?;
        Some(Part {
            table,
            location: &known.location,
            object: &object.stem,
            date,
            is_known: known.objects.contains_key(&object.stem),
        })
    }

    /// Whether the table had the object's rows when it was first asked. Those under another date are the same rows.
    fn has_rows(&self, rows: Part<'_>) -> Result<bool, BigQueryError> {
        let known = self.tables.get(rows.table);
        let Some(dates) = known.and_then(|known| known.objects.get(rows.object)) else {
            return Ok(false);
        };
        match dates.iter().find(|date| **date != rows.date) {
            Some(&other) if !dates.contains(&rows.date) => Err(BigQueryError::OtherDate {
                object: rows.object.to_owned(),
                table: self.client.full(rows.table),
                asked: rows.date,
                other,
            }),
            _ => Ok(true),
        }
    }

    /// Sends errors, then rows, so that rows in the table mean that all of the object is there; says whether the rows took
    /// a job.
    fn send(
        &self,
        object: &Object,
        (rows, attempt): (Part<'_>, u32),
        errors: Part<'_>,
        read: &groma_load::Loaded,
    ) -> Result<bool, BigQueryError> {
        let out = tempfile::NamedTempFile::new_in(self.scratch.path());
        let out = out.map_err(BigQueryError::scratch("create", self.scratch.path()))?;
        let written = || BigQueryError::scratch("write", out.path());
        if read.errors > 0 {
            let list = self.errors_path(object, rows.date);
            rows::write_errors(&list, rows.date, object, out.path()).map_err(written())?;
            self.client.append(errors, 1, out.path())?;
        }
        if read.rows == 0 {
            return Ok(true);
        }
        rows::write_rows(&read.path, rows.date, &object.stem, out.path()).map_err(written())?;
        self.client.append(rows, attempt, out.path())
    }

    fn errors_path(&self, object: &Object, date: Date) -> PathBuf {
        let lake = self.loader.lake();
        lake.errors_path(&object.experiment, &object.datatype, date, &object.stem)
    }
}

/// The dates from the first to the last under which an object may have rows: the one asked for, that of its name, and those that
/// it has by its other name. The name of a download shows the day of bundling, and an object's date is mostly this or the one before.
fn span(object: &Object, asked: Option<Date>) -> (Date, Date) {
    let bundled = object.bundled;
    let asked = asked.unwrap_or(object.date);
    let first = bundled.yesterday().unwrap_or(bundled);
    let (first, last) = (first.min(object.date), bundled.max(object.date));
    (first.min(asked), last.max(asked))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_looked_for_under_the_dates_of_both_its_names() {
        let file = "20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz";
        let date = |day| Date::constant(2020, 3, day);
        for (name, asked, first, last) in [
            (file.to_owned(), None, 17, 18),
            (format!("ndt/ndt7/2020/03/17/{file}"), None, 17, 18),
            (format!("ndt/ndt7/2020/03/16/{file}"), None, 16, 18),
            (file.to_owned(), Some(date(20)), 17, 20),
            (file.to_owned(), Some(date(11)), 11, 18),
        ] {
            let object = Object::parse(&name).unwrap().unwrap();
            assert_eq!(span(&object, asked), (date(first), date(last)), "{name}");
        }
    }
}
