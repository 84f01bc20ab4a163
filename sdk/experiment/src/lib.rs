//! The library of experiments: everything about a test that is not its protocol.
//!
//! An [`Experiment`] is one experiment in one process. A server asks it to
//! [`admit`](Experiment::admit) each test; the [`Test`] it gets filters the client's
//! metadata, records consent, names the connections, counts bytes and errors, and
//! writes the one result file at the end.
//!
//! ```no_run
//! # fn body() -> Vec<u8> { Vec::new() }
//! use groma_experiment::{Experiment, Refusal, ResultFile};
//!
//! # fn serve(experiment: &Experiment, query: &[(String, String)], socket: &std::net::TcpStream)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let mut test = experiment.admit(query)?;
//! let uuid = test.connection(socket);
//! test.bytes(1_000_000, 0);
//! let file = ResultFile {
//!     datatype: "ndt7".parse()?,
//!     name: format!("ndt7-download-{uuid}.json").parse()?,
//!     date: "2026-11-22".parse()?,
//!     body: body(),
//! };
//! // Blocking: from asynchronous code, inside `spawn_blocking`.
//! let _path = test.finish("okay", Some(file))?;
//! # Ok(())
//! # }
//! ```

mod clock;
mod datatypes;
mod disk;
mod experiment;
mod metadata;
mod metrics;
mod test;

pub use experiment::{Experiment, Refusal, Settings, SetupError};
pub use groma_service::on_hangup;
pub use metadata::{MAX_KEY_BYTES, MAX_PAIRS, NameValue, POLICY_NOT_SENT, POLICY_VERSION};
pub use test::{FinishError, ResultFile, Test};
