use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_json::LineDelimitedWriter;
use arrow_schema::{DataType, Field, Fields, TimeUnit};
use serde_json::{Value, json};

use crate::Limits;
use crate::column::Traits;
use crate::row::{Batch, table_schema};
use crate::source::Archiver;

fn batch(fields: &Fields, traits: &Traits, member_values: u64) -> Batch {
    let raw = Field::new("raw", DataType::Struct(fields.clone()), true);
    let limits = Limits {
        member_values,
        ..Limits::default()
    };
    Batch::new(Arc::new(table_schema(vec![raw])), traits, limits)
}

fn raws(batch: &mut Batch) -> Vec<Value> {
    let mut text = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut text);
    writer.write(&batch.take().unwrap()).unwrap();
    writer.finish().unwrap();
    let rows = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    rows.map(|line| serde_json::from_slice::<Value>(line).unwrap()["raw"].take())
        .collect()
}

fn fit_in(fields: &Fields, traits: &Traits, value: &Value) -> Result<Value, String> {
    let mut batch = batch(fields, traits, 1000);
    batch.put_json("raw", value.to_string().as_bytes())?;
    batch.end_row(None, &Archiver::default());
    Ok(raws(&mut batch).remove(0))
}

fn fields() -> Fields {
    let item = Field::new("item", DataType::Int64, true);
    Fields::from(vec![
        Field::new("Name", DataType::Utf8, true),
        Field::new("N", DataType::Int64, true),
        Field::new("F", DataType::Float64, true),
        Field::new(
            "T",
            DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            true,
        ),
        Field::new("L", DataType::List(Arc::new(item)), true),
    ])
}

fn fit(value: &Value) -> Result<Value, String> {
    fit_in(&fields(), &Traits::default(), value)
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
        (json!({"F": 2, "L": [1, 2]}), json!({"F": 2.0, "L": [1, 2]})),
        (
            json!({"T": "2020-03-18T00:06:43.982686479Z"}),
            json!({"T": "2020-03-18T00:06:43.982686Z", "L": []}),
        ),
        (
            json!({"T": "1969-12-31T23:59:59.9999999Z"}),
            json!({"T": "1969-12-31T23:59:59.999999Z", "L": []}),
        ),
    ] {
        assert_eq!(fit(&given), Ok(expected));
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
        (json!({"T": 7}), "raw.T: expected an RFC 3339 time, found 7"),
        (json!({"n": 1, "N": 2}), "raw.N: given twice"),
        (json!([]), "raw: expected an object, found a list"),
        (json!(null), "raw: expected an object, found null"),
    ] {
        assert_eq!(fit(&given), Err(reason.to_owned()));
    }
}

