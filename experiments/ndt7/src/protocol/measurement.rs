//! The JSON text messages of both ends, section "Measurement message" of the ndt7 specification.

use groma_sock::{BbrInfo, TcpInfo};
use serde::{Deserialize, Serialize};

/// One measurement, in the key order of the wire. Absent objects are omitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    /// The counts of the application that sends the message.
    #[serde(rename = "AppInfo", default, skip_serializing_if = "Option::is_none")]
    pub app_info: Option<AppInfo>,
    /// The connection, as the server sees it.
    #[serde(
        rename = "ConnectionInfo",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub connection_info: Option<ConnectionInfo>,
    /// The model of BBR.
    #[serde(rename = "BBRInfo", default, skip_serializing_if = "Option::is_none")]
    pub bbr_info: Option<BbrSample>,
    /// The state of the kernel's connection.
    #[serde(rename = "TCPInfo", default, skip_serializing_if = "Option::is_none")]
    pub tcp_info: Option<TcpSample>,
}

/// Application-level progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppInfo {
    /// Payload bytes of the load since the start of the test: sent by the sender, received by the receiver.
    #[serde(rename = "NumBytes")]
    pub num_bytes: i64,
    /// Microseconds since the start of the test.
    #[serde(rename = "ElapsedTime")]
    pub elapsed_us: i64,
}

/// The two ends of the connection and its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionInfo {
    /// Address and port of the client, IPv6 in brackets.
    #[serde(rename = "Client")]
    pub client: String,
    /// Address and port of the server, IPv6 in brackets.
    #[serde(rename = "Server")]
    pub server: String,
    /// The UUID of the connection, the join key of the platform.
    #[serde(rename = "UUID", skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Start of the measurement, RFC 3339 with nanoseconds.
    #[serde(rename = "StartTime", skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
}

/// [`BbrInfo`] and when it was read; all zero when BBR is not in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BbrSample {
    /// The kernel's numbers.
    #[serde(flatten)]
    pub info: BbrInfo,
    /// Microseconds since the start of the measurement.
    #[serde(rename = "ElapsedTime", default)]
    pub elapsed_us: i64,
}

/// [`TcpInfo`] and when it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpSample {
    /// The kernel's numbers.
    #[serde(flatten)]
    pub info: TcpInfo,
    /// Microseconds since the start of the measurement.
    #[serde(rename = "ElapsedTime", default)]
    pub elapsed_us: i64,
}

impl Measurement {
    /// Reads what a client wrote, and keeps of it what may be published: numbers, never the client's own text.
    /// `None` when it is not a JSON object of the known types.
    pub(crate) fn from_client(text: &[u8]) -> Option<Self> {
        Some(Self {
            connection_info: None,
            ..Self::from_json(text)?
        })
    }

    /// Reads one measurement. Unknown keys are ignored, arrays and scalars refused.
    pub(crate) fn from_json(text: &[u8]) -> Option<Self> {
        if text.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        serde_json::from_slice(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_in_the_order_of_the_wire() {
        let measurement = Measurement {
            app_info: Some(AppInfo::default()),
            connection_info: Some(ConnectionInfo {
                uuid: Some("u".into()),
                start_time: Some("t".into()),
                ..ConnectionInfo::default()
            }),
            bbr_info: Some(BbrSample::default()),
            tcp_info: Some(TcpSample::default()),
        };
        let json = serde_json::to_string(&measurement).unwrap();
        let order = [
            "AppInfo",
            "NumBytes",
            "ConnectionInfo",
            "Client",
            "Server",
            "UUID",
            "StartTime",
            "BBRInfo",
            "BW",
            "MinRTT",
            "PacingGain",
            "CwndGain",
            "ElapsedTime",
            "TCPInfo",
            "State",
            "SndWnd",
            "ElapsedTime",
        ];
        let mut rest = json.as_str();
        for key in order {
            let at = rest.find(&format!("\"{key}\"")).expect(key);
            rest = &rest[at + key.len()..];
        }
        assert_eq!(Measurement::from_json(json.as_bytes()), Some(measurement));
        assert_eq!(
            serde_json::to_string(&Measurement::default()).unwrap(),
            "{}"
        );
    }

    #[test]
    fn a_client_gets_numbers_into_the_result_but_no_text() {
        let text = br#" {"Origin":"client","Test":"upload","AppInfo":{"NumBytes":5,"ElapsedTime":7,"x":"y"},
            "ConnectionInfo":{"Client":"free text","Server":"s"},"Extra":["free text"]}
"#;
        let kept = Measurement::from_client(text).unwrap();
        assert_eq!(
            serde_json::to_string(&kept).unwrap(),
            r#"{"AppInfo":{"NumBytes":5,"ElapsedTime":7}}"#
        );
    }

    #[test]
    fn what_is_no_measurement_is_refused() {
        for text in [
            &b"garbage"[..],
            b"",
            b"[]",
            b"5",
            b"null",
            b"{\"AppInfo\":{\"NumBytes\":\"5\"}}",
            b"{\"AppInfo\":{\"NumBytes\":1e400}}",
            b"{} {}",
            b"{\"\xff\":1}",
        ] {
            assert_eq!(Measurement::from_client(text), None, "{text:?}");
        }
    }

    #[test]
    fn messages_of_older_servers_are_read() {
        let text = br#"{"BBRInfo":{"ElapsedTime":626130,"MaxBandwidth":48898,"MinRTT":285928},"TCPInfo":{"RTT":1}}"#;
        let read = Measurement::from_json(text).unwrap();
        assert_eq!(read.bbr_info.unwrap().elapsed_us, 626_130);
        assert_eq!(read.tcp_info.unwrap().info.rtt_us, 1);
    }
}
