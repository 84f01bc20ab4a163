//! `groma demo`: the whole way of the data, once.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use groma_lab::{Lab, LabConfig, LabDirs, Parts};
use groma_manifest::Manifest;
use groma_ndt7::client::{Client, ClientConfig, Summary};
use groma_ndt7::protocol::Direction;
use groma_service::until_signal;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::measure::about_this_client;
use super::node::COMMIT;
use super::publish::BundleChoice;
use crate::builtin::{self, Ndt7};
use crate::journey::{self, Journey};
use crate::output::{self, complain, say};
use crate::run::{self, Progress};
use crate::services::Services;
use crate::trace;

/// Run one test through the whole platform on this machine and show its row.
///
/// A lab in a temporary folder: measurement server, connection recorder,
/// publisher, archive, loader. It measures loopback for about 20 seconds, so
/// nothing leaves this machine, and waits for the two rows and those of their
/// connections. Exit code 0 when all could be read.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep the folder, to look into it.
    #[arg(long)]
    keep: bool,

    /// Use this folder, and keep it.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// How results are bundled on their way.
    #[arg(long, value_enum)]
    form: Option<BundleChoice>,

    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// How long after the last test the rows may take to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a test that still runs at the end is waited for.
const GRACE: Duration = Duration::from_secs(15);

/// One direction, from the socket to the row.
struct Tested {
    summary: Summary,
    uuid: String,
    journey: Journey,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    // Before there is a folder, so that no signal leaves one behind.
    groma_service::install_signal_handlers();
    let signal = runtime.spawn(until_signal());
    let folder = Folder::new(args)?;
    let Outcome::Tested { tested, traces } =
        runtime.block_on(demonstrate(args, folder.path(), signal))?
    else {
        if !folder.kept() {
            complain!("groma: interrupted; the demo's folder is removed");
        }
        return Ok(ExitCode::from(output::INTERRUPTED));
    };
    let complete = tested
        .iter()
        .all(|tested| tested.journey.is_complete() && (!traces || tested.journey.trace.is_some()));
    if args.json {
        print_json(complete, &folder, &tested)?;
    } else {
        print_text(&folder, &tested);
    }
    anyhow::ensure!(
        complete,
        "not every test and its connection became rows within {} seconds; run again with GROMA_LOG=debug and --keep",
        PATIENCE.as_secs()
    );
    Ok(ExitCode::SUCCESS)
}

/// How the demo ended.
enum Outcome {
    /// Its tests, and whether their connections are recorded.
    Tested { tested: Vec<Tested>, traces: bool },
    /// By a signal.
    Interrupted,
}

async fn demonstrate(
    args: &Args,
    dir: &Path,
    signal: JoinHandle<&'static str>,
) -> anyhow::Result<Outcome> {
    let mut config = LabConfig::new(dir);
    config.form = args.form.map(Into::into);
    COMMIT.clone_into(&mut config.commit);
    let ndt7 = Ndt7::new(LabDirs::new(dir).tls(), COMMIT)?;
    let parts = Parts {
        in_process: vec![Box::new(ndt7)],
        sidecars: builtin::sidecars(),
        ..Parts::default()
    };
    let lab = Lab::start(&config, &parts)?;
    let manifest = lab.manifests().next().context("the lab runs ndt7")?;
    if !args.json {
        print_beginning(&lab, manifest, dir);
    }
    let traces = lab.traces(manifest.name.as_str());
    let tested = tokio::select! {
        tested = measure(args, dir, &lab) => Some(tested),
        _ = signal => None,
    };
    // The writers of the folder must end before it is removed. After an interruption a test may be cut off.
    let grace = if tested.is_some() {
        GRACE
    } else {
        Duration::ZERO
    };
    let _ = lab.stop(grace).await;
    Ok(match tested {
        Some(tested) => Outcome::Tested {
            tested: tested?,
            traces,
        },
        None => Outcome::Interrupted,
    })
}

