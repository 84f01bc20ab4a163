use crate::cursor::Cursor;
use crate::error::Fault;
use crate::label::read_name;
use crate::root::{join, read_organization};
use groma_spool::Name;
use std::fmt;

pub(crate) const SUFFIX: &str = ".table.json";
const DIRECTORY: &str = "tables";

/// `<prefix>/tables/[<organization>/]<experiment>/<datatype>.table.json`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Table {
    pub(crate) prefix: String,
    pub(crate) organization: Option<String>,
    pub(crate) experiment: Name,
    pub(crate) datatype: Name,
}

impl Table {
    pub(crate) fn new(prefix: &str, experiment: Name, datatype: Name) -> Result<Self, Fault> {
        Cursor::new(prefix, 256, b"/")?.components()?;
        Ok(Self {
            prefix: prefix.to_owned(),
            organization: None,
            experiment,
            datatype,
        })
    }

    pub(crate) fn read(directories: &[Cursor<'_>], file: Cursor<'_>) -> Result<Self, Fault> {
        let (prefix, organization, experiment) = match directories {
            [prefix @ .., tables, experiment] if tables.text == DIRECTORY => {
                (prefix, None, experiment)
            }
            [prefix @ .., tables, organization, experiment] if tables.text == DIRECTORY => {
                (prefix, Some(read_organization(*organization)?), experiment)
            }
            _ => {
                return file.fault(
                    "directory",
                    "expected <prefix>/tables/<experiment> before it",
                );
            }
        };
        if prefix.is_empty() {
            return experiment.fault("prefix", "missing before `tables`");
        }
        Ok(Self {
            prefix: join(prefix),
            organization,
            experiment: read_name("experiment", *experiment)?,
            datatype: read_name("datatype", file)?,
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{DIRECTORY}/", self.prefix)?;
        if let Some(organization) = &self.organization {
            write!(f, "{organization}/")?;
        }
        write!(f, "{}/{}{SUFFIX}", self.experiment, self.datatype)
    }
}
