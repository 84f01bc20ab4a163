//! Why a search failed.

use std::io;
use std::path::PathBuf;

/// A search that could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// A directory or file cannot be read.
    #[error("{operation} {path}: {source}")]
    Io {
        /// The operation that failed, as a verb phrase.
        operation: &'static str,
        /// The thing it was tried on.
        path: PathBuf,
        /// The reason of the system.
        source: io::Error,
    },
    /// The publisher's receipts cannot be read.
    #[error("search receipts in {path}: {reason}")]
    Receipts {
        /// The publisher's state directory.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The lake cannot be read.
    #[error(transparent)]
    Lake(#[from] groma_lake::LakeError),
    /// A network that is none.
    #[error("{text:?} is no network; write it as 192.0.2.0/24 or 2001:db8::/32")]
    Network {
        /// The given text.
        text: String,
    },
    /// No UUID can be this text.
    #[error(transparent)]
    Uuid {
        /// The reason.
        source: groma_uuid::UuidError,
    },
}

impl FindError {
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> FindError {
        let path = path.into();
        move |source| FindError::Io {
            operation,
            path,
            source,
        }
    }
}
