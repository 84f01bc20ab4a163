//! Traceroutes of scamper as traceroute-caller stores them: multipath (`scamper1`) and single path (`scamper2`).

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use groma_load::Batch;
use groma_load::{Datatype, Measurement, Rule, base_name};

/// What M-Lab loses of a traceroute.
pub(crate) const WHOLE_TRACE: Rule = Rule {
    name: "whole-trace",
    what: "Tracelb.gaplimit, Tracelb.start.ftime, sport, dport and replies' ipid are what scamper wrote.",
    why: "M-Lab's parser misspells the first, which therefore is always 0, and has no place for the others.",
};

/// The form of a list of lists in a table.
pub(crate) const LINKS: Rule = Rule {
    name: "links",
    what: "nodes[].links, a list of lists, becomes a list of records with one field Links.",
    why: "BigQuery and Parquet's readers know no list of lists; M-Lab does the same.",
};

/// A node that names no links.
pub(crate) const MISSING_LINKS: Rule = Rule {
    name: "missing-links",
    what: "A node with a linkc and without links keeps its linkc, and its links are an empty list.",
    why: "As M-Lab; the other nodes of the trace are as good as those of any other.",
};

/// The key into hop annotations.
pub(crate) const HOP_ID: Rule = Rule {
    name: "hop-id",
    what: "hop_id of nodes (scamper1) and of hops (scamper2) is <YYYYMMDD of CycleStart.start_time, UTC>_<hostname>_<addr>.",
    why: "It is the id of hopannotation2. M-Lab has it for scamper1 only.",
};

/// The required lines of a file.
pub(crate) const FOUR_LINES: Rule = Rule {
    name: "four-lines",
    what: "A file is four JSON lines (metadata with a UUID, cycle-start, trace, cycle-stop) and ends after them, or one JSON object of those four; anything else is an error.",
    why: "More or fewer lines mean that two traces were mixed or one was cut.",
};

/// Every way in which a row differs from its file.
const RULES: &[Rule] = &[WHOLE_TRACE, LINKS, MISSING_LINKS, HOP_ID, FOUR_LINES];

/// The two kinds of traceroutes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Multipath,
    SinglePath,
}

impl Kind {
    /// Column and type of the trace's line.
    fn trace(self) -> (&'static str, &'static str) {
        match self {
            Kind::Multipath => ("Tracelb", "tracelb"),
            Kind::SinglePath => ("Trace", "trace"),
        }
    }
}

impl Datatype for Kind {
    fn rules(&self) -> &'static [Rule] {
        RULES
    }

    fn wants(&self, member: &str) -> bool {
        is_wanted(member)
    }

    fn append(&self, source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
        append(*self, source, batch)
    }
}

fn is_wanted(member: &str) -> bool {
    let name = base_name(member);
    let stem = name.strip_suffix(".gz").unwrap_or(name);
    stem.ends_with(".jsonl") || stem.ends_with(".json")
}

fn append(kind: Kind, source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
    groma_load::bound_values(source.bytes, batch)?;
    let mut raw = read(kind, source.bytes)?;
    let uuid = raw["Metadata"]["UUID"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    if uuid.is_empty() {
        return Err("line 1, metadata: no UUID".to_owned());
    }
    let day = hop_day(&raw["CycleStart"])?;
    let (column, _) = kind.trace();
    let hops = match kind {
        Kind::Multipath => "nodes",
        Kind::SinglePath => "hops",
    };
    let list = raw[column].get_mut(hops).and_then(Value::as_array_mut);
    for hop in list.into_iter().flatten().filter_map(Value::as_object_mut) {
        name_hop(hop, &day);
        wrap_links(hop)?;
    }
    batch.put_value("raw", &raw)?;
    batch.end_row(Some(&uuid), source.archiver);
    Ok(())
}

/// The four parts as one object, from either form.
fn read(kind: Kind, bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))?;
    let (column, line_type) = kind.trace();
    if let Ok(object @ Value::Object(_)) = serde_json::from_str::<Value>(text)
        && object.get("Metadata").is_some()
    {
        let types = [
            ("CycleStart", "cycle-start"),
            (column, line_type),
            ("CycleStop", "cycle-stop"),
        ];
        for (part, wanted) in types {
            check_type(&object[part], part, wanted)?;
        }
        return Ok(object);
    }
    let mut lines: Vec<&str> = text.split('\n').collect();
    if lines.pop() != Some("") {
        let count = lines.len() + 1;
        return Err(format!("line {count}: the last line has no line feed"));
    }
    if lines.len() != 4 {
        return Err(format!("{} lines instead of 4", lines.len()));
    }
    let parts = [
        ("Metadata", ""),
        ("CycleStart", "cycle-start"),
        (column, line_type),
        ("CycleStop", "cycle-stop"),
    ];
    let mut raw = Map::new();
    for (number, (line, (part, wanted))) in lines.iter().zip(parts).enumerate() {
        let place = format!("line {}, {part}", number + 1);
        let value: Value =
            serde_json::from_str(line).map_err(|error| format!("{place}: not JSON: {error}"))?;
        if !wanted.is_empty() {
            check_type(&value, &place, wanted)?;
        }
        raw.insert(part.to_owned(), value);
    }
    Ok(Value::Object(raw))
}

fn check_type(value: &Value, place: &str, wanted: &str) -> Result<(), String> {
    match value.get("type").and_then(Value::as_str) {
        Some(kind) if kind == wanted => Ok(()),
        Some(kind) => {
            let kind: String = kind.chars().take(40).collect();
            Err(format!("{place}: type is {kind:?}, not {wanted:?}"))
        }
        None => Err(format!("{place}: no type, where {wanted:?} was expected")),
    }
}

/// `<YYYYMMDD>_<hostname>`, the beginning of every hop's key.
fn hop_day(cycle_start: &Value) -> Result<String, String> {
    let seconds = cycle_start["start_time"].as_f64().unwrap_or_default();
    let start = Timestamp::from_second(seconds as i64)
        .map_err(|_| format!("line 2, CycleStart: start_time {seconds} is no time"))?;
    let day = start.to_zoned(TimeZone::UTC).strftime("%Y%m%d").to_string();
    let host = cycle_start["hostname"].as_str().unwrap_or_default();
    Ok(format!("{day}_{host}"))
}

/// Puts the key and, where scamper wrote none, the empty name.
fn name_hop(hop: &mut Map<String, Value>, day: &str) {
    let address = hop.get("addr").and_then(Value::as_str).unwrap_or_default();
    let id = format!("{day}_{address}");
    hop.insert("hop_id".to_owned(), id.into());
    // A hop without a name in the DNS; scamper writes none, M-Lab's rows an empty one.
    hop.entry("name").or_insert_with(|| "".into());
}

fn wrap_links(node: &mut Map<String, Value>) -> Result<(), String> {
    let Some(links) = node.get_mut("links") else {
        return Ok(());
    };
    let Some(sets) = links.as_array_mut() else {
        return if links.is_null() {
            Ok(())
        } else {
            Err("line 3: nodes[].links is no list of lists".to_owned())
        };
    };
    for set in sets {
        if !set.is_array() {
            return Err("line 3: nodes[].links is no list of lists".to_owned());
        }
        let mut record = Map::new();
        record.insert("Links".to_owned(), set.take());
        *set = Value::Object(record);
    }
    Ok(())
}
