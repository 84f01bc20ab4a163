//! Runs experiments from their manifests, each with its spool, sidecars and publisher.
//!
//! The caller passes in sidecars and experiments. An experiment runs in the caller's process ([`InProcess`]) or is a directory
//! with a manifest ([`Hosted`]). [`Node::start`] checks everything before it starts anything. [`Node::stop`] lets running tests
//! end and publishes closed files. This crate never names a particular experiment or sidecar.

mod datatypes;
mod dirs;
mod error;
mod hosted;
mod in_process;
mod leftover;
mod node;
mod output;
mod ports;
mod probe;
mod process;
mod worker;

pub use datatypes::{attach, bundle_metadata, loaded_datatypes, published_datatypes};
pub use dirs::Dirs;
pub use error::{BoxError, ComposeError};
pub use hosted::Hosted;
pub use in_process::{InProcess, RunningExperiment, Setup};
pub use node::{Config, Endpoint, Node, Off};
pub use ports::PortChoice;
pub use worker::Worker;
