//! The event socket: every listener hears of every flow, and none can hold up the others.

mod server;

pub(crate) use server::EventServer;
