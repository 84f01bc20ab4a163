//! The modes of files, whatever the process inherited.

use rustix::fs::Mode;
use rustix::process::umask;

/// Takes the right to write from the group and from others for every file and directory that this process creates. An
/// inherited umask that takes more stays as it is.
///
/// Call it first in `main`: the umask belongs to the whole process.
pub fn keep_others_from_writing() {
    let inherited = umask(Mode::WGRP | Mode::WOTH);
    umask(inherited | Mode::WGRP | Mode::WOTH);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn no_file_is_writable_for_others_whatever_was_inherited() {
        let dir = tempfile::tempdir().unwrap();
        for (inherited, expected) in [(0, 0o644), (0o002, 0o644), (0o077, 0o600)] {
            umask(Mode::from_raw_mode(inherited));
            keep_others_from_writing();
            let path = dir
                .path()
                .join(expected.to_string() + &inherited.to_string());
            std::fs::write(&path, "").unwrap();
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, expected);
        }
    }
}
