//! A copy of a lake, or of some of its tables and dates, in a directory: for engines that cannot read a bucket.
//!
//! At every moment of copying, the current files of the copy are current files of the lake. The function lists the data files
//! before it reads the log that says which files they replace. It copies the log first and removes replaced files last.

mod date;
mod place;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use groma_lake_store::LakeStore;
use groma_spool::Name;
use jiff::civil::Date;

use crate::LakeError;
use crate::table::Table;

use date::{Day, dates};

/// The tables and dates to copy.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Experiments and datatypes; all when there are none.
    pub tables: Vec<(Name, Name)>,
    /// From this date on (UTC).
    pub since: Option<Date>,
    /// To this date, included.
    pub until: Option<Date>,
    /// The most bytes that the copy of these may have.
    pub most_bytes: u64,
    /// How long replaced files stay for those who read the copy.
    pub linger: Duration,
}

impl Wanted {
    fn has_table(&self, table: &Table) -> bool {
        let is_it = |(experiment, datatype): &(Name, Name)| {
            experiment == table.experiment() && datatype == table.datatype()
        };
        self.tables.is_empty() || self.tables.iter().any(is_it)
    }

    fn has_date(&self, date: Date) -> bool {
        self.since.is_none_or(|since| date >= since) && self.until.is_none_or(|until| date <= until)
    }
}

/// The result of copying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mirrored {
    /// Files copied.
    pub files: usize,
    /// Bytes copied.
    pub copied_bytes: u64,
    /// Bytes of all that was asked for.
    pub size_bytes: u64,
    /// Files removed from the copy.
    pub removed: usize,
}

/// Updates the wanted tables in the directory `copy` from `lake`. Other dates of these tables, and files that the lake no longer
/// has, are removed from the copy. If the copy would be too large, nothing changes. Only one process updates a copy at a time;
/// others wait.
///
/// A date that fails does not stop the others; the first failure is the result, after all were tried.
pub fn mirror(lake: &LakeStore, copy: &Path, wanted: &Wanted) -> Result<Mirrored, LakeError> {
    let place = place::claim(lake, copy)?;
    let copy = &place.store;
    copy.clear_abandoned()
        .map_err(LakeError::io("clear", copy.root()))?;
    let days = different(lake, copy, wanted)?;
    let mut mirrored = Mirrored {
        size_bytes: days.size_bytes,
        ..Mirrored::default()
    };
    let mut failed = None;
    for day in &days.unwanted {
        if let Err(error) = day.empty(&mut mirrored) {
            day.warn(&error);
            failed.get_or_insert(error);
        }
    }
    for day in &days.wanted {
        if let Err(error) = day.follow(wanted.linger, &mut mirrored) {
            day.warn(&error);
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(mirrored), Err)
}

/// The dates to copy and to remove.
#[derive(Default)]
struct Days {
    /// Dates that are to leave the copy.
    unwanted: Vec<Day>,
    /// Dates that are not yet in the copy what they are in the lake.
    wanted: Vec<Day>,
    /// Bytes of all that is asked for.
    size_bytes: u64,
}

/// Compares the copy with the lake, with as many listings as there are tables and not dates.
fn different(lake: &LakeStore, copy: &LakeStore, wanted: &Wanted) -> Result<Days, LakeError> {
    let (tables, copied) = (Table::all(lake.clone())?, Table::all(copy.clone())?);
    if tables.is_empty() && !copied.is_empty() {
        return Err(LakeError::Vanished {
            lake: lake.to_string(),
            copy: copy.root().to_owned(),
        });
    }
    let name = |table: &Table| (table.experiment().clone(), table.datatype().clone());
    let is_wanted = |table: &&Table| wanted.has_table(table);
    let names: BTreeSet<(Name, Name)> = tables
        .iter()
        .chain(&copied)
        .filter(is_wanted)
        .map(name)
        .collect();
    let mut days = Days::default();
    for (experiment, datatype) in names {
        let table = Table::new(lake.clone(), experiment.clone(), datatype.clone());
        let copied = Table::new(copy.clone(), experiment, datatype);
        let (there, here) = (dates(&table)?, dates(&copied)?);
        let all: BTreeSet<Date> = there.keys().chain(here.keys()).copied().collect();
        for date in all {
            let (there, here) = (there.get(&date), here.get(&date));
            let day = Day {
                table: table.clone(),
                copied: copied.clone(),
                date,
            };
            if wanted.has_date(date) {
                days.size_bytes += there.iter().flat_map(|files| files.values()).sum::<u64>();
                days.wanted.extend((there != here).then_some(day));
            } else {
                days.unwanted.extend(here.map(|_| day));
            }
        }
    }
    if days.size_bytes > wanted.most_bytes {
        return Err(LakeError::TooLarge {
            size_bytes: days.size_bytes,
            most_bytes: wanted.most_bytes,
        });
    }
    Ok(days)
}
