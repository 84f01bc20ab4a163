//! `groma tcp-info`: the recorder as a service.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{ArgMatches, Command, FromArgMatches};
use groma_manifest::{Manifest, Transport};
use groma_service::{Lifecycle, need_descriptors, parse_duration, parse_listen_address};
use groma_spool::ExperimentDir;
use groma_tcp_info::compat::{self, Compat};
use groma_tcp_info::{Admission, Anonymize, Collector, Config, Namespace, Prefix, Scope};
use prometheus_client::registry::Registry;

use crate::builtin;
use crate::command::node::{Admin, ExperimentArgs, PrefixArgs};
use crate::command::notation::refuse_own;
use crate::command::place::check_above;

const STATE: &str = "/var/lib/groma/tcp-info";

#[derive(Debug, clap::Args)]
pub(super) struct RecordArgs {
    #[command(flatten)]
    experiment: ExperimentArgs,

    /// Where the recorder keeps its journal, by which a restart goes on where it was. Outside the spool; one per
    /// recorder. It has to outlive the process, not the machine.
    #[arg(
        long,
        env = "GROMA_TCPINFO_STATE",
        value_name = "DIR",
        default_value = STATE
    )]
    state: PathBuf,

    #[command(flatten)]
    prefix: PrefixArgs,

    /// Record sockets with these local ports only; without it, the ports of the manifest.
    #[arg(long = "port", value_name = "PORT", value_delimiter = ',', conflicts_with_all = ["whole", "netns"])]
    ports: Vec<u16>,

    /// Record this whole network namespace, which is the experiment's own.
    #[arg(long)]
    whole: bool,

    /// Record this whole network namespace, for instance /run/netns/NAME; may be repeated. Needs `CAP_SYS_ADMIN`.
    #[arg(long, value_name = "PATH")]
    netns: Vec<PathBuf>,

    /// Leave these local ports out of a whole namespace, for instance those of metrics.
    #[arg(long = "exclude-port", value_name = "PORT", value_delimiter = ',')]
    excluded_ports: Vec<u16>,

    /// Leave remote addresses in these prefixes out of a whole namespace, for instance a control plane's.
    #[arg(long = "exclude-remote", value_name = "PREFIX", value_delimiter = ',')]
    excluded_remotes: Vec<Prefix>,

    /// Serve events at this unix socket: which connection opened, closed, or belongs to an admitted test. The
    /// experiment announces its tests here (`groma ndt7 --event-socket`). Without it, `tcpevents.sock` in --state.
    #[arg(
        long = "event-socket",
        env = "TCPINFO_EVENTSOCKET",
        value_name = "PATH"
    )]
    event_socket: Option<PathBuf>,

    /// First report all open connections to a new listener. M-Lab's recorder does not.
    #[arg(long, requires = "event_socket")]
    replay: bool,

    /// How much of remote addresses is written to files: `none` is left out, or all but the `netblock` (/24 of IPv4,
    /// /48 of IPv6).
    #[arg(
        long,
        env = "ANONYMIZE_IP",
        value_name = "none|netblock",
        default_value = "none"
    )]
    anonymize: Anonymize,

    /// Time between two looks at all connections; it stretches while the machine cannot hold it.
    #[arg(long, value_parser = parse_duration, value_name = "DURATION", default_value = "10ms")]
    interval: Duration,

    /// A connection that lives longer than this has several files.
    #[arg(long, value_parser = parse_duration, value_name = "DURATION", default_value = "10m")]
    rotation: Duration,

    /// The most connections recorded at one time in each namespace.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    max_flows: usize,

    /// Once asked to end, go on while connections are open, for this long at most: the tests of a draining server are
    /// recorded to their end.
    #[arg(long, env = "GROMA_TCPINFO_GRACE", value_parser = parse_duration, value_name = "DURATION", default_value = "40s")]
    grace: Duration,

    /// Where /metrics, /health, /alive and /ready are served.
    #[arg(
        long = "prometheusx.listen-address",
        env = "PROMETHEUSX_LISTEN_ADDRESS",
        value_name = "ADDRESS",
        value_parser = parse_listen_address,
        default_value = "127.0.0.1:9991"
    )]
    admin: SocketAddr,

    /// Everything behind this is flags of M-Lab's tcp-info, with one hyphen or two (-output, -tcpinfo.eventsocket,
    /// -exclude-srcport, -exclude-dstip, -uuid-prefix-file, -anonymize.ip, -prometheusx.listen-address); what is not
    /// given is taken from their environment variables. The namespace is recorded whole, as M-Lab does. Without a
    /// --manifest in front, every connection is published in full, those of refused clients included. Unless
    /// `GROMA_TCPINFO_STATE` says otherwise, the journal is beside the event socket.
    #[arg(
        long,
        value_name = "FLAG",
        num_args = 0..,
        allow_hyphen_values = true
    )]
    compat: Option<Vec<String>>,
}

