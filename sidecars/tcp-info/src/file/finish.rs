//! Turning complete files into published ones: one frame, a last line, durable, under their name.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use groma_disk::{Dir, Disk, Entry, RENAME_LOCK, Taken, WritableFile};
use zstd::zstd_safe::CParameter;

use super::growing::{self, MAGIC, read_whole};
use super::layout::Layout;
use super::output::FILE_MODE;
use crate::metrics::Metrics;
use crate::record::{End, Line, write_end};

/// At the end of the name of a file that is complete as it is: one frame, with its last line.
pub(crate) const WHOLE: &str = "=whole";
/// Files between two syncs of the folders that they came to.
const BATCH: usize = 256;
/// Of compression; a file is compressed once.
pub(super) const LEVEL: i32 = 3;
/// No line of ours is longer; M-Lab's readers take no longer ones.
const LINE_BYTES: usize = 64 * 1024;
/// How long files that could not be finished wait, and how long the finisher waits for news.
const PAUSE: Duration = Duration::from_millis(500);

/// The thread's work: the folder `done` is its queue, on disk and therefore without a bound in memory.
pub(crate) struct Finisher {
    layout: Layout,
    metrics: Metrics,
}

impl Finisher {
    pub(crate) fn new(layout: Layout, metrics: Metrics) -> Self {
        Self { layout, metrics }
    }

    /// Works until the sender of news is gone and the queue is empty, or nothing of it can be finished any more.
    ///
    /// Files that an earlier life left are finished first; of their names nothing is believed, because the machine may
    /// have lost power since.
    pub(crate) fn run(&self, news: &Receiver<()>) {
        let mut stuck = self.empty_queue(false);
        loop {
            match news.recv_timeout(PAUSE) {
                // Nothing is new, and nothing waits to be tried again.
                Err(RecvTimeoutError::Timeout) if !stuck => {}
                Ok(()) | Err(RecvTimeoutError::Timeout) => stuck = self.empty_queue(true),
                Err(RecvTimeoutError::Disconnected) => {
                    self.empty_queue(true);
                    return;
                }
            }
        }
    }

    /// Finishes what can be; whether something is left to try again.
    fn empty_queue(&self, believe_whole: bool) -> bool {
        loop {
            match self.pass(believe_whole) {
                Ok((0, kept)) => return kept > 0,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "could not go through the finished files");
                    return true;
                }
            }
        }
    }

    /// Finishes up to a batch of files; how many left the queue, and how many had to stay.
    fn pass(&self, believe_whole: bool) -> io::Result<(usize, usize)> {
        let mut ready = Vec::new();
        let (mut seen, mut left) = (0, 0);
        for entry in fs::read_dir(self.layout.done_dir())?.take(BATCH) {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name == RENAME_LOCK) {
                continue;
            }
            seen += 1;
            match self.prepare(&path, believe_whole) {
                Ok(Some(file)) => ready.push(file),
                Ok(None) => left += 1,
                Err(error) => left += self.failed(&path, &error)?,
            }
        }
        sync_files(self.layout.disk(), &ready)?;
        let mut dirs: Vec<&Path> = Vec::new();
        for file in &ready {
            match self.publish(file) {
                Ok(()) => left += 1,
                Err(error) => left += self.failed(&file.path, &error)?,
            }
            if let Some(dir) = file.target.parent()
                && !dirs.contains(&dir)
            {
                dirs.push(dir);
            }
        }
        let disk = self.layout.disk();
        for dir in &dirs {
            disk.sync_dir(Dir::Path(dir))?;
        }
        if left > 0 {
            disk.sync_dir(Dir::Path(&self.layout.done_dir()))?;
        }
        Ok((left, seen - left))
    }

    fn failed(&self, path: &Path, error: &io::Error) -> io::Result<usize> {
        self.metrics.finish_failures.inc();
        tracing::warn!(file = %path.display(), %error, "could not finish a file");
        self.set_aside(path, error).map(usize::from)
    }

    /// Takes a file out of the queue that can never be finished, so that it holds up no other.
    fn set_aside(&self, path: &Path, error: &io::Error) -> io::Result<bool> {
        use io::ErrorKind::{AlreadyExists, InvalidInput};
        let hopeless = matches!(error.kind(), AlreadyExists | InvalidInput);
        if let (true, Some(name)) = (hopeless, path.file_name()) {
            let refused = self.layout.refused_dir().join(name);
            let disk = self.layout.disk();
            disk.rename(Entry::path(path), Entry::path(&refused), Taken::Replace)?;
            self.metrics.files_refused.inc();
        }
        Ok(hopeless)
    }

    /// Makes a file one frame with a last line; `None` when there was nothing in it.
    fn prepare(&self, path: &Path, believe_whole: bool) -> io::Result<Option<Ready>> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let (plain, is_whole) = match name.strip_suffix(WHOLE) {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        let target = self.layout.target(plain).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "no name of a tcpinfo file")
        })?;
        let synced = !(is_whole && believe_whole);
        if synced {
            let new = self.layout.new_dir().join(plain);
            let disk = self.layout.disk();
            if !rewrite(disk, path, &new)? {
                self.metrics.empty_leftovers.inc();
                disk.remove(Entry::path(&new))?;
                disk.remove(Entry::path(path))?;
                return Ok(None);
            }
            disk.rename(Entry::path(&new), Entry::path(path), Taken::Replace)?;
        }
        self.layout.create_parent(&target)?;
        Ok(Some(Ready {
            path: path.to_owned(),
            target,
            synced,
        }))
    }

    /// One step from here to there, so that the file is always in exactly one place.
    fn publish(&self, file: &Ready) -> io::Result<()> {
        let (from, to) = (Entry::path(&file.path), Entry::path(&file.target));
        self.layout
            .disk()
            .rename(from, to, Taken::RefuseCooperating)?;
        self.metrics.files_published.inc();
        Ok(())
    }
}

