//! A datatype with nothing but a schema.

use super::{Datatype, Measurement, base_name};
use crate::column::Column;
use crate::row::Batch;
use crate::source::Archiver;

/// See [`JSON`](super::JSON).
#[derive(Debug)]
pub(super) struct Json;

impl Datatype for Json {
    fn wants(&self, member: &str) -> bool {
        let name = base_name(member);
        let stem = name.strip_suffix(".gz").unwrap_or(name);
        stem.strip_suffix(".json")
            .is_some_and(|rest| !rest.is_empty())
    }

    fn append(&self, source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
        batch.put_json("raw", source.bytes)?;
        let (raw, at) = (batch.column("raw"), batch.rows());
        let id = key(source.id, source.archiver, raw, at);
        batch.end_row(id.as_deref(), source.archiver);
        Ok(())
    }
}

/// Returns the key: the `id` of the line, or the top-level `UUID` or `id` of the measurement, or the UUID in the file name.
fn key(id: Option<&str>, archiver: &Archiver, raw: &Column, at: usize) -> Option<String> {
    let own = || {
        let record = raw.record()?;
        ["uuid", "id"].into_iter().find_map(|name| {
            let text = record.field_of_any_case(name)?.text(at)?;
            (!text.is_empty()).then_some(text)
        })
    };
    let from_name = || uuid_of(base_name(archiver.filename.as_deref()?));
    id.or_else(own).or_else(from_name).map(str::to_owned)
}

/// Returns the UUID in a file name: the first dot-separated piece of the form `<name>_<boot time>_<16 hex>`.
pub fn uuid_of(file: &str) -> Option<&str> {
    file.split('.').find(|piece| {
        let mut parts = piece.rsplitn(3, '_');
        let cookie = parts.next().unwrap_or_default();
        let boot = parts.next().unwrap_or_default();
        cookie.len() == 16
            && cookie.bytes().all(|b| b.is_ascii_hexdigit())
            && !boot.is_empty()
            && boot.bytes().all(|b| b.is_ascii_digit() || boot == "unsafe")
            && parts.next().is_some_and(|name| !name.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::{DataType, Field};

    use super::{Json, key};
    use crate::Datatype as _;
    use crate::Limits;
    use crate::column::Traits;
    use crate::row::{Batch, table_schema};
    use crate::source::Archiver;

    #[test]
    fn wants_json_members_only() {
        for (name, wanted) in [
            ("2024/01/02/a.json", true),
            ("a.json.gz", true),
            ("a.jsonl", false),
            (".json", false),
            ("", false),
            ("../../etc/passwd", false),
        ] {
            assert_eq!(Json.wants(name), wanted, "{name}");
        }
    }

    #[test]
    fn the_key_comes_from_the_line_the_measurement_or_the_file_name() {
        let fields = ["UUID", "ID"].map(|name| Field::new(name, DataType::Utf8, true));
        let raw = Field::new("raw", DataType::Struct(fields.to_vec().into()), true);
        let schema = Arc::new(table_schema(vec![raw]));
        let from = |id: Option<&str>, raw: &str, file: &str| {
            let mut batch = Batch::new(Arc::clone(&schema), &Traits::default(), Limits::default());
            batch.put_json("raw", raw.as_bytes()).unwrap();
            let archiver = Archiver {
                filename: Some(file.to_owned()),
                ..Archiver::default()
            };
            key(id, &archiver, batch.column("raw"), 0)
        };
        let uuid = "host-x_1583603744_00000000000058E8";
        let file = format!("2020/03/18/20200318T000643Z.{uuid}.json");
        assert_eq!(
            from(Some("line"), r#"{"UUID": "raw"}"#, &file).as_deref(),
            Some("line")
        );
        assert_eq!(
            from(None, r#"{"uuid": "raw"}"#, &file).as_deref(),
            Some("raw")
        );
        assert_eq!(from(None, r#"{"ID": ""}"#, &file).as_deref(), Some(uuid));
        assert_eq!(from(None, "{}", "plain.json"), None);
    }
}
