//! Reading back what was put, which is what summaries are made from.

use super::{Column, List, Record};

impl Column {
    /// The record column, if it is one.
    pub fn record(&self) -> Option<&Record> {
        match self {
            Column::Record(record) => Some(record),
            _ => None,
        }
    }

    /// The items of row `at`: their column and their rows in it.
    pub fn items(&self, at: usize) -> Option<(&Column, std::ops::Range<usize>)> {
        match self {
            Column::List(List { offsets, item, .. }) => {
                let begin = *offsets.get(at)? as usize;
                let end = offsets.get(at + 1).map_or(begin, |end| *end as usize);
                Some((item, begin..end))
            }
            _ => None,
        }
    }

    /// Text of row `at`.
    pub fn text(&self, at: usize) -> Option<&str> {
        match self {
            Column::Text(text) => std::str::from_utf8(text.get(at)?).ok(),
            _ => None,
        }
    }

    /// The integer, or the microseconds of an instant, of row `at`.
    pub fn integer(&self, at: usize) -> Option<i64> {
        match self {
            Column::Integer(plain) | Column::Instant(plain) => plain.get(at),
            _ => None,
        }
    }

    /// The number of row `at`.
    pub fn number(&self, at: usize) -> Option<f64> {
        match self {
            Column::Integer(plain) => plain.get(at).map(|value| value as f64),
            Column::Float(plain) => plain.get(at),
            _ => None,
        }
    }
}

impl Record {
    /// Whether row `at` is there and not NULL.
    pub fn is_set(&self, at: usize) -> bool {
        at < self.len() && self.valid.is_valid(at)
    }
}
