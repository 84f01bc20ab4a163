//! The rules of an experiment, as a server that links it meets them.

mod admission;
mod announce;
mod common;
mod disk_full;
mod metadata;
mod metrics;
mod results;
mod setup;
mod spool_failed;
mod volumes;
