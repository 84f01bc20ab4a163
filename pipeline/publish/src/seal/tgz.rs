//! Building the body of a tar bundle.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use groma_spool::FileName;

use super::admit::UntilError;
use super::output::{close, create};
use super::{Built, Changed, Sealer};
use crate::bundle::{Entry, TgzError, TgzWriter};
use crate::journal::Member;
use crate::tree::Found;
use crate::{PublishError, json};

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
        let packed = files.iter().all(|file| {
            [".gz", ".zst", ".tgz"]
                .iter()
                .any(|end| file.as_str().ends_with(end))
        });
        let mut writer = TgzWriter::new(create(&self.shared.config.disk, &path)?, &records, packed);
        let mut members = Vec::new();
        for file in files {
            let Some((bytes, found)) = self.admit(file)? else {
                continue;
            };
            let spool_path = self.spool_path(file);
            if let Some(reason) = self.objection_to_json(file, &bytes, &found)? {
                self.quarantine(file, Some(&bytes), &reason)?;
                continue;
            }
            let name = spool_path.member_name();
            let entry = Entry {
                name: &name,
                size_bytes: found.identity.size_bytes,
                mtime_s: found.identity.mtime_s,
            };
            let sha256 = match writer.add(entry, UntilError(&bytes, &self.shared.config.disk)) {
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
                identity: found.identity,
            });
        }
        let out = writer
            .finish()
            .map_err(PublishError::io("write bundle", &path))?;
        Ok(Ok((vec![close(out, &names[0], BODY, &path)?], members)))
    }

    /// With a schema, `.json` members of a tar file must at least be JSON.
    fn objection_to_json(
        &self,
        file: &FileName,
        opened: &File,
        found: &Found,
    ) -> Result<Option<String>, PublishError> {
        let name = file.as_str();
        let unpacked_name = name.strip_suffix(".gz");
        let packed = unpacked_name.is_some();
        let is_json = unpacked_name
            .unwrap_or(name)
            .strip_suffix(".json")
            .is_some();
        if self.lane.datatype.schema.is_none() || !is_json {
            return Ok(None);
        }
        let limit = self.shared.config.max_json_bytes;
        let bytes = BufReader::new(opened).take(found.identity.size_bytes);
        let verdict = if packed {
            json::well_formed_within(MultiGzDecoder::new(bytes), limit)
        } else {
            json::well_formed_within(bytes, limit)
        };
        let mut opened = opened;
        opened
            .rewind()
            .map_err(PublishError::io("read", Path::new(name)))?;
        Ok(verdict.err())
    }
}
