//! The loader from outside: an archive in a directory, a lake in a directory, rows read back from Parquet.

mod columns;
mod datatypes;
mod export;
mod follow;
mod forms;
mod golden;
mod hostile;
mod identity;
mod killed;
mod large;
mod mutated;
mod once;
mod rules;
mod support;
mod values;
