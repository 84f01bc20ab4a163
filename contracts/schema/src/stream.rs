//! A row, read value by value: nothing of it is kept, so checking costs the same memory however large a file is.

use std::fmt::{self, Write as _};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::Problem;
use crate::field::{Field, Mode, Type};
use crate::validate::{Check, Scalar, push_key};

/// Any JSON value, read to its end and discarded. Unlike serde's `IgnoredAny` it reads strings, so that bytes that are
/// not UTF-8 are an error.
#[derive(Clone, Copy, Debug)]
pub struct Forgotten;

impl<'de> Deserialize<'de> for Forgotten {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Forgotten)
    }
}

macro_rules! forget {
    ($($visit:ident: $kind:ty),*) => {
        $(fn $visit<E>(self, _: $kind) -> Result<Self, E> {
            Ok(self)
        })*
    };
}

impl<'de> Visitor<'de> for Forgotten {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    forget!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Forgotten>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        while members.next_entry::<Forgotten, Forgotten>()?.is_some() {}
        Ok(self)
    }
}

/// A place for a value, and what the schema expects there.
pub(crate) struct Slot<'a, 'l> {
    pub(crate) check: &'a mut Check<'l>,
    pub(crate) expected: Expected<'a>,
}

#[derive(Clone, Copy)]
pub(crate) enum Expected<'a> {
    /// The row itself: an object of these columns.
    Row(&'a [Field]),
    /// The value of a column.
    Member(&'a Field),
    /// One value of a list.
    Item(&'a Field),
}

impl Expected<'_> {
    /// The name of the expected value, for messages.
    fn name(self) -> String {
        match self {
            Expected::Row(_) => Type::Record.as_str().to_owned(),
            Expected::Member(field) if field.mode == Mode::Repeated => {
                format!("a list of {}", field.kind)
            }
            Expected::Member(field) | Expected::Item(field) => field.kind.as_str().to_owned(),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Slot<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Slot<'_, '_> {
    fn refuse(self, found: &'static str) {
        self.check.report(Problem::WrongType {
            expected: self.expected.name(),
            found,
        });
    }

    fn scalar(self, value: Scalar<'_>) {
        match self.expected {
            Expected::Member(field) if field.mode != Mode::Repeated => {
                self.check.scalar(field, value);
            }
            Expected::Item(field) => self.check.scalar(field, value),
            _ => self.refuse(value.json_type()),
        }
    }
}

impl<'de> Visitor<'de> for Slot<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.scalar(Scalar::Boolean);
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.scalar(Scalar::Integer);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.scalar(if i64::try_from(value).is_ok() {
            Scalar::Integer
        } else {
            Scalar::BeyondInteger
        });
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.scalar(Scalar::Fraction(value));
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.scalar(Scalar::Text(value));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        match self.expected {
            Expected::Member(field) if field.mode == Mode::Required => {
                self.check.report(Problem::Missing);
            }
            Expected::Member(_) => {}
            Expected::Row(_) | Expected::Item(_) => self.refuse("null"),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let field = match self.expected {
            Expected::Member(field) if field.mode == Mode::Repeated => field,
            _ => {
                self.refuse("a list");
                return Forgotten.visit_seq(items).map(drop);
            }
        };
        let length = self.check.path.len();
        for index in 0_u64.. {
            if self.check.is_full() {
                return Forgotten.visit_seq(items).map(drop);
            }
            write!(self.check.path, "[{index}]").expect("writing to a String cannot fail");
            let item = Slot {
                check: &mut *self.check,
                expected: Expected::Item(field),
            };
            let more = items.next_element_seed(item)?;
            self.check.path.truncate(length);
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let fields = match self.expected {
            Expected::Row(fields) => fields,
            Expected::Item(field) if field.kind == Type::Record => &field.fields,
            Expected::Member(field)
                if field.kind == Type::Record && field.mode != Mode::Repeated =>
            {
                &field.fields
            }
            _ => {
                self.refuse("an object");
                return Forgotten.visit_map(members).map(drop);
            }
        };
        let has_required = fields.iter().any(|field| field.mode == Mode::Required);
        let mut seen = vec![false; if has_required { fields.len() } else { 0 }];
        let length = self.check.path.len();
        loop {
            if self.check.is_full() {
                return Forgotten.visit_map(members).map(drop);
            }
            let key = Key {
                check: &mut *self.check,
                fields,
            };
            let Some(column) = members.next_key_seed(key)? else {
                break;
            };
            if let Some(column) = column {
                if has_required {
                    seen[column] = true;
                }
                members.next_value_seed(Slot {
                    check: &mut *self.check,
                    expected: Expected::Member(&fields[column]),
                })?;
            } else {
                members.next_value::<Forgotten>()?;
            }
            self.check.path.truncate(length);
        }
        for (field, _) in fields
            .iter()
            .zip(seen)
            .filter(|(field, seen)| field.mode == Mode::Required && !seen)
        {
            push_key(&mut self.check.path, &field.name);
            self.check.report(Problem::Missing);
            self.check.path.truncate(length);
        }
        Ok(())
    }
}

/// The key of a member: goes to the path, and gives the number of its column if there is one.
struct Key<'a, 'l> {
    check: &'a mut Check<'l>,
    fields: &'a [Field],
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        push_key(&mut self.check.path, key);
        let column = self.fields.iter().position(|field| field.name == key);
        if column.is_none() {
            let similar = self
                .fields
                .iter()
                .find(|field| field.name.eq_ignore_ascii_case(key));
            let similar = similar.map(|field| field.name.clone());
            self.check.report(Problem::UnknownField { similar });
        }
        Ok(column)
    }
}
