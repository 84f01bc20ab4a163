//! Shared by all tests of the workspace: the location of real data, and how a test
//! reports that it cannot run here.

pub mod bigquery;
pub mod mount;
pub mod proxy;
mod skip;
pub mod stores;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

pub use skip::{python_for_the_sdk, skip, take_skipped};

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate stands one folder below the workspace")
}

/// Calls `take` with the first `most_bytes` of every real sample of M-Lab's datatypes. Skips the test where there are none.
///
/// # Panics
///
/// If a folder of samples cannot be read.
pub fn for_each_sample(most_bytes: usize, mut take: impl FnMut(&[u8])) {
    let Some(data) = real_data() else { return };
    for folder in [
        "annotation2",
        "pcap",
        "scamper1",
        "scamper2",
        "switch",
        "tcpinfo",
    ] {
        for entry in std::fs::read_dir(data.join(folder)).expect("a folder of samples") {
            let path = entry.expect("a folder of samples").path();
            let bytes = std::fs::read(path).expect("a sample");
            take(&bytes[..bytes.len().min(most_bytes)]);
        }
    }
}

/// Returns the answer to an HTTP request for `path`, status line first.
///
/// # Panics
///
/// If the server does not answer.
pub fn http_get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .expect("the server reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("the server answers in text");
    answer
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
