use std::fs;
use std::os::unix::fs::MetadataExt;

use groma_experiment::{Experiment, Settings, SetupError};
use groma_service::Lifecycle;
use prometheus_client::registry::Registry;

use crate::common::{Lab, SCHEMA, manifest};

#[test]
fn schemas_stand_beside_the_experiment_and_are_rewritten_only_when_they_change() {
    let mut lab = Lab::new();
    lab.experiment();
    let path = lab.dir.path().join("spool/datatypes/rows.json");
    assert_eq!(fs::read_to_string(&path).unwrap(), SCHEMA);
    let written = fs::metadata(&path).unwrap();
    lab.experiment();
    let again = fs::metadata(&path).unwrap();
    let stamp = |m: &fs::Metadata| (m.ino(), m.mtime(), m.mtime_nsec());
    assert_eq!(stamp(&again), stamp(&written), "rewritten without need");
    fs::write(&path, "[]").unwrap();
    lab.experiment();
    assert_eq!(fs::read_to_string(&path).unwrap(), SCHEMA);
    let files = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(files, 1, "a temporary file is left");
}

#[test]
fn what_a_crash_left_is_removed() {
    let mut lab = Lab::new();
    let left = lab.data_dir().join(".tmp/left-over");
    fs::create_dir_all(left.parent().unwrap()).unwrap();
    fs::write(&left, "half").unwrap();
    lab.experiment();
    assert!(!left.exists());
}

#[test]
fn a_manifest_that_publishes_tokens_is_refused() {
    let lab = Lab::new();
    let mut manifest = manifest();
    manifest.client_metadata[0].key = "access_token".to_owned();
    let mut registry = Registry::default();
    let opened = Experiment::new(manifest, lab.settings(), Lifecycle::new(), &mut registry);
    assert!(matches!(opened, Err(SetupError::TokenAllowed(name)) if name == "sample"));
    assert!(!lab.data_dir().exists(), "refused before anything was made");
}

#[test]
fn unusable_settings_are_refused() {
    let mut lab = Lab::new();
    let none = Settings {
        max_tests: 0,
        ..lab.settings()
    };
    assert!(matches!(lab.open(none), Err(SetupError::NoTests)));
    fs::write(lab.dir.path().join("file"), "").unwrap();
    let no_directory = Settings {
        data_dir: lab.dir.path().join("file/sample"),
        ..lab.settings()
    };
    assert!(matches!(lab.open(no_directory), Err(SetupError::Spool(_))));
}
