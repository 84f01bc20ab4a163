//! All of Groma on one machine: `groma demo` and `groma up`.
//!
//! The lab composes what a platform runs in many places: the measurement server,
//! the publisher, an archive in a directory and the loader, each talking to the
//! next through files only, as they do on a node. It needs no privileges. What
//! the machine cannot do turns one part off, with a line that says what is lost.

mod config;
mod dirs;
mod error;
mod lab;
mod lock;
mod sidecars;
mod stages;
mod tls;
mod worker;

pub use config::LabConfig;
pub use dirs::LabDirs;
pub use error::LabError;
pub use lab::{Lab, Off, Services};
pub use stages::{
    built_in_manifest, bundle_metadata, loaded_datatypes, published_datatypes, with_recorder,
};
pub use tls::Certificate;
