//! The rules [`UNSAFE_UUID`](super::UNSAFE_UUID), [`LAST_TCP_INFO`](super::LAST_TCP_INFO) and
//! [`CONGESTION_CONTROL`](super::CONGESTION_CONTROL).

use arrow_schema::{DataType, Field, Fields, TimeUnit};
use serde_json::{Value, json};

use super::DIRECTIONS;

/// The algorithm of M-Lab's servers.
const DEFAULT_CONGESTION_CONTROL: &str = "bbr";

/// What marks a UUID whose prefix file could not be read.
const UNSAFE_MARK: &str = "_unsafe";

/// The columns of `a` (platform reference, summary of ndt5 and ndt7).
pub(in crate::datatype) fn summary_fields() -> Fields {
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

/// `id` and `a` of a measurement that is already in its schema's shape.
pub(in crate::datatype) fn key_and_summary(raw: &Value) -> Result<(Option<String>, Value), String> {
    let present = |name: &&str| raw[*name].is_object();
    let mut directions = DIRECTIONS.iter().filter(|name| present(name));
    let (Some(name), None) = (directions.next(), directions.next()) else {
        return Err("not exactly one of Download and Upload".to_owned());
    };
    let direction = &raw[*name];
    let uuid = direction["UUID"]
        .as_str()
        .map(|uuid| uuid.replacen(UNSAFE_MARK, "", 1));
    let measured = measured(direction, *name == "Download");
    let summary = json!({
        "UUID": uuid,
        "TestTime": direction["StartTime"],
        "CongestionControl": congestion_control(direction),
        "MeanThroughputMbps": measured.throughput_mbps,
        "MinRTT": measured.min_rtt_ms,
        "LossRate": measured.loss_rate,
    });
    Ok((uuid, summary))
}

#[derive(Default)]
struct Measured {
    throughput_mbps: Option<f64>,
    min_rtt_ms: Option<f64>,
    loss_rate: Option<f64>,
}

fn measured(direction: &Value, is_download: bool) -> Measured {
    let measurements = direction["ServerMeasurements"].as_array();
    let last = measurements
        .into_iter()
        .flatten()
        .rev()
        .map(|measurement| &measurement["TCPInfo"])
        .find(|tcp_info| tcp_info.is_object());
    let Some(tcp_info) = last else {
        return Measured::default();
    };
    let number = |name: &str| tcp_info[name].as_f64();
    let bytes = number(if is_download {
        "BytesAcked"
    } else {
        "BytesReceived"
    });
    Measured {
        throughput_mbps: ratio(bytes.map(|bytes| 8.0 * bytes), number("ElapsedTime")),
        min_rtt_ms: number("MinRTT").map(|microseconds| microseconds / 1000.0),
        loss_rate: if is_download {
            ratio(number("BytesRetrans"), number("BytesSent"))
        } else {
            Some(0.0)
        },
    }
}

fn ratio(over: Option<f64>, under: Option<f64>) -> Option<f64> {
    let under = under.filter(|under| *under != 0.0)?;
    Some(over? / under)
}

fn congestion_control(direction: &Value) -> &str {
    let list = direction["ServerMetadata"].as_array();
    list.into_iter()
        .flatten()
        .find(|pair| pair["Name"] == "congestion_control")
        .and_then(|pair| pair["Value"].as_str())
        .unwrap_or(DEFAULT_CONGESTION_CONTROL)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::key_and_summary;

    fn tcp(values: &Value) -> Value {
        json!({ "TCPInfo": values })
    }

    #[test]
    fn a_download_counts_what_was_acknowledged() {
        let info = json!({"BytesAcked": 1000, "BytesReceived": 5, "ElapsedTime": 4000,
            "MinRTT": 1500, "BytesRetrans": 1, "BytesSent": 4});
        let raw = json!({"Upload": null, "Download": {
            "UUID": "h_1_unsafe_00000000000000AB", "StartTime": 7,
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
            for name in ["MeanThroughputMbps", "MinRTT", "LossRate"] {
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
