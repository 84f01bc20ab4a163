//! Values of our own into columns: what would become JSON goes to its place directly.

use std::fmt;

use serde::ser::{self, Impossible, Serialize};

use super::record::Key;
use super::{Column, List, Path, Place, Plain, Record, Report};

/// The one name by which a number is known as [`Micros`].
const MICROS: &str = "groma-load microseconds";

/// An instant in microseconds since 1970; a bare number is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Micros(pub i64);

impl Serialize for Micros {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(MICROS, &self.0)
    }
}

/// A value did not fit; the report has the reason.
#[derive(Debug)]
pub struct Unfit(String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unfit {}

impl ser::Error for Unfit {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Unfit(reason.to_string())
    }
}

impl serde::de::Error for Unfit {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Unfit(reason.to_string())
    }
}

macro_rules! signed {
    ($($method:ident $kind:ty)*) => {$(
        #[inline]
        fn $method(self, value: $kind) -> Result<(), Unfit> {
            serde::de::Visitor::visit_i64(self, i64::from(value))
        }
    )*};
}

impl<'a, 'p> ser::Serializer for Place<'a, 'p> {
    type Ok = ();
    type Error = Unfit;
    type SerializeSeq = Items<'a, 'p>;
    type SerializeTuple = Items<'a, 'p>;
    type SerializeTupleStruct = Impossible<(), Unfit>;
    type SerializeTupleVariant = Impossible<(), Unfit>;
    type SerializeMap = Fields<'a, 'p>;
    type SerializeStruct = Fields<'a, 'p>;
    type SerializeStructVariant = Impossible<(), Unfit>;

    signed! { serialize_i8 i8 serialize_i16 i16 serialize_i32 i32 serialize_i64 i64 serialize_u8 u8 serialize_u16 u16 serialize_u32 u32 }

