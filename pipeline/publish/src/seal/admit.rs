//! Opens claimed files for reading, and refuses or postpones the others.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use groma_gate::{Content, Gate};
use groma_spool::FileName;

use super::Sealer;
use crate::events::Breach;
use crate::tree::Found;
use crate::{PublishError, quarantine, tree};

impl Sealer<'_> {
    /// Opens a claimed file if it may be read. Other files go to quarantine unread.
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
                "deleted by another program while it waited",
            );
            self.lane.metrics.dropped();
            return Ok(None);
        };
        if let Some(reason) = found.objection() {
            return self.refuse(file, reason).map(|()| None);
        }
        let opened = match self.shared.tree.open_file(&self.claimed, file.as_str()) {
            Ok(opened) => opened,
            // Otherwise it would block the other files.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return self.refuse(file, "it may not be read").map(|()| None);
            }
            Err(error) => return Err(failed("open")(error)),
        };
        let found = tree::look_open(&opened).map_err(failed("look at"))?;
        if found.objection().is_some() {
            // Another file got this name meanwhile; the next bundle judges it.
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

    /// Reports whether another writer has the file open, so that its bytes would be lost. If the file system cannot report
    /// that, the close event that was seen counts.
    fn is_held_open(&self, opened: &File) -> bool {
        let probe = self.shared.config.writer_probe;
        probe.is_some_and(|has_writer| has_writer(opened.as_fd()).unwrap_or(false))
    }

    /// Puts a file into quarantine that must not be read. If that fails, the other files are still published, unless the
    /// quarantine is full: then all of them wait.
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

    pub(super) fn gate(&self) -> Gate<'_> {
        Gate {
            schema: self.lane.datatype.schema.as_ref(),
            max_bytes: self.shared.config.max_json_bytes,
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

    /// Leaves a file to a later bundle because its writer still changes it, which the contract forbids.
    pub(super) fn postpone(&self, file: &FileName) {
        let detail = "changed while it was bundled; it waits for the next bundle";
        self.breach(Breach::Changed, file, detail);
        self.lane.backlog.postpone(self.date);
    }
}
