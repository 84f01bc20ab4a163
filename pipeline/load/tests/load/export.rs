//! Rows out of the lake again, and the account beside them.

use groma_load::{Export, export};
use serde_json::{Value, json};

use crate::support::{Lab, PROBE_OBJECT, gzip, lines, tar};

#[test]
fn every_form_has_every_row() {
    let lab = Lab::new();
    let a = br#"{"UUID": "a", "Count": 1, "Hops": [{"TTL": 3}]}"#;
    let b = br#"{"UUID": "b,\"x\"", "Share": 0.5}"#;
    lab.put(
        PROBE_OBJECT,
        &gzip(&tar(&[
            ("a.json", a),
            ("b.json", b),
            ("c.json", b"{"),
            ("d.txt", b""),
        ])),
    );
    let files = [lab.loader().load_object(PROBE_OBJECT, None).unwrap().path];
    let (experiment, datatype) = ("lab".parse().unwrap(), "probe1".parse().unwrap());
    let date = "2024-05-06".parse().unwrap();
    let exported = |form| {
        let mut out = Vec::new();
        let rows = export(lab.lake().store(), &files, date, form, &mut out).unwrap();
        assert_eq!(rows, 2);
        out
    };
    let rows = lines(&exported(Export::Jsonl));
    assert_eq!(rows[0]["raw"]["Hops"], json!([{"TTL": 3}]));
    assert_eq!(
        (&rows[0]["date"], &rows[0]["archiver"]["Filename"]),
        (&json!("2024-05-06"), &json!("a.json"))
    );
    let rows = lines(&exported(Export::MlabJsonl));
    assert_eq!(
        (&rows[1]["parser"]["Filename"], rows[1].get("archiver")),
        (&json!("b.json"), None)
    );
    let text = String::from_utf8(exported(Export::Csv)).unwrap();
    let mut csv = text.split("\r\n");
    assert!(csv.next().unwrap().starts_with("date,id,archiver.Version,"));
    assert!(csv.next().unwrap().contains(r#""[{""TTL"":3}]""#), "{text}");
    assert!(csv.next().unwrap().contains(r#""b,""x""""#), "{text}");
    assert_eq!(&exported(Export::Parquet)[..4], b"PAR1");

    let path = lab.lake().account_path(
        &experiment,
        &datatype,
        date,
        "20240506T070809.000000Z-probe1-mlab1-lga0t-lab",
    );
    let mut account: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let account = account.as_object_mut().unwrap();
    // The identity of the object depends on the compressor and the time.
    let object = std::fs::read(lab.store.root().join(PROBE_OBJECT)).unwrap();
    assert_eq!(account.remove("object_bytes").unwrap(), object.len());
    let sha256 = account.remove("object_sha256").unwrap();
    assert_eq!(sha256.as_str().unwrap().len(), 64);
    assert!(account.remove("object_modified").unwrap().is_string());
    assert_eq!(
        Value::Object(account.clone()),
        json!({"object": PROBE_OBJECT, "members": 4, "loaded": 2, "failed": 1, "skipped": 1, "rows": 2, "errors": 1,
            "damaged": false, "unknown_fields": {}})
    );
}
