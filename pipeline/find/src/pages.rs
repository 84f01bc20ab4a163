//! The pages that are needed, read in as few pieces as that takes.
//!
//! Parquet's reader asks for one page after the other, and a row has one of each column: hundreds of reads, or of requests to
//! a bucket. The footer and the offset index give their positions before the first of them is read.

use std::ops::Range;

use bytes::{Buf as _, Bytes};
use groma_lake_store::LakeFile;
use parquet::arrow::ProjectionMask;
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};

/// A file of which these pieces are in memory; what else is asked for is read from it.
pub(crate) struct Pages {
    file: LakeFile,
    pieces: Vec<(u64, Bytes)>,
}

impl Pages {
    /// Reads the pages of the columns of `mask` that hold the row `offset` of a row group, with their dictionaries.
    pub(crate) fn of_row(
        file: &LakeFile,
        metadata: &ParquetMetaData,
        mask: &ProjectionMask,
        group: usize,
        offset: usize,
    ) -> Result<Pages> {
        let columns = metadata.row_group(group).columns().iter().enumerate();
        let wanted = columns.filter(|(leaf, _)| mask.leaf_included(*leaf));
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (leaf, column) in wanted {
            let index = metadata.page_index();
            let Some(pages) = index.and_then(|index| index.page_locations(group, leaf)) else {
                continue;
            };
            let after = pages.partition_point(|page| {
                usize::try_from(page.first_row_index).is_ok_and(|first| first <= offset)
            });
            let place = |page: usize| {
                let page = pages.get(page)?;
                let start = u64::try_from(page.offset).ok()?;
                Some(start..start + u64::try_from(page.compressed_page_size).ok()?)
            };
            let (start, _) = column.byte_range();
            ranges.extend(place(0).map(|first| start..first.start));
            ranges.extend(place(after.saturating_sub(1)));
        }
        Pages::read(file, ranges)
    }

    /// Reads all pages of the columns of `mask`.
    pub(crate) fn of_columns(
        file: &LakeFile,
        metadata: &ParquetMetaData,
        mask: &ProjectionMask,
    ) -> Result<Pages> {
        let columns = metadata.row_groups().iter().flat_map(|group| {
            let columns = group.columns().iter().enumerate();
            columns.filter(|(leaf, _)| mask.leaf_included(*leaf))
        });
        let range = |(_, column): (usize, &ColumnChunkMetaData)| {
            let (start, length) = column.byte_range();
            start..start.saturating_add(length)
        };
        Pages::read(file, columns.map(range).collect())
    }

    fn read(file: &LakeFile, ranges: Vec<Range<u64>>) -> Result<Pages> {
        let pieces = joined(ranges, file.gap_bytes()).into_iter();
        let read = |range: Range<u64>| {
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            Ok((range.start, file.get_bytes(range.start, length)?))
        };
        Ok(Pages {
            file: file.clone(),
            pieces: pieces.map(read).collect::<Result<_>>()?,
        })
    }

    /// The bytes in memory from this position on, if there are any.
    fn from(&self, start: u64) -> Option<Bytes> {
        let after = self.pieces.partition_point(|(begin, _)| *begin <= start);
        let (begin, bytes) = self.pieces.get(after.checked_sub(1)?)?;
        let skipped = usize::try_from(start - begin).ok()?;
        (skipped < bytes.len()).then(|| bytes.slice(skipped..))
    }
}

/// Merges ranges whose gap is at most `gap_bytes`.
fn joined(mut ranges: Vec<Range<u64>>, gap_bytes: u64) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(gap_bytes) => {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range),
        }
    }
    joined
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl ChunkReader for Pages {
    type T = Box<dyn std::io::Read + Send>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        match self.from(start) {
            // A header is wholly in the piece in which its page is.
            Some(bytes) => Ok(Box::new(bytes.reader())),
            None => self.file.get_read(start),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match self.from(start) {
            Some(bytes) if bytes.len() >= length => Ok(bytes.slice(..length)),
            _ => self.file.get_bytes(start, length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_or_nearly_do_are_one() {
        let ranges = vec![90..95, 0..10, 12..20, 20..20, 30..40, 35..38];
        assert_eq!(joined(ranges.clone(), 2), [0..20, 30..40, 90..95]);
        assert_eq!(joined(ranges.clone(), 10), [0..40, 90..95]);
        assert_eq!(joined(ranges, 0), [0..10, 12..20, 30..40, 90..95]);
    }
}
