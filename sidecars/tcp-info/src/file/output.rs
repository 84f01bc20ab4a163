//! The file of one connection while it grows.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Instant;

use groma_diag::{MESSAGE_BYTES, Record};
use groma_uuid::Uuid;
use jiff::Timestamp;
use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

use super::finish::LEVEL;
use super::growing::{Items, MAGIC};
use super::layout::Layout;
use crate::record::{Anonymize, End, Metadata, Polls, write_end, write_header};

/// New items of a file are handed to the kernel when they have this much, and at least every second.
pub(crate) const FLUSH_BYTES: usize = 16 * 1024;
/// While the disk takes nothing, snapshots beyond this are dropped and counted.
const MOST_PENDING_BYTES: usize = 32 * 1024;
/// Files for everybody to read, whatever the umask.
pub(super) const FILE_MODE: u32 = 0o644;
/// Files are held open up to this share of what the process may open, which saves two system calls in every flush.
const SHARE_OF_DESCRIPTORS: u64 = 2;

/// State that all files share: buffers, descriptors, and a compressor for those that are written in one piece.
pub(crate) struct Frames {
    compressor: Compressor<'static>,
    /// Lines, and the last line before it is an item.
    text: Vec<u8>,
    /// The bytes that are written next.
    frame: Vec<u8>,
    /// A message whose address is made coarse.
    coarse: Vec<u8>,
    descriptors: usize,
}

impl Frames {
    pub(crate) fn new() -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Ok(Self {
            compressor,
            text: Vec::new(),
            frame: Vec::with_capacity(2 * MOST_PENDING_BYTES),
            coarse: Vec::new(),
            descriptors: (limit.unwrap_or(u64::MAX) / SHARE_OF_DESCRIPTORS) as usize,
        })
    }

    /// Makes the items of a whole file what the spool shall hold.
    fn compress(&mut self, items: &Items) -> io::Result<()> {
        self.text.clear();
        items.write_lines(&mut self.text);
        self.frame.clear();
        self.frame.reserve(compress_bound(self.text.len()));
        self.compressor
            .compress_to_buffer(&self.text, &mut self.frame)?;
        Ok(())
    }

    /// Makes items a block, the first of its file or another.
    fn block(&mut self, items: &Items, is_first: bool) {
        self.frame.clear();
        if is_first {
            self.frame.extend_from_slice(&MAGIC);
        }
        items.write_block(&mut self.frame);
    }
}

/// A connection's present file. It begins with its first snapshot.
pub(crate) struct Output {
    pub(crate) uuid: Uuid,
    pub(crate) cookie: u64,
    start: Timestamp,
    /// The number of the present file, or of the next when there is none.
    sequence: u32,
    file: Option<Growing>,
    /// Kept between files, for its memory.
    pending: Items,
    polls: Polls,
    /// Whether its files may be published. Those of others are held.
    admitted: bool,
    /// Names of complete files that are held.
    held: Vec<String>,
}

struct Growing {
    name: String,
    /// Kept, so that a flush allocates nothing.
    path: PathBuf,
    began: Instant,
    /// Bytes in the file, 0 when it does not exist yet.
    bytes: u64,
    lost_records: u64,
    open: Option<File>,
}

impl Growing {
    /// Appends the frame that was made last, or leaves the file as it was.
    fn append(&mut self, frames: &mut Frames) -> io::Result<()> {
        let mut file = match self.open.take() {
            Some(file) => {
                frames.descriptors += 1;
                file
            }
            None => OpenOptions::new()
                .append(true)
                .create(true)
                .mode(FILE_MODE)
                .open(&self.path)?,
        };
        if let Err(error) = file.write_all(&frames.frame) {
            // Half a block in the middle would cut off all that follows, and an empty file is worthless.
            if self.bytes > 0 {
                file.set_len(self.bytes)?;
            } else {
                std::fs::remove_file(&self.path)?;
            }
            return Err(error);
        }
        self.bytes += frames.frame.len() as u64;
        if frames.descriptors > 0 {
            frames.descriptors -= 1;
            self.open = Some(file);
        }
        Ok(())
    }

    fn close(&mut self, frames: &mut Frames) {
        frames.descriptors += usize::from(self.open.take().is_some());
    }
}

impl Output {
    pub(crate) fn new(
        uuid: Uuid,
        cookie: u64,
        start: Timestamp,
        sequence: u32,
        polls: Polls,
        admitted: bool,
    ) -> Self {
        Self {
            uuid,
            cookie,
            start,
            sequence,
            file: None,
            pending: Items::default(),
            polls,
            admitted,
            held: Vec::new(),
        }
    }

    pub(crate) fn is_admitted(&self) -> bool {
        self.admitted
    }

    /// Adds files that an earlier life of the recorder held, in front.
    pub(crate) fn hold(&mut self, mut names: Vec<String>) {
        names.append(&mut self.held);
        self.held = names;
    }

    /// Takes the names of its held files.
    pub(crate) fn take_held(&mut self) -> Vec<String> {
        std::mem::take(&mut self.held)
    }

    /// Lets its files be published: those that are held, and the one that grows. The journal must know of the admission.
    /// The next call tries again after an error.
    ///
    /// Returns whether a file was handed to the finisher.
    pub(crate) fn admit(&mut self, layout: &Layout) -> io::Result<bool> {
        self.admitted = true;
        if let Some(growing) = &mut self.file {
            let path = layout.open_dir().join(&growing.name);
            if growing.bytes > 0 && growing.path != path {
                std::fs::rename(&growing.path, &path)?;
            }
            growing.path = path;
        }
        let handed_over = !self.held.is_empty();
        layout.admit(&self.held)?;
        self.held.clear();
        Ok(handed_over)
    }

