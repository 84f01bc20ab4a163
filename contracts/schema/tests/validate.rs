//! The values that a row may hold, type by type.

use groma_schema::{MAX_VIOLATIONS, Schema};
use serde_json::{Value, json};

/// Violations of `value` in a column `x` of the given JSON field attributes.
fn violations(attributes: &str, value: &Value) -> Vec<String> {
    let schema = Schema::parse(&format!(r#"[{{"name": "x", {attributes}}}]"#)).unwrap();
    let found = schema
        .validate(&json!({ "x": value }))
        .err()
        .unwrap_or_default();
    found.iter().map(ToString::to_string).collect()
}

/// Type, a list of values that it takes, and a list of values that it refuses.
#[rustfmt::skip]
const VALUES: &[(&str, &str, &str)] = &[
    ("STRING", r#"["", "v0.20.17", "\u0000"]"#, r"[1, true, [], {}]"),
    ("BYTES", r#"["", "AA==", "+/A="]"#, r#"["A", "A===", "-_A=", 1]"#),
    (
        "INTEGER",
        "[0, -9223372036854775808, 9223372036854775807]",
        r#"[18446744073709551615, 9223372036854775808, -9223372036854775809, 1.0, 1e30, "1", true]"#,
    ),
    ("FLOAT", "[0, -1.5, 1e300, 18446744073709551615]", r#"["1", "NaN", false]"#),
    ("BOOLEAN", "[true, false]", r#"[0, "true"]"#),
    (
        "TIMESTAMP",
        r#"["2020-03-18T00:06:57.568560214Z", "2020-03-18T00:06:57Z", "2020-03-18 00:06:57.5+01:00",
            "0001-01-01T00:00:00Z", "9999-12-30T00:00:00-05:30"]"#,
        r#"["2020-03-18T00:06:57", "2020-03-18", "2020-02-30T00:06:57Z", "2020-03-18T24:00:00Z", "2020-03-18T23:59:60Z",
            "2020-03-18T00:06:57.Z", "2020-03-18T00:06:57.0000000001Z", "2020-03-18T00:06Z", "2020-03-18T00:06:57+25:99",
            "2020-03-18T00:06:57Z[Europe/Rome]", "0000-01-01T00:00:00Z", "\u0661234-01-01T00:00:00Z", "", 1584490017]"#,
    ),
    ("DATE", r#"["2024-02-29", "0001-01-01"]"#, r#"["2023-02-29", "2024-2-29", "20240229", "0000-01-01", 20240229]"#),
    ("TIME", r#"["00:00:00", "23:59:59.123456"]"#, r#"["24:00:00", "23:59:60", "1:00:00", "00:00", "\u0660:00:00"]"#),
    (
        "DATETIME",
        r#"["2024-02-29T00:00:00", "2024-02-29 23:59:59.5"]"#,
        r#"["2024-02-29", "2024-02-29T00:00:00Z", "2024-02-30T00:00:00"]"#,
    ),
    (
        "NUMERIC",
        r#"[1, -1.5, "12345678901234567890123456789.123456789", "-0.1"]"#,
        r#"[1e29, "1e3", "1.0123456789", "123456789012345678901234567890", ".", "", "1.", true]"#,
    ),
];

#[test]
fn values_of_every_type() {
    let mut wrong = Vec::new();
    for (kind, good, bad) in VALUES {
        let attributes = format!(r#""type": "{kind}""#);
        let mut check = |values: &str, expected: usize| {
            for value in serde_json::from_str::<Vec<Value>>(values).unwrap() {
                let found = violations(&attributes, &value);
                if found.len() != expected {
                    wrong.push(format!("{kind} {value}: {found:?}"));
                }
            }
        };
        check(good, 0);
        check(bad, 1);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn null_by_mode() {
    assert!(violations(r#""type": "DATE""#, &Value::Null).is_empty());
    assert!(violations(r#""type": "DATE", "mode": "REPEATED""#, &Value::Null).is_empty());
    assert!(violations(r#""type": "DATE", "mode": "REPEATED""#, &json!([])).is_empty());
    assert_eq!(
        violations(r#""type": "DATE", "mode": "REQUIRED""#, &Value::Null),
        ["$.x: required value is missing"]
    );
    // BigQuery refuses a list with a null in it.
    assert_eq!(
        violations(
            r#""type": "DATE", "mode": "REPEATED""#,
            &json!(["2024-01-01", null])
        ),
        ["$.x[1]: null where DATE is expected"]
    );
    assert_eq!(
        violations(
            r#""type": "DATE", "mode": "REPEATED""#,
            &json!("2024-01-01")
        ),
        ["$.x: a string where a list of DATE is expected"]
    );
    let required = Schema::parse(r#"[{"name": "a", "type": "DATE", "mode": "REQUIRED"}]"#).unwrap();
    assert_eq!(
        required.validate(&json!({})).unwrap_err()[0].to_string(),
        "$.a: required value is missing"
    );
}

#[test]
fn text_keeps_its_bounds_and_stays_out_of_the_message() {
    let attributes =
        r#""type": "STRING", "privacy": {"text": {"max_length": 4, "pattern": "[a-zé]*"}}"#;
    assert!(violations(attributes, &json!("éééé")).is_empty());
    assert_eq!(
        violations(attributes, &json!("secre")),
        ["$.x: text is longer than 4 characters"]
    );
    assert_eq!(
        violations(attributes, &json!("a1")),
        ["$.x: text does not match `[a-zé]*`"]
    );
    assert_eq!(
        violations(attributes, &json!("a\n")),
        ["$.x: text does not match `[a-zé]*`"]
    );
}

#[test]
fn a_field_without_privacy_holds_neither_an_address_nor_free_text() {
    let undeclared = |what| {
        vec![format!(
            "$.x: {what} in a field whose `privacy` declares none"
        )]
    };
    for attributes in [
        r#""type": "STRING""#,
        r#""type": "STRING", "privacy": "none""#,
    ] {
        let found = |text: &str| violations(attributes, &json!(text));
        assert!(found(&"v".repeat(256)).is_empty());
        let long = "v".repeat(257);
        assert_eq!(found(&long), undeclared("text of more than 256 bytes"));
        assert_eq!(found("by 192.0.2.1"), undeclared("an IP address"));
        assert_eq!(found("[2001:db8::1]:443"), undeclared("an IP address"));
        assert_eq!(found("jane@example.org"), undeclared("an e-mail address"));
    }
    let list = violations(
        r#""type": "STRING", "mode": "REPEATED""#,
        &json!(["a", "8.8.8.8"]),
    );
    assert_eq!(list.len(), 1, "{list:?}");
}

#[test]
fn an_address_field_holds_an_address_and_nothing_beside_it() {
    for privacy in ["client_ip", "server_ip", "router_ip"] {
        let attributes = format!(r#""type": "STRING", "privacy": "{privacy}""#);
        for good in ["1.2.3.4", "1.2.3.4:5", "[::1]:5", "::1"] {
            assert!(violations(&attributes, &json!(good)).is_empty(), "{good}");
        }
        for bad in ["", "Jane Doe", "1.2.3.4 Jane Doe", "example.org:443"] {
            let found = violations(&attributes, &json!(bad));
            let expected = ["$.x: text is no IP address, with or without a port"];
            assert_eq!(found, expected, "{bad}");
        }
    }
}

#[test]
fn forbidden_text_is_refused_however_it_is_spelled() {
    let attributes = r#""type": "STRING",
        "privacy": {"text": {"max_length": 99, "pattern": ".*", "forbidden": ["access_token"]}}"#;
    assert!(violations(attributes, &json!("access_token_age")).is_empty());
    for bad in ["access_token", "Access_Token", " access_token "] {
        let found = violations(attributes, &json!(bad));
        assert_eq!(found, ["$.x: this text is forbidden"], "{bad}");
    }
}

#[test]
fn paths_lead_to_the_value() {
    let schema = Schema::parse(
        r#"[{"name": "Download", "type": "RECORD", "fields": [
            {"name": "ServerMeasurements", "type": "RECORD", "mode": "REPEATED", "fields": [
                {"name": "TCPInfo", "type": "RECORD", "fields": [{"name": "RTT", "type": "INTEGER"}]}]}]}]"#,
    )
    .unwrap();
    let row = json!({
        "Download": {"ServerMeasurements": [{}, {"TCPInfo": {"RTT": 1}}, {"TCPInfo": null}, {"TCPInfo": {"RTT": "fast"}}]},
        "download": {},
        "a key\nwith a line": 1,
    });
    let found: Vec<String> = schema
        .validate(&row)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        found,
        [
            "$.Download.ServerMeasurements[3].TCPInfo.RTT: a string where INTEGER is expected",
            "$.download: unknown field, the schema has `Download`",
            r#"$["a key\nwith a line"]: unknown field"#,
        ]
    );
    assert_eq!(
        schema.validate(&json!([])).unwrap_err()[0].to_string(),
        "$: a list where RECORD is expected"
    );
}

#[test]
fn reports_are_bounded() {
    let schema =
        Schema::parse(r#"[{"name": "x", "type": "INTEGER", "mode": "REPEATED"}]"#).unwrap();
    let row = json!({"x": vec!["no"; 10_000], "y": 1});
    assert_eq!(schema.validate(&row).unwrap_err().len(), MAX_VIOLATIONS);
    let keys: serde_json::Map<String, Value> = (0..10_000)
        .map(|at| (format!("{at:0>500}"), json!(1)))
        .collect();
    let found = schema.validate(&Value::Object(keys)).unwrap_err();
    assert_eq!(found.len(), MAX_VIOLATIONS);
    assert!(found.iter().all(|violation| violation.path.len() < 100));
}
