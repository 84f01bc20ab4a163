use crate::field::{Field, Schema, Type};
use serde_json::{Map, Value};

impl Schema {
    /// The schema file again: what [`Schema::parse`] reads back as the same schema.
    pub fn to_json(&self) -> Value {
        list(&self.fields, true)
    }

    /// The field list for `BigQuery`, which knows no `privacy`.
    pub fn to_bigquery(&self) -> Value {
        list(&self.fields, false)
    }
}

fn list(fields: &[Field], with_privacy: bool) -> Value {
    fields
        .iter()
        .map(|field| object(field, with_privacy))
        .collect()
}

fn object(field: &Field, with_privacy: bool) -> Value {
    let mut out = Map::new();
    out.insert("name".into(), field.name.clone().into());
    out.insert("type".into(), field.kind.as_str().into());
    out.insert("mode".into(), field.mode.as_str().into());
    if let Some(description) = &field.description {
        out.insert("description".into(), description.clone().into());
    }
    if let Some(privacy) = field.privacy.as_ref().filter(|_| with_privacy) {
        let value = serde_json::to_value(privacy).expect("privacy holds only text and a number");
        out.insert("privacy".into(), value);
    }
    if field.kind == Type::Record {
        out.insert("fields".into(), list(&field.fields, with_privacy));
    }
    Value::Object(out)
}
