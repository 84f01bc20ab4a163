//! Where the archive is, for the commands that put into one.

use std::sync::Arc;

use groma_archive::{Store, StoreError, open_to_put};

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

    /// Use a bucket although it overwrites objects when told not to.
    #[arg(long, env = "GROMA_WEAK_STORE")]
    weak_store: bool,
}

impl ArchiveArgs {
    /// Opens it.
    pub(crate) fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        open_to_put(&self.archive, self.weak_store)
    }
}
