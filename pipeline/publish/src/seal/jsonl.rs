//! Building the bodies of a bundle of JSON lines.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use groma_spool::FileName;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::admit::UntilError;
use super::output::{close, create};
use super::{Built, Sealer};
use crate::bundle::{Columns, JsonlWriter};
use crate::files::hex;
use crate::journal::Member;
use crate::tree::Found;
use crate::{PublishError, json};

impl Sealer<'_> {
    pub(super) fn build_jsonl(
        &self,
        dir: &Path,
        names: &[String],
        files: &[FileName],
        moment: Timestamp,
    ) -> Result<Built, PublishError> {
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
        for file in files {
            let Some((opened, found)) = self.admit(file)? else {
                continue;
            };
            let Some(bytes) = self.read_whole(file, &opened, &found)? else {
                continue;
            };
            let text = match self.judge(file, &bytes) {
                Ok(text) => text,
                Err(reason) => {
                    self.quarantine(file, Some(&opened), &reason)?;
                    continue;
                }
            };
            let path = self.spool_path(file).to_string();
            let filename = spool.join(&path).to_string_lossy().into_owned();
            writer
                .add(&filename, &json::one_line(&text), moment)
                .map_err(PublishError::io("write bundle", &paths[0]))?;
            members.push(Member {
                path,
                name: filename,
                sha256: hex(&Sha256::digest(&bytes)),
                identity: found.identity,
            });
        }
        let (data, index) = writer
            .finish()
            .map_err(PublishError::io("write bundle", &paths[0]))?;
        let objects = vec![
            close(data, &names[0], BODIES[0], &paths[0])?,
            close(index, &names[1], BODIES[1], &paths[1])?,
        ];
        Ok((objects, members))
    }

    /// The bytes of a file; `None` if it is too large, and now in quarantine, or is still changing, and postponed.
    fn read_whole(
        &self,
        file: &FileName,
        opened: &File,
        found: &Found,
    ) -> Result<Option<Vec<u8>>, PublishError> {
        let (size_bytes, limit) = (found.identity.size_bytes, self.shared.config.max_json_bytes);
        if size_bytes > limit {
            let reason = format!("it has more than {limit} bytes");
            return self.quarantine(file, Some(opened), &reason).map(|()| None);
        }
        let mut bytes = Vec::with_capacity(size_bytes as usize);
        let read = UntilError(opened, &self.shared.config.disk)
            .take(size_bytes)
            .read_to_end(&mut bytes);
        read.map_err(PublishError::io("read", Path::new(file.as_str())))?;
        if bytes.len() as u64 == size_bytes && self.unchanged(opened, found)? {
            return Ok(Some(bytes));
        }
        self.postpone(file);
        Ok(None)
    }

    /// The text of a file that may be published, or why it may not.
    fn judge<'b>(&self, file: &FileName, bytes: &'b [u8]) -> Result<Cow<'b, str>, String> {
        let text = json::text(file.as_str(), bytes, self.shared.config.max_json_bytes)?;
        json::check(&text, self.lane.datatype.schema.as_ref())?;
        Ok(text)
    }
}