/// Measures both directions and waits for their rows.
async fn measure(args: &Args, dir: &Path, lab: &Lab) -> anyhow::Result<Vec<Tested>> {
    let manifest = lab.manifests().next().context("the lab runs ndt7")?;
    let client = client(lab, manifest)?;
    let traces = lab.traces(manifest.name.as_str());
    let progress = if args.json {
        Progress::Hidden
    } else {
        Progress::Shown
    };
    let mut waiting = Vec::new();
    for direction in [Direction::Download, Direction::Upload] {
        let summary = run::test(&client, direction, progress)
            .await
            .with_context(|| format!("measure the {}", direction.as_str()))?;
        let uuid = summary.uuid.clone().context("the server sent no UUID")?;
        let journey = journey::follow(dir, &uuid, traces, PATIENCE);
        waiting.push((summary, uuid, tokio::task::spawn_blocking(journey)));
    }
    let mut tested = Vec::new();
    for (summary, uuid, journey) in waiting {
        let journey = journey.await.context("wait for the row")??;
        tested.push(Tested {
            summary,
            uuid,
            journey,
        });
    }
    Ok(tested)
}

fn client(lab: &Lab, manifest: &Manifest) -> anyhow::Result<Client> {
    let services = Services::of(lab, &[manifest.name.to_string()]);
    let server = services
        .built_in("ws")
        .context("ndt7 listens without TLS")?;
    let mut config = ClientConfig {
        servers: vec![server.to_string()],
        tls: false,
        policy_version: Some(manifest.consent.policy_version.clone()),
        ..ClientConfig::default()
    };
    config.metadata.extend(about_this_client());
    Ok(Client::new(config)?)
}

fn print_beginning(lab: &Lab, manifest: &Manifest, dir: &Path) {
    let consent = &manifest.consent;
    say!(
        "Groma demo: a whole measurement platform in {}\n",
        dir.display()
    );
    say!(
        "What a platform stores of a test, and for whom (policy {}, {})",
        consent.policy_version,
        consent.policy_url
    );
    for line in consent.text.lines() {
        say!("  {line}");
    }
    say!("  In this demo nothing leaves this machine: it measures its own loopback.\n");
    Services::of(lab, &[manifest.name.to_string()]).print();
    say!("\nMeasuring, ten seconds in each direction");
}

fn print_text(folder: &Folder, tested: &[Tested]) {
    say!("\nResult");
    for Tested { summary, .. } in tested {
        say!("{}", run::sentence(summary));
    }
    say!("\nFrom the end of the test to its row");
    say!(
        "  {:<9} {:>12} {:>12} {:>12} {:>12}  UUID",
        "",
        "file closed",
        "archived",
        "row readable",
        "in all"
    );
    for Tested {
        summary,
        uuid,
        journey,
    } in tested
    {
        say!(
            "  {:<9} {}  {uuid}",
            summary.direction.as_str(),
            journey.columns()
        );
    }
    for Tested {
        summary, journey, ..
    } in tested
    {
        if let Some(row) = &journey.row {
            say!(
                "\nThe row of the {}\n  {}",
                summary.direction.as_str(),
                output::row(row)
            );
        }
        if let Some(trace) = &journey.trace {
            let lines = trace::lines(trace).join("\n  ");
            say!(
                "\nThe connection of the {}\n  {lines}",
                summary.direction.as_str()
            );
        }
    }
    if folder.kept() {
        let dir = folder.path().display();
        say!("\nEverything is in {dir}; look at it again with: groma show UUID --dir {dir}");
    } else {
        say!("\nThe folder is removed; --keep keeps it, `groma up` keeps the whole lab running.");
    }
}

fn print_json(ok: bool, folder: &Folder, tested: &[Tested]) -> anyhow::Result<()> {
    let tests: Vec<_> = tested
        .iter()
        .map(
            |Tested {
                 summary, journey, ..
             }| {
                let mut test = run::to_json(summary);
                test["seconds"] = journey.to_json();
                test["row"] = journey.row.clone().unwrap_or_default();
                test["trace"] = serde_json::json!(journey.trace.as_ref().and_then(trace::summary));
                test
            },
        )
        .collect();
    output::json(
        &serde_json::json!({ "ok": ok, "dir": folder.path(), "kept": folder.kept(), "tests": tests }),
    )
}

/// The demo's folder, removed at the end unless it was asked for.
enum Folder {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn new(args: &Args) -> anyhow::Result<Self> {
        if let Some(dir) = &args.dir {
            return Ok(Self::Kept(dir.clone()));
        }
        let dir = tempfile::Builder::new()
            .prefix("groma-demo-")
            .tempdir()
            .context("make a temporary folder; set TMPDIR to one that can be written")?;
        Ok(if args.keep {
            Self::Kept(dir.keep())
        } else {
            Self::Temporary(dir)
        })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Kept(dir) => dir,
        }
    }

    fn kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }
}
