//! Which lab or lake a command looks at.

use std::path::Path;
use std::process::Command;

fn told(arguments: &[&str], dir: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_groma"))
        .args(arguments)
        .env("GROMA_LAKE", dir.join("lake-of-the-environment"))
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_directory_that_was_typed_wins_over_a_lake_of_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let (by_variable, by_dir) = ("lake-of-the-environment", "my-lab");
    for command in [&["find"][..], &["show", "x"]] {
        let with = |more: &[&'static str]| told(&[command, more].concat(), dir.path());
        assert!(with(&[]).contains(by_variable));
        let typed = with(&["--dir", by_dir]);
        assert!(
            typed.contains(by_dir) && !typed.contains(by_variable),
            "{typed}"
        );
        let both = with(&["--dir", by_dir, "--lake", "typed-lake"]);
        assert!(both.contains("typed-lake"), "{both}");
    }
}
