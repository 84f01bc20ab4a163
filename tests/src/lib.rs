//! Shared by all tests of the workspace: the location of real data, and how a test
//! reports that it cannot run here.

pub mod bigquery;
pub mod mount;
pub mod proxy;
mod skip;
pub mod stores;

use std::path::{Path, PathBuf};

pub use skip::{skip, take_skipped};

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate stands one folder below the workspace")
}

/// The folder of real measurements: `GROMA_TEST_DATA`, else `../shared/data` beside the
/// workspace. Without one it skips the test and returns `None`. They do not come
/// with the sources, so only a folder that was named must exist.
pub fn real_data() -> Option<PathBuf> {
    let named = std::env::var_os("GROMA_TEST_DATA").map(PathBuf::from);
    let is_named = named.is_some();
    let dir = named.unwrap_or_else(|| workspace().join("../shared/data"));
    if dir.is_dir() {
        return Some(dir);
    }
    let reason = format!(
        "no real measurements at {}; set GROMA_TEST_DATA",
        dir.display()
    );
    if is_named {
        skip(&reason);
    } else {
        skip::record(&reason);
    }
    None
}

/// Whether this process is root; says so and skips where it is not.
pub fn root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0);
    if !is_root {
        skip("this test needs root");
    }
    is_root
}
