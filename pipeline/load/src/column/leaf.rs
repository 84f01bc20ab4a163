//! Columns without columns below them.

use arrow_buffer::{BooleanBufferBuilder, NullBufferBuilder};

/// Rows for which a new column has room.
const CAPACITY: usize = 64;

/// Values of one width.
#[derive(Debug)]
pub struct Plain<T> {
    pub(super) values: Vec<T>,
    pub(super) valid: NullBufferBuilder,
    /// The value of a missing row; NULL without it.
    fill: Option<T>,
}

impl<T: Copy + Default> Plain<T> {
    pub(super) fn new(fill: Option<T>) -> Self {
        Plain {
            values: Vec::new(),
            valid: NullBufferBuilder::new(CAPACITY),
            fill,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    #[cold]
    pub(super) fn pad(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.len());
        self.values.resize(rows, self.fill.unwrap_or_default());
        if self.fill.is_some() {
            self.valid.append_n_non_nulls(missing);
        } else {
            self.valid.append_n_nulls(missing);
        }
    }

    /// Gives row `at` its value.
    #[inline]
    pub(crate) fn put(&mut self, at: usize, value: T) {
        if self.values.len() < at {
            self.pad(at);
        }
        self.values.push(value);
        self.valid.append_non_null();
    }

    /// Gives the rows from `at` on their values.
    pub(super) fn put_run(&mut self, at: usize, values: impl ExactSizeIterator<Item = T>) {
        if self.values.len() < at {
            self.pad(at);
        }
        self.valid.append_n_non_nulls(values.len());
        self.values.extend(values);
    }

    pub(super) fn put_null(&mut self, at: usize) {
        self.pad(at.max(self.len()));
        self.values.push(T::default());
        self.valid.append_null();
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        if self.values.len() > rows {
            self.values.truncate(rows);
            self.valid.truncate(rows);
        }
    }

    /// The value of row `at`, unless it is NULL.
    pub(crate) fn get(&self, at: usize) -> Option<T> {
        match self.values.get(at) {
            Some(value) => self.valid.is_valid(at).then_some(*value),
            None => self.fill,
        }
    }
}

/// Text, or bytes.
#[derive(Debug)]
pub struct Text {
    pub(super) bytes: Vec<u8>,
    pub(super) offsets: Vec<i32>,
    pub(super) valid: NullBufferBuilder,
}

impl Default for Text {
    fn default() -> Self {
        Text {
            bytes: Vec::new(),
            offsets: vec![0],
            valid: NullBufferBuilder::new(CAPACITY),
        }
    }
}

impl Text {
    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(super) fn pad(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.len());
        let end = self.bytes.len() as i32;
        self.offsets.resize(rows + 1, end);
        self.valid.append_n_nulls(missing);
    }

    /// Gives row `at` its value.
    pub(crate) fn put(&mut self, at: usize, value: &[u8]) {
        if self.len() < at {
            self.pad(at);
        }
        self.bytes.extend_from_slice(value);
        self.offsets.push(self.bytes.len() as i32);
        self.valid.append_non_null();
    }

    pub(super) fn put_null(&mut self, at: usize) {
        self.pad(at.max(self.len()) + 1);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        if self.len() > rows {
            self.offsets.truncate(rows + 1);
            self.bytes.truncate(self.offsets[rows] as usize);
            self.valid.truncate(rows);
        }
    }

    /// The value of row `at`, unless it is NULL.
    pub(crate) fn get(&self, at: usize) -> Option<&[u8]> {
        let end = *self.offsets.get(at + 1)? as usize;
        self.valid
            .is_valid(at)
            .then(|| &self.bytes[self.offsets[at] as usize..end])
    }
}

/// Booleans.
#[derive(Debug)]
pub struct Flags {
    pub(super) values: BooleanBufferBuilder,
    pub(super) valid: NullBufferBuilder,
}

impl Default for Flags {
    fn default() -> Self {
        Flags {
            values: BooleanBufferBuilder::new(CAPACITY),
            valid: NullBufferBuilder::new(CAPACITY),
        }
    }
}

impl Flags {
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn pad(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.len());
        self.values.append_n(missing, false);
        self.valid.append_n_nulls(missing);
    }

    /// Gives row `at` its value.
    pub(crate) fn put(&mut self, at: usize, value: bool) {
        self.pad(at.max(self.len()));
        self.values.append(value);
        self.valid.append_non_null();
    }

    pub(super) fn put_null(&mut self, at: usize) {
        self.pad(at.max(self.len()) + 1);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        if self.len() > rows {
            self.values.truncate(rows);
            self.valid.truncate(rows);
        }
    }
}
