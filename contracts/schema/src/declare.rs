//! Privacy that an operator declares for a schema whose file has none, as M-Lab's schemas do.

use std::collections::BTreeMap;

use crate::error::SchemaError;
use crate::field::{Field, Schema, Type};
use crate::parse::{check_privacy, refuse};
use crate::privacy::Privacy;

impl Schema {
    /// Returns whether no field says anything about privacy.
    pub fn has_no_privacy(&self) -> bool {
        fn is_silent(field: &Field) -> bool {
            field.privacy.is_none() && field.fields.iter().all(is_silent)
        }
        self.fields.iter().all(is_silent)
    }

    /// Returns the dotted paths of the STRING fields without `privacy`.
    pub fn undeclared_texts(&self) -> Vec<String> {
        let mut paths = Vec::new();
        collect(&self.fields, "", &mut paths);
        paths
    }

    /// Adds declarations: a JSON object whose keys are dotted paths of fields and whose values are what `privacy` would be
    /// in the schema, such as `{"Raw.Client": "client_ip"}`.
    ///
    /// # Errors
    ///
    /// Text that is not such an object, a path without a field, a field that has a `privacy` already, and a value that does
    /// not fit the field's type.
    pub fn declare(&mut self, declarations: &str) -> Result<(), SchemaError> {
        let declarations: BTreeMap<String, Privacy> = serde_json::from_str(declarations)?;
        for (path, privacy) in declarations {
            let Some(field) = find(&mut self.fields, &path) else {
                return refuse(&path, "the schema has no such field");
            };
            if field.privacy.is_some() {
                return refuse(&path, "the schema declares its privacy already");
            }
            check_privacy(&path, field.kind, Some(&privacy))?;
            field.privacy = Some(privacy);
        }
        Ok(())
    }
}

fn collect(fields: &[Field], above: &str, paths: &mut Vec<String>) {
    for field in fields {
        let path = if above.is_empty() {
            field.name.clone()
        } else {
            format!("{above}.{}", field.name)
        };
        if field.kind == Type::String && field.privacy.is_none() {
            paths.push(path.clone());
        }
        collect(&field.fields, &path, paths);
    }
}

fn find<'a>(fields: &'a mut [Field], path: &str) -> Option<&'a mut Field> {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    let field = fields.iter_mut().find(|field| field.name == name)?;
    match rest {
        Some(rest) => find(&mut field.fields, rest),
        None => Some(field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"[
        {"name": "Client", "type": "STRING"},
        {"name": "Rate", "type": "FLOAT"},
        {"name": "Server", "type": "RECORD", "fields": [{"name": "Name", "type": "STRING"}]}
    ]"#;

    #[test]
    fn declared_fields_are_as_if_the_schema_had_said_so() {
        let mut schema = Schema::parse(SCHEMA).unwrap();
        assert!(schema.has_no_privacy());
        assert_eq!(schema.undeclared_texts(), ["Client", "Server.Name"]);
        schema
            .declare(r#"{"Client": "client_ip", "Server.Name": {"text": {"max_length": 9, "pattern": "[a-z]+"}}}"#)
            .unwrap();
        assert!(schema.undeclared_texts().is_empty() && !schema.has_no_privacy());
        let value =
            |client: &str| format!(r#"{{"Client": "{client}", "Server": {{"Name": "abc"}}}}"#);
        for (client, is_valid) in [("192.0.2.7", true), ("nobody", false)] {
            let json = serde_json::from_str(&value(client)).unwrap();
            assert_eq!(schema.validate(&json).is_ok(), is_valid, "{client}");
        }
    }

    #[test]
    fn declarations_that_do_not_fit_are_refused_with_the_field() {
        let mut schema = Schema::parse(SCHEMA).unwrap();
        schema.declare(r#"{"Client": "none"}"#).unwrap();
        for (declaration, reason) in [
            (
                r#"{"Nowhere": "none"}"#,
                "`Nowhere`: the schema has no such",
            ),
            (r#"{"Server.Nowhere": "none"}"#, "`Server.Nowhere`"),
            (r#"{"Client": "client_ip"}"#, "already"),
            (r#"{"Server": "none"}"#, "RECORD"),
            (r#"{"Rate": "client_ip"}"#, "does not fit"),
            (r#"{"Rate": "unheard_of"}"#, "unknown variant"),
            ("[]", "read schema"),
        ] {
            let error = schema.declare(declaration).unwrap_err().to_string();
            assert!(error.contains(reason), "{declaration}: {error}");
        }
    }
}
