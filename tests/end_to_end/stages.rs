//! Stages of a running lab that die: reported, started again, and the end of the process when that does not help.

use std::fs;

use crate::drain::uuid_of;
use crate::groma::wait_for;
use crate::lab::{Lab, PATIENCE, measure};

#[test]
fn a_loader_whose_archive_was_removed_is_reported_and_works_again_in_a_new_one() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("lab");
    let lab = Lab::start(&dir, "1s");
    let first = uuid_of(&measure(lab.address("ws"), "download"));
    lab.row_of(&first);
    let ready = |expected: &str, words: &str| {
        wait_for(&format!("{expected} {words}"), PATIENCE, || {
            let answer = lab.admin("/ready");
            let status = answer.split(' ').nth(1)?;
            (status == expected && answer.contains(words)).then_some(())
        });
    };
    ready("200", "ready");
    fs::remove_dir_all(dir.join("archive")).unwrap();
    ready("503", "load");
    // Measuring goes on meanwhile, and its results wait.
    let second = uuid_of(&measure(lab.address("ws"), "download"));
    // The publisher does not write into an empty directory, which may be the mount point of an archive that is gone.
    fs::create_dir_all(dir.join("archive/.tmp")).unwrap();
    lab.row_of(&second);
    ready("200", "ready");
    lab.row_of(&first);
    let log = lab.log();
    assert!(log.contains("stage failed; starting it again"), "{log}");
    lab.ask_to_end();
    assert_eq!(lab.ended().code(), Some(0));
}

/// Takes three minutes of waits between the failures: by hand with `--ignored`, and in long runs.
#[test]
#[ignore = "takes three minutes"]
fn a_stage_that_fails_for_good_ends_the_process() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("lab");
    let mut lab = Lab::start(&dir, "1s");
    fs::remove_dir_all(dir.join("archive")).unwrap();
    let patience = 6 * PATIENCE;
    let status = wait_for("the end", patience, || lab.has_ended());
    assert_eq!(status.code(), Some(1), "{}", lab.log());
    assert!(
        lab.log().contains("failed 8 times in a row"),
        "{}",
        lab.log()
    );
}
