use crate::error::Fault;

/// A part of a name together with the byte at which it begins, read from left to right.
///
/// The text is ASCII, which the creator of a cursor has checked, so that every byte offset is a character boundary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    pub(crate) text: &'a str,
    pub(crate) at: usize,
}

impl<'a> Cursor<'a> {
    /// Checks that `name` has only characters that every store, file system and URL takes as they are.
    pub(crate) fn new(name: &'a str, longest: usize, extra: &[u8]) -> Result<Self, Fault> {
        if name.len() > longest {
            return Err(Fault::new(
                "name",
                0,
                format!("longer than {longest} bytes"),
            ));
        }
        let allowed = |byte: u8| {
            byte.is_ascii_alphanumeric() || b"-._".contains(&byte) || extra.contains(&byte)
        };
        match name.bytes().position(|byte| !allowed(byte)) {
            Some(at) => Err(Fault::new("character", at, "not allowed in a name")),
            None => Ok(Self { text: name, at: 0 }),
        }
    }

    /// The first `length` bytes, or all there are.
    pub(crate) fn take(&mut self, length: usize) -> Cursor<'a> {
        let (head, tail) = self.text.split_at(length.min(self.text.len()));
        let taken = Cursor {
            text: head,
            at: self.at,
        };
        *self = Cursor {
            text: tail,
            at: self.at + head.len(),
        };
        taken
    }

    /// Returns the text before the next `separator`, or all of it; the separator stays.
    pub(crate) fn until(&mut self, separator: char) -> Cursor<'a> {
        self.take(self.text.find(separator).unwrap_or(self.text.len()))
    }

    /// Takes `literal` if the rest begins with it.
    pub(crate) fn skip(&mut self, literal: &str) -> bool {
        let found = self.text.starts_with(literal);
        if found {
            self.take(literal.len());
        }
        found
    }

    pub(crate) fn expect(&mut self, literal: &str, piece: &'static str) -> Result<(), Fault> {
        if self.skip(literal) {
            Ok(())
        } else {
            self.fault(piece, format!("expected `{literal}`"))
        }
    }

    pub(crate) fn end(&self) -> Result<(), Fault> {
        if self.text.is_empty() {
            Ok(())
        } else {
            self.fault("end of name", "something follows")
        }
    }

    pub(crate) fn fault<T>(
        &self,
        piece: &'static str,
        problem: impl Into<String>,
    ) -> Result<T, Fault> {
        Err(Fault::new(piece, self.at, problem))
    }

    /// The non-empty components between slashes; none of them begins with a dot or holds two dots in a row.
    pub(crate) fn components(mut self) -> Result<Vec<Cursor<'a>>, Fault> {
        let mut out = Vec::new();
        loop {
            let component = self.until('/');
            if component.text.is_empty() {
                return component.fault("path component", "empty");
            }
            if component.text.starts_with('.') || component.text.contains("..") {
                return component.fault("path component", "begins with a dot or holds `..`");
            }
            out.push(component);
            if !self.skip("/") {
                return Ok(out);
            }
        }
    }
}
