//! Tests that cannot run here, and the list of them that the end of `cargo test` prints.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::Command;

/// Skips the running test, for this reason: the caller returns. Where nothing may be skipped (`GROMA_REQUIRE_ALL=1`, as in
/// CI) that is a failure.
///
/// # Panics
///
/// If `GROMA_REQUIRE_ALL` is set.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os("GROMA_REQUIRE_ALL").is_none(),
        "nothing may be skipped here, but: {reason}"
    );
    record(reason);
}

/// Whether `python3` is of version 3.11 or later, which the Python SDK needs. Skips the test where it is not.
pub fn python_for_the_sdk() -> bool {
    let is_new_enough = "import sys; sys.exit(sys.version_info < (3, 11))";
    let python = Command::new("python3").args(["-c", is_new_enough]).status();
    let is_there = python.is_ok_and(|status| status.success());
    if !is_there {
        skip("there is no python3 of version 3.11 or later");
    }
    is_there
}

/// Reports a skipped test at once, and for the list at the end.
pub(crate) fn record(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not with a macro of std, whose output is captured for tests that pass.
    let _ = writeln!(io::stderr(), "skipped: {test}: {reason}");
    let Some(list) = list() else { return };
    let file = OpenOptions::new().create(true).append(true).open(list);
    let line = format!("{test}\t{reason}\n");
    // The list is for people; a test does not fail because it cannot be written.
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}

/// Returns the skipped tests of this run of `cargo test` with their reasons, in the order of names, and forgets them.
pub fn take_skipped() -> Vec<(String, String)> {
    let Some(list) = list() else {
        return Vec::new();
    };
    let text = fs::read_to_string(&list).unwrap_or_default();
    let _ = fs::remove_file(list);
    let mut skipped: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(test, reason)| (test.to_owned(), reason.to_owned()))
        .collect();
    skipped.sort();
    skipped.dedup();
    skipped
}

/// The list of this run. All test programs of one run have the same parent, which is known by its id and start time
/// (`proc_pid_stat(5)`, field 22).
fn list() -> Option<PathBuf> {
    let parent = std::os::unix::process::parent_id();
    let stat = fs::read_to_string(format!("/proc/{parent}/stat")).ok()?;
    // The name of the program, in parentheses, may have spaces.
    let (_, fields) = stat.rsplit_once(") ")?;
    let start = fields.split(' ').nth(19)?;
    Some(std::env::temp_dir().join(format!("groma-skipped-{parent}-{start}")))
}
