use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, TimeUnit};
use serde_json::{Value, json};

use super::{Report, Shape};

/// Column slots enough for every test but one.
const SLOTS: u64 = 1000;

fn fit(value: Value) -> (Result<Value, String>, Report) {
    let item = Field::new("item", DataType::Int64, true);
    let fields = Fields::from(vec![
        Field::new("Name", DataType::Utf8, true),
        Field::new("N", DataType::Int64, true),
        Field::new("F", DataType::Float64, true),
        Field::new(
            "T",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            true,
        ),
        Field::new("L", DataType::List(Arc::new(item)), true),
    ]);
    let mut report = Report::default();
    (
        Shape::of(&fields, &[]).fit("raw", value, SLOTS, &mut report),
        report,
    )
}

#[test]
fn takes_what_bigquery_takes() {
    for (given, expected) in [
        (json!({}), json!({"L": []})),
        (
            json!({"name": "a", "n": 3.0}),
            json!({"Name": "a", "N": 3, "L": []}),
        ),
        (json!({"N": "-7", "L": null}), json!({"N": -7, "L": []})),
        (json!({"F": 2, "L": [1, 2]}), json!({"F": 2, "L": [1, 2]})),
        (
            json!({"T": "2020-03-18T00:06:43.982686479Z"}),
            json!({"T": 1_584_490_003_982_686_i64, "L": []}),
        ),
        (
            json!({"T": "1969-12-31T23:59:59.9999999Z"}),
            json!({"T": -1, "L": []}),
        ),
    ] {
        assert_eq!(fit(given).0, Ok(expected));
    }
}

#[test]
fn refuses_the_rest_and_says_where() {
    for (given, reason) in [
        (
            json!({"N": 1.5}),
            "raw.N: expected a 64-bit integer, found 1.5",
        ),
        (
            json!({"N": u64::MAX}),
            "raw.N: expected a 64-bit integer, found 18446744073709551615",
        ),
        (json!({"L": [1, null]}), "raw.L: null in a list"),
        (
            json!({"L": [1, "x"]}),
            "raw.L: expected a 64-bit integer, found \"x\"",
        ),
        (json!({"Name": 1}), "raw.Name: expected a string, found 1"),
        (
            json!({"T": "yesterday"}),
            "raw.T: expected an RFC 3339 time, found \"yesterday\"",
        ),
        (json!({"n": 1, "N": 2}), "raw.N: given twice"),
        (json!([]), "raw: expected an object, found a list"),
    ] {
        assert_eq!(fit(given).0, Err(reason.to_owned()));
    }
}

#[test]
fn fills_only_the_records_it_is_told_to() {
    let inner = vec![
        Field::new("N", DataType::Int64, true),
        Field::new("S", DataType::Utf8, true),
    ];
    let record = |name: &str| Field::new(name, DataType::Struct(inner.clone().into()), true);
    let shape = Shape::of(
        &vec![record("A"), record("B"), record("C")].into(),
        &["A", "C"],
    );
    let fitted = shape.fit(
        "raw",
        json!({"A": {}, "B": {}}),
        SLOTS,
        &mut Report::default(),
    );
    assert_eq!(fitted, Ok(json!({"A": {"N": 0}, "B": {}})));
}

#[test]
fn bytes_pass_from_base64_to_hexadecimal() {
    let fields = Fields::from(vec![Field::new("B", DataType::Binary, true)]);
    let shape = Shape::of(&fields, &[]);
    let fit = |text: &str| shape.fit("raw", json!({ "B": text }), SLOTS, &mut Report::default());
    assert_eq!(fit("AP8="), Ok(json!({"B": "00ff"})));
    assert!(fit("!").is_err());
}

#[test]
fn counts_unknown_fields() {
    let (fitted, report) = fit(json!({"Other": 1, "N": 1}));
    assert_eq!(fitted, Ok(json!({"N": 1, "L": []})));
    assert_eq!(
        report.unknown.into_iter().collect::<Vec<_>>(),
        [("raw.Other".to_owned(), 1)]
    );
}

#[test]
fn records_cost_what_their_columns_cost() {
    let column = |n: usize| Field::new(format!("C{n}"), DataType::Int64, true);
    let record = DataType::Struct((0..10).map(column).collect());
    let list = DataType::List(Arc::new(Field::new("item", record, true)));
    let shape = Shape::of(&vec![Field::new("L", list, true)].into(), &[]);
    let fit = |records: usize, slots| {
        let value = json!({ "L": vec![json!({}); records] });
        shape.fit("raw", value, slots, &mut Report::default())
    };
    assert!(
        fit(5, 51).is_ok(),
        "one slot for the list and ten for each record"
    );
    assert_eq!(
        fit(5, 50),
        Err("raw.L: too many records in one measurement".to_owned())
    );
}
