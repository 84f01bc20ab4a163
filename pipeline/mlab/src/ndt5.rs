//! ndt5: one file, up to one row per direction.

use arrow_schema::{Field, Fields};
use serde_json::Value;

use super::ndt7::{ratio, without_mark};
use groma_load::Batch;
use groma_load::Micros;
use groma_load::{Datatype, JSON, Measurement, Rule, base_name, record};

/// One row per direction.
pub(crate) const DIRECTIONS: Rule = Rule {
    name: "directions",
    what: "A file gives a row for each of C2S and S2C that it has, with the other one NULL; one row with id Control.UUID and a NULL when it has neither.",
    why: "As M-Lab; a row is one measurement.",
};

/// Directions without a connection.
pub(crate) const NO_CONNECTION: Rule = Rule {
    name: "no-connection",
    what: "A direction without a UUID (`No connection created`) is a row with id Control.UUID and a NULL; a.TestTime of the year 1 and a.MinRTT of 0 are NULL in every row.",
    why: "Nothing was measured. M-Lab writes the id '', the year 1, and zeros, which count as measurements.",
};

/// No sentinels.
pub(crate) const NULL_NOT_SENTINEL: Rule = Rule {
    name: "null-not-sentinel",
    what: "a.MinRTT and a.LossRate of an upload are NULL, and so is a.CongestionControl.",
    why: "Nobody measured them. M-Lab writes -1 and `unknown`, and averages over them are wrong.",
};

/// Metadata of summer 2019.
pub(crate) const METADATA_MAP: Rule = Rule {
    name: "metadata-map",
    what: "ClientMetadata or ServerMetadata written as a map (2019-07-17 to 2019-08-26) becomes the list of names and values that it is since.",
    why: "M-Lab cuts it out of ndt5 and loses it.",
};

/// Every way in which a row differs from its file.
const RULES: &[Rule] = &[DIRECTIONS, NO_CONNECTION, NULL_NOT_SENTINEL, METADATA_MAP];

/// [`NO_CONNECTION`]: the year 2 in microseconds since 1970. Go's zero time is the first instant of the year 1.
const FIRST_TIME: i64 = -62_104_060_800_000_000;

/// M-Lab's `ndt5`.
#[derive(Debug)]
pub(crate) struct Ndt5;

impl Datatype for Ndt5 {
    fn rules(&self) -> &'static [Rule] {
        RULES
    }

    fn columns(&self, fields: Fields) -> Vec<Field> {
        vec![
            record("a", crate::ndt7::summary_fields()),
            record("raw", fields),
        ]
    }

    fn wants(&self, member: &str) -> bool {
        is_wanted(member)
    }

    fn append(&self, source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
        append(source, batch)
    }
}

fn is_wanted(member: &str) -> bool {
    JSON.wants(member) && !base_name(member).starts_with("ndt7-")
}

fn append(source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
    groma_load::bound_values(source.bytes, batch)?;
    let raw: Value =
        serde_json::from_slice(source.bytes).map_err(|error| format!("not JSON: {error}"))?;
    if !raw.is_object() {
        return Err("raw: expected an object".to_owned());
    }
    let ran: Vec<&str> = ["C2S", "S2C"]
        .into_iter()
        .filter(|direction| raw[*direction].is_object())
        .collect();
    if ran.is_empty() {
        let uuid = raw["Control"]["UUID"].as_str().map(without_mark);
        let uuid = uuid.filter(|uuid| !uuid.is_empty());
        batch.put_value("raw", &raw)?;
        batch.end_row(uuid.as_deref(), source.archiver);
        return Ok(());
    }
    for direction in &ran {
        let mut one = raw.clone();
        for other in ran.iter().filter(|other| *other != direction) {
            one[*other] = Value::Null;
        }
        append_direction(direction, &one, source, batch)?;
    }
    Ok(())
}

fn append_direction(
    direction: &str,
    raw: &Value,
    source: &Measurement<'_>,
    batch: &mut Batch,
) -> Result<(), String> {
    batch.put_value("raw", raw)?;
    let measured = &raw[direction];
    let uuid = measured["UUID"].as_str().map(without_mark);
    let Some(uuid) = uuid.filter(|uuid| !uuid.is_empty()) else {
        let control = raw["Control"]["UUID"].as_str().map(without_mark);
        let id = control.filter(|uuid| !uuid.is_empty());
        batch.end_row(id.as_deref(), source.archiver);
        return Ok(());
    };
    let start = batch.column("raw").record().and_then(|raw| {
        raw.field(direction)?
            .record()?
            .field("StartTime")?
            .integer(batch.rows())
    });
    let is_download = direction == "S2C";
    let tcp_info = measured.get("TCPInfo").filter(|info| info.is_object());
    let number = |name: &str| tcp_info.and_then(|info| info[name].as_f64());
    let nanoseconds = || measured["MinRTT"].as_f64().map(|rtt| rtt / 1e6);
    let summary = Summary {
        uuid: Some(&uuid),
        test_time: start.filter(|start| *start >= FIRST_TIME).map(Micros),
        congestion_control: is_download.then_some("cubic"),
        throughput_mbps: measured["MeanThroughputMbps"].as_f64(),
        min_rtt_ms: if is_download {
            number("MinRTT")
                .map(|rtt| rtt / 1000.0)
                .or_else(nanoseconds)
                .filter(|rtt| *rtt > 0.0)
        } else {
            None
        },
        loss_rate: if is_download {
            ratio(number("BytesRetrans"), number("BytesSent"))
        } else {
            None
        },
    };
    batch.put("a", &summary)?;
    batch.end_row(Some(&uuid), source.archiver);
    Ok(())
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Summary<'a> {
    #[serde(rename = "UUID")]
    uuid: Option<&'a str>,
    test_time: Option<Micros>,
    congestion_control: Option<&'a str>,
    #[serde(rename = "MeanThroughputMbps")]
    throughput_mbps: Option<f64>,
    #[serde(rename = "MinRTT")]
    min_rtt_ms: Option<f64>,
    loss_rate: Option<f64>,
}
