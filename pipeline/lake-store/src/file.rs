//! A file of a lake that is read in pieces, as Parquet's readers do.

use std::fs::File;
#[cfg(feature = "s3")]
use std::io::Cursor;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

/// A file that is open, or of a bucket.
#[derive(Clone, Debug)]
pub struct LakeFile {
    source: Source,
    size_bytes: u64,
}

#[derive(Clone, Debug)]
enum Source {
    Local(std::sync::Arc<File>),
    #[cfg(feature = "s3")]
    Whole(Bytes),
    #[cfg(feature = "s3")]
    Remote(crate::bucket::Bucket, std::path::PathBuf),
}

impl LakeFile {
    pub(crate) fn local(file: File) -> io::Result<LakeFile> {
        Ok(LakeFile {
            size_bytes: file.metadata()?.len(),
            source: Source::Local(file.into()),
        })
    }

    /// A small file is read at once: a request costs more than its bytes.
    #[cfg(feature = "s3")]
    pub(crate) fn remote(
        bucket: &crate::bucket::Bucket,
        path: &std::path::Path,
    ) -> io::Result<LakeFile> {
        const WHOLE_BYTES: u64 = 4 << 20;
        let size_bytes = bucket.size(path)?;
        let source = if size_bytes <= WHOLE_BYTES {
            Source::Whole(bucket.read(path)?)
        } else {
            Source::Remote(bucket.clone(), path.to_owned())
        };
        Ok(LakeFile { source, size_bytes })
    }

    /// Returns the size of a gap between two ranges up to which one read of both costs less than two reads.
    pub fn gap_bytes(&self) -> u64 {
        match self.source {
            Source::Local(_) => 4 << 10,
            #[cfg(feature = "s3")]
            Source::Whole(_) => 0,
            #[cfg(feature = "s3")]
            Source::Remote(..) => 1 << 20,
        }
    }

    /// Its size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

impl Length for LakeFile {
    fn len(&self) -> u64 {
        self.size_bytes
    }
}

impl ChunkReader for LakeFile {
    type T = Box<dyn Read + Send>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        match &self.source {
            Source::Local(file) => Ok(Box::new(file.get_read(start)?)),
            #[cfg(feature = "s3")]
            Source::Whole(bytes) => Ok(Box::new(bytes.get_read(start)?)),
            #[cfg(feature = "s3")]
            Source::Remote(bucket, path) => Ok(Box::new(Ahead {
                bucket: bucket.clone(),
                path: path.clone(),
                at: start,
                end: self.size_bytes,
                chunk: Cursor::new(Bytes::new()),
            })),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match &self.source {
            Source::Local(file) => {
                let end = start.checked_add(length as u64);
                if end.is_none_or(|end| end > self.size_bytes) {
                    return Err(ParquetError::EOF(format!("{length} bytes at {start}")));
                }
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, start)?;
                Ok(bytes.into())
            }
            #[cfg(feature = "s3")]
            Source::Whole(bytes) => bytes.get_bytes(start, length),
            #[cfg(feature = "s3")]
            Source::Remote(bucket, path) => {
                let end = start.saturating_add(length as u64);
                let bytes = bucket
                    .read_range(path, start..end)
                    .map_err(|error| ParquetError::External(error.into()))?;
                if bytes.len() == length {
                    Ok(bytes)
                } else {
                    Err(ParquetError::EOF(format!("{length} bytes at {start}")))
                }
            }
        }
    }
}

/// A stream from some place on, fetched in chunks.
#[cfg(feature = "s3")]
struct Ahead {
    bucket: crate::bucket::Bucket,
    path: std::path::PathBuf,
    at: u64,
    end: u64,
    chunk: Cursor<Bytes>,
}

#[cfg(feature = "s3")]
impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const AHEAD_BYTES: u64 = 64 << 10;
        if self.chunk.position() == self.chunk.get_ref().len() as u64 && self.at < self.end {
            let to = self.end.min(self.at + AHEAD_BYTES);
            self.chunk = Cursor::new(self.bucket.read_range(&self.path, self.at..to)?);
            self.at = to;
        }
        self.chunk.read(buffer)
    }
}
