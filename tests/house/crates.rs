//! The crates of the workspace, and what each must say about itself.

use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// A crate of ours, or one that it uses.
pub(crate) struct Crate {
    pub(crate) name: String,
    /// The top folder that it stands in.
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
    fn new(package: &Package) -> Self {
        let folder = package
            .manifest_path
            .parent()
            .expect("a manifest has a folder");
        let uses = package.dependencies.iter().filter_map(|dependency| {
            let path = dependency.path.as_ref()?;
            (dependency.kind != DependencyKind::Development).then(|| Used {
                name: dependency.name.clone(),
                room: room(path.as_std_path()),
            })
        });
        Self {
            name: package.name.to_string(),
            room: room(folder.as_std_path()),
            folder: folder.into(),
            description: package.description.clone().unwrap_or_default(),
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
    let metadata = MetadataCommand::new()
        .manifest_path(groma_tests::workspace().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata runs");
    metadata
        .workspace_packages()
        .into_iter()
        .map(Crate::new)
        .collect()
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
