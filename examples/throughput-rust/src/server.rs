//! The server of the throughput experiment: sends bytes over TCP and records how many the client took in which time.
//!
//! A client connects and sends one line of JSON: `{"query": {…}}` with its metadata and the version of the policy that its
//! user accepted. The server answers with one line, `{"uuid": …}` or `{"refused": …, "policy_version": …}`, then sends
//! random-looking bytes for at most [`DURATION`], and closes the connection.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use groma_experiment::jiff::Timestamp;
use groma_experiment::{Experiment, Host, NameValue, Outcome, Test};
use serde::{Deserialize, Serialize};

const DURATION: Duration = Duration::from_secs(5);
/// The manifest declares this as `max_test_bytes`.
const MOST_BYTES: u64 = 5_000_000_000;
/// Time in which a client must send its line, and must take each piece of the payload.
const PATIENCE: Duration = Duration::from_secs(5);
const MOST_LINE_BYTES: u64 = 4096;
const PIECE_BYTES: usize = 64 * 1024;

#[derive(Deserialize)]
struct Hello {
    #[serde(default)]
    query: BTreeMap<String, String>,
}

/// The row of a test, which `throughput1.json` describes.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(rename = "UUID")]
    uuid: String,
    #[serde(rename = "ServerIP")]
    server_ip: String,
    server_port: u16,
    #[serde(rename = "ClientIP")]
    client_ip: String,
    client_port: u16,
    start_time: Timestamp,
    end_time: Timestamp,
    bytes: u64,
    mean_throughput_mbps: f64,
    client_metadata: Vec<NameValue>,
    server_metadata: Vec<NameValue>,
}

/// The two results that the manifest declares.
#[derive(Clone)]
struct Outcomes {
    complete: Outcome,
    cut: Outcome,
}

fn main() -> Result<(), Box<dyn Error>> {
    let host = Host::from_environment()?;
    let listener = host.listen("data")?;
    let experiment = host.experiment().clone();
    let outcomes = Outcomes {
        complete: experiment.outcome("complete")?,
        cut: experiment.outcome("cut")?,
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (experiment, outcomes) = (experiment.clone(), outcomes.clone());
            std::thread::spawn(move || {
                if let Err(error) = serve(&experiment, &outcomes, stream) {
                    eprintln!("throughput: a test failed: {error}");
                }
            });
        }
    });
    host.until_stopped();
    Ok(())
}

fn serve(
    experiment: &Experiment,
    outcomes: &Outcomes,
    mut stream: TcpStream,
) -> Result<(), Box<dyn Error>> {
    // The kernel forgets the client's address when the connection is reset.
    let (server, client) = (stream.local_addr()?, stream.peer_addr()?);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&stream).take(MOST_LINE_BYTES)).read_line(&mut line)?;
    let hello: Hello = serde_json::from_str(&line)?;
    let query: Vec<(String, String)> = hello.query.into_iter().collect();
    let mut test = match experiment.admit(&query) {
        Ok(test) => test,
        Err(refusal) => {
            let version = &experiment.manifest().consent.policy_version;
            let answer =
                serde_json::json!({"refused": refusal.to_string(), "policy_version": version});
            writeln!(stream, "{answer}")?;
            return Ok(());
        }
    };
    let uuid = test.connection(&stream).to_string();
    writeln!(stream, "{}", serde_json::json!({"uuid": uuid}))?;
    let start_time = Timestamp::now();
    let (bytes, elapsed, is_complete) = send(&mut stream, &test);
    let row = Row {
        uuid,
        server_ip: ip(server),
        server_port: server.port(),
        client_ip: ip(client),
        client_port: client.port(),
        start_time,
        end_time: Timestamp::now(),
        bytes,
        mean_throughput_mbps: bytes as f64 * 8.0 / elapsed.as_secs_f64().max(1e-6) / 1e6,
        client_metadata: test.client_metadata().to_vec(),
        server_metadata: test.server_metadata().to_vec(),
    };
    let outcome = if is_complete {
        &outcomes.complete
    } else {
        &outcomes.cut
    };
    test.finish_with(outcome, &"throughput1".parse()?, &row)?;
    Ok(())
}

/// Sends the payload. Returns the sent bytes, the time until the client had all of them, and whether the client stayed.
fn send(stream: &mut TcpStream, test: &Test) -> (u64, Duration, bool) {
    let piece: Vec<u8> = (0..PIECE_BYTES).map(|at| (at * 131 % 251) as u8).collect();
    let (begin, mut sent) = (Instant::now(), 0);
    while begin.elapsed() < DURATION && sent < MOST_BYTES {
        let count =
            usize::try_from(MOST_BYTES - sent).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        match stream.write(&piece[..count]) {
            Ok(count) if count > 0 => {
                sent += count as u64;
                test.bytes(count as u64, 0);
            }
            _ => return (sent, begin.elapsed(), false),
        }
    }
    // The client closes when it has everything, so the bytes in the send buffer are part of the time.
    let is_complete =
        stream.shutdown(Shutdown::Write).is_ok() && matches!(stream.read(&mut [0]), Ok(0));
    (sent, begin.elapsed(), is_complete)
}

fn ip(address: SocketAddr) -> String {
    address.ip().to_canonical().to_string()
}
