//! The flow events that tcp-info tells the other sidecars of a node: which connection opened, which closed.
//!
//! A unix stream socket; the server writes one JSON object per line to every listener and reads nothing. The lines
//! are those of M-Lab's tcp-info, so that listeners of either side understand servers of either side.
//! [`Event`] is a line, [`Client`] a listener that outlives its server.

mod client;
mod event;

pub use client::{Backoff, Client, Counts, Notice};
pub use event::{Event, EventError, FlowId, LINE_BYTES};
