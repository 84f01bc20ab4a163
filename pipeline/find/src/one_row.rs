//! A row group of which one row is read.
//!
//! Parquet's own reader makes a decompressor for each column, which costs more than decompressing the page. Here one
//! decompressor serves all columns: the reader sees uncompressed metadata, and pages are decompressed before it gets them.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::arrow::arrow_reader::RowGroups;
use parquet::basic::Compression;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;
use zstd::bulk::Decompressor;

use crate::pages::Pages;

/// Largest page after decompression, in bytes, as in Parquet's headers.
const MOST_BYTES: usize = i32::MAX as usize;

type Zstd = Arc<Mutex<Decompressor<'static>>>;

/// The row group and the pages that hold the row.
pub(crate) struct OneRow<'a> {
    metadata: &'a ParquetMetaData,
    group: usize,
    pages: Arc<Pages>,
    zstd: Zstd,
}

impl<'a> OneRow<'a> {
    pub(crate) fn new(metadata: &'a ParquetMetaData, group: usize, pages: Pages) -> Result<Self> {
        Ok(OneRow {
            metadata,
            group,
            pages: Arc::new(pages),
            zstd: Arc::new(Mutex::new(Decompressor::new()?)),
        })
    }

    fn row_group(&self) -> &RowGroupMetaData {
        self.metadata.row_group(self.group)
    }
}

impl RowGroups for OneRow<'_> {
    fn num_rows(&self) -> usize {
        usize::try_from(self.row_group().num_rows()).unwrap_or(0)
    }

    fn column_chunks(&self, leaf: usize) -> Result<Box<dyn PageIterator>> {
        let column = self.row_group().column(leaf);
        let is_zstd = matches!(column.compression(), Compression::ZSTD(_));
        let index = self.metadata.page_index();
        let locations = index.and_then(|index| index.page_locations(self.group, leaf).cloned());
        let rows = self.num_rows();
        let pages = Arc::clone(&self.pages);
        let reader: Box<dyn PageReader> = if is_zstd {
            let as_stored = column.clone().into_builder();
            let as_stored = as_stored.set_compression(Compression::UNCOMPRESSED);
            Box::new(Decompressed {
                inner: SerializedPageReader::new(pages, &as_stored.build()?, rows, locations)?,
                zstd: Arc::clone(&self.zstd),
            })
        } else {
            Box::new(SerializedPageReader::new(pages, column, rows, locations)?)
        };
        Ok(Box::new(Once(Some(reader))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.row_group()))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.metadata
    }
}

/// The pages of a column of one row group.
struct Once(Option<Box<dyn PageReader>>);

impl Iterator for Once {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl PageIterator for Once {}

struct Decompressed {
    inner: SerializedPageReader<Pages>,
    zstd: Zstd,
}

impl Decompressed {
    /// The bytes after the first `plain`, which are never compressed, decompressed.
    fn plain(&self, stored: &Bytes, plain: usize) -> Result<Bytes> {
        let wrong = || ParquetError::General("a page is not what its header says".to_owned());
        let compressed = stored.get(plain..).ok_or_else(wrong)?;
        // A page without any value has no frame.
        if compressed.is_empty() {
            return Ok(stored.clone());
        }
        let size = Decompressor::upper_bound(compressed).filter(|size| *size <= MOST_BYTES);
        let mut zstd = self.zstd.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = zstd.decompress(compressed, size.ok_or_else(wrong)?)?;
        if plain == 0 {
            return Ok(rest.into());
        }
        Ok([&stored[..plain], &rest].concat().into())
    }
}

impl Iterator for Decompressed {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Decompressed {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let Some(mut page) = self.inner.get_next_page()? else {
            return Ok(None);
        };
        match &mut page {
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => {
                *buf = self.plain(buf, 0)?;
            }
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed: true,
                ..
            } => {
                let levels = *def_levels_byte_len as usize + *rep_levels_byte_len as usize;
                *buf = self.plain(buf, levels)?;
            }
            Page::DataPageV2 { .. } => {}
        }
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.inner.at_record_boundary()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::RecordBatch;
    use groma_lake_store::LakeStore;
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};

    use crate::row::{Columns, read_rows};

    const ROWS: usize = 700;

    /// Rows with lists of all lengths, none included, and text that no dictionary holds.
    fn rows() -> Vec<serde_json::Value> {
        let row = |number: usize| {
            let list: Vec<_> = (0..number % 5).map(|at| number * at).collect();
            let mut row = serde_json::json!({
                "id": format!("id{number}"), "note": "x".repeat(number % 90), "deep": [{"list": list}],
            });
            if number.is_multiple_of(7) {
                row.as_object_mut().unwrap().remove("note");
            }
            row
        };
        (0..ROWS).map(row).collect()
    }

    fn batch() -> RecordBatch {
        let lines: Vec<_> = rows().iter().map(ToString::to_string).collect();
        let lines = lines.join("\n");
        let (schema, _) = arrow_json::reader::infer_json_schema(lines.as_bytes(), None).unwrap();
        let reader = arrow_json::ReaderBuilder::new(Arc::new(schema)).with_batch_size(ROWS);
        reader
            .build(lines.as_bytes())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
    }

    #[test]
    fn every_row_of_every_kind_of_file_is_what_was_written() {
        let zstd = || {
            let level = ZstdLevel::try_new(3).unwrap();
            let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level));
            properties
                .set_data_page_row_count_limit(50)
                .set_write_batch_size(10)
        };
        let kinds: [WriterPropertiesBuilder; 5] = [
            zstd(),
            zstd().set_writer_version(WriterVersion::PARQUET_2_0),
            zstd().set_offset_index_disabled(true),
            zstd().set_max_row_group_row_count(Some(300)),
            zstd().set_compression(Compression::UNCOMPRESSED),
        ];
        for (kind, properties) in kinds.into_iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.parquet");
            let file = std::fs::File::create(&path).unwrap();
            let batch = batch();
            let mut writer =
                ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            let lake = LakeStore::from(dir.path());
            for wanted in rows().into_iter().step_by(23) {
                let id = wanted["id"].as_str().unwrap();
                let found = read_rows(&lake, &path, None, id, Columns::All, 2).unwrap();
                assert_eq!(found, [wanted], "file {kind}");
            }
        }
    }
}
