//! Records every connection to an experiment: each change, the last word included. Connections of admitted tests are
//! published in full, every other one as a row without address.
//!
//! One [`Collector`] per experiment. A sampler per network namespace polls the kernel and hears the last word of every
//! socket (`collect`), compares with what it knows (`flow`), and hands findings in batches to one writer, which keeps
//! a file per connection (`record`, `file`) and informs listeners (`events`). A third thread makes complete files
//! durable and moves them into the spool; a fourth makes rows of connections that were not admitted (`unadmitted`).
//! Between each two of them is a queue with a bound.
//!
//! The files are those of M-Lab's tcp-info, `<uuid>.<sequence>.jsonl.zst`; [`decode`] reads them and shows them.

mod admission;
mod batch;
mod clock;
mod collect;
mod collector;
pub mod compat;
mod config;
mod declaration;
pub mod decode;
mod events;
mod file;
mod flow;
mod metrics;
pub mod record;
mod scope;
mod unadmitted;

pub use admission::{Admission, HANDSHAKE_BYTES, Unadmitted};
pub use collector::{Collector, StartError};
pub use config::{Config, Namespace};
pub use declaration::TcpInfo;
pub use file::Totals;
pub use record::Anonymize;
pub use scope::{Prefix, PrefixError, Scope};
