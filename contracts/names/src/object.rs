use crate::archive::{self, Archive};
use crate::bundle::{self, Bundle, Part};
use crate::cursor::Cursor;
use crate::error::{Fault, NameError};
use crate::label::Label;
use crate::node::Node;
use crate::root::Root;
use crate::stamp::Stamp;
use crate::table::{self, Table};
use groma_spool::Name;
use jiff::Timestamp;
use jiff::civil::Date;
use std::fmt;
use std::str::FromStr;

/// Longest object name of Google Cloud Storage and of S3.
pub(crate) const LONGEST_BYTES: usize = 1024;

/// The name of an object in the archive, without the bucket. Prints exactly as it was read.
///
/// | form | name |
/// |---|---|
/// | [`Form::Tgz`] | `<experiment>/<datatype>/YYYY/MM/DD/<ts>-<datatype>-<machine>-<site>-<experiment>.tgz` |
/// | [`Form::Legacy`] | `<experiment>/YYYY/MM/DD/<ts>-<machine>-<site>-<experiment>-0000.tgz` |
/// | [`Form::Data`] | `<prefix>[/<organization>]/<experiment>/<datatype>/YYYY/MM/DD/<ts>-<datatype>-<machine>-<site>-<experiment>-data.jsonl.gz` |
/// | [`Form::Index`] | `<prefix>[/<organization>]/<experiment>/index1/YYYY/MM/DD/<ts>-<datatype>-<machine>-<site>-<experiment>-index1.jsonl.gz` |
/// | [`Form::Table`] | `<prefix>/tables/[<organization>/]<experiment>/<datatype>.table.json` |
///
/// `<ts>` is `YYYYMMDDTHHMMSSZ` in UTC with up to nine digits of fraction; we write six. The first two forms may also end
/// in `.tar` or `.tar.gz`, carry a part number and the embargo mark `-e`, leave out the repeated datatype, and have
/// up to three directories that are not a date.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(Kind);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Archive(Archive),
    Bundle(Bundle),
    Table(Table),
}

/// The kind of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// A tar file of result files of one datatype.
    Tgz,
    /// A tar file from before datatypes had directories (2009 to 2019).
    Legacy,
    /// JSON rows, one per line.
    Data,
    /// The files whose rows the data object of the same name holds.
    Index,
    /// The schema of a table.
    Table,
}

impl ObjectName {
    /// A tar file. `date` is the date directory of its files (1970 to 2099), `timestamp` the moment of bundling; it is
    /// cut to microseconds.
    pub fn tgz(
        experiment: &Name,
        datatype: &Name,
        date: Date,
        timestamp: Timestamp,
        node: &Node,
    ) -> Self {
        let (experiment, datatype) = (Label::from(experiment), Label::from(datatype));
        Self(Kind::Archive(Archive::new(
            experiment,
            datatype,
            date,
            Stamp::of(timestamp),
            node.clone(),
        )))
    }

    /// A data object. `prefix` is such as `autoload/v1`, which must come without an organization (`^[a-z0-9]+$`), or
    /// `autoload/v2`, which must come with one.
    pub fn data(
        prefix: &str,
        organization: Option<&str>,
        experiment: &Name,
        datatype: &Name,
        date: Date,
        timestamp: Timestamp,
        node: &Node,
    ) -> Result<Self, NameError> {
        Ok(Self(Kind::Bundle(Bundle {
            root: Root::new(prefix, organization).map_err(|fault| fault.in_name(prefix))?,
            experiment: experiment.clone(),
            datatype: datatype.clone(),
            date,
            stamp: Stamp::of(timestamp),
            node: node.clone(),
            part: Part::Data,
        })))
    }

    /// The schema of a table, which the organizations below `prefix` share.
    pub fn table(prefix: &str, experiment: &Name, datatype: &Name) -> Result<Self, NameError> {
        let table = Table::new(prefix, experiment.clone(), datatype.clone());
        table
            .map(|table| Self(Kind::Table(table)))
            .map_err(|fault| fault.in_name(prefix))
    }

    /// The index object that belongs to a data object; `None` for every other form.
    #[must_use]
    pub fn index(&self) -> Option<Self> {
        match &self.0 {
            Kind::Bundle(bundle) if bundle.part == Part::Data => Some(Self(Kind::Bundle(Bundle {
                part: Part::Index,
                ..bundle.clone()
            }))),
            _ => None,
        }
    }

    /// Which of the forms it has.
    pub fn form(&self) -> Form {
        match &self.0 {
            Kind::Archive(archive) if archive.datatype.is_none() => Form::Legacy,
            Kind::Archive(_) => Form::Tgz,
            Kind::Bundle(Bundle {
                part: Part::Data, ..
            }) => Form::Data,
            Kind::Bundle(Bundle {
                part: Part::Index, ..
            }) => Form::Index,
            Kind::Table(_) => Form::Table,
        }
    }

