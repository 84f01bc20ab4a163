//! The stages of the pipeline, each configured from the experiment's manifest.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use groma_archive::{LocalStore, Location, Store, open_to_put};
use groma_lake::{Settings, keep};
use groma_lake_store::LakeStore;
use groma_load::{Lake, LoadDatatype, LoadError, Loader};
use groma_manifest::{BundleForm, Manifest};
use groma_names::Node;
use groma_publish::{Config, DatatypeConfig, Form, RestartablePublisher};
use groma_schema::Schema;
use groma_service::{Lifecycle, Registries};
use groma_spool::{ExperimentDir, Name};

use crate::{LabConfig, LabDirs, LabError};

/// The manifest of the experiment that ships with Groma: ndt7.
pub fn built_in_manifest() -> Result<Manifest, LabError> {
    Ok(groma_ndt7::manifest()?)
}

/// The manifest of an experiment whose connections are recorded: its policy says so, and has a higher version.
pub fn with_recorder(manifest: Manifest) -> Result<Manifest, LabError> {
    Ok(manifest.attach(&[groma_tcp_info::sidecar()])?)
}

/// The archive, and where it is a directory.
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

/// The publisher of an experiment in a lab.
pub(crate) fn publisher(
    manifest: &Manifest,
    config: &LabConfig,
    dirs: &LabDirs,
    store: Arc<dyn Store>,
    registries: Registries,
    lifecycle: &Lifecycle,
) -> Result<RestartablePublisher, LabError> {
    let name = manifest.name.as_str();
    let spool = ExperimentDir::open(dirs.experiment(name), manifest.name.clone())?;
    let mut publish = Config::new(spool, dirs.publish_state(name), Node::third_party());
    publish.organization = Some("lab".to_owned());
    publish.flush_age = config.flush_age;
    publish.flush_bytes = config.flush_bytes;
    publish.reserve_bytes = config.reserve_bytes;
    publish.lifecycle = Some(lifecycle.clone());
    // Every writer of a lab renames finished files into place.
    publish.settle = std::time::Duration::ZERO;
    publish.datatypes = published_datatypes(manifest, config.form);
    publish.metadata = bundle_metadata(manifest, &Node::third_party().to_string());
    Ok(RestartablePublisher::open(publish, store, registries)?)
}

/// The datatypes that the connection recorder writes beside the results of every experiment: connections of admitted tests, and rows
/// about all others.
const RECORDED: [&str; 2] = ["tcpinfo", "unadmitted"];

/// The datatypes of an experiment as the publisher takes them, bundled in `form` or else as the manifest says, and
/// those of the sidecars.
pub fn published_datatypes(manifest: &Manifest, form: Option<Form>) -> Vec<DatatypeConfig> {
    let recorded = RECORDED.map(|name| DatatypeConfig {
        name: datatype(name),
        // Files of many lines: only a tar archive can hold them.
        form: Form::Tgz,
        schema: None,
    });
    let own = manifest.datatypes.iter().map(|datatype| DatatypeConfig {
        name: datatype.name.clone(),
        form: form.unwrap_or(match datatype.bundle {
            BundleForm::Tgz => Form::Tgz,
            BundleForm::Jsonl => Form::Jsonl,
        }),
        schema: Some(datatype.schema.clone()),
    });
    own.chain(recorded).collect()
}

fn datatype(name: &str) -> Name {
    name.parse().expect("a lower-case word is a datatype")
}

/// Returns the origin of every member of a bundle, as M-Lab's pusher has it; `server` is the node's host name.
pub fn bundle_metadata(manifest: &Manifest, server: &str) -> Vec<(String, String)> {
    // The loader takes version and commit from these, as it does from bundles of M-Lab's pusher.
    let image = format!("groma:{}", groma_publish::VERSION);
    let source = format!("groma/tree/{}", groma_publish::GIT_COMMIT);
    [
        ("MLAB.server.name", server),
        ("MLAB.experiment.name", manifest.name.as_str()),
        ("MLAB.pusher.image", image.as_str()),
        ("MLAB.pusher.src.url", source.as_str()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// The datatypes of an experiment as the loader takes them, those of the sidecars included.
pub fn loaded_datatypes(manifest: &Manifest) -> Vec<LoadDatatype> {
    let recorded = RECORDED.map(|name| {
        let text = groma_schema::datatype(name).expect("the recorder's datatypes are built in");
        let schema = Schema::parse(text).expect("built-in schemas are tested");
        LoadDatatype::new(manifest.name.clone(), datatype(name), schema)
    });
    let own = manifest.datatypes.iter().map(|datatype| {
        LoadDatatype::new(
            manifest.name.clone(),
            datatype.name.clone(),
            datatype.schema.clone(),
        )
    });
    own.chain(recorded).collect()
}

/// The loader of a lab.
pub(crate) fn loader(
    manifest: &Manifest,
    lake: &LakeStore,
    store: Arc<dyn Store>,
    archive_dir: Option<PathBuf>,
) -> Loader {
    let datatypes = loaded_datatypes(manifest);
    let loader = Loader::new(store, Lake::new(lake.clone()), datatypes);
    match archive_dir {
        Some(dir) => loader.watching(dir),
        None => loader,
    }
}

/// How long the lab loads what was archived while it stopped.
const LAST_LOADS: Duration = Duration::from_secs(20);

/// How often the lake is looked after.
const KEEP_EVERY: Duration = Duration::from_mins(1);

/// Loads what was archived while the lab stopped, for a while: what is left then is loaded at the next start.
pub(crate) fn load_the_last(loader: &Loader) -> Result<(), LoadError> {
    let end = Instant::now() + LAST_LOADS;
    if loader.sweep_while("", || Instant::now() < end)?.ended_early {
        tracing::warn!("archived objects are left, and loaded at the next start");
    }
    Ok(())
}

/// The archive that says whether a date of the lake is complete. A lake that is not the lab's own also has rows from other
/// archives, so that no count of this one says anything of it.
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
