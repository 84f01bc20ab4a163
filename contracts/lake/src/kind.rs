//! The folders of a table.

/// A folder of a table, and the kind of the files in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Parquet files with rows of dates that may still grow.
    Live,
    /// Parquet files with rows of closed dates, and the manifests of these dates.
    Sealed,
    /// One JSON entry for each compaction, sealing or correction.
    Log,
    /// JSON lines, one for each archive member that could not become a row.
    Errors,
    /// One JSON object for each archive object: the number of its members, rows and errors.
    Account,
    /// The date under which an archive object has its rows.
    Claims,
    /// As [`Kind::Claims`], written by early versions, without a date directory.
    Moved,
    /// The row number of each `id` in a data file, as Parquet.
    Keys,
    /// Parquet files with rows that will replace the rows of damaged objects in sealed data files.
    Corrections,
    /// One JSON record for each archive object that a person removed.
    Removed,
    /// Files that do not match their checksum.
    Damaged,
}

impl Kind {
    /// Every folder that a table may have.
    pub const ALL: [Kind; 11] = [
        Kind::Live,
        Kind::Sealed,
        Kind::Log,
        Kind::Errors,
        Kind::Account,
        Kind::Claims,
        Kind::Moved,
        Kind::Keys,
        Kind::Corrections,
        Kind::Removed,
        Kind::Damaged,
    ];

    /// Returns the name of the folder.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Live => "live",
            Kind::Sealed => "sealed",
            Kind::Log => "log",
            Kind::Errors => "errors",
            Kind::Account => "account",
            Kind::Claims => "claims",
            Kind::Moved => "moved",
            Kind::Keys => "keys",
            Kind::Corrections => "corrections",
            Kind::Removed => "removed",
            Kind::Damaged => "damaged",
        }
    }

    /// Returns the extension of the files with its dot; empty for claims. Key files are Parquet under another extension, so
    /// that a pattern for row files does not match them.
    pub fn extension(self) -> &'static str {
        match self {
            Kind::Live | Kind::Sealed | Kind::Corrections | Kind::Damaged => ".parquet",
            Kind::Log | Kind::Account | Kind::Removed => ".json",
            Kind::Errors => ".jsonl",
            Kind::Keys => ".keys",
            Kind::Claims | Kind::Moved => "",
        }
    }

    /// Returns the name of the file for this object name without extension.
    pub fn file_name(self, stem: &str) -> String {
        format!("{stem}{}", self.extension())
    }

    /// Returns a file name without the extension of this kind; `None` if the name has another extension or cannot be a visible
    /// file.
    pub fn stem_of(self, file_name: &str) -> Option<&str> {
        let stem = file_name.strip_suffix(self.extension())?;
        crate::is_file_name(stem).then_some(stem)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_folder_has_its_own_name() {
        let names: HashSet<&str> = Kind::ALL.into_iter().map(Kind::as_str).collect();
        assert_eq!(names.len(), Kind::ALL.len());
    }

    #[test]
    fn a_stem_is_what_the_file_name_was_made_from() {
        for kind in Kind::ALL {
            assert_eq!(kind.stem_of(&kind.file_name("a.b")), Some("a.b"));
            assert_eq!(kind.stem_of(kind.extension()), None);
            assert_eq!(kind.stem_of(&kind.file_name("../a")), None);
        }
        assert_eq!(Kind::Live.stem_of("a.keys"), None);
        assert_eq!(Kind::Errors.stem_of("a.json"), None);
    }
}
