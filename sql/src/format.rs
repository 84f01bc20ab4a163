//! Answers as text.

use std::io::{self, Write};

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

/// Writes an answer; Parquet is not text and not written here.
pub fn write(answer: &Answer, format: Format, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Json => {
            serde_json::to_writer(&mut *out, &answer.rows)?;
            writeln!(out)
        }
        Format::Csv => csv(answer, out),
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

fn csv(answer: &Answer, out: &mut impl Write) -> io::Result<()> {
    let columns = columns(answer);
    let quoted = |text: &str| {
        if text.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text.to_owned()
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
    let widths: Vec<usize> = columns
        .iter()
        .map(|name| {
            let cells = answer
                .rows
                .iter()
                .map(|row| text(row, name).chars().count());
            cells.max().unwrap_or(0).max(name.chars().count())
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
    line(columns.iter().map(|name| (*name).to_owned()).collect())?;
    line(widths.iter().map(|width| "─".repeat(*width)).collect())?;
    for row in &answer.rows {
        line(columns.iter().map(|name| text(row, name)).collect())?;
    }
    Ok(())
}
