//! One session of the engine: the lake's views, nothing else, and one query.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use duckdb::Connection;
use serde_json::{Map, Value};

use crate::allow;
use crate::numbers::{self, NotFinite};
use crate::views::{self, View, table::Table};

/// The limits of a query.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Memory of the engine, in MiB.
    pub memory_mib: u64,
    /// Rows of the answer; more are cut off.
    pub rows: usize,
    /// Threads of the engine.
    pub threads: usize,
}

/// An answer.
#[derive(Debug, Default)]
pub struct Answer {
    /// The rows, each an object with the columns in their order.
    pub rows: Vec<Map<String, Value>>,
    /// There were more rows than the limit.
    pub is_cut: bool,
    /// Values that were NaN or infinite.
    pub not_finite: u64,
}

/// A session that reads one lake.
pub struct Session {
    connection: Connection,
    lake: PathBuf,
    limits: Limits,
}

impl Session {
    /// Opens a session on the lake. After this the engine can read no file outside the lake, write only `output`, load no
    /// extension, and change no setting.
    pub fn open(lake: &Path, limits: &Limits, output: Option<&Path>) -> anyhow::Result<Session> {
        let lake = lake
            .canonicalize()
            .with_context(|| format!("open lake {}", lake.display()))?;
        let connection = Connection::open_in_memory().context("start the engine")?;
        for statement in settings(&lake, limits, output)? {
            run(&connection, &statement)?;
        }
        for experiment in views::experiments(&lake) {
            for schema in [&experiment, &format!("{experiment}_intermediate")] {
                run(
                    &connection,
                    &format!("CREATE SCHEMA IF NOT EXISTS {schema}"),
                )?;
            }
        }
        run(&connection, "SET lock_configuration = true")?;
        Ok(Session {
            connection,
            lake,
            limits: limits.clone(),
        })
    }

    /// Makes the views that the query names, and those that they read. One that the engine cannot make of the columns that
    /// there are is left out, with all that cannot do without it.
    fn make_views(&self, sql: &str) {
        let words = words(sql);
        let is_named = |name: &str| words.contains(name) || asks_for_all(&words);
        let views = views::of_lake(&self.lake);
        let mut tables = HashMap::new();
        let mut made = HashSet::new();
        for view in views::wanted(&views, is_named) {
            match self.make_view(view, &mut tables, &made) {
                Ok(()) => drop(made.insert(view.name.as_str())),
                Err(error) => eprintln!("groma-sql: {} left out: {error:#}", view.name),
            }
        }
    }

    fn make_view(
        &self,
        view: &View,
        tables: &mut HashMap<String, Table>,
        made: &HashSet<&str>,
    ) -> anyhow::Result<()> {
        if let Some(name) = &view.table
            && !tables.contains_key(name)
        {
            let table = Table::open(&self.connection, &self.lake, name)
                .with_context(|| format!("read the columns of {name}"))?;
            tables.insert(name.clone(), table);
        }
        let table = view.table.as_ref().and_then(|name| tables.get(name));
        let values = table.map(Table::values).unwrap_or_default();
        let statement = view.statement(|name| made.contains(name), &values);
        Ok(self.connection.execute_batch(&statement)?)
    }

    /// Answers one `SELECT`.
    pub fn query(&self, sql: &str, not_finite: NotFinite) -> anyhow::Result<Answer> {
        let sql = self.one_select(sql)?;
        self.make_views(sql);
        let limited = format!(
            "SELECT to_json(answer)::VARCHAR FROM (SELECT * FROM (\n{sql}\n) LIMIT {}) AS answer",
            self.limits.rows.saturating_add(1)
        );
        let mut statement = self.connection.prepare(&limited)?;
        let texts = statement.query_map([], |row| row.get::<_, String>(0))?;
        let mut answer = Answer::default();
        for text in texts {
            let text = text?;
            if answer.rows.len() == self.limits.rows {
                answer.is_cut = true;
                break;
            }
            let (json, count) = numbers::to_json(&text, not_finite);
            answer.not_finite += count;
            let row = serde_json::from_str(&json).context("read a row of the engine")?;
            answer.rows.push(row);
        }
        Ok(answer)
    }

    /// Writes the answer to the output of [`Session::open`] as Parquet.
    pub fn write_parquet(&self, sql: &str, output: &Path) -> anyhow::Result<()> {
        let sql = self.one_select(sql)?;
        self.make_views(sql);
        let path = quoted(output);
        run(
            &self.connection,
            &format!(
                "COPY (SELECT * FROM (\n{sql}\n)) TO {path} (FORMAT parquet, COMPRESSION zstd)"
            ),
        )
    }

    /// Returns the text if the engine's own parser finds exactly one `SELECT` in it, so that it can be nested in another one,
    /// and if everything in it is allowed.
    fn one_select<'a>(&self, sql: &'a str) -> anyhow::Result<&'a str> {
        let sql = sql.trim_end().trim_end_matches(';');
        let parsed: String = self
            .connection
            .query_row(
                "SELECT json_serialize_sql(?::VARCHAR)::VARCHAR",
                [sql],
                |row| row.get(0),
            )
            .context("parse the query")?;
        let parsed: Value = serde_json::from_str(&parsed).context("read the parsed query")?;
        if parsed["error"] != false {
            let message = parsed["error_message"]
                .as_str()
                .unwrap_or("it cannot be parsed");
            bail!("only one SELECT is answered: {message}");
        }
        if parsed["statements"].as_array().map(Vec::len) != Some(1) {
            bail!("only one SELECT is answered at a time");
        }
        let views = views::of_lake(&self.lake);
        allow::check(
            &parsed["statements"],
            views.iter().map(|view| view.name.as_str()),
        )?;
        Ok(sql)
    }
}

/// The words of a query, in lower case: whatever way it names a view, the view's name is one of them.
fn words(sql: &str) -> HashSet<String> {
    sql.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .map(str::to_ascii_lowercase)
        .collect()
}

/// Whether a query wants to know what views there are.
fn asks_for_all(words: &HashSet<String>) -> bool {
    words.iter().any(|word| {
        ["show", "information_schema", "sqlite_master"].contains(&word.as_str())
            || ["duckdb_", "pg_", "pragma_"]
                .iter()
                .any(|prefix| word.starts_with(prefix))
    })
}

fn settings(lake: &Path, limits: &Limits, output: Option<&Path>) -> anyhow::Result<Vec<String>> {
    let mut settings = vec![
        format!("SET memory_limit = '{}MiB'", limits.memory_mib),
        format!("SET threads = {}", limits.threads.max(1)),
        // A query that does not fit in memory is refused instead of writing to a disk.
        "SET temp_directory = ''".to_owned(),
        "SET autoinstall_known_extensions = false".to_owned(),
        "SET autoload_known_extensions = false".to_owned(),
        "SET allow_community_extensions = false".to_owned(),
        "SET TimeZone = 'UTC'".to_owned(),
        format!("SET allowed_directories = [{}]", quoted(&lake.join(""))),
    ];
    if let Some(output) = output {
        settings.push(format!(
            "SET allowed_paths = [{}]",
            quoted(&absolute(output)?)
        ));
    }
    settings.push("SET enable_external_access = false".to_owned());
    Ok(settings)
}

/// The path of a file that need not exist yet.
pub fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("find {}", path.display()))
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "''"))
}

fn run(connection: &Connection, statement: &str) -> anyhow::Result<()> {
    connection.execute_batch(statement).with_context(|| {
        let first = statement.lines().find(|line| !line.starts_with("--"));
        format!("run {:?}", first.unwrap_or_default())
    })
}
