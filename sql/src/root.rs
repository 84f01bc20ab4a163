//! Distinguishes the directory of a lake from a directory of other files.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use groma_lake_layout::{INDEX_JSON, INDEX_PAGE, Kind};

use crate::views::names;

/// Files that a lake and a new volume may have beside the experiments.
const BESIDE: [&str; 3] = [INDEX_PAGE, INDEX_JSON, "lost+found"];

/// Refuses a directory that has other files and no table, because then the path is mistyped. An empty directory is a lake
/// without tables.
pub fn check(dir: &Path) -> anyhow::Result<()> {
    let open = || format!("cannot open the lake {}", dir.display());
    let mut has_others = false;
    for entry in fs::read_dir(dir).with_context(open)? {
        let name = entry.with_context(open)?.file_name();
        let name = name.to_string_lossy();
        has_others |= !name.starts_with('.') && !BESIDE.contains(&&*name);
    }
    anyhow::ensure!(
        !has_others || has_table(dir),
        "{} is not a lake, it has other files; name a lake with --lake",
        dir.display()
    );
    Ok(())
}

fn has_table(lake: &Path) -> bool {
    let is_table = |dir: &Path| {
        Kind::ALL
            .iter()
            .any(|kind| dir.join(kind.as_str()).is_dir())
    };
    names(lake).iter().any(|experiment| {
        let dir = lake.join(experiment);
        names(&dir).iter().any(|name| is_table(&dir.join(name)))
    })
}
