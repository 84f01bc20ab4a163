//! A lake that is loaded, compacted, sealed, raced for and killed.

mod index;
mod kill;
mod seal;
mod support;
