//! The archive, the loader and the lake of a lab.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use groma_archive::{LocalStore, Location, Store, open_to_put};
use groma_compose::loaded_datatypes;
use groma_lake::{Settings, keep};
use groma_lake_store::LakeStore;
use groma_load::{Lake, LoadDatatype, LoadError, Loader};
use groma_manifest::Manifest;
use groma_sidecar::Sidecar;

use crate::{LabConfig, LabDirs, LabError};

/// Opens the archive, and returns its directory if it is one.
pub(crate) fn archive(
    config: &LabConfig,
    dirs: &LabDirs,
) -> Result<(Arc<dyn Store>, Option<PathBuf>), LabError> {
    let Some(url) = &config.archive else {
        let dir = dirs.archive();
        return Ok((Arc::new(LocalStore::open(&dir)?), Some(dir)));
    };
    let dir = match Location::parse(url)? {
        Location::Directory(dir) => Some(dir),
        _ => None,
    };
    Ok((open_to_put(url, config.weak_store)?, dir))
}

/// Returns the loader of all experiments.
pub(crate) fn loader<'a>(
    manifests: impl Iterator<Item = &'a Manifest>,
    sidecars: &[Box<dyn Sidecar>],
    lake: &LakeStore,
    store: Arc<dyn Store>,
    archive_dir: Option<PathBuf>,
) -> Loader {
    let datatypes: Vec<LoadDatatype> = manifests
        .flat_map(|manifest| loaded_datatypes(manifest, sidecars))
        .collect();
    let loader = Loader::new(store, Lake::new(lake.clone()), datatypes);
    match archive_dir {
        Some(dir) => loader.watching(dir),
        None => loader,
    }
}

/// How long a stopping lab loads the objects that were archived last.
const LAST_LOADS: Duration = Duration::from_secs(20);

/// How often the lake is compacted and sealed.
const KEEP_EVERY: Duration = Duration::from_mins(1);

/// Loads the objects that were archived while the lab stopped, for a limited time: the next start loads the rest.
pub(crate) fn load_the_last(loader: &Loader) -> Result<(), LoadError> {
    let end = Instant::now() + LAST_LOADS;
    if loader.sweep_while("", || Instant::now() < end)?.ended_early {
        tracing::warn!("archived objects are left; the next start loads them");
    }
    Ok(())
}

/// Returns the archive that decides whether a date of the lake is complete. A lake that is not the lab's own also has rows from
/// other archives, so this one cannot decide about it.
pub(crate) fn archive_of_lake(
    config: &LabConfig,
    archive: &Arc<dyn Store>,
) -> Option<Arc<dyn Store>> {
    config.lake.is_none().then(|| Arc::clone(archive))
}

/// Compacts and seals the lake that the lab writes to, and writes its index, until `stop` is set.
pub(crate) fn keep_lake(lake: LakeStore, archive: Option<&dyn Store>, stop: &AtomicBool) {
    let settings = Settings::default();
    keep(lake, &settings, archive, KEEP_EVERY, stop, &mut |_| {});
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labs_archive_makes_only_the_labs_own_lake_complete() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = LabConfig::new(dir.path());
        let (store, _) = archive(&config, &LabDirs::new(dir.path())).unwrap();
        assert!(archive_of_lake(&config, &store).is_some());
        config.lake = Some(dir.path().join("others").into());
        assert!(archive_of_lake(&config, &store).is_none());
    }
}
