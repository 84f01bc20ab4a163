//! Rules that hold for any archive object. The fuzz targets call these functions with any bytes.

use std::io::Write as _;

use arrow_array::{Array as _, RecordBatch};
use groma_schema::Schema;
use jiff::civil::Date;

use crate::datatype::Measurement;
use crate::object::Object;
use crate::row::Batch;
use crate::source::{Archiver, Content, Member, inflate, read_jsonl, read_tar};
use crate::{Datatype, JSON, Limits};

/// Small bounds, so that small inputs reach them.
const LIMITS: Limits = Limits {
    member_bytes: 4096,
    member_values: 1000,
    batch_rows: 256,
    batch_bytes: 1 << 20,
    row_group_bytes: 1 << 20,
};

/// Members of a tar that nothing packs keep to the bounds, and their names are labels; so do the names of objects.
pub fn tar(data: &[u8]) {
    check_members(|visit| {
        // The store is a slice and the visitor never fails: whatever is wrong is an entry.
        read_tar(data, "file:///x", &LIMITS, &|_| true, visit).is_ok()
    });
    if let Ok(name) = std::str::from_utf8(&data[..data.len().min(200)])
        && let Ok(Some(object)) = Object::parse(name)
    {
        assert!(!object.stem.contains('/') && !object.stem.starts_with('.'));
    }
}

/// Gzip and zstd inflate to no more than was allowed: as a member, and around an archive.
pub fn packed(data: &[u8]) {
    for name in ["x.gz", "x.zst"] {
        if let Ok(bytes) = inflate(name, data.to_vec(), LIMITS.member_bytes) {
            assert!(bytes.len() as u64 <= LIMITS.member_bytes);
        }
    }
    check_members(|visit| {
        read_tar(data, "file:///x", &LIMITS, &|_| true, visit).is_ok()
            && read_jsonl(data, &LIMITS, &|_| true, visit).is_ok()
    });
}

/// Lines of standard columns become members, or errors with their numbers.
pub fn lines(data: &[u8]) {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    let packed = gzip.write_all(data).and_then(|()| gzip.finish());
    let packed = packed.expect("memory takes everything");
    check_members(|visit| read_jsonl(packed.as_slice(), &LIMITS, &|_| true, visit).is_ok());
}

fn check_members(
    read: impl FnOnce(&mut dyn FnMut(Member) -> Result<(), crate::LoadError>) -> bool,
) {
    let done = read(&mut |member| {
        assert!(!member.name.chars().any(char::is_control));
        match member.content {
            Content::Whole(bytes) | Content::Beginning(bytes, _) => {
                assert!(bytes.len() as u64 <= LIMITS.member_bytes);
            }
            Content::Bad(reason) | Content::Damage(reason) => assert!(!reason.is_empty()),
            Content::Unwanted => {}
        }
        Ok(())
    });
    assert!(done, "damage is an entry, not a failure");
}

/// Loads any JSON with any schema, which precedes it and ends at the first blank line.
pub fn json_by_schema(data: &[u8]) {
    let Some(end) = data.windows(2).position(|pair| pair == b"\n\n") else {
        return;
    };
    let (schema, json) = data.split_at(end);
    let schema = std::str::from_utf8(schema)
        .ok()
        .and_then(|text| Schema::parse(text).ok());
    if let Some(schema) = schema {
        check_rows(JSON, &schema, "x.json", json);
    }
}

/// A refused measurement changes nothing of the row before it, and an accepted one makes valid arrays.
pub fn check_rows(rules: &dyn Datatype, schema: &Schema, file: &str, bytes: &[u8]) {
    let mut batch = Batch::of(rules, schema.to_arrow(), LIMITS);
    let archiver = Archiver {
        filename: Some(file.to_owned()),
        ..Archiver::default()
    };
    batch.end_row(Some("before"), &archiver);
    let measurement = Measurement {
        id: None,
        archiver: &archiver,
        date: Date::constant(2024, 1, 2),
        bytes,
        is_cut: false,
    };
    let taken = rules.append(&measurement, &mut batch);
    if let Err(reason) = &taken {
        assert!(!reason.is_empty());
        batch.cut(1);
    }
    batch.end_row(Some("behind"), &archiver);
    let rows = batch.rows();
    let made: RecordBatch = batch
        .take()
        .expect("columns of one length and of their own type");
    assert_eq!(made.num_rows(), rows);
    if taken.is_err() {
        assert_eq!(rows, 2);
    }
    for column in made.columns() {
        column.to_data().validate_full().expect("sound arrays");
    }
}

#[cfg(test)]
mod tests {
    /// Every real sample through every target, as the fuzzer's seeds would be.
    #[test]
    fn real_samples_hold() {
        let targets: [fn(&[u8]); 4] = [
            super::tar,
            super::packed,
            super::lines,
            super::json_by_schema,
        ];
        // Enough for every rule; whole captures take their time without optimisation.
        groma_tests::for_each_sample(1 << 16, |bytes| {
            for target in &targets {
                target(bytes);
            }
        });
    }
}
