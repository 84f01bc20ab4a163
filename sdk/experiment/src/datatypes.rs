//! The schema files of the datatypes, beside the experiment's directory.

use std::fs;
use std::path::{Path, PathBuf};

use groma_disk::{Replace, create_dirs_durable, write_durable};
use groma_manifest::Datatype;

use crate::SetupError;

/// Writes each schema to `<spool>/datatypes/<datatype>.json`, M-Lab's location for schemas, if the file is
/// missing or differs.
pub(crate) fn write_schemas(data_dir: &Path, datatypes: &[Datatype]) -> Result<(), SetupError> {
    let spool = spool_of(data_dir)?;
    let dir = spool.join("datatypes");
    create_dirs_durable(&spool, &dir).map_err(|source| SetupError::Schema {
        path: dir.clone(),
        source,
    })?;
    for datatype in datatypes {
        let path = dir.join(format!("{}.json", datatype.name));
        let text = datatype.schema_text.as_bytes();
        if fs::read(&path).is_ok_and(|found| found == text) {
            continue;
        }
        write_durable(&path, text, Replace::Always)
            .map_err(|source| SetupError::Schema { path, source })?;
    }
    Ok(())
}

fn spool_of(data_dir: &Path) -> Result<PathBuf, SetupError> {
    let alone = || SetupError::NoSpool(data_dir.to_owned());
    let spool = data_dir.parent().ok_or_else(alone)?;
    // A bare name has an empty parent, which cannot be opened.
    let spool = Some(spool).filter(|dir| !dir.as_os_str().is_empty());
    Ok(spool.unwrap_or(Path::new(".")).to_owned())
}
