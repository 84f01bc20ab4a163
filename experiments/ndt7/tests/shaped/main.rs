//! Whole tests through a shaped link between two network namespaces, 1 kbit/s to 10 Gbit/s: what is measured is what the
//! shaper lets through. Needs root.

mod link;

use std::net::TcpListener;
use std::time::Duration;

use groma_experiment::{Experiment, Settings};
use groma_ndt7::client::{Client, ClientConfig, ClientError, Summary};
use groma_ndt7::protocol::{Direction, RUNTIME};
use groma_ndt7::server::{Config, Server};
use groma_service::Lifecycle;
use groma_uuid::Prefix;
use link::Link;
use prometheus_client::registry::Registry;

/// Of a shaped frame of 1514 bytes, what TCP carries with timestamps over IPv4.
const PAYLOAD_SHARE: f64 = 1448.0 / 1514.0;
/// How far the result may be from the shaper's rate, between 10 Mbit/s and 1 Gbit/s.
const TOLERANCE: f64 = 0.02;

/// One test over a link of its own, in both namespaces a runtime of its own.
fn measure(rate_kbps: u64, direction: Direction) -> Result<Summary, ClientError> {
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
    summary
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
    let summary = match measure(rate_kbps, direction) {
        Ok(summary) => summary,
        Err(error) => return Some(format!("{rate_kbps} kbit/s {direction}: {error}")),
    };
    let share = summary.mean_mbps / expected_mbps;
    let found = format!(
        "{rate_kbps} kbit/s {direction}: {:.4} Mbit/s, {share:.4} of what fits",
        summary.mean_mbps
    );
    println!("{found}");
    let exact = (10_000..=1_000_000).contains(&rate_kbps);
    let good = if exact {
        (share - 1.0).abs() <= TOLERANCE
    } else {
        summary.bytes > 0 && (rate_kbps < 1_000 || share < 1.0 + TOLERANCE)
    };
    (!good).then_some(found)
}

/// All rates in both directions, each over a link of its own: the slow ones at one time, the fast ones one by one.
#[test]
fn results_are_the_rate_of_the_shaper() {
    if !groma_tests::root() {
        return;
    }
    let both = [Direction::Download, Direction::Upload];
    let slow = [1, 10, 100, 1_000, 10_000, 100_000];
    let threads: Vec<_> = slow
        .into_iter()
        .flat_map(|rate| both.map(|direction| (rate, direction)))
        .map(|(rate, direction)| std::thread::spawn(move || check(rate, direction)))
        .collect();
    let mut wrong: Vec<String> = threads
        .into_iter()
        .filter_map(|thread| thread.join().unwrap())
        .collect();
    for rate in [1_000_000, 10_000_000] {
        wrong.extend(
            both.into_iter()
                .filter_map(|direction| check(rate, direction)),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
