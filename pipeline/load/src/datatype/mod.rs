//! What differs between datatypes: which members count, what the key is, what is put right, what is summed up.
//!
//! A JSON datatype needs none of it: its schema is enough.

pub mod annotation;
mod json;
pub mod ndt5;
pub mod ndt7;
pub mod pcap;
pub mod scamper;
pub mod switch;
pub mod tcpinfo;
pub mod unadmitted;

use arrow_schema::{DataType, Field, Fields};
use jiff::civil::Date;

use crate::column::Traits;
use crate::row::Batch;
use crate::source::Archiver;

/// One rule by which a row differs from the file it came from; printed by the docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Short name, `kebab-case`.
    pub name: &'static str,
    /// What the rule does.
    pub what: &'static str,
    /// Why it does it.
    pub why: &'static str,
}

/// The rules that a datatype is loaded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Rules {
    /// Members ending in `.json` or `.json.gz`, rows as measured.
    #[default]
    Json,
    /// M-Lab's ndt7, see [`ndt7::RULES`].
    Ndt7,
    /// M-Lab's ndt5, see [`ndt5::RULES`].
    Ndt5,
    /// Snapshots of connections, see [`tcpinfo::RULES`].
    Tcpinfo,
    /// Multipath traceroutes, see [`scamper::RULES`].
    Scamper1,
    /// Single-path traceroutes, see [`scamper::RULES`].
    Scamper2,
    /// Annotated connections, see [`annotation::RULES`].
    Annotation2,
    /// Packet headers, see [`pcap::RULES`].
    Pcap,
    /// Counters of switches, see [`switch::RULES`].
    Switch,
    /// Connections that were not admitted, see [`unadmitted::RULES`].
    Unadmitted,
}

impl Rules {
    /// The rules that we have for `datatype`; [`Rules::Json`] for any that we do not know.
    pub fn for_datatype(datatype: &str) -> Rules {
        match datatype {
            "ndt7" => Rules::Ndt7,
            "ndt5" => Rules::Ndt5,
            "tcpinfo" => Rules::Tcpinfo,
            "scamper1" => Rules::Scamper1,
            "scamper2" => Rules::Scamper2,
            "annotation2" => Rules::Annotation2,
            "pcap" => Rules::Pcap,
            "switch" => Rules::Switch,
            "unadmitted" => Rules::Unadmitted,
            _ => Rules::Json,
        }
    }

    /// The rules in words; empty for [`Rules::Json`].
    pub fn list(self) -> &'static [Rule] {
        match self {
            Rules::Json => &[],
            Rules::Ndt7 => ndt7::RULES,
            Rules::Ndt5 => ndt5::RULES,
            Rules::Tcpinfo => tcpinfo::RULES,
            Rules::Scamper1 | Rules::Scamper2 => scamper::RULES,
            Rules::Annotation2 => annotation::RULES,
            Rules::Pcap => pcap::RULES,
            Rules::Switch => switch::RULES,
            Rules::Unadmitted => unadmitted::RULES,
        }
    }

    /// The columns of a table behind `id` and `archiver`, for a measurement of these fields.
    pub(crate) fn columns(self, fields: Fields) -> Vec<Field> {
        let summed = |summary: Fields, raw: Fields| vec![record("a", summary), record("raw", raw)];
        match self {
            Rules::Json | Rules::Scamper1 | Rules::Scamper2 | Rules::Unadmitted => {
                vec![record("raw", fields)]
            }
            Rules::Ndt7 | Rules::Ndt5 => summed(ndt7::summary_fields(), fields),
            Rules::Tcpinfo => summed(tcpinfo::summary_fields(&fields), fields),
            Rules::Switch => summed(switch::summary_fields(), fields),
            Rules::Pcap => vec![record("a", fields)],
            Rules::Annotation2 => annotation::columns(&fields),
        }
    }

    /// What the rules ask of the columns.
    pub(crate) fn traits(self) -> Traits {
        match self {
            Rules::Ndt7 => ndt7::TRAITS,
            Rules::Switch => switch::TRAITS,
            _ => Traits::default(),
        }
    }

    /// How many times the column slots of other measurements one of this datatype may fill.
    pub(crate) fn slots(self) -> u64 {
        match self {
            Rules::Tcpinfo => tcpinfo::SLOTS,
            _ => 1,
        }
    }

    /// Whether a member of this name is a measurement of the datatype.
    pub(crate) fn wants(self, member: &str) -> bool {
        match self {
            Rules::Json | Rules::Annotation2 => json::is_wanted(member),
            Rules::Ndt7 => ndt7::is_wanted(member),
            Rules::Ndt5 => ndt5::is_wanted(member),
            Rules::Tcpinfo => tcpinfo::is_wanted(member),
            Rules::Scamper1 | Rules::Scamper2 => scamper::is_wanted(member),
            Rules::Pcap => pcap::is_wanted(member),
            Rules::Switch => switch::is_wanted(member),
            Rules::Unadmitted => unadmitted::is_wanted(member),
        }
    }

    /// Makes rows of a measurement, or says why it is none. What was begun of a refused one is for the caller to take back.
    pub(crate) fn append(self, source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
        match self {
            Rules::Json => json::append(source, batch),
            Rules::Ndt7 => ndt7::append(source, batch),
            Rules::Ndt5 => ndt5::append(source, batch),
            Rules::Tcpinfo => tcpinfo::append(source, batch),
            Rules::Scamper1 => scamper::append(scamper::Kind::Multipath, source, batch),
            Rules::Scamper2 => scamper::append(scamper::Kind::SinglePath, source, batch),
            Rules::Annotation2 => annotation::append(source, batch),
            Rules::Pcap => pcap::append(source, batch),
            Rules::Switch => switch::append(source, batch),
            Rules::Unadmitted => unadmitted::append(source, batch),
        }
    }
}

/// Refuses a measurement that would be parsed into more values than a row may have.
fn bound_values(json: &[u8], batch: &Batch) -> Result<(), String> {
    let most = batch.limits().member_values;
    if crate::limits::values_at_most(json) > most {
        return Err(format!("more than {most} JSON values"));
    }
    Ok(())
}

/// A member to make rows of.
pub(crate) struct Measurement<'a> {
    /// The line's own `id` column, when it has one.
    pub(crate) id: Option<&'a str>,
    pub(crate) archiver: &'a Archiver,
    /// The date of the rows.
    pub(crate) date: Date,
    pub(crate) bytes: &'a [u8],
    /// The bytes are the beginning of the member; its compression ends early.
    pub(crate) is_cut: bool,
}

fn record(name: &str, fields: Fields) -> Field {
    Field::new(name, DataType::Struct(fields), true)
}

/// The last component of a member name, which is all that a rule may look at.
fn base_name(member: &str) -> &str {
    member.rsplit('/').next().unwrap_or(member)
}
