//! Objects in the shape of a record.

use std::collections::HashMap;

use arrow_schema::Fields;
use serde_json::{Map, Value};

use super::Shape;
use super::report::{Path, Report};

/// A record's fields in schema order, and where each name stands.
#[derive(Debug)]
pub(crate) struct Record {
    fields: Vec<(String, Shape)>,
    exact: HashMap<String, usize>,
    lowered: HashMap<String, usize>,
    /// Whether an absent integer reads 0.
    zero_filled: bool,
}

impl Record {
    pub(super) fn new(fields: &Fields, zero_filled: &[&str], fill: bool) -> Self {
        let names = || fields.iter().map(|field| field.name().clone()).enumerate();
        Record {
            fields: fields
                .iter()
                .map(|field| {
                    let shape = Shape::of_type(field.name(), field.data_type(), zero_filled);
                    (field.name().clone(), shape)
                })
                .collect(),
            exact: names().map(|(at, name)| (name, at)).collect(),
            lowered: names()
                .map(|(at, name)| (name.to_ascii_lowercase(), at))
                .collect(),
            zero_filled: fill,
        }
    }

    /// Column slots that one such record takes, lists below it aside.
    pub(super) fn slots(&self) -> u64 {
        self.fields.iter().map(|(_, shape)| shape.slots()).sum()
    }

    /// Where a key's field stands. Writers mostly keep the schema's order, so that `guess` is mostly right.
    fn position(&self, key: &str, guess: usize) -> Option<usize> {
        if self.fields.get(guess).is_some_and(|(name, _)| name == key) {
            return Some(guess);
        }
        let exact = self.exact.get(key);
        exact
            .or_else(|| self.lowered.get(&key.to_ascii_lowercase()))
            .copied()
    }

    pub(super) fn fit(
        &self,
        path: &Path<'_>,
        map: Map<String, Value>,
        report: &mut Report,
    ) -> Result<Value, String> {
        let mut fitted: Vec<Option<(String, Value)>> = Vec::new();
        fitted.resize_with(self.fields.len(), || None);
        let mut guess = 0;
        for (key, value) in map {
            let Some(at) = self.position(&key, guess) else {
                report.unknown(path, &key);
                continue;
            };
            guess = at + 1;
            let (name, shape) = &self.fields[at];
            let here = path.below(name);
            let value = shape.fit_at(&here, value, report)?;
            // The key's own text is used again where it is the schema's: a TCPInfo has more than sixty of them.
            let key = if key == *name { key } else { name.clone() };
            if fitted[at].replace((key, value)).is_some() {
                return Err(format!("{here}: given twice"));
            }
        }
        let mut record = Map::with_capacity(self.fields.len());
        for ((name, shape), pair) in self.fields.iter().zip(fitted) {
            if let Some((key, value)) = pair.or_else(|| Some((name.clone(), self.absent(shape)?))) {
                record.insert(key, value);
            }
        }
        Ok(Value::Object(record))
    }

    /// What a field reads that is not there, unless that is NULL.
    fn absent(&self, shape: &Shape) -> Option<Value> {
        match shape {
            Shape::Repeated(_) => Some(Value::Array(Vec::new())),
            Shape::Integer if self.zero_filled => Some(0.into()),
            _ => None,
        }
    }
}
