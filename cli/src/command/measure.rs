//! `groma measure`: a client for any ndt7 server.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;
use groma_manifest::{Description, PublishedPolicy};
use groma_ndt7::client::{Client, ClientConfig, ClientError, Summary, Trust};
use groma_ndt7::protocol::Direction;

use crate::output::{self, complain, say};
use crate::run::{self, Progress};

/// Measure this connection against an ndt7 server.
///
/// One download and one upload of about ten seconds each. Before that, the command asks the server for its data policy, shows
/// it, and asks whether you agree; servers publish results, usually with your IP address.
/// Exit code 0: measured; 1: a direction failed; 2: wrong usage or no consent.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Servers, tried in this order: HOST, HOST:PORT or a ws:// or wss:// URL.
    #[arg(required = true, value_name = "SERVER")]
    servers: Vec<String>,

    /// Use no TLS, unless the URL of a server says wss.
    #[arg(long)]
    no_tls: bool,

    /// Accept any certificate, such as the lab's self-signed one.
    #[arg(long, conflicts_with = "ca")]
    no_verify: bool,

    /// Trust the certificates in this PEM file instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Print the data policy of the servers, and measure nothing.
    #[arg(long)]
    show_policy: bool,

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
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    let mut offers = Vec::new();
    for server in &args.servers {
        let client = client(args, server, None)?;
        let answer = runtime.block_on(client.describe());
        offers.push(Offer::new(server, answer));
    }
    if args.show_policy {
        for line in offers.iter().flat_map(Offer::lines) {
            say!("{line}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !args.accept_data_policy && !ask(&offers)? {
        complain!("groma: nothing was measured, because the data policy was not accepted");
        return Ok(ExitCode::from(output::USAGE));
    }
    let clients = offers
        .into_iter()
        .map(|offer| client(args, offer.server, offer.version()))
        .collect::<Result<Vec<_>, _>>()?;
    let progress = if args.json {
        Progress::Hidden
    } else {
        Progress::Shown
    };
    let mut tests = Vec::new();
    let mut failed = false;
    for &direction in Way::directions(args.direction) {
        match runtime.block_on(first_success(&clients, direction, progress)) {
            Ok(summary) => {
                if !args.json {
                    say!("{}", run::sentence(&summary));
                    say!(
                        "            UUID {}",
                        summary.uuid.as_deref().unwrap_or("not sent by the server")
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

/// Tests with the first server that admits the test. A test that has begun is not tried again.
async fn first_success(
    clients: &[Client],
    direction: Direction,
    progress: Progress,
) -> Result<Summary, ClientError> {
    let mut last = ClientError::NoServer;
    for client in clients {
        match run::test(client, direction, progress).await {
            Err(error) if error.is_before_test() => last = error,
            ended => return ended,
        }
    }
    Err(last)
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

fn client(args: &Args, server: &str, policy_version: Option<String>) -> anyhow::Result<Client> {
    let trust = match (&args.ca, args.no_verify) {
        (Some(file), _) => Trust::File(file.clone()),
        (None, true) => Trust::Anybody,
        (None, false) => Trust::System,
    };
    let mut config = ClientConfig {
        servers: vec![server.to_owned()],
        tls: !args.no_tls,
        trust,
        policy_version,
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

/// The policy of a server, as far as it is known.
struct Offer<'a> {
    server: &'a str,
    policy: Result<Option<PublishedPolicy>, String>,
}

impl<'a> Offer<'a> {
    fn new(server: &'a str, answer: Result<Option<Description>, ClientError>) -> Self {
        let policy = match answer {
            Ok(description) => Ok(description.map(|it| it.policy)),
            Err(error) => Err(error.to_string()),
        };
        Self { server, policy }
    }

    /// The version that the client sends once the person agreed. A server without a published policy gets none, because
    /// no person can have read it.
    fn version(self) -> Option<String> {
        self.policy.ok().flatten().map(|policy| policy.version)
    }

    /// Everything that is known about the policy, safe for a terminal.
    fn lines(&self) -> Vec<String> {
        // The query of a URL can hold an access token.
        let (server, _) = self.server.split_once('?').unwrap_or((self.server, ""));
        let mut lines = Vec::new();
        match &self.policy {
            Ok(Some(policy)) => {
                lines.push(format!("The policy of {server}:"));
                lines.push(String::new());
                lines.extend(policy.text.lines().map(|line| format!("  {line}")));
                lines.push(String::new());
                lines.push(format!(
                    "  Version {}, {}. Controlled by {}, {}.",
                    policy.version, policy.url, policy.controller, policy.contact
                ));
            }
            Ok(None) => lines.push(format!(
                "{server} publishes no policy that this program can read."
            )),
            Err(error) => lines.push(format!("The policy of {server} is unknown: {error}.")),
        }
        if !matches!(self.policy, Ok(Some(_))) {
            lines.push(
                "  Unknown: who controls the data, what is stored, what is published, for how long, and how to have your \
                 address anonymised. Most ndt7 servers publish the result of a test with your IP address."
                    .to_owned(),
            );
        }
        lines
            .iter()
            .map(|line| groma_service::visible(line).into_owned())
            .collect()
    }
}

/// Shows the policies and asks on the terminal. Without a terminal, no person can agree.
fn ask(offers: &[Offer<'_>]) -> anyhow::Result<bool> {
    complain!("Before measuring:\n");
    for offer in offers {
        for line in offer.lines() {
            complain!("{line}");
        }
        complain!("");
    }
    if !io::stdin().is_terminal() {
        complain!(
            "groma: a measurement needs consent, and there is no terminal on which to ask; give --accept-data-policy to agree \
             to the policy above"
        );
        return Ok(false);
    }
    let mut err = io::stderr().lock();
    write!(err, "Do you agree? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}
