//! The server: admits a test, measures ten round trips over its connection, and writes one result.
//!
//! `groma up --experiment .` starts it and sets the environment variables.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use groma_experiment::jiff::Timestamp;
use groma_experiment::{Experiment, Host, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::json;

const ROUND_TRIPS: u32 = 10;
const DATATYPE: &str = "@NAME@1";

/// The first line of a client.
#[derive(Deserialize)]
struct Hello {
    query: BTreeMap<String, String>,
}

/// The row of a test; the schema beside the manifest describes it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(rename = "UUID")]
    uuid: String,
    #[serde(rename = "ClientIP")]
    client_ip: String,
    start_time: String,
    round_trips: u32,
    #[serde(rename = "MinRTT")]
    min_rtt: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let host = Host::from_environment()?;
    let listener = host.listen("test")?;
    let experiment = host.experiment().clone();
    let okay = experiment.outcome("okay")?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (experiment, okay) = (experiment.clone(), okay.clone());
            std::thread::spawn(move || {
                if let Err(error) = serve(&experiment, &okay, stream) {
                    eprintln!("a test failed: {error}");
                }
            });
        }
    });
    host.until_stopped();
    Ok(())
}

fn serve(
    experiment: &Experiment,
    okay: &Outcome,
    mut stream: TcpStream,
) -> Result<(), Box<dyn Error>> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let hello: Hello = serde_json::from_str(&line(&mut reader)?)?;
    let query: Vec<(String, String)> = hello.query.into_iter().collect();
    let mut test = match experiment.admit(&query) {
        Ok(test) => test,
        Err(refusal) => {
            writeln!(stream, "{}", json!({ "refused": refusal.to_string() }))?;
            return Ok(());
        }
    };
    let uuid = test.connection(&stream);
    let start_time = Timestamp::now().to_string();
    let mut shortest = f64::INFINITY;
    for number in 0..ROUND_TRIPS {
        let message = json!({ "echo": number });
        let sent = Instant::now();
        writeln!(stream, "{message}")?;
        let echo: serde_json::Value = serde_json::from_str(&line(&mut reader)?)?;
        if echo != message {
            return Err("the client did not echo the message".into());
        }
        shortest = shortest.min(sent.elapsed().as_secs_f64() * 1000.0);
    }
    let row = Row {
        uuid: uuid.to_string(),
        client_ip: stream.peer_addr()?.ip().to_canonical().to_string(),
        start_time,
        round_trips: ROUND_TRIPS,
        min_rtt: shortest,
    };
    test.finish_with(okay, &DATATYPE.parse()?, &row)?;
    writeln!(stream, "{}", serde_json::to_string(&row)?)?;
    Ok(())
}

/// Reads a line of at most 10,000 bytes.
fn line(reader: &mut BufReader<TcpStream>) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    reader.take(10_000).read_line(&mut text)?;
    Ok(text)
}
