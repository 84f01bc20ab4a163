//! Which claimed files may be read, and what happens to the others.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::path::Path;

use groma_disk::Disk;
use groma_spool::FileName;

use super::Sealer;
use super::content::Content;
use crate::events::Breach;
use crate::tree::Found;
use crate::{PublishError, quarantine, tree};

impl Sealer<'_> {
    /// Opens a claimed file if it is one that may be read; other things go to quarantine unread.
    pub(super) fn admit(&self, file: &FileName) -> Result<Option<(File, Found)>, PublishError> {
        let failed = |operation| PublishError::io(operation, Path::new(file.as_str()));
        let Some(found) = self
            .shared
            .tree
            .look(&self.claimed, file.as_str())
            .map_err(failed("look at"))?
        else {
            self.breach(
                Breach::Deleted,
                file,
                "deleted by somebody else while it waited",
            );
            self.lane.metrics.dropped();
            return Ok(None);
        };
        if let Some(reason) = found.objection() {
            return self.refuse(file, reason).map(|()| None);
        }
        let opened = match self.shared.tree.open_file(&self.claimed, file.as_str()) {
            Ok(opened) => opened,
            // It would hold up the others for ever.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return self.refuse(file, "it may not be read").map(|()| None);
            }
            Err(error) => return Err(failed("open")(error)),
        };
        let found = tree::look_open(&opened).map_err(failed("look at"))?;
        if found.objection().is_some() {
            // Between the look and the opening somebody put another thing there; the next bundle judges it.
            self.postpone(file);
            return Ok(None);
        }
        if self.is_held_open(&opened) {
            let detail = "open for writing after it was closed; it waits for the next bundle";
            self.breach(Breach::Reopened, file, detail);
            self.lane.backlog.postpone(self.date);
            return Ok(None);
        }
        Ok(Some((opened, found)))
    }

    /// Whether a second writer has the file open, whose words would be lost with it. Where nothing can tell, the
    /// closing that was seen counts.
    fn is_held_open(&self, opened: &File) -> bool {
        let probe = self.shared.config.writer_probe;
        probe.is_some_and(|has_writer| has_writer(opened.as_fd()).unwrap_or(false))
    }

    /// Sends a file to quarantine that is not to be read. Whoever put it there must not be able to stop the others by
    /// making even this fail, unless it is room that is missing: for that everything waits.
    fn refuse(&self, file: &FileName, reason: &str) -> Result<(), PublishError> {
        match self.quarantine(file, None, reason) {
            Err(error) if !matches!(error, PublishError::QuarantineFull { .. }) => {
                self.lane.metrics.error("quarantine");
                tracing::warn!(file = %self.spool_path(file), reason, %error, "left among the claimed files");
                Ok(())
            }
            done => done,
        }
    }

    pub(super) fn unchanged(&self, opened: &File, before: &Found) -> Result<bool, PublishError> {
        let now = tree::look_open(opened).map_err(PublishError::io(
            "look at a file of",
            self.shared.tree.path(),
        ))?;
        Ok(now.holds_still(before))
    }

    pub(super) fn content<'a>(
        &'a self,
        file: &FileName,
        opened: &'a File,
        found: &Found,
    ) -> Content<'a> {
        Content {
            file: opened,
            size_bytes: found.identity.size_bytes,
            is_packed: file.as_str().ends_with(".gz"),
            disk: &self.shared.config.disk,
        }
    }

    pub(super) fn quarantine(
        &self,
        file: &FileName,
        opened: Option<&File>,
        reason: &str,
    ) -> Result<(), PublishError> {
        quarantine::put(
            self.shared,
            self.lane,
            &self.claimed,
            &self.spool_path(file),
            opened,
            reason,
        )
    }

    fn breach(&self, breach: Breach, file: &FileName, detail: &str) {
        self.shared
            .breach(breach, &self.spool_path(file).to_string(), detail);
    }

    /// Leaves a file to a later bundle because its writer is not done with it, against the contract.
    pub(super) fn postpone(&self, file: &FileName) {
        let detail = "changed while it was bundled; it waits for the next bundle";
        self.breach(Breach::Changed, file, detail);
        self.lane.backlog.postpone(self.date);
    }
}

/// A reader that ends for good where it cannot read on, so that a file on a bad sector is taken for one that is too
/// short: it waits for a later bundle instead of holding up this one.
pub(super) struct UntilError<'a, R> {
    reader: R,
    disk: &'a Disk,
    has_failed: bool,
}

impl<'a, R> UntilError<'a, R> {
    pub(super) fn new(reader: R, disk: &'a Disk) -> UntilError<'a, R> {
        UntilError {
            reader,
            disk,
            has_failed: false,
        }
    }
}

impl<R: Read> Read for UntilError<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.has_failed {
            return Ok(0);
        }
        match self.disk.reading().and_then(|()| self.reader.read(buffer)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                tracing::error!(%error, "could not read on in a claimed file");
                self.has_failed = true;
                Ok(0)
            }
            result => result,
        }
    }
}
