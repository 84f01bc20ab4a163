//! A record: its fields and their positions.

use std::collections::HashMap;

use arrow_buffer::NullBufferBuilder;
use arrow_schema::Fields;

use super::{Column, Traits};

/// The meaning of an object key for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The field at this place.
    Field(usize),
    /// An older name of the field at this place.
    Alias(usize),
    /// Known and left out.
    Ignored,
}

/// A record's fields in schema order.
#[derive(Debug)]
pub struct Record {
    pub(super) fields: Vec<(String, Column)>,
    pub(super) arrow: Fields,
    pub(super) valid: NullBufferBuilder,
    /// Of each field, where in memory the constant is by which a struct of ours last named it.
    constants: Vec<usize>,
    exact: HashMap<String, Key>,
    lowered: HashMap<String, Key>,
    slots: u64,
}

impl Record {
    pub(crate) fn new(name: &str, fields: &Fields, traits: &Traits) -> Self {
        let fill = traits.zero_filled.contains(&name);
        let columns: Vec<(String, Column)> = fields
            .iter()
            .map(|field| {
                let column = Column::new(field.name(), field.data_type(), traits, fill);
                (field.name().clone(), column)
            })
            .collect();
        let place = |wanted: &str| columns.iter().position(|(name, _)| name == wanted);
        let mut exact: HashMap<String, Key> = columns
            .iter()
            .enumerate()
            .map(|(at, (name, _))| (name.clone(), Key::Field(at)))
            .collect();
        for (_, alias, field) in traits.aliases.iter().filter(|(of, ..)| *of == name) {
            if let Some(at) = place(field) {
                exact.entry((*alias).to_owned()).or_insert(Key::Alias(at));
            }
        }
        for (_, field) in traits.ignored.iter().filter(|(of, _)| *of == name) {
            exact.insert((*field).to_owned(), Key::Ignored);
        }
        Record {
            lowered: exact
                .iter()
                .map(|(name, key)| (name.to_ascii_lowercase(), *key))
                .collect(),
            exact,
            constants: vec![0; columns.len()],
            slots: columns.iter().map(|(_, column)| column.slots()).sum(),
            fields: columns,
            arrow: fields.clone(),
            valid: NullBufferBuilder::new(64),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.valid.len()
    }

    pub(super) fn slots(&self) -> u64 {
        self.slots
    }

    pub(super) fn pad(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.len());
        self.valid.append_n_nulls(missing);
    }

    /// Says that row `at` is there; its fields may follow or have been put already.
    pub(crate) fn put(&mut self, at: usize) {
        self.pad(at);
        self.valid.append_non_null();
    }

    /// Says that `count` rows from `at` on are there, if that was not said before.
    pub(super) fn put_run(&mut self, at: usize, count: usize) {
        self.pad(at);
        self.put_all(at + count);
    }

    /// Says that the first `rows` rows are there.
    pub(crate) fn put_all(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.len());
        self.valid.append_n_non_nulls(missing);
    }

    pub(super) fn put_null(&mut self, at: usize) {
        self.pad(at + 1);
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
        self.valid.truncate(rows);
        for (_, column) in &mut self.fields {
            column.truncate(rows);
        }
    }

    /// As [`Record::key`], for a constant: found in its place before, it is not compared again.
    #[inline]
    pub(super) fn key_of_constant(&mut self, key: &'static str, guess: usize) -> Option<Key> {
        let address = key.as_ptr() as usize;
        let is_known =
            self.constants.get(guess) == Some(&address) && self.fields[guess].0.len() == key.len();
        if is_known {
            return Some(Key::Field(guess));
        }
        let found = self.key(key, guess);
        if let Some(Key::Field(place)) = found {
            // Two constants at one address can differ in length, so the names must be compared.
            if self.fields[place].0 == key {
                self.constants[place] = address;
            }
        }
        found
    }

    /// Returns the meaning of a key. Writers mostly use the order of the schema, so that the field at `guess` usually matches.
    pub(super) fn key(&self, key: &str, guess: usize) -> Option<Key> {
        if self.fields.get(guess).is_some_and(|(name, _)| name == key) {
            return Some(Key::Field(guess));
        }
        self.exact
            .get(key)
            .or_else(|| self.lowered.get(&key.to_ascii_lowercase()))
            .copied()
    }

    /// The field of this very name.
    pub fn field(&self, name: &str) -> Option<&Column> {
        match self.exact.get(name)? {
            Key::Field(at) => Some(&self.fields[*at].1),
            _ => None,
        }
    }

    /// The field of this very name.
    pub(crate) fn field_mut(&mut self, name: &str) -> Option<&mut Column> {
        match self.exact.get(name)? {
            Key::Field(at) => Some(&mut self.fields[*at].1),
            _ => None,
        }
    }

    /// The first field that is called so, without regard to case.
    pub fn field_of_any_case(&self, name: &str) -> Option<&Column> {
        self.fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, column)| column)
    }
}
