//! `groma-sql`: SQL over a lake, for its owner and, as an HTTP endpoint, for strangers.
#![allow(clippy::print_stdout, reason = "a command prints")]

mod engine;
mod fetch;
mod format;
mod serve;
mod views;
mod worker;

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::engine::{Limits, Session, absolute};
use crate::fetch::{CopyArgs, directory};
use crate::format::Format;

/// Ask a lake in SQL.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "\
Tables: <experiment>.<datatype>, as ndt.ndt7; ndt.ndt7_joined adds where both ends are, ndt.ndt7_linked also what was
recorded of the connection. Views: ndt.unified_downloads, ndt.unified_uploads.
Only one SELECT is answered; `DESCRIBE` as: select * from (describe ndt.ndt7)."
)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    copy: CopyArgs,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Where Parquet is written to.
    #[arg(long, value_name = "FILE", required_if_eq("format", "parquet"))]
    output: Option<PathBuf>,
    /// The query; without it, what standard input says.
    sql: Option<String>,
}

#[derive(Debug, Clone, clap::Args)]
struct LimitArgs {
    /// The lake: a directory, or the URL of an S3 bucket, of which a copy is made.
    #[arg(
        long,
        env = "GROMA_LAKE",
        value_name = "DIR|URL",
        default_value = "groma-lab/lake",
        global = true
    )]
    lake: String,
    /// Memory of a query.
    #[arg(long, value_name = "MiB", default_value_t = 1024, global = true)]
    memory: u64,
    /// Rows of an answer.
    #[arg(long, value_name = "ROWS", default_value_t = 10_000, global = true)]
    max_rows: usize,
    /// Threads of a query.
    #[arg(long, value_name = "NUMBER", default_value_t = 2, global = true)]
    threads: usize,
}

impl LimitArgs {
    fn limits(&self) -> Limits {
        Limits {
            memory_mib: self.memory,
            rows: self.max_rows,
            threads: self.threads,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer strangers: POST / with the query as body, ?format=json or csv.
    Serve {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:8477")]
        listen: SocketAddr,
        /// Seconds that a query may take.
        #[arg(long, default_value_t = 30)]
        timeout: u64,
        /// Queries that run at one time.
        #[arg(long, default_value_t = 2)]
        running: usize,
        /// Queries that wait for their turn; more are refused.
        #[arg(long, default_value_t = 32)]
        waiting: usize,
        #[command(flatten)]
        limits: LimitArgs,
        #[command(flatten)]
        copy: CopyArgs,
    },
    /// Answer one query from standard input, as `serve` has it done.
    #[command(hide = true)]
    Worker {
        /// How the answer is written.
        #[arg(long, value_enum)]
        format: Format,
        /// Seconds of processor time.
        #[arg(long)]
        cpu_seconds: u64,
        #[command(flatten)]
        limits: LimitArgs,
    },
}

/// How often `serve` asks a bucket for what is new.
const REFRESH: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("groma-sql: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        None => {
            let (lake, _) = directory(&args.limits.lake, &args.copy)?;
            query(&args, &lake)
        }
        Some(Command::Worker {
            format,
            cpu_seconds,
            limits,
        }) => {
            worker::confine(limits.memory, cpu_seconds)?;
            answer(&limits, Path::new(&limits.lake), format, &from_stdin()?)
        }
        Some(Command::Serve {
            listen,
            timeout,
            running,
            waiting,
            limits,
            copy,
        }) => {
            let (lake, copied) = directory(&limits.lake, &copy)?;
            if let Some(copy) = copied {
                copy.keep(REFRESH);
            }
            let workers = worker::Workers {
                arguments: worker_arguments(&limits, &lake),
                timeout: Duration::from_secs(timeout),
                threads: u64::try_from(limits.threads).unwrap_or(1),
            };
            serve::serve(listen, workers, running, waiting)
        }
    }
}

fn worker_arguments(limits: &LimitArgs, lake: &Path) -> Vec<std::ffi::OsString> {
    let numbers = [
        ("--memory", limits.memory.to_string()),
        ("--max-rows", limits.max_rows.to_string()),
        ("--threads", limits.threads.to_string()),
    ];
    let mut arguments: Vec<std::ffi::OsString> = vec!["--lake".into(), lake.into()];
    for (flag, value) in numbers {
        arguments.push(flag.into());
        arguments.push(value.into());
    }
    arguments
}

fn from_stdin() -> anyhow::Result<String> {
    let mut sql = String::new();
    io::stdin()
        .read_to_string(&mut sql)
        .context("read the query")?;
    Ok(sql)
}

fn query(args: &Args, lake: &Path) -> anyhow::Result<()> {
    let sql = match &args.sql {
        Some(sql) => sql.clone(),
        None => from_stdin()?,
    };
    if let (Format::Parquet, Some(output)) = (args.format, &args.output) {
        let session = Session::open(lake, &args.limits.limits(), Some(output))?;
        return session.write_parquet(&sql, &absolute(output)?);
    }
    answer(&args.limits, lake, args.format, &sql)
}

fn answer(limits: &LimitArgs, lake: &Path, format: Format, sql: &str) -> anyhow::Result<()> {
    let session = Session::open(lake, &limits.limits(), None)?;
    let answer = session.query(sql)?;
    format::write(&answer, format, &mut io::stdout().lock()).context("write the answer")?;
    if answer.is_cut {
        eprintln!(
            "{}{} rows; --max-rows raises that",
            worker::CUT,
            limits.max_rows
        );
    }
    Ok(())
}
