//! The rules [`UNSAFE_UUID`](super::UNSAFE_UUID), [`LAST_TCP_INFO`](super::LAST_TCP_INFO) and
//! [`CONGESTION_CONTROL`](super::CONGESTION_CONTROL).

use arrow_schema::{DataType, Field, Fields, TimeUnit};
use serde::Serialize;

use super::DIRECTIONS;
use groma_load::{Column, Micros, Record};

/// The algorithm of M-Lab's servers.
const DEFAULT_CONGESTION_CONTROL: &str = "bbr";

/// The mark of a UUID whose prefix file could not be read.
const UNSAFE_MARK: &str = "_unsafe";

/// The columns of `a` (platform reference, summary of ndt5 and ndt7).
pub(crate) fn summary_fields() -> Fields {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let columns = [
        ("UUID", DataType::Utf8),
        ("TestTime", timestamp),
        ("CongestionControl", DataType::Utf8),
        ("MeanThroughputMbps", DataType::Float64),
        ("MinRTT", DataType::Float64),
        ("LossRate", DataType::Float64),
    ];
    let field = |(name, kind)| Field::new(name, kind, true);
    columns.map(field).to_vec().into()
}

/// The column `a` of a row.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Summary {
    /// Also the row's `id`.
    #[serde(rename = "UUID")]
    pub(crate) uuid: Option<String>,
    test_time: Option<Micros>,
    congestion_control: String,
    #[serde(rename = "MeanThroughputMbps")]
    throughput_mbps: Option<f64>,
    #[serde(rename = "MinRTT")]
    min_rtt_ms: Option<f64>,
    loss_rate: Option<f64>,
}

impl Summary {
    /// The summary of row `at` of a `raw` column.
    pub(super) fn of(raw: &Column, at: usize) -> Result<Summary, String> {
        let set = |name: &&str| {
            let record = raw.record()?.field(name)?.record()?;
            record.is_set(at).then_some((*name == "Download", record))
        };
        let mut directions = DIRECTIONS.iter().filter_map(set);
        let (Some((is_download, direction)), None) = (directions.next(), directions.next()) else {
            return Err("not exactly one of Download and Upload".to_owned());
        };
        let text = |name: &str| direction.field(name)?.text(at);
        let start = || direction.field("StartTime")?.integer(at);
        let measured = measured(direction, at, is_download);
        Ok(Summary {
            uuid: text("UUID").map(without_mark),
            test_time: start().map(Micros),
            congestion_control: congestion_control(direction, at).to_owned(),
            ..measured
        })
    }
}

/// A UUID as the sidecars of the same connection write it ([`UNSAFE_UUID`](super::UNSAFE_UUID)).
pub(crate) fn without_mark(uuid: &str) -> String {
    uuid.replacen(UNSAFE_MARK, "", 1)
}

fn measured(direction: &Record, at: usize, is_download: bool) -> Summary {
    let mut summary = Summary {
        uuid: None,
        test_time: None,
        congestion_control: String::new(),
        throughput_mbps: None,
        min_rtt_ms: None,
        loss_rate: None,
    };
    let last = || {
        let (measurements, rows) = direction.field("ServerMeasurements")?.items(at)?;
        let tcp_info = measurements.record()?.field("TCPInfo")?.record()?;
        let row = rows.rev().find(|row| tcp_info.is_set(*row))?;
        Some((tcp_info, row))
    };
    let Some((tcp_info, row)) = last() else {
        return summary;
    };
    let number = |name: &str| tcp_info.field(name)?.number(row);
    let bytes = number(if is_download {
        "BytesAcked"
    } else {
        "BytesReceived"
    });
    summary.throughput_mbps = ratio(bytes.map(|bytes| 8.0 * bytes), number("ElapsedTime"));
    summary.min_rtt_ms = number("MinRTT").map(|microseconds| microseconds / 1000.0);
    summary.loss_rate = if is_download {
        ratio(number("BytesRetrans"), number("BytesSent"))
    } else {
        Some(0.0)
    };
    summary
}

pub(crate) fn ratio(over: Option<f64>, under: Option<f64>) -> Option<f64> {
    let under = under.filter(|under| *under != 0.0)?;
    Some(over? / under)
}

