//! The folders of a lake.

use std::fs;
use std::path::Path;

/// Folders that can be experiments or datatypes, by name: a letter, then letters and digits.
pub fn names(dir: &Path) -> Vec<String> {
    let is_name = |name: &String| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(is_name)
        .collect();
    names.sort();
    names
}

/// Whether a `date=…` folder below has a file with this suffix.
pub(super) fn has_file(dir: &Path, suffix: &str) -> bool {
    let below = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten();
    below(dir)
        .flat_map(|date| fs::read_dir(date.path()).into_iter().flatten().flatten())
        .any(|file| file.path().extension().is_some_and(|found| found == suffix))
}
