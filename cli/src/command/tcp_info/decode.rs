//! `groma tcp-info decode`: files of the recorder, ours or M-Lab's, made readable.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use groma_tcp_info::decode::{self, Recording};

/// Show recorded connections as a table, CSV, JSON or a plot.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files named UUID.SEQUENCE.jsonl.zst, of ours or of M-Lab's.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// How to show them.
    #[arg(long, short, value_enum, default_value_t = Shape::Table)]
    format: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// Columns for people.
    Table,
    /// One line per snapshot with all fields.
    Csv,
    /// One JSON object per snapshot.
    Json,
    /// Throughput, RTT and congestion window over time, drawn in the terminal.
    Plot,
    /// The same as an SVG picture.
    Svg,
}

/// Columns of a plot.
pub(crate) const PLOT_WIDTH: usize = 100;

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut out = io::BufWriter::new(crate::output::Stdout);
    let several = args.files.len() > 1 && io::stdout().is_terminal();
    for file in &args.files {
        let recording = Recording::read(file)?;
        if several {
            writeln!(out, "{}", file.display())?;
        }
        match args.format {
            Shape::Table => decode::write_table(&recording, &mut out)?,
            Shape::Csv => decode::write_csv(&recording, &mut out)?,
            Shape::Json => decode::write_json(&recording, &mut out)?,
            Shape::Plot => decode::write_plot(&recording.moments(), PLOT_WIDTH, &mut out)?,
            Shape::Svg => decode::write_svg(&recording, &mut out)?,
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
