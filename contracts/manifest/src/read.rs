//! Reads TOML into types and collects every problem on the way, where serde stops at the first.
//!
//! The macros [`table!`] and [`choice!`] define a type, its reader and its entry in the reference (`docs/manifest.md`) in one
//! place.

use std::collections::BTreeMap;
use std::ops::Range;
use std::str::FromStr;

use groma_spool::Name;
use jiff::civil::Date;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Problem;

/// The text of a manifest and the problems that were found in it so far.
pub(crate) struct Check<'t> {
    text: &'t str,
    /// The format of the manifest.
    pub(crate) format: u32,
    pub(crate) problems: Vec<Problem>,
    /// The first of these many problems are about types and missing keys, the others about rules.
    of_types: usize,
}

impl<'t> Check<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self {
            text,
            format: crate::FORMAT,
            problems: Vec::new(),
            of_types: 0,
        }
    }

    /// Begins with the rules. A value that is missing or has the wrong type was replaced, and breaks no rule.
    pub(crate) fn begin_rules(&mut self) {
        self.of_types = self.problems.len();
    }

    /// Adds a problem of the value at `span`.
    pub(crate) fn add(&mut self, span: &Range<usize>, key: &str, reason: impl Into<String>) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        self.problems.push(Problem {
            line: before.matches('\n').count() + 1,
            key: key.to_owned(),
            reason: reason.into(),
        });
    }

    /// Adds a problem of the value `key`; if it does not exist, the line is that of the table around it.
    pub(crate) fn at(&mut self, root: &Spanned<DeTable<'_>>, key: &str, reason: impl Into<String>) {
        let is_replaced = self.problems[..self.of_types].iter().any(|problem| {
            let rest = key.strip_prefix(problem.key.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        });
        if !is_replaced {
            self.add(&locate(root, key), key, reason);
        }
    }
}

/// Returns the position of the value `key`, such as `client_metadata[2].pattern`, or of the nearest value around it.
fn locate(root: &Spanned<DeTable<'_>>, key: &str) -> Range<usize> {
    let mut span = root.span();
    let mut table = Some(root.get_ref());
    for segment in key.split('.') {
        let (name, index) = match segment.strip_suffix(']').and_then(|it| it.split_once('[')) {
            Some((name, index)) => (name, index.parse::<usize>().ok()),
            None => (segment, None),
        };
        let Some((_, value)) =
            table.and_then(|table| table.iter().find(|(found, _)| *found.get_ref() == name))
        else {
            return span;
        };
        let value = match (value.get_ref(), index) {
            (DeValue::Array(items), Some(index)) => items.get(index).unwrap_or(value),
            _ => value,
        };
        span = value.span();
        table = match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => None,
        };
    }
    span
}

/// Whether a key must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Required,
    Optional,
    /// Unknown in format 1, required since format 2.
    Since2,
    /// Unknown in format 1, optional since format 2.
    OptionalSince2,
}

impl Presence {
    fn is_required(self, format: u32) -> bool {
        self == Self::Required || (self == Self::Since2 && format >= 2)
    }

    fn is_known(self, format: u32) -> bool {
        format >= 2 || matches!(self, Self::Required | Self::Optional)
    }
}

/// A type that can be read from TOML.
pub(crate) trait Value: Sized {
    /// Reads a value; `None` after adding a problem.
    fn read(value: &Spanned<DeValue<'_>>, key: &str, check: &mut Check<'_>) -> Option<Self>;

    /// Returns a value to go on with after a problem.
    fn replacement() -> Self;

    /// The kind of value, for the reference.
    #[cfg(test)]
    fn kind() -> String;

    /// Adds the tables below `key` to the reference.
    #[cfg(test)]
    fn describe(_key: &str, _tables: &mut Vec<TableDoc>) {}
}

/// A table in the reference.
#[cfg(test)]
pub(crate) struct TableDoc {
    pub(crate) key: String,
    pub(crate) doc: String,
    pub(crate) fields: Vec<FieldDoc>,
}

/// A key in the reference.
#[cfg(test)]
pub(crate) struct FieldDoc {
    pub(crate) name: &'static str,
    pub(crate) kind: String,
    pub(crate) presence: Presence,
    pub(crate) doc: String,
}

/// Reads the key `name` of a table.
pub(crate) fn field<T: Value>(
    table: &DeTable<'_>,
    span: &Range<usize>,
    name: &str,
    presence: Presence,
    key: &str,
    check: &mut Check<'_>,
) -> T {
    let key = below(key, name);
    let read = if let Some(value) = table.get(name) {
        T::read(value, &key, check)
    } else {
        if presence.is_required(check.format) {
            check.add(span, &key, "this key is missing");
        }
        None
    };
    read.unwrap_or_else(T::replacement)
}

