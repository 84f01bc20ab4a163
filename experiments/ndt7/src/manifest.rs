//! The experiment's manifest, built into the program.

use std::io;

use groma_manifest::{Manifest, ManifestError};

const MANIFEST: &str = include_str!("../experiment.toml");
const SCHEMA: &str = include_str!("../schema/ndt7.json");

/// The manifest of this experiment, `experiment.toml` with its schema.
pub fn manifest() -> Result<Manifest, ManifestError> {
    Manifest::parse(MANIFEST, |name| match name {
        "schema/ndt7.json" => Ok(SCHEMA.to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_is_valid() {
        let manifest = manifest().unwrap();
        assert!(manifest.datatype(crate::DATATYPE).is_some());
    }
}
