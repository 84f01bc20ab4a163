//! JSON lines as jostler writes them: `{"Date", "Archiver", "Raw"}`, standard columns in any case of their letters.

use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::gunzip::describe;
use super::unpack::{Inside, unpack};
use super::{Archiver, Content, Member, Visit, label};
use crate::{Limits, LoadError};

/// Hands every line to `visit`, inflated. Blank lines are not members. The last line before damage is a member if it is whole.
pub(crate) fn read_jsonl(
    reader: impl Read,
    limits: &Limits,
    wanted: &dyn Fn(&str) -> bool,
    visit: &mut Visit<'_>,
) -> Result<(), LoadError> {
    let stream = match unpack(reader, Inside::Lines) {
        Ok(stream) => stream,
        Err(reason) => return visit(damage(1, reason)),
    };
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    for number in 1.. {
        match next_line(&mut stream, &mut line, limits.member_bytes) {
            Ok(Line::End) => return Ok(()),
            Ok(Line::Whole) if line.trim_ascii().is_empty() => {}
            Ok(Line::Whole) => visit(member(&line, number, limits, wanted))?,
            Ok(Line::TooLong) => {
                let reason = format!("line is larger than {} bytes", limits.member_bytes);
                visit(bad(number, reason))?;
            }
            Err(error) => {
                let is_whole = serde_json::from_slice::<IgnoredAny>(&line).is_ok();
                if is_whole {
                    visit(member(&line, number, limits, wanted))?;
                }
                let number = number + u64::from(is_whole);
                return visit(damage(number, describe(&error, "archive")));
            }
        }
    }
    Ok(())
}

enum Line {
    Whole,
    TooLong,
    End,
}

/// Reads one line into `line`; of a longer one nothing is kept and the rest of it is passed over.
fn next_line(stream: &mut impl BufRead, line: &mut Vec<u8>, limit: u64) -> std::io::Result<Line> {
    line.clear();
    let read = stream
        .take(limit.saturating_add(1))
        .read_until(b'\n', line)?;
    if read == 0 {
        return Ok(Line::End);
    }
    if line.last() == Some(&b'\n') || line.len() as u64 <= limit {
        return Ok(Line::Whole);
    }
    line.clear();
    stream.skip_until(b'\n')?;
    Ok(Line::TooLong)
}

fn bad(number: u64, reason: String) -> Member {
    Member {
        name: String::new(),
        line: Some(number),
        archiver: Archiver::default(),
        id: None,
        content: Content::Bad(reason),
    }
}

fn damage(number: u64, reason: String) -> Member {
    Member {
        content: Content::Damage(reason.clone()),
        ..bad(number, reason)
    }
}

fn member(line: &[u8], number: u64, limits: &Limits, wanted: &dyn Fn(&str) -> bool) -> Member {
    if crate::limits::values_at_most(line) > limits.member_values {
        return bad(
            number,
            format!("more than {} JSON values", limits.member_values),
        );
    }
    let columns: Columns<'_> = match serde_json::from_slice(line) {
        Ok(columns) => columns,
        Err(error) => return bad(number, format!("not a row of standard columns: {error}")),
    };
    let archiver = columns.archiver.unwrap_or_default().0;
    let name = archiver.filename.clone().unwrap_or_default();
    let content = match columns.raw {
        _ if name.is_empty() => Content::Bad("no Archiver.Filename".to_owned()),
        _ if !wanted(&name) => Content::Unwanted,
        Some(raw) => Content::Whole(raw.get().as_bytes().to_vec()),
        None => Content::Bad("no raw column".to_owned()),
    };
    Member {
        name,
        line: Some(number),
        archiver,
        id: columns.id,
        content,
    }
}

/// The standard columns that we use; `date` is the object's, every other column is passed over.
#[derive(Default)]
struct Columns<'a> {
    id: Option<String>,
    archiver: Option<ArchiverColumn>,
    raw: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Columns<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Columns<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Columns<'de>, M::Error> {
                let mut columns = Columns::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.to_ascii_lowercase().as_str() {
                        "id" => columns.id = map.next_value()?,
                        "archiver" => columns.archiver = map.next_value()?,
                        "raw" => columns.raw = map.next_value()?,
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(columns)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[derive(Default)]
struct ArchiverColumn(Archiver);

impl<'de> Deserialize<'de> for ArchiverColumn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = ArchiverColumn;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the archiver record")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<ArchiverColumn, M::Error> {
                let mut archiver = Archiver::default();
                while let Some(key) = map.next_key::<String>()? {
                    let slot = match key.to_ascii_lowercase().as_str() {
                        "version" => &mut archiver.version,
                        "gitcommit" => &mut archiver.git_commit,
                        "archiveurl" => &mut archiver.archive_url,
                        "filename" => &mut archiver.filename,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *slot = map
                        .next_value::<Option<String>>()?
                        .map(|text| label(text.as_bytes()));
                }
                Ok(ArchiverColumn(archiver))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}
