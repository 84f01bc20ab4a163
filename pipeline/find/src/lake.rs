//! Walking the lake, newest day first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::FindError;
use crate::row::read_row;
use crate::spool::{directories, entries};

/// The folders of a table that hold rows.
const KINDS: [&str; 2] = ["live", "sealed"];

/// What a search of the lake came to.
#[derive(Default)]
pub(crate) struct Search {
    pub(crate) found: Option<(PathBuf, Value)>,
    pub(crate) unreadable: Vec<PathBuf>,
}

/// Finds the row whose `id` is `uuid`, in any table.
pub(crate) fn find(lake: &Path, uuid: &str) -> Result<Search, FindError> {
    let mut search = Search::default();
    for (date, partitions) in days(lake)?.into_iter().rev() {
        for partition in partitions {
            let (_, files) = entries(&partition)?;
            for file in files.into_iter().filter(|file| is_parquet(file)) {
                match read_row(&file, uuid) {
                    Ok(Some(row)) => {
                        search.found = Some((file, with_date(row, &date)));
                        return Ok(search);
                    }
                    Ok(None) => {}
                    Err(reason) => {
                        tracing::warn!(file = %file.display(), reason, "table file left out of the search");
                        search.unreadable.push(file);
                    }
                }
            }
        }
    }
    Ok(search)
}

/// All `date=…` partitions of all tables, by date.
fn days(lake: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>, FindError> {
    let mut days: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for experiment in directories(lake)? {
        for table in directories(&experiment)? {
            for kind in KINDS {
                for partition in directories(&table.join(kind))? {
                    let name = partition.file_name().and_then(|name| name.to_str());
                    if let Some(date) = name.and_then(|name| name.strip_prefix("date=")) {
                        days.entry(date.to_owned()).or_default().push(partition);
                    }
                }
            }
        }
    }
    Ok(days)
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|suffix| suffix == "parquet")
}

/// The row with the partition's date, which its file does not repeat.
fn with_date(mut row: Value, date: &str) -> Value {
    if let Value::Object(fields) = &mut row {
        fields.insert("date".to_owned(), Value::from(date));
    }
    row
}
