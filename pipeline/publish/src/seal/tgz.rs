//! Building the body of a tar bundle.

use std::fs::File;
use std::io::Seek as _;
use std::path::Path;

use groma_gate::{Gate, UntilError};
use groma_spool::FileName;

use super::output::{close, create};
use super::{Built, Changed, Sealer};
use crate::PublishError;
use crate::seal::bundle::{Entry, TgzError, TgzWriter};
use crate::seal::journal::Member;
use crate::tree::Found;

/// Ends of the names of files that no compression makes smaller.
const PACKED: [&str; 6] = [".gz", ".tgz", ".zst", ".xz", ".bz2", ".zip"];

impl Sealer<'_> {
    pub(super) fn build_tgz(
        &self,
        dir: &Path,
        names: &[String],
        files: &[FileName],
    ) -> Result<Result<Built, Changed>, PublishError> {
        const BODY: &str = "data.tgz";
        let path = dir.join(BODY);
        let mut records = self.shared.config.metadata.clone();
        records.push((
            "MLAB.datatype".to_owned(),
            self.lane.datatype.name.to_string(),
        ));
        let mut writer = TgzWriter::new(create(&self.shared.config.disk, &path)?, &records);
        let mut kept = Vec::new();
        let mut members = Vec::new();
        for file in files {
            let Some((bytes, found)) = self.admit(file)? else {
                continue;
            };
            let spool_path = self.spool_path(file);
            match self.objection_to(file, &bytes, &found, &mut kept)? {
                Ok(None) => {}
                Ok(Some(reason)) => {
                    self.quarantine(file, Some(&bytes), &reason)?;
                    continue;
                }
                Err(changed) => return Ok(Err(changed)),
            }
            let name = spool_path.member_name();
            let entry = Entry {
                name: &name,
                size_bytes: found.identity.size_bytes,
                mtime_s: found.identity.mtime_s,
                is_packed: PACKED.iter().any(|end| file.as_str().ends_with(end)),
            };
            let sha256 = match writer.add(entry, UntilError::new(&bytes, &self.shared.config.disk))
            {
                Ok(sha256) if self.unchanged(&bytes, &found)? => sha256,
                Ok(_) | Err(TgzError::Short) => return Ok(Err(Changed(file.clone()))),
                Err(TgzError::Io(error)) => {
                    return Err(PublishError::io("write bundle", &path)(error));
                }
            };
            members.push(Member {
                path: spool_path.to_string(),
                name,
                sha256,
                size_bytes: found.identity.size_bytes,
                seen: Some(found.identity),
            });
        }
        let out = writer
            .finish()
            .map_err(PublishError::io("write bundle", &path))?;
        Ok(Ok((vec![close(out, &names[0], BODY, &path)?], members)))
    }

    /// Returns the reason not to archive a file: it is too large, or it should be JSON by its name and the datatype's schema and is
    /// not.
    fn objection_to(
        &self,
        file: &FileName,
        opened: &File,
        found: &Found,
        kept: &mut Vec<u8>,
    ) -> Result<Result<Option<String>, Changed>, PublishError> {
        let config = &self.shared.config;
        if found.identity.size_bytes > config.max_file_bytes {
            let limit = config.max_file_bytes;
            return Ok(Ok(Some(format!("it has more than {limit} bytes"))));
        }
        let name = file.as_str();
        let text_name = name.strip_suffix(".gz").unwrap_or(name);
        if self.lane.datatype.schema.is_none() || text_name.strip_suffix(".json").is_none() {
            return Ok(Ok(None));
        }
        let gate = Gate {
            schema: None,
            ..self.gate()
        };
        let judged = self
            .content(file, opened, found)
            .judge(gate, kept)
            .map_err(PublishError::io("read", Path::new(name)))?;
        let mut opened = opened;
        opened
            .rewind()
            .map_err(PublishError::io("read", Path::new(name)))?;
        // Half of a text that is still being written is not JSON.
        let is_whole = judged.size_bytes == found.identity.size_bytes;
        Ok(if is_whole && self.unchanged(opened, found)? {
            Ok(judged.verdict.err())
        } else {
            Err(Changed(file.clone()))
        })
    }
}
