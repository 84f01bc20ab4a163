//! Whole tests through a shaped link between two network namespaces, 1 kbit/s to 10 Gbit/s: what is measured is what the
//! shaper lets through. Needs root.

mod link;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use groma_experiment::{Experiment, Settings};
use groma_ndt7::client::{Client, ClientConfig, ClientError, Summary};
use groma_ndt7::protocol::{Direction, RUNTIME};
use groma_ndt7::server::{Config, Server};
use groma_service::Lifecycle;
use groma_uuid::Prefix;
use link::Link;
use prometheus_client::registry::Registry;
use serde_json::Value;

/// The share of TCP payload in a shaped frame of 1514 bytes, with timestamps over IPv4.
const PAYLOAD_SHARE: f64 = 1448.0 / 1514.0;
/// How far the result may be from the shaper's rate, between 10 Mbit/s and 1 Gbit/s.
const TOLERANCE: f64 = 0.02;
/// By what factor the client's number and the server's may differ at rates where a measurement takes seconds to arrive.
const SLOW_FACTOR: f64 = 1.25;

/// The results of both ends of one test.
struct Outcome {
    client: Summary,
    /// From the last sample in the server's result file, Mbit/s.
    server_mbps: f64,
}

/// One test over a link of its own, in both namespaces a runtime of its own.
fn measure(rate_kbps: u64, direction: Direction) -> Result<Outcome, ClientError> {
    let link = Link::new(rate_kbps);
    let (dir, address) = (tempfile::tempdir().unwrap(), format!("{}:80", link.server));
    let (ready, started) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let data_dir = dir.path().join("spool/ndt");
    let listen_on = address.clone();
    let serving = link.in_server_namespace(move || async move {
        let mut registry = Registry::default();
        let lifecycle = Lifecycle::new();
        lifecycle.ready();
        let settings = Settings {
            data_dir,
            prefix: Prefix::fallback(),
            require_policy: false,
            max_tests: 1,
            event_socket: None,
        };
        let manifest = groma_ndt7::manifest().unwrap();
        let experiment = Experiment::new(manifest, settings, lifecycle, &mut registry).unwrap();
        let config = Config {
            cleartext: vec![TcpListener::bind(listen_on).unwrap()],
            runtime: RUNTIME,
            ..Config::default()
        };
        let server = Server::start(config, experiment, &mut registry).unwrap();
        ready.send(()).unwrap();
        let _ = stopped.await;
        server.drain(Duration::from_secs(10)).await;
    });
    started.recv().unwrap();
    let measuring = link.in_client_namespace(move || async move {
        let client = Client::new(ClientConfig {
            servers: vec![format!("ws://{address}")],
            congestion_control: Some("bbr".to_owned()),
            ..ClientConfig::default()
        })
        .unwrap();
        match direction {
            Direction::Download => client.download(|_| {}).await,
            Direction::Upload => client.upload(|_| {}).await,
        }
    });
    let summary = measuring.join().unwrap();
    stop.send(()).unwrap();
    serving.join().unwrap();
    Ok(Outcome {
        client: summary?,
        server_mbps: archived_mbps(dir.path(), direction),
    })
}

/// The rate of the one result file below `dir`.
fn archived_mbps(dir: &Path, direction: Direction) -> f64 {
    let file = files(dir)
        .into_iter()
        .find(|path| path.to_string_lossy().ends_with(".json"))
        .expect("a result file");
    let result: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let (end, counter) = match direction {
        Direction::Download => ("Download", "BytesAcked"),
        Direction::Upload => ("Upload", "BytesReceived"),
    };
    let samples = result[end]["ServerMeasurements"].as_array().unwrap();
    let tcp = &samples.last().unwrap()["TCPInfo"];
    8.0 * tcp[counter].as_f64().unwrap() / tcp["ElapsedTime"].as_f64().unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// Where a result must be exact it may be tried again: other load on the machine can only take from it.
const ATTEMPTS: usize = 3;

/// The last of a few attempts.
fn check(rate_kbps: u64, direction: Direction) -> Option<String> {
    let mut wrong = None;
    for _ in 0..ATTEMPTS {
        wrong = attempt(rate_kbps, direction);
        if wrong.is_none() {
            break;
        }
    }
    wrong
}

/// Measures and says what came of it; returns what is wrong with it.
fn attempt(rate_kbps: u64, direction: Direction) -> Option<String> {
    let expected_mbps = rate_kbps as f64 / 1e3 * PAYLOAD_SHARE;
    let Outcome {
        client: summary,
        server_mbps,
    } = match measure(rate_kbps, direction) {
        Ok(outcome) => outcome,
        Err(error) => return Some(format!("{rate_kbps} kbit/s {direction}: {error}")),
    };
    let share = summary.mean_mbps / expected_mbps;
    let found = format!(
        "{rate_kbps} kbit/s {direction}: {:.4} Mbit/s, {share:.4} of what fits; the server says {server_mbps:.4}",
        summary.mean_mbps
    );
    println!("{found}");
    let exact = (10_000..=1_000_000).contains(&rate_kbps);
    let slow_upload = rate_kbps <= 10 && direction == Direction::Upload;
    let good = if exact {
        (share - 1.0).abs() <= TOLERANCE
    } else if slow_upload {
        let factor = summary.mean_mbps / server_mbps;
        // At 1 kbit/s not even acknowledgements arrive in time: what is known is less than what has arrived.
        factor <= SLOW_FACTOR && (rate_kbps < 10 || factor >= 1.0 / SLOW_FACTOR)
    } else {
        summary.bytes > 0 && (rate_kbps < 1_000 || share < 1.0 + TOLERANCE)
    };
    (!good).then_some(found)
}

/// Rates of kbit/s in both directions, each over a link of its own, all at one time.
fn check_all(rates_kbps: &[u64]) {
    if !groma_tests::root() {
        return;
    }
    let threads: Vec<_> = rates_kbps
        .iter()
        .flat_map(|rate| [Direction::Download, Direction::Upload].map(|way| (*rate, way)))
        .map(|(rate, direction)| std::thread::spawn(move || check(rate, direction)))
        .collect();
    let wrong: Vec<String> = threads
        .into_iter()
        .filter_map(|thread| thread.join().unwrap())
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// On such paths the measurements and the close frame of the server arrive too late: an upload must
/// still not be reported as larger than the bytes that have arrived.
#[test]
fn from_1_to_10_kbit_per_s_no_upload_is_reported_larger_than_it_arrived() {
    check_all(&[1, 10]);
}

#[test]
fn from_100_kbit_per_s_to_1_mbit_per_s_there_is_a_result() {
    check_all(&[100, 1_000]);
}

#[test]
fn from_10_to_100_mbit_per_s_results_are_the_rate_of_the_shaper() {
    check_all(&[10_000, 100_000]);
}

/// One direction after the other: together they would measure the machine.
#[test]
fn at_1_gbit_per_s_and_above_results_are_the_rate_of_the_shaper() {
    if !groma_tests::root() {
        return;
    }
    let mut wrong = Vec::new();
    for rate in [1_000_000, 10_000_000] {
        for direction in [Direction::Download, Direction::Upload] {
            wrong.extend(check(rate, direction));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
