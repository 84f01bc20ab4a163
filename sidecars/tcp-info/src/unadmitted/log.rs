//! Rows that are not published yet: one text file, appended to, and synced before a connection's own file is removed.
//!
//! A line is `<uuid> <date> <row>`. The UUID says which connections are counted already; it stays in the state
//! directory. Publishing the rows takes four steps, and a death between any two of them neither loses nor doubles a row:
//!
//! 1. Files of rows, one for each date, are written and synced in the folder `.unadmitted` of the spool.
//! 2. The log is removed.
//! 3. The files move to where the publisher finds them.
//! 4. The next row begins the next log.
//!
//! While there is a log, files in `.unadmitted` are unfinished copies of it. Without one they are complete.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Instant;

use groma_disk::{Replace, Rivals, rename_new_path, sync_dir, write_durable};
use jiff::Timestamp;
use jiff::civil::Date;

use super::refused::Refused;
use crate::file::{Layout, ROWS};

/// See the module.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    layout: Layout,
    file: Option<File>,
    bytes: u64,
    counted: HashSet<String>,
    rows: BTreeMap<Date, Vec<String>>,
    /// When the first of the rows came; after a restart, the time of the restart.
    since: Option<Instant>,
}

impl Log {
    /// Reads what an earlier life left.
    pub(super) fn open(path: PathBuf, layout: Layout) -> io::Result<Self> {
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let mut log = Self {
            path,
            layout,
            file: None,
            bytes: 0,
            counted: HashSet::new(),
            rows: BTreeMap::new(),
            since: None,
        };
        // A line without its end was being written when the process died; its connection is still in the queue.
        for line in text.split_inclusive('\n') {
            let Some(whole) = line.strip_suffix('\n') else {
                break;
            };
            log.bytes += line.len() as u64;
            let mut parts = whole.splitn(3, ' ');
            if let (Some(uuid), Some(Ok(date)), Some(row)) =
                (parts.next(), parts.next().map(str::parse), parts.next())
            {
                log.note(uuid.to_owned(), date, row.to_owned());
            }
        }
        Ok(log)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.values().map(Vec::len).sum()
    }

    /// When the first of its rows came.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    pub(super) fn has(&self, uuid: &str) -> bool {
        self.counted.contains(uuid)
    }

    fn note(&mut self, uuid: String, date: Date, row: String) {
        self.counted.insert(uuid);
        self.rows.entry(date).or_default().push(row);
        self.since.get_or_insert_with(Instant::now);
    }

    /// Adds rows, durably: all or, after an error, none.
    pub(super) fn append(&mut self, refused: Vec<Refused>) -> io::Result<()> {
        if refused.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for connection in &refused {
            let (uuid, date, row) = (&connection.uuid, connection.date(), connection.row());
            let _ = writeln!(text, "{uuid} {date} {row}");
        }
        self.write(text.as_bytes())?;
        for connection in refused {
            let (date, row) = (connection.date(), connection.row());
            self.note(connection.uuid, date, row);
        }
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.create()?,
        };
        // First remove the bytes that a failed write left behind.
        file.set_len(self.bytes)?;
        file.write_all(text)?;
        file.sync_data()?;
        self.bytes += text.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    fn create(&self) -> io::Result<File> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)?;
        if let Some(dir) = self.path.parent() {
            sync_dir(dir)?;
        }
        Ok(file)
    }

    /// Publishes all rows.
    pub(super) fn publish(&mut self) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let dir = self
            .layout
            .rows_dir()
            .ok_or(io::ErrorKind::NotFound)?
            .to_owned();
        for copy in fs::read_dir(&dir)? {
            fs::remove_file(copy?.path())?;
        }
        for (date, rows) in &self.rows {
            let mut text = rows.join("\n");
            text.push('\n');
            let name = format!("{date}.{}{ROWS}", file_id()?);
            write_durable(&dir.join(name), text.as_bytes(), Replace::Never)?;
        }
        fs::remove_file(&self.path)?;
        if let Some(dir) = self.path.parent() {
            sync_dir(dir)?;
        }
        self.file = None;
        self.bytes = 0;
        self.counted.clear();
        self.rows.clear();
        self.since = None;
        self.hand_over()
    }

    /// Moves complete files of rows into the spool. Must succeed before the next row is added.
    pub(super) fn hand_over(&self) -> io::Result<()> {
        let Some(dir) = self.layout.rows_dir().filter(|_| self.rows.is_empty()) else {
            return Ok(());
        };
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // A file that was being written has another name.
            let Some(target) = self
                .layout
                .rows_target(&entry.file_name().to_string_lossy())
            else {
                fs::remove_file(entry.path())?;
                continue;
            };
            self.layout.create_parent(&target)?;
            rename_new_path(&entry.path(), &target, Rivals::Possible)?;
            sync_dir(target.parent().unwrap_or(&target))?;
        }
        Ok(())
    }
}

/// A name that no other file of rows has: the hour, and a random number.
fn file_id() -> io::Result<String> {
    let mut bytes = [0; 8];
    let mut random = File::open("/dev/urandom")?;
    io::Read::read_exact(&mut random, &mut bytes)?;
    let time = Timestamp::now().strftime("%Y%m%dT%H");
    Ok(format!("{time}_{:016x}", u64::from_ne_bytes(bytes)))
}
