use crate::error::SchemaError;
use crate::field::{Field, Mode, Schema, Type};
use crate::privacy::Privacy;
use serde::Deserialize;
use std::collections::HashSet;

/// `BigQuery` nests records at most this deep.
const MAX_DEPTH: usize = 15;
/// `BigQuery` has at most this many columns in a table, nested ones included.
const MAX_FIELDS: usize = 10_000;
const MAX_NAME_LENGTH: usize = 300;
/// Prefixes that `BigQuery` keeps for its own columns, in any case.
const RESERVED_PREFIXES: [&str; 6] = [
    "_TABLE_",
    "_FILE_",
    "_PARTITION",
    "_ROW_TIMESTAMP",
    "__ROOT__",
    "_COLIDENTIFIER",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    r#type: String,
    mode: Option<String>,
    description: Option<String>,
    privacy: Option<Privacy>,
    fields: Option<Vec<Raw>>,
}

impl Schema {
    /// Reads a schema file. The error names the line for what is not a list of fields, the field's path for the rest.
    pub fn parse(json: &str) -> Result<Self, SchemaError> {
        let raw: Vec<Raw> = serde_json::from_str(json)?;
        if raw.is_empty() {
            return Err(SchemaError::Empty);
        }
        let mut count = 0;
        Ok(Self {
            fields: build_all(raw, "", 1, &mut count)?,
        })
    }
}

pub(crate) fn refuse<T>(path: &str, reason: impl Into<String>) -> Result<T, SchemaError> {
    Err(SchemaError::Field {
        path: path.to_owned(),
        reason: reason.into(),
    })
}

fn build_all(
    raw: Vec<Raw>,
    parent: &str,
    depth: usize,
    count: &mut usize,
) -> Result<Vec<Field>, SchemaError> {
    let mut seen = HashSet::new();
    raw.into_iter()
        .map(|raw| {
            let path = if parent.is_empty() {
                raw.name.clone()
            } else {
                format!("{parent}.{}", raw.name)
            };
            *count += 1;
            if *count > MAX_FIELDS {
                return refuse(&path, format!("more than {MAX_FIELDS} fields"));
            }
            if depth > MAX_DEPTH {
                return refuse(&path, format!("nested deeper than {MAX_DEPTH} levels"));
            }
            check_name(&path, &raw.name)?;
            if !seen.insert(raw.name.to_ascii_lowercase()) {
                return refuse(&path, "name occurs twice (case does not count)");
            }
            build(raw, &path, depth, count)
        })
        .collect()
}

fn build(raw: Raw, path: &str, depth: usize, count: &mut usize) -> Result<Field, SchemaError> {
    let Some(kind) = Type::from_name(&raw.r#type) else {
        return refuse(path, format!("unknown type `{}`", raw.r#type));
    };
    let mode = match raw.mode.as_deref() {
        None => Mode::default(),
        Some(name) => match Mode::from_name(name) {
            Some(mode) => mode,
            None => return refuse(path, format!("unknown mode `{name}`")),
        },
    };
    check_privacy(path, kind, raw.privacy.as_ref())?;
    let nested = raw.fields.unwrap_or_default();
    if (kind == Type::Record) == nested.is_empty() {
        let reason = if nested.is_empty() {
            "RECORD without fields"
        } else {
            "only a RECORD has fields"
        };
        return refuse(path, reason);
    }
    let fields = build_all(nested, path, depth + 1, count)?;
    Ok(Field {
        name: raw.name,
        kind,
        mode,
        description: raw.description,
        privacy: raw.privacy,
        fields,
    })
}

fn check_name(path: &str, name: &str) -> Result<(), SchemaError> {
    if name.is_empty() || name.len() > MAX_NAME_LENGTH {
        return refuse(
            path,
            format!("name must have 1 to {MAX_NAME_LENGTH} characters"),
        );
    }
    let well_formed = !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !well_formed {
        return refuse(
            path,
            "name must be letters, digits and `_`, not beginning with a digit",
        );
    }
    let upper = name.to_ascii_uppercase();
    match RESERVED_PREFIXES
        .iter()
        .find(|prefix| upper.starts_with(**prefix))
    {
        Some(prefix) => refuse(
            path,
            format!("names beginning with `{prefix}` are reserved"),
        ),
        None => Ok(()),
    }
}

pub(crate) fn check_privacy(
    path: &str,
    kind: Type,
    privacy: Option<&Privacy>,
) -> Result<(), SchemaError> {
    if kind == Type::Record && privacy.is_some() {
        return refuse(path, "privacy belongs to the fields of a RECORD");
    }
    let fits = match privacy {
        Some(Privacy::Text(_)) => kind == Type::String,
        Some(Privacy::ClientIp | Privacy::ServerIp | Privacy::RouterIp) => {
            matches!(kind, Type::String | Type::Bytes)
        }
        None | Some(Privacy::None | Privacy::Inventory | Privacy::CityCoordinate) => true,
    };
    if fits {
        Ok(())
    } else {
        refuse(path, format!("this privacy does not fit type {kind}"))
    }
}
