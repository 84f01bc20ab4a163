//! Any schema that can be written down survives every way of writing it.

use groma_schema::{Field, Mode, Pattern, Privacy, Schema, Text, Type};
use proptest::prelude::*;
use serde_json::{Value, json};

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        Just(Mode::Nullable),
        Just(Mode::Repeated),
        Just(Mode::Required)
    ]
}

fn leaf() -> impl Strategy<Value = Field> {
    let text =
        ("[a-z.*+]{0,8}", 0..1000_usize).prop_filter_map("a pattern", |(pattern, max_length)| {
            Pattern::new(&pattern).ok().map(|pattern| {
                (
                    Type::String,
                    Some(Privacy::Text(Text {
                        max_length,
                        pattern,
                        forbidden: Vec::new(),
                    })),
                )
            })
        });
    let kind = prop_oneof![
        Just((Type::String, None)),
        Just((Type::String, Some(Privacy::ClientIp))),
        Just((Type::Bytes, Some(Privacy::ServerIp))),
        Just((Type::Integer, Some(Privacy::None))),
        Just((Type::Float, Some(Privacy::CityCoordinate))),
        Just((Type::Boolean, Some(Privacy::Inventory))),
        Just((Type::Timestamp, None)),
        Just((Type::Date, None)),
        Just((Type::Time, None)),
        Just((Type::Datetime, None)),
        Just((Type::Numeric, None)),
        text,
    ];
    (kind, mode(), prop::option::of("\\PC{0,20}")).prop_map(
        |((kind, privacy), mode, description)| Field {
            mode,
            description,
            privacy,
            ..Field::new("", kind)
        },
    )
}

/// Siblings named by their place, which keeps them distinct.
fn named(fields: Vec<Field>) -> Vec<Field> {
    fields
        .into_iter()
        .enumerate()
        .map(|(at, field)| Field {
            name: format!("Field_{at}"),
            ..field
        })
        .collect()
}

fn schema() -> impl Strategy<Value = Schema> {
    let field = leaf().prop_recursive(4, 40, 5, |inner| {
        (prop::collection::vec(inner, 1..5), mode())
            .prop_map(|(fields, mode)| Field::record("", named(fields)).with_mode(mode))
    });
    prop::collection::vec(field, 1..6).prop_map(|fields| Schema {
        fields: named(fields),
    })
}

fn stripped(fields: &[Field]) -> Vec<Field> {
    fields
        .iter()
        .map(|field| Field {
            privacy: None,
            fields: stripped(&field.fields),
            ..field.clone()
        })
        .collect()
}

/// A row in which every column has a value.
fn row(fields: &[Field]) -> Value {
    let one = |field: &Field| match field.kind {
        Type::String if field.privacy == Some(Privacy::ClientIp) => json!("192.0.2.1:443"),
        Type::String => json!(""),
        Type::Bytes => json!("AAE="),
        Type::Integer => json!(i64::MIN),
        Type::Float => json!(0.5),
        Type::Boolean => json!(true),
        Type::Timestamp => json!("2020-03-18T00:06:57.568560214Z"),
        Type::Date => json!("2020-03-18"),
        Type::Time => json!("00:06:57"),
        Type::Datetime => json!("2020-03-18T00:06:57"),
        Type::Numeric => json!("0.1"),
        Type::Record => row(&field.fields),
    };
    let value = |field: &Field| {
        if field.mode == Mode::Repeated {
            json!([one(field), one(field)])
        } else {
            one(field)
        }
    };
    fields
        .iter()
        .map(|field| (field.name.clone(), value(field)))
        .collect()
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[-+0-9T:.Z ]{0,30}".prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("Field_[0-5]|\\PC{0,5}", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_schema_reads_back_as_it_was_written(schema in schema()) {
        prop_assert_eq!(&Schema::parse(&schema.to_json().to_string()).unwrap(), &schema);
        let published = Schema::parse(&schema.to_bigquery().to_string()).unwrap();
        prop_assert_eq!(published.fields, stripped(&schema.fields));
        let table = schema.table();
        prop_assert_eq!(Schema::parse(&table.to_json().to_string()).unwrap(), table);
    }

    #[test]
    fn a_schema_evolves_into_itself_and_what_it_adds(old in schema(), more in leaf(), at in any::<prop::sample::Index>()) {
        prop_assert_eq!(Schema::evolution(&old, &old), Ok(Vec::new()));
        let mut new = old.clone();
        new.fields.push(Field { name: "Added".into(), mode: Mode::Nullable, ..more });
        prop_assert_eq!(Schema::evolution(&old, &new), Ok(vec!["Added".to_owned()]));
        prop_assert!(Schema::evolution(&new, &old).is_err());
        new.fields.remove(at.index(old.fields.len()));
        prop_assert!(Schema::evolution(&old, &new).is_err(), "one added and one dropped");
    }

    #[test]
    fn a_complete_row_is_valid(schema in schema()) {
        let row = row(&schema.fields);
        let strict_text = |violations: &[groma_schema::Violation]| {
            violations.iter().all(|violation| violation.problem.to_string().contains("match"))
        };
        // Only a pattern may refuse the empty text.
        prop_assert!(schema.validate(&row).map_or_else(|found| strict_text(&found), |()| true));
        let undeclared = |violations: &[groma_schema::Violation]| {
            violations.iter().all(|violation| violation.problem == groma_schema::Problem::Undeclared("an IP address"))
        };
        // Without its declaration the address is refused, and nothing else is.
        let bare = Schema { fields: stripped(&schema.fields) };
        prop_assert!(bare.validate(&row).map_or_else(|found| undeclared(&found), |()| true));
    }

    #[test]
    fn arrow_has_every_column(schema in schema()) {
        let arrow = schema.to_arrow();
        prop_assert_eq!(arrow.len(), schema.fields.len());
        for (column, field) in arrow.iter().zip(&schema.fields) {
            prop_assert_eq!(column.name(), &field.name);
            prop_assert!(column.is_nullable());
        }
    }

    #[test]
    fn foreign_values_never_panic(schema in schema(), value in json_value()) {
        let in_memory = schema.validate(&value);
        let text = value.to_string();
        let mut reader = serde_json::Deserializer::from_reader(text.as_bytes());
        let mut streamed = schema.validate_from(&mut reader, &|| 7).unwrap();
        for violation in streamed.as_mut().err().into_iter().flatten() {
            prop_assert_eq!(violation.line.take(), Some(7));
        }
        prop_assert_eq!(streamed, in_memory);
        let _ = Schema::parse(&text);
    }
}
