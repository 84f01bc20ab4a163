//! Measures publishing: CPU, memory and time per file, beside the cheapest way to do the same without its guarantees.

mod latency;
mod peer;
mod publish;
mod spool;
mod usage;

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};

use crate::usage::Spent;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Publishes files, and lets tar, the same compressor, rm and sync do it too.
    Throughput(Throughput),
    /// How long it takes from the closing of a file to its claim.
    Latency(latency::Args),
    /// The compressor of the peer: standard input to standard output.
    #[command(hide = true)]
    Gzip { level: u32 },
    /// The publisher, as a process of its own.
    #[command(hide = true)]
    Publish(publish::Args),
}

#[derive(clap::Args)]
struct Throughput {
    /// How many files.
    #[arg(long, default_value_t = 200_000)]
    files: u64,
    /// Bytes in each.
    #[arg(long, default_value_t = 700)]
    bytes: u64,
    /// The bundles' form; with jsonl the files are checked against a schema.
    #[arg(long, value_enum, default_value_t = Form::Tgz)]
    form: Form,
    /// The files are gzip already, so they are not compressed again.
    #[arg(long)]
    packed: bool,
    /// Where files are made and archived; by default a directory on the disk of the temporary directory.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Counts system calls too, with strace, over a tenth of the files.
    #[arg(long)]
    syscalls: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Tgz,
    Jsonl,
}

fn main() -> anyhow::Result<()> {
    match Args::parse().action {
        Action::Throughput(args) => throughput(&args),
        Action::Latency(args) => latency::run(&args),
        Action::Gzip { level } => peer::gzip(level),
        Action::Publish(args) => publish::run(&args),
    }
}

fn throughput(args: &Throughput) -> anyhow::Result<()> {
    let root = args
        .dir
        .join(format!("groma-bench-publish-{}", std::process::id()));
    let result = measure(args, &root);
    std::fs::remove_dir_all(&root).with_context(|| format!("remove {}", root.display()))?;
    result
}

fn measure(args: &Throughput, root: &std::path::Path) -> anyhow::Result<()> {
    let level = if args.packed { 0 } else { 6 };
    println!(
        "{} files of {} bytes in {}, {}, level {level}",
        args.files,
        args.bytes,
        args.dir.display(),
        match args.form {
            Form::Tgz => "tgz",
            Form::Jsonl => "jsonl with a schema",
        }
    );
    spool::fill(&root.join("peer"), args.files, args.bytes, args.packed)?;
    let peer = peer::run(&root.join("peer"), level)?;
    show("tar, rm, sync", &peer, args.files, args.bytes);
    let publish = |root: &std::path::Path, files: u64| -> anyhow::Result<Command> {
        spool::fill(&root.join("spool/ndt/ndt7"), files, args.bytes, args.packed)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("publish").arg(root).arg(files.to_string());
        command.args(match args.form {
            Form::Tgz => ["--form", "tgz"],
            Form::Jsonl => ["--form", "jsonl"],
        });
        Ok(command)
    };
    let mut command = publish(&root.join("ours"), args.files)?;
    let ours = Spent::by(|| {
        let output = command.output().context("run the publisher")?;
        print!("{}", String::from_utf8_lossy(&output.stdout));
        anyhow::ensure!(
            output.status.success(),
            "the publisher failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    })?;
    show("publish", &ours, args.files, args.bytes);
    println!("CPU ratio        {:>10.2}", ours.cpu_s / peer.cpu_s);
    println!("time ratio       {:>10.2}", ours.wall_s / peer.wall_s);
    if args.syscalls {
        let files = (args.files / 10).max(1);
        let command = publish(&root.join("traced"), files)?;
        println!(
            "system calls     {:>10.1} per file, over {files} files",
            usage::syscalls(&command)? as f64 / files as f64
        );
    }
    Ok(())
}

fn show(who: &str, spent: &Spent, files: u64, bytes: u64) {
    println!(
        "{who:<16} {:>10.2} s CPU {:>8.2} s {:>10.0} files/s {:>8.1} MB/s",
        spent.cpu_s,
        spent.wall_s,
        files as f64 / spent.wall_s,
        (files * bytes) as f64 / spent.wall_s / 1e6,
    );
}
