//! Which connections have which files, kept outside the spool, so that a new life of the recorder goes on where the
//! last one died and never uses a name twice.
//!
//! A text file of one line per step: `= opened closed` totals, `+ cookie sequence start` a file begins (with ` a` at the
//! end for an admitted connection), `- cookie` the connection closed, `a cookie` the connection was admitted, `m cookie`
//! the files of a connection that was admitted after its end were moved. The first line names the UUID prefix. A reboot
//! changes the prefix and starts the cookies again, so the journal of another prefix is ignored. The journal must
//! outlive the process, not the machine, so it is never synced.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// The journal is rewritten when it has grown to this and to four times the size that it needs.
const COMPACT_BYTES: u64 = 1 << 20;
/// A line takes no more than this.
const LINE_BYTES: u64 = 80;

/// Connections in all lives of the recorder since the machine started: `opened = closed + open`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections that were seen for the first time.
    pub opened: u64,
    /// Connections that are gone.
    pub closed: u64,
    /// Connections that are known now.
    pub open: u64,
}

/// The last file of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) sequence: u32,
    pub(crate) start: Timestamp,
    /// Whether its files may be published.
    pub(crate) admitted: bool,
}

/// The journal of one collector.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    prefix: String,
    /// `None` after a failed write: the file may end in half a line and is rewritten.
    file: Option<File>,
    bytes: u64,
    pending: String,
    open: HashMap<u64, Known>,
    /// Connections that were admitted after their end and whose files may not all be moved yet.
    late: HashSet<u64>,
    opened: u64,
    closed: u64,
}

impl Journal {
    /// Reads what an earlier life left, if it was of the same boot. Returns the connections it had open, too.
    pub(crate) fn open(dir: &Path, prefix: &str) -> io::Result<(Self, HashMap<u64, Known>)> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join("flows");
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let mut journal = Self {
            path,
            prefix: prefix.to_owned(),
            file: None,
            bytes: 0,
            pending: String::new(),
            open: HashMap::new(),
            late: HashSet::new(),
            opened: 0,
            closed: 0,
        };
        let mut lines = text.split_inclusive('\n');
        if lines.next() == Some(&format!("{prefix}\n")) {
            // A line without its end was being written when the process died; its step never happened.
            for line in lines.filter(|line| line.ends_with('\n')) {
                journal.replay(line).unwrap_or_else(|| {
                    tracing::warn!(line, "skipped a line of the journal");
                });
            }
        }
        journal.compact()?;
        let known = journal.open.clone();
        Ok((journal, known))
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals {
            opened: self.opened,
            closed: self.closed,
            open: self.open.len() as u64,
        }
    }

    /// A file of a connection begins; the first one also means that the connection is new.
    pub(crate) fn file(&mut self, cookie: u64, known: Known) {
        self.apply_file(cookie, known);
        write_file(&mut self.pending, cookie, &known);
    }

    /// An open connection was admitted. One that has no file yet is marked by its first file. Must be written before
    /// the files are moved.
    pub(crate) fn admit(&mut self, cookie: u64) {
        if self.open.contains_key(&cookie) {
            self.apply_admit(cookie);
            let _ = writeln!(self.pending, "a {cookie:x}");
        }
    }

    /// A connection was admitted after its end. Must be written before its files are moved.
    pub(crate) fn admit_ended(&mut self, cookie: u64) {
        self.apply_admit(cookie);
        let _ = writeln!(self.pending, "a {cookie:x}");
    }

    /// All files of a connection that was admitted after its end have been moved.
    pub(crate) fn moved(&mut self, cookie: u64) {
        self.late.remove(&cookie);
        let _ = writeln!(self.pending, "m {cookie:x}");
    }

    /// Whether the files of this connection may be published, as far as is known.
    pub(crate) fn is_admitted(&self, cookie: u64) -> bool {
        let open = self.open.get(&cookie);
        open.is_some_and(|known| known.admitted) || self.late.contains(&cookie)
    }

    /// A connection closed.
    pub(crate) fn close(&mut self, cookie: u64) {
        self.apply_close(cookie);
        let _ = writeln!(self.pending, "- {cookie:x}");
    }

    /// Hands the steps since the last call to the kernel. A step must be in the journal before listeners hear of it.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        let needed = (self.open.len() as u64 + 2) * LINE_BYTES;
        let Some(file) = &mut self.file else {
            return self.compact();
        };
        if self.pending.is_empty() {
            return Ok(());
        }
        if let Err(error) = file.write_all(self.pending.as_bytes()) {
            self.file = None;
            return Err(error);
        }
        self.bytes += self.pending.len() as u64;
        self.pending.clear();
        if self.bytes > COMPACT_BYTES.max(4 * needed) {
            self.compact()?;
        }
        Ok(())
    }

    /// Rewrites the journal from memory, which is all that counts, and puts it in place of the old one.
    fn compact(&mut self) -> io::Result<()> {
        let mut text = format!("{}\n", self.prefix);
        let before = self.opened - self.open.len() as u64;
        let _ = writeln!(text, "= {before} {}", self.closed);
        for (cookie, known) in &self.open {
            write_file(&mut text, *cookie, known);
        }
        for cookie in &self.late {
            let _ = writeln!(text, "a {cookie:x}");
        }
        let new = self.path.with_extension("new");
        std::fs::write(&new, &text)?;
        std::fs::rename(&new, &self.path)?;
        self.file = Some(OpenOptions::new().append(true).open(&self.path)?);
        self.bytes = text.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn apply_file(&mut self, cookie: u64, mut known: Known) {
        let before = self.open.get(&cookie);
        known.admitted |= before.is_some_and(|before| before.admitted);
        if self.open.insert(cookie, known).is_none() {
            self.opened += 1;
        }
    }

    fn apply_admit(&mut self, cookie: u64) {
        match self.open.get_mut(&cookie) {
            Some(known) => known.admitted = true,
            None => {
                self.late.insert(cookie);
            }
        }
    }

    fn apply_close(&mut self, cookie: u64) {
        if self.open.remove(&cookie).is_some() {
            self.closed += 1;
        }
    }

    fn replay(&mut self, line: &str) -> Option<()> {
        let mut words = line.split_whitespace();
        match words.next()? {
            "=" => {
                self.opened = words.next()?.parse().ok()?;
                self.closed = words.next()?.parse().ok()?;
            }
            "+" => {
                let cookie = u64::from_str_radix(words.next()?, 16).ok()?;
                let sequence = words.next()?.parse().ok()?;
                let start = words.next()?.parse().ok()?;
                let admitted = words.next() == Some("a");
                let known = Known {
                    sequence,
                    start,
                    admitted,
                };
                self.apply_file(cookie, known);
            }
            "a" => self.apply_admit(u64::from_str_radix(words.next()?, 16).ok()?),
            "m" => {
                let cookie = u64::from_str_radix(words.next()?, 16).ok()?;
                self.late.remove(&cookie);
            }
            "-" => self.apply_close(u64::from_str_radix(words.next()?, 16).ok()?),
            _ => return None,
        }
        Some(())
    }
}

