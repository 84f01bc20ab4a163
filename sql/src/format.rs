//! Answers as text.

use std::borrow::Cow;
use std::io::{self, Write};

use groma_service::{visible, visible_lines};
use serde_json::{Map, Value};

use crate::engine::Answer;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people.
    Table,
    /// A JSON array of objects.
    Json,
    /// CSV (RFC 4180); what is nested is JSON.
    Csv,
    /// A Parquet file, named with --output.
    Parquet,
}

/// The reader of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Perhaps a terminal, which must not obey what a measurement's client sent. JSON is exact all the same.
    Terminal,
    /// A program or a file.
    Program,
}

/// Writes an answer; Parquet is not text and not written here.
pub fn write(
    answer: &Answer,
    format: Format,
    reader: Reader,
    out: &mut impl Write,
) -> io::Result<()> {
    match format {
        Format::Json => {
            serde_json::to_writer(&mut *out, &answer.rows)?;
            writeln!(out)
        }
        Format::Csv => csv(answer, reader, out),
        Format::Table | Format::Parquet => table(answer, out),
    }
}

fn columns(answer: &Answer) -> Vec<&str> {
    let first = answer.rows.first();
    first
        .map(|row| row.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

fn text(row: &Map<String, Value>, column: &str) -> String {
    match row.get(column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn csv(answer: &Answer, reader: Reader, out: &mut impl Write) -> io::Result<()> {
    let columns = columns(answer);
    let quoted = |text: &str| {
        let text = match reader {
            // A quoted cell may have several lines.
            Reader::Terminal => visible_lines(text),
            Reader::Program => Cow::Borrowed(text),
        };
        if text.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text.into_owned()
        }
    };
    let head: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
    write!(out, "{}\r\n", head.join(","))?;
    for row in &answer.rows {
        let cells: Vec<String> = columns
            .iter()
            .map(|name| quoted(&text(row, name)))
            .collect();
        write!(out, "{}\r\n", cells.join(","))?;
    }
    Ok(())
}

fn table(answer: &Answer, out: &mut impl Write) -> io::Result<()> {
    let columns = columns(answer);
    let text = |row: &Map<String, Value>, column: &str| visible(&text(row, column)).into_owned();
    let widths: Vec<usize> = columns
        .iter()
        .map(|name| {
            let cells = answer
                .rows
                .iter()
                .map(|row| text(row, name).chars().count());
            cells.max().unwrap_or(0).max(visible(name).chars().count())
        })
        .collect();
    let mut line = |cells: Vec<String>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(out, "{}", padded.join("  ").trim_end())
    };
    line(
        columns
            .iter()
            .map(|name| visible(name).into_owned())
            .collect(),
    )?;
    line(widths.iter().map(|width| "─".repeat(*width)).collect())?;
    for row in &answer.rows {
        line(columns.iter().map(|name| text(row, name)).collect())?;
    }
    Ok(())
}
