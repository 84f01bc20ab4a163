//! Evolution, the table around a datatype, Arrow and `BigQuery`.

use arrow_schema::{DataType, TimeUnit};
use groma_schema::{Field, Mode, Schema};
use serde_json::json;

fn schema(json: &serde_json::Value) -> Schema {
    Schema::parse(&json.to_string()).unwrap()
}

#[test]
fn only_additions_are_an_evolution() {
    let old = schema(&json!([
        {"name": "a", "type": "INT64"},
        {"name": "r", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "b", "type": "FLOAT"}]},
    ]));
    let record = |fields: serde_json::Value| json!({"name": "r", "type": "RECORD", "mode": "REPEATED", "fields": fields});
    let (a, b) = (
        json!({"name": "a", "type": "INTEGER"}),
        json!({"name": "b", "type": "FLOAT64"}),
    );
    let added = json!({"name": "c", "type": "STRING", "mode": "REPEATED"});
    let cases = [
        (json!([a, record(json!([b]))]), Ok(vec![])),
        (
            json!([added, record(json!([added, b])), a]),
            Ok(vec!["c", "r.c"]),
        ),
        (json!([a]), Err(vec!["r: removed"])),
        // The hole of the upstream uploader: one comes, another goes.
        (
            json!([a, record(json!([added]))]),
            Err(vec!["r.b: removed"]),
        ),
        (json!([added, record(json!([b]))]), Err(vec!["a: removed"])),
        (
            json!([{"name": "a", "type": "FLOAT"}, record(json!([b]))]),
            Err(vec!["a: type changed from INTEGER to FLOAT"]),
        ),
        (
            json!([{"name": "a", "type": "INTEGER", "mode": "REPEATED"}, record(json!([b]))]),
            Err(vec!["a: mode changed from NULLABLE to REPEATED"]),
        ),
        (
            json!([{"name": "A", "type": "INTEGER"}, record(json!([b]))]),
            Err(vec!["a: name changed to `A`"]),
        ),
        (
            json!([a, record(json!([b])), {"name": "d", "type": "DATE", "mode": "REQUIRED"}]),
            Err(vec!["d: added as REQUIRED"]),
        ),
        (
            json!([a, {"name": "r", "type": "STRING", "mode": "REPEATED"}]),
            Err(vec!["r: type changed from RECORD to STRING"]),
        ),
    ];
    for (new, expected) in cases {
        let found = Schema::evolution(&old, &schema(&new))
            .map_err(|changes| changes.iter().map(ToString::to_string).collect::<Vec<_>>());
        let expected = expected.map(|paths| paths.into_iter().map(str::to_owned).collect());
        assert_eq!(
            found,
            expected.map_err(|texts| texts.into_iter().map(str::to_owned).collect()),
            "{new}"
        );
    }
}

#[test]
fn a_table_wraps_the_datatype() {
    let datatype = schema(&json!([{"name": "Field1", "type": "STRING", "privacy": "none"}]));
    let table = datatype.table();
    let shape: Vec<_> = table
        .fields
        .iter()
        .map(|f| (f.name.as_str(), f.kind.as_str(), f.mode))
        .collect();
    assert_eq!(
        shape,
        [
            ("date", "DATE", Mode::Required),
            ("archiver", "RECORD", Mode::Required),
            ("raw", "RECORD", Mode::Nullable)
        ]
    );
    let archiver: Vec<_> = table.fields[1]
        .fields
        .iter()
        .map(|f| (f.name.as_str(), f.kind.as_str()))
        .collect();
    assert_eq!(
        archiver,
        [
            ("Version", "STRING"),
            ("GitCommit", "STRING"),
            ("ArchiveURL", "STRING"),
            ("Filename", "STRING")
        ]
    );
    assert_eq!(table.fields[2].fields, datatype.fields);
    let row = json!({
        "date": "2022-09-29",
        "archiver": {"Version": "v1", "GitCommit": "0", "ArchiveURL": "gs://b/o", "Filename": "/f"},
        "raw": {"Field1": "x"},
    });
    assert_eq!(table.validate(&row), Ok(()));
    assert!(!table.to_bigquery().to_string().contains("privacy"));
    assert!(table.to_json().to_string().contains("privacy"));
}

#[test]
fn arrow_types() {
    let all = [
        "STRING",
        "BYTES",
        "INTEGER",
        "FLOAT",
        "BOOLEAN",
        "TIMESTAMP",
        "DATE",
        "TIME",
        "DATETIME",
        "NUMERIC",
    ];
    let fields: Vec<_> = all
        .iter()
        .map(|kind| json!({"name": kind, "type": kind, "mode": "REQUIRED"}))
        .collect();
    let scalars = schema(&json!(fields)).to_arrow();
    let found: Vec<_> = scalars
        .iter()
        .map(|field| field.data_type().clone())
        .collect();
    let micros = TimeUnit::Microsecond;
    assert_eq!(
        found,
        [
            DataType::Utf8,
            DataType::Binary,
            DataType::Int64,
            DataType::Float64,
            DataType::Boolean,
            DataType::Timestamp(micros, Some("UTC".into())),
            DataType::Date32,
            DataType::Time64(micros),
            DataType::Timestamp(micros, None),
            DataType::Decimal128(38, 9),
        ]
    );
    let nested =
        schema(&json!([{"name": "r", "type": "RECORD", "mode": "REPEATED", "fields": fields}]))
            .to_arrow();
    let DataType::List(item) = nested[0].data_type() else {
        panic!("{nested:?}")
    };
    let DataType::Struct(inner) = item.data_type() else {
        panic!("{item:?}")
    };
    assert_eq!(*inner, scalars);
    assert!(
        nested
            .iter()
            .chain([item])
            .chain(&scalars)
            .all(|field| field.is_nullable())
    );
}

#[test]
fn arrow_columns_say_the_schema_again() {
    for (name, json) in groma_schema::DATATYPES {
        let schema = Schema::parse(json).unwrap();
        let again = Schema::from_arrow(&schema.to_arrow()).unwrap();
        assert_eq!(again.to_arrow(), schema.to_arrow(), "{name}");
        let columns = Schema {
            fields: schema.fields.into_iter().map(nullable).collect(),
        };
        assert_eq!(Schema::evolution(&columns, &again), Ok(vec![]), "{name}");
    }
    let foreign = arrow_schema::Field::new("x", DataType::UInt8, true);
    assert_eq!(Schema::from_arrow(&vec![foreign].into()), None);
}

/// A field as a column has it: every column of a table is nullable.
fn nullable(field: Field) -> Field {
    Field {
        mode: match field.mode {
            Mode::Required => Mode::Nullable,
            mode => mode,
        },
        fields: field.fields.into_iter().map(nullable).collect(),
        ..field
    }
}
