//! `groma ndt7`: the measurement server alone, as a node runs it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use groma_experiment::{Experiment, Settings};
use groma_ndt7::server::{Config, Server, tls_from_pem};
use groma_service::{ADMIN_DESCRIPTORS, Lifecycle, need_descriptors, parse_duration, until_signal};
use groma_uuid::Prefix;
use prometheus_client::registry::Registry;

use super::node::{Admin, COMMIT, ManifestArgs, PrefixArgs};
use super::place::check_above;
use crate::listen::Listen;

/// Run only the ndt7 measurement server, as a node does.
///
/// Flags and environment variables have the names of M-Lab's ndt-server.
/// SIGTERM makes it a lame duck: running tests end, then it does; a second one
/// ends it at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    manifest: ManifestArgs,

    /// The experiment's directory in the spool, where results go. M-Lab's server calls the flag --datadir.
    #[arg(
        long,
        alias = "datadir",
        env = "DATADIR",
        value_name = "DIR",
        default_value = "/var/spool/ndt"
    )]
    directory: PathBuf,

    /// Where ndt7 without TLS is served: ADDRESS:PORT, :PORT for all addresses of
    /// IPv4 and IPv6, or `off`.
    #[arg(
        long = "ndt7_addr_cleartext",
        env = "NDT7_ADDR_CLEARTEXT",
        value_name = "ADDRESS",
        default_value = ":80"
    )]
    cleartext: Listen,

    /// Where ndt7 over TLS is served, or `off`; needs --cert and --key.
    #[arg(
        long = "ndt7_addr",
        env = "NDT7_ADDR",
        value_name = "ADDRESS",
        default_value = ":443"
    )]
    tls: Listen,

    /// Certificate chain in a PEM file; without it, TLS is off. When the
    /// file changes, new connections get the new one.
    #[arg(long, env = "CERT", value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// Its private key in a PEM file.
    #[arg(long, env = "KEY", value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    #[command(flatten)]
    prefix: PrefixArgs,

    /// The event socket of the recorder (`groma tcp-info --event-socket`), where admitted tests are announced.
    /// Without it, nothing records connections, and the policy says so.
    #[arg(
        long = "event-socket",
        env = "TCPINFO_EVENTSOCKET",
        value_name = "PATH"
    )]
    event_socket: Option<PathBuf>,

    /// Refuse tests whose client does not send the version of the accepted policy.
    #[arg(long, env = "GROMA_REQUIRE_POLICY")]
    require_policy: bool,

    /// The most tests at one time.
    #[arg(long, env = "GROMA_MAX_TESTS", value_name = "N", default_value_t = 100)]
    max_tests: usize,

    /// The most tests at one time of one client: of an IPv4 address, or of the
    /// /64 of an IPv6 address. Many people may share an address behind a NAT;
    /// behind a proxy of yours, all do: there, give it the value of --max-tests.
    #[arg(
        long,
        env = "GROMA_MAX_TESTS_PER_CLIENT",
        value_name = "N",
        default_value_t = 25
    )]
    max_tests_per_client: usize,

    /// How long a server with open connections still takes tests after SIGTERM while /health answers 500, so that clients
    /// on their way are not turned away. An idle server stops at once.
    #[arg(long, env = "GROMA_LAME_DUCK", value_parser = parse_duration, default_value = "10s")]
    lame_duck: Duration,

    /// Where /metrics, /health, /alive and /ready are served, or `off`.
    #[arg(
        long = "prometheusx.listen-address",
        env = "PROMETHEUSX_LISTEN_ADDRESS",
        default_value = "127.0.0.1:9990"
    )]
    admin: Listen,
}

/// Descriptors of the program itself: admin port, logs, the runtime.
const OWN_DESCRIPTORS: usize = 100 + ADMIN_DESCRIPTORS;

/// How often the server's listeners are looked at.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// How long running tests are waited for.
const GRACE: Duration = Duration::from_secs(30);

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    let lifecycle = Lifecycle::new();
    let mut registry = Registry::default();
    let experiment = experiment(args, &lifecycle, &mut registry)?;
    let config = config(args)?;
    let server = {
        let _inside = runtime.enter();
        Server::start(config, experiment, &mut registry)?
    };
    for local in server.local_addrs() {
        let scheme = if local.secure { "wss" } else { "ws" };
        tracing::info!("ndt7 on {scheme}://{}", local.address);
    }
    let _admin = match args.admin {
        Listen::On(address) => Some(Admin::start(address, registry, &lifecycle)?),
        Listen::Off => None,
    };
    lifecycle.ready();
    let (is_running, complete) = runtime.block_on(async {
        let is_running = tokio::select! {
            signal = until_signal() => {
                tracing::info!(signal, "waiting for running tests");
                true
            }
            () = ended(&server) => false,
        };
        lifecycle.lame_duck();
        tokio::select! {
            () = tokio::time::sleep(args.lame_duck) => {}
            () = server.until_idle() => {}
        }
        (is_running, server.drain(GRACE).await)
    });
    lifecycle.stop();
    anyhow::ensure!(
        is_running,
        "a listener ended by itself; the log has the reason"
    );
    anyhow::ensure!(
        complete,
        "tests were still running after {} s and are lost",
        GRACE.as_secs()
    );
    Ok(ExitCode::SUCCESS)
}

/// Returns when the server no longer listens on all of its sockets.
async fn ended(server: &Server) {
    while server.is_running() {
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

fn experiment(
    args: &Args,
    lifecycle: &Lifecycle,
    registry: &mut Registry,
) -> anyhow::Result<Experiment> {
    check_above(&args.directory, "--directory")?;
    let prefix = match &args.prefix.uuid_prefix_file {
        Some(path) => Prefix::read(path)?,
        None => Prefix::fallback(),
    };
    let settings = Settings {
        data_dir: args.directory.clone(),
        prefix,
        require_policy: args.require_policy,
        max_tests: args.max_tests,
        event_socket: args.event_socket.clone(),
    };
    let mut manifest = args.manifest.read()?;
    if args.event_socket.is_some() {
        manifest = crate::builtin::recorded(manifest)?;
    }
    Ok(Experiment::new(
        manifest,
        settings,
        lifecycle.clone(),
        registry,
    )?)
}

fn config(args: &Args) -> anyhow::Result<Config> {
    let tls = if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
        let pem = tls_from_pem(cert, key)?;
        args.tls.open()?.map(|socket| (vec![socket], pem))
    } else {
        tracing::warn!("no TLS: give --cert and --key to serve wss");
        None
    };
    let cleartext: Vec<TcpListener> = args.cleartext.open()?.into_iter().collect();
    anyhow::ensure!(
        tls.is_some() || !cleartext.is_empty(),
        "every listener is off: give --ndt7_addr_cleartext, or --ndt7_addr with --cert and --key"
    );
    let mut config = Config {
        cleartext,
        tls,
        // Connections that wait for their turn or only look need room beside the tests.
        max_connections: args.max_tests.saturating_mul(2).saturating_add(100),
        max_tests_per_client: args.max_tests_per_client,
        ..Config::default()
    };
    COMMIT.clone_into(&mut config.build.git_short_commit);
    let descriptors = config.descriptors(args.max_tests);
    need_descriptors(descriptors.saturating_add(OWN_DESCRIPTORS) as u64)?;
    Ok(config)
}
