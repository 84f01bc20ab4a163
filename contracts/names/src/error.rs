/// A name that does not follow the grammar, with the piece that broke it and where it begins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("name {name:?}: {piece} at byte {at}: {problem}")]
pub struct NameError {
    /// The name, cut after 200 characters.
    pub name: String,
    /// The piece of the grammar, such as `machine` or `date directory`.
    pub piece: &'static str,
    /// Byte offset of the piece in the name that was given.
    pub at: usize,
    /// The reason.
    pub problem: String,
}

/// A [`NameError`] before the name is put in.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) piece: &'static str,
    pub(crate) at: usize,
    pub(crate) problem: String,
}

impl Fault {
    pub(crate) fn new(piece: &'static str, at: usize, problem: impl Into<String>) -> Self {
        Self {
            piece,
            at,
            problem: problem.into(),
        }
    }

    pub(crate) fn in_name(self, name: &str) -> NameError {
        NameError {
            name: name.chars().take(200).collect(),
            piece: self.piece,
            at: self.at,
            problem: self.problem,
        }
    }
}
