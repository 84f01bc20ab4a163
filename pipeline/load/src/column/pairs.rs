//! Lists of names and values that were written as an object, as metadata were in the summer of 2019.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::{Column, List, Path, Report};

/// Whether a column is a record of the texts `Name` and `Value`.
pub(super) fn is_pair(item: &Column) -> bool {
    match item {
        Column::Record(record) => {
            record.fields.len() == 2
                && ["Name", "Value"]
                    .iter()
                    .all(|name| matches!(record.field(name), Some(Column::Text(_))))
        }
        _ => false,
    }
}

impl List {
    /// Puts an object as the list that it would be written as today.
    pub(super) fn put_pairs<'de, A: MapAccess<'de>>(
        &mut self,
        at: usize,
        mut map: A,
        path: &Path<'_>,
        report: &mut Report,
    ) -> Result<(), A::Error> {
        let mut count = self.end();
        self.offsets.resize(at + 1, count);
        while let Some(name) = map.next_key::<String>()? {
            report
                .take(self.item_slots, path)
                .map_err(A::Error::custom)?;
            let Scalar(value) = map.next_value()?;
            if let Column::Record(pair) = &mut *self.item {
                pair.put(count as usize);
                for (field, text) in [("Name", Some(name)), ("Value", value)] {
                    if let (Some(Column::Text(column)), Some(text)) = (pair.field_mut(field), text)
                    {
                        column.put(count as usize, text.as_bytes());
                    }
                }
            }
            count += 1;
        }
        self.offsets.push(count);
        Ok(())
    }
}

/// A single value as text.
struct Scalar(Option<String>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsText)
    }
}

struct AsText;

impl Visitor<'_> for AsText {
    type Value = Scalar;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string, a number or a boolean")
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar(None))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar(Some(value.to_string())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar(Some(value.to_string())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar(Some(value.to_string())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar(Some(value.to_string())))
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar(Some(value.to_owned())))
    }
}
