//! Connections that ended without admission: rows without address for everybody, addresses for operators for 72 hours.
//!
//! The folder `unadmitted` beside the spool is the queue; each file in it is what was recorded of one connection. For
//! each, the [`Ledger`] writes the address into a store of files that only the recorder's user can read, and a row into
//! a log; it makes both durable and then removes the file. When the rows are old or many enough, they become one file
//! of the datatype `unadmitted`. At every step, a death leaves enough to count each connection exactly once.

mod addresses;
mod elapsed;
mod ledger;
mod log;
mod refused;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use addresses::KEEP_SECONDS;
pub(crate) use ledger::{Ledger, LedgerSetup};