    /// Whether there is a file of it on the disk that is held.
    pub(crate) fn has_files(&self) -> bool {
        !self.held.is_empty() || self.file.as_ref().is_some_and(|file| file.bytes > 0)
    }

    /// Whether an [`Output::admit`] has failed.
    pub(crate) fn has_stuck_files(&self) -> bool {
        self.admitted && !self.held.is_empty()
    }

    pub(crate) fn start(&self) -> Timestamp {
        self.start
    }

    fn metadata(&self) -> Metadata {
        Metadata {
            uuid: self.uuid.to_string(),
            sequence: self.sequence,
            start_time: self.start,
        }
    }

    /// The sequence number of a file that begins with the next record; `None` when one is under way.
    pub(crate) fn begins(&self) -> Option<u32> {
        self.file.is_none().then_some(self.sequence)
    }

    /// Begins the file.
    pub(crate) fn begin(
        &mut self,
        time: Timestamp,
        now: Instant,
        layout: &Layout,
        frames: &mut Frames,
    ) {
        let name = Layout::work_name(&self.uuid, self.sequence, time);
        self.file = Some(Growing {
            path: layout.growing_dir(self.admitted).join(&name),
            name,
            began: now,
            bytes: 0,
            lost_records: 0,
            open: None,
        });
        self.pending.restart();
        frames.text.clear();
        write_header(&mut frames.text, &self.metadata());
        self.pending.line(&frames.text);
    }

    /// When the present file began.
    pub(crate) fn began(&self) -> Option<Instant> {
        self.file.as_ref().map(|file| file.began)
    }

    /// Adds a snapshot to the file that [`Output::begin`] began. Returns whether there was room.
    pub(crate) fn record(
        &mut self,
        time: Timestamp,
        record: Record<'_>,
        anonymize: Anonymize,
        frames: &mut Frames,
    ) -> bool {
        if self.pending.len() >= MOST_PENDING_BYTES {
            if let Some(file) = &mut self.file {
                file.lost_records += 1;
            }
            return false;
        }
        if anonymize == Anonymize::None {
            self.pending.record(time, record.body());
            return true;
        }
        frames.coarse.clear();
        frames.coarse.extend_from_slice(record.body());
        if let Some(message) = frames.coarse.first_chunk_mut::<MESSAGE_BYTES>() {
            anonymize.apply(message);
        }
        self.pending.record(time, &frames.coarse);
        true
    }

    pub(crate) fn wants_flush(&self) -> bool {
        self.pending.len() >= FLUSH_BYTES
    }

    /// Hands what is pending to the kernel as one block, at the end of the file. After an error it stays pending, and
    /// the file is as long as before.
    pub(crate) fn flush(&mut self, frames: &mut Frames) -> io::Result<()> {
        let Some(growing) = &mut self.file else {
            return Ok(());
        };
        if self.pending.len() == 0 {
            return Ok(());
        }
        frames.block(&self.pending, growing.bytes == 0);
        growing.append(frames)?;
        self.pending.written();
        Ok(())
    }

    /// Writes a file of which nothing is written yet as the spool shall have it.
    fn write_whole(&mut self, frames: &mut Frames) -> io::Result<()> {
        let Some(growing) = &mut self.file else {
            return Ok(());
        };
        frames.compress(&self.pending)?;
        growing.append(frames)
    }

    /// Ends the present file: writes its last line and hands it to the finisher, or holds it while the connection is not
    /// admitted. Without a present file nothing happens. Whatever fails, the next record begins the next file.
    ///
    /// Returns whether a file was handed over.
    pub(crate) fn end(
        &mut self,
        end: End,
        polls: &Polls,
        layout: &Layout,
        frames: &mut Frames,
    ) -> io::Result<bool> {
        let Some(growing) = &self.file else {
            return Ok(false);
        };
        let since = polls.since(&self.polls);
        let lost_records = growing.lost_records;
        let metadata = self.metadata();
        let whole = growing.bytes == 0;
        frames.text.clear();
        write_end(&mut frames.text, &metadata, end, Some(&since), lost_records);
        self.pending.line(&frames.text);
        let flushed = if whole {
            self.write_whole(frames)
        } else {
            self.flush(frames)
        };
        self.polls = *polls;
        self.sequence += 1;
        self.pending.restart();
        let Some(mut growing) = self.file.take() else {
            return flushed.map(|()| false);
        };
        growing.close(frames);
        if growing.bytes == 0 {
            return flushed.map(|()| false);
        }
        // A file that is as the spool shall have it says so by its name.
        let done = if whole {
            format!("{}{}", growing.name, super::finish::WHOLE)
        } else {
            growing.name.clone()
        };
        if self.admitted {
            std::fs::rename(&growing.path, layout.done_dir().join(done))?;
            return flushed.map(|()| true);
        }
        std::fs::rename(&growing.path, layout.held_dir().join(&done))?;
        self.held.push(done);
        flushed.map(|()| false)
    }

    /// Memory that this connection holds, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.pending.memory_bytes() + 5 * self.uuid.as_str().len()
    }
}
