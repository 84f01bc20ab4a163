//! Which schema files are read, and what is said of the others.

use groma_schema::{Mode, Privacy, Schema, SchemaError, Type};
use std::path::PathBuf;

#[test]
fn a_file_is_read_with_all_it_says() {
    let schema = Schema::parse(
        r#"[
            {"name": "Total", "type": "int64", "description": "Sum, in bytes."},
            {"name": "Steps", "type": "STRUCT", "mode": "REPEATED", "fields": [
                {"name": "Client", "type": "STRING", "privacy": "client_ip"},
                {"name": "Note", "type": "STRING", "mode": "required",
                 "privacy": {"text": {"max_length": 3, "pattern": "[a-z]*"}}}
            ]}
        ]"#,
    )
    .unwrap();
    let [total, steps] = &schema.fields[..] else {
        panic!("{schema:?}")
    };
    assert_eq!((total.kind, total.mode), (Type::Integer, Mode::Nullable));
    assert_eq!(total.description.as_deref(), Some("Sum, in bytes."));
    assert_eq!((steps.kind, steps.mode), (Type::Record, Mode::Repeated));
    assert_eq!(steps.fields[0].privacy, Some(Privacy::ClientIp));
    assert_eq!(steps.fields[1].mode, Mode::Required);
    let Some(Privacy::Text(text)) = &steps.fields[1].privacy else {
        panic!("{steps:?}")
    };
    let accepted = ["abc", "", "abcd", "ab1", "ab\n"].map(|value| text.accepts(value));
    assert_eq!(accepted, [true, true, false, false, false]);
}

