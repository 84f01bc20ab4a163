//! The UUID of a TCP connection: `<name>_<boot time>_<16 hex of the socket cookie>`.
//!
//! It is the join key of everything that the platform records. The first two
//! pieces are the *prefix*, written once per boot into a file that every process
//! of a node reads; the last is the kernel's socket cookie (`SO_COOKIE`).
//! The text form, the prefix file and the `_unsafe` fallback are those of
//! M-Lab's `uuid` library, so that files made by either side join.

mod boot;
mod prefix;
mod uuid;

pub use boot::{boot_id, boot_time_s, machine_name};
pub use prefix::{Prefix, PrefixError};
pub use uuid::{INVALID_UUID, Uuid, UuidError};
