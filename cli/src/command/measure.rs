//! `groma measure`: a client for any ndt7 server.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;
use groma_manifest::Consent;
use groma_ndt7::client::{Client, ClientConfig, Trust};
use groma_ndt7::protocol::Direction;

use crate::builtin;
use crate::output::{self, complain, say};
use crate::run::{self, Progress};

/// Measure this connection against an ndt7 server.
///
/// One download and one upload of about ten seconds each. The server publishes
/// the result, your IP address included; nothing is sent before you agreed.
/// Exit code 0: measured; 1: a direction failed; 2: wrong usage or no consent.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Servers, tried in this order: HOST, HOST:PORT or a ws:// or wss:// URL.
    #[arg(required = true, value_name = "SERVER")]
    servers: Vec<String>,

    /// Speak to servers without TLS unless their URL says wss.
    #[arg(long)]
    no_tls: bool,

    /// Accept any certificate, such as the lab's self-signed one.
    #[arg(long, conflicts_with = "ca")]
    no_verify: bool,

    /// Believe the certificates in this PEM file instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Agree to the data policy without being asked.
    #[arg(long, env = "GROMA_ACCEPT_DATA_POLICY")]
    accept_data_policy: bool,

    /// Measure only one direction.
    #[arg(long, value_enum)]
    direction: Option<Way>,

    /// Print one JSON object at the end, and no progress.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    Download,
    Upload,
}

impl Way {
    fn directions(chosen: Option<Self>) -> &'static [Direction] {
        match chosen {
            None => &[Direction::Download, Direction::Upload],
            Some(Self::Download) => &[Direction::Download],
            Some(Self::Upload) => &[Direction::Upload],
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // The policy of a server that records connections: where none are recorded, it covers more than is kept.
    let consent = builtin::recorded(builtin::manifest()?)?.consent;
    if !args.accept_data_policy && !ask(&consent, &args.servers)? {
        complain!("groma: nothing was measured, because the data policy was not accepted");
        return Ok(ExitCode::from(output::USAGE));
    }
    let client = client(args, consent.policy_version)?;
    let progress = if args.json {
        Progress::Hidden
    } else {
        Progress::Shown
    };
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    let mut tests = Vec::new();
    let mut failed = false;
    for &direction in Way::directions(args.direction) {
        match runtime.block_on(run::test(&client, direction, progress)) {
            Ok(summary) => {
                if !args.json {
                    say!("{}", run::sentence(&summary));
                    say!(
                        "            UUID {}",
                        summary.uuid.as_deref().unwrap_or("not told by the server")
                    );
                }
                tests.push(run::to_json(&summary));
            }
            Err(error) => {
                failed = true;
                complain!("groma: {}: {error}", direction.as_str());
                if error.is_about_certificate() {
                    complain!("{}", certificate_advice(args));
                }
                tests.push(serde_json::json!({"direction": direction.as_str(), "error": error.to_string()}));
            }
        }
    }
    if args.json {
        output::json(&serde_json::json!({ "ok": !failed, "tests": tests }))?;
    }
    Ok(ExitCode::from(if failed { output::FAILED } else { 0 }))
}

/// The next step after an untrusted certificate; never one that was taken already.
fn certificate_advice(args: &Args) -> String {
    match &args.ca {
        None => {
            "  a lab has its own certificate: give --ca DIR/tls/cert.pem, or --no-verify".to_owned()
        }
        Some(file) => format!(
            "  the server's certificate is not signed by the one in {}, or not valid now: compare it with the server's \
             tls/cert.pem",
            file.display()
        ),
    }
}

fn client(args: &Args, policy_version: String) -> anyhow::Result<Client> {
    let trust = match (&args.ca, args.no_verify) {
        (Some(file), _) => Trust::File(file.clone()),
        (None, true) => Trust::Anybody,
        (None, false) => Trust::System,
    };
    let mut config = ClientConfig {
        servers: args.servers.clone(),
        tls: !args.no_tls,
        trust,
        policy_version: Some(policy_version),
        ..ClientConfig::default()
    };
    config.metadata.extend(about_this_client());
    Ok(Client::new(config)?)
}

/// Returns the metadata that the command sends: program, version, system.
pub(crate) fn about_this_client() -> [(String, String); 4] {
    [
        ("client_name", "groma"),
        ("client_version", env!("CARGO_PKG_VERSION")),
        ("client_os", std::env::consts::OS),
        ("client_arch", std::env::consts::ARCH),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
}

/// A server as it may be shown: the query of a URL can hold an access token.
fn without_query(server: &str) -> &str {
    server.split_once('?').map_or(server, |(shown, _)| shown)
}

/// Asks on the terminal. Without one, no person can agree.
fn ask(consent: &Consent, servers: &[String]) -> anyhow::Result<bool> {
    let mut err = io::stderr().lock();
    if !io::stdin().is_terminal() {
        writeln!(
            err,
            "groma: a measurement needs consent, and nobody can be asked here; read {} and give --accept-data-policy",
            consent.policy_url
        )?;
        return Ok(false);
    }
    let shown: Vec<&str> = servers.iter().map(|server| without_query(server)).collect();
    writeln!(err, "Before measuring with {}:\n", shown.join(", "))?;
    for line in consent.text.lines() {
        writeln!(err, "  {line}")?;
    }
    writeln!(err)?;
    writeln!(
        err,
        "  The server's operator may have a policy of its own. Ours, version {}: {}\n",
        consent.policy_version, consent.policy_url
    )?;
    write!(err, "Do you agree? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}
