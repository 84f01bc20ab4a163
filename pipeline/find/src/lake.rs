//! Looking a row up in the lake, newest day first.

use std::path::{Path, PathBuf};

use groma_lake::{Day, Table};
use groma_lake_store::LakeStore;
use jiff::civil::Date;
use serde_json::Value;

use crate::row::{Columns, read_rows};
use crate::{FindError, FoundRow};

/// How often a date is read when its files are replaced meanwhile.
const ATTEMPTS: usize = 5;

/// Copies of a row are in objects whose dates are at most this many days apart: a file is published again after a rescue.
pub(crate) const COPY_DAYS: i32 = 2;

/// The result of a search of the lake.
#[derive(Default)]
pub(crate) struct Search {
    pub(crate) found: Vec<FoundRow>,
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

/// Finds the row whose `id` is `uuid` in each table of a datatype that is wanted. Of copies under several dates, the newest
/// counts.
pub(crate) fn find(
    lake: &LakeStore,
    uuid: &str,
    wanted: fn(&str) -> bool,
) -> Result<Search, FindError> {
    let mut search = Search::default();
    let mut newest: Option<Date> = None;
    for (date, table) in days(lake)? {
        if newest.is_some_and(|newest| (newest - date).get_days() > COPY_DAYS) {
            break;
        }
        let name = format!("{}.{}", table.experiment(), table.datatype());
        let is_known = search.found.iter().any(|found| found.table == name);
        if is_known || !wanted(table.datatype().as_str()) {
            continue;
        }
        let (mut found, mut unreadable) = (None, Vec::new());
        for_each_file(&table, date, &mut unreadable, &mut |file, sha256| {
            let row = read_rows(lake, file, sha256, uuid, Columns::All, 1)?.pop();
            found = row.map(|row| FoundRow {
                table: name.clone(),
                table_file: file.to_owned(),
                row: with_date(row, date),
            });
            Ok(found.is_none())
        })?;
        search.unreadable.append(&mut unreadable);
        if let Some(found) = found {
            newest.get_or_insert(date);
            search.found.push(found);
        }
    }
    Ok(search)
}

/// Called with a data file and, if it is a sealed one, its SHA-256. Returns whether to go on, or why the file cannot be read.
pub(crate) type Visit<'a> = dyn FnMut(&Path, Option<&str>) -> Result<bool, String> + 'a;

/// Calls `visit` with every current file until it returns `false`, and collects the files that it cannot read. When a file was
/// replaced meanwhile, the date begins again, so that `visit` may see rows twice.
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

/// Returns whether the file was removed; a store that does not answer leaves the file unreadable.
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
