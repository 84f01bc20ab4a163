//! The output of a hosted experiment goes to the log.

use std::io::{self, BufRead as _, BufReader, Read, Take};
use std::thread;

use groma_service::visible;

/// A longer line is logged in pieces.
const LINE_BYTES: u64 = 4096;

/// Logs every line that comes from `stream`, on a thread of its own that ends with the stream.
pub(crate) fn log_lines(
    experiment: &str,
    stream_name: &'static str,
    stream: impl Read + Send + 'static,
) -> io::Result<()> {
    let experiment = experiment.to_owned();
    let run = move || {
        let mut lines = BufReader::new(stream).take(LINE_BYTES);
        while let Some(line) = next_line(&mut lines) {
            // The program may print text of its clients.
            let line = visible(&line);
            tracing::info!(experiment, stream = stream_name, "{line}");
        }
    };
    thread::Builder::new()
        .name(format!("{stream_name} log"))
        .spawn(run)?;
    Ok(())
}

/// Returns the next line without its end; `None` at the end of the stream, also where it cannot be read.
fn next_line<R: Read>(lines: &mut Take<BufReader<R>>) -> Option<String> {
    lines.set_limit(LINE_BYTES);
    let mut bytes = Vec::new();
    if lines.read_until(b'\n', &mut bytes).ok()? == 0 {
        return None;
    }
    Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_come_in_pieces_and_the_last_needs_no_line_feed() {
        let text = format!("{}\nend", "x".repeat(5000));
        let mut lines = BufReader::new(text.as_bytes()).take(0);
        let read: Vec<usize> = std::iter::from_fn(|| next_line(&mut lines))
            .map(|line| line.len())
            .collect();
        assert_eq!(read, [4096, 904, 3]);
    }
}
