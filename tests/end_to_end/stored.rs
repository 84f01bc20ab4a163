//! Reads the contents of a lab's directory with third-party libraries only.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray as _;
use flate2::read::GzDecoder;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// The number of occurrences of each name.
pub(crate) type Counts = BTreeMap<String, usize>;

/// The visible files below `dir` with this ending; empty if the folder does not exist.
pub(crate) fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        // A file that moves meanwhile is found at its new path, or in the next listing.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else if name.ends_with(ending) {
                found.push(entry.path());
            }
        }
    }
    found
}

/// The files of a datatype in the bundles of the archive, by name without their folders.
pub(crate) fn archived(dir: &Path, datatype: &str) -> Counts {
    let mut counts = Counts::new();
    for bundle in files(&dir.join("archive/ndt").join(datatype), ".tgz") {
        let file = File::open(&bundle).expect("bundles are never removed");
        let mut members = tar::Archive::new(GzDecoder::new(file));
        for member in members.entries().expect("a bundle is a tar") {
            let member = member.unwrap_or_else(|error| panic!("{}: {error}", bundle.display()));
            let path = member.path().expect("a member has a name");
            let name = path
                .file_name()
                .expect("a member is a file")
                .to_string_lossy();
            *counts.entry(name.into_owned()).or_default() += 1;
        }
    }
    counts
}

/// The column `id` of every table file of a datatype in the lake.
pub(crate) fn rows(dir: &Path, datatype: &str) -> Counts {
    let mut counts = Counts::new();
    for table in files(&dir.join("lake/ndt").join(datatype), ".parquet") {
        for id in ids(&table) {
            *counts.entry(id).or_default() += 1;
        }
    }
    counts
}

/// The column `id` of one table file.
pub(crate) fn ids(table: &Path) -> Vec<String> {
    let file = File::open(table).expect("table files are never removed");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .unwrap_or_else(|error| panic!("{}: {error}", table.display()));
    let only_id = ProjectionMask::columns(reader.parquet_schema(), ["id"]);
    let batches = reader
        .with_projection(only_id)
        .build()
        .expect("a table can be read");
    let mut ids = Vec::new();
    for batch in batches {
        let batch = batch.expect("a table can be read");
        let column = batch.column(0).as_string::<i32>();
        ids.extend(
            column
                .iter()
                .map(|id| id.expect("every test has its UUID").to_owned()),
        );
    }
    ids
}
