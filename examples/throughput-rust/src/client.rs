//! The client of the throughput experiment: downloads from a server and prints the rate.
//!
//! `throughput-client HOST:PORT [VERSION]`, where VERSION is the version of the server's policy that you accept.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (server, policy) = match &arguments[..] {
        [server] if !server.starts_with('-') => (server, None),
        [server, version] => (server, Some(version)),
        _ => {
            eprintln!("usage: throughput-client HOST:PORT [VERSION of the policy that you accept]");
            return ExitCode::from(2);
        }
    };
    match measure(server, policy.map(String::as_str)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot measure to {server}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(server: &str, policy: Option<&str>) -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect(server)?;
    let mut query = serde_json::json!({"client_name": "throughput-rust"});
    if let Some(version) = policy {
        query["policy_version"] = version.into();
    }
    writeln!(stream, "{}", serde_json::json!({ "query": query }))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let answer: serde_json::Value = serde_json::from_str(&line)?;
    if let Some(reason) = answer["refused"].as_str() {
        let version = &answer["policy_version"];
        return Err(format!(
            "the server refused: {reason}; the version of its policy is {version}"
        )
        .into());
    }
    let (begin, mut bytes, mut piece) = (Instant::now(), 0, vec![0; 64 * 1024]);
    loop {
        match reader.read(&mut piece)? {
            0 => break,
            count => bytes += count,
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let rate = bytes as f64 * 8.0 / seconds / 1e6;
    println!(
        "{rate:.1} Mbit/s ({bytes} bytes in {seconds:.1} s), UUID {}",
        answer["uuid"].as_str().unwrap_or("unknown")
    );
    Ok(())
}
