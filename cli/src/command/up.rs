//! `groma up`: a lab that runs until it is stopped.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use groma_compose::{Hosted, PortChoice};
use groma_lab::{Certificate, Lab, LabConfig, LabDirs, Parts};
use groma_lake_store::LakeStore;
use groma_manifest::Operator;
use groma_service::{parse_byte_count, parse_duration, until_signal};

use super::node::COMMIT;
use super::publish::BundleChoice;
use crate::builtin::{self, Ndt7};
use crate::output::say;
use crate::services::Services;

/// Run experiments until Ctrl-C, with publisher, archive, loader and lake.
///
/// An experiment is the built-in ndt7, or a directory with an experiment.toml, whose command runs as a plain process that
/// is not isolated. Everything is below one directory, and the next start continues
/// from there. It needs no privileges. Ctrl-C or SIGTERM lets running tests end, archives closed files and loads archived
/// objects; a second one ends at once, and the next start continues with the closed files.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run the experiment in this directory, or the built-in one for the word `ndt7`; may be repeated.
    #[arg(long = "experiment", value_name = "DIR|ndt7", default_value = BUILT_IN)]
    experiments: Vec<PathBuf>,

    /// Use this number for a port of an experiment, instead of the one in its manifest: EXPERIMENT/PORT=NUMBER; may be
    /// repeated. 0 takes a free one.
    #[arg(long = "port", value_name = "PORT")]
    ports: Vec<PortChoice>,

    /// The organisation that controls the data, in the policy that people see; without it, the owner of the experiment.
    #[arg(long, env = "GROMA_CONTROLLER", value_name = "NAME")]
    controller: Option<String>,

    /// The mail address for questions about personal data, in the policy that people see.
    #[arg(long, env = "GROMA_PRIVACY_CONTACT", value_name = "ADDRESS")]
    privacy_contact: Option<String>,

    /// A file with text that the policy shows after that of the experiment. The version of the policy changes with it.
    #[arg(long, env = "GROMA_POLICY_TEXT_FILE", value_name = "FILE")]
    policy_text: Option<PathBuf>,

    /// The lab's directory; created if it does not exist.
    #[arg(
        long,
        env = "GROMA_DIR",
        value_name = "DIR",
        default_value = "groma-lab"
    )]
    dir: PathBuf,

    #[arg(
        long,
        env = "GROMA_ARCHIVE",
        value_name = "DIR|URL",
        help = "An archive that is not the lab's own: a directory, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
    )]
    archive: Option<String>,

    /// A lake that is not the lab's own: a directory, or the URL of an S3 bucket in a build with the feature s3. The
    /// environment cannot set it, so that a lab never writes into a lake that was named for other commands. Its dates are
    /// never marked as complete.
    #[arg(long, value_name = "DIR|URL", value_parser = LakeStore::open)]
    lake: Option<LakeStore>,

    /// Use a bucket although it overwrites objects against the condition of the request.
    #[arg(long, env = "GROMA_WEAK_STORE", requires = "archive")]
    weak_store: bool,

    /// The address to listen on; 0.0.0.0 or :: lets other machines in.
    #[arg(long, env = "GROMA_LISTEN", value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,

    /// Port of ndt7 without TLS; 0 takes a free one.
    #[arg(
        long,
        env = "GROMA_WS_PORT",
        value_name = "PORT",
        default_value_t = 8080
    )]
    ws_port: u16,

    /// Port of ndt7 over TLS.
    #[arg(
        long,
        env = "GROMA_WSS_PORT",
        value_name = "PORT",
        default_value_t = 4443
    )]
    wss_port: u16,

    /// Port of metrics and health; always on loopback.
    #[arg(
        long,
        env = "GROMA_ADMIN_PORT",
        value_name = "PORT",
        default_value_t = 9990
    )]
    admin_port: u16,

    /// Certificate in a PEM file, instead of a self-signed one.
    #[arg(long, env = "GROMA_CERT", value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// Its private key in a PEM file.
    #[arg(long, env = "GROMA_KEY", value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// Archive a bundle when its oldest file is this old.
    #[arg(long, env = "GROMA_FLUSH_AGE", value_parser = parse_duration, default_value = "2s")]
    flush_age: Duration,

    /// Archive a bundle when it holds this many bytes.
    #[arg(long, env = "GROMA_FLUSH_SIZE", value_parser = parse_byte_count, default_value = "50MB")]
    flush_size: u64,

    /// Bytes of the disk to set aside for a full disk; 0 sets nothing aside. By default 256 MB, or an eighth of a smaller
    /// disk. All experiments share them.
    ///
    /// While less than that is free beside them, no tests are admitted.
    #[arg(long, env = "GROMA_RESERVE", value_parser = parse_byte_count)]
    reserve: Option<u64>,

    /// The form of bundles, instead of the one in the manifest.
    #[arg(long, value_enum)]
    form: Option<BundleChoice>,

    /// Refuse tests whose client does not send the version of the accepted policy.
    #[arg(long, env = "GROMA_REQUIRE_POLICY")]
    require_policy: bool,

    /// The largest number of tests at one time of each experiment.
    #[arg(long, env = "GROMA_MAX_TESTS", value_name = "N", default_value_t = 100)]
    max_tests: usize,

    /// Print the addresses as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// The word that names the built-in experiment; a directory of this name is `./ndt7`.
