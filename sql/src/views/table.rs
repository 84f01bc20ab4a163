//! The files and columns of a table, found out once for all the views that read it.

use std::path::Path;

use duckdb::Connection;

use super::fill;
use super::names::has_file;

const IN_FORCE: &str = include_str!("in_force.sql");
const LOG: &str = include_str!("log.sql");
const SCHEMAS: &str = include_str!("schemas.sql");
const NO_LOG: &str = include_str!("no_log.sql");

/// The date of a file, which its rows do not repeat. Only in this form does the engine leave out files of other dates.
const DATE: &str = "regexp_extract(filename, 'date=([0-9-]+)/[^/]*$', 1)::DATE";

/// A table as views read it.
pub struct Table {
    files: String,
    archiver: &'static str,
}

impl Table {
    /// Lists the files in force of `<experiment>.<datatype>` and opens each for its schema, once, or twice where they differ.
    pub fn open(connection: &Connection, lake: &Path, name: &str) -> duckdb::Result<Table> {
        let (experiment, datatype) = name.split_once('.').unwrap_or((name, ""));
        let folder = lake.join(experiment).join(datatype);
        let has_log = has_file(&folder.join("log"), "json");
        let in_force = fill(IN_FORCE, &[("log", if has_log { LOG } else { NO_LOG })]);
        let root = folder.to_string_lossy().replace('\'', "''");
        let values = [
            ("schema", experiment),
            ("table", datatype),
            ("root", root.as_str()),
        ];
        connection.execute_batch(&fill(&in_force, &values))?;
        let list = format!("getvariable('{name}')");
        let schemas = fill(SCHEMAS, &[("files", &list)]);
        let schemas: i64 = connection.query_row(&schemas, [], |row| row.get(0))?;
        let is_one = schemas == 1;
        let columns = columns(connection, &list, is_one)?;
        // With one schema, the engine reads the needed parts of a record. With several, it reads whole records, and the columns
        // must be given, so that no view opens all files once more to find them.
        let schema = if is_one {
            String::new()
        } else {
            schema(&columns)
        };
        Ok(Table {
            files: format!(
                "read_parquet({list}, filename = true, hive_partitioning = false{schema})"
            ),
            archiver: if columns.iter().any(|(name, _)| name == "archiver") {
                "archiver, "
            } else {
                ""
            },
        })
    }

    /// Returns the values that fill the texts of its views.
    pub fn values(&self) -> [(&'static str, &str); 3] {
        [
            ("files", &self.files),
            ("date", DATE),
            ("archiver", self.archiver),
        ]
    }
}

/// Names and types of the columns of the files, which are of one schema or not.
fn columns(
    connection: &Connection,
    list: &str,
    is_one: bool,
) -> duckdb::Result<Vec<(String, String)>> {
    let describe = format!(
        "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM read_parquet({list}, union_by_name = {}, hive_partitioning = false))",
        !is_one
    );
    let mut statement = connection.prepare(&describe)?;
    let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    columns.collect()
}

/// Columns as a parameter of the reader.
fn schema(columns: &[(String, String)]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|(name, kind)| {
            let (name, kind) = (name.replace('\'', "''"), kind.replace('\'', "''"));
            format!("'{name}': {{name: '{name}', type: '{kind}', default_value: NULL}}")
        })
        .collect();
    format!(", schema = MAP {{{}}}", columns.join(", "))
}
