//! The information in an object's name about how to load it.

use groma_names::ObjectName;
use groma_spool::Name;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::LoadError;

/// The form of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Tar.
    Tar {
        /// Whether it is in gzip.
        gzip: bool,
    },
    /// JSON lines in gzip.
    Jsonl,
}

/// The parts of a data object's name that loading needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The experiment.
    pub experiment: Name,
    /// The datatype.
    pub datatype: Name,
    /// The date directory, else the day of bundling.
    pub date: Date,
    /// The date directory, where the name has its directories.
    pub filed: Option<Date>,
    /// The day of bundling in UTC, which the file's name says with and without directories; the date directory where it does not.
    pub bundled: Date,
    /// The file's name without its endings, which names what comes of the object.
    pub stem: String,
    /// Its form.
    pub form: Form,
    /// Whether the name has the flag `-e` of an embargo.
    pub embargoed: bool,
}

impl Object {
    /// Whether a file has the ending of an archive object, whatever its name and its directories.
    pub fn looks_like_one(name: &str) -> bool {
        [".tgz", ".tar", ".tar.gz", ".jsonl.gz"]
            .iter()
            .any(|ending| name.ends_with(ending))
    }

    /// Reads a name, with its directories or bare; `None` for what holds no rows (indexes and table schemas).
    pub fn parse(name: &str) -> Result<Option<Object>, LoadError> {
        let refuse = |reason: String| LoadError::Name {
            name: name.to_owned(),
            reason,
        };
        let full = if name.contains('/') {
            None
        } else {
            with_directories(name)
        };
        let parsed: ObjectName = full
            .as_deref()
            .unwrap_or(name)
            .parse()
            .map_err(|error: groma_names::NameError| refuse(error.to_string()))?;
        let form = match parsed.form() {
            groma_names::Form::Tgz | groma_names::Form::Legacy => Form::Tar {
                gzip: name.strip_suffix(".tar").is_none(),
            },
            groma_names::Form::Data => Form::Jsonl,
            groma_names::Form::Index | groma_names::Form::Table => return Ok(None),
        };
        let bundled = parsed
            .timestamp()
            .map(|at| at.to_zoned(TimeZone::UTC).date());
        let date = parsed
            .date()
            .or(bundled)
            .ok_or_else(|| refuse("it has no date".to_owned()))?;
        let part = |text: &str| {
            text.parse()
                .map_err(|_| refuse(format!("{text} is no name of an experiment or datatype")))
        };
        Ok(Some(Object {
            experiment: part(parsed.experiment())?,
            datatype: part(parsed.datatype())?,
            date,
            filed: full.is_none().then(|| parsed.date()).flatten(),
            bundled: bundled.unwrap_or(date),
            stem: parsed.stem(),
            form,
            embargoed: parsed.is_embargoed(),
        }))
    }
}

/// The directories that a bare file name, such as a download has, stood in. The grammar of names judges the result.
fn with_directories(file: &str) -> Option<String> {
    let (stem, prefix, tail) = match file.strip_suffix(".jsonl.gz") {
        Some(stem) => (stem, "autoload/v1/", 1),
        None => (strip_tar(file), "", 0),
    };
    let parts: Vec<&str> = stem.split('-').collect();
    let datatype = parts.get(1)?;
    let experiment = parts.iter().rev().skip(tail).find(|part| !is_mark(part))?;
    let day = file
        .get(..8)
        .filter(|day| day.bytes().all(|b| b.is_ascii_digit()))?;
    let (year, month_day) = day.split_at(4);
    let (month, day) = month_day.split_at(2);
    Some(format!(
        "{prefix}{experiment}/{datatype}/{year}/{month}/{day}/{file}"
    ))
}

fn strip_tar(file: &str) -> &str {
    [".tar.gz", ".tgz", ".tar"]
        .iter()
        .find_map(|suffix| file.strip_suffix(suffix))
        .unwrap_or(file)
}

/// Reports whether a component after the experiment is a part number or the embargo mark.
fn is_mark(part: &str) -> bool {
    part == "e" || part.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{Form, Object};

    const TGZ: &str = "20200318T003853.425987Z-ndt7-mlab3-syd03-ndt";

    fn parsed(name: &str) -> Option<(String, String, String, String, Form)> {
        let object = Object::parse(name).ok()??;
        Some((
            object.experiment.to_string(),
            object.datatype.to_string(),
            object.date.to_string(),
            object.stem,
            object.form,
        ))
    }

    #[test]
    fn full_and_bare_names_say_the_same() {
        let tar = Form::Tar { gzip: true };
        for (name, date, stem, form) in [
            (
                format!("ndt/ndt7/2020/03/17/{TGZ}.tgz"),
                "2020-03-17",
                TGZ.to_owned(),
                tar,
            ),
            (format!("{TGZ}.tgz"), "2020-03-18", TGZ.to_owned(), tar),
            (
                format!("{TGZ}.tar"),
                "2020-03-18",
                TGZ.to_owned(),
                Form::Tar { gzip: false },
            ),
            (
                format!("{TGZ}-0001.tar.gz"),
                "2020-03-18",
                format!("{TGZ}-0001"),
                tar,
            ),
            (
                format!("autoload/v2/org/ndt/ndt7/2020/03/17/{TGZ}-data.jsonl.gz"),
                "2020-03-17",
                format!("{TGZ}-data"),
                Form::Jsonl,
            ),
            (
                format!("{TGZ}-data.jsonl.gz"),
                "2020-03-18",
                format!("{TGZ}-data"),
                Form::Jsonl,
            ),
        ] {
            let expected = (
                "ndt".to_owned(),
                "ndt7".to_owned(),
                date.to_owned(),
                stem,
                form,
            );
            assert_eq!(parsed(&name), Some(expected), "{name}");
        }
    }

    #[test]
    fn other_objects_hold_no_rows() {
        for name in [
            format!("autoload/v1/ndt/index1/2020/03/17/{TGZ}-index1.jsonl.gz"),
            "autoload/v1/tables/ndt/ndt7.table.json".to_owned(),
        ] {
            assert!(matches!(Object::parse(&name), Ok(None)), "{name}");
        }
        for name in [
            "",
            "x",
            "x.tgz",
            "a-b.tgz",
            "../../x.jsonl.gz",
            "20200318.tgz",
            "é-é-é.tgz",
        ] {
            assert!(Object::parse(name).is_err(), "{name}");
        }
    }
}
