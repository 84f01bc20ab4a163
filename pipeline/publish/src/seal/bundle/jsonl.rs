//! M-Lab's jostler form: one line per file in the standard columns, and an index of the lines.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::gz::GzWriter;

/// The values that all lines of a bundle share.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    /// `YYYY-MM-DD` of the date directory.
    pub(crate) date: String,
    pub(crate) version: String,
    pub(crate) git_commit: String,
    /// Where the data object will be.
    pub(crate) archive_url: String,
}

/// A line up to the file's content.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Head<'a> {
    date: &'a str,
    archiver: Archiver<'a>,
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
    data: GzWriter<W>,
    index: GzWriter<W>,
    columns: Columns,
    lines: u64,
}

impl<W: Write> JsonlWriter<W> {
    pub(crate) fn new(data: W, index: W, columns: Columns) -> JsonlWriter<W> {
        JsonlWriter {
            data: GzWriter::new(data),
            index: GzWriter::new(index),
            columns,
            lines: 0,
        }
    }

    /// Adds a file: its absolute path as the experiment knew it, and `content`, which writes one line of valid JSON.
    /// After an error both objects are unusable.
    pub(crate) fn add<E: From<io::Error>>(
        &mut self,
        filename: &str,
        added: Timestamp,
        content: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        let head = Head {
            date: &self.columns.date,
            archiver: Archiver {
                version: &self.columns.version,
                git_commit: &self.columns.git_commit,
                archive_url: &self.columns.archive_url,
                filename,
            },
        };
        let mut head = serde_json::to_vec(&head).map_err(io::Error::from)?;
        // The content becomes one more member of the object.
        head.pop();
        head.extend_from_slice(b",\"Raw\":");
        if self.lines > 0 {
            self.data.write_all(b"\n")?;
            self.index.write_all(b"\n")?;
        }
        self.lines += 1;
        let mut line = Counted {
            out: &mut self.data,
            written_bytes: 0,
        };
        line.write_all(&head)?;
        content(&mut line)?;
        line.write_all(b"}")?;
        let index = serde_json::to_vec(&IndexLine {
            filename,
            size: line.written_bytes,
            time_added: added.strftime("%Y/%m/%dT%H%M%S%.6fZ").to_string(),
        });
        self.index.write_all(&index.map_err(io::Error::from)?)?;
        Ok(())
    }

    /// The data and the index.
    pub(crate) fn finish(self) -> io::Result<(W, W)> {
        Ok((self.data.finish()?, self.index.finish()?))
    }
}

struct Counted<'a, W: Write> {
    out: &'a mut GzWriter<W>,
    written_bytes: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
