//! The directory of a table and the paths below it.

use std::path::{Path, PathBuf};

use groma_spool::Name;
use jiff::civil::Date;

use crate::Kind;

/// Experiment, datatype and directory of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TablePath {
    experiment: Name,
    datatype: Name,
    dir: PathBuf,
}

impl TablePath {
    /// Returns the paths of this table in the lake whose paths begin with `lake`: its directory, or nothing for a bucket.
    pub fn new(lake: &Path, experiment: Name, datatype: Name) -> TablePath {
        let dir = lake.join(experiment.as_str()).join(datatype.as_str());
        TablePath {
            experiment,
            datatype,
            dir,
        }
    }

    /// Returns the name of the experiment.
    pub fn experiment(&self) -> &Name {
        &self.experiment
    }

    /// Returns the name of the datatype.
    pub fn datatype(&self) -> &Name {
        &self.datatype
    }

    /// Returns `<lake>/<experiment>/<datatype>`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the directory of this kind.
    pub fn folder(&self, kind: Kind) -> PathBuf {
        self.dir.join(kind.as_str())
    }

    /// Returns the directory of this kind and date.
    pub fn day(&self, kind: Kind, date: Date) -> PathBuf {
        self.folder(kind).join(date_dir(date))
    }

    /// Returns the file of this kind and date for an archive object or a data file, which `stem` names without extension.
    pub fn file(&self, kind: Kind, date: Date, stem: &str) -> PathBuf {
        self.day(kind, date).join(kind.file_name(stem))
    }

    /// Returns the file in which early versions recorded that an object has its rows under another date than its own.
    pub fn moved(&self, stem: &str) -> PathBuf {
        self.folder(Kind::Moved).join(stem)
    }

    /// Returns the log entry with this number, counted from 0 for each date.
    pub fn log_entry(&self, date: Date, number: usize) -> PathBuf {
        self.file(Kind::Log, date, &format!("{number:06}"))
    }

    /// Returns the number of the log entry with this file name.
    pub fn log_number(file_name: &str) -> Option<usize> {
        let stem = Kind::Log.stem_of(file_name)?;
        let number = stem.parse().ok()?;
        (format!("{number:06}") == stem).then_some(number)
    }

    /// Returns the manifest with this number of a sealed date: `_manifest.json`, then `_manifest.1.json` and so on for data files
    /// that were added later.
    pub fn manifest(&self, date: Date, number: usize) -> PathBuf {
        let name = match number {
            0 => "_manifest.json".to_owned(),
            number => format!("_manifest.{number}.json"),
        };
        self.day(Kind::Sealed, date).join(name)
    }

    /// Reports whether a file of a sealed date is a manifest.
    pub fn is_manifest(file_name: &str) -> bool {
        let number = file_name
            .strip_prefix("_manifest")
            .and_then(|rest| rest.strip_suffix(".json"));
        number.is_some_and(|number| match number.strip_prefix('.') {
            Some(digits) => !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()),
            None => number.is_empty(),
        })
    }
}

/// Returns the name of a date's directory: `date=YYYY-MM-DD`, which query engines read as a column.
pub fn date_dir(date: Date) -> String {
    format!("date={date}")
}

/// Returns the date of a directory `date=YYYY-MM-DD`. Another spelling of the same date is not a directory of a table.
pub fn date_of(dir: &str) -> Option<Date> {
    let date: Date = dir.strip_prefix("date=")?.parse().ok()?;
    (date_dir(date) == dir).then_some(date)
}

/// Returns the key file of a live or sealed data file: `live/date=…/x.parquet` becomes `keys/date=…/x.keys`.
pub fn keys_path(data_file: &Path) -> Option<PathBuf> {
    let day = data_file.parent()?;
    let table = day.parent()?.parent()?;
    let stem = data_file.file_stem()?.to_str()?;
    let dir = table.join(Kind::Keys.as_str()).join(day.file_name()?);
    Some(dir.join(Kind::Keys.file_name(stem)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TablePath {
        let name = |text: &str| text.parse().unwrap();
        TablePath::new(Path::new("/lake"), name("lab"), name("rows"))
    }

    #[test]
    fn paths_have_experiment_datatype_folder_date_and_extension() {
        let date = "2024-05-06".parse().unwrap();
        let path = |kind| table().file(kind, date, "a");
        let text = |kind| path(kind).to_str().unwrap().to_owned();
        assert_eq!(
            text(Kind::Live),
            "/lake/lab/rows/live/date=2024-05-06/a.parquet"
        );
        assert_eq!(
            text(Kind::Errors),
            "/lake/lab/rows/errors/date=2024-05-06/a.jsonl"
        );
        assert_eq!(
            text(Kind::Claims),
            "/lake/lab/rows/claims/date=2024-05-06/a"
        );
        assert_eq!(keys_path(&path(Kind::Sealed)).unwrap(), path(Kind::Keys));
    }

    #[test]
    fn only_one_spelling_names_an_entry_a_date_or_a_manifest() {
        let date = "2024-05-06".parse().unwrap();
        for number in [0, 7, 1_234_567] {
            let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            let entry = name(table().log_entry(date, number));
            assert_eq!(TablePath::log_number(&entry), Some(number));
            assert!(TablePath::is_manifest(&name(
                table().manifest(date, number)
            )));
        }
        for name in ["0.json", "+00001.json", "000000.jsonl", "000000"] {
            assert_eq!(TablePath::log_number(name), None, "{name}");
        }
        for name in [
            "_manifest",
            "_manifest..json",
            "_manifest.a.json",
            "part-000000-0.parquet",
        ] {
            assert!(!TablePath::is_manifest(name), "{name}");
        }
        assert_eq!(date_of(&date_dir(date)), Some(date));
        assert_eq!(date_of("date=20240506"), None);
    }
}
