//! How results are shown to people and to programs.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};

use groma_service::{visible, visible_lines};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Exit code of a command that could not do its work.
pub(crate) const FAILED: u8 = 1;
/// Exit code of a command that SIGINT ended (128 + 2).
pub(crate) const INTERRUPTED: u8 = 130;
/// Exit code of wrong usage, and of a measurement without consent.
pub(crate) const USAGE: u8 = 2;

/// Prints a line on standard output, safe for a terminal. A reader that went away, as `head` does, is no
/// reason to leave the work unfinished; [`finish`] reports any other failure.
macro_rules! say {
    ($($part:tt)*) => {
        $crate::output::print_line(format_args!($($part)*))
    };
}
pub(crate) use say;

/// Prints a line on standard error, safe for a terminal. Unlike `eprintln!` it never panics.
macro_rules! complain {
    ($($part:tt)*) => {
        $crate::output::complain_line(format_args!($($part)*))
    };
}
pub(crate) use complain;

/// The first failure to write to standard output.
static FAILED_WRITE: Mutex<Option<io::ErrorKind>> = Mutex::new(None);

/// Standard output that remembers its failure.
pub(crate) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes).inspect_err(remember)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().inspect_err(remember)
    }
}

fn remember(error: &io::Error) {
    if error.kind() != io::ErrorKind::Interrupted {
        failed_write().get_or_insert(error.kind());
    }
}

fn failed_write() -> std::sync::MutexGuard<'static, Option<io::ErrorKind>> {
    FAILED_WRITE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn print_line(line: std::fmt::Arguments<'_>) {
    let line = format!("{line}\n");
    // The failure is remembered.
    let _ = Stdout.write_all(visible_lines(&line).as_bytes());
}

pub(crate) fn complain_line(line: std::fmt::Arguments<'_>) {
    let line = format!("{line}\n");
    // There is no other stream on which to report that standard error is closed.
    let _ = io::stderr().write_all(visible_lines(&line).as_bytes());
}

/// Flushes standard output. An error is the first failure of this process to write to it, unless the reader went away.
pub(crate) fn finish() -> io::Result<()> {
    let _ = Stdout.flush();
    match *failed_write() {
        None | Some(io::ErrorKind::BrokenPipe) => Ok(()),
        Some(kind) => Err(kind.into()),
    }
}

/// Returns an error and its causes on one line. A cause that is a part of the text before it is not repeated.
pub(crate) fn reason(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Returns whether the only thing wrong is that the reader of standard output went away.
pub(crate) fn reader_left(error: &anyhow::Error) -> bool {
    let is_closed_pipe = |cause: &(dyn std::error::Error + 'static)| {
        let error = cause.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    *failed_write() == Some(io::ErrorKind::BrokenPipe) && error.chain().any(is_closed_pipe)
}

/// Prints a value as pretty JSON on standard output, its strings as they are.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(Stdout, "{text}")?;
    Ok(())
}

/// Copies the content of a file to standard output: as it is, or safe to show if that is a terminal.
pub(crate) fn copy(content: &mut impl io::Read) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return io::copy(content, &mut Stdout).map(drop);
    }
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes)?;
    Stdout.write_all(visible_lines(&String::from_utf8_lossy(&bytes)).as_bytes())
}

/// Returns a progress bar over `length_ms` milliseconds on standard error; hidden if that is not a terminal.
pub(crate) fn bar(label: &'static str, length_ms: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length_ms), target());
    bar.set_style(style("  {prefix:<9} {bar:30.cyan/dim} {msg}"));
    bar.set_prefix(label);
    bar
}

/// A progress bar that counts to `total`, with others below it that come and go.
pub(crate) struct Bars {
    all: MultiProgress,
    count: ProgressBar,
    parts: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    /// Returns bars on standard error; hidden if that is not a terminal.
    pub(crate) fn new(label: &'static str, total: u64) -> Bars {
        let all = MultiProgress::with_draw_target(target());
        let count = all.add(bar(label, total));
        count.set_style(style(
            "  {prefix:<9} {bar:30.cyan/dim} {pos}/{len}, {eta} left",
        ));
        Bars {
            all,
            count,
            parts: Mutex::default(),
        }
    }

