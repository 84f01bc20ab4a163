//! The connections that are known, and what counts as a change of one.

mod change;
mod table;

pub(crate) use table::Table;
