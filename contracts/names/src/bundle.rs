use crate::cursor::Cursor;
use crate::error::Fault;
use crate::label::read_name;
use crate::node::Node;
use crate::root::Root;
use crate::stamp::Stamp;
use groma_spool::{Name, date_dir, parse_date_dir};
use jiff::civil::Date;
use std::fmt;

pub(crate) const SUFFIX: &str = ".jsonl.gz";
const INDEX: &str = "index1";

/// `<root>/<experiment>/<datatype|index1>/YYYY/MM/DD/<stamp>-<datatype>-<node>-<experiment>-<data|index1>.jsonl.gz`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Bundle {
    pub(crate) root: Root,
    pub(crate) experiment: Name,
    pub(crate) datatype: Name,
    pub(crate) date: Date,
    pub(crate) stamp: Stamp,
    pub(crate) node: Node,
    pub(crate) part: Part,
}

/// The rows, or the list of the files that became them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    Data,
    Index,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Index => INDEX,
        }
    }
}

impl Bundle {
    pub(crate) fn read(directories: &[Cursor<'_>], file: Cursor<'_>) -> Result<Self, Fault> {
        let [root @ .., experiment, directory, year, month, day] = directories else {
            return file.fault(
                "directory",
                "expected <prefix>/<experiment>/<datatype>/YYYY/MM/DD before it",
            );
        };
        let Some(date) = parse_date_dir(&[year.text, month.text, day.text]) else {
            return year.fault("date directory", "no date YYYY/MM/DD from 1970 to 2099");
        };
        let root = Root::read(root, *experiment)?;
        let experiment = read_name("experiment", *experiment)?;
        let mut cursor = file;
        let stamp = Stamp::read(&mut cursor)?;
        cursor.expect("-", "datatype")?;
        let datatype_at = cursor.until('-');
        let datatype = read_name("datatype", datatype_at)?;
        cursor.expect("-", "machine")?;
        let node = Node::read(&mut cursor)?;
        cursor.expect("-", "experiment")?;
        cursor.expect(experiment.as_str(), "experiment")?;
        cursor.expect("-", "part")?;
        let part = match cursor.text {
            "data" => Part::Data,
            INDEX => Part::Index,
            _ => return cursor.fault("part", "must be `data` or `index1`"),
        };
        let expected = if part == Part::Index {
            INDEX
        } else {
            datatype.as_str()
        };
        if directory.text != expected {
            return directory.fault(
                "datatype directory",
                format!("the file name asks for `{expected}`"),
            );
        }
        Ok(Self {
            root,
            experiment,
            datatype,
            date,
            stamp,
            node,
            part,
        })
    }

    pub(crate) fn fmt_stem(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let Self {
            stamp,
            datatype,
            node,
            experiment,
            part,
            ..
        } = self;
        write!(
            f,
            "{stamp}-{datatype}-{node}-{experiment}-{}",
            part.as_str()
        )
    }
}

impl fmt::Display for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = match self.part {
            Part::Data => self.datatype.as_str(),
            Part::Index => INDEX,
        };
        write!(
            f,
            "{}/{}/{directory}/{}/",
            self.root,
            self.experiment,
            date_dir(self.date)
        )?;
        self.fmt_stem(f)?;
        f.write_str(SUFFIX)
    }
}
