use crate::cursor::Cursor;
use crate::error::Fault;
use crate::label::Label;
use crate::node::Node;
use crate::stamp::Stamp;
use groma_spool::{date_dir, parse_date_dir};
use jiff::civil::Date;
use std::fmt;

/// Directory levels below the datatype that the uploader of tar files keeps.
const MAX_SUBDIRECTORIES: usize = 3;
/// Longest first: `.tar` ends no name that `.tar.gz` ends.
pub(crate) const SUFFIXES: [&str; 3] = [".tar.gz", ".tgz", ".tar"];

/// `<experiment>/[<datatype>/]<directories>/<stamp>[-<datatype>]-<node>-<experiment>[-<number>][-e].tgz`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Archive {
    pub(crate) experiment: Label,
    /// None before 2019, when an experiment had one kind of data.
    pub(crate) datatype: Option<Label>,
    subdirectories: Vec<String>,
    pub(crate) date: Option<Date>,
    pub(crate) stamp: Stamp,
    repeats_datatype: bool,
    pub(crate) node: Node,
    pub(crate) number: Option<String>,
    pub(crate) embargoed: bool,
    suffix: &'static str,
}

impl Archive {
    pub(crate) fn new(
        experiment: Label,
        datatype: Label,
        date: Date,
        stamp: Stamp,
        node: Node,
    ) -> Self {
        let subdirectories = date_dir(date).split('/').map(str::to_owned).collect();
        Self {
            experiment,
            datatype: Some(datatype),
            subdirectories,
            date: Some(date),
            stamp,
            repeats_datatype: true,
            node,
            number: None,
            embargoed: false,
            suffix: ".tgz",
        }
    }

    pub(crate) fn read(
        directories: &[Cursor<'_>],
        file: Cursor<'_>,
        suffix: &'static str,
    ) -> Result<Self, Fault> {
        let [first, rest @ ..] = directories else {
            return file.fault("experiment", "missing directory");
        };
        let experiment = Label::read("experiment", *first)?;
        let legacy_date = read_date(rest)?;
        let (datatype, below) = match rest {
            _ if legacy_date.is_some() => (None, rest),
            [second, below @ ..] => (Some(Label::read("datatype", *second)?), below),
            [] => return file.fault("datatype", "missing directory"),
        };
        if let Some(fourth) = below.get(MAX_SUBDIRECTORIES) {
            return fourth.fault("directory", "more than three below the datatype");
        }
        let date = read_date(below)?;
        let mut cursor = file;
        let stamp = Stamp::read(&mut cursor)?;
        let repeats_datatype = datatype
            .as_ref()
            .is_some_and(|datatype| skip_datatype(&mut cursor, datatype));
        cursor.expect("-", "machine")?;
        let node = Node::read(&mut cursor)?;
        cursor.expect("-", "experiment")?;
        cursor.expect(experiment.as_str(), "experiment")?;
        let number = read_number(&mut cursor);
        let embargoed = cursor.skip("-e");
        cursor.end()?;
        let subdirectories = below
            .iter()
            .map(|directory| directory.text.to_owned())
            .collect();
        Ok(Self {
            experiment,
            datatype,
            subdirectories,
            date,
            stamp,
            repeats_datatype,
            node,
            number,
            embargoed,
            suffix,
        })
    }

    pub(crate) fn fmt_stem(&self, f: &mut impl fmt::Write) -> fmt::Result {
        write!(f, "{}", self.stamp)?;
        if let Some(datatype) = self.datatype.as_ref().filter(|_| self.repeats_datatype) {
            write!(f, "-{datatype}")?;
        }
        write!(f, "-{}-{}", self.node, self.experiment)?;
        if let Some(number) = &self.number {
            write!(f, "-{number}")?;
        }
        if self.embargoed {
            f.write_str("-e")
        } else {
            Ok(())
        }
    }
}

/// The date of three directories of digits; an error if those are not a date, `None` if they are something else.
fn read_date(directories: &[Cursor<'_>]) -> Result<Option<Date>, Fault> {
    let [year, month, day] = directories else {
        return Ok(None);
    };
    let parts = [year.text, month.text, day.text];
    if !parts
        .iter()
        .all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return Ok(None);
    }
    match parse_date_dir(&parts) {
        Some(date) => Ok(Some(date)),
        None => year.fault("date directory", "no date YYYY/MM/DD from 1970 to 2099"),
    }
}

/// Takes `-<datatype>`, unless that is the machine: a datatype could be called like one.
fn skip_datatype(cursor: &mut Cursor<'_>, datatype: &Label) -> bool {
    let node_follows = |mut from: Cursor<'_>| from.skip("-") && Node::read(&mut from).is_ok();
    let mut ahead = *cursor;
    let found = ahead.skip("-")
        && ahead.skip(datatype.as_str())
        && ahead.text.starts_with('-')
        && (node_follows(ahead) || !node_follows(*cursor));
    if found {
        *cursor = ahead;
    }
    found
}

/// `-NNNN`, which numbered the parts of a day when there were several.
fn read_number(cursor: &mut Cursor<'_>) -> Option<String> {
    let mut ahead = *cursor;
    let number = if ahead.skip("-") {
        ahead.until('-').text
    } else {
        return None;
    };
    if !(4..=9).contains(&number.len()) || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    *cursor = ahead;
    Some(number.to_owned())
}

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.experiment)?;
        if let Some(datatype) = &self.datatype {
            write!(f, "{datatype}/")?;
        }
        for directory in &self.subdirectories {
            write!(f, "{directory}/")?;
        }
        self.fmt_stem(f)?;
        f.write_str(self.suffix)
    }
}
