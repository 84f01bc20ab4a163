//! How soon a closed file is taken.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use groma_archive::LocalStore;
use groma_publish::Publisher;
use prometheus_client::registry::Registry;

use crate::{Form, publish};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many files are closed.
    #[arg(long, default_value_t = 2_000)]
    files: u32,
    /// Milliseconds between two.
    #[arg(long, default_value_t = 5)]
    every_ms: u64,
    /// Where to work.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
}

/// Closes files one by one and watches each until it has left its place.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let root = args
        .dir
        .join(format!("groma-bench-latency-{}", std::process::id()));
    let config = publish::config(&root, Form::Tgz)?;
    let spool = config.spool.clone();
    let store = Arc::new(LocalStore::open(root.join("archive"))?);
    let publisher = Publisher::open(config, store, &mut Registry::default())?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let running = std::thread::spawn(move || publisher.run(told));
    let mut waits_ms = Vec::new();
    for number in 0..args.files {
        // Every hundredth file is in a new directory.
        let path = format!(
            "ndt7/2026/{:02}/{:02}/{number}.json",
            number / 2800 % 12 + 1,
            number / 100 % 28 + 1
        );
        let written = spool.write(&path.parse()?, b"{}")?;
        let closed = Instant::now();
        while written.exists() {
            anyhow::ensure!(
                closed.elapsed() < Duration::from_mins(3),
                "{path} is not taken"
            );
            std::thread::sleep(Duration::from_micros(200));
        }
        waits_ms.push(closed.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(args.every_ms));
    }
    stop.store(true, Ordering::Release);
    running
        .join()
        .map_err(|_| anyhow::anyhow!("the publisher died"))??;
    std::fs::remove_dir_all(&root)?;
    waits_ms.sort_by(f64::total_cmp);
    let at = |share: f64| waits_ms[((waits_ms.len() - 1) as f64 * share) as usize];
    println!(
        "close to claim over {} files: median {:.1} ms, 99th percentile {:.1} ms, longest {:.1} ms",
        args.files,
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}
