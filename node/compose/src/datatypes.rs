//! The datatypes of an experiment, as each stage of the pipeline needs them.

use groma_load::LoadDatatype;
use groma_manifest::{BundleForm, Manifest, ManifestError};
use groma_mlab::load_datatype;
use groma_publish::{DatatypeConfig, Form};
use groma_sidecar::Sidecar;

/// Returns the manifest of an experiment that these sidecars record: its policy names them, and has a higher version.
///
/// # Errors
///
/// The version of the policy becomes too long.
pub fn attach(
    manifest: Manifest,
    sidecars: &[Box<dyn Sidecar>],
) -> Result<Manifest, ManifestError> {
    let declarations: Vec<_> = sidecars
        .iter()
        .filter(|sidecar| records(sidecar.as_ref(), &manifest))
        .map(|sidecar| sidecar.declaration().clone())
        .collect();
    manifest.attach(&declarations)
}

/// Returns whether the experiment has a port that the sidecar records.
pub(crate) fn records(sidecar: &dyn Sidecar, manifest: &Manifest) -> bool {
    let transports = &sidecar.declaration().transports;
    let mut ports = manifest.ports.iter();
    ports.any(|port| transports.contains(&port.protocol))
}

/// Returns the datatypes of an experiment and of the sidecars for the publisher. Those of the experiment are bundled in
/// `form`, or without it as the manifest says.
pub fn published_datatypes(
    manifest: &Manifest,
    sidecars: &[Box<dyn Sidecar>],
    form: Option<Form>,
) -> Vec<DatatypeConfig> {
    let recorded = sidecars.iter().flat_map(|sidecar| {
        let declaration = sidecar.declaration();
        let form = form_of(declaration.bundle);
        declaration
            .datatypes
            .iter()
            .map(move |name| DatatypeConfig {
                name: name.clone(),
                form,
                // The publisher validates only files with one JSON value; sidecars have their own file formats.
                schema: None,
            })
    });
    let own = manifest.datatypes.iter().map(|datatype| DatatypeConfig {
        name: datatype.name.clone(),
        form: form.unwrap_or(form_of(datatype.bundle)),
        schema: Some(datatype.schema.clone()),
    });
    own.chain(recorded).collect()
}

fn form_of(bundle: BundleForm) -> Form {
    match bundle {
        BundleForm::Tgz => Form::Tgz,
        BundleForm::Jsonl => Form::Jsonl,
    }
}

/// Returns the datatypes of an experiment and of the sidecars for the loader.
pub fn loaded_datatypes(manifest: &Manifest, sidecars: &[Box<dyn Sidecar>]) -> Vec<LoadDatatype> {
    let recorded = sidecars.iter().flat_map(|sidecar| {
        let names = sidecar.declaration().datatypes.iter();
        names.filter_map(|name| Some((name.clone(), sidecar.schema(name)?)))
    });
    let own = manifest
        .datatypes
        .iter()
        .map(|datatype| (datatype.name.clone(), datatype.schema.clone()));
    own.chain(recorded)
        .map(|(name, schema)| load_datatype(manifest.name.clone(), name, schema))
        .collect()
}

/// Returns the origin of every member of a bundle, with the keys of M-Lab's pusher; `server` is the node's host name.
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
