//! The paths and the kinds of files in a lake.
//!
//! A lake contains tables. A table contains the rows of one datatype of one experiment:
//!
//! ```text
//! <lake>/<experiment>/<datatype>/live/date=YYYY-MM-DD/<object name without extension>.parquet
//!                                sealed/date=YYYY-MM-DD/part-NNNNNN-N.parquet
//!                                log/date=YYYY-MM-DD/NNNNNN.json
//!                                …
//! ```
//!
//! [`Kind`] lists all folders of a table, [`TablePath`] builds the paths. The crate does not access the file system.

mod kind;
mod names;
mod table_path;

pub use kind::Kind;
pub use names::{FieldError, PartPath, Sha256Hex, StagedPath, Stem, is_file_name};
pub use table_path::{TablePath, date_dir, date_of, keys_path};

/// The directory of a lake in which loaders write unfinished files.
pub const TEMPORARY_DIR: &str = ".tmp";
/// The directory of a lake that holds data files which a sealer has written, until the log lists them.
pub const STAGED_DIR: &str = ".staged";
/// As [`STAGED_DIR`], in a bucket, where a leading dot does not hide a name. It is not a valid experiment name's table.
pub const STAGED_DIR_IN_BUCKET: &str = "staged-parts";
/// The index of a lake for people.
pub const INDEX_PAGE: &str = "index.html";
/// The index of a lake for programs.
pub const INDEX_JSON: &str = "index.json";
