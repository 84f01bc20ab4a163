//! Building the bodies of a bundle of JSON lines.

use std::io;
use std::path::Path;

use groma_gate::{Content, Extent, Judged};
use groma_spool::FileName;
use jiff::Timestamp;

use super::output::{close, create};
use super::{Built, Changed, Sealer};
use crate::PublishError;
use crate::seal::bundle::{Columns, JsonlWriter};
use crate::seal::journal::Member;
use crate::tree::Found;

impl Sealer<'_> {
    pub(super) fn build_jsonl(
        &self,
        dir: &Path,
        names: &[String],
        files: &[FileName],
        moment: Timestamp,
    ) -> Result<Result<Built, Changed>, PublishError> {
        const BODIES: [&str; 2] = ["data.jsonl.gz", "index1.jsonl.gz"];
        let paths = BODIES.map(|body| dir.join(body));
        let config = &self.shared.config;
        let columns = Columns {
            date: self.date.to_string(),
            version: config.version.clone(),
            git_commit: config.git_commit.clone(),
            archive_url: self.shared.store.url(&names[0]),
        };
        let mut writer = JsonlWriter::new(
            create(&config.disk, &paths[0])?,
            create(&config.disk, &paths[1])?,
            columns,
        );
        let mut members = Vec::new();
        let spool = std::path::absolute(config.spool.path())
            .map_err(PublishError::io("resolve", config.spool.path()))?;
        let mut kept = Vec::new();
        for file in files {
            let Some((opened, found)) = self.admit(file)? else {
                continue;
            };
            let content = self.content(file, &opened, &found);
            let Some((judged, extent)) = self.judge(file, &content, &found, &mut kept)? else {
                continue;
            };
            let path = self.spool_path(file).to_string();
            let filename = spool.join(&path).to_string_lossy().into_owned();
            let mut is_same = true;
            let copied: io::Result<()> = writer.add(&filename, moment, |line| {
                is_same = content.copy_line(&judged, extent, &kept, line)?;
                Ok(())
            });
            // If another program writes to the file, the line may be incomplete.
            if !self.unchanged(&opened, &found)? || !is_same {
                return Ok(Err(Changed(file.clone())));
            }
            copied.map_err(PublishError::io("write bundle", &paths[0]))?;
            members.push(Member {
                path,
                name: filename,
                sha256: judged.sha256,
                size_bytes: found.identity.size_bytes,
                seen: Some(found.identity),
            });
        }
        let (data, index) = writer
            .finish()
            .map_err(PublishError::io("write bundle", &paths[0]))?;
        let objects = vec![
            close(data, &names[0], BODIES[0], &paths[0])?,
            close(index, &names[1], BODIES[1], &paths[1])?,
        ];
        Ok(Ok((objects, members)))
    }

    /// Reads a file for the first time. Returns `None` if it was put into quarantine, or postponed because it is changing.
    fn judge(
        &self,
        file: &FileName,
        content: &Content<'_>,
        found: &Found,
        kept: &mut Vec<u8>,
    ) -> Result<Option<(Judged, Extent)>, PublishError> {
        let limit = self.shared.config.max_json_bytes;
        if found.identity.size_bytes > limit {
            let reason = format!("it has more than {limit} bytes");
            return self
                .quarantine(file, Some(content.file), &reason)
                .map(|()| None);
        }
        let judged = content
            .judge(self.gate(), kept)
            .map_err(PublishError::io("read", Path::new(file.as_str())))?;
        if judged.size_bytes != found.identity.size_bytes || !self.unchanged(content.file, found)? {
            self.postpone(file);
            return Ok(None);
        }
        match &judged.verdict {
            Ok(extent) => {
                let extent = *extent;
                Ok(Some((judged, extent)))
            }
            Err(reason) => self
                .quarantine(file, Some(content.file), reason)
                .map(|()| None),
        }
    }
}
