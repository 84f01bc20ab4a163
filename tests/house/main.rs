//! The rules of the house that a compiler does not check: which room may use
//! which, where `unsafe` may live, how long a file may be, what a crate must say
//! about itself.

mod arrows;
mod crates;
mod dependencies;
mod docs;
mod files;
mod vectors;
