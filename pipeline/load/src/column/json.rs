//! JSON into columns while it is parsed.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::put::Misfit;
use super::record::Key;
use super::{Column, List, Path, Record, Report};

/// A row of a column that takes whatever value comes.
pub struct Place<'a, 'p> {
    pub(crate) column: &'a mut Column,
    pub(crate) at: usize,
    pub(crate) path: &'a Path<'p>,
    pub(crate) report: &'a mut Report,
}

impl<'p> Place<'_, 'p> {
    /// The same place, to be used once more.
    #[inline]
    pub fn again(&mut self) -> Place<'_, 'p> {
        Place {
            column: &mut *self.column,
            at: self.at,
            path: self.path,
            report: &mut *self.report,
        }
    }

    #[inline]
    fn fit<E: serde::de::Error>(
        self,
        put: Result<(), Misfit>,
        found: impl fmt::Display,
    ) -> Result<(), E> {
        put.map_err(|Misfit| self.refuse(found))
    }

    #[cold]
    pub(super) fn refuse<E: serde::de::Error>(self, found: impl fmt::Display) -> E {
        let found: String = found.to_string().chars().take(40).collect();
        let reason = format!(
            "{}: expected {}, found {found}",
            self.path,
            self.column.noun()
        );
        E::custom(self.report.refuse(reason))
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_, '_> {
    type Value = ();

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.column.noun())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.column.put_null(self.at);
        Ok(())
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        let put = self.column.put_boolean(self.at, value);
        self.fit(put, value)
    }

    #[inline]
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        let put = self.column.put_integer(self.at, value);
        self.fit(put, value)
    }

    #[inline]
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        let put = self.column.put_unsigned(self.at, value);
        self.fit(put, value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        let put = self.column.put_float(self.at, value);
        self.fit(put, value)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        let put = self.column.put_text(self.at, value);
        self.fit(put, format_args!("{value:?}"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Place {
            column,
            at,
            path,
            report,
        } = self;
        column.pad(at);
        let Column::List(List {
            offsets,
            item,
            item_slots,
            ..
        }) = column
        else {
            return Err(Place {
                column,
                at,
                path,
                report,
            }
            .refuse("a list"));
        };
        let mut count = offsets.last().copied().unwrap_or_default() as usize;
        loop {
            let place = Place {
                column: item,
                at: count,
                path,
                report,
            };
            if seq.next_element_seed(Item(place, *item_slots))?.is_none() {
                break;
            }
            count += 1;
        }
        offsets.push(count as i32);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Place {
            column,
            at,
            path,
            report,
        } = self;
        if let Column::List(list) = column
            && list.is_pairs
        {
            return list.put_pairs(at, map, path, report);
        }
        let Column::Record(record) = column else {
            return Err(Place {
                column,
                at,
                path,
                report,
            }
            .refuse("an object"));
        };
        record.put(at);
        let mut guess = 0;
        let mut by_alias = None;
        while let Some(key) = map.next_key_seed(KeyOf {
            record,
            guess,
            path,
            report,
        })? {
            let place = match key {
                Some(Key::Field(place)) => place,
                Some(Key::Alias(place)) if record.fields[place].1.len() <= at => {
                    by_alias = Some(place);
                    place
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            guess = place + 1;
            let (name, column) = &mut record.fields[place];
            let here = path.below(name);
            if column.len() > at {
                if by_alias != Some(place) {
                    return Err(A::Error::custom(
                        report.refuse(format!("{here}: given twice")),
                    ));
                }
                by_alias = None;
                column.truncate(at);
            }
            map.next_value_seed(Place {
                column,
                at,
                path: &here,
                report,
            })?;
        }
        Ok(())
    }
}

/// An item of a list, which cannot be null: in Parquet as in `BigQuery` a list has values or does not have them.
struct Item<'a, 'p>(Place<'a, 'p>, u64);

impl<'de> DeserializeSeed<'de> for Item<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Item(
            Place {
                column,
                at,
                path,
                report,
            },
            slots,
        ) = self;
        report.take(slots, path).map_err(D::Error::custom)?;
        let place = Place {
            column,
            at,
            path,
            report,
        };
        place.deserialize(deserializer)?;
        if is_null(column, at) {
            return Err(D::Error::custom(
                report.refuse(format!("{path}: null in a list")),
            ));
        }
        Ok(())
    }
}

fn is_null(column: &Column, at: usize) -> bool {
    match column {
        Column::Record(record) => !record.is_set(at),
        Column::List(_) => false,
        Column::Text(text) | Column::Bytes(text) => text.get(at).is_none(),
        Column::Integer(plain)
        | Column::Instant(plain)
        | Column::Datetime(plain)
        | Column::Time(plain) => plain.get(at).is_none(),
        Column::Float(plain) => plain.get(at).is_none(),
        Column::Boolean(flags) => !flags.valid.is_valid(at),
        Column::Date(plain) => plain.get(at).is_none(),
        Column::Decimal(plain) => plain.get(at).is_none(),
    }
}

/// A key of an object, looked up without being copied.
struct KeyOf<'a, 'p> {
    record: &'a Record,
    guess: usize,
    path: &'a Path<'p>,
    report: &'a mut Report,
}

impl<'de> DeserializeSeed<'de> for KeyOf<'_, '_> {
    type Value = Option<Key>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Key>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyOf<'_, '_> {
    type Value = Option<Key>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    #[inline]
    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Option<Key>, E> {
        let known = self.record.key(key, self.guess);
        if known.is_none() {
            self.report.unknown(self.path, key);
        }
        Ok(known)
    }
}