/// The command line of a recorder, with M-Lab's flags or with our own.
#[derive(Debug)]
pub(super) struct Notation(pub(super) RecordArgs);

impl clap::Args for Notation {
    fn augment_args(command: Command) -> Command {
        RecordArgs::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        RecordArgs::augment_args_for_update(command)
    }
}

impl FromArgMatches for Notation {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let args = RecordArgs::from_arg_matches(matches)?;
        if args.compat.is_some() {
            refuse_own::<RecordArgs>(matches, &["manifest"])?;
        }
        Ok(Self(args))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The settings of a recorder, from either kind of flags.
struct Plan {
    config: Config,
    admin: SocketAddr,
    grace: Duration,
}

/// The event socket in the state directory, where none is given and tests must be announced.
const OWN_SOCKET: &str = "tcpevents.sock";

/// How often the recorder's health is looked at while nothing happens.
const WATCH: Duration = Duration::from_millis(100);

pub(super) fn run(args: &RecordArgs) -> anyhow::Result<ExitCode> {
    let plan = match &args.compat {
        Some(flags) => {
            let compat = compat::parse(flags, |name| std::env::var(name).ok())?;
            compat_plan(&compat, args)?
        }
        None => own_plan(args)?,
    };
    // A file and nothing else stays open for each connection.
    let files = plan.config.most_flows * plan.config.namespaces.len() * 2;
    if let Err(error) = need_descriptors(files as u64 + 100) {
        tracing::warn!(%error, "files of connections beyond half of that are opened for every write");
    }
    let mut registry = Registry::default();
    let lifecycle = Lifecycle::new();
    let namespaces = plan.config.namespaces.len();
    let collector = Collector::start(plan.config, &mut registry)?;
    let admin = Admin::start(plan.admin, registry, &lifecycle)?;
    let (ask, asked) = channel();
    admin.on_signal(move || {
        // Nobody listens any more when the recorder ended by itself.
        let _ = ask.send(());
    });
    lifecycle.ready();
    tracing::info!(namespaces, "recording");
    while asked.recv_timeout(WATCH) == Err(RecvTimeoutError::Timeout) {
        anyhow::ensure!(
            collector.is_running(),
            "a thread of the recorder ended; what it wrote is finished at the next start"
        );
    }
    lifecycle.lame_duck();
    let asked_at = Instant::now();
    // Connections that ended may still be announced.
    let is_busy = || collector.totals().open > 0 || collector.undecided() > 0;
    while is_busy() && asked_at.elapsed() < plan.grace && collector.is_running() {
        std::thread::sleep(WATCH);
    }
    let totals = collector.totals();
    collector.stop();
    lifecycle.stop();
    tracing::info!(
        opened = totals.opened,
        closed = totals.closed,
        open = totals.open,
        "every file is in the spool"
    );
    Ok(ExitCode::SUCCESS)
}

fn own_plan(args: &RecordArgs) -> anyhow::Result<Plan> {
    // The default works on a new machine.
    if args.state != Path::new(STATE) {
        check_above(&args.state, "--state")?;
    }
    let (manifest, spool) = args.experiment.open()?;
    let mut config = Config::new(
        spool,
        &args.state,
        prefix(args.prefix.uuid_prefix_file.as_deref())?,
        namespaces(args, || tcp_ports(&manifest))?,
    );
    config.event_socket.clone_from(&args.event_socket);
    admission(&mut config, &manifest)?;
    config.replay = args.replay;
    config.anonymize = args.anonymize;
    config.interval = args.interval;
    config.rotation = args.rotation;
    config.most_flows = args.max_flows;
    Ok(Plan {
        config,
        admin: args.admin,
        grace: args.grace,
    })
}

/// Which connections are published in full, as the manifest says.
fn admission(config: &mut Config, manifest: &Manifest) -> anyhow::Result<()> {
    config.unadmitted.most_bytes = manifest.unadmitted_bytes;
    let tls_ports = manifest.ports.iter().filter(|port| port.tls);
    config.unadmitted.tls_ports = tls_ports.map(|port| port.port).collect();
    config.admission = match manifest.admission {
        groma_manifest::Admission::Announced => {
            if config.event_socket.is_none() {
                let socket = config.state_dir.join(OWN_SOCKET);
                tracing::warn!(
                    "no --event-socket: admitted tests can be announced at {} only. Give it to the experiment with \
                     --event-socket; until then no connection is published in full. A program that cannot announce has \
                     admission = \"first-payload\" in its manifest",
                    socket.display()
                );
                config.event_socket = Some(socket);
            }
            Admission::Announced
        }
        groma_manifest::Admission::FirstPayload => Admission::FirstPayload {
            policy_version: builtin::recorded(manifest.clone())?.consent.policy_version,
        },
    };
    Ok(())
}

fn tcp_ports(manifest: &Manifest) -> Vec<u16> {
    let ports = manifest.ports.iter();
    ports
        .filter(|port| port.protocol == Transport::Tcp)
        .map(|port| port.port)
        .collect()
}

fn namespaces(
    args: &RecordArgs,
    declared_ports: impl FnOnce() -> Vec<u16>,
) -> anyhow::Result<Vec<Namespace>> {
    if !args.whole && args.netns.is_empty() {
        anyhow::ensure!(
            args.excluded_ports.is_empty() && args.excluded_remotes.is_empty(),
            "--exclude-port and --exclude-remote leave something out of a whole namespace; without --whole or --netns \
             only the experiment's ports are recorded anyway"
        );
        let ports = if args.ports.is_empty() {
            declared_ports()
        } else {
            args.ports.clone()
        };
        anyhow::ensure!(
            !ports.is_empty(),
            "the manifest declares no port; say with --port which ones are the experiment's"
        );
        let scope = Scope::Ports(ports);
        return Ok(vec![Namespace { path: None, scope }]);
    }
    let scope = Scope::Whole {
        excluded_local_ports: args.excluded_ports.clone(),
        excluded_remotes: args.excluded_remotes.clone(),
    };
    let own = args.whole.then_some(None);
    let others = args.netns.iter().cloned().map(Some);
    Ok(own
        .into_iter()
        .chain(others)
        .map(|path| Namespace {
            path,
            scope: scope.clone(),
        })
        .collect())
}

fn compat_plan(compat: &Compat, args: &RecordArgs) -> anyhow::Result<Plan> {
    let (dir, name) = compat.experiment()?;
    let beside_socket = compat.event_socket.as_deref().and_then(Path::parent);
    let state = match (std::env::var_os("GROMA_TCPINFO_STATE"), beside_socket) {
        (None, Some(dir)) => dir.join("groma-tcp-info"),
        _ => args.state.clone(),
    };
    let namespace = Namespace {
        path: None,
        scope: compat.scope(),
    };
    let mut config = Config::new(
        ExperimentDir::open(dir, name)?,
        state,
        prefix(compat.uuid_prefix_file.as_deref())?,
        vec![namespace],
    );
    config.event_socket.clone_from(&compat.event_socket);
    if let Some(manifest) = args.experiment.given_manifest()? {
        admission(&mut config, &manifest)?;
    } else {
        tracing::warn!(
            "every connection is published in full, with its address, as M-Lab's tcp-info does, also those of clients that \
             were refused or did not agree to a policy; give a --manifest in front of --compat to publish admitted tests only"
        );
    }
    config.anonymize = compat.anonymize;
    let admin = parse_listen_address(&compat.listen_address).with_context(|| {
        format!(
            "-prometheusx.listen-address: {:?} is neither ADDRESS:PORT nor :PORT",
            compat.listen_address
        )
    })?;
    Ok(Plan {
        config,
        admin,
        grace: args.grace,
    })
}

fn prefix(file: Option<&Path>) -> anyhow::Result<groma_uuid::Prefix> {
    if let Some(path) = file {
        return Ok(groma_uuid::Prefix::read(path)?);
    }
    tracing::warn!("no --uuid-prefix-file: UUIDs bear the mark unsafe and join with nothing else");
    Ok(groma_uuid::Prefix::fallback())
}
