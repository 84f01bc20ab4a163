//! One grammar for the names of measurement hosts and of archive objects.
//!
//! [`ObjectName`] reads and prints every object name that M-Lab's uploaders have written since 2009 and that ours write
//! now; [`Node`] is the machine and site within it, and [`HostName`] the DNS name of a node. A name that was parsed prints
//! as the same bytes.

mod archive;
mod bundle;
mod cursor;
mod error;
mod host;
mod label;
mod locate;
mod node;
mod object;
mod root;
mod stamp;
mod table;

pub use error::NameError;
pub use host::HostName;
pub use node::Node;
pub use object::{Form, ObjectName};