/// A schema that is refused, and what the message says.
const REFUSED: &[(&str, &str)] = &[
    ("", "line 1 column 0"),
    ("{}", "line 1 column"),
    ("[]", "no field"),
    (
        "[\n{\"name\": \"a\",\n\"type\": \"STRING\"\n",
        "line 4 column",
    ),
    (r#"[{"type": "STRING"}]"#, "missing field `name`"),
    (r#"[{"name": "a"}]"#, "missing field `type`"),
    (
        "[{\"name\": \"a\", \"type\": \"STRING\"},\n {\"name\": \"b\", \"tpye\": \"STRING\"}]",
        "unknown field `tpye`",
    ),
    (
        "[{\"name\": \"a\", \"type\": \"STRING\"},\n {\"name\": \"b\", \"tpye\": \"STRING\"}]",
        "line 2",
    ),
    (
        r#"[{"name": "a", "type": "STRING", "name": "b"}]"#,
        "duplicate field `name`",
    ),
    (
        r#"[{"name": "a", "type": "TEXT"}]"#,
        "field `a`: unknown type `TEXT`",
    ),
    (
        r#"[{"name": "a", "type": "STRING", "mode": "LIST"}]"#,
        "field `a`: unknown mode `LIST`",
    ),
    (
        r#"[{"name": "a", "type": "RECORD"}]"#,
        "field `a`: RECORD without fields",
    ),
    (
        r#"[{"name": "a", "type": "RECORD", "fields": []}]"#,
        "field `a`: RECORD without fields",
    ),
    (
        r#"[{"name": "a", "type": "DATE", "fields": [{"name": "b", "type": "DATE"}]}]"#,
        "only a RECORD has fields",
    ),
    (
        r#"[{"name": "a", "type": "RECORD", "fields": [{"name": "b", "type": "X"}]}]"#,
        "field `a.b`: unknown type",
    ),
    (
        r#"[{"name": "a", "type": "DATE"}, {"name": "A", "type": "DATE"}]"#,
        "field `A`: name occurs twice",
    ),
    (r#"[{"name": "", "type": "DATE"}]"#, "1 to 300 characters"),
    (
        r#"[{"name": "1a", "type": "DATE"}]"#,
        "letters, digits and `_`",
    ),
    (
        r#"[{"name": "a-b", "type": "DATE"}]"#,
        "letters, digits and `_`",
    ),
    (
        r#"[{"name": "é", "type": "DATE"}]"#,
        "letters, digits and `_`",
    ),
    (
        r#"[{"name": "_partitionTime", "type": "DATE"}]"#,
        "`_PARTITION` are reserved",
    ),
    (
        r#"[{"name": "a", "type": "STRING", "privacy": "secret"}]"#,
        "unknown variant `secret`",
    ),
    (
        r#"[{"name": "a", "type": "INTEGER", "privacy": "client_ip"}]"#,
        "does not fit type INTEGER",
    ),
    (
        r#"[{"name": "a", "type": "BYTES", "privacy": {"text": {"max_length": 1, "pattern": ""}}}]"#,
        "does not fit",
    ),
    (
        r#"[{"name": "a", "type": "STRING", "privacy": {"text": {"max_length": 1, "pattern": "("}}}]"#,
        "line 1",
    ),
    (
        r#"[{"name": "a", "type": "STRING", "privacy": {"text": {"max_length": 1, "pattern": "a)(b"}}}]"#,
        "line 1",
    ),
    (
        r#"[{"name": "a", "type": "STRING", "privacy": {"text": {"max_length": 1}}}]"#,
        "missing field `pattern`",
    ),
    (
        r#"[{"name": "a", "type": "RECORD", "privacy": "none", "fields": [{"name": "b", "type": "DATE"}]}]"#,
        "privacy belongs to the fields",
    ),
];

#[test]
fn what_means_nothing_is_refused_with_the_place() {
    let mut wrong = Vec::new();
    for (json, expected) in REFUSED {
        match Schema::parse(json) {
            Err(error) if error.to_string().contains(expected) => {}
            other => wrong.push(format!("{json}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn size_has_bounds() {
    let nested = |depth| {
        let open = r#"{"name":"a","type":"RECORD","fields":["#.repeat(depth);
        format!(
            r#"{open}{{"name":"a","type":"DATE"}}{}"#,
            "]}".repeat(depth)
        )
    };
    assert!(Schema::parse(&format!("[{}]", nested(14))).is_ok());
    assert!(
        Schema::parse(&format!("[{}]", nested(15)))
            .unwrap_err()
            .to_string()
            .contains("deeper than 15")
    );
    // Deeper than the JSON reader goes, which must refuse rather than run out of stack.
    assert!(matches!(
        Schema::parse(&format!("[{}]", nested(50_000))),
        Err(SchemaError::Json(_))
    ));
    let wide = |count| {
        (0..count)
            .map(|at| format!(r#"{{"name":"f{at}","type":"DATE"}}"#))
            .collect::<Vec<_>>()
            .join(",")
    };
    assert!(Schema::parse(&format!("[{}]", wide(10_000))).is_ok());
    assert!(
        Schema::parse(&format!("[{}]", wide(10_001)))
            .unwrap_err()
            .to_string()
            .contains("more than 10000")
    );
}

#[test]
fn published_schema_files_are_what_their_names_say() {
    let root = std::env::var_os("GROMA_TEST_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    let Ok(directory) = std::fs::read_dir(root.join("schemas")) else {
        println!(
            "skipped: no schemas in {}; set GROMA_TEST_DATA",
            root.display()
        );
        return;
    };
    let mut seen = 0;
    for entry in directory {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let parsed = Schema::parse(&std::fs::read_to_string(&path).unwrap());
        assert_eq!(
            parsed.is_err(),
            name.contains("invalid"),
            "{name}: {parsed:?}"
        );
        if let Ok(schema) = parsed {
            assert_eq!(
                Schema::parse(&schema.to_bigquery().to_string()).unwrap(),
                schema,
                "{name}"
            );
        }
        seen += 1;
    }
    assert!(seen > 0, "no file in {}", root.display());
    let read = |name: &str| {
        Schema::parse(&std::fs::read_to_string(root.join("schemas").join(name)).unwrap()).unwrap()
    };
    let (old, new) = (read("foo1-valid.json"), read("foo1-valid-superset.json"));
    assert_eq!(Schema::evolution(&old, &new), Ok(vec!["Field3".to_owned()]));
    assert_eq!(
        Schema::evolution(&new, &old).unwrap_err()[0].to_string(),
        "Field3: removed"
    );
}
