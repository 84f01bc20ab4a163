//! The library that experiments link: admission, consent, UUIDs, result files and metrics.
//!
//! A server asks the [`Experiment`] to [`admit`](Experiment::admit) each test. The [`Test`] that it gets filters the client's
//! metadata, records consent, names the connections, counts bytes and errors, and writes the one result file at the end.
//!
//! An experiment needs no other crate of Groma: the types that its code names are exported here. This is a complete server,
//! which `groma up --experiment DIR` runs:
//!
//! ```no_run
//! use std::error::Error;
//! use std::io::Write as _;
//! use std::net::TcpStream;
//! use std::time::Instant;
//!
//! use groma_experiment::{Experiment, Host, Outcome};
//! use serde::Serialize;
//!
//! /// The row of a test; the schema beside the manifest describes it.
//! #[derive(Serialize)]
//! struct Row {
//!     #[serde(rename = "UUID")]
//!     uuid: String,
//!     #[serde(rename = "Bytes")]
//!     bytes: u64,
//!     #[serde(rename = "Seconds")]
//!     seconds: f64,
//! }
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//!     let host = Host::from_environment()?;
//!     let listener = host.listen("data")?;
//!     let experiment = host.experiment().clone();
//!     let okay = experiment.outcome("okay")?;
//!     std::thread::spawn(move || {
//!         for stream in listener.incoming().flatten() {
//!             let (experiment, okay) = (experiment.clone(), okay.clone());
//!             std::thread::spawn(move || {
//!                 if let Err(error) = serve(&experiment, &okay, stream) {
//!                     eprintln!("a test failed: {error}");
//!                 }
//!             });
//!         }
//!     });
//!     host.until_stopped();
//!     Ok(())
//! }
//!
//! fn serve(experiment: &Experiment, okay: &Outcome, mut stream: TcpStream) -> Result<(), Box<dyn Error>> {
//!     // A real protocol reads the client's parameters from the connection.
//!     let mut test = experiment.admit(&[])?;
//!     let uuid = test.connection(&stream);
//!     let (begin, payload) = (Instant::now(), vec![0; 1_000_000]);
//!     stream.write_all(&payload)?;
//!     test.bytes(payload.len() as u64, 0);
//!     let row = Row {
//!         uuid: uuid.to_string(),
//!         bytes: payload.len() as u64,
//!         seconds: begin.elapsed().as_secs_f64(),
//!     };
//!     test.finish_with(okay, &"transfer1".parse()?, &row)?;
//!     Ok(())
//! }
//! ```

mod clients;
mod clock;
mod datatypes;
mod disk;
mod experiment;
mod host;
mod metadata;
mod metrics;
mod test;

pub use clients::{ClientLimit, ClientPermit};
pub use experiment::{Experiment, Refusal, Settings, SetupError};
pub use groma_manifest::{Manifest, ManifestError};
pub use groma_service::{Lifecycle, Phase, on_hangup};
pub use groma_spool::{FileName, Name, NameError};
pub use groma_uuid::{Prefix, Uuid};
pub use host::{Host, HostError};
pub use jiff;
pub use metadata::{MAX_KEY_BYTES, MAX_PAIRS, NameValue, POLICY_NOT_SENT, POLICY_VERSION};
pub use prometheus_client;
pub use test::{FinishError, Outcome, ResultFile, Test, UndeclaredOutcome};
