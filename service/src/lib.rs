//! The outside of every long-running part of Groma.
//!
//! One [`Lifecycle`] per process says how far it is (starting, ready, lame duck,
//! stopped); [`serve_admin`] shows it over HTTP together with the metrics;
//! [`until_signal`] ends the process politely. Flags and their
//! environment follow M-Lab's rules ([`GoFlags`], [`env_name`], [`parse_duration`],
//! [`parse_byte_count`]), so that a node's configuration carries over.

mod access;
mod active;
mod admin;
mod descriptors;
mod exposition;
mod go_flags;
mod hangup;
mod http;
mod lifecycle;
mod listen;
mod logging;
mod modes;
mod process_metrics;
mod registries;
mod signal;
mod supervise;
mod terminal;
mod values;

pub use access::{Access, TokenError, host_name};
pub use active::{Active, ActiveGuard};
pub use admin::{ADMIN_DESCRIPTORS, Answer, Page, Parameters, serve_admin, serve_admin_with};
pub use descriptors::{DescriptorError, need_descriptors};
pub use exposition::{OPENMETRICS_CONTENT_TYPE, PROMETHEUS_CONTENT_TYPE};
pub use go_flags::{FlagNames, GoFlagError, GoFlags, parse_switch, value_error};
pub use hangup::on_hangup;
pub use http::{HttpLimits, client_of, serve_http};
pub use lifecycle::{Lifecycle, Phase};
pub use listen::listen_tcp;
pub use logging::{LOG_LEVEL_VARIABLE, LogFormat, LogLevelError, init_logging};
pub use modes::keep_others_from_writing;
pub use process_metrics::{Build, register_process_metrics};
pub use registries::Registries;
pub use signal::{install_signal_handlers, until_signal};
pub use supervise::{GaveUp, RestartPolicy, supervise};
pub use terminal::{visible, visible_lines};
pub use values::{
    ByteCountError, DurationError, env_name, parse_byte_count, parse_duration, parse_listen_address,
};