/// Reports keys that the format does not have.
pub(crate) fn unknown_keys(
    table: &DeTable<'_>,
    known: &[(&str, Presence)],
    key: &str,
    check: &mut Check<'_>,
) {
    for (found, _) in table {
        let name = found.get_ref().as_ref();
        let reason = match known.iter().find(|(known, _)| *known == name) {
            Some((_, presence)) if presence.is_known(check.format) => continue,
            Some(_) => "format 1 does not have this key; set manifest = 2".to_owned(),
            None => {
                let names: Vec<&str> = known
                    .iter()
                    .filter(|(_, presence)| presence.is_known(check.format))
                    .map(|(name, _)| *name)
                    .collect();
                format!("unknown key; the keys here are {}", names.join(", "))
            }
        };
        check.add(&found.span(), &below(key, name), reason);
    }
}

pub(crate) fn below(key: &str, name: &str) -> String {
    if key.is_empty() {
        name.to_owned()
    } else {
        format!("{key}.{name}")
    }
}

/// Returns the table of a value, or adds the problem that it is none.
pub(crate) fn as_table<'v, 'i>(
    value: &'v Spanned<DeValue<'i>>,
    key: &str,
    check: &mut Check<'_>,
) -> Option<&'v DeTable<'i>> {
    if let DeValue::Table(table) = value.get_ref() {
        return Some(table);
    }
    check.add(&value.span(), key, "this must be a table");
    None
}

impl Value for String {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, check: &mut Check<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(text) if !text.trim().is_empty() => Some(text.as_ref().to_owned()),
            DeValue::String(_) => {
                check.add(&value.span(), key, "this text must not be empty");
                None
            }
            _ => {
                check.add(&value.span(), key, "this must be a text in quotes");
                None
            }
        }
    }

    fn replacement() -> Self {
        String::new()
    }

    #[cfg(test)]
    fn kind() -> String {
        "text".to_owned()
    }
}

impl Value for bool {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, check: &mut Check<'_>) -> Option<Self> {
        if let DeValue::Boolean(yes) = value.get_ref() {
            return Some(*yes);
        }
        check.add(
            &value.span(),
            key,
            "this must be true or false, without quotes",
        );
        None
    }

    fn replacement() -> Self {
        false
    }

    #[cfg(test)]
    fn kind() -> String {
        "`true` or `false`".to_owned()
    }
}

impl Value for u64 {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, check: &mut Check<'_>) -> Option<Self> {
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        if number.is_none() {
            check.add(
                &value.span(),
                key,
                "this must be a whole number, 0 or more, without quotes",
            );
        }
        number
    }

    fn replacement() -> Self {
        0
    }

    #[cfg(test)]
    fn kind() -> String {
        "whole number".to_owned()
    }
}

macro_rules! narrow {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn read(value: &Spanned<DeValue<'_>>, key: &str, check: &mut Check<'_>) -> Option<Self> {
                let number = u64::read(value, key, check)?;
                let narrow = number.try_into().ok();
                if narrow.is_none() {
                    check.add(&value.span(), key, format!("this must be at most {}", <$type>::MAX));
                }
                narrow
            }

            fn replacement() -> Self {
                0
            }

            #[cfg(test)]
            fn kind() -> String {
                u64::kind()
            }
        }
    )*};
}
narrow!(u16, u32);

/// Implements [`Value`] for types that are read from a text.
macro_rules! from_text {
    ($($type:ty => $kind:literal, $hint:literal, $replacement:literal);* $(;)?) => {$(
        impl Value for $type {
            fn read(value: &Spanned<DeValue<'_>>, key: &str, check: &mut Check<'_>) -> Option<Self> {
                let text = match value.get_ref() {
                    DeValue::Datetime(date) => date.to_string(),
                    _ => String::read(value, key, check)?,
                };
                let read = <$type>::from_str(&text);
                if let Err(error) = &read {
                    check.add(&value.span(), key, format!("{error}; write {}", $hint));
                }
                read.ok()
            }

            fn replacement() -> Self {
                $replacement.parse().expect("the replacement is valid")
            }

            #[cfg(test)]
            fn kind() -> String {
                $kind.to_owned()
            }
        }
    )*};
}
from_text!(
    Name => "name", "a name such as latency1", "replaced";
    Date => "date", "a date such as 2027-01-15", "2000-01-01";
);

