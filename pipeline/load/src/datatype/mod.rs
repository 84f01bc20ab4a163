//! What differs between datatypes: which members count, what the key is, what is put right, what is summed up.
//!
//! A JSON datatype needs none of it: its schema is enough.

mod json;
pub mod ndt7;

use arrow_schema::Fields;
use serde_json::Value;

use crate::row::Row;
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
}

impl Rules {
    /// The rules that we have for `datatype`; [`Rules::Json`] for any that we do not know.
    pub fn for_datatype(datatype: &str) -> Rules {
        match datatype {
            "ndt7" => Rules::Ndt7,
            _ => Rules::Json,
        }
    }

    /// The rules in words; empty for [`Rules::Json`].
    pub fn list(self) -> &'static [Rule] {
        match self {
            Rules::Json => &[],
            Rules::Ndt7 => ndt7::RULES,
        }
    }

    /// Fields of the summary column `a`, when there is one.
    pub(crate) fn summary(self) -> Option<Fields> {
        match self {
            Rules::Json => None,
            Rules::Ndt7 => Some(ndt7::summary_fields()),
        }
    }

    /// Whether a member of this name is a measurement of the datatype.
    pub(crate) fn wants(self, member: &str) -> bool {
        match self {
            Rules::Json => json::is_wanted(member),
            Rules::Ndt7 => ndt7::is_wanted(member),
        }
    }

    /// Names of records whose absent integers read 0.
    pub(crate) fn zero_filled(self) -> &'static [&'static str] {
        match self {
            Rules::Json => &[],
            Rules::Ndt7 => ndt7::ZERO_FILLED,
        }
    }

    /// Puts right what the schema could not know, before the measurement is shaped.
    pub(crate) fn repair(self, raw: &mut Value) {
        match self {
            Rules::Json => {}
            Rules::Ndt7 => ndt7::name_bandwidth(raw),
        }
    }

    /// Makes a row of a shaped measurement, or says why it is none. `id` is the line's own.
    pub(crate) fn row(
        self,
        id: Option<String>,
        archiver: Archiver,
        mut raw: Value,
    ) -> Result<Row, String> {
        let (id, a) = match self {
            Rules::Json => (json::key(id, &archiver, &raw), None),
            Rules::Ndt7 => {
                ndt7::drop_server_connections(&mut raw);
                let (id, a) = ndt7::key_and_summary(&raw)?;
                (id, Some(a))
            }
        };
        Ok(Row {
            id,
            archiver,
            a,
            raw,
        })
    }
}

/// The last component of a member name, which is all that a rule may look at.
fn base_name(member: &str) -> &str {
    member.rsplit('/').next().unwrap_or(member)
}
