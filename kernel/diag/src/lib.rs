//! The TCP sockets of a network namespace, asked from the kernel over netlink (`NETLINK_SOCK_DIAG`, `sock_diag(7)`).
//!
//! Three ways of asking, which together miss nothing:
//! [`Diag::dump`] walks all sockets of both families at once, [`Diag::get`] asks for known ones by identity and
//! cookie, and [`Destroyed`] hears the last word of every socket from the kernel's destroy multicast, also of sockets
//! that no dump ever saw. [`Opens`] shows at little cost whether a dump can contain anything new.
//!
//! All of it works without privileges, in the network namespace of the thread that uses it; [`enter_namespace`] moves a
//! thread into another. Buffers are reused and messages are read where they lie: a dump allocates nothing.
//!
//! [`Snapshot`] is a message decoded into numbers, with the JSON names of M-Lab's `tcpinfo` rows.
// recvmmsg(2) has no safe wrapper; the one block that calls it is in `receive.rs`.
#![allow(unsafe_code)]

mod attribute;
mod destroyed;
mod diag;
mod message;
mod namespace;
mod opens;
mod receive;
mod record;
mod request;
mod snapshot;

pub use attribute::{Attributes, kind};
pub use destroyed::{Destroyed, Drained};
pub use diag::{Answer, Diag, Dumped, GET_BATCH};
pub use message::DiagError;
pub use namespace::enter_namespace;
pub use opens::Opens;
pub use record::{KEY_BYTES, Key, MESSAGE_BYTES, Record, SocketId, state};
pub use snapshot::{
    BbrAttribute, DctcpInfo, InetDiagMsg, MemInfo, MessageWords, Snapshot, SocketMem, VegasInfo,
};
