//! M-Lab's datatypes for the loader.
//!
//! [`datatype`] returns the implementation of a datatype by its name, [`load_datatype`] a datatype that the loader accepts.

mod annotation;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod ndt5;
mod ndt7;
mod pcap;
mod scamper;
mod switch;
mod tcpinfo;

use groma_load::{Datatype, JSON, JSON_LINES, LoadDatatype};
use groma_schema::Schema;
use groma_spool::Name;

/// Returns the implementation of the datatype with this name: one of M-Lab's, or plain JSON.
pub fn datatype(name: &str) -> &'static dyn Datatype {
    match name {
        "ndt7" => &ndt7::Ndt7,
        "ndt5" => &ndt5::Ndt5,
        "tcpinfo" => &tcpinfo::Tcpinfo,
        "scamper1" => &scamper::Kind::Multipath,
        "scamper2" => &scamper::Kind::SinglePath,
        "annotation2" => &annotation::Annotation2,
        "pcap" => &pcap::Pcap,
        "switch" => &switch::Switch,
        "unadmitted" => JSON_LINES,
        _ => JSON,
    }
}

/// Returns the datatype with this name and schema for the loader.
pub fn load_datatype(experiment: Name, name: Name, schema: Schema) -> LoadDatatype {
    let rules = datatype(name.as_str());
    LoadDatatype {
        rules,
        ..LoadDatatype::new(experiment, name, schema)
    }
}
