//! `groma publish`: the publisher alone, as a node runs it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use groma_archive::LocalStore;
use groma_lab::{bundle_metadata, published_datatypes};
use groma_names::HostName;
use groma_publish::{Config, Form, Publisher};
use groma_service::{Lifecycle, parse_byte_count, parse_duration, parse_listen_address};
use groma_spool::ExperimentDir;
use prometheus_client::registry::Registry;

use super::node::{Admin, ManifestArgs};

/// Bundle closed files of one experiment and put them into the archive.
///
/// A file is removed from the spool only after its bundle is durable in the
/// archive. Stop with SIGTERM: everything closed by then is still archived.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    manifest: ManifestArgs,

    /// The experiment's directory in the spool.
    #[arg(
        long,
        env = "DIRECTORY",
        value_name = "DIR",
        default_value = "/var/spool/ndt"
    )]
    directory: PathBuf,

    /// The archive's directory.
    #[arg(long, env = "GROMA_ARCHIVE", value_name = "DIR")]
    archive: PathBuf,

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
    #[arg(long, env = "GROMA_FLUSH_AGE", value_parser = parse_duration, default_value = "1h")]
    flush_age: Duration,

    /// Archive a bundle when it holds this many bytes.
    #[arg(long, env = "GROMA_FLUSH_SIZE", value_parser = parse_byte_count, default_value = "50MB")]
    flush_size: u64,

    /// Where /metrics, /alive and /ready are served.
    #[arg(
        long = "prometheusx.listen-address",
        env = "PROMETHEUSX_LISTEN_ADDRESS",
        value_parser = parse_listen_address,
        default_value = "127.0.0.1:9995"
    )]
    admin: SocketAddr,
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

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut registry = Registry::default();
    let lifecycle = Lifecycle::new();
    let (config, store) = configure(args)?;
    let publisher = Publisher::open(config, store, &mut registry).context("start the publisher")?;
    let stop = Arc::new(AtomicBool::new(false));
    let admin = Admin::start(args.admin, registry, &lifecycle)?;
    let signal = Arc::clone(&stop);
    admin.on_signal(move || signal.store(true, Ordering::Relaxed));
    lifecycle.ready();
    publisher.run(stop).context("publish")?;
    lifecycle.stop();
    Ok(ExitCode::SUCCESS)
}

fn configure(args: &Args) -> anyhow::Result<(Config, Arc<LocalStore>)> {
    let manifest = args.manifest.read()?;
    let spool = ExperimentDir::open(&args.directory, manifest.name.clone())?;
    let store = Arc::new(LocalStore::open(&args.archive)?);
    let mut config = Config::new(spool, &args.state, args.node.node().clone());
    config.organization.clone_from(&args.organization);
    config.flush_age = args.flush_age;
    config.flush_bytes = args.flush_size;
    config.writer_probe = Some(groma_lease::has_writer);
    config.metadata = bundle_metadata(&manifest, &args.node.to_string());
    config.datatypes = published_datatypes(&manifest, args.form.map(Form::from));
    Ok((config, store))
}
