//! Loads archive objects into the lake: one typed, nested Parquet file per object, created once.
//!
//! A row has `id`, `archiver` (provenance), `a` (summary, where the datatype has one) and `raw` (as measured); `date` is
//! only in the path, and no row contains values of the loader's own clock or machine. Loading an object twice, or from two machines at once,
//! therefore changes nothing: the same object gives the same bytes under the same name.
//!
//! An object is read as a stream. A member that cannot be read becomes an entry of an error list beside the table, and loading
//! continues; `members = rows + errors + skipped`.

mod column;
mod datatype;
mod error;
mod export;
mod follow;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod lake;
mod limits;
mod load;
mod loader;
mod metrics;
mod object;
mod progress;
mod retry;
mod row;
mod source;
mod sweep;
mod table;
mod warehouse;

pub use column::{Block, Column, Micros, Place, Record, Traits, Unfit};
pub use datatype::{
    Datatype, JSON, JSON_LINES, Measurement, Rule, base_name, bound_values, record, uuid_of,
};
pub use error::LoadError;
pub use export::{Export, export};
pub use lake::{Lake, writer_properties};
pub use limits::Limits;
pub use loader::{Loaded, Loader};
pub use metrics::LoadMetrics;
pub use object::{Form, Object};
pub use progress::Progress;
pub use row::Batch;
pub use source::Archiver;
pub use sweep::Swept;
pub use table::LoadDatatype;
pub use warehouse::errors_schema;
