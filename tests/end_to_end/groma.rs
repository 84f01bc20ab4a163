//! The program under test: built once, run with nothing on its standard input.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The program, built as these tests were built.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(build)
}

fn build() -> PathBuf {
    let this = std::env::current_exe().expect("a running test has a path");
    // <target>/<profile>/deps/<this>
    let profile = this
        .ancestors()
        .nth(2)
        .expect("tests stand in their profile's folder");
    let target = profile
        .parent()
        .expect("profiles stand in the target folder");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--package", "groma", "--target-dir"])
        .arg(target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo
        .current_dir(groma_tests::workspace())
        .stdin(Stdio::null())
        .status();
    assert!(built.expect("cargo runs").success(), "groma does not build");
    profile.join("groma")
}

/// `groma` with these arguments, no standard input, and none of our caller's settings.
pub(crate) fn groma<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    command(program(), arguments)
}

/// The same for another copy of the program, or another program.
pub(crate) fn command<'a>(program: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let ours = name.to_string_lossy().starts_with("GROMA_");
        if ours && name != "GROMA_LOG" && name != "GROMA_NODE_MODULES" {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command to its end and returns its output, which assertions print.
pub(crate) fn run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a command that must succeed and print one JSON value.
pub(crate) fn run_json(command: &mut Command) -> Value {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", told(&output));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{command:?}: {error}: {}", told(&output)))
}

/// The output and exit status of a program, for messages.
pub(crate) fn told(output: &Output) -> String {
    format!(
        "{}\n--- standard output\n{}\n--- standard error\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Asks again until there is an answer; the limit only turns a hang into a failure.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
