//! `groma publish`: the publisher alone, as a node runs it.

mod compat;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use groma_compose::{bundle_metadata, published_datatypes};
use groma_names::HostName;
use groma_publish::{
    Config, Form, RestartablePublisher, Wanted, default_reserve_bytes, find_receipts,
};
use groma_service::{
    Access, Lifecycle, Page, Parameters, Registries, RestartPolicy, parse_byte_count,
    parse_duration, parse_listen_address, supervise,
};

pub(crate) use self::compat::Notation;
use self::compat::Plan;
use super::archive::ArchiveArgs;
use super::node::{Admin, ExperimentArgs};
use super::place::check_above;
use crate::builtin;

/// Bundle closed files of one experiment and put them into the archive.
///
/// A file is removed from the spool only after its bundle is durable in the archive. SIGTERM stops it: files that are
/// closed by then are archived, or kept for the next start when --grace is over. SIGUSR1 archives all waiting files at
/// once. The admin port returns the archive object of a file at /receipts?file=NAME and /receipts?uuid=UUID.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    experiment: ExperimentArgs,

    #[command(flatten)]
    archive: ArchiveArgs,

    /// Where bundles on their way, receipts and quarantine are kept.
    #[arg(long, env = "GROMA_STATE", value_name = "DIR")]
    state: PathBuf,

    /// This node's host name, part of every object name.
    #[arg(
        long,
        env = "MLAB_NODE_NAME",
        value_name = "HOST",
        default_value = "third-party"
    )]
    node: HostName,

    /// The organization in the names of JSON-line objects.
    #[arg(long, env = "ORGANIZATION", value_name = "NAME")]
    organization: Option<String>,

    /// Bundle form of every datatype, instead of the manifest's.
    #[arg(long, value_enum)]
    form: Option<BundleChoice>,

    /// Archive a bundle when its oldest file is this old.
    #[arg(long, env = "GROMA_FLUSH_AGE", value_parser = parse_duration, default_value = "30s")]
    flush_age: Duration,

    /// Archive a bundle when it holds this many bytes.
    #[arg(long, env = "GROMA_FLUSH_SIZE", value_parser = parse_byte_count, default_value = "50MB")]
    flush_size: u64,

    /// Bytes of the disk to set aside for a full disk; 0 sets nothing aside. By default 256 MB, or an eighth of a smaller
    /// disk.
    ///
    /// While less than that is free beside them, the experiment admits no tests.
    #[arg(long, env = "GROMA_RESERVE", value_parser = parse_byte_count)]
    reserve: Option<u64>,

    /// Put larger files into quarantine.
    #[arg(long, env = "GROMA_MAX_FILE_SIZE", value_parser = parse_byte_count, default_value = "1GB")]
    max_file_size: u64,

    /// The most bytes in quarantine; a datatype that needs more waits.
    ///
    /// Every file counts with its blocks on the disk, at least 8 KiB. A file that is larger than the limit stays claimed,
    /// and the others continue.
    #[arg(long, env = "GROMA_QUARANTINE_SIZE", value_parser = parse_byte_count, default_value = "4GB")]
    quarantine_size: u64,

    /// Delete receipts after this time.
    #[arg(long, env = "GROMA_KEEP_RECEIPTS", value_parser = parse_duration, default_value = "2160h")]
    keep_receipts: Duration,

    /// Continue to archive for this long after SIGTERM.
    #[arg(long, env = "SIGTERM_WAIT_TIME", value_parser = parse_duration, default_value = "30s")]
    grace: Duration,

    /// Where /metrics, /alive, /ready and /receipts are served.
    #[arg(
        long = "prometheusx.listen-address",
        env = "PROMETHEUSX_LISTEN_ADDRESS",
        value_parser = parse_listen_address,
        default_value = "127.0.0.1:9995"
    )]
    admin: SocketAddr,

    /// A file with a token of at least 16 bytes that opens /receipts, sent as `Authorization: Bearer TOKEN`; without it
    /// /receipts answers on loopback alone.
    #[arg(long, env = "GROMA_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
}

/// How the files of a datatype are bundled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BundleChoice {
    /// Gzipped tar, as M-Lab's ETL reads it.
    Tgz,
    /// Gzipped JSON lines with standard columns and an index.
    Jsonl,
}

