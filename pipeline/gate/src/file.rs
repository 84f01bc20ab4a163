//! The kinds of files that may be published.

use rustix::fs::FileType;

/// Returns the reason not to read a file; `None` for a regular file with one name. Only such a file certainly belongs to the
/// experiment: a link may lead to a file of another program.
pub fn objection(kind: FileType, links: u64) -> Option<&'static str> {
    match kind {
        FileType::RegularFile if links == 1 => None,
        FileType::RegularFile => Some("it has several hard links"),
        FileType::Symlink => Some("it is a symbolic link"),
        _ => Some("it is not a regular file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_with_one_name_is_read() {
        assert_eq!(objection(FileType::RegularFile, 1), None);
        for (kind, links) in [
            (FileType::RegularFile, 2),
            (FileType::Symlink, 1),
            (FileType::Fifo, 1),
            (FileType::Directory, 2),
        ] {
            assert!(objection(kind, links).is_some(), "{kind:?}");
        }
    }
}
