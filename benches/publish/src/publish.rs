//! The publisher, as a node runs it, until all files are archived.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use groma_archive::LocalStore;
use groma_names::Node;
use groma_publish::{Config, DatatypeConfig, Publisher};
use groma_spool::ExperimentDir;
use prometheus_client::registry::Registry;

use crate::{Form, usage};

const SCHEMA: &str = r#"[
  {"name": "Samples", "type": "RECORD", "mode": "REPEATED", "fields": [
    {"name": "ElapsedTime", "type": "INTEGER"}, {"name": "RTT", "type": "INTEGER"},
    {"name": "BytesSent", "type": "INTEGER"}, {"name": "CAState", "type": "INTEGER"}]},
  {"name": "Fill", "type": "STRING"}
]"#;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Holds `spool/ndt`; `archive` and `state` are made there.
    root: PathBuf,
    /// How many files to wait for.
    files: u64,
    #[arg(long, value_enum, default_value_t = Form::Tgz)]
    form: Form,
}

pub(crate) fn config(root: &Path, form: Form) -> anyhow::Result<Config> {
    let spool = ExperimentDir::open(root.join("spool/ndt"), "ndt".parse()?)?;
    let node = Node::new("mlab1", "lga01")?;
    let mut config = Config::new(spool, root.join("state"), node);
    config.datatypes.push(DatatypeConfig {
        name: "ndt7".parse()?,
        form: match form {
            Form::Tgz => groma_publish::Form::Tgz,
            Form::Jsonl => groma_publish::Form::Jsonl,
        },
        schema: match form {
            Form::Tgz => None,
            Form::Jsonl => Some(groma_schema(SCHEMA)?),
        },
    });
    config.organization = Some("bench".to_owned());
    config.writer_probe = Some(groma_lease::has_writer);
    config.metadata = vec![("MLAB.server.name".to_owned(), "mlab1-lga01".to_owned())];
    Ok(config)
}

fn groma_schema(text: &str) -> anyhow::Result<groma_schema::Schema> {
    Ok(groma_schema::Schema::parse(text)?)
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut config = config(&args.root, args.form)?;
    config.flush_age = Duration::from_millis(100);
    let store = Arc::new(LocalStore::open(args.root.join("archive"))?);
    let mut registry = Registry::default();
    let publisher = Publisher::open(config, store, &mut registry)?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let running = std::thread::spawn(move || publisher.run(told));
    while published(&registry)? < args.files {
        anyhow::ensure!(!running.is_finished(), "the publisher ended early");
        std::thread::sleep(Duration::from_millis(50));
    }
    stop.store(true, Ordering::Release);
    running
        .join()
        .map_err(|_| anyhow::anyhow!("the publisher died"))??;
    println!("peak memory      {:>10.1} MB", usage::peak_memory_mb()?);
    Ok(())
}

fn published(registry: &Registry) -> anyhow::Result<u64> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    let name = "groma_publish_files_total{datatype=\"ndt7\",state=\"published\"} ";
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.map_or(Ok(0), str::parse)?)
}