const BUILT_IN: &str = "ndt7";

/// How long running tests may take to end.
const GRACE: Duration = Duration::from_secs(30);

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    groma_service::install_signal_handlers();
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    runtime.block_on(async {
        let json = args.json;
        let dir = args.dir.clone();
        let parts = parts(&args)?;
        let built_in: Vec<String> = parts
            .in_process
            .iter()
            .map(|experiment| experiment.manifest().name.to_string())
            .collect();
        let mut lab = Lab::start(&config(args)?, &parts)?;
        // A signal ends the wait; the one below sees it too.
        tokio::select! {
            () = lab.settled() => print(&lab, &built_in, &dir, json)?,
            _ = until_signal() => {}
        }
        let failure = tokio::select! {
            signal = until_signal() => {
                if !json {
                    say!("{signal}: running tests end, then closed files are archived and loaded");
                }
                None
            }
            failure = lab.failed() => Some(failure),
        };
        let complete = lab.stop(GRACE).await;
        if let Some(failure) = failure {
            anyhow::bail!(
                "{failure}; no closed file is lost, and the next start continues with them"
            );
        }
        anyhow::ensure!(
            complete,
            "tests were still running after {} s and are lost",
            GRACE.as_secs()
        );
        Ok(ExitCode::SUCCESS)
    })
}

fn print(lab: &Lab, built_in: &[String], dir: &Path, json: bool) -> anyhow::Result<()> {
    let services = Services::of(lab, built_in);
    if json {
        let mut object = serde_json::to_value(&services)?;
        object["dir"] = serde_json::json!(dir);
        say!("{object}");
        return Ok(());
    }
    services.print();
    say!("  everything is in   {}", dir.display());
    if let Some(address) = services.built_in("ws") {
        say!("\nMeasure with: groma measure ws://{address}");
    }
    say!("Ctrl-C stops it.");
    Ok(())
}

fn parts(args: &Args) -> anyhow::Result<Parts> {
    let mut parts = Parts {
        sidecars: builtin::sidecars(),
        ..Parts::default()
    };
    let (built_in, dirs): (Vec<_>, Vec<_>) = args
        .experiments
        .iter()
        .partition(|dir| dir.as_os_str() == BUILT_IN);
    for dir in dirs {
        parts.hosted.push(Hosted::load(dir)?);
    }
    if !built_in.is_empty() {
        let at = |port| SocketAddr::new(args.listen, port);
        let certificate = args.cert.clone().zip(args.key.clone());
        let mut ndt7 = Ndt7::new(LabDirs::new(&args.dir).tls(), COMMIT)?;
        ndt7.ws = at(args.ws_port);
        ndt7.wss = at(args.wss_port);
        ndt7.certificate = certificate.map(|(cert, key)| Certificate { cert, key });
        ndt7.require_policy = args.require_policy;
        ndt7.max_tests = args.max_tests;
        parts.in_process.push(Box::new(ndt7));
    }
    Ok(parts)
}

fn operator(args: &Args) -> anyhow::Result<Operator> {
    let text = args.policy_text.as_ref().map(|file| {
        std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the policy text {}", file.display()))
    });
    let text = text.transpose()?;
    let is_line = |text: &str| !text.chars().any(char::is_control);
    for (flag, value) in [
        ("--controller", &args.controller),
        ("--privacy-contact", &args.privacy_contact),
    ] {
        let is_plain = value.as_deref().is_none_or(is_line);
        anyhow::ensure!(
            is_plain,
            "{flag} must be one line without control characters"
        );
    }
    let is_plain = text.as_deref().is_none_or(|text| text.lines().all(is_line));
    let size = text.as_ref().map_or(0, String::len);
    anyhow::ensure!(
        is_plain && size <= POLICY_TEXT_BYTES,
        "the policy text must have at most {POLICY_TEXT_BYTES} bytes and no control characters; people read it on a terminal"
    );
    Ok(Operator {
        controller: args.controller.clone(),
        contact: args.privacy_contact.clone(),
        text,
    })
}

/// The largest policy text of an operator. Clients read descriptions of at most 256 KiB.
const POLICY_TEXT_BYTES: usize = 64 * 1024;

fn config(args: Args) -> anyhow::Result<LabConfig> {
    Ok(LabConfig {
        operator: Some(operator(&args)?),
        archive: args.archive,
        lake: args.lake,
        weak_store: args.weak_store,
        admin: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), args.admin_port),
        listen: args.listen,
        ports: args.ports,
        flush_age: args.flush_age,
        flush_bytes: args.flush_size,
        reserve_bytes: args
            .reserve
            .unwrap_or_else(|| groma_publish::default_reserve_bytes(&args.dir)),
        form: args.form.map(Into::into),
        require_policy: args.require_policy,
        max_tests: args.max_tests,
        commit: COMMIT.to_owned(),
        ..LabConfig::new(args.dir)
    })
}
