//! The peers of the benchmark, each a process of its own so that the system counts its time.

mod groma;
mod pipe;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// One end of one kind of connection.
#[derive(Debug, Parser)]
struct Peer {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Writes a self-signed certificate for localhost and its key.
    Certificate { certificate: PathBuf, key: PathBuf },
    /// Serves ndt7 until standard input ends; prints the addresses for ws and wss.
    Server {
        seconds: f64,
        certificate: PathBuf,
        key: PathBuf,
    },
    /// Runs one ndt7 test and prints the mean rate in Mbit/s.
    Client { server: String, direction: String },
    /// Runs many ndt7 tests at one time and prints how many succeeded and the sum of their rates in Mbit/s.
    Crowd {
        server: String,
        direction: String,
        tests: usize,
    },
    /// Takes one raw TLS connection; prints its address, then bytes and seconds.
    PipeServer {
        certificate: PathBuf,
        key: PathBuf,
        #[command(flatten)]
        pipe: pipe::Shape,
    },
    /// Opens one raw TLS connection; prints bytes and seconds.
    PipeClient {
        server: SocketAddr,
        #[command(flatten)]
        pipe: pipe::Shape,
    },
}

fn main() -> anyhow::Result<()> {
    match Peer::parse().role {
        Role::Certificate { certificate, key } => {
            let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            let made = rcgen::generate_simple_self_signed(names)?;
            std::fs::write(certificate, made.cert.pem())?;
            std::fs::write(key, made.signing_key.serialize_pem())?;
            Ok(())
        }
        Role::Server {
            seconds,
            certificate,
            key,
        } => groma::serve(seconds, &certificate, &key),
        Role::Client { server, direction } => groma::measure(server, &direction),
        Role::Crowd {
            server,
            direction,
            tests,
        } => groma::crowd(&server, &direction, tests),
        Role::PipeServer {
            certificate,
            key,
            pipe,
        } => pipe::serve(&certificate, &key, &pipe),
        Role::PipeClient { server, pipe } => pipe::connect(server, &pipe),
    }
}
