//! `groma-bench-lake DIR`: makes a large lake once, then measures look-ups in it.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

mod make;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use groma_find::{Dirs, Query, Stage, search, show};

/// Measures look-ups over sealed dates and small live files.
#[derive(Debug, Parser)]
struct Args {
    /// Where the lakes are made; reused when they are there.
    dir: PathBuf,
    /// Sealed dates.
    #[arg(long, default_value_t = 30)]
    days: usize,
    /// Rows of a sealed date.
    #[arg(long, default_value_t = 5000)]
    rows: usize,
    /// Files of the live date; 0 leaves it out.
    #[arg(long, default_value_t = 40_000)]
    files: usize,
    /// Look-ups of each kind.
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Real measurements.
    #[arg(long, env = "GROMA_TEST_DATA", default_value = "../shared/data")]
    data: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let template = make::template(&args.data, &args.dir)?;
    let sealed = args.dir.join("sealed");
    if !sealed.join("made").exists() {
        make::sealed(&template, &sealed, args.days, args.rows)?;
    }
    let narrow = args.dir.join("narrow");
    if !narrow.join("made").exists() {
        make::sealed(&make::narrow(&template)?, &narrow, args.days, args.rows)?;
    }
    let rows = args.days * args.rows;
    println!("{} sealed dates of {} full rows", args.days, args.rows);
    measure(&sealed, rows, args.rounds)?;
    println!("the same of a table of few columns");
    measure(&narrow, rows, args.rounds)?;
    if args.files == 0 {
        return Ok(());
    }
    let live = args.dir.join("live");
    if !live.join("made").exists() {
        make::live(&template, &live, args.files)?;
    }
    println!("a live date of {} files", args.files);
    measure(&live, args.files, args.rounds.div_ceil(10))?;
    Ok(())
}

fn measure(lab: &Path, rows: usize, rounds: usize) -> anyhow::Result<()> {
    let dirs = Dirs::of_lab(lab);
    let look_up = |number: usize| -> anyhow::Result<Duration> {
        let id = make::id(number % rows);
        let start = Instant::now();
        let report = show(&dirs, &id)?;
        let took = start.elapsed();
        anyhow::ensure!(report.stage == Stage::Loaded, "{id} was not found");
        Ok(took)
    };
    if drop_caches() {
        let mut cold = Vec::new();
        for round in 0..rounds.div_ceil(10) {
            drop_caches();
            cold.push(look_up(round * 7919)?);
        }
        print("  look-up, cold", cold);
    }
    let every =
        || -> Result<Vec<_>, _> { (0..rounds).map(|round| look_up(round * 7919)).collect() };
    // Once for the page cache: each of them reads another place.
    every()?;
    print("  look-up, warm", every()?);
    let start = Instant::now();
    let absent = show(&dirs, "nobody_1_0000000000000001")?;
    anyhow::ensure!(absent.stage == Stage::Unknown, "found what is not there");
    print("  look-up of what is not there", vec![start.elapsed()]);
    let query = Query {
        min_mbps: Some(1000.0),
        limit: 10,
        ..Query::default()
    };
    let start = Instant::now();
    search(lab.join("lake"), &query)?;
    print("  search by throughput, all rows", vec![start.elapsed()]);
    Ok(())
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let ms = |at: usize| times[at].as_secs_f64() * 1000.0;
    let last = times.len() - 1;
    println!(
        "{what}: median {:.1} ms, largest {:.1} ms of {}",
        ms(last / 2),
        ms(last),
        times.len()
    );
}

/// Empties the page cache; only root may.
fn drop_caches() -> bool {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3")
        .context("drop caches")
        .is_ok()
}