    fn serialize_bool(self, value: bool) -> Result<(), Unfit> {
        serde::de::Visitor::visit_bool(self, value)
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<(), Unfit> {
        serde::de::Visitor::visit_u64(self, value)
    }

    fn serialize_f32(self, value: f32) -> Result<(), Unfit> {
        serde::de::Visitor::visit_f64(self, f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), Unfit> {
        serde::de::Visitor::visit_f64(self, value)
    }

    fn serialize_char(self, value: char) -> Result<(), Unfit> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Unfit> {
        serde::de::Visitor::visit_str(self, value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Unfit> {
        match self.column {
            Column::Bytes(text) => {
                text.put(self.at, value);
                Ok(())
            }
            _ => Err(self.refuse("bytes")),
        }
    }

    fn serialize_none(self) -> Result<(), Unfit> {
        self.column.put_null(self.at);
        Ok(())
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<(), Unfit> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unfit> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unfit> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &str, _: u32, variant: &str) -> Result<(), Unfit> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Unfit> {
        if name != MICROS {
            return value.serialize(self);
        }
        let Place {
            column,
            at,
            path,
            report,
        } = self;
        let Column::Instant(plain) = column else {
            return Err(Place {
                column,
                at,
                path,
                report,
            }
            .refuse("an instant"));
        };
        let mut number = Column::Integer(Plain::new(None));
        value.serialize(Place {
            column: &mut number,
            at: 0,
            path,
            report,
        })?;
        plain.put(at, number.integer(0).unwrap_or_default());
        Ok(())
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &str,
        _: u32,
        _: &str,
        _: &T,
    ) -> Result<(), Unfit> {
        Err(self.refuse("a variant with a value"))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'a, 'p>, Unfit> {
        let Place {
            column,
            at,
            path,
            report,
        } = self;
        column.pad(at);
        match column {
            Column::List(list) => Ok(Items {
                count: list.end() as usize,
                list,
                path,
                report,
            }),
            column => Err(Place {
                column,
                at,
                path,
                report,
            }
            .refuse("a list")),
        }
    }

    fn serialize_tuple(self, length: usize) -> Result<Items<'a, 'p>, Unfit> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(
        self,
        _: &str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Unfit> {
        Err(self.refuse("a tuple"))
    }

    fn serialize_tuple_variant(
        self,
        _: &str,
        _: u32,
        _: &str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unfit> {
        Err(self.refuse("a tuple"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields<'a, 'p>, Unfit> {
        let Place {
            column,
            at,
            path,
            report,
        } = self;
        match column {
            Column::Record(record) => {
                record.put(at);
                Ok(Fields {
                    record,
                    at,
                    path,
                    report,
                    guess: 0,
                    key: None,
                })
            }
            column => Err(Place {
                column,
                at,
                path,
                report,
            }
            .refuse("an object")),
        }
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Fields<'a, 'p>, Unfit> {
        self.serialize_map(Some(length))
    }

    fn serialize_struct_variant(
        self,
        _: &str,
        _: u32,
        _: &str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unfit> {
        Err(self.refuse("a variant with fields"))
    }
}

/// A list that is being put.
pub struct Items<'a, 'p> {
    list: &'a mut List,
    count: usize,
    path: &'a Path<'p>,
    report: &'a mut Report,
}

impl<'p> Items<'_, 'p> {
    /// The place of one more item.
    pub fn next(&mut self) -> Result<Place<'_, 'p>, Unfit> {
        self.report
            .take(self.list.item_slots, self.path)
            .map_err(|reason| Unfit(reason.to_owned()))?;
        self.count += 1;
        Ok(self.last())
    }

    /// The place of the last item, or of none if there is none.
    pub fn last(&mut self) -> Place<'_, 'p> {
        Place {
            column: &mut self.list.item,
            at: self.count.saturating_sub(1),
            path: self.path,
            report: self.report,
        }
    }
}

impl ser::SerializeSeq for Items<'_, '_> {
    type Ok = ();
    type Error = Unfit;

    fn serialize_element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Unfit> {
        value.serialize(self.next()?)
    }

    fn end(self) -> Result<(), Unfit> {
        self.list.offsets.push(self.count as i32);
        Ok(())
    }
}

impl ser::SerializeTuple for Items<'_, '_> {
    type Ok = ();
    type Error = Unfit;

    fn serialize_element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Unfit> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), Unfit> {
        ser::SerializeSeq::end(self)
    }
}

/// A record that is being put.
pub struct Fields<'a, 'p> {
    record: &'a mut Record,
    at: usize,
    path: &'a Path<'p>,
    report: &'a mut Report,
    guess: usize,
    key: Option<Key>,
}

impl Fields<'_, '_> {
    fn look_up(&mut self, key: &str) {
        let found = self.record.key(key, self.guess);
        self.found(found, key);
    }

    #[inline]
    fn found(&mut self, found: Option<Key>, key: &str) {
        self.key = found;
        if self.key.is_none() {
            self.report.unknown(self.path, key);
        }
    }

    /// Fills the field called `key`, unless the schema does not have it.
    pub fn with(
        &mut self,
        key: &'static str,
        fill: impl FnOnce(Place<'_, '_>) -> Result<(), Unfit>,
    ) -> Result<(), Unfit> {
        let found = self.record.key_of_constant(key, self.guess);
        self.found(found, key);
        self.fill(fill)
    }

    #[inline]
    fn put<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Unfit> {
        self.fill(|place| value.serialize(place))
    }

    #[inline]
    fn fill(&mut self, fill: impl FnOnce(Place<'_, '_>) -> Result<(), Unfit>) -> Result<(), Unfit> {
        let Some(Key::Field(place) | Key::Alias(place)) = self.key else {
            return Ok(());
        };
        self.guess = place + 1;
        let (name, column) = &mut self.record.fields[place];
        let path = self.path.below(name);
        if column.len() > self.at {
            return Err(given_twice(self.report, &path));
        }
        fill(Place {
            column,
            at: self.at,
            path: &path,
            report: self.report,
        })
    }
}

#[cold]
pub(super) fn given_twice(report: &mut Report, path: &Path<'_>) -> Unfit {
    Unfit(report.refuse(format!("{path}: given twice")).to_owned())
}

impl ser::SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = Unfit;

    #[inline]
    fn serialize_field<T: ?Sized + Serialize>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Unfit> {
        let found = self.record.key_of_constant(key, self.guess);
        self.found(found, key);
        self.put(value)
    }

    fn end(self) -> Result<(), Unfit> {
        Ok(())
    }
}

impl ser::SerializeMap for Fields<'_, '_> {
    type Ok = ();
    type Error = Unfit;

    fn serialize_key<T: ?Sized + Serialize>(&mut self, key: &T) -> Result<(), Unfit> {
        let key = key.serialize(KeyText)?;
        self.look_up(&key);
        Ok(())
    }

    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Unfit> {
        self.put(value)
    }

    fn serialize_entry<K: ?Sized + Serialize, V: ?Sized + Serialize>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), Unfit> {
        self.serialize_key(key)?;
        self.put(value)
    }

    fn end(self) -> Result<(), Unfit> {
        Ok(())
    }
}

/// Takes text, which is all that a key can be.
struct KeyText;

macro_rules! no_key {
    ($($method:ident $kind:ty,)*) => {$(
        fn $method(self, _: $kind) -> Result<String, Unfit> {
            Err(Unfit("a key is text".to_owned()))
        }
    )*};
}

impl ser::Serializer for KeyText {
    type Ok = String;
    type Error = Unfit;
    type SerializeSeq = Impossible<String, Unfit>;
    type SerializeTuple = Impossible<String, Unfit>;
    type SerializeTupleStruct = Impossible<String, Unfit>;
    type SerializeTupleVariant = Impossible<String, Unfit>;
    type SerializeMap = Impossible<String, Unfit>;
    type SerializeStruct = Impossible<String, Unfit>;
    type SerializeStructVariant = Impossible<String, Unfit>;

    fn serialize_str(self, value: &str) -> Result<String, Unfit> {
        Ok(value.to_owned())
    }

    no_key! {
        serialize_bool bool, serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_u8 u8,
        serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_f32 f32, serialize_f64 f64, serialize_char char,
        serialize_bytes &[u8], serialize_unit_struct &'static str,
    }

    fn serialize_none(self) -> Result<String, Unfit> {
        self.serialize_bool(false)
    }
    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<String, Unfit> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<String, Unfit> {
        self.serialize_bool(false)
    }
    fn serialize_unit_variant(self, _: &str, _: u32, variant: &str) -> Result<String, Unfit> {
        self.serialize_str(variant)
    }
    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &str,
        value: &T,
    ) -> Result<String, Unfit> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &str,
        _: u32,
        _: &str,
        _: &T,
    ) -> Result<String, Unfit> {
        self.serialize_bool(false)
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Unfit> {
        Err(Unfit("a key is text".to_owned()))
    }
    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Unfit> {
        self.serialize_seq(None)
    }
    fn serialize_tuple_struct(
        self,
        _: &str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Unfit> {
        self.serialize_seq(None)
    }
    fn serialize_tuple_variant(
        self,
        _: &str,
        _: u32,
        _: &str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unfit> {
        self.serialize_seq(None)
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Unfit> {
        self.serialize_seq(None)
    }
    fn serialize_struct(self, _: &str, _: usize) -> Result<Self::SerializeStruct, Unfit> {
        self.serialize_seq(None)
    }
    fn serialize_struct_variant(
        self,
        _: &str,
        _: u32,
        _: &str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unfit> {
        self.serialize_seq(None)
    }
}
