//! The crates of the workspace, and what each must say about itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A crate of ours, or one that it uses.
pub(crate) struct Crate {
    pub(crate) name: String,
    /// The top-level folder of the crate.
    pub(crate) room: String,
    pub(crate) folder: PathBuf,
    description: String,
    /// The crates of ours that it depends on; not those of its tests.
    pub(crate) uses: Vec<Used>,
}

pub(crate) struct Used {
    pub(crate) name: String,
    pub(crate) room: String,
}

impl Crate {
    /// From an entry of `packages` of `cargo metadata`.
    fn new(package: &Value) -> Self {
        let manifest = Path::new(text(&package["manifest_path"]));
        let folder = manifest.parent().expect("a manifest has a folder");
        let dependencies = package["dependencies"]
            .as_array()
            .expect("dependencies are a list");
        let uses = dependencies.iter().filter_map(|dependency| {
            let path = dependency["path"].as_str()?;
            (dependency["kind"] != "dev").then(|| Used {
                name: text(&dependency["name"]).to_owned(),
                room: room(Path::new(path)),
            })
        });
        Self {
            name: text(&package["name"]).to_owned(),
            room: room(folder),
            folder: folder.to_owned(),
            description: package["description"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            uses: uses.collect(),
        }
    }

    /// A crate that does not exist, in a room, using one crate of each other room.
    pub(crate) fn example(room: &str, uses: &[&str]) -> Self {
        let one_in = |room: &&str| Used {
            name: format!("groma-in-{room}"),
            room: (*room).to_owned(),
        };
        Self {
            name: "groma-example".to_owned(),
            room: room.to_owned(),
            folder: PathBuf::new(),
            description: String::new(),
            uses: uses.iter().map(one_in).collect(),
        }
    }
}

/// Every crate of the workspace.
pub(crate) fn crates() -> Vec<Crate> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(groma_tests::workspace())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata are JSON");
    let packages = metadata["packages"]
        .as_array()
        .expect("packages are a list");
    packages.iter().map(Crate::new).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo's metadata have their format")
}

fn room(folder: &Path) -> String {
    let workspace = groma_tests::workspace();
    let below = folder
        .strip_prefix(workspace)
        .expect("crates stand in the workspace");
    let first = below.components().next().expect("the root holds no crate");
    first.as_os_str().to_string_lossy().into_owned()
}

#[test]
fn every_crate_says_why_it_exists() {
    let wrong: Vec<String> = crates()
        .iter()
        .filter(|this| {
            let readme = fs::read_to_string(this.folder.join("README.md")).unwrap_or_default();
            readme.trim().is_empty() || this.description.is_empty() || this.description == "TBD"
        })
        .map(|this| this.name.clone())
        .collect();
    assert!(
        wrong.is_empty(),
        "without README.md or description: {wrong:?}"
    );
}

#[test]
fn every_crate_keeps_the_lints_of_the_workspace() {
    let wrong: Vec<String> = crates()
        .iter()
        .filter(|this| {
            let manifest = fs::read_to_string(this.folder.join("Cargo.toml")).unwrap_or_default();
            !manifest.contains("[lints]\nworkspace = true\n")
        })
        .map(|this| this.name.clone())
        .collect();
    assert!(wrong.is_empty(), "with lints of their own: {wrong:?}");
}