impl From<BundleChoice> for Form {
    fn from(choice: BundleChoice) -> Self {
        match choice {
            BundleChoice::Tgz => Self::Tgz,
            BundleChoice::Jsonl => Self::Jsonl,
        }
    }
}

pub(crate) fn run(notation: &Notation) -> anyhow::Result<ExitCode> {
    let mut plan = match notation {
        Notation::Own(args) => plan(args)?,
        Notation::Compat(compat) => compat.plan()?,
    };
    let registries = Registries::default();
    let lifecycle = Lifecycle::new();
    plan.config.lifecycle = Some(lifecycle.clone());
    let pages = vec![receipts_page(&plan.config.state_dir)];
    let mut publisher = RestartablePublisher::open(plan.config, plan.store, registries.clone())
        .context("start the publisher")?;
    if plan.is_dry_run {
        tracing::info!("a dry run: the publisher could start");
        return Ok(ExitCode::SUCCESS);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let admin = Admin::start_with(plan.admin, registries, &lifecycle, pages, plan.access)?;
    admin.on_user_signal(publisher.flush());
    let signal = Arc::clone(&stop);
    admin.on_signal(move || signal.store(true, Ordering::Relaxed));
    lifecycle.ready();
    let policy = RestartPolicy::default();
    let run = || publisher.run(&stop);
    let ended = supervise("publish", &lifecycle, &stop, policy, run);
    lifecycle.stop();
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// Where files went, by `?file=` or `?uuid=`.
fn receipts_page(state: &Path) -> Page {
    let state = state.to_path_buf();
    let turn = Mutex::new(());
    let answer = move |asked: &Parameters| {
        let wanted = match (asked.get("file"), asked.get("uuid")) {
            (Some(file), None) => Wanted::File(file.clone()),
            (None, Some(uuid)) => Wanted::Uuid(uuid.clone()),
            _ => {
                let usage = serde_json::json!({"error": "ask for ?file=NAME or for ?uuid=UUID"});
                return (400, usage.to_string());
            }
        };
        if !wanted.has_key() {
            let usage = serde_json::json!({"error": "a UUID ends in _<boot time>_<16 hex digits>"});
            return (400, usage.to_string());
        }
        // Each reads thousands of files; however many ask, the disk is the publisher's.
        let Ok(_turn) = turn.try_lock() else {
            let busy = serde_json::json!({"error": "another look-up is under way; ask again"});
            return (503, busy.to_string());
        };
        match find_receipts(&state, &wanted) {
            Ok(found) if found.is_empty() => (404, "[]".to_owned()),
            Ok(found) => (200, serde_json::json!(found).to_string()),
            Err(error) => (
                500,
                serde_json::json!({"error": error.to_string()}).to_string(),
            ),
        }
    };
    Page {
        path: "/receipts",
        answer: Arc::new(answer),
    }
}

/// Returns the rule of access to `/receipts`.
fn access(token_file: Option<&Path>) -> anyhow::Result<Access> {
    Ok(match token_file {
        Some(file) => Access::with_token_file(file)?,
        None => Access::default(),
    })
}

fn plan(args: &Args) -> anyhow::Result<Plan> {
    check_above(&args.state, "--state")?;
    let (manifest, spool) = args.experiment.open()?;
    let mut config = Config::new(spool, &args.state, args.node.node().clone());
    config.organization.clone_from(&args.organization);
    config.flush_age = args.flush_age;
    config.flush_bytes = args.flush_size;
    config.reserve_bytes = args
        .reserve
        .unwrap_or_else(|| default_reserve_bytes(&args.state));
    config.max_file_bytes = args.max_file_size;
    config.quarantine_max_bytes = args.quarantine_size;
    config.receipts_kept = args.keep_receipts;
    config.grace = args.grace;
    config.writer_probe = Some(groma_lease::has_writer);
    config.metadata = bundle_metadata(&manifest, &args.node.to_string());
    config.datatypes =
        published_datatypes(&manifest, &builtin::sidecars(), args.form.map(Form::from));
    Ok(Plan {
        config,
        store: args.archive.open()?,
        admin: args.admin,
        access: access(args.admin_token_file.as_deref())?,
        is_dry_run: false,
    })
}
