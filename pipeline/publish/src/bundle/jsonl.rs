//! M-Lab's jostler form: one line per file in the standard columns, and an index of the lines.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

/// What all lines of a bundle have in common.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    /// `YYYY-MM-DD` of the date directory.
    pub(crate) date: String,
    pub(crate) version: String,
    pub(crate) git_commit: String,
    /// Where the data object will be.
    pub(crate) archive_url: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line<'a> {
    date: &'a str,
    archiver: Archiver<'a>,
    raw: &'a RawValue,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Archiver<'a> {
    version: &'a str,
    git_commit: &'a str,
    #[serde(rename = "ArchiveURL")]
    archive_url: &'a str,
    filename: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct IndexLine<'a> {
    filename: &'a str,
    size: u64,
    time_added: String,
}

/// Writes the data and the index object at once. Lines are joined by `\n`, without one at the end.
pub(crate) struct JsonlWriter<W: Write> {
    data: GzEncoder<W>,
    index: GzEncoder<W>,
    columns: Columns,
    lines: u64,
}

impl<W: Write> JsonlWriter<W> {
    pub(crate) fn new(data: W, index: W, columns: Columns) -> JsonlWriter<W> {
        JsonlWriter {
            data: GzEncoder::new(data, Compression::default()),
            index: GzEncoder::new(index, Compression::default()),
            columns,
            lines: 0,
        }
    }

    /// Adds a file: its absolute path as the experiment knew it, and its content as one line of valid JSON.
    pub(crate) fn add(&mut self, filename: &str, json: &str, added: Timestamp) -> io::Result<()> {
        let line = serde_json::to_vec(&Line {
            date: &self.columns.date,
            archiver: Archiver {
                version: &self.columns.version,
                git_commit: &self.columns.git_commit,
                archive_url: &self.columns.archive_url,
                filename,
            },
            raw: serde_json::from_str(json)?,
        })?;
        let index = serde_json::to_vec(&IndexLine {
            filename,
            size: line.len() as u64,
            time_added: added.strftime("%Y/%m/%dT%H%M%S%.6fZ").to_string(),
        })?;
        if self.lines > 0 {
            self.data.write_all(b"\n")?;
            self.index.write_all(b"\n")?;
        }
        self.lines += 1;
        self.data.write_all(&line)?;
        self.index.write_all(&index)
    }

    /// The data and the index.
    pub(crate) fn finish(self) -> io::Result<(W, W)> {
        Ok((self.data.finish()?, self.index.finish()?))
    }
}