    /// Experiment. In old names it may hold hyphens (`paris-traceroute`), which no [`Name`] has.
    pub fn experiment(&self) -> &str {
        match &self.0 {
            Kind::Archive(archive) => archive.experiment.as_str(),
            Kind::Bundle(bundle) => bundle.experiment.as_str(),
            Kind::Table(table) => table.experiment.as_str(),
        }
    }

    /// Datatype; of a legacy name the experiment, since those had one datatype each. An index has that of its data.
    pub fn datatype(&self) -> &str {
        match &self.0 {
            Kind::Archive(archive) => archive
                .datatype
                .as_ref()
                .unwrap_or(&archive.experiment)
                .as_str(),
            Kind::Bundle(bundle) => bundle.datatype.as_str(),
            Kind::Table(table) => table.datatype.as_str(),
        }
    }

    /// Date directory in UTC. A table has none, and neither has a tar file that was uploaded from other directories.
    pub fn date(&self) -> Option<Date> {
        match &self.0 {
            Kind::Archive(archive) => archive.date,
            Kind::Bundle(bundle) => Some(bundle.date),
            Kind::Table(_) => None,
        }
    }

    /// When the object was bundled; a table does not say.
    pub fn timestamp(&self) -> Option<Timestamp> {
        match &self.0 {
            Kind::Archive(archive) => Some(archive.stamp.timestamp()),
            Kind::Bundle(bundle) => Some(bundle.stamp.timestamp()),
            Kind::Table(_) => None,
        }
    }

    /// The server that the object comes from; a table comes from none.
    pub fn node(&self) -> Option<&Node> {
        match &self.0 {
            Kind::Archive(archive) => Some(&archive.node),
            Kind::Bundle(bundle) => Some(&bundle.node),
            Kind::Table(_) => None,
        }
    }

    /// Root of the autoloaded objects, such as `autoload/v2`.
    pub fn prefix(&self) -> Option<&str> {
        match &self.0 {
            Kind::Archive(_) => None,
            Kind::Bundle(bundle) => Some(&bundle.root.prefix),
            Kind::Table(table) => Some(&table.prefix),
        }
    }

    /// The operator of the server, if the name has it.
    pub fn organization(&self) -> Option<&str> {
        match &self.0 {
            Kind::Archive(_) => None,
            Kind::Bundle(bundle) => bundle.root.organization.as_deref(),
            Kind::Table(table) => table.organization.as_deref(),
        }
    }

    /// Part number of a tar file, as written (`0000`).
    pub fn number(&self) -> Option<&str> {
        match &self.0 {
            Kind::Archive(archive) => archive.number.as_deref(),
            Kind::Bundle(_) | Kind::Table(_) => None,
        }
    }

    /// Whether the name carries the mark of an embargo.
    pub fn is_embargoed(&self) -> bool {
        matches!(&self.0, Kind::Archive(archive) if archive.embargoed)
    }

    /// File name without `.tgz`, `.tar`, `.tar.gz`, `.jsonl.gz` or `.json`: the name of the Parquet file made from it.
    pub fn stem(&self) -> String {
        let mut out = String::new();
        match &self.0 {
            Kind::Archive(archive) => archive.fmt_stem(&mut out),
            Kind::Bundle(bundle) => bundle.fmt_stem(&mut out),
            Kind::Table(table) => fmt::write(&mut out, format_args!("{}.table", table.datatype)),
        }
        .expect("writing to a String cannot fail");
        out
    }

    pub(crate) fn read(name: &str) -> Result<Self, Fault> {
        let components = Cursor::new(name, LONGEST_BYTES, b":/")?.components()?;
        let (file, directories) = components
            .split_last()
            .expect("there is at least one component");
        let without = |suffix: &str| {
            file.text
                .strip_suffix(suffix)
                .map(|text| Cursor { text, at: file.at })
        };
        if let Some(stem) = without(table::SUFFIX) {
            return Table::read(directories, stem).map(|table| Self(Kind::Table(table)));
        }
        if let Some(stem) = without(bundle::SUFFIX) {
            return Bundle::read(directories, stem).map(|bundle| Self(Kind::Bundle(bundle)));
        }
        for suffix in archive::SUFFIXES {
            if let Some(stem) = without(suffix) {
                return Archive::read(directories, stem, suffix)
                    .map(|archive| Self(Kind::Archive(archive)));
            }
        }
        Err(Fault::new(
            "suffix",
            name.len(),
            "must be .tgz, .tar, .tar.gz, .jsonl.gz or .table.json",
        ))
    }
}

impl FromStr for ObjectName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::read(name).map_err(|fault| fault.in_name(name))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Archive(archive) => archive.fmt(f),
            Kind::Bundle(bundle) => bundle.fmt(f),
            Kind::Table(table) => table.fmt(f),
        }
    }
}
