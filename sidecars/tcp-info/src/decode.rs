//! Reading tcpinfo files back, ours and M-Lab's, and showing them.

mod csv;
mod json;
mod plot;
mod read;
mod svg;
mod table;

pub use csv::write_csv;
pub use json::write_json;
pub use plot::{Moment, write_plot};
pub use read::{DecodeError, Reader, Recording};
pub use svg::write_svg;
pub use table::write_table;