/// A file that is complete, and where it goes.
struct Ready {
    path: PathBuf,
    target: PathBuf,
    synced: bool,
}

/// Makes the files durable that are not durable yet.
fn sync_files(disk: &Disk, files: &[Ready]) -> io::Result<()> {
    let unsynced = files.iter().filter(|file| !file.synced);
    let paths: Vec<&Path> = unsynced.map(|file| file.path.as_path()).collect();
    disk.sync_files(&paths)
}

/// Writes all complete lines of `from` to `to` as one frame, with a last line if there is none, and syncs it. What
/// cannot be read ends the file. `false` when the header is missing.
fn rewrite(disk: &Disk, from: &Path, to: &Path) -> io::Result<bool> {
    let mut lines = Lines::open(from)?;
    let mut encoder = zstd::stream::write::Encoder::new(create(disk, to)?, LEVEL)?;
    encoder.set_parameter(CParameter::ChecksumFlag(true))?;
    let mut header = None;
    let mut has_end = false;
    while let Some((is_snapshot, line)) = lines.next_line()? {
        let inside = header.is_some() && !has_end;
        if !(is_snapshot && inside) {
            match Line::parse(line) {
                Ok(Line::Header(metadata)) if header.is_none() => header = Some(metadata),
                Ok(Line::Record(_)) if inside => {}
                Ok(Line::End { .. }) if inside => has_end = true,
                // Whatever else it is, it is not what we wrote.
                _ => break,
            }
        }
        encoder.write_all(line)?;
    }
    if let (Some(metadata), false) = (&header, has_end) {
        let mut last = Vec::new();
        write_end(&mut last, metadata, End::Interrupted, None, 0);
        encoder.write_all(&last)?;
    }
    encoder.finish()?.sync()?;
    Ok(header.is_some())
}

/// Creates an empty file, in place of one that a dead process left.
fn create(disk: &Disk, path: &Path) -> io::Result<WritableFile> {
    disk.create_file(Entry::path(path), FILE_MODE, Taken::Replace)
}

/// Lines of a file, whichever form it has.
pub(crate) enum Lines {
    Growing(Box<growing::Reader<BufReader<File>>>),
    Whole(FrameLines),
}

impl Lines {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        let mut begin = [0; MAGIC.len()];
        if read_whole(&mut file, &mut begin)? && begin == MAGIC {
            return Ok(Self::Growing(Box::new(growing::Reader::new(file))));
        }
        FrameLines::new(File::open(path)?).map(Self::Whole)
    }

    /// The next line with its line feed, and whether it is known to be a snapshot; `None` at the end and at damage.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<(bool, &[u8])>> {
        match self {
            Self::Growing(lines) => lines.next_line(),
            Self::Whole(lines) => Ok(lines.next_line()?.map(|line| (false, line))),
        }
    }
}

/// Complete lines of a file of zstd frames whose end may be damaged.
pub(crate) struct FrameLines {
    decoder: zstd::stream::read::Decoder<'static, BufReader<File>>,
    buffer: Vec<u8>,
    start: usize,
}

impl FrameLines {
    fn new(file: File) -> io::Result<Self> {
        Ok(Self {
            decoder: zstd::stream::read::Decoder::new(file)?,
            buffer: Vec::new(),
            start: 0,
        })
    }

    /// The next line with its line feed; `None` at the end, at damage, and at a line that is too long.
    fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            let rest = &self.buffer[self.start..];
            if let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let line = self.start..=self.start + at;
                self.start += at + 1;
                return Ok(Some(&self.buffer[line]));
            }
            if rest.len() > LINE_BYTES {
                return Ok(None);
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let filled = self.buffer.len();
            self.buffer.resize(filled + LINE_BYTES, 0);
            let read = match self.decoder.read(&mut self.buffer[filled..]) {
                Ok(read) => read,
                // The system's own errors may pass; the decoder's mean damage, and what it said before is all there is.
                Err(error) if error.raw_os_error().is_some() => return Err(error),
                Err(_) => 0,
            };
            self.buffer.truncate(filled + read);
            if read == 0 {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests;
