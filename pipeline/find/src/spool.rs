//! Files by name, in the spool and among the claimed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{FindError, Stage};

/// Where the publisher keeps what it took, in an experiment's spool.
const CLAIMED_DIR: &str = ".claimed";

/// Deepest directory below a datatype: `YYYY/MM/DD`.
const DEPTH: usize = 3;

pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) stage: Stage,
}

/// Finds a file named for `uuid` in any experiment's spool, of a datatype that is wanted.
pub(crate) fn find(
    spool: &Path,
    uuid: &str,
    wanted: fn(&str) -> bool,
) -> Result<Option<Found>, FindError> {
    for experiment in directories(spool)? {
        // A file moves from the first to the second; looked at in this order it cannot slip through between them.
        for (dir, stage) in [
            (experiment.clone(), Stage::Pending),
            (experiment.join(CLAIMED_DIR), Stage::Claimed),
        ] {
            for datatype in directories(&dir)? {
                let name = datatype.file_name().and_then(|name| name.to_str());
                if !name.is_some_and(wanted) {
                    continue;
                }
                if let Some(path) = find_below(&datatype, uuid, DEPTH)? {
                    return Ok(Some(Found { path, stage }));
                }
            }
        }
    }
    Ok(None)
}

fn find_below(dir: &Path, uuid: &str, depth: usize) -> Result<Option<PathBuf>, FindError> {
    let (directories, files) = entries(dir)?;
    let named = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| is_named_for(name, uuid))
    };
    if let Some(path) = files.into_iter().find(named) {
        return Ok(Some(path));
    }
    if depth == 0 {
        return Ok(None);
    }
    for directory in directories {
        if let Some(path) = find_below(&directory, uuid, depth - 1)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Whether a file name holds `uuid` between dots: `ndt7-download-<time>.<uuid>.json`, `<uuid>.00000.jsonl.zst`.
pub(crate) fn is_named_for(name: &str, uuid: &str) -> bool {
    name.match_indices(uuid).any(|(at, _)| {
        let (before, after) = (&name[..at], &name[at + uuid.len()..]);
        (before.is_empty() || before.ends_with('.')) && (after.is_empty() || after.starts_with('.'))
    })
}

/// The directories in `dir` that are not hidden, last name (newest date) first; none when it does not exist.
pub(crate) fn directories(dir: &Path) -> Result<Vec<PathBuf>, FindError> {
    Ok(entries(dir)?.0)
}

/// Directories and files in `dir`, hidden ones left out, last name first; none when it does not exist (any more).
pub(crate) fn entries(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), FindError> {
    let read = match fs::read_dir(dir) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(FindError::io("list", dir)(error)),
    };
    let (mut directories, mut files) = (Vec::new(), Vec::new());
    for entry in read {
        let entry = entry.map_err(FindError::io("list", dir))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => directories.push(entry.path()),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            // Links and devices are none of ours; what vanished meanwhile was moved on.
            _ => {}
        }
    }
    directories.sort_unstable_by(|a, b| b.cmp(a));
    files.sort_unstable_by(|a, b| b.cmp(a));
    Ok((directories, files))
}

#[cfg(test)]
mod tests {
    use super::is_named_for;

    #[test]
    fn a_uuid_stands_between_dots() {
        let uuid = "ndt-a_1583603744_00000000000058E8";
        for name in [
            format!("ndt7-upload-20200318T000643.98Z.{uuid}.json"),
            format!("{uuid}.00000.jsonl.zst"),
            uuid.to_owned(),
        ] {
            assert!(is_named_for(&name, uuid), "{name}");
        }
        for name in [
            format!("x{uuid}.json"),
            format!("a.{uuid}0.json"),
            "a.json".to_owned(),
        ] {
            assert!(!is_named_for(&name, uuid), "{name}");
        }
    }
}