impl<T: Value> Value for Option<T> {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, check: &mut Check<'_>) -> Option<Self> {
        T::read(value, key, check).map(Some)
    }

    fn replacement() -> Self {
        None
    }

    #[cfg(test)]
    fn kind() -> String {
        T::kind()
    }

    #[cfg(test)]
    fn describe(key: &str, tables: &mut Vec<TableDoc>) {
        T::describe(key, tables);
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, check: &mut Check<'_>) -> Option<Self> {
        let DeValue::Array(items) = value.get_ref() else {
            check.add(&value.span(), key, "this must be a list");
            return None;
        };
        let read = items.iter().enumerate().map(|(index, item)| {
            T::read(item, &format!("{key}[{index}]"), check).unwrap_or_else(T::replacement)
        });
        Some(read.collect())
    }

    fn replacement() -> Self {
        Vec::new()
    }

    #[cfg(test)]
    fn kind() -> String {
        match T::kind().as_str() {
            "table" => "tables".to_owned(),
            kind => format!("list of {kind}"),
        }
    }

    #[cfg(test)]
    fn describe(key: &str, tables: &mut Vec<TableDoc>) {
        T::describe(&format!("[{key}]"), tables);
    }
}

impl Value for BTreeMap<String, String> {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, check: &mut Check<'_>) -> Option<Self> {
        let table = as_table(value, key, check)?;
        let mut read = BTreeMap::new();
        for (name, value) in table {
            let name = name.get_ref().as_ref();
            if let Some(text) = String::read(value, &below(key, name), check) {
                read.insert(name.to_owned(), text);
            }
        }
        Some(read)
    }

    fn replacement() -> Self {
        BTreeMap::new()
    }

    #[cfg(test)]
    fn kind() -> String {
        "table of text".to_owned()
    }
}

/// Defines a struct that is a table of the manifest.
macro_rules! table {
    (
        $(#[doc = $doc:literal])*
        $visibility:vis struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])*
                $field:ident: $type:ty = $presence:ident,
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone)]
        $visibility struct $name {
            $(
                $(#[doc = $field_doc])*
                pub $field: $type,
            )*
        }

        impl crate::read::Value for $name {
            fn read(
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                key: &str,
                check: &mut crate::read::Check<'_>,
            ) -> Option<Self> {
                let table = crate::read::as_table(value, key, check)?;
                Some(Self::read_table(table, &value.span(), key, check))
            }

            fn replacement() -> Self {
                Self { $($field: <$type as crate::read::Value>::replacement()),* }
            }

            #[cfg(test)]
            fn kind() -> String {
                "table".to_owned()
            }

            #[cfg(test)]
            fn describe(key: &str, tables: &mut Vec<crate::read::TableDoc>) {
                tables.push(crate::read::TableDoc {
                    key: key.to_owned(),
                    doc: concat!($($doc, "\n"),*).to_owned(),
                    fields: vec![$(crate::read::FieldDoc {
                        name: stringify!($field),
                        kind: <$type as crate::read::Value>::kind(),
                        presence: crate::read::Presence::$presence,
                        doc: concat!($($field_doc, "\n"),*).to_owned(),
                    }),*],
                });
                $(
                    let inner = crate::read::below(key.trim_matches(['[', ']']), stringify!($field));
                    <$type as crate::read::Value>::describe(&inner, tables);
                )*
            }
        }

        impl $name {
            fn read_table(
                table: &toml::de::DeTable<'_>,
                span: &std::ops::Range<usize>,
                key: &str,
                check: &mut crate::read::Check<'_>,
            ) -> Self {
                use crate::read::Presence;
                const KNOWN: &[(&str, Presence)] =
                    &[$((stringify!($field), Presence::$presence)),*];
                crate::read::unknown_keys(table, KNOWN, key, check);
                Self {
                    $($field: crate::read::field(
                        table,
                        span,
                        stringify!($field),
                        Presence::$presence,
                        key,
                        check,
                    )),*
                }
            }
        }
    };
}
pub(crate) use table;

/// Defines an enum of which the manifest names one.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        $visibility:vis enum $name:ident {
            $(
                $(#[doc = $variant_doc:literal])*
                $variant:ident = $word:literal,
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
        $visibility enum $name {
            $(
                $(#[doc = $variant_doc])*
                #[serde(rename = $word)]
                $variant,
            )*
        }

        impl crate::read::Value for $name {
            fn read(
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                key: &str,
                check: &mut crate::read::Check<'_>,
            ) -> Option<Self> {
                let word = String::read(value, key, check)?;
                let read = match word.as_str() {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                };
                if read.is_none() {
                    let words = [$($word),*].join(", ");
                    check.add(&value.span(), key, format!("{word:?} is not one of {words}"));
                }
                read
            }

            fn replacement() -> Self {
                [$(Self::$variant),*][0]
            }

            #[cfg(test)]
            fn kind() -> String {
                [$(concat!("`\"", $word, "\"`")),*].join(" or ")
            }
        }
    };
}
pub(crate) use choice;
