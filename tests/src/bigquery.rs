//! `BigQuery` as an emulator of other people has it, as a process of a test: `tests/bigquery/emulator.py`.
//!
//! It comes from a Python environment, `GROMA_BIGQUERY`, with the package `bqemulator`; `.ci/bigquery.sh` makes one.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::stores::{free_address, request};

/// The project that is asked.
pub const PROJECT: &str = "test-project";

/// An emulator that runs, killed when dropped.
#[derive(Debug)]
pub struct BigQuery {
    address: SocketAddr,
    child: Child,
}

impl BigQuery {
    /// Starts an emulator whose load jobs take this long, with a fault of `tests/bigquery/emulator.py` or `""`. Prints that it
    /// skips and returns `None` where `GROMA_BIGQUERY` is not set.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(job: Duration, fault: &str) -> Option<BigQuery> {
        let Some(environment) = std::env::var_os("GROMA_BIGQUERY").map(PathBuf::from) else {
            super::skip("GROMA_BIGQUERY does not say where bqemulator is");
            return None;
        };
        let address = free_address();
        let child = Command::new(environment.join("bin/python"))
            .arg(super::workspace().join("tests/bigquery/emulator.py"))
            .arg(address.port().to_string())
            .arg(free_address().port().to_string())
            .arg(job.as_secs_f64().to_string())
            .arg(fault)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the emulator");
        let mut emulator = BigQuery { address, child };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = emulator.child.try_wait().expect("ask for a child");
            assert!(ended.is_none(), "the emulator ended: {ended:?}");
            assert!(
                begin.elapsed() < Duration::from_mins(2),
                "it does not listen"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(emulator)
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Asks the API for something in the project and gives the JSON of the answer.
    pub fn call(&self, method: &str, path: &str, body: &str) -> String {
        let path = format!("/bigquery/v2/projects/{PROJECT}/{path}");
        let answer = request(self.address, method, &path, body);
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
        body.unwrap_or_default().to_owned()
    }
}

impl Drop for BigQuery {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
