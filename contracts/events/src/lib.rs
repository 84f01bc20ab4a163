//! The events between the parts of a node: which connection opened, which closed, and which belongs to an admitted test.
//!
//! A unix stream socket, served by tcp-info. The server writes one JSON object per line to every listener. The lines
//! for opened and closed connections are those of M-Lab's tcp-info, so listeners and servers of either side understand
//! each other. An experiment connects to the same socket and writes a line for each connection of an admitted test; the
//! server passes these lines on to all listeners.
//!
//! [`Event`] is a line, [`Client`] a listener that outlives its server, [`Announcer`] the sender of admissions.

mod address;
mod announcer;
mod client;
mod event;

pub use address::with_address;
pub use announcer::{Announced, Announcer};
pub use client::{Backoff, Client, Counts, Notice, read_line};
pub use event::{Admission, Event, EventError, FlowId, LINE_BYTES};
