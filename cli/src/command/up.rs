//! `groma up`: the lab, staying up.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use groma_lab::{Certificate, Lab, LabConfig};
use groma_lake_store::LakeStore;
use groma_service::{parse_byte_count, parse_duration, until_signal};

use super::node::COMMIT;
use super::publish::BundleChoice;
use crate::output;
use crate::output::say;

/// Run the lab until Ctrl-C: server, publisher, archive, loader.
///
/// Everything stands below one directory and goes on where it was at the next
/// start. No privileges are needed. Ctrl-C or SIGTERM lets running tests end,
/// archives what is closed and loads what is archived; a second one ends at once,
/// and what was closed goes on at the next start.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The lab's directory; made if it lacks.
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

    /// A lake that is not the lab's own: a directory, or the URL of an S3 bucket in a build with the feature s3. Never from
    /// the environment, lest a lab's rows come into a lake that was named for other commands; no date is called complete.
    #[arg(long, value_name = "DIR|URL", value_parser = LakeStore::open)]
    lake: Option<LakeStore>,

    /// Use a bucket although it overwrites objects when told not to.
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

    /// Set aside so much of the disk for the day when it is full; 0 for none. Without it 256 MB, or an eighth of a smaller
    /// disk.
    ///
    /// While less than that is free beside it, no tests are admitted.
    #[arg(long, env = "GROMA_RESERVE", value_parser = parse_byte_count)]
    reserve: Option<u64>,

    /// How results are bundled, instead of the manifest's form.
    #[arg(long, value_enum)]
    form: Option<BundleChoice>,

    /// Refuse tests whose client does not send the version of the accepted policy.
    #[arg(long, env = "GROMA_REQUIRE_POLICY")]
    require_policy: bool,

    /// The most tests at one time.
    #[arg(long, env = "GROMA_MAX_TESTS", value_name = "N", default_value_t = 100)]
    max_tests: usize,

    /// Print where the services are as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// How long running tests are waited for.
const GRACE: Duration = Duration::from_secs(30);

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    runtime.block_on(async {
        let json = args.json;
        let dir = args.dir.clone();
        let mut lab = Lab::start(&config(args))?;
        if json {
            say!(
                "{}",
                serde_json::json!({"dir": dir, "services": lab.services(), "off": lab.off()})
            );
        } else {
            output::services(lab.services(), lab.off());
            say!("  everything is in   {}", dir.display());
            say!(
                "\nMeasure with: groma measure ws://{}\nCtrl-C stops it.",
                lab.services().ws
            );
        }
        let failure = tokio::select! {
            signal = until_signal() => {
                if !json {
                    say!("{signal}: waiting for running tests, then archiving and loading what is closed");
                }
                None
            }
            failure = lab.failed() => Some(failure),
        };
        let complete = lab.stop(GRACE).await;
        if let Some(failure) = failure {
            anyhow::bail!("{failure}; nothing that was closed is lost, and the next start goes on with it");
        }
        anyhow::ensure!(
            complete,
            "tests were still running after {} s and are lost",
            GRACE.as_secs()
        );
        Ok(ExitCode::SUCCESS)
    })
}

fn config(args: Args) -> LabConfig {
    let at = |port| SocketAddr::new(args.listen, port);
    LabConfig {
        archive: args.archive,
        lake: args.lake,
        weak_store: args.weak_store,
        ws: at(args.ws_port),
        wss: at(args.wss_port),
        admin: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), args.admin_port),
        certificate: args
            .cert
            .zip(args.key)
            .map(|(cert, key)| Certificate { cert, key }),
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
    }
}
