//! Where the two ends of a connection are: `annotation2`.

use arrow_schema::{Field, FieldRef, Fields};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

use groma_load::Batch;
use groma_load::{Datatype, JSON, Measurement, Rule};

/// The time of the annotator's clock.
pub(crate) const ANNOTATION_TIME: Rule = Rule {
    name: "annotation-time",
    what: "server and client are columns of their own as in M-Lab's table; raw holds UUID and Timestamp.",
    why: "M-Lab's table has no place for the time of the annotation, by which its databases are known.",
};

/// A field of synthetic annotations.
pub(crate) const REGION: Rule = Rule {
    name: "region",
    what: "Geo.Region of server and client is NULL.",
    why: "As M-Lab: only the synthetic annotations from before 2020-03-12 have it.",
};

/// Every way in which a row differs from its file.
const RULES: &[Rule] = &[ANNOTATION_TIME, REGION];

/// A file; keys in either case, as written by the annotator and as bundled by jostler.
#[derive(Deserialize)]
struct Annotation<'a> {
    #[serde(rename = "UUID", alias = "uuid")]
    uuid: Cow<'a, str>,
    #[serde(rename = "Timestamp", alias = "timestamp", default)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(rename = "Server", alias = "server", default, borrow)]
    server: Option<&'a RawValue>,
    #[serde(rename = "Client", alias = "client", default, borrow)]
    client: Option<&'a RawValue>,
}

/// Annotated connections: `annotation2`.
#[derive(Debug)]
pub(crate) struct Annotation2;

impl Datatype for Annotation2 {
    fn rules(&self) -> &'static [Rule] {
        RULES
    }

    fn columns(&self, fields: Fields) -> Vec<Field> {
        columns(&fields)
    }

    fn wants(&self, member: &str) -> bool {
        JSON.wants(member)
    }

    fn append(&self, source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
        append(source, batch)
    }
}

/// `server` and `client` as columns of their own, the rest of the file in `raw`.
fn columns(fields: &Fields) -> Vec<Field> {
    let is_end = |name: &str| {
        ["Server", "Client"]
            .iter()
            .any(|end| name.eq_ignore_ascii_case(end))
    };
    let (ends, rest): (Vec<&FieldRef>, Vec<&FieldRef>) =
        fields.iter().partition(|field| is_end(field.name()));
    let mut columns: Vec<Field> = ends
        .into_iter()
        .map(|field| {
            field
                .as_ref()
                .clone()
                .with_name(field.name().to_lowercase())
        })
        .collect();
    columns.push(groma_load::record(
        "raw",
        rest.into_iter().cloned().collect(),
    ));
    columns
}

fn append(source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
    let file: Annotation<'_> =
        serde_json::from_slice(source.bytes).map_err(|error| format!("not JSON: {error}"))?;
    if file.uuid.is_empty() {
        return Err("no UUID".to_owned());
    }
    for (column, part) in [("server", file.server), ("client", file.client)] {
        if let Some(part) = part.filter(|part| part.get() != "null") {
            match without_region(part.get()) {
                Some(part) => batch.put_value(column, &part)?,
                None => batch.put_json(column, part.get().as_bytes())?,
            }
        }
    }
    let raw = serde_json::json!({"UUID": file.uuid, "Timestamp": file.timestamp});
    batch.put_value("raw", &raw)?;
    batch.end_row(Some(&file.uuid), source.archiver);
    Ok(())
}

/// [`REGION`]: an end without the field; `None` where it has none.
fn without_region(end: &str) -> Option<Value> {
    // Looking for the name costs less than parsing every annotation twice.
    if !end.to_ascii_lowercase().contains("region") {
        return None;
    }
    let mut end: Value = serde_json::from_str(end).ok()?;
    let is = |key: &str, wanted: &str| key.eq_ignore_ascii_case(wanted);
    for (key, geo) in end.as_object_mut()? {
        if let Value::Object(geo) = geo
            && is(key, "Geo")
        {
            geo.retain(|key, _| !is(key, "Region"));
        }
    }
    Some(end)
}
