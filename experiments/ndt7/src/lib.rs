//! ndt7, M-Lab's single-connection test of bulk transport capacity: protocol, server and reference client.
//!
//! The protocol is version 0.11.0 of M-Lab's ndt7 specification; result files are M-Lab's datatype `ndt7`.

pub mod client;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod manifest;
pub mod protocol;
mod result;
pub mod server;

pub use manifest::manifest;
pub use result::{Build, DATATYPE};
