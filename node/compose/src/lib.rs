//! Runs experiments from their manifests, each with its spool, sidecars and publisher.
//!
//! The caller hands over experiments, as parts of its own process ([`InProcess`]) or as directories with a manifest
//! ([`Hosted`]), and sidecars. [`Node::start`] checks everything first, starts it, and [`Node::stop`] lets running tests end
//! and publishes what was closed. Nothing here knows an experiment or a sidecar by name.

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
