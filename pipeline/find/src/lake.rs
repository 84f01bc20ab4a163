//! Looking a row up in the lake, newest day first.

use std::path::{Path, PathBuf};

use groma_lake::{Day, Table};
use groma_lake_store::LakeStore;
use jiff::civil::Date;
use serde_json::Value;

use crate::FindError;
use crate::row::{Columns, read_rows};

/// How often a date is read again because its files were replaced while they were read.
const ATTEMPTS: usize = 5;

/// What a search of the lake came to.
#[derive(Default)]
pub(crate) struct Search {
    pub(crate) found: Option<(PathBuf, Value)>,
    pub(crate) unreadable: Vec<PathBuf>,
}

/// All dates of all tables, newest first, and of one date the tables by name.
pub(crate) fn days(lake: &LakeStore) -> Result<Vec<(Date, Table)>, FindError> {
    let mut days = Vec::new();
    for table in Table::all(lake.clone())? {
        days.extend(table.dates()?.into_iter().map(|date| (date, table.clone())));
    }
    // Stable, so that tables of one date keep their order.
    days.sort_by_key(|(date, _)| std::cmp::Reverse(*date));
    Ok(days)
}

/// Finds the row whose `id` is `uuid`, in any table of a datatype that is wanted.
pub(crate) fn find(
    lake: &LakeStore,
    uuid: &str,
    wanted: fn(&str) -> bool,
) -> Result<Search, FindError> {
    let mut search = Search::default();
    for (date, table) in days(lake)? {
        if !wanted(table.datatype().as_str()) {
            continue;
        }
        let mut of_day = Search::default();
        for_each_file(&table, date, &mut of_day.unreadable, &mut |file, sha256| {
            let row = read_rows(lake, file, sha256, uuid, Columns::All, 1)?.pop();
            of_day.found = row.map(|row| (file.to_owned(), with_date(row, date)));
            Ok(of_day.found.is_none())
        })?;
        search.unreadable.append(&mut of_day.unreadable);
        if of_day.found.is_some() {
            search.found = of_day.found;
            break;
        }
    }
    Ok(search)
}

/// What is called with a file and the SHA-256 of a part; whether to go on, or what is wrong with the file.
pub(crate) type Visit<'a> = dyn FnMut(&Path, Option<&str>) -> Result<bool, String> + 'a;

/// Calls `visit` with every file in force, and the SHA-256 of a part, until it says `false`; what it cannot read is noted. When a file was replaced
/// meanwhile, the date is begun again: `visit` may then see rows again.
pub(crate) fn for_each_file(
    table: &Table,
    date: Date,
    unreadable: &mut Vec<PathBuf>,
    visit: &mut Visit<'_>,
) -> Result<(), FindError> {
    for attempt in 1..=ATTEMPTS {
        let mut again = false;
        let day = Day::read(table, date)?;
        for file in &day.files {
            match visit(file, day.sha256(file)) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(_) if is_gone(table, file) && attempt < ATTEMPTS => {
                    again = true;
                    break;
                }
                Err(reason) => {
                    tracing::warn!(file = %file.display(), reason, "table file left out of the search");
                    unreadable.push(file.clone());
                }
            }
        }
        if !again {
            break;
        }
        unreadable.clear();
    }
    Ok(())
}

/// A store that does not say leaves the file unreadable.
fn is_gone(table: &Table, file: &Path) -> bool {
    matches!(table.store().try_exists(file), Ok(false))
}

/// The row with the partition's date, which its file does not repeat.
pub(crate) fn with_date(mut row: Value, date: Date) -> Value {
    if let Value::Object(fields) = &mut row {
        fields.insert("date".to_owned(), Value::from(date.to_string()));
    }
    row
}
