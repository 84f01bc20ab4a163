//! Files, line by line or whole.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::Moment;
use crate::record::{ArchivalRecord, End, Line, Metadata, Polls, ReadError};

/// The longest line of a tcpinfo file.
const LINE_BYTES: u64 = 64 * 1024;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The file, or its compression.
    #[error("read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system or the decompressor.
        source: io::Error,
    },
    /// A line.
    #[error("{path}, line {line}: {source}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The defect.
        source: ReadError,
    },
}

/// The lines of one file, one after another. Stops after the first error.
pub struct Reader {
    path: PathBuf,
    lines: Box<dyn BufRead>,
    buffer: Vec<u8>,
    line: usize,
    failed: bool,
}

/// One file, whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recording {
    /// The header; the oldest files have none.
    pub metadata: Option<Metadata>,
    /// The snapshots in order of time.
    pub records: Vec<ArchivalRecord>,
    /// Why the file ended; files that are not ours do not say.
    pub end: Option<End>,
    /// How often the kernel was asked.
    pub polls: Option<Polls>,
}

impl Reader {
    /// Opens a file: zstd of one or several frames if its name ends in `.zst`, else plain lines.
    pub fn open(path: &Path) -> Result<Self, DecodeError> {
        let at = |source| DecodeError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(at)?;
        let lines: Box<dyn BufRead> = if path.extension().is_some_and(|ending| ending == "zst") {
            Box::new(BufReader::new(
                zstd::stream::read::Decoder::new(file).map_err(at)?,
            ))
        } else {
            Box::new(BufReader::new(file))
        };
        Ok(Self {
            path: path.to_owned(),
            lines,
            buffer: Vec::new(),
            line: 0,
            failed: false,
        })
    }

    fn read(&mut self) -> Result<Option<Line>, DecodeError> {
        self.buffer.clear();
        let mut limited = (&mut self.lines).take(LINE_BYTES);
        let read = limited.read_until(b'\n', &mut self.buffer);
        let length = read.map_err(|source| DecodeError::Read {
            path: self.path.clone(),
            source,
        })?;
        if length == 0 {
            return Ok(None);
        }
        self.line += 1;
        Line::parse(&self.buffer)
            .map(Some)
            .map_err(|source| DecodeError::Line {
                path: self.path.clone(),
                line: self.line,
                source,
            })
    }
}

impl Iterator for Reader {
    type Item = Result<Line, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let line = self.read();
        self.failed = line.is_err();
        line.transpose()
    }
}

impl Recording {
    /// Reads a whole file.
    pub fn read(path: &Path) -> Result<Self, DecodeError> {
        let mut recording = Self::default();
        for line in Reader::open(path)? {
            match line? {
                Line::Header(metadata) => {
                    recording.metadata.get_or_insert(metadata);
                }
                Line::Record(record) => recording.records.push(record),
                Line::End { end, polls, .. } => {
                    recording.end = Some(end);
                    recording.polls = polls;
                }
            }
        }
        Ok(recording)
    }

    /// The snapshots as plots need them.
    pub fn moments(&self) -> Vec<Moment> {
        let moment = |record: &ArchivalRecord| {
            let snapshot = record.decode();
            Moment {
                timestamp: record.timestamp,
                state: snapshot.inet_diag_msg.map_or(0, |message| message.state),
                info: snapshot.tcp_info,
            }
        };
        self.records.iter().map(moment).collect()
    }
}
