//! Unknown fields, refusals and the cost of filling columns.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// Names of unknown fields that a report keeps; of more, none.
const UNKNOWN_NAMES: usize = 64;

/// Characters kept of one name: those of unknown fields are the object's own text.
const NAME_CHARS: usize = 64;

/// The fields that were left out, and the number of column slots that a measurement may still fill.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Dotted path → occurrences, of fields that the schema does not know.
    pub(crate) unknown: BTreeMap<String, u64>,
    /// Column slots that the row in hand may still take.
    slots_left: u64,
    /// Where and why the row in hand does not fit.
    refusal: Option<String>,
}

impl Report {
    /// Begins a row that may take `slots` column slots.
    pub(crate) fn begin(&mut self, slots: u64) {
        self.slots_left = slots;
        self.refusal = None;
    }

    /// Notes why the row does not fit; what it returns goes into the parser's own error, which is thrown away.
    pub(super) fn refuse(&mut self, reason: String) -> &'static str {
        self.refusal = Some(reason);
        "refused"
    }

    /// Why the row did not fit, if that was the reason.
    pub(crate) fn take_refusal(&mut self) -> Option<String> {
        self.refusal.take()
    }

    /// Takes column slots. An empty object in a list is two characters of JSON, and yet a slot in every column below it.
    pub(crate) fn take(&mut self, slots: u64, path: &Path<'_>) -> Result<(), &'static str> {
        match self.slots_left.checked_sub(slots) {
            Some(left) => {
                self.slots_left = left;
                Ok(())
            }
            None => Err(self.refuse(format!("{path}: too many records in one measurement"))),
        }
    }

    pub(super) fn unknown(&mut self, path: &Path<'_>, key: &str) {
        let name = path.below(key).to_string();
        if self.unknown.contains_key(&name) || self.unknown.len() < UNKNOWN_NAMES {
            *self.unknown.entry(name).or_default() += 1;
        }
    }
}

/// Where we are, for messages; built on the stack.
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    name: &'a str,
}

impl<'a> Path<'a> {
    pub(crate) fn root(name: &'a str) -> Self {
        Path { parent: None, name }
    }

    pub(crate) fn below(&'a self, name: &'a str) -> Self {
        Path {
            parent: Some(self),
            name,
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}.")?;
        }
        let mut start = self.name.chars().take(NAME_CHARS);
        start.try_for_each(|c| f.write_char(c))
    }
}
