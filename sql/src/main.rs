//! `groma-sql`: SQL over a lake, for its owner and, as an HTTP endpoint, for untrusted clients.
#![allow(clippy::print_stdout, reason = "a command prints")]

mod allow;
mod confine;
mod engine;
mod fetch;
mod format;
mod numbers;
mod root;
mod serve;
mod views;
mod worker;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use groma_service::visible_lines;

use crate::engine::{Limits, Session, absolute};
use crate::fetch::{CopyArgs, directory};
use crate::format::{Format, Reader};
use crate::numbers::NotFinite;

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
    /// The file to write; needed for Parquet. CSV on standard output is made safe for terminals, in a file it is exact.
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
    /// Answer untrusted clients over HTTP: POST / with the query as body, and ?format=json or ?format=csv.
    ///
    /// Each query runs in a process that can read the lake and nothing else, and that cannot write (Landlock, Linux 6.2 or
    /// later). Web pages of other sites are refused. The header X-Truncated reports whether rows are missing, X-Not-Finite how
    /// many values were NaN or infinite, which JSON shows as null.
    Serve(Box<ServeArgs>),
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

#[derive(Debug, clap::Args)]
struct ServeArgs {
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
    /// A host name of this endpoint, beside addresses and localhost; repeatable.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// An origin whose web pages may ask, such as `https://charts.example`; repeatable.
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    copy: CopyArgs,
}

/// How often `serve` asks a bucket for what is new.
const REFRESH: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // The message holds names and values of the lake. An error of standard error cannot be reported.
            let message = format!("groma-sql: {error:#}\n");
            let _ = io::stderr().write_all(visible_lines(&message).as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// The reader of the answer went away, as `head` does.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
    })
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
            let lake = Path::new(&limits.lake);
            let lake = lake
                .canonicalize()
                .with_context(|| format!("open lake {}", lake.display()))?;
            confine::confine(&lake, limits.memory, cpu_seconds)?;
            answer(&limits, &lake, format, Reader::Program, &from_stdin()?)
        }
        Some(Command::Serve(args)) => serve_lake(*args),
    }
}

fn serve_lake(args: ServeArgs) -> anyhow::Result<()> {
    let (lake, copied) = directory(&args.limits.lake, &args.copy)?;
    if let Some(copy) = copied {
        copy.keep(REFRESH);
    }
    let workers = worker::Workers {
        arguments: worker_arguments(&args.limits, &lake),
        timeout: Duration::from_secs(args.timeout),
        threads: u64::try_from(args.limits.threads).unwrap_or(1),
    };
    let policy = serve::Policy {
        hosts: args.host,
        origins: args.allow_origin,
        running: args.running,
        waiting: args.waiting,
    };
    serve::serve(args.listen, workers, policy)
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
    if let Some(output) = &args.output {
        let file = File::create(output).with_context(|| format!("create {}", output.display()))?;
        let mut file = io::BufWriter::new(file);
        return answer_to(
            &args.limits,
            lake,
            args.format,
            Reader::Program,
            &sql,
            &mut file,
        );
    }
    answer(&args.limits, lake, args.format, Reader::Terminal, &sql)
}

fn answer(
    limits: &LimitArgs,
    lake: &Path,
    format: Format,
    reader: Reader,
    sql: &str,
) -> anyhow::Result<()> {
    answer_to(limits, lake, format, reader, sql, &mut io::stdout().lock())
}

fn answer_to(
    limits: &LimitArgs,
    lake: &Path,
    format: Format,
    reader: Reader,
    sql: &str,
    out: &mut impl io::Write,
) -> anyhow::Result<()> {
    let session = Session::open(lake, &limits.limits(), None)?;
    let not_finite = if format == Format::Json {
        NotFinite::Null
    } else {
        NotFinite::Text
    };
    let answer = session.query(sql, not_finite)?;
    format::write(&answer, format, reader, out).context("write the answer")?;
    out.flush().context("write the answer")?;
    if answer.not_finite > 0 && format == Format::Json {
        eprintln!("{}{}", worker::NOT_FINITE, answer.not_finite);
    }
    if answer.is_cut {
        eprintln!(
            "{}{} rows; --max-rows raises that",
            worker::CUT,
            limits.max_rows
        );
    }
    Ok(())
}