    /// Whether anybody sees them.
    pub(crate) fn are_drawn(&self) -> bool {
        !self.all.is_hidden()
    }

    /// So much of one part is done; it gets a bar of its own.
    pub(crate) fn part(&self, name: &str, bytes: u64, of_bytes: Option<u64>) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let part = parts.entry(name.to_owned()).or_insert_with(|| {
            let template = match of_bytes {
                Some(_) => "  {prefix:<9} {bar:30.cyan/dim} {bytes}/{total_bytes} of {wide_msg}",
                None => "  {prefix:<9} {bytes} of {wide_msg}",
            };
            let file = name.rsplit('/').next().unwrap_or(name).to_owned();
            let part = ProgressBar::hidden().with_style(style(template));
            part.set_length(of_bytes.unwrap_or_default());
            self.all.add(part.with_message(file))
        });
        part.set_position(bytes);
    }

    /// One part is done as a whole; `print` may write lines meanwhile.
    pub(crate) fn done<T>(&self, name: &str, print: impl FnOnce() -> T) -> T {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = parts.remove(name) {
            self.all.remove(&part);
        }
        self.count.inc(1);
        self.all.suspend(print)
    }

    /// All is done.
    pub(crate) fn finish(&self) {
        self.count.finish_and_clear();
    }
}

fn target() -> ProgressDrawTarget {
    if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(10)
    } else {
        ProgressDrawTarget::hidden()
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates are constants")
        .progress_chars("━╸─")
}

/// Megabits per second as people read them: three significant digits.
pub(crate) fn mbps(value: f64) -> String {
    if value >= 1000.0 {
        format!("{:.2} Gbit/s", value / 1000.0)
    } else if value >= 100.0 {
        format!("{value:.0} Mbit/s")
    } else if value >= 10.0 {
        format!("{value:.1} Mbit/s")
    } else {
        format!("{value:.2} Mbit/s")
    }
}

/// A row for people: JSON without nulls, and of long lists only how long they are.
pub(crate) fn row(row: &serde_json::Value) -> String {
    let mut out = String::new();
    write_value(&mut out, row, 2);
    out
}

fn write_value(out: &mut String, value: &serde_json::Value, indent: usize) {
    use serde_json::Value;
    let pad = " ".repeat(indent);
    match value {
        Value::Object(fields) if !fields.is_empty() && indent < 12 => {
            out.push_str("{\n");
            for (name, field) in fields.iter().filter(|(_, field)| !field.is_null()) {
                let _ = write!(out, "{pad}  {}: ", visible(name));
                write_value(out, field, indent + 2);
                out.push('\n');
            }
            let _ = write!(out, "{pad}}}");
        }
        Value::Array(items) if items.len() > 2 && items[0].is_object() => {
            let _ = write!(out, "[{} entries]", items.len());
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let cause = std::io::Error::other("no room");
        let error = anyhow::Error::new(cause)
            .context("write x: no room")
            .context("publish");
        assert_eq!(reason(&error), "publish: write x: no room");
    }

    #[test]
    fn rates_have_three_digits() {
        let shown: Vec<String> = [0.5, 12.34, 345.6, 12_345.0].map(mbps).into();
        assert_eq!(
            shown,
            ["0.50 Mbit/s", "12.3 Mbit/s", "346 Mbit/s", "12.35 Gbit/s"]
        );
    }

    #[test]
    fn long_lists_are_cut_and_nulls_left_out() {
        let value =
            serde_json::json!({"id": "u", "none": null, "m": [{"n": 1}, {"n": 2}, {"n": 3}]});
        assert_eq!(row(&value), "{\n    id: \"u\"\n    m: [3 entries]\n  }");
    }
}