fn write_file(text: &mut String, cookie: u64, known: &Known) {
    let Known {
        sequence,
        start,
        admitted,
    } = known;
    let mark = if *admitted { " a" } else { "" };
    let _ = writeln!(text, "+ {cookie:x} {sequence} {start}{mark}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(sequence: u32) -> Known {
        Known {
            sequence,
            start: "2026-11-22T01:02:03.000000004Z".parse().unwrap(),
            admitted: false,
        }
    }

    #[test]
    fn an_admission_outlives_the_process_until_the_files_are_moved() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path(), "a_1").unwrap();
        journal.file(1, known(0));
        journal.admit(1);
        journal.file(1, known(1));
        journal.file(2, known(0));
        journal.close(2);
        journal.admit_ended(2);
        journal.file(3, known(0));
        journal.write().unwrap();
        for _ in 0..2 {
            let (journal, found) = Journal::open(dir.path(), "a_1").unwrap();
            let admitted = [1, 2, 3].map(|cookie| journal.is_admitted(cookie));
            assert_eq!(admitted, [true, true, false]);
            assert_eq!((found[&1].sequence, found[&1].admitted), (1, true));
        }
        let (mut journal, _) = Journal::open(dir.path(), "a_1").unwrap();
        journal.moved(2);
        journal.close(1);
        journal.write().unwrap();
        let (journal, _) = Journal::open(dir.path(), "a_1").unwrap();
        assert!(![1, 2].iter().any(|cookie| journal.is_admitted(*cookie)));
    }

    #[test]
    fn a_new_life_knows_what_the_last_one_had_open() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, found) = Journal::open(dir.path(), "a_1").unwrap();
        assert!(found.is_empty());
        journal.file(0xAB, known(0));
        journal.file(0xCD, known(0));
        journal.file(0xAB, known(1));
        journal.close(0xCD);
        journal.write().unwrap();
        journal.file(0xEF, known(0));
        for _ in 0..2 {
            let (journal, found) = Journal::open(dir.path(), "a_1").unwrap();
            assert_eq!(
                found,
                HashMap::from([(0xAB, known(1))]),
                "not written, not happened"
            );
            assert_eq!(
                journal.totals(),
                Totals {
                    opened: 2,
                    closed: 1,
                    open: 1
                }
            );
        }
        let (journal, found) = Journal::open(dir.path(), "a_2").unwrap();
        assert!(found.is_empty() && journal.totals() == Totals::default());
    }

    #[test]
    fn half_a_line_and_garbage_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let text =
            "a_1\n= 5 5\nwhat\n+ zz 1 x\n+ ab 3 2026-11-22T01:02:03.000000004Z\n+ cd 4 2026-11";
        std::fs::write(dir.path().join("flows"), text).unwrap();
        let (journal, found) = Journal::open(dir.path(), "a_1").unwrap();
        assert_eq!(found, HashMap::from([(0xAB, known(3))]));
        assert_eq!(
            journal.totals(),
            Totals {
                opened: 6,
                closed: 5,
                open: 1
            }
        );
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path(), "a_1").unwrap();
        for cookie in 0..100_000 {
            journal.file(cookie, known(0));
            journal.close(cookie);
            journal.write().unwrap();
        }
        let bytes = std::fs::metadata(dir.path().join("flows")).unwrap().len();
        assert!(bytes < 2 * COMPACT_BYTES, "{bytes}");
        let totals = Totals {
            opened: 100_000,
            closed: 100_000,
            open: 0,
        };
        assert_eq!(journal.totals(), totals);
        assert_eq!(Journal::open(dir.path(), "a_1").unwrap().0.totals(), totals);
    }
}
