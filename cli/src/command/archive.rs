//! Where the archive is, for the commands that put into one.

use std::path::Path;
use std::sync::Arc;

use groma_archive::{Store, open_to_put};

use super::place::check_above;

/// The archive that is put into.
#[derive(Debug, clap::Args)]
pub(crate) struct ArchiveArgs {
    #[arg(
        long,
        env = "GROMA_ARCHIVE",
        value_name = "DIR|URL",
        help = "The archive: a directory, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
    )]
    archive: String,

    /// Use a bucket although it overwrites objects against the condition of the request.
    #[arg(long, env = "GROMA_WEAK_STORE")]
    weak_store: bool,
}

impl ArchiveArgs {
    /// Opens it. A local archive is created, unless the directory above it does not exist.
    pub(crate) fn open(&self) -> anyhow::Result<Arc<dyn Store>> {
        if !self.archive.contains("://") {
            check_above(Path::new(&self.archive), "--archive")?;
        }
        Ok(open_to_put(&self.archive, self.weak_store)?)
    }
}
