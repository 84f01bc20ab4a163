//! The file of one connection while it grows.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use groma_diag::Record;
use groma_uuid::Uuid;
use jiff::Timestamp;
use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

use super::layout::Layout;
use crate::record::{
    Anonymize, End, LineTime, Metadata, Polls, write_end, write_header, write_record,
};

/// A file's lines are compressed and handed to the kernel when they have this much, and at least every second.
pub(crate) const FLUSH_BYTES: usize = 16 * 1024;
/// While the disk takes nothing, lines beyond this are dropped and counted.
const MOST_PENDING_BYTES: usize = 32 * 1024;
/// Of what stands in the middle of a file: fast, because the finisher compresses the whole file once more.
const MIDDLE_LEVEL: i32 = -3;
/// Of a file that is written in one piece: final.
const WHOLE_LEVEL: i32 = 3;
/// Files are held open up to this share of what the process may open, which saves two system calls in every flush.
const SHARE_OF_DESCRIPTORS: u64 = 2;

/// What all files share: a compressor for each purpose, for every flush is a frame of its own, and descriptors.
pub(crate) struct Frames {
    middle: Compressor<'static>,
    whole: Compressor<'static>,
    frame: Vec<u8>,
    descriptors: usize,
}

impl Frames {
    pub(crate) fn new() -> io::Result<Self> {
        let compressor = |level| {
            let mut compressor = Compressor::new(level)?;
            compressor.set_parameter(CParameter::ChecksumFlag(true))?;
            Ok::<_, io::Error>(compressor)
        };
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Ok(Self {
            middle: compressor(MIDDLE_LEVEL)?,
            whole: compressor(WHOLE_LEVEL)?,
            frame: Vec::with_capacity(compress_bound(2 * MOST_PENDING_BYTES)),
            descriptors: (limit.unwrap_or(u64::MAX) / SHARE_OF_DESCRIPTORS) as usize,
        })
    }

    fn compress(&mut self, bytes: &[u8], whole: bool) -> io::Result<&[u8]> {
        self.frame.clear();
        self.frame.reserve(compress_bound(bytes.len()));
        let compressor = if whole {
            &mut self.whole
        } else {
            &mut self.middle
        };
        compressor.compress_to_buffer(bytes, &mut self.frame)?;
        Ok(&self.frame)
    }
}

/// A connection's present file. It begins with its first snapshot.
pub(crate) struct Output {
    pub(crate) uuid: Uuid,
    pub(crate) cookie: u64,
    start: Timestamp,
    /// Of the present file, or of the next when there is none.
    sequence: u32,
    file: Option<Growing>,
    /// Kept between files, for its memory.
    pending: Vec<u8>,
    polls: Polls,
}

struct Growing {
    name: String,
    /// Kept, so that a flush allocates nothing.
    path: PathBuf,
    began: Instant,
    /// Bytes in the file, 0 when it does not exist yet.
    bytes: u64,
    frames: u32,
    lost_records: u64,
    open: Option<File>,
}

impl Growing {
    /// Appends the frame that was compressed last, or leaves the file as it was.
    fn append(&mut self, frames: &mut Frames) -> io::Result<()> {
        let mut file = match self.open.take() {
            Some(file) => {
                frames.descriptors += 1;
                file
            }
            None => OpenOptions::new()
                .append(true)
                .create(true)
                .open(&self.path)?,
        };
        if let Err(error) = file.write_all(&frames.frame) {
            // Half a frame in the middle would cut off all that follows, and an empty file is no file.
            if self.bytes > 0 {
                file.set_len(self.bytes)?;
            } else {
                std::fs::remove_file(&self.path)?;
            }
            return Err(error);
        }
        self.bytes += frames.frame.len() as u64;
        self.frames += 1;
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
    ) -> Self {
        Self {
            uuid,
            cookie,
            start,
            sequence,
            file: None,
            pending: Vec::new(),
            polls,
        }
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
    pub(crate) fn begin(&mut self, time: Timestamp, now: Instant, dir: &Path) {
        let name = Layout::work_name(&self.uuid, self.sequence, time);
        self.file = Some(Growing {
            path: dir.join(&name),
            name,
            began: now,
            bytes: 0,
            frames: 0,
            lost_records: 0,
            open: None,
        });
        self.pending.clear();
        let metadata = self.metadata();
        write_header(&mut self.pending, &metadata);
    }

    /// When the present file began.
    pub(crate) fn began(&self) -> Option<Instant> {
        self.file.as_ref().map(|file| file.began)
    }

    /// Adds a snapshot to the file that [`Output::begin`] began. Returns whether there was room.
    pub(crate) fn record(
        &mut self,
        time: &LineTime,
        record: Record<'_>,
        anonymize: Anonymize,
    ) -> bool {
        if self.pending.len() >= MOST_PENDING_BYTES {
            if let Some(file) = &mut self.file {
                file.lost_records += 1;
            }
            return false;
        }
        write_record(&mut self.pending, time, record, anonymize);
        true
    }

    pub(crate) fn wants_flush(&self) -> bool {
        self.pending.len() >= FLUSH_BYTES
    }

    /// Hands the pending lines to the kernel as one frame, at the end of the file. After an error they stay pending,
    /// and the file is as long as before.
    pub(crate) fn flush(&mut self, frames: &mut Frames) -> io::Result<()> {
        self.flush_frame(frames, false)
    }

    fn flush_frame(&mut self, frames: &mut Frames, last: bool) -> io::Result<()> {
        let Some(growing) = &mut self.file else {
            return Ok(());
        };
        if self.pending.is_empty() {
            return Ok(());
        }
        frames.compress(&self.pending, last && growing.frames == 0)?;
        growing.append(frames)?;
        self.pending.clear();
        Ok(())
    }

    /// Ends the present file: writes its last line and hands it to the finisher. Without one nothing happens.
    /// Whatever fails, the next record begins the next file.
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
        write_end(
            &mut self.pending,
            &metadata,
            end,
            Some(&since),
            lost_records,
        );
        let flushed = self.flush_frame(frames, true);
        self.polls = *polls;
        self.sequence += 1;
        self.pending.clear();
        let Some(mut growing) = self.file.take() else {
            return flushed.map(|()| false);
        };
        growing.close(frames);
        if growing.bytes == 0 {
            return flushed.map(|()| false);
        }
        // A file that is one complete frame needs no second compression, and says so by its name.
        let whole = flushed.is_ok() && growing.frames == 1;
        let done = layout.done_dir().join(if whole {
            format!("{}{}", growing.name, super::finish::WHOLE)
        } else {
            growing.name.clone()
        });
        std::fs::rename(&growing.path, done)?;
        flushed.map(|()| true)
    }

    /// Memory that this connection holds, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.pending.capacity() + 5 * self.uuid.as_str().len()
    }
}
