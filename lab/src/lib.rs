//! A node, its archive and its lake on one machine: `groma demo` and `groma up`.
//!
//! The lab runs the experiments and sidecars that its caller hands over, an archive in a directory, the loader, and the
//! maintenance of the lake. Each part talks to the next through files only, as they do on a node. It needs no privileges. A
//! part that the machine cannot run is off, and the lab says what is lost.

mod config;
mod dirs;
mod error;
mod lab;
mod lock;
mod pipeline;
mod tls;

pub use config::{LabConfig, Parts};
pub use dirs::LabDirs;
pub use error::LabError;
pub use lab::Lab;
pub use tls::{Certificate, self_signed_in};