#[test]
fn every_other_type_is_read() {
    let day = DataType::Date32;
    let fields = Fields::from(vec![
        Field::new("D", day, true),
        Field::new("C", DataType::Time64(TimeUnit::Microsecond), true),
        Field::new("W", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("M", DataType::Decimal128(38, 9), true),
        Field::new("B", DataType::Binary, true),
        Field::new("Y", DataType::Boolean, true),
    ]);
    let given = json!({"D": "2020-03-18", "C": "01:02:03.5", "W": "2020-03-18T01:02:03",
        "M": "-1.25", "B": "AP8=", "Y": true});
    let row = fit_in(&fields, &Traits::default(), &given).unwrap();
    assert_eq!(row["D"], "2020-03-18");
    assert_eq!(row["C"], "01:02:03.500");
    assert_eq!(row["W"], "2020-03-18T01:02:03");
    assert_eq!(row["M"].to_string().trim_matches('"'), "-1.25");
    assert_eq!(row["B"], "00ff");
    assert_eq!(row["Y"], true);
    for bad in [
        json!({"D": "18.3.2020"}),
        json!({"B": "!"}),
        json!({"M": "x"}),
        json!({"Y": 1}),
    ] {
        assert!(fit_in(&fields, &Traits::default(), &bad).is_err(), "{bad}");
    }
}

#[test]
fn what_a_datatype_asks_for_is_done() {
    let inner = vec![
        Field::new("N", DataType::Int64, true),
        Field::new("S", DataType::Utf8, true),
    ];
    let record = |name: &str| Field::new(name, DataType::Struct(inner.clone().into()), true);
    let fields = vec![record("A"), record("B"), record("C")].into();
    let traits = Traits {
        zero_filled: &["A", "C"],
        aliases: &[("B", "Old", "N")],
        ignored: &[("B", "S")],
    };
    for (given, expected) in [
        (json!({"A": {}, "B": {}}), json!({"A": {"N": 0}, "B": {}})),
        (json!({"B": {"Old": 7}}), json!({"B": {"N": 7}})),
        (json!({"B": {"Old": 7, "N": 9}}), json!({"B": {"N": 9}})),
        (json!({"B": {"N": 9, "Old": 7}}), json!({"B": {"N": 9}})),
        (json!({"B": {"S": [1]}}), json!({"B": {}})),
        (json!({"A": {"N": null}}), json!({"A": {}})),
    ] {
        assert_eq!(fit_in(&fields, &traits, &given), Ok(expected), "{given}");
    }
}

#[test]
fn a_refused_row_leaves_nothing_behind() {
    let mut batch = batch(&fields(), &Traits::default(), 1000);
    let rows = [
        r#"{"Name": "a", "L": [1]}"#,
        r#"{"Name": "b", "F": 1.5, "L": [1, 2, 3, "x"]}"#,
        r#"{"Name": "c", "F": 1.5, "N": 1"#,
        r#"{"N": 4}"#,
    ];
    for row in rows {
        let before = batch.rows();
        match batch.put_json("raw", row.as_bytes()) {
            Ok(()) => batch.end_row(Some("id"), &Archiver::default()),
            Err(_) => batch.cut(before),
        }
    }
    assert_eq!(
        raws(&mut batch),
        [json!({"Name": "a", "L": [1]}), json!({"N": 4, "L": []})]
    );
}

#[test]
fn counts_unknown_fields() {
    let mut batch = batch(&fields(), &Traits::default(), 1000);
    batch
        .put_json("raw", br#"{"Other": [{}], "N": 1}"#)
        .unwrap();
    assert_eq!(
        batch.report().unknown,
        BTreeMap::from([("raw.Other".to_owned(), 1)])
    );
}

#[test]
fn records_cost_what_their_columns_cost() {
    let column = |n: usize| Field::new(format!("C{n}"), DataType::Int64, true);
    let record = DataType::Struct((0..10).map(column).collect());
    let list = DataType::List(Arc::new(Field::new("item", record, true)));
    let fields = vec![Field::new("L", list, true)].into();
    let fit = |records: usize, slots| {
        let value = json!({ "L": vec![json!({}); records] });
        batch(&fields, &Traits::default(), slots).put_json("raw", value.to_string().as_bytes())
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

#[test]
fn names_and_values_may_be_an_object() {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let pair = DataType::Struct(vec![text("Name"), text("Value")].into());
    let list = DataType::List(Arc::new(Field::new("item", pair, true)));
    let fields = vec![Field::new("Metadata", list, true)].into();
    let fit = |value: Value| fit_in(&fields, &Traits::default(), &value);
    let as_list = json!({"Metadata": [{"Name": "a", "Value": "b"}, {"Name": "n", "Value": "1"}, {"Name": "z"}]});
    assert_eq!(fit(as_list.clone()), Ok(as_list.clone()));
    assert_eq!(
        fit(json!({"Metadata": {"a": "b", "n": 1, "z": null}})),
        Ok(as_list)
    );
    assert_eq!(fit(json!({"Metadata": {}})), Ok(json!({"Metadata": []})));
    assert!(fit(json!({"Metadata": {"a": ["b"]}})).is_err());
}
