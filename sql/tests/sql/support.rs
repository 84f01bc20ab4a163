//! Lakes of known rows, and the program run on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// An ndt7 row: what a test changes, and what stays.
pub struct Row {
    pub id: &'static str,
    pub direction: &'static str,
    pub seconds: f64,
    pub bytes: u64,
    pub client: &'static str,
    pub is_complete: bool,
    pub has_early_exit: bool,
    pub object: &'static str,
    pub rtt_us: u64,
    pub min_rtt_us: u64,
    pub retransmitted: u64,
    /// Bytes of the snapshot before the last.
    pub bytes_before: u64,
    /// The kernel's timer at the end of the test.
    pub elapsed_us: i64,
}

impl Default for Row {
    fn default() -> Self {
        Row {
            id: "good",
            direction: "Download",
            seconds: 10.0,
            bytes: 1_000_000,
            client: "198.51.100.7",
            is_complete: true,
            has_early_exit: false,
            object: "20240506T000000.000000Z-ndt7-mlab1-lga02-ndt.tgz",
            rtt_us: 20_000,
            min_rtt_us: 9000,
            retransmitted: 0,
            bytes_before: 0,
            elapsed_us: 1,
        }
    }
}

impl Row {
    /// The row as a `SELECT` of the engine.
    pub fn sql(&self) -> String {
        let measured = |direction: &str| {
            let is_this = self.direction == direction;
            let uuid = if is_this {
                format!("'{}'", self.id)
            } else {
                "NULL::VARCHAR".to_owned()
            };
            let name = if self.has_early_exit {
                "early_exit"
            } else {
                "client_name"
            };
            let tcp = |bytes: u64| {
                format!(
                    "{{TCPInfo: {{BytesAcked: {bytes}::BIGINT, BytesReceived: {bytes}::BIGINT, RTT: {}::BIGINT, MinRTT: {}::BIGINT, TotalRetrans: {}::BIGINT, ElapsedTime: {}::BIGINT}}}}",
                    self.rtt_us, self.min_rtt_us, self.retransmitted, self.elapsed_us
                )
            };
            let first = if self.is_complete { "" } else { "[:0]" };
            format!(
                "{{UUID: {uuid}, StartTime: TIMESTAMPTZ '2024-05-06T00:00:00Z', EndTime: TIMESTAMPTZ '2024-05-06T00:00:00Z' + to_microseconds({}), ServerMeasurements: ([{}, {}]){first}, ClientMetadata: [{{Name: '{name}', Value: 'true'}}], ServerMetadata: []::STRUCT(Name VARCHAR, Value VARCHAR)[]}}",
                self.seconds * 1e6,
                tcp(self.bytes_before),
                tcp(self.bytes),
            )
        };
        format!(
            "SELECT '{}' AS id, {{ArchiveURL: 'gs://archive/{}', Filename: '/x'}} AS archiver, {{UUID: '{}', TestTime: TIMESTAMPTZ '2024-05-06T00:00:00Z', CongestionControl: 'bbr', MeanThroughputMbps: 5.0, MinRTT: 9.0, LossRate: 0.0}} AS a, {{ClientIP: '{}', ClientPort: 5000, ServerIP: '203.0.113.1', ServerPort: 443, StartTime: TIMESTAMPTZ '2024-05-06T00:00:00Z', Download: {}, Upload: {}}} AS raw",
            self.id,
            self.object,
            self.id,
            self.client,
            measured("Download"),
            measured("Upload")
        )
    }
}

pub struct Lake {
    pub dir: tempfile::TempDir,
}

impl Lake {
    pub fn new() -> Lake {
        Lake {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("lake")
    }

    /// Writes the rows of a `SELECT` as a file of the lake.
    pub fn put(&self, path: &str, sql: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let empty = self.dir.path().join("empty");
        fs::create_dir_all(&empty).unwrap();
        let output = program(
            &empty,
            &[
                "--format",
                "parquet",
                "--output",
                path.to_str().unwrap(),
                sql,
            ],
        );
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    pub fn put_rows(&self, path: &str, rows: &[Row]) {
        let rows: Vec<String> = rows.iter().map(Row::sql).collect();
        self.put(path, &rows.join(" UNION ALL "));
    }

    /// The answer of a query.
    pub fn query(&self, sql: &str) -> Value {
        let output = program(&self.root(), &["--format", "json", sql]);
        assert!(
            output.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

pub fn program(lake: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_groma-sql"))
        .arg("--lake")
        .arg(lake)
        .args(arguments)
        .output()
        .unwrap()
}
