//! The directory of a copy: marked with the identity of its lake, and locked by one process at a time.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use groma_lake_store::LakeStore;

use crate::LakeError;
use crate::table::Table;

/// The file of a copy that contains the identity of its lake. The copying process locks it.
const MARK: &str = ".mirror-of";

/// A copy that this pass alone works on.
pub(super) struct Place {
    pub(super) store: LakeStore,
    /// Locked until it is closed.
    _mark: File,
}

/// Marks the directory as a copy of this lake, so that no other lake is overwritten, and waits until no other process works on
/// it.
pub(super) fn claim(lake: &LakeStore, copy: &Path) -> Result<Place, LakeError> {
    let identity = lake
        .identity()
        .map_err(LakeError::io("look for", lake.root()))?;
    let is_new = !copy.exists();
    fs::create_dir_all(copy).map_err(LakeError::io("create", copy))?;
    let root = copy
        .canonicalize()
        .map_err(LakeError::io("look for", copy))?;
    if overlaps(lake, &root) {
        if is_new {
            // This call created the directory, and it is empty.
            let _ = fs::remove_dir(&root);
        }
        return Err(LakeError::Overlaps {
            path: root,
            lake: identity,
        });
    }
    let store = LakeStore::from(&root);
    let path = root.join(MARK);
    if !path.exists() && Table::all(store.clone())?.is_empty() {
        match store.create(&path, identity.as_bytes()) {
            // Another pass was as fast; it is asked below what it copies.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result.map_err(LakeError::io("write", &path))?,
        }
    }
    match fs::read(&path) {
        Ok(text) if text == identity.as_bytes() => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(LakeError::io("read", path)(error));
        }
        _ => {
            return Err(LakeError::NotACopy {
                path: root,
                lake: identity,
            });
        }
    }
    // Some network file systems lock only what may be written.
    let mark = File::options().read(true).write(true).open(&path);
    let mark = mark.map_err(LakeError::io("open", &path))?;
    if mark.try_lock().is_err() {
        tracing::info!(copy = %root.display(), "another pass copies there; waiting for it");
        mark.lock().map_err(LakeError::io("lock", path))?;
    }
    Ok(Place { store, _mark: mark })
}

/// Whether one of them is in the other: a pass would then take the lake's own rows for old ones of the copy.
fn overlaps(lake: &LakeStore, copy: &Path) -> bool {
    let lake = (!lake.is_bucket()).then(|| lake.root().canonicalize());
    lake.and_then(Result::ok)
        .is_some_and(|lake| lake.starts_with(copy) || copy.starts_with(&lake))
}
