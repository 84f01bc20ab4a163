use crate::cursor::Cursor;
use crate::error::Fault;
use groma_spool::Name;
use std::fmt;

/// An experiment or datatype as old archives name it: like [`Name`], but parts may be joined by `-` or `_`
/// (`paris-traceroute`). Only read, never made: what we write has a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Label(String);

impl Label {
    pub(crate) fn read(piece: &'static str, from: Cursor<'_>) -> Result<Self, Fault> {
        let text = from.text;
        let good = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .split(['-', '_'])
                .all(|part| !part.is_empty() && part.bytes().all(is_lower_or_digit));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            from.fault(piece, "must match [a-z][a-z0-9]*([-_][a-z0-9]+)*")
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Name> for Label {
    fn from(name: &Name) -> Self {
        Self(name.as_str().to_owned())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a [`Name`], which the modern forms insist on.
pub(crate) fn read_name(piece: &'static str, from: Cursor<'_>) -> Result<Name, Fault> {
    from.text
        .parse()
        .or_else(|_| from.fault(piece, "must match [a-z][a-z0-9]*"))
}

pub(crate) fn is_lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}