fn congestion_control(direction: &Record, at: usize) -> &str {
    let named = || {
        let (pairs, rows) = direction.field("ServerMetadata")?.items(at)?;
        let (name, value) = (
            pairs.record()?.field("Name")?,
            pairs.record()?.field("Value")?,
        );
        rows.into_iter()
            .find(|row| name.text(*row) == Some("congestion_control"))
            .and_then(|row| value.text(row))
    };
    named().unwrap_or(DEFAULT_CONGESTION_CONTROL)
}

#[cfg(test)]
mod tests {
    use groma_schema::Schema;
    use serde_json::{Value, json};

    use super::Summary;
    use crate::ndt7::Ndt7;
    use groma_load::{Batch, Limits};

    /// `id` and `a` of a measurement, by way of the columns of the real schema.
    fn key_and_summary(raw: &Value) -> Result<(Option<String>, Value), String> {
        let schema = include_str!("../../../../experiments/ndt7/schema/ndt7.json");
        let raw_fields = Schema::parse(schema).unwrap().to_arrow();
        let mut batch = Batch::of(&Ndt7, raw_fields, Limits::default());
        batch.put_json("raw", raw.to_string().as_bytes())?;
        let summary = Summary::of(batch.column("raw"), 0)?;
        Ok((
            summary.uuid.clone(),
            serde_json::to_value(&summary).unwrap(),
        ))
    }

    fn tcp(values: &Value) -> Value {
        json!({ "TCPInfo": values })
    }

    #[test]
    fn a_download_counts_what_was_acknowledged() {
        let info = json!({"BytesAcked": 1000, "BytesReceived": 5, "ElapsedTime": 4000,
            "MinRTT": 1500, "BytesRetrans": 1, "BytesSent": 4});
        let raw = json!({"Upload": null, "Download": {
            "UUID": "h_1_unsafe_00000000000000AB", "StartTime": "1970-01-01T00:00:00.000007Z",
            "ServerMeasurements": [tcp(&json!({"BytesAcked": 1})), tcp(&info), {"AppInfo": {}}],
        }});
        let (id, a) = key_and_summary(&raw).unwrap();
        assert_eq!(id.as_deref(), Some("h_1_00000000000000AB"));
        assert_eq!(
            a,
            json!({"UUID": "h_1_00000000000000AB", "TestTime": 7, "CongestionControl": "bbr",
                "MeanThroughputMbps": 2.0, "MinRTT": 1.5, "LossRate": 0.25})
        );
    }

    #[test]
    fn an_upload_counts_what_arrived_and_loses_nothing() {
        let info = json!({"BytesAcked": 5, "BytesReceived": 1000, "ElapsedTime": 4000,
            "MinRTT": 0, "BytesRetrans": 1, "BytesSent": 4});
        let raw = json!({"Upload": {
            "UUID": "u", "ServerMeasurements": [tcp(&info)],
            "ServerMetadata": [{"Name": "congestion_control", "Value": "cubic"}],
        }});
        let (_, a) = key_and_summary(&raw).unwrap();
        assert_eq!(a["MeanThroughputMbps"], json!(2.0));
        assert_eq!(a["LossRate"], json!(0.0));
        assert_eq!(a["CongestionControl"], json!("cubic"));
    }

    #[test]
    fn without_tcp_info_nothing_was_measured() {
        let no_time =
            tcp(&json!({"BytesAcked": 1, "ElapsedTime": 0, "BytesSent": 0, "BytesRetrans": 0}));
        for list in [
            json!([]),
            json!(null),
            json!([{"AppInfo": {}}]),
            json!([no_time]),
        ] {
            let raw = json!({"Download": {"UUID": "u", "ServerMeasurements": list}});
            let (id, a) = key_and_summary(&raw).unwrap();
            assert_eq!(id.as_deref(), Some("u"));
            // A TCPInfo without MinRTT has the value 0, as for every missing counter.
            for name in ["MeanThroughputMbps", "LossRate"] {
                assert_eq!(a[name], Value::Null, "{name} of {raw}");
            }
        }
    }

    #[test]
    fn one_direction_it_must_be() {
        for raw in [
            json!({}),
            json!({"Upload": {}, "Download": {}}),
            json!(null),
        ] {
            assert!(key_and_summary(&raw).is_err());
        }
    }
}
