//! A lake that is loaded, compacted, sealed, raced for and killed.

mod corrections;
mod damage;
mod dates;
mod hostile;
mod index;
mod kill;
mod kill_rebuild;
mod mirror;
mod seal;
mod support;
