//! The bare steps: what any loader must do to the same bytes, each measured alone, with the libraries that ours uses.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use crate::clock::CpuTime;

/// CPU time of each step over one object.
#[derive(Default)]
pub(crate) struct Steps {
    /// Both layers of compression and tar; every member is read into one buffer that is used again.
    pub(crate) unpack: Duration,
    /// Every JSON value is decoded (numbers as numbers, strings without escapes) and thrown away.
    pub(crate) parse: Duration,
    /// The rows, decoded before, are written with the loader's own settings to memory.
    pub(crate) write: Duration,
    /// Plain bytes of all members.
    pub(crate) plain_bytes: u64,
}

impl Steps {
    pub(crate) fn sum(&self) -> Duration {
        self.unpack + self.parse + self.write
    }
}

/// Measures the steps over an object and over the table that was loaded from it.
pub(crate) fn steps(object: &Path, table: &Path, is_json: bool) -> anyhow::Result<Steps> {
    let mut steps = Steps::default();
    unpack(object, is_json, &mut steps)?;
    write(table, &mut steps)?;
    Ok(steps)
}

fn unpack(object: &Path, is_json: bool, steps: &mut Steps) -> anyhow::Result<()> {
    let began = CpuTime::now();
    let reader = std::io::BufReader::with_capacity(1 << 16, File::open(object)?);
    let mut archive = tar::Archive::new(MultiGzDecoder::new(reader));
    let (mut packed, mut plain) = (Vec::new(), Vec::new());
    for entry in archive.entries()? {
        let mut entry = entry?;
        packed.clear();
        entry.read_to_end(&mut packed)?;
        plain.clear();
        let name = entry.path_bytes();
        if name.ends_with(b"gz") {
            MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut plain)?;
        } else if name.ends_with(b".zst") {
            zstd::Decoder::with_buffer(packed.as_slice())?.read_to_end(&mut plain)?;
        } else {
            plain.extend_from_slice(&packed);
        }
        steps.plain_bytes += plain.len() as u64;
        if is_json {
            let before = CpuTime::now();
            for value in serde_json::Deserializer::from_slice(&plain).into_iter::<Walked>() {
                value?;
            }
            steps.parse += before.elapsed();
        }
    }
    steps.unpack = began.elapsed().saturating_sub(steps.parse);
    Ok(())
}

fn write(table: &Path, steps: &mut Steps) -> anyhow::Result<()> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(table)?)?.with_batch_size(256);
    let schema = reader.schema().clone();
    let mut writer = None;
    for batch in reader.build()? {
        let batch = batch?;
        let before = CpuTime::now();
        if writer.is_none() {
            let properties = groma_load::writer_properties(&batch)?;
            writer = Some(ArrowWriter::try_new(
                std::io::sink(),
                schema.clone(),
                Some(properties),
            )?);
        }
        if let Some(writer) = &mut writer {
            writer.write(&batch)?;
            if writer.in_progress_size() >= groma_load::Limits::default().row_group_bytes {
                writer.flush()?;
            }
        }
        steps.write += before.elapsed();
    }
    let before = CpuTime::now();
    if let Some(writer) = writer {
        writer.close()?;
    }
    steps.write += before.elapsed();
    Ok(())
}

/// Any JSON value, decoded to its leaves and not kept.
struct Walked;

impl<'de> serde::Deserialize<'de> for Walked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Walked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Walked, E> {
        Ok(Walked)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Walked, E> {
        std::hint::black_box(value);
        Ok(Walked)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Walked, E> {
        std::hint::black_box(value);
        Ok(Walked)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Walked, E> {
        std::hint::black_box(value);
        Ok(Walked)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Walked, E> {
        std::hint::black_box(value);
        Ok(Walked)
    }

    fn visit_str<E>(self, value: &str) -> Result<Walked, E> {
        std::hint::black_box(value);
        Ok(Walked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Walked, A::Error> {
        while seq.next_element::<Walked>()?.is_some() {}
        Ok(Walked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Walked, A::Error> {
        while map.next_entry::<Walked, Walked>()?.is_some() {}
        Ok(Walked)
    }
}
